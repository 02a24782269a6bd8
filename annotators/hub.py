"""Networks of the transformers library, filled with a state dict instead of a repository."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from .base import CheckpointError, StateDict

# from_pretrained replaces functions of torch.nn.init while it works and puts back what it found: two at once would put back the wrong ones.
_one_at_a_time = threading.Lock()


def from_state_dict(network_class: Any, config: Any, state: StateDict, model_id: str) -> Any:
    """Strict loading through from_pretrained: only that applies the renamings between the library's versions.

    Args:
        network_class: A model class of the library (see `base.from_transformers`), or one derived from it.
        config: Its configuration.
        state: Tensors under the names that files on the hub have.
        model_id: The model's name, for the message.

    Raises:
        CheckpointError: The tensors are not exactly the network's; the message names the first that differ.
    """
    try:
        network, report = _fill(network_class, config, state)
    except ValueError as error:  # version 4 gives up at once where not even the prefix of the keys fits
        raise CheckpointError(
            f"not a checkpoint of {model_id}: its keys (first: {min(state, default=None)}) are another network's"
        ) from error
    parts = []
    for kind in ("unexpected", "missing", "mismatched"):
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report[f"{kind}_keys"])
        if keys:
            parts.append(f"{len(keys)} {kind} keys (first: {keys[0]})")
    if parts:
        raise CheckpointError(f"not a checkpoint of {model_id}: {', '.join(parts)}")
    return network


def _fill(network_class: Any, config: Any, state: StateDict) -> tuple[Any, dict[str, Any]]:
    """The network and the library's report, without its log and progress bars."""
    transformers_logging = importlib.import_module("transformers.utils.logging")
    with _one_at_a_time:
        verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            return network_class.from_pretrained(
                None, config=config, state_dict=dict(state), output_loading_info=True, ignore_mismatched_sizes=True
            )
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
