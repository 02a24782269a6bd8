"""torch's default dtype, which another node pack may set, moves no estimate."""

from unittest.mock import patch

import pytest
import torch

from depth_normal.annotators.registry import FAMILIES
from tests import graph_families
from tests.random_weights import make_images


def estimated(name, dtype, states):
    """The maps of a network that is built and run under a default dtype; `states` keeps the weights of the first."""
    images, family = make_images(42, 56), FAMILIES[graph_families.annotator(name).spec.family]
    original = family.build

    def build(spec, state, network_dtype):
        states.setdefault(name, state)
        return original(spec, states[name], network_dtype)

    with patch.object(family, "build", build):
        torch.set_default_dtype(dtype)
        try:
            estimate = graph_families.annotator(name).estimate(images)
        finally:
            torch.set_default_dtype(torch.float32)
    return {**estimate.maps, "quantity": estimate.quantity}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", (*graph_families.DINO, *graph_families.OTHERS))
def test_a_family_estimates_the_same_under_every_default_dtype(name, monkeypatch):
    # A table that is kept would be of one dtype in all runs.
    monkeypatch.setattr("depth_normal.utils._holds_numbers", lambda _: False)
    states = {}
    expected, *others = (estimated(name, dtype, states) for dtype in (torch.float32, torch.bfloat16, torch.float64))
    for found in others:
        assert found.pop("quantity") is expected["quantity"]
        for key, values in found.items():
            torch.testing.assert_close(values, expected[key], rtol=1e-6, atol=1e-6, equal_nan=True, msg=key)
