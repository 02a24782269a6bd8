"""Panoramas whose distances and normals are known exactly, traced ray by ray: a furnished room and a street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depth_normal.geometry.sphere import panorama_directions
from tests.ray_traced_scenes import Thing, ball, box, plane


@dataclass(frozen=True)
class Traced:
    """What rays meet.

    Attributes:
        image: (1, 3, H, W) in [0, 1].
        distance: (1, 1, H, W) in metres; infinite in the sky.
        normals: (1, 3, H, W) unit vectors in the rays' axes (OPENCV), facing the camera; 0 in the sky.
    """

    image: Tensor
    distance: Tensor
    normals: Tensor

    @property
    def valid(self) -> Tensor:
        return torch.isfinite(self.distance)


def room() -> list[Thing]:
    """A closed room of 4 x 6 m, seen from beside its middle, with a ball and two boxes."""
    walls = [((0, 0, 3.4), (0, 0, -1)), ((0, 0, -2.6), (0, 0, 1)), ((2.2, 0, 0), (-1, 0, 0)), ((-1.8, 0, 0), (1, 0, 0))]
    slabs = [((0, 1.4, 0), (0, -1, 0)), ((0, -1.2, 0), (0, 1, 0))]
    things = [ball((0.9, 0.9, -1.5), 0.5), box((-1.0, 1.0, 1.2), (0.8, 0.8, 0.8), 25), box((1.5, 0.4, 1.5), (0.5, 2.0, 0.5), 0)]
    return [*(plane(*each) for each in (*walls, *slabs)), *things]


def street() -> list[Thing]:
    """An endless street along Z, houses on both sides, a car and a ball on it, under the sky."""
    heights = np.random.default_rng(3).uniform(5, 12, (2, 7))
    houses = [
        box((side * 10, 1.6 - heights[index, place] / 2, -24 + 8 * place), (8, heights[index, place], 7), 0)
        for index, side in enumerate((-1, 1))
        for place in range(7)
    ]
    return [plane((0, 1.6, 0), (0, -1, 0)), *houses, box((2.0, 0.9, 5), (1.8, 1.4, 4.0), 8), ball((-2, 0.8, -4), 0.8)]


SCENES: dict[str, Callable[[], list[Thing]]] = {"room": room, "street": street}
FARTHEST = 120.0
"""Metres from which a street's ground counts as sky, as it does for networks."""


def traced(things: list[Thing], directions: Tensor, eyes: Tensor | None = None) -> Traced:
    """What the unit rays (1, 3, H, W) from the camera, or from `eyes` of the same shape, meet, in metres along them."""
    rays = directions[0].movedim(0, -1).double().numpy()
    start = np.zeros(3) if eyes is None else eyes[0].movedim(0, -1).double().numpy()
    distance, normals, which = np.full(rays.shape[:2], np.inf), np.zeros(rays.shape), np.zeros(rays.shape[:2])
    for index, thing in enumerate(things):
        found, facing = thing(rays, start)
        nearer = found < distance
        distance = np.where(nearer, found, distance)
        normals = np.where(nearer[..., None], facing, normals)
        which = np.where(nearer, index, which)
    distance[distance > FARTHEST] = np.inf
    seen = np.isfinite(distance)
    normals[~seen] = 0
    normals *= -np.sign((normals * rays).sum(-1, keepdims=True))
    points = start + rays * np.where(seen, distance, 0)[..., None]
    return Traced(_planar(_shaded(rays, points, normals, which, seen)), _planar(distance[..., None]), _planar(normals))


def panorama(things: list[Thing], width: int) -> Traced:
    """What is seen all around, as a panorama of width x width / 2."""
    return traced(things, panorama_directions(width // 2, width))


def _planar(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).movedim(-1, 0)[None].float()


def _shaded(rays: np.ndarray, points: np.ndarray, normals: np.ndarray, which: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Colours: tiles of half a metre, each thing in its own, under one lamp; a sky that is brighter below."""
    tiles = np.floor(points / 0.5 + 1e-3).sum(-1) % 2
    light = 0.35 + 0.65 * np.clip(normals @ (np.array([0.35, -0.8, -0.5]) / 1.006), 0, 1)
    hue = np.stack([0.55 + 0.4 * np.sin(which * turn + phase) for turn, phase in ((1.7, 0.3), (2.3, 1.9), (3.1, 4.0))], -1)
    sky = np.stack([0.45 + 0.4 * rays[..., 1] + 0.3, 0.75 + 0.2 * rays[..., 1], np.full(rays.shape[:2], 0.95)], -1)
    return np.clip(np.where(seen[..., None], hue * (0.8 + 0.2 * tiles)[..., None] * light[..., None], sky), 0, 1)
