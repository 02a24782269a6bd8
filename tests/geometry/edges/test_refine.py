"""Ramps made steps where the image has its edges; what is no ramp stays as it is."""

import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.edges.ramp_sharpening import ramp_width, sharpen_ramps
from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from tests.refusals import refuses

HEIGHT, WIDTH = 72, 96
METRIC = Quantity.METRIC_DEPTH


def grid(height=HEIGHT, width=WIDTH):
    v, u = torch.meshgrid(torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij")
    return v[None, None], u[None, None]


def step(near=2.0, far=4.0):
    """Two slanted planes: inverse depth, and where the near one is (an edge that is nowhere parallel to the pixels)."""
    v, u = grid()
    where = u + 0.3 * v < 58.4
    return torch.where(where, 1 / near + 5e-4 * v - 1e-4 * u, 1 / far + 4e-4 * u - 2e-4 * v), where


def image_of(where, noise=0.0):
    near, far = (torch.tensor(colour).view(1, 3, 1, 1) for colour in ((0.8, 0.5, 0.3), (0.3, 0.45, 0.6)))
    image = torch.where(where, near, far)
    return (image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def made_small(inverse, factor=2):
    return F.interpolate(inverse, scale_factor=1 / factor, mode="area")


def enlarged(inverse, factor=2):
    return F.interpolate(made_small(inverse, factor), size=inverse.shape[-2:], mode="bicubic", align_corners=False)


def wrong(estimate, inverse, off=0.03):
    """The share of pixels whose depth is off by more than a share of it, the image's border left out."""
    error = (estimate.depth * inverse - 1).abs()[..., 3:-3, 3:-3]
    return float((error > off).float().mean())


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("as_large", [True, False])
def test_two_slanted_planes_meet_at_the_images_edge(factor, as_large, noise):
    inverse, where = step()
    given = enlarged(inverse, factor) if as_large else made_small(inverse, factor)
    refined = refine_geometry(Estimate(1 / given, METRIC), image_of(where, noise))
    before = wrong(Estimate(1 / enlarged(inverse, factor), METRIC), inverse)
    assert refined.depth.shape == inverse.shape and wrong(refined, inverse) < min(0.01, 0.2 * before)


@pytest.mark.parametrize("quantity", [Quantity.DISPARITY, Quantity.RELATIVE_DEPTH])
def test_depth_of_unknown_zero_keeps_its_scale(quantity):
    inverse, where = step()
    truth = inverse * 700 - 30 if quantity is Quantity.DISPARITY else 1 / inverse * 20 + 7
    given = F.interpolate(made_small(truth), size=inverse.shape[-2:], mode="bilinear", align_corners=False)
    refined = refine_geometry(Estimate(given, quantity), image_of(where))
    jump = 0.02 * (truth.amax() - truth.amin())
    errors = [((each - truth).abs()[..., 3:-3, 3:-3] > jump).float().mean() for each in (given, refined.depth)]
    assert errors[1] < 0.3 * errors[0]


def test_without_the_image_the_step_is_in_the_middle_of_the_ramp():
    inverse, where = step()
    grey = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    assert wrong(refine_geometry(Estimate(1 / enlarged(inverse), METRIC), grey), inverse) < 0.01
    same = refine_geometry(Estimate(1 / enlarged(inverse), METRIC), image_of(where), strength=0)
    assert torch.allclose(same.depth, refine_geometry(Estimate(1 / enlarged(inverse), METRIC), grey).depth, rtol=0.05)


def test_land_that_goes_away_to_the_sky_stays_land():
    v, u = grid()
    land = v > 30 + 0.1 * u
    inverse = torch.where(land, 0.002 + 6e-4 * (v - 30 - 0.1 * u), 4e-4)
    image = torch.where(land, 0.7, 0.75).expand(-1, 3, -1, -1).contiguous()
    small = F.avg_pool2d(made_small(inverse), 5, 1, 2, count_include_pad=False)
    refined = refine_geometry(Estimate(1 / small, METRIC), image)
    became_sky = land & (refined.depth > 1 / 8e-4)
    assert float(became_sky.float().sum() / land.float().sum()) < 0.01


def test_a_thin_bar_is_as_wide_as_in_the_image():
    _, u = grid()
    where = (u - 40).abs() < 3
    inverse = torch.where(where, 0.5, 0.2)
    refined = refine_geometry(Estimate(1 / made_small(inverse), METRIC), image_of(where))
    near = refined.depth < 3.3
    assert ((near != where).float().mean() < 0.01) and wrong(refined, inverse, 0.06) < 0.01


@pytest.mark.parametrize("tilt", [0.0, 0.002, 0.01])
def test_a_textured_plane_stays_as_it_is(tilt):
    v, u = grid()
    inverse = 0.3 + tilt * v
    image = (((u // 6 + v // 6) % 2) * 0.8 + 0.1).expand(1, 3, HEIGHT, WIDTH)
    estimate = Estimate(1 / inverse, METRIC)
    assert torch.equal(refine_geometry(estimate, image).depth, estimate.depth)
    assert torch.equal(refine_geometry(estimate, image, radius=5).depth, estimate.depth)


def test_true_steps_stay_as_they_are():
    inverse, where = step()
    estimate = Estimate(1 / inverse, METRIC)
    shifted = image_of(torch.roll(where, 2, -1))
    assert torch.equal(refine_geometry(estimate, shifted).depth, estimate.depth)


def test_normals_are_those_of_the_own_side():
    inverse, where = step()
    camera = intrinsics_from_fov(50, HEIGHT, WIDTH)
    left, right = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.6, 0.0, 0.8), (-0.6, 0.0, 0.8)))
    truth = torch.where(where, left, right)
    soft = F.normalize(F.interpolate(made_small(truth), size=(HEIGHT, WIDTH), mode="bilinear"), dim=1)
    given = Estimate(1 / enlarged(inverse), METRIC, normals=soft, intrinsics=camera)
    refined = refine_geometry(given, image_of(where))
    assert refined.axes is Axes.OPENGL and torch.allclose(refined.normals.norm(dim=1), torch.ones(()), atol=1e-5)
    errors = [((each * truth).sum(1) < math.cos(math.radians(5)))[..., 3:-3, 3:-3].float().mean() for each in (soft, refined.normals)]
    assert errors[1] < 0.2 * errors[0]


def test_derived_normals_know_nothing_of_the_ramp():
    inverse, where = step()
    camera = intrinsics_from_fov(50, HEIGHT, WIDTH)
    truth = with_normals(Estimate(1 / inverse, METRIC, intrinsics=camera), edges="sharp").normals
    small = Estimate(1 / made_small(inverse), METRIC, intrinsics=intrinsics_from_fov(50, HEIGHT // 2, WIDTH // 2))
    plain = with_normals(small).resized(HEIGHT, WIDTH).normals
    refined = refine_geometry(small, image_of(where), derive=with_normals).normals
    errors = [torch.rad2deg(torch.acos((each * truth).sum(1).clamp(-1, 1)))[..., 3:-3, 3:-3].mean() for each in (plain, refined)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.7


def disc_before_a_wall(ratio, height=120, width=160):
    """A disc at half a metre before a wall that is `ratio` times as far, and less far below: inverse depth, and where the disc is."""
    v, u = grid(height, width)
    where = (v - 59.3) ** 2 + (u - 80.2) ** 2 < 30**2
    return torch.where(where, 2.0, 2.0 / ratio * (0.6 + 0.8 * v / height)), where


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("ratio", [3, 10, 30, 100, 1000, 10000])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("soft", [False, True], ids=["sharp", "soft"])
def test_no_wall_is_lost_behind_what_is_much_nearer(ratio, factor, soft):
    inverse, where = disc_before_a_wall(ratio)
    small = made_small(inverse, factor)
    small = F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, 1) if soft else small
    given = Estimate(1 / small, METRIC)
    refined = refine_geometry(given, image_of(where), derive=with_normals)
    assert refined.mask is None and refined.valid.all()
    share = 0.3 if ratio <= 30 else 0.6 if ratio == 100 else 1.05
    assert wrong(refined, inverse, 0.1) < share * wrong(given.resized(*inverse.shape[-2:]), inverse, 0.1)


@pytest.mark.parametrize("ratio", [3, 100, 1000])
@pytest.mark.parametrize("factor", [2, 4])
def test_of_a_disc_before_a_wall_and_the_sky_the_sky_alone_is_masked(ratio, factor):
    inverse, where = disc_before_a_wall(ratio)
    v, u = grid(*inverse.shape[-2:])
    sky = v + 0.2 * u < 32.5
    image = torch.where(sky, torch.tensor((0.9, 0.95, 1.0)).view(1, 3, 1, 1), image_of(where))
    land = F.interpolate((~sky).float(), scale_factor=1 / factor, mode="area") >= 0.5
    weight = made_small((~sky).float(), factor).clamp(min=1e-6)
    small = made_small(torch.where(sky, 0, inverse), factor) / weight
    given = Estimate(torch.where(land, 1 / small, torch.nan), METRIC, mask=land)
    refined, plain = refine_geometry(given, image), given.resized(*inverse.shape[-2:])
    misses = [float((each.mask == sky).float().mean()) for each in (plain, refined)]
    assert misses[1] < 0.95 * misses[0]
    assert refined.mask[~sky & (v + 0.2 * u > 36)].all(), "nothing is masked that is not at the sky's edge"
    assert torch.isfinite(refined.depth[refined.mask]).all()


def test_a_hole_leaves_what_is_beside_it_as_it_is():
    inverse, where = disc_before_a_wall(5)
    depth, mask = 1 / made_small(inverse, 2), torch.ones(1, 1, 60, 80, dtype=torch.bool)
    mask[..., :10, :30] = False
    found, expected = (refine_geometry(Estimate(depth, METRIC, mask=each), image_of(where)) for each in (mask, None))
    torch.testing.assert_close(found.depth[found.mask], expected.depth[found.mask], rtol=0.05, atol=0)
    mask[...] = True
    mask[..., 6:40, 20:60] = False  # cuts the disc, whose edge meets the hole
    found = refine_geometry(Estimate(depth, METRIC, mask=mask), image_of(where))
    assert (found.depth * inverse)[found.mask].max() < 6, "no farther than the wall seen on the disc"


@pytest.mark.parametrize(
    ("dtype", "of_normals"), [(torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float32, torch.float16)], ids=str
)
def test_half_precision_is_refined_beside_an_image_in_full(dtype, of_normals):
    inverse, where = step()
    normals = F.normalize(torch.ones(1, 3, *inverse.shape[-2:])).to(of_normals)
    refined = refine_geometry(Estimate((1 / enlarged(inverse)).to(dtype), METRIC, normals, Axes.OPENGL), image_of(where))
    assert torch.isfinite(refined.depth).all() and wrong(refined, inverse, 0.05) < 0.02
    torch.testing.assert_close(refined.normals, normals)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2)])
def test_constant_depth_and_smallest_maps(size):
    for value in (3.0, math.nan):
        estimate = Estimate(torch.full((1, 1, *size), value), METRIC)
        refined = refine_geometry(estimate, torch.rand(1, 3, *size), derive=with_normals)
        assert torch.allclose(refined.depth, estimate.depth, equal_nan=True)
    assert sharpen_ramps(torch.ones(1, 1, *size), torch.rand(1, 3, *size), 3)[0].shape == (1, 1, *size)


def test_the_width_of_a_ramp_is_measured():
    _, u = grid()
    for width in (1, 4, 9):
        ramp = 1 + ((u - 40.5) / width + 0.5).clamp(0, 1)
        assert ramp_width(ramp) == pytest.approx(width, rel=0.3)
    assert ramp_width(torch.ones(1, 1, 9, 9)) == 0
    assert ramp_width(1 + 0.01 * u) == 0


IMAGE, ONES = torch.rand(1, 3, 20, 30), Estimate(torch.ones(1, 1, 20, 30), METRIC)
test_what_cannot_be_refined_is_refused = refuses(
    lambda image, more, estimate=ONES: refine_geometry(estimate, image, **more),
    (IMAGE, {}, Estimate(normals=IMAGE), "no depth"),
    (torch.rand(2, 3, 20, 30), {}, "geometry holds 1 images, image 2"),
    (torch.rand(1, 3, 30, 20), {}, "another shape"),
    (torch.rand(1, 1, 20, 30), {}, "image has shape"),
    (torch.rand(1, 3, 20, 30), {"strength": 3}, "strength is 3"),
    (torch.rand(1, 3, 20, 30), {"radius": 65}, "radius is 65"),
)
