"""Images whose depth and normals are known exactly, traced ray by ray: rooms and landscapes of planes, balls and boxes.

For tests that have no renders of Blender beside the checkout; the files are of the same kind: `rgb` (H, W, 3) uint8,
`depth` (H, W) float32 in metres along the optical axis, 0 = sky, `normal` (H, W, 3) int16 of 32767, OpenGL's axes, `mask` (H, W) bool,
`K` = [fx, fy, cx, cy] in pixels, the centre of the first pixel at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 480, 640
_FOCAL = 580.0
_SUN = np.array([0.4, -0.8, -0.45]) / np.linalg.norm([0.4, -0.8, -0.45])

Hit = tuple[np.ndarray, np.ndarray]
"""Depth (H, W), infinite where nothing is met, and normals (H, W, 3), towards the viewer; OpenCV's axes, as all that follows."""
Thing = Callable[..., Hit]
"""Called with the rays, and with the places that they start from where that is not 0."""


def plane(point: tuple[float, float, float], normal: tuple[float, float, float]) -> Thing:
    """An endless one."""
    at, up = np.array(point), np.array(normal) / np.linalg.norm(normal)

    def hit(rays: np.ndarray, eyes: np.ndarray | float = 0.0) -> Hit:
        with np.errstate(divide="ignore"):
            depth = ((at - eyes) @ up) / (rays @ up)
        return np.where(depth > 0, depth, np.inf), np.broadcast_to(up, rays.shape)

    return hit


def ball(centre: tuple[float, float, float], radius: float) -> Thing:
    """A sphere."""
    at = np.array(centre)

    def hit(rays: np.ndarray, eyes: np.ndarray | float = 0.0) -> Hit:
        to = at - eyes
        a, b, c = _dot(rays, rays), _dot(rays, to), _dot(to, to) - radius**2
        inside = b * b - a * c
        depth = (b - np.sqrt(np.maximum(inside, 0))) / a
        depth = np.where((inside > 0) & (depth > 0), depth, np.inf)
        with np.errstate(invalid="ignore"):
            normals = np.where(np.isfinite(depth)[..., None], (rays * depth[..., None] - to) / radius, 0.0)
        return depth, normals

    return hit


def box(centre: tuple[float, float, float], sides: tuple[float, float, float], turned: float) -> Thing:
    """A box on its feet, turned by degrees."""
    angle, at = np.deg2rad(turned), np.array(centre)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])

    def hit(rays: np.ndarray, eyes: np.ndarray | float = 0.0) -> Hit:
        own, eye, half = rays @ turn, (eyes - at) @ turn, np.array(sides) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (-half - eye) / own, (half - eye) / own
        near, far = np.minimum(first, second), np.maximum(first, second)
        depth = _over_axes(np.maximum, near)
        normals = -np.sign(own) * (near == depth[..., None])
        return np.where((depth < _over_axes(np.minimum, far)) & (depth > 0), depth, np.inf), normals @ turn.T

    return hit


# numpy's own sums and maxima over an axis of three take five times as long.
def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i", one, other)


def _over_axes(choose: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    return choose(choose(values[..., 0], values[..., 1]), values[..., 2])


def scenes() -> dict[str, list[Thing]]:
    """Things by the name of their scene."""
    rng = np.random.default_rng(5)
    floor, hills = plane((0, 1.2, 0), (0, -1, 0)), np.linspace(8, 60, 26)
    room = [
        plane((0, 0, 5.5), (0.15, 0, -1)),
        plane((-2.2, 0, 0), (1, 0, 0.1)),
        plane((2.6, 0, 0), (-1, 0, 0)),
        plane((0, -1.5, 0), (0, 1, 0)),
    ]
    return {
        "primitives": [
            floor,
            ball((-0.8, 0.5, 3.2), 0.7),
            ball((1.6, 0.2, 5.0), 1.0),
            box((0.6, 0.8, 2.6), (0.6, 0.8, 0.6), 30),
            box((-2.4, 0.0, 6.0), (1.4, 2.4, 1.2), -20),
        ],
        "room": [*room, floor, box((0.9, 0.6, 3.6), (0.9, 1.2, 0.7), 25), ball((-0.9, 0.8, 3.0), 0.4)],
        "hills": [floor, *(ball((rng.uniform(-0.7, 0.7) * z, 1.2 + 2.4 * z**0.5, z), 2.9 * z**0.5) for z in hills)],
        "street": [floor, *(box((side * 4.0, -1.5, z), (2.5, rng.uniform(4, 7), 3.0), 0) for side in (-1, 1) for z in (6, 10, 15, 22))],
    }


def traced(things: list[Thing], seed: int) -> dict[str, np.ndarray]:
    """What the files hold."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    rays = np.stack(((u - cx) / _FOCAL, (v - cy) / _FOCAL, np.ones_like(u)), -1)
    depth, nearest, normals = np.full(u.shape, np.inf), np.zeros(u.shape, int), np.zeros_like(rays)
    for number, thing in enumerate(things):
        distance, towards = thing(rays)
        hit = distance < depth
        depth[hit], nearest[hit], normals[hit] = distance[hit], number, towards[hit]
    normals = normals * -np.sign((normals * rays).sum(-1, keepdims=True))
    mask = np.isfinite(depth)
    return {
        "rgb": _coloured(rays, np.where(mask, depth, 0), normals, nearest, mask, seed),
        "depth": np.where(mask, depth, 0).astype(np.float32),
        "normal": (np.where(mask[..., None], normals, 0) * (1, -1, -1) * 32767).round().astype(np.int16),
        "mask": mask,
        "K": np.array([_FOCAL, _FOCAL, cx, cy]),
    }


def _coloured(rays: np.ndarray, depth: np.ndarray, normals: np.ndarray, nearest: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """Sun, light of the sky, haze, and on every thing a colour with waves in it."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0.25, 0.8, (nearest.max() + 1, 3))
    points = rays * depth[..., None]
    waves = sum(np.sin(points @ rng.normal(0, 6, 3) + rng.uniform(0, 6)) for _ in range(4)) / 4
    light = 0.35 + 0.25 * (1 - normals[..., 1]) / 2 + 0.6 * np.maximum(normals @ _SUN, 0)
    seen = colours[nearest] * (light * (1 + 0.25 * waves))[..., None]
    haze = 1 - np.exp(-depth / 60)[..., None]
    sky = np.array([0.6, 0.75, 0.95]) * (1 + 0.3 * rays[..., 1:2])
    image = np.where(mask[..., None], seen * (1 - haze) + sky * haze, sky)
    return (image.clip(0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)


def write(folder: Path) -> Path:
    """Writes all scenes as .npz; gives the folder."""
    for seed, (name, things) in enumerate(scenes().items()):
        np.savez(folder / f"{name}.npz", **traced(things, seed))
    return folder
