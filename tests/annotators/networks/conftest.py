"""Fixtures for networks."""

import os

import pytest


@pytest.fixture
def torchs_own_bfloat16():
    """torch's own attention in bfloat16."""
    if "ATEN_CPU_CAPABILITY" in os.environ:
        pytest.skip("torch asks the processor, and not this variable, whether its attention can pack bfloat16, and then fails")
