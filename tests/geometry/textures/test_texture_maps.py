import functools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import blend_normals, unit_normals
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.kinds import ZERO_AT_CAMERA, Axes
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.textures import occlusion
from depth_normal.geometry.textures.curvature import curvature_maps, mean_curvature
from depth_normal.geometry.textures.detail import BRIGHT_JOINTS, PhotoRelief, bright_lines, detail_normals, grey_joints
from depth_normal.geometry.textures.height import height_to_normals, normals_to_height
from depth_normal.geometry.textures.occlusion import depth_to_occlusion, estimate_to_occlusion, height_to_occlusion
from depth_normal.geometry.textures.pbr import PbrOptions, material_normals, pbr_maps, relief_of_photo, with_contrast
from depth_normal.geometry.textures.seamless import folded, margins, mirror, seamless_estimate, tileable, unmirrored_normals, wrap
from depth_normal.options.textures import MAX_SHAPE
from tests.refusals import refusals

SIDE = 97
MIDDLE = SIDE // 2
FACING = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)


def grid(side=SIDE):
    """(y, x) from the middle."""
    axis = torch.arange(side) - side // 2
    return torch.meshgrid(axis.float(), axis.float(), indexing="ij")


def ball(radius=80.0, sign=1.0):
    y, x = grid()
    across, up = x / radius, -y / radius
    return torch.stack((sign * across, sign * up, (1 - across**2 - up**2).sqrt()))[None]


def bumps(side=48, seamless=True, seed=0):
    return 60 * blurred(torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(seed)), 2.0, seamless)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_ball_bends_by_one_over_its_radius_a_cylinder_half_as_much_and_a_plane_not(scale):
    _, x = grid()
    cylinder = torch.stack((x / 80, 0 * x, (1 - (x / 80) ** 2).sqrt()))[None]
    plane = unit_normals(torch.tensor([0.5, 0.2, 1.0]).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE))
    for normals, bend in ((ball(80), 1 / 80), (ball(80, -1.0), -1 / 80), (cylinder, 1 / 160), (plane, 0)):
        found = mean_curvature(normals, scale=scale)[..., 20:-20, 20:-20]
        torch.testing.assert_close(found, torch.full_like(found, bend), rtol=1e-3, atol=1e-5)
    maps = curvature_maps(mean_curvature(plane))
    assert torch.allclose(maps.curvature, torch.tensor(0.5), atol=1e-3) and maps.edges.max() < 1e-3 and maps.cavities.max() < 1e-3


def test_edges_are_white_and_crevices_black():
    _, x = grid()
    ridge = height_to_normals((-x.abs())[None, None])
    maps = curvature_maps(mean_curvature(ridge))
    assert maps.curvature[0, 0, MIDDLE, MIDDLE] == 1 and maps.edges[0, 0, MIDDLE, MIDDLE] == 1 and maps.cavities.max() < 0.01
    valley = curvature_maps(mean_curvature(height_to_normals(x.abs()[None, None])), strength=5.0)
    assert valley.curvature[0, 0, MIDDLE, MIDDLE] == 0 and valley.cavities[0, 0, MIDDLE, MIDDLE] == 1
    assert valley.curvature[0, 0, MIDDLE, 20] == 0.5


def test_holes_do_not_bend():
    normals, known = ball(), torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    known[..., 30:40, 30:40] = False
    bend = mean_curvature(torch.where(known, normals, torch.nan), scale=3.0, weight=known)
    assert bend.isfinite().all() and bool((bend[..., 30:40, 30:40] == 0).all())
    assert (bend[..., 12:29, 12:29] - 1 / 80).abs().max() < 4e-3
    assert curvature_maps(bend, weight=torch.zeros_like(known)).curvature.isfinite().all()


def test_planes_are_open_and_the_foot_of_an_endless_wall_is_half_open():
    y, x = grid()
    for plane in (0 * x, 0.7 * x + 0.2 * y, -3 * x):
        assert torch.allclose(height_to_occlusion(plane[None, None], radius=32), torch.tensor(1.0), atol=1e-4)
    wall = torch.where(x > 0, 1e5, 0.0)[None, None]
    found = height_to_occlusion(wall, radius=512)[0, 0, MIDDLE]
    assert torch.allclose(found[MIDDLE - 8 : MIDDLE], torch.tensor(0.5), atol=0.02) and found[-5] == 1


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("angle", [60, 90, 120])
def test_a_groove_is_as_open_as_its_angle_says(angle):
    _, x = grid(257)
    groove = (x.abs() / math.tan(math.radians(angle / 2)))[None, None]
    found = height_to_occlusion(groove, radius=1024, directions=32)[0, 0, 128, 131]
    # (1 - cos) / 2 for walls without an end; these end after 128 pixels, and at the image's borders.
    assert found.item() == pytest.approx((1 - math.cos(math.radians(angle))) / 2, abs=0.04)


def test_it_is_what_rays_meet():
    """Against rays cast through the height one by one."""
    height = 2 * bumps(32)
    found = height_to_occlusion(height, radius=200, directions=32, borders="seamless")[0, 0]
    normals, level = height_to_normals(height, borders="seamless")[0], height[0, 0]
    around = F.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for y, x in ((3, 5), (16, 16), (25, 9), (30, 30)):
        ray = F.normalize(normals[:, y, x] + around, dim=1)
        steps = ray * torch.arange(1.0, 60.0, 0.5)[:, None, None]
        column, row = (x + steps[..., 0]).round().long() % 32, (y - steps[..., 1]).round().long() % 32
        is_free = (steps[..., :2].norm(dim=-1) <= 0.8) | (level[row, column] <= level[y, x] + steps[..., 2] + 0.02)
        assert found[y, x].item() == pytest.approx(is_free.all(0).float().mean().item(), abs=0.06), (y, x)


def test_holes_of_a_height_hide_nothing():
    _, x = grid()
    wall = torch.where(x > 0, 1e5, 0.0)[None, None]
    there = wall < 1
    assert torch.allclose(height_to_occlusion(wall, weight=there)[..., : MIDDLE - 1], torch.tensor(1.0))
    assert bool((height_to_occlusion(torch.full_like(wall, torch.nan)) == 1).all())
    assert height_to_occlusion(torch.zeros(1, 1, 1, 1)).item() == 1


def corner(side=129, distance=4.0):
    """A wall that meets a floor, seen from in front: depth, normals in OPENCV axes, camera."""
    intrinsics = intrinsics_from_fov(60.0, side, side)
    below = pixel_rays(intrinsics, side, side)[:, 1:2]
    floor = 1 / below.clamp(min=1e-6)
    on_floor = floor < distance
    normals = torch.where(on_floor, torch.tensor([0.0, -1, 0]).view(1, 3, 1, 1), torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1))
    return torch.where(on_floor, floor, distance), normals, intrinsics, on_floor


def test_a_corner_in_perspective_is_half_open_and_flat_things_are_open():
    depth, normals, intrinsics, on_floor = corner()
    found = depth_to_occlusion(depth, intrinsics, normals, Axes.OPENCV, radius=128)[0, 0]
    first = int(on_floor[0, 0, :, 64].float().argmax())
    assert 0.4 < found[first - 1, 64] < 0.62 and found[first - 1, 64] < found[first - 8, 64] < found[5, 64] + 1e-6
    near = depth_to_occlusion(depth, intrinsics, normals, Axes.OPENCV, radius=8)[0, 0]
    assert near[5, 5:-5].min() > 0.99 and near[-5, 5:-5].min() > 0.97
    depth, normals, intrinsics, to_the_horizon = corner(128, distance=1e5)
    assert depth_to_occlusion(depth, intrinsics, normals, Axes.OPENCV, radius=16, weight=to_the_horizon).min() > 0.99


def test_what_stands_far_in_front_darkens_nothing_behind_it():
    depth = torch.full((1, 1, 65, 65), 10.0)
    depth[..., 20:40, 20:40] = 2.0
    normals = torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1).expand(1, 3, 65, 65)
    found = depth_to_occlusion(depth, intrinsics_from_fov(60.0, 65, 65), normals, Axes.OPENCV, radius=16)
    assert found[0, 0, 30, 42] > 0.97
    sky = depth < 5
    assert bool((depth_to_occlusion(depth, intrinsics_from_fov(60.0, 65, 65), normals, Axes.OPENCV, weight=sky)[~sky] == 1).all())


@pytest.mark.parametrize("quantity", list(Quantity))
def test_occlusion_of_any_depth(quantity):
    depth, *_ = corner(33)
    depth = depth if quantity is not Quantity.DISPARITY else 1 / depth
    found = estimate_to_occlusion(Estimate(depth, quantity, mask=depth > 0), radius=8, directions=8)  # the wall is not sky
    assert found.isfinite().all() and found.min() < 0.95 and found.max() == 1
    with pytest.raises(ValueError, match="no depth"):
        estimate_to_occlusion(Estimate(normals=FACING))


def test_contrast_leaves_open_places_white():
    assert torch.allclose(with_contrast(torch.tensor([1.0, 0.5, 0.0]), 2.0), torch.tensor([1.0, 0.25, 0.0]))


def test_detail_is_what_is_left_of_a_leaning_rough_wall():
    fine = height_to_normals(bumps(96) * 0.3)
    leaning = blend_normals(unit_normals(torch.tensor([0.4, -0.3, 1.0]).view(1, 3, 1, 1)).expand_as(fine), fine)
    found = detail_normals(leaning, radius=32)
    inner = (..., slice(16, -16), slice(16, -16))
    assert ((found - fine)[inner]).square().mean().sqrt() < 0.05 < ((leaning - fine)[inner]).square().mean().sqrt()
    known = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    assert torch.equal(detail_normals(leaning, weight=known), FACING.expand_as(leaning))


def test_detail_beside_the_border_is_as_true_as_in_the_middle():
    """Of fine waves on a bowl: where the bowl rises towards the border, a mean over the pixels that there are lags behind."""
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    fine = 0.4 * torch.sin(x / 2) * torch.cos(y / 2)
    bowl = ((x - 128).square() + (y - 96).square()) / 600
    found = detail_normals(height_to_normals((bowl + fine)[None, None]), radius=32)
    wanted = height_to_normals(fine[None, None])
    apart = torch.rad2deg(torch.acos((found * wanted).sum(1).clamp(-1, 1)))[0]
    beside, middle = torch.cat((apart[:6].flatten(), apart[-6:].flatten())).mean(), apart[48:-48, 48:-48].mean()
    assert beside < 1.6 * middle + 0.5, (beside, middle)


def test_a_photograph_gives_relief_of_unit_contrast():
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    relief = PhotoRelief(image, radius=16).height()
    assert relief.std().item() == pytest.approx(1, abs=0.05) and abs(relief.mean().item()) < 0.01
    assert torch.equal(PhotoRelief(torch.full((1, 3, 8, 8), 0.4)).height(), torch.zeros(1, 1, 8, 8))
    assert torch.allclose(PhotoRelief(image).normals(0.0), FACING.expand(1, 3, 64, 64))
    dark = torch.ones(1, 3, 33, 33)
    dark[..., 16] = 0
    assert PhotoRelief(dark, radius=8).height()[0, 0, 16].argmin() == 16


def test_joints_are_deep_whether_they_are_bright_or_dark():
    """Each image of a batch is judged by itself."""
    images = []
    for joint, stone in ((0.7, 0.3), (0.2, 0.5)):
        image = torch.full((1, 3, 96, 128), stone)
        image[..., ::24, :] = image[..., 1::24, :] = image[..., ::32] = image[..., 1::32] = joint
        images.append((image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1))
    both = torch.cat(images)
    assert (bright_lines(both) >= BRIGHT_JOINTS).flatten().tolist() == [True, False]
    relief, high, low = (PhotoRelief(both, radius=32).height(bright) for bright in ("auto", "high", "low"))
    assert (relief[:, 0, 24:26].mean((1, 2)) < -0.5).all() and (relief[:, 0, 8:18, 8:28].mean((1, 2)) > 0).all()
    assert torch.equal(relief, torch.cat((low[:1], high[1:]))) and torch.equal(high, -low)
    assert torch.equal(PhotoRelief(both).normals(-1.0), PhotoRelief(both).normals(-1.0, "high")), "negative says it by hand"


def wall(hue=(0.6, 0.35, 0.25)):
    """Coloured bricks between grey mortar, whose upper part lies in the shadow of the brick above."""
    image = torch.tensor(hue).view(1, 3, 1, 1).repeat(1, 1, 144, 128)
    for row in range(0, 144, 24):
        image[..., row : row + 2, :], image[..., row + 2 : row + 5, :] = 0.25, 0.7
    image[..., ::32], image[..., 1:128:32] = 0.25, 0.7
    return (image + 0.02 * torch.randn(1, 1, 144, 128, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def test_grey_mortar_of_what_tiles_is_deep_at_its_borders_too():
    image, shift = wall(), (36, 20)
    rolled = PhotoRelief(image.roll(shift, (2, 3)), radius=32, borders="seamless").height()
    there = PhotoRelief(image, radius=32, borders="seamless").height().roll(shift, (2, 3))
    torch.testing.assert_close(rolled, there, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("borders", "in_doubt"), [("free", True), ("seamless", False)])
def test_a_relief_with_joints_is_not_in_doubt(borders, in_doubt):
    """A piece that shows its pattern only where it continues at its borders."""
    relief = PhotoRelief(wall()[..., 17:57, 17:57], borders=borders)
    assert relief.is_in_doubt.item() is in_doubt
    assert torch.equal(relief.height(), relief.height("high")) is in_doubt


def test_grey_mortar_is_deep_be_it_lit_or_in_shadow():
    image = wall()
    joints, relief = grey_joints(image), PhotoRelief(image, radius=32).height()
    lit, brick = slice(74, 77), slice(82, 92)
    assert joints[0, 0, lit, 4:28].min() > 0.5 and joints[0, 0, brick, 8:24].max() < 0.2
    assert relief[0, 0, lit, 4:28].mean() < -1 < relief[0, 0, brick, 8:24].mean()
    assert PhotoRelief(image, radius=32).height("high")[0, 0, lit, 4:28].mean() > 0.5, "as the pixels are, where that is asked for"
    assert not PhotoRelief(image).is_in_doubt.any()


def test_grey_stones_have_no_joints_of_another_colour():
    assert not grey_joints(wall((0.5, 0.5, 0.5))).any()
    assert not grey_joints(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).any()


def test_bright_lines_in_one_place_are_no_joints():
    image = torch.full((1, 3, 160, 160), 0.4) + 0.01 * torch.randn(1, 1, 160, 160, generator=torch.Generator().manual_seed(0))
    image[..., 10:70:8, 10:70] = 0.8
    assert bright_lines(image).item() == 0 and PhotoRelief(image).is_in_doubt.item()
    assert torch.equal(PhotoRelief(image).height(), PhotoRelief(image).height("high"))


def test_a_mirrored_photograph_goes_on_and_its_estimate_is_cut():
    image = torch.rand(1, 3, 20, 30)
    whole = mirror(image, (2, 3))
    assert whole.shape == (1, 3, 24, 36) and torch.equal(whole[..., 0, 3:-3], image[..., 2, :])
    assert torch.equal(whole[..., 3:-3], whole[..., 3:33])
    normals = unit_normals(torch.randn(1, 3, 24, 36))
    mask = torch.rand(1, 1, 24, 36) > 0.5
    found = unmirrored_normals(Estimate(normals=normals, axes=Axes.OPENCV, mask=mask), (2, 3))
    assert torch.equal(found.normals, normals[..., 2:-2, 3:-3]) and torch.equal(found.mask, mask[..., 2:-2, 3:-3])
    assert found.axes is Axes.OPENCV
    with pytest.raises(ValueError, match="no normals"):
        unmirrored_normals(Estimate(torch.ones(1, 1, 24, 36), Quantity.METRIC_DEPTH), (2, 3))


def test_wrapping_and_folding_leave_a_tile_as_it_is():
    tile = torch.rand(1, 3, 12, 17)
    assert torch.allclose(folded(wrap(tile, (3, 4)), (3, 4)), tile)
    assert torch.equal(folded(wrap(tile, (0, 0)), (0, 0)), tile)
    assert margins(100, 60, 0.25) == (25, 15)
    with pytest.raises(ValueError, match=r"margin is 0\.6"):
        margins(9, 9, 0.6)


@pytest.mark.parametrize("quantity", list(Quantity))
def test_an_estimate_that_slopes_tiles_without_a_seam(quantity, seam_step):
    tile = 0.02 * bumps(64)
    beyond = margins(64, 64, 0.25)
    wide = wrap(tile, beyond)
    slope = torch.linspace(0, 2, wide.shape[-1]) + torch.linspace(0, 1, wide.shape[-2])[:, None]
    normals = unit_normals(FACING + 0.2 * torch.randn(1, 3, *wide.shape[-2:], generator=torch.Generator().manual_seed(0)))
    leaning = unit_normals(blurred(normals, 1.0) + torch.linspace(0, 1, wide.shape[-1]).expand(1, 3, *wide.shape[-2:]))
    found = seamless_estimate(Estimate(wide + slope + 1, quantity, normals=leaning), beyond)
    for maps in (found.depth, found.normals):
        over, inside = seam_step(maps)
        assert over < 1.3 * inside
    before, _ = seam_step((wide + slope + 1)[..., 16:-16, 16:-16])
    assert before > 10 * seam_step(found.depth)[0]
    assert bool((found.depth > 0).all()) and found.intrinsics is None
    if quantity not in ZERO_AT_CAMERA:
        assert (found.depth - found.depth.mean() - tile + tile.mean()).abs().max() < 0.1 * tile.std() + 0.02


def test_holes_stay_holes_of_a_tile():
    depth = torch.full((1, 1, 24, 24), 2.0)
    depth[..., 10:12, 10:12] = torch.nan
    found = seamless_estimate(Estimate(depth, Quantity.METRIC_DEPTH), (4, 4))
    assert found.mask is not None and int((~found.valid).sum()) == 4
    nothing = seamless_estimate(Estimate(depth, Quantity.METRIC_DEPTH, mask=torch.zeros_like(depth, dtype=torch.bool)), (4, 4))
    assert not nothing.valid.any()


def test_borders_of_an_image_are_made_to_meet(seam_step):
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 24, 32) + 0.01 * torch.rand(1, 3, 24, 32)
    even = tileable(ramp)
    assert seam_step(even)[0] < 0.3 * seam_step(ramp)[0] and torch.allclose(even.mean(), ramp.mean(), atol=1e-4)
    tile = bumps(32)
    assert seam_step(tileable(tile))[0] <= 1.3 * seam_step(tileable(tile))[1]
    assert torch.equal(tileable(torch.full((1, 1, 1, 1), 0.3)), torch.full((1, 1, 1, 1), 0.3))


def test_a_set_of_maps_of_a_photograph():
    image = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    estimate = Estimate(normals=ball()[..., :48, :64].expand(2, -1, -1, -1))
    options = PbrOptions(borders="seamless", directions=8)
    maps = pbr_maps(material_normals(estimate, relief_of_photo(image, options), options), options)
    for each in (maps.height, maps.occlusion, *maps.bend):
        assert each.shape == (2, 1, 48, 64) and each.min() >= 0 and each.max() <= 1 and each.isfinite().all()
    assert maps.normals.shape == (2, 3, 48, 64) and maps.height_range > 0
    for known, words in ((None, "no normals"), (estimate, "no photograph")):
        with pytest.raises(ValueError, match=words):
            material_normals(known, relief_of_photo(image, options) if known is None else None, options)


def test_reliefs_of_normals_and_photograph_add_up_without_combs():
    """Steep coins that a brighter photograph of them raises at the same edges: the height is the sum of both."""
    disc = torch.sigmoid((24 - torch.hypot(*grid(96))) / 1.5)[None, None]
    coin, options = 12 * disc, PbrOptions(radius=MAX_SHAPE, relief=2.0, bright="high")
    photo = relief_of_photo((0.2 + 0.6 * disc).expand(-1, 3, -1, -1), options)
    normals = material_normals(Estimate(normals=height_to_normals(coin)), photo, options)
    truth = coin + 2 * photo.height("high")
    error = normals_to_height(normals, level=True, derivative="central") - truth + truth.mean()
    assert error.abs().max() < 0.05 * (truth.max() - truth.min())
    alternating = error.diff(dim=-1).diff(dim=-1).abs()
    assert alternating.max() < 0.05


@pytest.mark.parametrize(("borders", "radius"), [("free", 0), ("seamless", 12)])
def test_height_and_normals_of_a_set_are_one_surface(borders, radius):
    """Shapes that the height leaves out are not in the normals: integrated they give it, with its range."""
    wave = (torch.arange(96) * math.tau / 96).sin() * 9
    normals = height_to_normals((wave + bumps(96)).view(1, 1, 96, 96), borders=borders)
    options = PbrOptions(borders=borders, radius=radius, directions=4)
    maps = pbr_maps(normals, options)
    assert maps.occlusion.equal(pbr_maps(normals, replace(options, occlusion_radius=6)).occlusion), "half a shape's width"
    found = normals_to_height(maps.normals, borders=borders, derivative="central")
    assert torch.allclose(found - found.amin(), maps.height * maps.height_range, atol=2e-3)
    whole = normals_to_height(normals, borders=borders)
    assert 0.4 * (whole.max() - whole.min()) < maps.height_range < 0.6 * (whole.max() - whole.min()), "the bumps alone"


HUGE = torch.ones(1, 3, 1, 1).expand(1, 3, 16384, 16384)
TOO_LARGE = r"16384x16384 pixels.*make it 8192x8192 or less"
test_maps_too_large_are_refused_before_memory_is_taken = refusals(
    *(
        (call, TOO_LARGE)
        for call in (
            lambda: height_to_occlusion(HUGE[:, :1]),
            lambda: depth_to_occlusion(HUGE[:, :1], torch.eye(3)[None], HUGE),
            *(functools.partial(each, HUGE) for each in (mean_curvature, detail_normals, PhotoRelief, normals_to_height)),
        )
    )
)


def test_occlusion_of_a_large_depth_is_computed_at_every_second_pixel(monkeypatch):
    """And is as good as that of every pixel but where it changes within two pixels; things do not shine through their edges."""
    depth = 30 - blurred(torch.rand(1, 1, 90, 131, generator=torch.Generator().manual_seed(2)), 6.0) * 8
    depth[..., 20:70, 40:80] = 15
    normals, camera = with_normals(Estimate(depth, Quantity.METRIC_DEPTH)).normals, intrinsics_from_fov(50.0, 90, 131)
    whole = depth_to_occlusion(depth, camera, normals, radius=24)
    monkeypatch.setattr(occlusion, "_ALONG", 65)
    half = depth_to_occlusion(depth, camera, normals, radius=24)
    assert not torch.equal(half, whole) and (half - whole).abs().mean() < 2 / 255
    assert (half - whole)[..., 24:66, 44:76].abs().max() < 1e-3
