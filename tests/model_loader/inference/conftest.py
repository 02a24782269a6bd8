"""A model that is built once for all of these tests."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def quickly_loaded(tiny_at_hand):
    """Most begin with the pack's own model."""
