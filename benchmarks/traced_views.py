"""Ray-traced scenes for `stereo.py`, `edges.py`, `mesh_views.py` and `relight.py`: exact views from any place, with numpy alone.

Balls or posts stand before a wall and on a floor, painted with multi-scale patterns: bricks, checks, stripes, noise. Each pixel's colour
averages a square of rays, so that silhouettes are blended as by a camera; its depth is that of its centre.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FOCAL = 0.9  # in widths
WALL, FLOOR = 7.5, 1.3  # metres: distance of the wall, and the floor's depth below the camera
_LIGHT = np.array([-0.5, -0.7, -0.5]) / np.linalg.norm([-0.5, -0.7, -0.5])
_FAR = 1e6

Paint = Callable[[np.ndarray], np.ndarray]
# Distances along rays (N,) in units of depth, and a function from points (N, 3) to texture positions and normals.
Hit = tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]


class Thing(NamedTuple):
    """A surface: its ray intersection, and its colours (N, 3) at positions (N, 3)."""

    hit: Callable[[np.ndarray, np.ndarray], Hit]
    paint: Paint


def balls(random: np.random.Generator) -> list[Thing]:
    """Nine balls at different distances."""
    things = _room(random)
    for _ in range(9):
        distance, radius = random.uniform(2.2, 6), random.uniform(0.15, 0.6)
        centre = np.array([random.uniform(-0.5, 0.5) * distance, random.uniform(-0.25, 0.25) * distance, distance])
        things.append(Thing(_ball(centre, radius), _paint(random)))
    return things


def posts(random: np.random.Generator) -> list[Thing]:
    """Nine posts, upright, leaning or lying, from a cable's width to a trunk's."""
    things = _room(random)
    for _ in range(9):
        distance = random.uniform(2.2, 6)
        place = np.array([random.uniform(-0.5, 0.5) * distance, random.uniform(-0.2, 0.2) * distance, distance])
        lean = random.choice([0, 0, 0.3, 1.4]) * random.choice([-1, 1])
        axis = np.array([np.sin(lean), np.cos(lean), random.uniform(-0.1, 0.1)])
        things.append(Thing(_post(place, axis / np.linalg.norm(axis), random.uniform(0.012, 0.2)), _paint(random)))
    return things


def heads(random: np.random.Generator) -> list[Thing]:
    """Three people from the shoulders up before an out-of-focus room."""
    things = [Thing(_plane(2, WALL), _blotches(random)), Thing(_plane(1, FLOOR), _blotches(random))]
    for place in (-0.3, 0.0, 0.3):
        distance, radius = random.uniform(2.2, 4), random.uniform(0.25, 0.4)
        centre = np.array([(place + random.uniform(-0.05, 0.05)) * distance, random.uniform(-0.15, 0.05) * distance, distance])
        things.append(Thing(_ball(centre, radius), _paint(random)))
        things.append(Thing(_ball(centre + np.array([0, 2.2, 0.2]) * radius, 1.4 * radius), _paint(random)))
    return things


SCENES: dict[str, Callable[[np.random.Generator], list[Thing]]] = {"balls": balls, "posts": posts}


def intrinsics(width: int, height: int) -> np.ndarray:
    """(3, 3), in pixels; the centre of the first pixel is (0, 0)."""
    return np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1]], np.float32)


def render(things: list[Thing], camera: np.ndarray, width: int, height: int, rays: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The view along +Z of a camera at `camera` (3,), in metres: (H, W, 3) in [0, 1], and depth (H, W) in metres.

    Each pixel averages `rays` x `rays` rays.
    """
    colour = np.zeros((height * width, 3))
    offsets = (np.arange(rays) + 0.5) / rays - 0.5
    for down in offsets:
        for across in offsets:
            colour += shoot(things, camera, directions(width, height, across, down))[0]
    _, depth = shoot(things, camera, directions(width, height))
    return (colour / rays**2).reshape(height, width, 3).astype(np.float32), depth.reshape(height, width).astype(np.float32)


def directions(width: int, height: int, across: float = 0.0, down: float = 0.0) -> np.ndarray:
    """Rays (N, 3) with z = 1: their multiples are depths."""
    matrix = intrinsics(width, height)
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns + across - matrix[0, 2]) / matrix[0, 0], (rows + down - matrix[1, 2]) / matrix[1, 1]
    return np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3)


def shoot(things: list[Thing], camera: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours and depths of the first hits."""
    hits = [thing.hit(camera, rays) for thing in things]
    depths = np.stack([depth for depth, _ in hits])
    nearest = depths.argmin(0)
    depth = depths.min(0)
    colour = np.zeros_like(rays)
    for number, (thing, (_, surface)) in enumerate(zip(things, hits, strict=True)):
        here = nearest == number
        if here.any():
            place, normal = surface(camera + rays[here] * depth[here, None])
            light = 0.45 + 0.55 * np.abs(normal @ _LIGHT)
            colour[here] = thing.paint(place) * light[:, None]
    return colour.clip(0, 1), depth


def seen_things(things: list[Thing], camera: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """The index of the first object along each ray: (N,)."""
    return np.stack([thing.hit(camera, rays)[0] for thing in things]).argmin(0)


def seen_normals(things: list[Thing], camera: np.ndarray, rays: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) of the first hits, towards the viewer."""
    nearest = seen_things(things, camera, rays)
    normals = np.zeros_like(rays)
    for number, thing in enumerate(things):
        here = nearest == number
        if here.any():
            _, surface = thing.hit(camera, rays)
            normals[here] = surface(camera + rays[here] * depth[here, None])[1]
    return normals * -np.sign((normals * rays).sum(1, keepdims=True))


def _room(random: np.random.Generator) -> list[Thing]:
    return [Thing(_plane(2, WALL), _bricks(random)), Thing(_plane(1, FLOOR), _paint(random))]


def _plane(axis: int, level: float) -> Callable[[np.ndarray, np.ndarray], Hit]:
    normal = np.eye(3)[axis]

    def hit(camera: np.ndarray, rays: np.ndarray) -> Hit:
        along = np.where(rays[:, axis] > 1e-6, (level - camera[axis]) / np.maximum(rays[:, axis], 1e-6), _FAR)
        return along, lambda points: (points, np.broadcast_to(normal, points.shape))

    return hit


def _ball(centre: np.ndarray, radius: float) -> Callable[[np.ndarray, np.ndarray], Hit]:
    def hit(camera: np.ndarray, rays: np.ndarray) -> Hit:
        a, b, c = (rays**2).sum(1), rays @ (camera - centre), ((camera - centre) ** 2).sum() - radius**2
        return _nearer_root(a, b, c), lambda points: (points - centre, (points - centre) / radius)

    return hit


def _post(place: np.ndarray, axis: np.ndarray, radius: float) -> Callable[[np.ndarray, np.ndarray], Hit]:
    def hit(camera: np.ndarray, rays: np.ndarray) -> Hit:
        across, start = rays - (rays @ axis)[:, None] * axis, camera - place
        start = start - (start @ axis) * axis

        def surface(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            from_place = points - place
            return from_place, (from_place - (from_place @ axis)[:, None] * axis) / radius

        return _nearer_root((across**2).sum(1), across @ start, (start**2).sum() - radius**2), surface

    return hit


def _nearer_root(a: np.ndarray, b: np.ndarray, c: float) -> np.ndarray:
    inside = b**2 - a * c
    root = (-b - np.sqrt(np.maximum(inside, 0))) / a
    return np.where((inside > 0) & (root > 0), root, _FAR)


def _paint(random: np.random.Generator) -> Paint:
    return [_checks, _stripes, _clouds][random.integers(3)](random)


def _bricks(random: np.random.Generator) -> Paint:
    brick, mortar = random.uniform(0.15, 0.9, 3), random.uniform(0.1, 0.9, 3)
    noise, length, height = _noise(random, 9.0), random.uniform(0.5, 0.9), random.uniform(0.2, 0.35)

    def paint(place: np.ndarray) -> np.ndarray:
        row = np.floor(place[:, 1] / height)
        x, y = (place[:, 0] / length + 0.5 * (row % 2)) % 1, place[:, 1] / height % 1
        joint = (x < 0.03 / length) | (y < 0.03 / height)
        return np.where(joint[:, None], mortar, brick) * (0.55 + 0.9 * noise(place)[:, None])

    return paint


def _checks(random: np.random.Generator) -> Paint:
    first, second = random.uniform(0.05, 0.95, (2, 3))
    noise, size = _noise(random, 12.0), random.uniform(0.08, 0.3)

    def paint(place: np.ndarray) -> np.ndarray:
        odd = np.floor(place / size + 0.01).sum(1) % 2 > 0.5
        return np.where(odd[:, None], first, second) * (0.7 + 0.6 * noise(place)[:, None])

    return paint


def _stripes(random: np.random.Generator) -> Paint:
    first, second = random.uniform(0.05, 0.95, (2, 3))
    noise, way = _noise(random, 5.0), random.normal(size=3)
    way = way / np.linalg.norm(way) * random.uniform(20, 60)

    def paint(place: np.ndarray) -> np.ndarray:
        share = 0.5 + 0.5 * np.sin(place @ way + 4 * noise(place))
        return first + (second - first) * share[:, None]

    return paint


def _clouds(random: np.random.Generator) -> Paint:
    first, second = random.uniform(0.05, 0.95, (2, 3))
    coarse, fine = _noise(random, 4.0), _noise(random, 25.0)

    def paint(place: np.ndarray) -> np.ndarray:
        return first + (second - first) * (0.65 * coarse(place) + 0.35 * fine(place))[:, None]

    return paint


def _blotches(random: np.random.Generator) -> Paint:
    colours, shares = random.uniform(0.05, 0.95, (3, 3)), [_noise(random, 1.2) for _ in range(2)]

    def paint(place: np.ndarray) -> np.ndarray:
        first, second = (share(place)[:, None] for share in shares)
        return colours[0] + (colours[1] - colours[0]) * first + (colours[2] - colours[0]) * second

    return paint


def _noise(random: np.random.Generator, frequency: float, size: int = 32) -> Callable[[np.ndarray], np.ndarray]:
    """Smooth noise in [0, 1]: an interpolated, periodic lattice of random values."""
    lattice = random.uniform(0, 1, (size, size, size)).astype(np.float32)

    def noise(place: np.ndarray) -> np.ndarray:
        scaled = place * frequency
        low = np.floor(scaled)
        share = scaled - low
        share = share * share * (3 - 2 * share)
        low = low.astype(np.int64)
        total = np.zeros(len(place))
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(np.array(corner) == 1, share, 1 - share).prod(1)
            x, y, z = ((low + corner) % size).T
            total += weight * lattice[x, y, z]
        return total

    return noise
