"""Inputs that are moved by a millionth give the same result: no decision may hang on how a processor rounds."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.edges import depth_edges, matting, ramp_sharpening, refine, stripes
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions import before_sky, boxes, cut, mixtures, objects, parts, paths, planes, sky, sky_matte
from depth_normal.geometry.surfaces import derive, noise, normals, panorama_normals, plane_fit, point_map, scattered_fit, sparse_fit
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

    @property
    def inverse(self):
        return 1 / self.depth

    @property
    def estimate(self):
        return Estimate(self.depth, Quantity.METRIC_DEPTH, intrinsics=self.intrinsics)

    @property
    def intrinsics(self):
        return intrinsics_from_fov(60.0, *self.depth.shape[-2:])

    @property
    def valid(self):
        return torch.ones_like(self.depth)

    @property
    def radius(self):
        return max(2, depth_edges.edge_radius(*self.depth.shape[-2:]))


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


def planes_of(scene, soft, fit=None):
    inverse = scene.inverse / scene.inverse.median()
    found = plane_fit.fit_planes(inverse, scene.valid, FOCAL, noise.measure_noise(inverse, scene.valid), soft)
    found = found if fit is None else fit(found, inverse, scene.valid, scene.intrinsics[0])
    return torch.cat((found.value, FOCAL * found.slope_x, FOCAL * found.slope_y), 1)


def cheapest(scene):
    return cut.cheapest_region(
        scene.image[0, 0] - scene.image[0, 2],
        scene.depth[0, 0].diff(dim=1).abs(),
        scene.depth[0, 0].diff(dim=0).abs(),
        0 * scene.depth[0, 0],
        50,
    )


def stripes_of(scene):
    ramps = depth_edges.find_ramps(scene.inverse, scene.radius)
    return stripes.stripe_ends(scene.inverse, scene.image, ramps.wide_low, ramps.wide_high, ramps.edge, scene.radius)[:, 2:3]


def plane_of(scene):
    nearness = (scene.inverse / scene.inverse.amax())[0, 0].double()
    places = planes.image_places(*nearness.shape)
    return places @ planes.largest_plane(places, nearness, torch.ones_like(nearness, dtype=torch.bool), torch.Generator().manual_seed(0))


def with_sky(scene):
    far = sky.find_sky(scene.image, scene.estimate)
    return Estimate(scene.depth, Quantity.METRIC_DEPTH, mask=~far)


FUNCTIONS = {
    "box": lambda scene: boxes.object_in_box(scene.depth, scene.image, scene.box),
    "box, point": lambda scene: boxes.object_in_box(scene.depth, scene.image, scene.box, [scene.point]),
    "box, not point": lambda scene: boxes.object_in_box(scene.depth, scene.image, scene.box, [], scene.others[:1]),
    "box, points": lambda scene: boxes.object_in_box(scene.depth, scene.image, scene.box, [scene.point], scene.others),
    "object": lambda scene: objects.object_around(scene.depth, scene.image, *scene.point),
    "object, more": lambda scene: objects.object_around(scene.depth, scene.image, *scene.point, scene.others[:1]),
    "object, not": lambda scene: objects.object_around(scene.depth, scene.image, *scene.point, [], scene.others[1:]),
    "clearness": lambda scene: torch.tensor(parts.clearness(scene.inverse[0, 0], scene.image[0, 2] > 0.5, 1.0, scene.image)),
    "drop limit": lambda scene: torch.tensor(parts.drop_limit(scene.inverse[0, 0], [(10, 10)])),
    "largest plane": plane_of,
    "mixture": lambda scene: mixtures.fit_mixture(scene.image[0].flatten(1).T, 5, 0.03).log_likelihood(scene.image[0].flatten(1).T),
    "cheapest region": cheapest,
    "path costs": lambda scene: paths.path_costs(
        torch.arange(scene.depth[0, 0].numel()).view_as(scene.depth[0, 0]) == 70, *(scene.image[0, 0].diff(dim=dim).abs() for dim in (1, 0))
    ),
    "sky": lambda scene: sky.find_sky(scene.image, scene.estimate),
    "sky alpha": lambda scene: sky.sky_alpha(scene.image, scene.estimate),
    "sky share": lambda scene: sky.sky_share(scene.image, scene.estimate),
    "predicted sky": lambda scene: sky.predicted_sky(with_sky(scene)),
    "looks blue": lambda scene: sky.looks_blue(scene.image, sky.find_sky(scene.image, scene.estimate)),
    "looks green": lambda scene: sky.looks_green(scene.image, sky.find_sky(scene.image, scene.estimate)),
    "coloured as sky": lambda scene: sky.coloured_as_sky(scene.image),
    "fineness": lambda scene: sky.fineness(scene.image.mean(1, keepdim=True), scene.image[:, :1] > 0.5),
    "sky matte": lambda scene: sky_matte.sky_matte(
        scene.image, COARSE(sky.find_sky(scene.image, scene.estimate).float()), torch.ones_like(scene.depth)
    ),
    "before sky": lambda scene: before_sky.depth_before_sky(scene.depth, scene.image, with_sky(scene)),
    "land before sky": lambda scene: before_sky.land_before_sky(scene.depth, sky.find_sky(scene.image, scene.estimate)),
    "depth at image edges": lambda scene: depth_edges.depth_at_image_edges(scene.depth, scene.image),
    "depth at image edges, soft": lambda scene: depth_edges.depth_at_image_edges(1 / COARSE(scene.inverse), scene.image),
    "sharp edges": lambda scene: depth_edges.sharpen_depth_edges(1 / COARSE(scene.inverse), scene.radius),
    "ramps": lambda scene: depth_edges.find_ramps(scene.inverse, scene.radius),
    "ramps, soft": lambda scene: depth_edges.find_ramps(COARSE(scene.inverse), scene.radius),
    "colour fit": lambda scene: depth_edges.colour_fit(scene.image, (scene.depth > 3).float(), scene.valid, 3),
    "cut-out": lambda scene: matting.cut_out(scene.image, (scene.image[:, 2:] > 0.5).float(), 3.0),
    "ramp width": lambda scene: torch.tensor(ramp_sharpening.ramp_width(COARSE(scene.inverse))),
    "sharp ramps": lambda scene: ramp_sharpening.sharpen_ramps(COARSE(scene.inverse), scene.image, scene.radius)[0],
    "refined": lambda scene: (
        refine.refine_geometry(
            Estimate(COARSE(scene.inverse)[..., ::2, ::2], Quantity.DISPARITY), scene.image, derive=derive.with_normals
        ).depth
    ),
    "stripes": stripes_of,
    "normals": lambda scene: derive.normals_of_depth(scene.estimate),
    "sharp normals": lambda scene: normals.depth_to_normals(scene.depth, scene.intrinsics),
    "soft normals": lambda scene: normals.depth_to_normals(1 / COARSE(scene.inverse), scene.intrinsics, edges="soft"),
    "normals of soft edges": lambda scene: normals.depth_to_normals(1 / COARSE(scene.inverse), scene.intrinsics, edges="auto"),
    "normals of disparity": lambda scene: normals.disparity_to_normals(COARSE(scene.inverse)),
    "normals of MiDaS": lambda scene: normals.midas_normals(scene.inverse),
    "dmap2norm": lambda scene: normals.dmap2norm(scene.depth),
    "panorama": lambda scene: panorama_normals.panorama_normals(scene.depth),
    "planes": lambda scene: planes_of(scene, False),
    "soft planes": lambda scene: planes_of(scene, True),
    "scattered": lambda scene: planes_of(of_every_second_pixel(scene), False, scattered_fit.fit_scattered),
    "isolated": lambda scene: planes_of(scene, False, sparse_fit.fit_isolated),
    "focal length": lambda scene: torch.stack(
        point_map.find_focal_and_shift(
            torch.cat((pixels(scene) * scene.depth / FOCAL, scene.depth), 1) + torch.tensor([0, 0, 0.3]).view(1, 3, 1, 1), pixels(scene)
        )
    ),
}


CASES = [(function, scene) for function in FUNCTIONS for scene in SCENES]
QUICK_SCENES = {"object": ["balls"], "box": ["stripes_on_a_wall"]}  # of functions that begin with these words
MOST_OF_A_SECOND = pytest.mark.slow("takes most of a second")
QUICK_CASES = [
    pytest.param(function, scene, marks=() if scene in QUICK_SCENES.get(function.split(",")[0], SCENES) else MOST_OF_A_SECOND)
    for function, scene in CASES
]


def pixels(scene):
    height, width = scene.depth.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    return torch.stack((u, v))[None]


def of_every_second_pixel(scene):
    return scene._replace(image=scene.image[..., ::2, ::2], depth=scene.depth[..., ::2, ::2])


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


@pytest.mark.parametrize(("function", "scene"), QUICK_CASES)
def test_a_millionth_turns_nothing_over(function, scene):
    _compare(function, scene, range(1))


def _compare(function, scene, seeds):
    call, scene = FUNCTIONS[function], SCENES[scene]()
    expected = call(scene)
    shares = {seed: differing(call(moved(scene, seed)), expected) for seed in seeds}
    assert max(shares.values()) <= ELSEWHERE, shares


@pytest.mark.slow("tries fifty seeds")
@pytest.mark.parametrize(("function", "scene"), CASES)
def test_none_of_fifty_millionths_turns_anything_over(function, scene):
    _compare(function, scene, range(50))
