"""The guard that fails a test which leaves the process changed for the next one."""

import logging
import os
import sys
import types

import pytest
import torch

from depth_normal.annotators import registry
from tests import process_state


def change_threads(patch):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    return lambda: torch.set_num_threads(before)


def change_dtype(patch):
    torch.set_default_dtype(torch.float64)
    return lambda: torch.set_default_dtype(torch.float32)


CHANGES = {
    r"torch.get_num_threads\(\): \d+ before, \d+ now": change_threads,
    r"torch.get_default_dtype\(\): torch.float32 before, torch.float64 now": change_dtype,
    r"os.environ\['HF_HUB_OFFLINE'\]: .* before, 'yes' now": lambda patch: patch.setitem(os.environ, "HF_HUB_OFFLINE", "yes"),
    r"the working directory": lambda patch: patch.chdir("/"),
    r"sys.modules\['nodes'\]: 'absent' before": lambda patch: patch.setitem(sys.modules, "nodes", types.ModuleType("nodes")),
    r"the logger depth_normal": lambda patch: patch.setattr(logging.getLogger("depth_normal"), "disabled", True),
    r"registry.MODELS": lambda patch: patch.delitem(registry.MODELS, "tiny"),
}


@pytest.mark.parametrize("named", CHANGES)
def test_what_is_left_changed_is_named(named):
    with pytest.MonkeyPatch.context() as patch:
        restore = None
        try:
            with pytest.raises(AssertionError, match=named), process_state.unchanged("a test"):
                restore = CHANGES[named](patch)
        finally:
            if restore:
                restore()


def test_what_is_restored_is_no_change():
    with process_state.unchanged("a test"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "yes")
