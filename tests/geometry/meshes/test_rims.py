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


def smoothed(inverse, cut, valid=None):
    """Inverse depth again."""
    valid = torch.ones_like(cut) if valid is None else valid
    return 1 / smooth_rims(1 / inverse, valid, cut & valid, RADIUS, torch.zeros(cut.shape))


def test_what_is_not_valid_gives_nothing_and_stays():
    inverse, _, cut = disc_before_wall()
    valid = torch.ones_like(cut)
    valid[:, 60:] = False
    smooth = smoothed(torch.where(valid, inverse, torch.nan), cut, valid)
    torch.testing.assert_close(smooth[valid], inverse[valid], atol=0, rtol=2e-3)
    assert smooth[~valid].isnan().all()
