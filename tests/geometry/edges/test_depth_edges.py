"""Depth edges: what becomes a step and what stays a slope."""

import pytest
import torch

from depth_normal.geometry.edges.depth_edges import depth_at_image_edges, sharpen_depth_edges
from depth_normal.geometry.filters.extremes import largest_within, median_within


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


def soft_edge(edge=64, width=128):
    """Inverse depth that goes from 0.25 to 1 over eight columns around `edge`."""
    share = ((torch.arange(width) - edge + 4.5) / 8).clamp(0, 1)
    return (0.25 + 0.75 * share).expand(1, 1, 40, width)


@pytest.mark.parametrize("aside", [-2, 0, 2])
def test_with_an_image_the_step_is_where_the_colours_change(aside):
    """Two colours with noise; depth's own ramp lies two columns beside, or where it should."""
    generator = torch.Generator().manual_seed(0)
    image = torch.tensor((0.2, 0.5, 0.3)).view(3, 1, 1).expand(1, 3, 40, 128).clone()
    image[..., 64 + aside :] = torch.tensor((0.6, 0.4, 0.3)).view(3, 1, 1)
    image += 0.05 * torch.randn(image.shape, generator=generator)
    inverse = 1 / sharpen_depth_edges(1 / soft_edge(), 4, 0, image)
    near = inverse > 0.6
    assert (near.sum(3) - (64 - aside)).abs().float().mean() < 1.3, "two without the image"
    assert ((inverse - 0.25).abs().min((inverse - 1).abs()) < 0.02).float().mean() > 0.98
    grown = 1 / sharpen_depth_edges(1 / soft_edge(), 4, 2, image)
    assert torch.equal((grown > 0.6).sum(3) >= near.sum(3) + 2, torch.ones_like(near.sum(3)) > 0), "mixed colours belong to what is near"


def test_depth_with_holes_is_refused():
    with pytest.raises(ValueError, match="fill the holes first"):
        sharpen_depth_edges(torch.zeros(1, 1, 3, 3), 1)


@pytest.mark.parametrize("radius", [1, 30])
def test_the_largest_is_the_same_whoever_finds_it(radius):
    """Plain numbers on a CPU go through OpenCV, those that gradients are asked of through torch; so do NaN."""
    values = torch.randn(2, 3, 24, 37, generator=torch.Generator().manual_seed(0))
    values[0, 0, 3:9] = -torch.inf
    by_torch = largest_within(values.clone().requires_grad_(), radius).detach()
    assert torch.equal(largest_within(values, radius), by_torch)
    assert torch.equal(largest_within(values.movedim(2, 3).contiguous().movedim(3, 2), radius), by_torch), "any layout"
    values[1, 2, 12, 20] = torch.nan
    assert largest_within(values, radius)[1, 2, 12, 21].isnan()


@pytest.mark.parametrize("radius", [1, 2])
def test_the_median_is_the_same_whoever_finds_it(radius):
    values = torch.randn(2, 3, 14, 17, generator=torch.Generator().manual_seed(0))
    by_torch = median_within(values.clone().requires_grad_(), radius).detach()
    assert torch.equal(median_within(values, radius), by_torch)
    square = values[1, 2, 6 - radius : 7 + radius, 9 - radius : 10 + radius]
    assert by_torch[1, 2, 6, 9] == square.median()


def test_no_pixel_stays_behind_at_a_noisy_edge():
    """A camera that moves would show each pixel between near and far by itself."""
    generator = torch.Generator().manual_seed(0)
    image = torch.full((1, 3, 40, 400), 0.4)
    image[..., 200:] = 0.6
    image += 0.15 * torch.randn(image.shape, generator=generator)
    inverse = 1 / depth_at_image_edges(1 / soft_edge(200, 400), image)
    between = (inverse > 0.26) & (inverse < 0.98)
    assert not between.any()
    edges = (inverse > 0.6).float().argmax(3).float()
    assert edges.unique().numel() == 1, "the same column in all rows"
    smooth, ragged = (1 / sharpen_depth_edges(1 / soft_edge(200, 400), 4, 0, image, smooth=each) > 0.6 for each in (True, False))
    edges, as_found = (each.float().argmax(3).float().diff(dim=2).abs().mean() for each in (smooth, ragged))
    assert edges < as_found / 2, "without growth, too, as fog takes it"


def test_a_wire_and_a_gap_of_true_depth_stay():
    depth = torch.full((1, 1, 60, 400), 4.0)
    depth[..., 100], depth[..., 30, :90] = 2.0, 3.0
    depth[..., 200:], depth[..., 300] = 2.0, 4.0
    noise = torch.rand(1, 3, 60, 400, generator=torch.Generator().manual_seed(1))
    found = sharpen_depth_edges(depth, 8, 1, noise)
    assert (found[..., 100] == 2).all() and (found[..., 30, :90] == 3).all() and (found[..., 302:] == 2).all()
    assert (found[..., 40:, 110:190] == 4).all()
