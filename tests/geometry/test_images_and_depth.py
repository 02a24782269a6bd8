"""Functions of images and their depth: a batch is its images one by one, any size is answered, and any two floating types go together."""

import pytest
import torch
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.edges.depth_edges import depth_at_image_edges
from depth_normal.geometry.edges.matting import cut_out
from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.effects.depth_of_field import depth_of_field
from depth_normal.geometry.effects.lights import Light, LightPlan
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.effects.makers import in_fog
from depth_normal.geometry.effects.relight import relight
from depth_normal.geometry.effects.shadows import cast_shadows
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.filters.guided_filter import mask_at_image_edges
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.regions.before_sky import depth_before_sky
from depth_normal.geometry.regions.boxes import object_in_box
from depth_normal.geometry.regions.objects import object_around
from depth_normal.geometry.regions.sky import find_sky, sky_alpha
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.surfaces.normals import depth_to_normals, disparity_to_normals, dmap2norm, midas_normals
from depth_normal.geometry.textures.occlusion import estimate_to_occlusion, height_to_occlusion
from depth_normal.geometry.views.disocclusion import continue_surfaces, fill_uncovered
from depth_normal.geometry.views.parallax import BORDERS, parallax_frames, parallax_of_clip, parallax_of_estimate
from depth_normal.geometry.views.stereo import stereo_pair
from depth_normal.geometry.views.transparency import split_layers
from depth_normal.geometry.views.vr import vr_pair
from depth_normal.options.effects import FogOptions
from depth_normal.options.render import EDGES
from depth_normal.options.views import ORIGINALS, LoopOptions, StereoOptions

SKY = 100.0  # metres: as far as this is sky
PATH = torch.tensor([(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (0.05, 0.02, 0.01)])


def scenes():
    """Images and depth: a tower with a mast before the sky, a disc that a lens blurred, and a grainy plate whose rim is nearer."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 100), indexing="ij")
    colours = ((0.8, 0.2, 0.1), (0.2, 0.7, 0.3), (0.6, 0.75, 0.9), (0.35, 0.35, 0.25))
    red, green, blue, dark = (torch.tensor(each).view(3, 1, 1) for each in colours)
    grain = 0.2 * torch.rand(3, 60, 100, generator=torch.Generator().manual_seed(0))
    plate, inside = (x.abs() < 0.4) & (y.abs() < 0.5), (x.abs() < 0.2) & (y.abs() < 0.25)
    disc = torch.special.ndtr(20 * (0.5 - torch.hypot(1.6 * x, y)))
    tower, mast, sky = (x.abs() < 0.2) & (y > -0.4), (x.abs() < 0.03) & (y < 0) & (y > -0.8), y < 0
    images = (
        torch.where(mast, 0.1, torch.where(tower, red, torch.where(sky, blue, dark))) + 0.05 * grain,
        red * disc + green * (1 - disc),
        torch.where(plate, red, green) * 0.8 + grain,
    )
    depths = (
        torch.where(tower, 2.0, torch.where(sky, SKY, 3 / (0.35 + y.clamp(min=0)))),
        torch.where(disc > 0.5, 1.0, 3.0),
        torch.where(inside, 1.0, torch.where(plate, 0.85, 40.0)),
    )
    return torch.stack(images).clamp(0, 1), torch.stack(depths)[:, None]


def metric(depth, **more):
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=depth < SKY, **more)


def camera(depth):
    return intrinsics_from_fov(55.0, *depth.shape[-2:], batch=len(depth))


def near(depth):
    """What is nearer than 3 m, in the type of its depth."""
    return (depth < 3).to(depth)


def soft(depth):
    return 1 / torch.nn.functional.avg_pool2d(1 / depth, 7, 1, 3, count_include_pad=False)


def torn(depth):
    """Inverse depth with holes of a few columns to the right of what is near."""
    is_near = near(depth).bool()
    return (1 / depth).masked_fill(is_near.roll(4, 3) & ~is_near, 0)


def both_eyes(pair):
    return pair.left, pair.right, pair.holes_left, pair.holes_right


LAMPS = Light((-0.9, 0.1, 0.05), size=0.1), Light((-0.6, 0.3, -1.2), is_point=True, size=0.2)
PLANS = LightPlan("point"), LightPlan("directional")


def shadows(depth):
    """Each image by a lens of its own: rays through it are of another length."""
    doubt, lens = torch.ones_like(depth[..., :1, :1]), 20 + 60 / depth.amax((1, 2, 3))
    intrinsics = intrinsics_from_fov(lens, *depth.shape[-2:], batch=len(depth))
    return cast_shadows(depth, intrinsics, LAMPS, doubt=doubt, blur=torch.nn.functional.adaptive_avg_pool2d(near(depth), (9, 12)))


def last_pixels(depth):
    return torch.zeros(len(depth), 2, *depth.shape[-2:], dtype=torch.long)


# Images (B, 3, H, W) and depth (B, 1, H, W) in, maps out.
FUNCTIONS = {
    "parallax": lambda images, depth: tuple(parallax_frames(images, depth, camera(depth), PATH, torch.full((len(depth),), 2.0))),
    **{
        f"stereo, {original}": lambda images, depth, original=original: both_eyes(
            stereo_pair(images, metric(depth), StereoOptions(9.3, 0.8, original))
        )
        for original in ORIGINALS
    },
    "vr180": lambda images, depth: both_eyes(vr_pair(images, metric(depth), "vr180", StereoOptions(eye_size=64))),
    "360-tb": lambda images, depth: both_eyes(vr_pair(images, metric(depth, projection=Projection.EQUIRECTANGULAR), "360-tb")),
    "fill": lambda images, depth: fill_uncovered(images, torn(depth)),
    "fill sideways": lambda images, depth: fill_uncovered(images, torn(depth), True),
    "fill, traces": lambda images, depth: fill_uncovered(images, torn(depth), traces=True),
    "fill, blurred": lambda images, depth: fill_uncovered(images, torn(depth), blurred=True),
    "continue": lambda images, depth: continue_surfaces(images, torn(depth), last_pixels(depth), 1),
    "depth at image edges": lambda images, depth: depth_at_image_edges(soft(depth), images),
    "occlusion": lambda images, depth: estimate_to_occlusion(metric(depth), radius=8, directions=4),
    "occlusion of a height": lambda images, depth: height_to_occlusion(-10 * depth, radius=8, directions=4),
    "refine": lambda images, depth: refine_geometry(metric(depth[..., ::2, ::2]), images).depth,
    "refine with normals": lambda images, depth: refine_geometry(metric(depth[..., ::2, ::2]), images, derive=with_normals).normals,
    "before the sky": lambda images, depth: depth_before_sky(depth, images, metric(depth)),
    "find the sky": lambda images, depth: find_sky(images, Estimate(1 / depth.float(), Quantity.DISPARITY)),
    "sky's alpha": lambda images, depth: sky_alpha(images, Estimate(1 / depth.float()[..., ::2, ::2], Quantity.DISPARITY)),
    "predicted sky's alpha": lambda images, depth: sky_alpha(images, metric(depth[..., ::2, ::2])),
    "depth of field": lambda images, depth: depth_of_field(images, 12 * near(depth) - 4, blades=5, rotation=30, highlights=1.0),
    "shadows": lambda images, depth: shadows(depth),
    "cut out": lambda images, depth: tuple(cut_out(images, near(depth), 5.0)),
    "mask at image edges": lambda images, depth: mask_at_image_edges(near(depth), images, 4),
    **{f"normals, {edges}": lambda images, depth, edges=edges: depth_to_normals(depth, camera(depth), None, edges) for edges in EDGES},
    "normals of disparity": lambda images, depth: disparity_to_normals(1 / depth),
    "MiDaS normals": lambda images, depth: midas_normals(1 / depth),
    "dmap2norm": lambda images, depth: dmap2norm(depth),
}
OF_ONE_IMAGE = {
    **{
        f"parallax of an estimate, {border}": lambda images, depth, border=border: tuple(
            parallax_of_estimate(images, metric(depth), PATH, border=border)
        )
        for border in BORDERS
    },
    **{
        f"parallax of a clip, {border}": lambda images, depth, border=border: tuple(
            parallax_of_clip(images, metric(depth), LoopOptions("orbit", border=border), range(len(images)))
        )
        for border in BORDERS
    },
    "relight": lambda images, depth: relight(**vars(lit_scene(images, metric(depth), PLANS, sky=True)), specular=0.3, shadow=0.5),
    "in fog": lambda images, depth: in_fog(split_layers(images), metric(depth), FogOptions(), True).result[0],
    "object around": lambda images, depth: object_around(depth, images, 0.5, 0.5),
    "object in a box": lambda images, depth: object_in_box(depth, images, (0.2, 0.2, 0.8, 0.8)),
}


def maps_of(found) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_batch_is_its_images_one_by_one(function):
    images, depth = scenes()
    together = maps_of(FUNCTIONS[function](images, depth))
    for index in range(3):
        one = slice(index, index + 1)
        for found, expected in zip(together, maps_of(FUNCTIONS[function](images[one], depth[one])), strict=True):
            torch.testing.assert_close(found[one], expected, rtol=0, atol=1e-4, equal_nan=True)


@pytest.mark.quick_cases(len(FUNCTIONS))
@pytest.mark.parametrize("function", FUNCTIONS | OF_ONE_IMAGE)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 7), (2, 30)])
def test_any_size_is_answered(function, size):
    count = 1 if function in OF_ONE_IMAGE else 2
    images, depth = torch.rand(count, 3, *size), torch.rand(count, 1, *size) + 0.5
    for found in maps_of((FUNCTIONS | OF_ONE_IMAGE)[function](images, depth)):
        assert torch.isfinite(found).all() and (found.shape[-2:] == size or function == "vr180")


# Those that give images or masks in the image's type, computed as in float32.
COLOURED = ("parallax", "stereo", "fill", "sky's", "predicted", "cut", "mask", "in fog", "object", "depth of", "relight")
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PAIRS = [*zip(TYPES, (*TYPES[1:], TYPES[0]), strict=True), (torch.float32, torch.float16), (torch.float16, torch.float32)]
IN_THE_IMAGES_TYPE = [each for each in FUNCTIONS | OF_ONE_IMAGE if each.startswith(COLOURED)]


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("function", IN_THE_IMAGES_TYPE)
@pytest.mark.parametrize(("image_type", "depth_type"), PAIRS, ids=str)
def test_types_may_differ(function, image_type, depth_type):
    """Half precision holds inverse depths and differences of colours that it cannot multiply."""
    call, (images, depth) = (FUNCTIONS | OF_ONE_IMAGE)[function], scenes()
    if function in OF_ONE_IMAGE:
        images, depth = images[:1], depth[:1]
    images, depth = images.to(image_type), depth.to(depth_type)
    for found, expected in zip(maps_of(call(images, depth)), maps_of(call(images.float(), depth.float())), strict=True):
        assert found.dtype == (image_type if expected.is_floating_point() else torch.bool)
        if torch.float64 in (image_type, depth_type) and not function.startswith(("parallax", "stereo", "fill")):
            torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.01)  # computed in float64
        else:
            assert torch.equal(found, expected.to(image_type if expected.is_floating_point() else torch.bool))
