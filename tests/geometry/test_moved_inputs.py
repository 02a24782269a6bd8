"""Inputs that are moved by a millionth give the same result: no decision may hang on how a processor rounds."""

import inspect
import math
from dataclasses import astuple
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from depth_normal.geometry import edges, regions, surfaces
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.edges import depth_edges, stretches
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions import planes, selections, sky
from depth_normal.geometry.surfaces import derive, noise, plane_fit, upsampling
from tests.geometry.public_functions import function_of, public_functions
from tests.geometry.regions.test_boxes import painted
from tests.geometry.regions.test_objects import PAINTS, WALL, person, room
from tests.geometry.regions.test_sky import landscape

COARSE = torch.nn.AvgPool2d(9, 1, 4, count_include_pad=False)
MOVED = 1e-6  # of what is 1
SAME = 1e-3  # of a map's largest value
FOCAL = 80.0
ELSEWHERE = 0.01  # the share of pixels that may differ by more


class Scene(NamedTuple):
    """(1, 3, H, W) in [0, 1] and (1, 1, H, W) metres; a box around one thing, a point of it, and points of two others in the box."""

    image: Tensor
    depth: Tensor
    box: tuple[float, float, float, float]
    point: tuple[float, float]
    others: tuple[tuple[float, float], ...]

    # What functions are given, by the names of their parameters.
    inverse = values = disparity = property(lambda self: 1 / self.depth)
    soft_inverse = property(lambda self: COARSE(self.inverse))
    soft_depth = property(lambda self: 1 / self.soft_inverse)
    estimate = property(lambda self: Estimate(self.depth, Quantity.METRIC_DEPTH, intrinsics=self.intrinsics))
    intrinsics = property(lambda self: intrinsics_from_fov(60.0, *self.depth.shape[-2:]))
    valid = property(lambda self: torch.ones_like(self.depth))
    sky = region = property(lambda self: sky.find_sky(self.image, self.estimate))
    radius = property(lambda self: max(2, depth_edges.edge_radius(*self.depth.shape[-2:])))


def thing(depth, image, number, wanted=1):
    """A scene of `room` or `person`, with the box around one thing."""
    rows, columns = (number == wanted).nonzero(as_tuple=True)
    height, width = number.shape
    left, right, top, bottom = columns.min() / width, (columns.max() + 1) / width, rows.min() / height, (rows.max() + 1) / height
    box = tuple(float(each.clamp(0, 1)) for each in (left - 0.05, top - 0.05, right + 0.05, bottom + 0.05))
    point = float((left + right) / 2), float((top + bottom) / 2)
    inside = [(box[0] + 0.25 * (box[2] - box[0]), point[1]), (box[0] + 0.02, box[1] + 0.02)]
    return Scene(image, depth, box, point, tuple(inside))


def stripes_on_a_wall():
    """All of one depth, and all of flat colours."""
    depth, image, _ = painted([(0.2, 0.4, 0.8), (0.8, 0.2, 0.1)])
    return Scene(image, depth, (0.2, 0.25, 0.8, 0.75), (0.375, 0.5), ((0.625, 0.5), (0.22, 0.3)))


def meadow():
    """A landscape under a sky."""
    image, disparity, _ = landscape()
    disparity = COARSE(disparity)
    return Scene(image, 100 / (disparity - disparity.amin() + 1), (0.2, 0.5, 0.6, 0.9), (0.4, 0.7), ((0.3, 0.6), (0.5, 0.2)))


def balls():
    depth, image, number = room([(-0.3, -0.5, 3.4, 0.45), (0.35, -0.55, 2.7, 0.4)])
    return thing(depth, image, number)


def somebody():
    depth, image, number = person(PAINTS, WALL, 2)
    return thing(depth, image, number > 0, True)


SCENES = {each.__name__: each for each in (stripes_on_a_wall, meadow, balls, somebody)}


def by_names(function, scene):
    """What a function gives of the scene's properties that its parameters are named after."""
    parameters = inspect.signature(function).parameters.values()
    return function(*(getattr(scene, each.name) for each in parameters if each.default is each.empty))


def planes_of(scene, soft=False, fit=None):
    inverse = scene.inverse / scene.inverse.median()
    found = plane_fit.fit_planes(inverse, scene.valid, FOCAL, noise.measure_noise(inverse, scene.valid), soft)
    found = found if fit is None else fit(found, inverse, scene.valid, scene.intrinsics[0])
    return torch.cat((found.value, FOCAL * found.slope_x, FOCAL * found.slope_y), 1)


def noise_of(measure_noise, scene):
    return torch.tensor(astuple(measure_noise(scene.inverse, scene.valid)), dtype=torch.float64)


def cheapest(cheapest_region, scene):
    down, across = (scene.depth[0, 0].diff(dim=dim).abs() for dim in (0, 1))
    return cheapest_region(scene.image[0, 0] - scene.image[0, 2], across, down, 0 * scene.depth[0, 0], 50)


def stripes_of(stripe_ends, scene):
    ramps = depth_edges.find_ramps(scene.inverse, scene.radius)
    return stripe_ends(scene.inverse, scene.image, ramps.wide_low, ramps.wide_high, ramps.edge, scene.radius)[:, 2:3]


def plane_of(largest_plane, scene):
    near = shown(scene)[0].double()
    places = planes.image_places(*near.shape)
    return places @ largest_plane(places, near, everywhere(scene), torch.Generator().manual_seed(0))


def shown(scene):
    """Nearness and colours, as `small_scene` gives them."""
    return (scene.inverse / scene.inverse.amax())[0, 0], scene.image


def everywhere(scene):
    return torch.ones_like(scene.depth[0, 0], dtype=torch.bool)


def behind(scene):
    """But for a square around the point, so that no pixel changes sides."""
    far, (x, y) = everywhere(scene), scene.point
    row, column = (round(share * size) for share, size in zip((y, x), far.shape, strict=True))
    far[max(0, row - 12) : row + 12, max(0, column - 12) : column + 12] = False
    return far


def borders_of(*labels):
    """Where neighbours have different labels: the numbers themselves say nothing."""
    return torch.cat([(each.diff(dim=dim) != 0).flatten() for each in labels for dim in (0, 1)])


def merged(merged_regions, scene):
    rows, columns = (torch.arange(size) // 8 for size in scene.depth.shape[-2:])
    labels = rows[:, None] * (columns[-1] + 1) + columns
    return borders_of(merged_regions(labels, scene.image[0], scene.inverse[0], lambda borders: borders.apart.sum(1), 0.2))


def parted(parts_of, scene):
    """The parts of two points of one wall, floor or sky, one of them not of the thing."""
    nearness, image = shown(scene)
    marks = selections.pixels_at([(0.1, 0.1)], [(0.6, 0.1)], *nearness.shape).mark(nearness.shape)
    levels = parts_of(nearness, image, ~everywhere(scene), (), (0.5, 1.0, 2.0), marks)
    return [level == level[marks == mark] for level in levels for mark in (1, -1)]


def with_sky(scene):
    return Estimate(scene.depth, Quantity.METRIC_DEPTH, mask=~scene.sky)


# How functions are called that the names of their parameters do not say enough of; what follows a comma is another call of the same.
CALLS = {
    "regions.boxes.object_in_box, point": lambda f, scene: f(scene.depth, scene.image, scene.box, [scene.point]),
    "regions.boxes.object_in_box, not point": lambda f, scene: f(scene.depth, scene.image, scene.box, [], scene.others[:1]),
    "regions.boxes.object_in_box, points": lambda f, scene: f(scene.depth, scene.image, scene.box, [scene.point], scene.others),
    "regions.objects.object_around": lambda f, scene: f(scene.depth, scene.image, *scene.point),
    "regions.objects.object_around, more": lambda f, scene: f(scene.depth, scene.image, *scene.point, scene.others[:1]),
    "regions.objects.object_around, not": lambda f, scene: f(scene.depth, scene.image, *scene.point, [], scene.others[1:]),
    "regions.objects.object_around, both of one": lambda f, scene: f(scene.depth, scene.image, *scene.point, [], scene.others[:1]),
    "regions.objects.object_around, plain": lambda f, scene: f(scene.depth, scene.image, 0.1, 0.9, [], [(0.3, 0.9)]),
    "regions.objects.object_around, plain above": lambda f, scene: f(scene.depth, scene.image, 0.1, 0.1, [], [(0.6, 0.1)]),
    "regions.parts.parts_of, marks": parted,
    "regions.parts.clearness": lambda f, scene: torch.tensor(f(scene.inverse[0, 0], scene.image[0, 2] > 0.5, 1.0, scene.image)),
    "regions.parts.drop_limit": lambda f, scene: torch.tensor(f(scene.inverse[0, 0], [(10, 10)])),
    "regions.planes.largest_plane": plane_of,
    "regions.mixtures.fit_mixture": lambda f, scene: f(scene.image[0].flatten(1).T, 5, 0.03).log_likelihood(scene.image[0].flatten(1).T),
    "regions.boxes.cheapest_region": cheapest,
    "regions.boxes.path_costs": lambda f, scene: f(
        torch.arange(scene.depth[0, 0].numel()).view_as(scene.depth[0, 0]) == 70, *(scene.image[0, 0].diff(dim=dim).abs() for dim in (1, 0))
    ),
    "regions.sky.predicted_sky": lambda f, scene: f(with_sky(scene)),
    "regions.sky.fineness": lambda f, scene: f(scene.image.mean(1, keepdim=True), scene.image[:, :1] > 0.5),
    "regions.sky.sky_matte": lambda f, scene: f(scene.image, COARSE(scene.sky.float()), torch.ones_like(scene.depth)),
    "regions.before_sky.depth_before_sky": lambda f, scene: f(scene.depth, scene.image, with_sky(scene)),
    "edges.depth_edges.depth_at_image_edges, soft": lambda f, scene: f(scene.soft_depth, scene.image),
    "edges.depth_edges.sharpen_depth_edges": lambda f, scene: f(scene.soft_depth, scene.radius),
    "edges.depth_edges.find_ramps, soft": lambda f, scene: f(scene.soft_inverse, scene.radius),
    "edges.depth_edges.colour_fit": lambda f, scene: f(scene.image, (scene.depth > 3).float(), scene.valid, 3),
    "edges.depth_edges.colour_means": lambda f, scene: f(scene.image, (scene.depth > 3).float(), scene.valid, 3)[0],
    "edges.matting.cut_out": lambda f, scene: f(scene.image, stretches.share_above(scene.inverse, 0.3, 0.1), 3.0),
    "edges.ramp_sharpening.ramp_width": lambda f, scene: torch.tensor(f(scene.soft_inverse)),
    "edges.ramp_sharpening.sharpen_ramps": lambda f, scene: f(scene.soft_inverse, scene.image, scene.radius)[0],
    "edges.refine.refine_geometry": lambda f, scene: (
        f(Estimate(scene.soft_inverse[..., ::2, ::2], Quantity.DISPARITY), scene.image, derive=derive.with_normals).depth
    ),
    "edges.stripes.stripe_ends": stripes_of,
    "surfaces.normals.depth_to_normals, soft": lambda f, scene: f(scene.soft_depth, scene.intrinsics, edges="soft"),
    "surfaces.normals.depth_to_normals, auto": lambda f, scene: f(scene.soft_depth, scene.intrinsics, edges="auto"),
    "surfaces.normals.disparity_to_normals": lambda f, scene: f(scene.soft_inverse),
    "surfaces.derive.panorama_normals": lambda f, scene: f(of_some_pixels(scene, 2).depth),
    "surfaces.plane_fit.fit_planes": lambda f, scene: planes_of(scene),
    "surfaces.plane_fit.fit_planes, soft": lambda f, scene: planes_of(scene, True),
    "surfaces.scattered_fit.fit_scattered": lambda f, scene: planes_of(of_some_pixels(scene, 3), fit=f),
    "surfaces.scattered_fit.fit_isolated": lambda f, scene: planes_of(scene, fit=f),
    "camera.sampled": lambda f, scene: f(scene.image),
    "camera.find_focal_and_shift": lambda f, scene: torch.stack(
        f(torch.cat((pixels(scene) * scene.depth / FOCAL, scene.depth), 1) + torch.tensor([0, 0, 0.3]).view(1, 3, 1, 1), pixels(scene))
    ),
    "edges.depth_edges.sharpen_known_depth": lambda f, scene: f(scene.soft_depth, scene.radius, 1, scene.image),
    "edges.depth_edges.sharpened_inverse": lambda f, scene: f(scene.soft_inverse, scene.radius),
    "edges.stretches.shares_above": lambda f, scene: f(scene.inverse, (0.2, 0.1)),
    "edges.stretches.share_above": lambda f, scene: f(scene.inverse, 0.2, 0.1),
    "regions.connected.region_around": lambda f, scene: f(scene.inverse[0, 0].log(), everywhere(scene), 20, 20, math.log(depth_edges.EDGE)),
    "regions.parts.merged_regions": merged,
    "regions.selections.small_scene": lambda f, scene: f(scene.depth, scene.image, 48, 64),
    "regions.objects.foreground_object": lambda f, scene: f(scene.depth, scene.image)[1],
    "regions.parts.parts_of": lambda f, scene: borders_of(*f(*shown(scene), behind(scene), (1.0, 2.0))),
    "regions.parts.corrected": lambda f, scene: f(
        ~behind(scene), *shown(scene), behind(scene), selections.pixels_at([scene.point], scene.others, *scene.depth.shape[-2:]), 0.3
    ),
    "regions.planes.above_planes": lambda f, scene: f(shown(scene)[0], everywhere(scene)),
    "surfaces.derive.with_assumed_normals": lambda f, scene: f(scene.estimate).normals,
    "surfaces.derive.with_normals": lambda f, scene: f(scene.estimate).normals,
    "surfaces.noise.measure_noise": noise_of,
    "surfaces.noise.measure_noise, small": lambda f, scene: noise_of(f, of_some_pixels(scene, 2)),
    "surfaces.upsampling.enlarged_along": lambda f, scene: f(scene.image[:, :1, ::2], scene.inverse[..., ::2, :], scene.inverse, 2, 2),
    "surfaces.upsampling.surface_slope": lambda f, scene: f(scene.inverse, 3),
    "surfaces.upsampling.same_surface": lambda f, scene: f(scene.inverse, scene.inverse.roll(3, 3)),
    "surfaces.upsampling.smoothings": lambda f, scene: f(scene.inverse, (upsampling.Line((1, 2, 1), 2),))[0](scene.image[:, :1]),
}

ELSE = {
    "takes no numbers of an image": (
        *(f"edges.{each}" for each in ("depth_edges.edge_growth", "depth_edges.edge_radius", "stretches.distances_to")),
        *(f"regions.connected.{each}" for each in ("holes_of", "label_regions", "large_regions")),
        *(f"regions.connected.{each}" for each in ("numbered", "opened", "regions_with")),
        *(f"regions.{each}" for each in ("planes.image_places", "selections.pixel_at", "selections.pixels_at")),
        "surfaces.upsampling.middles",
    ),
    "says yes or no, or words": (
        *(f"regions.{each}" for each in ("selections.check_maps_of_one", "parts.is_plain", "sky.describe_sky", "sky.masks_nothing")),
        *(f"surfaces.derive.{each}" for each in ("mask_of_depth", "without_normals")),
    ),
    "ground without slopes has no basins of its own, and `parts_of` merges what is alike": ("regions.parts.watershed",),
}


NOT_TRIED = {each for names in ELSE.values() for each in names}
FUNCTIONS = [*CALLS, *sorted(set(public_functions(edges, regions, surfaces)) - {each.partition(",")[0] for each in CALLS} - NOT_TRIED)]
CASES = [(function, scene) for function in FUNCTIONS for scene in SCENES]
ONE_SCENE = {"objects": ["balls"], "boxes": ["stripes_on_a_wall"]}  # the slowest modules: only their functions, not other calls of them


def is_quick(function, scene):
    module = function.split(".")[1]
    in_turn = ("stripes_on_a_wall", "balls")[FUNCTIONS.index(function) % 2]
    return scene in ONE_SCENE.get(module, [in_turn]) and not (module in ONE_SCENE and "," in function)


def pixels(scene):
    height, width = scene.depth.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    return torch.stack((u, v))[None]


def of_some_pixels(scene, step):
    return scene._replace(image=scene.image[..., ::step, ::step], depth=scene.depth[..., ::step, ::step])


def moved(scene, seed):
    random = torch.Generator().manual_seed(seed)
    image, depth = (MOVED * (2 * torch.rand(each.shape, generator=random) - 1) for each in (scene.image, scene.depth))
    return scene._replace(image=(scene.image + image).clamp(0, 1), depth=scene.depth * (1 + depth))


def differing(found, expected):
    """The largest share of the values of a map that are not the same: values of maps as shares of the largest, which is at least 0.01."""
    found, expected = ([each] if isinstance(each, Tensor) else list(each) for each in (found, expected))
    shares = []
    for one, other in zip(found, expected, strict=True):
        one, other = one.double(), other.double()
        largest = max(0.01, float(other[other.isfinite()].abs().amax()))
        same = torch.isclose(one, other, rtol=SAME, atol=SAME * largest, equal_nan=True)
        shares.append(1 - float(same.double().mean()))
    return max(shares)


@pytest.mark.parametrize(("function", "scene"), [case for case in CASES if is_quick(*case)])
def test_a_millionth_turns_nothing_over(function, scene):
    _compare(function, scene, range(1))


def _compare(function, scene, seeds):
    call, scene = partial(CALLS.get(function, by_names), function_of(function)), SCENES[scene]()
    expected = call(scene)
    shares = {seed: differing(call(moved(scene, seed)), expected) for seed in seeds}
    assert max(shares.values()) <= ELSEWHERE, shares


@pytest.mark.slow("tries ten seeds")
@pytest.mark.parametrize(("function", "scene"), CASES)
def test_none_of_many_millionths_turns_anything_over(function, scene):
    """Calls of one module begin with the same steps, of which five seeds each are more than ten of the same for all of them."""
    module = function.split(".")[1]
    calls = [each for each in FUNCTIONS if each.split(".")[1] == module]
    count = 5 if module in ONE_SCENE else 10
    first = count * calls.index(function) if module in ONE_SCENE else 0
    _compare(function, scene, range(first, first + count))
