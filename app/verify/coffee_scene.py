"""Ground truth of the demo photo: hand-reconstructed geometry, and points with a certain depth order.

Camera, table, saucer and cup were fitted to outlines traced in the photo (the cup's rim, the saucer's border, the table's edge), which they
match within 3 of its 600 pixels. Spoon and handle are left out. The unit is the outer radius of the cup's rim. It is not a measurement, but
precise enough to reject anything upside down, mirrored or of another image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...geometry.conventions import unit_normals
from ...geometry.estimate import Estimate, Quantity
from ..outcomes import DEMO_IMAGE

WIDTH, HEIGHT = 600, 400

Point = tuple[int, int]


class Pair(NamedTuple):
    """Two points of the photo, (column, row), in depth order, and what they are."""

    near: Point
    far: Point
    why: str


PAIRS = (
    Pair((290, 235), (20, 15), "the cup's front | the dark floor beyond the table"),
    Pair((30, 250), (20, 15), "the table on the left | the dark floor beyond it"),
    Pair((290, 22), (40, 20), "the back of the cup's rim | the dark floor"),
    Pair((560, 380), (570, 30), "the table in front on the right | the table behind on the right"),
    Pair((290, 235), (570, 30), "the cup's front | the table behind on the right"),
    Pair((280, 360), (440, 20), "the saucer in front | the table behind the cup"),
    Pair((285, 200), (440, 20), "the front of the cup's rim | the table behind the cup"),
    Pair((365, 285), (500, 60), "the spoon's bowl | the table behind on the right"),
    Pair((290, 22), (500, 60), "the back of the cup's rim | the table lower in the image"),
    Pair((178, 110), (40, 120), "the left of the cup's rim | the table beside it"),
    Pair((405, 110), (520, 110), "the right of the cup's rim | the table beside it"),
    Pair((290, 205), (560, 205), "the front of the cup's rim | the table beside it"),
)
"""The camera looks down at an angle, so the table recedes from the bottom of the image to its top. Occluders are nearer than the surfaces
that they hide. A mere slope from bottom to top would not order the last four pairs."""


class Surfaces(NamedTuple):
    """Points on surfaces that face opposite ways along one axis, and what they are.

    `axis` is 0 = x (right) or 1 = y (up); the normal has a larger component along it at the points `plus` than at `minus`.
    """

    axis: int
    plus: tuple[Point, ...]
    minus: tuple[Point, ...]
    why: str


SURFACES = (
    Surfaces(0, ((375, 190), (368, 205), (350, 225)), ((192, 190), (200, 205), (212, 225)), "right | left of the cup's outside"),
    Surfaces(1, ((40, 300), (60, 340), (560, 350), (280, 340)), ((270, 235), (290, 235), (310, 232)), "table and saucer | cup's front"),
)
"""All of them face the camera: z is positive everywhere."""

CUP = ((290, 205), (290, 235), (245, 225), (335, 225))
"""Points on the cup's front, for its distance."""

# The camera's pitch, roll, focal length in pixels, and distance from the world's origin on the table.
_TILT, _ROLL, _FOCAL, _DISTANCE = 0.987, 0.135, 900.0, 9.06
# Centre of cup and saucer on the table (x right, y away from the camera, z up).
_CENTRE = (-0.17, -0.189)
_RIM, _SAUCER = (1.0, 1.676), (1.929, 0.258)
# Surfaces of revolution: each from one (radius, height) to the other.
_ROUND = (
    ((0.55, 0.05), (0.90, 0.62)),  # the cup's outside
    ((0.90, 0.62), _RIM),
    (_RIM, (0.90, 1.676)),
    ((0.90, 1.676), (0.74, 0.95)),  # its inside
    ((0.74, 0.95), (0.00, 0.95)),  # the coffee
    ((0.95, 0.05), (0.00, 0.05)),  # the saucer's flat middle
    ((0.95, 0.05), _SAUCER),
)
# The table's far edge as a line through two image points, and the floor's height below the table.
_EDGE = ((0, 105), (150, 0))
_FLOOR = -10.0


def photograph() -> Tensor:
    """The photograph: (1, 3, 400, 600) RGB in [0, 1]."""
    from ..batch.per_image import read

    return read(DEMO_IMAGE)


def scene(step: int = 1) -> Estimate:
    """The photo's geometry, subsampled by `step`, at the centres of blocks.

    Depth is in radii of the cup's rim (`SCALE_INVARIANT_DEPTH`), normals in OPENGL axes; (1, C, 400 / step,
    600 / step).
    """
    rows = torch.arange(step // 2, HEIGHT, step, dtype=torch.float64)
    columns = torch.arange(step // 2, WIDTH, step, dtype=torch.float64)
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    to_world = _camera_to_world()
    x, y = u - (WIDTH - 1) / 2, (HEIGHT - 1) / 2 - v
    rays = torch.stack((x / _FOCAL, y / _FOCAL, -torch.ones_like(x)), -1) @ to_world.T  # scaled so that ray parameter = depth
    start = _camera(to_world)
    (u0, v0), (u1, v1) = _EDGE
    beyond = (v - v0) * (u1 - u0) < (u - u0) * (v1 - v0)
    depth = (beyond.double() * _FLOOR - start[2]) / rays[..., 2]
    normals = torch.tensor((0.0, 0.0, 1.0), dtype=torch.float64).expand(rays.shape)
    for surface in _ROUND:
        hit, facing = _meet(start, rays, *surface)
        nearer = hit < depth
        depth, normals = torch.where(nearer, hit, depth), torch.where(nearer[..., None], facing, normals)
    in_camera = (normals @ to_world).permute(2, 0, 1)[None].float()
    normals = unit_normals(in_camera)
    return Estimate(depth[None, None].float(), Quantity.SCALE_INVARIANT_DEPTH, normals)


@functools.cache
def outlines() -> Tensor:
    """Points (N, 2), (column, row), on discontinuities of depth or normals: the cup's rim, the saucer's border, the table's far edge."""
    share = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)[:, None]
    (start, end) = (torch.tensor((point,), dtype=torch.float64) for point in _EDGE)
    saucer = _circle(*_SAUCER)
    hidden = (saucer[:, 1] < 150) & (saucer[:, 0] > 175) & (saucer[:, 0] < 412)  # occluded by the cup
    return torch.cat((_circle(*_RIM), saucer[~hidden], start + share * (end - start)))


def _circle(radius: float, height: float) -> Tensor:
    """The projection of a circle about the axis: (90, 2)."""
    angles = torch.arange(0, 360, 4, dtype=torch.float64).deg2rad()
    to_world = _camera_to_world()
    points = torch.stack((radius * angles.cos(), radius * angles.sin(), torch.full_like(angles, height)), 1)
    x, y, z = ((points - _camera(to_world)) @ to_world).unbind(1)
    return torch.stack(((WIDTH - 1) / 2 - _FOCAL * x / z, (HEIGHT - 1) / 2 + _FOCAL * y / z), 1)


def _camera(to_world: Tensor) -> Tensor:
    """The camera's position, relative to the centre of the cup's base."""
    return _DISTANCE * to_world[:, 2] - torch.tensor((*_CENTRE, 0.0), dtype=torch.float64)


def _camera_to_world() -> Tensor:
    """The camera's axes (right, up, backward) as columns, in world coordinates."""
    sine, cosine = math.sin(_TILT), math.cos(_TILT)
    level = torch.tensor(((1, 0, 0), (0, sine, -cosine), (0, cosine, sine)), dtype=torch.float64)
    sine, cosine = math.sin(_ROLL), math.cos(_ROLL)
    return level @ torch.tensor(((cosine, sine, 0), (-sine, cosine, 0), (0, 0, 1)), dtype=torch.float64).T


def _meet(start: Tensor, rays: Tensor, one: tuple[float, float], other: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The ray parameters of intersections with a surface of revolution (infinity = none), and the normals there, facing the camera."""
    (radius, height), (radius_end, height_end) = one, other
    if height == height_end:
        reach = (height - start[2]) / rays[..., 2]
        meets = [(reach, torch.tensor((0.0, 0.0, 1.0), dtype=rays.dtype).expand(rays.shape))]
        within = (min(radius, radius_end), max(radius, radius_end))
    else:
        slope = (radius_end - radius) / (height_end - height)
        meets = list(_meet_cone(start, rays, radius - height * slope, slope))
        within = (min(height, height_end), max(height, height_end))
    best, normals = torch.full(rays.shape[:-1], torch.inf, dtype=rays.dtype), torch.zeros_like(rays)
    for reach, facing in meets:
        place = start + reach[..., None] * rays
        measure = place[..., :2].norm(dim=-1) if height == height_end else place[..., 2]
        nearer = (measure >= within[0]) & (measure <= within[1]) & (reach > 0) & (reach < best)
        best, normals = torch.where(nearer, reach, best), torch.where(nearer[..., None], facing, normals)
    away = (normals * rays).sum(-1, keepdim=True) > 0
    return best, torch.where(away, -normals, normals)


def _meet_cone(start: Tensor, rays: Tensor, radius: float, slope: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Both intersections of rays with the cone of radius `radius + slope * height`."""
    signs = torch.tensor((1.0, 1.0, -slope * slope), dtype=rays.dtype)
    offset = start - torch.tensor((0.0, 0.0, -radius / slope), dtype=rays.dtype)
    square, half, rest = (rays * rays * signs).sum(-1), (rays * offset * signs).sum(-1), (offset * offset * signs).sum()
    root = (half * half - square * rest).sqrt()  # NaN for a miss, which never compares as nearer
    for reach in ((-half - root) / square, (-half + root) / square):
        normal = (offset + reach[..., None] * rays) * signs
        yield reach, normal / normal.norm(dim=-1, keepdim=True)
