"""Depth edges: what becomes a step and what stays a slope."""

import pytest
import torch

from depth_normal.geometry.edges import largest_within, sharpen_depth_edges


def test_ramps_become_steps_and_slopes_stay():
    inverse = torch.full((20, 60), 0.25)
    inverse[:, 27:33] = torch.linspace(0.25, 1, 8)[1:-1]
    inverse[:, 33:] = 1
    sharp = 1 / sharpen_depth_edges(1 / inverse[None, None], 4)[0, 0]
    assert ((sharp - 0.25).abs() < 1e-6).logical_or((sharp - 1).abs() < 1e-6).all()
    assert (sharp[:, :30] < 0.3).all() and (sharp[:, 30:] > 0.9).all(), "the step is in the middle of the ramp"
    grown = 1 / sharpen_depth_edges(1 / inverse[None, None], 4, growth=2)[0, 0]
    assert (grown[:, :28] < 0.3).all() and (grown[:, 28:] > 0.9).all()
    slope = 1 / torch.linspace(0.3, 1, 60).expand(1, 1, 20, 60)
    middle = slice(10, 50)  # at the border a window of any size sees the same
    assert torch.equal(sharpen_depth_edges(slope, 4)[..., middle], slope[..., middle])


def test_the_largest_within_a_square_is_found_up_to_the_border():
    values = torch.zeros(1, 1, 6, 7)
    values[..., 1, 2] = 5
    values[..., 5, 6] = -1
    spread = largest_within(values, 2)
    assert torch.equal(spread[0, 0, :4, :5], torch.full((4, 5), 5.0)) and not spread[0, 0, 4:].any() and not spread[0, 0, :, 5:].any()
    assert torch.equal(largest_within(values, 0), values)


def test_depth_with_holes_is_refused():
    with pytest.raises(ValueError, match="fill the holes first"):
        sharpen_depth_edges(torch.zeros(1, 1, 3, 3), 1)
