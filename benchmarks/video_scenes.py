"""Five short synthetic videos of one room with ground truth depth: static, a ball that rolls or passes close by, a pan, and a zoom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FRAMES = 60
SIZE = (240, 320)
"""Height and width."""
GRAIN = 1.5 / 255
# Half the room's width, heights of floor and ceiling, and the back wall's distance, in metres from the eye.
HALF, FLOOR, CEILING, BACK = 2.2, -1.3, 1.5, 6.0
STILL_BALLS = ((-1.1, -0.8, 4.2, 0.5), (1.2, -0.95, 3.0, 0.35), (0.2, -0.5, 5.2, 0.8))
LAMP = (0.8, 1.3, 2.5)


@dataclass(frozen=True)
class Video:
    """A video and its ground truth.

    Attributes:
        frames: (T, 3, H, W) in [0, 1].
        depth: (T, 1, H, W): metres along the optical axis.
        flow: (T - 1, H, W, 2): position in frame t of the point seen in frame t + 1, as in `grid_sample` (corners not aligned).
        still: (T - 1, 1, H, W) bool: points that are static in the scene and visible in frame t, too.
    """

    frames: Tensor
    depth: Tensor
    flow: Tensor
    still: Tensor


@dataclass(frozen=True)
class Shot:
    """The time-dependent state: the camera's pan to the right and field of view in degrees, and the moving ball's centre and radius."""

    yaw: float
    fov: float
    ball: tuple[float, float, float, float] | None


def _still(t: float) -> Shot:
    return Shot(0, 60, (-1.6 + 3.2 * t, -0.75 + 0.5 * abs(math.sin(3 * math.pi * t)), 2.6, 0.4))


def _passing(t: float) -> Shot:
    """A ball nearer than all else comes in after a fourth of the time, and is gone after three fourths."""
    return Shot(0, 60, (-3 + 6 * t, -0.3, 1.6, 0.5))


SHOTS: dict[str, Callable[[float], Shot]] = {
    "all still": lambda t: _still(0),
    "still camera": _still,
    "passing": _passing,
    "pan": lambda t: Shot(-10 + 20 * t, 55, None),
    "zoom": lambda t: Shot(3, 70 - 30 * t, None),
}
"""Each video's state as a function of relative time."""


def render_video(name: str, frames: int = FRAMES, seed: int = 0, size: tuple[int, int] = SIZE) -> Video:
    """Renders one of `SHOTS` at a height and width."""
    random = torch.Generator().manual_seed(seed)
    textures = [_texture(random) for _ in range(5)]
    shots = [SHOTS[name](t / max(1, frames - 1)) for t in range(frames)]
    images, depths, points = zip(*(_view(shot, textures, *size) for shot in shots), strict=True)
    grain = GRAIN * torch.randn(frames, 3, *size, generator=random)
    flow, still = zip(*(_motion(points[t], depths[t - 1], points[t - 1], shots[t - 1], shots[t]) for t in range(1, frames)), strict=True)
    return Video((torch.cat(images) + grain).clamp(0, 1), torch.cat(depths), torch.cat(flow), torch.cat(still))


def _texture(random: torch.Generator) -> Tensor:
    """(1, 3, 256, 256): a colour with multi-scale patches and grain."""
    colour = 0.25 + 0.5 * torch.rand(1, 3, 1, 1, generator=random)
    total = torch.zeros(1, 3, 256, 256)
    for octave in range(2, 8):
        noise = torch.rand(1, 3, 2**octave, 2**octave, generator=random) - 0.5
        total += F.interpolate(noise, size=(256, 256), mode="bicubic") * 0.5 ** (0.6 * (octave - 2))
    return (colour + 0.3 * total).clamp(0.02, 1)


def _rays(shot: Shot, height: int, width: int) -> Tensor:
    """(H, W, 3) rays with unit depth, in the room's axes: +X right, +Y up, +Z forward."""
    focal = width / 2 / math.tan(math.radians(shot.fov) / 2)
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - height / 2, torch.arange(width) + 0.5 - width / 2, indexing="ij")
    return torch.stack((x / focal, -y / focal, torch.ones_like(x)), -1) @ _turn(shot).T


def _turn(shot: Shot) -> Tensor:
    cos, sin = math.cos(math.radians(shot.yaw)), math.sin(math.radians(shot.yaw))
    return torch.tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])


def _view(shot: Shot, textures: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The image (1, 3, H, W), with four rays per pixel; depth (1, 1, H, W), point and object at its centre, (H, W, 4)."""
    fine = _shade(*_hit(_rays(shot, 2 * height, 2 * width), shot), shot, textures)
    depth, thing, point, _ = _hit(_rays(shot, height, width), shot)
    return F.avg_pool2d(fine, 2), depth[None, None], torch.cat((point, thing[..., None].float()), -1)


def _hit(rays: Tensor, shot: Shot) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth and object (H, W), point and normal (H, W, 3) of each ray's hit; walls are 0 to 4, then balls, the moving one last."""
    x, y, z = rays.unbind(-1)
    walls = ((x, HALF), (-x, HALF), (-y, -FLOOR), (y, CEILING), (z, BACK))
    found = [torch.where(along > 1e-6, distance / along.clamp(min=1e-6), torch.inf) for along, distance in walls]
    balls = [*STILL_BALLS, *([shot.ball] if shot.ball else [])]
    for *middle, radius in balls:
        centre = torch.tensor(middle)
        a, b, c = (rays * rays).sum(-1), (rays * centre).sum(-1), (centre * centre).sum() - radius**2
        root = b * b - a * c
        found.append(torch.where(root > 0, (b - root.clamp(min=0).sqrt()) / a, torch.inf))
    depth, thing = torch.stack(found).min(0)
    point = rays * depth[..., None]
    inward = torch.tensor([[-1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, -1]])
    normal = inward[thing.clamp(max=4)]
    for index, (*middle, radius) in enumerate(balls):
        normal = torch.where((thing == 5 + index)[..., None], (point - torch.tensor(middle)) / radius, normal)
    return depth, thing, point, normal


def _shade(depth: Tensor, thing: Tensor, point: Tensor, normal: Tensor, shot: Shot, textures: list[Tensor]) -> Tensor:
    """(1, 3, H, W): textures under one lamp, with the balls' shadows."""
    to_lamp = torch.tensor(LAMP) - point
    distance = to_lamp.norm(dim=-1, keepdim=True)
    light = ((normal * to_lamp / distance).sum(-1).clamp(min=0) * 6 / distance[..., 0] ** 2).clamp(max=1.2)
    for *middle, radius in [*STILL_BALLS, *([shot.ball] if shot.ball else [])]:
        offset = torch.tensor(middle) - point
        along = (offset * to_lamp / distance).sum(-1)
        beside = (offset.square().sum(-1) - along**2).clamp(min=0).sqrt()
        shadow = torch.sigmoid((radius - beside) / (0.08 * radius)) * (along > 0.05) * (along < distance[..., 0])
        light = light * (1 - 0.8 * shadow)
    plane = torch.where(
        (thing <= 1)[..., None], point[..., [2, 1]], torch.where((thing == 4)[..., None], point[..., :2], point[..., [0, 2]])
    )
    around = torch.stack((torch.atan2(normal[..., 0], -normal[..., 2]), normal[..., 1]), -1)
    place = (torch.where((thing >= 5)[..., None], around, plane) * 0.35 + 10) % 1 * 2 - 1
    image = torch.zeros(1, 3, *depth.shape)
    for index in range(int(thing.max()) + 1):
        seen = F.grid_sample(textures[index % len(textures)], place[None], align_corners=False, padding_mode="border")
        image = torch.where(thing == index, seen, image)
    return (image * (0.25 + 0.9 * light)).clamp(0, 1)


def _motion(points: Tensor, depth_before: Tensor, points_before: Tensor, before: Shot, after: Shot) -> tuple[Tensor, Tensor]:
    camera = points[..., :3] @ _turn(before)
    height, width = points.shape[:2]
    focal = 1 / math.tan(math.radians(before.fov) / 2)
    place = torch.stack((focal * camera[..., 0], -focal * camera[..., 1] * width / height), -1) / camera[..., 2:]
    moving = 5 + len(STILL_BALLS)
    seen = F.grid_sample(depth_before, place[None], mode="nearest", align_corners=False)[0, 0]
    was = F.grid_sample(points_before[None, ..., 3].unsqueeze(1), place[None], mode="nearest", align_corners=False)[0, 0]
    inside = (place.abs() < 1 - 2 / width).all(-1)
    still = inside & (points[..., 3] == was) & (points[..., 3] != moving) & ((seen / camera[..., 2] - 1).abs() < 0.05)
    return place[None], still[None, None]
