import math

import pytest
import torch

from depth_normal.geometry.camera import depth_to_points, intrinsics_from_focal_length
from depth_normal.geometry.effects import shadows
from depth_normal.geometry.effects.lights import Light, light_direction
from depth_normal.geometry.effects.shadows import cast_shadow, cast_shadows
from tests.geometry.known_surfaces import depth_of_things
from tests.ray_traced_scenes import ball

NETWORK = torch.ones(1, 1, 1, 1)  # the doubt about the depth of a network


def camera(height, width, focal=100.0):
    return intrinsics_from_focal_length(focal, height, width)


def ball_before_wall(radius=0.25, middle=1.6, wall=2.0, height=240, width=320, focal=300.0):
    """Depth of a ball on the optical axis before a wall, and where the ball is seen."""
    intrinsics = camera(height, width, focal)
    depth = depth_of_things([ball((0, 0, middle), radius)], intrinsics, height, width).float()
    return depth.clamp(max=wall), depth.isfinite(), intrinsics


@pytest.mark.parametrize(
    ("azimuth", "elevation", "doubt", "agreement"),
    [(180, 45, None, 0.7), (135, 50, None, 0.7), (270, 40, None, 0.7), (135, 50, NETWORK, 0.65)],
)
def test_a_ball_casts_the_shadow_that_rays_find(azimuth, elevation, doubt, agreement):
    depth, on_ball, intrinsics = ball_before_wall()
    direction = light_direction(azimuth, elevation)
    shadow = cast_shadow(depth, intrinsics, Light(direction), doubt=doubt)
    x, y, z = direction
    to_centre = torch.tensor((0.0, 0.0, 1.6)).view(3, 1, 1) - depth_to_points(depth, intrinsics)[0]
    along = (to_centre * torch.tensor((x, -y, -z)).view(3, 1, 1)).sum(0)
    missed_by = (to_centre.square().sum(0) - along.square()).clamp(min=0).sqrt()
    found, truth, wall = shadow[0, 0] > 0.5, missed_by < 0.25, ~on_ball[0, 0]
    assert (found & truth & wall).sum() / ((found | truth) & wall).sum() > agreement
    assert doubt is NETWORK or not (found & wall & (missed_by > 0.32)).any()


def before_wall(gap=0.5):
    """A large plate whose right half is cut off, before a wall; focal length 300."""
    depth = torch.full((1, 1, 120, 480), 2.0)
    depth[..., :240] = 2.0 - gap
    return depth, camera(120, 480, 300.0)


def penumbra(shadow):
    """Pixels between a fifth and four fifths of the light."""
    row = shadow[0, 0, 60, 245:]
    assert row.max() > 0.9
    last = int((row > 0.8).nonzero().max())
    return int((row[last:] > 0.2).sum())


@pytest.mark.parametrize("size", [0.3, 0.6])
def test_the_penumbra_of_an_area_light_is_as_wide_as_rays_say(size):
    # The rim at 0.5 before the wall, light from the left at 45 degrees and an angle across: on the wall it spans gap (tan(a+) - tan(a-)).
    # Of a disk's width, between a fifth and four fifths of its area lie 0.49.
    depth, intrinsics = before_wall()
    half = math.atan(size / 2)
    span = 0.5 * (math.tan(math.pi / 4 + half) - math.tan(math.pi / 4 - half)) / 2 * 300
    soft = penumbra(cast_shadow(depth, intrinsics, Light(light_direction(180, 45), size=size)))
    assert soft == pytest.approx(0.49 * span, rel=0.35)
    assert soft > 2 * penumbra(cast_shadow(depth, intrinsics, Light(light_direction(180, 45))))


@pytest.mark.parametrize(("lamp", "pitch"), [((0.9, 0.9, -2.2), 1), ((0.9, 0.9, -1.2), 3)])
def test_a_round_posts_shadow_is_a_strip_without_rungs_or_teeth(lamp, pitch):
    """A vertical post of radius 0.06 before a wall at 8: seen from above, rays from the lamp that pass its axis by less are hidden."""
    height, width, focal = 180 * pitch, 320 * pitch, 285.0 * pitch
    aside = (torch.arange(width) - (width - 1) / 2) / focal
    (x, z), radius = (-0.1, 4.0), 0.06
    middle, squared = aside * x + z, 1 + aside**2
    found = middle**2 - squared * (x * x + z * z - radius**2)
    across = torch.where(found > 0, (middle - found.clamp(min=0).sqrt()) / squared, 8.0)
    depth = across.expand(1, 1, height, width).contiguous()
    shadow = cast_shadow(depth, camera(height, width, focal), Light(lamp, is_point=True))[0, 0, 90 * pitch : 170 * pitch]
    way_x, way_z = aside * 8 - lamp[0], 8 + lamp[2]
    misses_by = ((x - lamp[0]) * way_z - (z + lamp[2]) * way_x).abs() / (way_x**2 + way_z**2).sqrt()
    wall = across == 8
    strip, beside = shadow[:, wall & (misses_by < radius)].mean(1), shadow[:, wall & (misses_by > 3 * radius)]
    assert strip.min() > 0.66 and beside.max() < 0.05
    assert strip.max() - strip.min() < 0.13, "each row is as dark"


@pytest.mark.parametrize(("elevation", "size"), [(5, 0.1), (30, 0.0), (80, 0.1)])
def test_depth_of_256_levels_casts_no_shadow_of_its_steps(elevation, size):
    rows = torch.linspace(0, 1, 180).view(1, 1, -1, 1).expand(1, 1, 180, 240)
    depth = 1 / ((rows * 255).round() / 255 * 2 / 3 + 1 / 3)
    assert cast_shadow(depth, camera(180, 240, 240.0), Light(light_direction(180, elevation), size=size)).max() == 0


@pytest.mark.parametrize(
    "lamp",
    [
        Light((-0.3, 0.3, 0.3), size=0.4),
        Light((-0.3, 0.3, -0.5), is_point=True, size=0.4),
        *(Light(light_direction(180, elevation)) for elevation in (5, 45, 90)),
    ],
)
def test_a_wall_and_a_slope_cast_no_shadow_on_themselves(lamp):
    """Inverse depth that is linear in columns is a plane; this one is nearer on the right, and lit from the left."""
    depth = torch.cat((torch.full((1, 1, 60, 80), 1.0), 1 / torch.linspace(0.2, 1, 80).expand(1, 1, 60, 80)))
    assert cast_shadow(depth, intrinsics_from_focal_length(80.0, 60, 80, batch=2), lamp).max() == 0


def test_a_large_image_is_shaded_as_a_small_one():
    """Rays at every second pixel, enlarged, against rays at every pixel."""
    small, _, intrinsics = ball_before_wall()
    large, on_ball, large_intrinsics = ball_before_wall(height=540, width=720, focal=675.0)
    lamp = Light(light_direction(180, 45))
    expected = torch.nn.functional.interpolate(cast_shadow(small, intrinsics, lamp), (540, 720), mode="bilinear")
    found = cast_shadow(large, large_intrinsics, lamp)
    assert (found - expected)[~on_ball].abs().mean() < 0.01
    rim = on_ball & (large > 1.5)
    assert found[rim].mean() - expected[rim].mean() < 0.05, "the shadow on the wall does not run onto the ball"


def test_holes_are_refused():
    with pytest.raises(ValueError, match="not positive and finite"):
        cast_shadow(torch.full((1, 1, 4, 4), float("nan")), camera(4, 4), Light((0, 0, 1)))


@pytest.mark.parametrize(("elevation", "size"), [(8, 0.01), (10, 0.0)])
def test_the_shadow_of_a_low_sun_behind_the_scene_is_as_long_as_rays_say(elevation, size):
    """A ground 1 below the camera, a fence 0.6 high at 6 and a sky at 40; focal length 300."""
    down = (torch.arange(240.0) - 59.5) / 300
    ground = torch.where(down > 0, 1 / down.clamp(min=1e-6), 40.0).clamp(max=40)
    depth = torch.where((down > 0.4 / 6) & (ground > 6), 6.0, ground).view(1, 1, -1, 1).expand(1, 1, 240, 320).contiguous()
    intrinsics = torch.tensor([[[300.0, 0, 159.5], [0, 300.0, 59.5], [0, 0, 1]]])
    rise = math.tan(math.radians(elevation))
    shadow = cast_shadow(depth, intrinsics, Light((0.0, rise, -1.0), size=size))[0, 0, :, 160]
    distance, begins = depth[0, 0, :, 160], 6 - 0.6 / rise
    assert (shadow[(distance > begins + 0.5) & (distance < 5.8)] > 0.6).all()
    assert (shadow[distance < begins - 0.1] < 0.1).all()
    # Neither the ground behind the fence nor the sky is hidden by the sky.
    assert (shadow[distance > 16] < 0.1).all()


@pytest.mark.parametrize(("at", "share"), [(3, 0.02), (20, 0.25)])
def test_a_networks_ripples_in_a_wall_cast_no_shadows(at, share):
    """Ripples of 2 % in a wall at 3, and of 25 % in one at 20, behind something at 1: of true depth a low light finds them."""
    rows, columns = torch.arange(240.0)[:, None], torch.arange(320.0)
    inverse = (1 + share * torch.sin(rows / 9 + 1) * torch.sin(columns / 8)) / at
    depth = 1 / torch.where(rows > 220, 1.0, inverse)[None, None]
    options = {"intrinsics": camera(240, 320, 300.0), "light": Light(light_direction(180, 12))}
    true, network = (cast_shadow(depth, **options, doubt=each)[..., :180, :] for each in (0 * NETWORK, NETWORK))
    assert true.max() > 0.9 and network.max() < 0.01


def test_a_few_near_pixels_take_no_shadow_from_far_things():
    depth = torch.full((1, 1, 180, 240), 4.5)
    depth[..., 50:150, 100:130] = 3.5
    specked = depth.clone()
    specked[..., -4:, :4] = 0.2
    options = {"intrinsics": camera(180, 240, 200.0), "light": Light(light_direction(160, 25)), "doubt": NETWORK}
    alone, beside = (cast_shadow(each, **options)[..., 30:160, 131:200].sum() for each in (depth, specked))
    assert alone > 500 and beside > 0.5 * alone, (alone, beside)


def test_a_networks_shadow_softens_with_the_distance_from_its_rim():
    soft = []
    for gap in (0.2, 0.8):
        depth, intrinsics = before_wall(gap)
        soft.append(penumbra(cast_shadow(depth, intrinsics, Light(light_direction(180, 45)), doubt=NETWORK)))
    assert soft[1] > 2.5 * soft[0], soft


@pytest.mark.parametrize(("pitch", "blur"), [(1, 8), (3, 4)])
def test_a_shadow_is_as_blurred_as_what_it_falls_on(pitch, blur):
    """Of an edge with the standard deviation s, 1.68 s lie between a fifth and four fifths of the light."""
    depth, intrinsics = before_wall()
    size = {"scale_factor": float(pitch), "mode": "nearest"}
    depth = torch.nn.functional.interpolate(depth, **size)
    intrinsics = camera(120 * pitch, 480 * pitch, 300.0 * pitch)
    shadow = cast_shadow(depth, intrinsics, Light(light_direction(180, 45)), blur=torch.full((1, 1, 30, 40), float(blur * pitch)))
    assert penumbra(shadow[..., ::pitch, ::pitch]) == pytest.approx(1.68 * blur, rel=0.35)
    assert shadow[..., : 235 * pitch].max() < 0.05, "none of it on the plate"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("of_network", [False, True])
@pytest.mark.parametrize("size", [(90, 120), (180, 240)], ids=["rays in tiles for area lights only", "all rays in tiles"])
def test_lamps_cast_together_what_each_casts_alone(size, of_network):
    depth, _, intrinsics = ball_before_wall(height=size[0], width=size[1], focal=size[1] * 0.75)
    lamps = Light((-0.9, 0.1, 0.05)), Light((-0.6, 0.3, -1.2), is_point=True, size=0.2), Light((0.5, 0.5, 0.4))
    options = {"doubt": NETWORK, "blur": torch.rand(1, 1, 9, 12)} if of_network else {}
    together = cast_shadows(depth, intrinsics, lamps, **options)
    alone = torch.cat([cast_shadow(depth, intrinsics, lamp, **options) for lamp in lamps], 1)
    torch.testing.assert_close(together, alone)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("height", "width", "size"), [(20, 30, 0.5), (300, 700, 0.5), (7, 200, 0.0)])
def test_half_precision_casts_the_same_shadow(dtype, height, width, size):
    depth, _, intrinsics = ball_before_wall(height=height, width=width, focal=float(max(height, width)))
    lamp = Light(light_direction(185.0, 25.0), size=size)
    shadow, known = (cast_shadow(each, intrinsics, lamp, doubt=NETWORK) for each in (depth.to(dtype), depth.to(dtype).float()))
    assert shadow.dtype == dtype
    torch.testing.assert_close(shadow.float(), known, atol=0.01, rtol=0)


def test_rays_of_all_sizes_share_one_pattern():
    """A pattern for each size would fill the memory in a batch of many sizes. No side has more rays than 719 pixels."""
    assert shadows._disk(torch.empty(1, 1, 9, 16)) is shadows._disk(torch.empty(1, 1, 270, 480))
    assert not cast_shadow(torch.ones(1, 1, 2, 719), camera(2, 719), Light((0, 0, 1), size=0.5)).any()
