import math

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_focal_length
from depth_normal.geometry.effects.fog import add_fog, fog_of, fog_transmittance
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.srgb import colour_to_linear, srgb_to_linear
from depth_normal.options.effects import FogOptions
from tests.refusals import refuses

CAMERA = intrinsics_from_focal_length(4.0, 7, 7)


def wall(metres):
    return torch.full((1, 1, 7, 7), float(metres))


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("falloff", [0.0, 1e-9, 0.3])
def test_what_comes_through_is_the_integral_along_the_ray(falloff, start):
    """From the start on, of fog that may thin upwards."""
    seen = fog_transmittance(wall(10), CAMERA, 0.1, start=start, falloff=falloff)
    for row, column in ((0, 3), (3, 3), (6, 3), (3, 0), (5, 1)):
        down = (row - 3) / 4
        length = math.hypot(1, down, (column - 3) / 4)
        steps = torch.linspace(start, 10 * length, 20001, dtype=torch.float64)
        thick = torch.trapezoid(0.1 * torch.exp(falloff * steps * down / length), steps)
        assert seen[0, 0, row, column].item() == pytest.approx(math.exp(-thick), rel=1e-3)
    assert fog_transmittance(wall(3), CAMERA, 5.0, start=20, falloff=falloff).min() == 1, "all is nearer than the fog"


def test_the_sky_is_all_fog():
    sky = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
    sky[..., 0, :] = True
    seen = fog_transmittance(wall(10), CAMERA, 0.001, sky=sky)
    assert (seen[..., 0, :] == 0).all() and seen[..., 1:, :].min() > 0.9
    assert (fog_transmittance(wall(10), CAMERA, 0.0, sky=sky) == 1).all(), "no fog at all is none in the sky either"
    assert 0 < fog_transmittance(wall(10), CAMERA, 0.1, falloff=0.5, sky=sky)[0, 0, 0, 3] < 1, "above a low fog the sky shines through"


def test_light_is_mixed_in_linear_space():
    image = torch.full((1, 3, 1, 2), 0.5)
    half = torch.tensor((0.5, 1.0)).view(1, 1, 1, 2)
    mixed = add_fog(image, half, colour_to_linear("#ffffff"))
    assert srgb_to_linear(mixed)[0, 0, 0, 0].item() == pytest.approx(0.5 + 0.5 * srgb_to_linear(torch.tensor(0.5)).item(), abs=1e-5)
    assert torch.equal(mixed[..., 1], image[..., 1]), "what comes through whole is the image to the bit"


def test_words_and_holes():
    mask = torch.ones(1, 1, 7, 7, dtype=torch.bool)
    mask[..., 0, :] = False
    estimate = Estimate(wall(10), Quantity.METRIC_DEPTH, mask=mask, intrinsics=CAMERA)
    through, say, numbers = fog_of(estimate, torch.rand(1, 3, 7, 7), FogOptions(density=0.1))
    assert (through[..., 0, :] == 0).all() and say(*numbers).startswith("fog over 10 to 10 m, ")
    assert fog_of(estimate, torch.rand(1, 3, 7, 7), FogOptions(density=0.1), sky=False)[0].min() > 0.1


@pytest.mark.parametrize("sky", [True, False, "mask"])
def test_what_is_unknown_is_no_sky_but_as_far_as_what_is_around(sky):
    depth = torch.full((1, 1, 60, 90), 5.0)
    depth[..., :30] = torch.nan
    known = depth.isfinite()
    estimate = Estimate(depth, Quantity.METRIC_DEPTH, mask=known)
    image = torch.full((1, 3, 60, 90), 0.4)
    through, say, numbers = fog_of(estimate, image, FogOptions(density=0.1), sky=torch.zeros(1, 1, 60, 90) if sky == "mask" else sky)
    assert through.min() > 0.5 and through.max() < 0.62 and "sky" not in say(*numbers).replace("no sky found", "")


def test_what_a_mask_takes_out_of_the_sky_is_as_foggy_as_the_land_around():
    """A tower whose spire the network took for sky; by the mended mask half of each of its pixels is sky."""
    disparity = torch.full((1, 1, 200, 300), 0.01)
    disparity[..., 100:, 100:200] = 1
    disparity[..., 180:, :] = 0.5
    estimate, image = Estimate(disparity, Quantity.DISPARITY, mask=disparity > 0.01), torch.rand(1, 3, 200, 300)
    sky = (disparity <= 0.01).float()
    sky[..., 60:100, 145:155] = 0.5
    through, *_ = fog_of(estimate, image, FogOptions(density=0.3), sky)
    spire, tower = (through[..., rows, 145:155].mean().item() for rows in (slice(65, 95), slice(120, 160)))
    assert tower > 0.5 and spire == pytest.approx(tower / 2, rel=0.1)


def test_without_metres_the_scene_lies_between_1_and_3():
    """As docs/effects.md says."""
    aside, down = torch.linspace(0, 1, 100).expand(1, 1, 100, 100), torch.linspace(0, 1, 100)[:, None].expand(1, 1, 100, 100)
    for depth, far in ((aside, 3), ((2 * down - 1).clamp(min=0), 10)):  # 10 where the upper half is as far as anything gets
        _, say, numbers = fog_of(Estimate(depth, Quantity.DISPARITY), torch.full((1, 3, 100, 100), 0.5), FogOptions(density=1.0))
        assert say(*numbers).startswith(f"fog over 1 to {far} times the near end's distance, ")


test_bad_input_is_refused = refuses(fog_transmittance, (wall(1), CAMERA, -1, "density is -1"))


def test_a_landscape_has_no_hard_border_where_its_depth_has_none():
    rows = torch.linspace(0, 1, 96).view(1, 1, -1, 1).expand(1, 1, 96, 128)
    image = torch.where(rows < 0.3, 0.9, 0.4).expand(1, 3, 96, 128).contiguous()
    through, *_ = fog_of(Estimate(rows.contiguous(), Quantity.DISPARITY), image, FogOptions(density=0.1))
    assert through[0, 0, :4].max() < 0.03 and through[0, 0, 40:].min() > 0.6
    assert through[0, 0, :, 64].diff().abs().max() < 0.2
