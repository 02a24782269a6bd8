"""Cut-outs: alpha and colours of a thing whose mixture with the background is known."""

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.edges.matting import cut_out
from tests.torch_calls import Largest

OWN, BEHIND = torch.tensor((0.8, 0.3, 0.1)).view(1, 3, 1, 1), torch.tensor((0.1, 0.3, 0.7)).view(1, 3, 1, 1)


def composed(softness=2.0):
    """A disc with a soft border on a background; its true alpha."""
    rows, columns = torch.meshgrid(torch.arange(120) - 60.0, torch.arange(160) - 80.0, indexing="ij")
    alpha = (0.5 + (35 - torch.hypot(rows, columns)) / (2 * softness)).clamp(0, 1)[None, None]
    return OWN * alpha + BEHIND * (1 - alpha), alpha


@pytest.mark.parametrize("grown", [0, 2, -2])
def test_the_border_follows_the_image_though_the_mask_misses_it(grown):
    image, alpha = composed()
    mask = (alpha > 0.5).float()
    mask = F.max_pool2d(mask, 5, 1, 2) if grown > 0 else -F.max_pool2d(-mask, 5, 1, 2) if grown < 0 else mask
    found = cut_out(image, mask, edge=3.0)
    assert (found.alpha - alpha).abs().mean() < 0.2 * (mask - alpha).abs().mean() + 1e-3


def test_no_colour_of_the_background_is_left():
    image, alpha = composed()
    found = cut_out(image, (alpha > 0.5).float(), edge=3.0)
    seen = (found.alpha > 0.05).expand(-1, 3, -1, -1)
    assert (found.colour - OWN).abs()[seen].max() < 0.05
    kept = cut_out(image, (alpha > 0.5).float(), edge=3.0, decontaminate=False)
    assert torch.equal(kept.colour, image)
    green = torch.tensor((0.0, 1.0, 0.0)).view(1, 3, 1, 1)
    laid, true = found.colour * found.alpha + green * (1 - found.alpha), OWN * alpha + green * (1 - alpha)
    assert (laid - true).abs().mean() < 0.01


def test_far_from_the_border_nothing_changes():
    image, alpha = composed()
    found = cut_out(image, (alpha > 0.5).float(), edge=2.0)
    assert torch.equal(found.colour[..., 50:70, 70:90], image[..., 50:70, 70:90])
    assert found.alpha[..., 60, 80] == 1 and found.alpha[..., 0, 0] == 0


def test_smooth_colours_give_a_smooth_matte():
    """Windows with hard ends would show as squares."""
    random = torch.Generator().manual_seed(0)
    rough = torch.rand(1, 3, 8, 10, generator=random)
    image = F.interpolate(rough, (240, 320), mode="bicubic", align_corners=False).clamp(0, 1)
    rows, columns = torch.meshgrid(torch.arange(240) - 120.0, torch.arange(320) - 160.0, indexing="ij")
    mask = (0.5 + (70 - torch.hypot(rows, columns)) / 30).clamp(0, 1)[None, None]
    alpha = cut_out(image, mask, edge=5.0).alpha
    steps = torch.cat([alpha.diff(dim=dim).flatten().abs() for dim in (-1, -2)])
    assert steps.max() < 0.3


def test_a_part_whose_colour_is_beyond_both_sides_stays():
    """A face beside dark hair, before grass: brighter than both, and of neither side by colour."""
    hair, grass, face = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.1, 0.1, 0.1), (0.3, 0.35, 0.25), (0.75, 0.6, 0.5)))
    mask = torch.zeros(1, 1, 120, 160)
    mask[..., 20:100, 40:120] = 1
    image = hair * mask + grass * (1 - mask)
    image[..., 40:80, 114:120] = face
    found = cut_out(image, mask, edge=5.0)
    assert found.alpha[..., 44:76, 115:119].min() > 0.7


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks(value):
    image, alpha = composed()
    found = cut_out(image, torch.full_like(alpha, value))
    assert torch.isfinite(found.colour).all() and (found.alpha - value).abs().max() < 1e-5


def test_where_both_sides_look_alike_the_mask_decides():
    grey, mask = torch.full((1, 3, 50, 50), 0.5), torch.zeros(1, 1, 50, 50)
    mask[..., 25:] = 1
    found = cut_out(grey, mask, edge=4.0)
    assert (found.alpha - mask).abs().mean() < 0.05 and (found.colour - 0.5).abs().max() < 1e-4


def test_no_border_takes_the_mask_as_it_is():
    image, alpha = composed()
    found = cut_out(image, alpha, edge=0)
    assert found.alpha is alpha and found.colour is image
    with pytest.raises(ValueError, match="edge is 11; accepted: 0 to 10"):
        cut_out(image, alpha, edge=11)


@pytest.mark.slow("takes a large image")
def test_a_large_image_gives_the_matte_of_a_small_one():
    image, alpha = composed()
    mask = (alpha > 0.5).float()
    large_image, large_mask = (F.interpolate(each, scale_factor=10, mode="bilinear") for each in (image, mask))
    found, large = cut_out(image, mask, edge=3.0).alpha, cut_out(large_image, large_mask, edge=3.0).alpha
    assert (F.avg_pool2d(large, 10) - found).abs().mean() < 0.01 * found.mean()


def test_a_narrow_band_in_a_large_image_takes_little_memory():
    """Its means are as large as the image: those of four windows together would take most of the memory."""
    with Largest() as largest:
        cut_out(torch.rand(1, 3, 300, 600), torch.rand(1, 1, 300, 600), 0.2)
    assert largest.bytes <= 4 * 16 * 300 * 600
