import pytest
import torch

from depth_normal.annotators.detail import without_border_lines

CHANGED = 14  # pixels along each border


def plane(height=48, width=64):
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (0.7 * y - 0.4 * x + 0.2)[None, None]


def bends(depth):
    """Second differences down the columns, away from the left and the right border."""
    return depth.diff(2, dim=-2)[..., CHANGED:-CHANGED].abs()


@pytest.mark.parametrize("shape", [(28, 28), (32, 300), (48, 64)])
def test_a_plane_stays_what_it_is(shape):
    torch.testing.assert_close(without_border_lines(plane(*shape)), plane(*shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("row", [0, 1, 3, 6])
@pytest.mark.parametrize("axis", [-2, -1])
@pytest.mark.parametrize("far", [False, True])
def test_a_line_along_any_border_is_smoothed(row, axis, far):
    lined = plane()
    lined.select(axis, -1 - row if far else row).add_(0.03)
    found = without_border_lines(lined)
    before, after = (bends(each if axis == -2 else each.mT).max() for each in (lined, found))
    assert after < before / 4
    assert (found - plane()).abs().max() < (lined - plane()).abs().max()


def test_the_inside_stays_to_the_bit():
    depth = torch.randn(2, 1, 48, 64, generator=torch.Generator().manual_seed(0))
    inside = ..., slice(CHANGED, -CHANGED), slice(CHANGED, -CHANGED)
    found = without_border_lines(depth)
    assert torch.equal(found[inside], depth[inside])
    assert not torch.equal(found, depth)


@pytest.mark.parametrize("row", [3, 6, 10])
def test_an_edge_of_the_scene_along_the_border_stays(row):
    stepped = plane()
    stepped[..., :row, :] += 2
    assert (without_border_lines(stepped) - stepped).abs().max() < 0.02 * 2


def test_what_crosses_the_border_stays_sharp():
    stepped = plane()
    stepped[..., 30:] += 2
    torch.testing.assert_close(without_border_lines(stepped), stepped, atol=1e-5, rtol=0)


def test_each_image_of_a_batch_is_smoothed_by_itself():
    depth = torch.randn(3, 1, 40, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([without_border_lines(each) for each in depth[:, None]])
    torch.testing.assert_close(without_border_lines(depth), alone)
    torch.testing.assert_close(without_border_lines(depth.mT.movedim(0, 1)), alone.mT.movedim(0, 1))  # and each channel


@pytest.mark.parametrize("flipped", [(2,), (3,), (2, 3)])
def test_opposite_borders_are_treated_alike(flipped):
    depth = torch.randn(1, 1, 40, 32, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(without_border_lines(depth.flip(flipped)), without_border_lines(depth).flip(flipped))
