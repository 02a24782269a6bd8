"""Fixtures of several tests of batches."""

import os
from contextlib import contextmanager

import pytest


@pytest.fixture
def forbidden():
    """Takes rights to a folder from this user, even where the tests run as root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has other rights")

    @contextmanager
    def forbid(folder, mode, right):
        folder.chmod(mode)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            if os.access(folder, right, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("this system lets everybody read and write everywhere")
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)

    return forbid
