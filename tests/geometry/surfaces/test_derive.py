import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals, without_normals

NEAR, FAR = (17, 11), (61, 90)


def depth(holes=""):
    """(2, 1, 24, 32), 0.5 to 4.5: waves; holes in the second image alone."""
    generator = torch.Generator().manual_seed(0)
    values = torch.nn.functional.interpolate(4 * torch.rand(2, 1, 5, 6, generator=generator) + 0.5, (24, 32), mode="bilinear")
    if holes:
        values[1, :, 5:9, 20:] = float(holes)
    return values


def half():
    """A mask of the left half of both images."""
    return (torch.arange(32) < 16).expand(2, 1, 24, 32)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("mask", [None, half()], ids=["whole", "masked"])
@pytest.mark.parametrize("holes", ["", "nan", "-1", "inf"])
@pytest.mark.parametrize("quantity", Quantity)
@pytest.mark.parametrize("has_normals", [False, True])
def test_depth_and_mask_are_those_of_an_estimate_with_normals(quantity, holes, mask, has_normals):
    estimate = Estimate(depth(holes), quantity, mask=mask)
    if has_normals:
        facing = torch.tensor([0.0, 0.6, 0.8]).view(1, 3, 1, 1).expand(2, 3, 24, 32).contiguous()
        estimate = Estimate(estimate.depth, quantity, facing, mask=mask)
    for ratio in (None, 5.0):
        expected, found = with_normals(estimate, near_far_ratio=ratio), without_normals(estimate, ratio)
        assert found.normals is None
        for sides in (NEAR, FAR):
            for resampling in ("bilinear", "bicubic"):
                one, other = expected.resized(*sides, resampling), found.resized(*sides, resampling)
                assert torch.equal(one.depth.nan_to_num(-7), other.depth.nan_to_num(-7))
                assert (one.mask is None) == (other.mask is None) and (one.mask is None or torch.equal(one.mask, other.mask))


def test_normals_alone_stay():
    estimate = Estimate(normals=torch.ones(1, 3, 4, 5))
    assert without_normals(estimate) is estimate
