"""Truth: discs before a slanted wall, whose depth is known beside the cut too."""

import torch
from torch import Tensor

from depth_normal.geometry.meshes.rims import smooth_rims

HEIGHT, WIDTH, RADIUS = 96, 120, 4


def disc_before_wall() -> tuple[Tensor, Tensor, Tensor]:
    """Inverse depth of a tilted disc before a wall that runs away, where the disc is, and the pixels on both sides of its border."""
    rows, columns = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    disc = (rows - 48) ** 2 + (columns - 60) ** 2 < 30**2
    inverse = torch.where(disc, 1 + 0.002 * (rows - 48), 0.3 + 0.001 * columns)
    cut = torch.zeros_like(disc)
    for dim in (0, 1):
        size = disc.shape[dim] - 1
        border = disc.narrow(dim, 0, size) != disc.narrow(dim, 1, size)
        for start in (0, 1):
            cut.narrow(dim, start, size).logical_or_(border)
    return inverse, disc, cut


def test_rims_that_differ_from_row_to_row_become_planes():
    inverse, disc, cut = disc_before_wall()
    torn = torch.where(cut, inverse + 0.02 * torch.randn(inverse.shape, generator=torch.Generator().manual_seed(1)), inverse)
    smooth = 1 / smooth_rims(1 / torn, torch.ones_like(cut), cut, RADIUS, torch.zeros(cut.shape))
    for side in (disc, ~disc):
        before, after = ((each - inverse)[cut & side].square().mean().sqrt() for each in (torn, smooth))
        assert float(after) < 0.1 * float(before)


def test_planes_stay_planes_and_what_is_far_from_cuts_stays_as_it_is():
    inverse, _, cut = disc_before_wall()
    depth = 1 / inverse
    smooth = smooth_rims(depth, torch.ones_like(cut), cut, RADIUS, torch.zeros(cut.shape))
    torch.testing.assert_close(smooth, depth, atol=0, rtol=2e-3)
    assert torch.equal(smooth[:4], depth[:4]) and torch.equal(smooth[40:56, 50:70], depth[40:56, 50:70])
    assert torch.equal(smooth_rims(depth, torch.ones_like(cut), torch.zeros_like(cut), RADIUS, torch.zeros(cut.shape)), depth)


def test_what_is_not_valid_gives_nothing_and_stays():
    inverse, _, cut = disc_before_wall()
    valid = torch.ones_like(cut)
    valid[:, 60:] = False
    depth = torch.where(valid, 1 / inverse, torch.nan)
    smooth = smooth_rims(depth, valid, cut & valid, RADIUS, torch.zeros(cut.shape))
    torch.testing.assert_close(smooth[valid], depth[valid], atol=0, rtol=2e-3)
    assert smooth[~valid].isnan().all()


def test_rims_beside_holes_are_smoothed_as_well():
    inverse, disc, cut = disc_before_wall()
    valid = torch.ones_like(cut)
    valid[:, 100:] = valid[:16] = False
    torn = torch.where(cut, inverse + 0.02 * torch.randn(inverse.shape, generator=torch.Generator().manual_seed(1)), inverse)
    smooth = 1 / smooth_rims(1 / torn, valid, cut & valid, RADIUS, torch.zeros(cut.shape))
    top = (cut & disc & valid)[16:24]
    assert float((smooth - inverse)[16:24][top].abs().mean()) < 0.1 * float((torn - inverse)[16:24][top].abs().mean())


def test_a_slope_that_is_cut_is_no_rim():
    """Where inverse depth rises as much beside the cut as at it, as on a floor near the horizon, nothing is torn."""
    inverse = (0.02 + 0.02 * torch.arange(40.0))[:, None].expand(40, 40).contiguous()
    bumpy = inverse * (1 + 0.1 * torch.rand(inverse.shape, generator=torch.Generator().manual_seed(1)))
    cut = torch.zeros(40, 40, dtype=torch.bool)
    cut[19:21] = True
    assert torch.equal(smooth_rims(1 / bumpy, torch.ones_like(cut), cut, RADIUS, torch.zeros(cut.shape)), 1 / bumpy)
