"""Crops in memory, and the batches that are drawn from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .data import CROP_LONG, CROP_SHORT, read_photos

RENDER_SHARE = 0.25
SMALLEST_WINDOW = 0.5  # of the crop; most are near 1
MOST_STRETCH = 0.12  # of the aspect, as a logarithm
MOST_TILT = 7.0  # degrees
PERMUTED = 0.1  # share of the pictures whose colours change places


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        pictures: (B, 3, H, W) RGB in [0, 1], channels last.
        disparity: (B, 1, H / 2, W / 2), of unknown scale and shift.
        normals: (B, 3, H / 2, W / 2), OpenGL axes; zero where unknown.
    """

    pictures: Tensor
    disparity: Tensor
    normals: Tensor


@dataclass(frozen=True)
class Stack:
    """Crops of one kind and one orientation: rgb (N, h, w, 3) uint8, disparity (N, h, w) float16, normals (N, h, w, 3) int8 or None."""

    rgb: Tensor
    disparity: Tensor
    normals: Tensor | None

    def halved(self) -> Stack:
        """The same at half the size: several times quicker to draw small pictures from."""
        rgb = torch.cat([halve(part).round().byte() for part in self.rgb.split(64)])
        disparity = torch.cat([halve(part[..., None])[..., 0].half() for part in self.disparity.split(64)])
        normals = None if self.normals is None else torch.cat([halve(part).round().to(torch.int8) for part in self.normals.split(64)])
        return Stack(rgb, disparity, normals)


def halve(maps: Tensor) -> Tensor:
    """(N, H, W, C) of any type to float32 (N, H / 2, W / 2, C)."""
    return F.avg_pool2d(maps.movedim(-1, 1).float(), 2).movedim(1, -1).contiguous()


@dataclass(frozen=True)
class Crops:
    """All crops of one process: [photographs, renders], each landscape and portrait."""

    photographs: tuple[Stack | None, Stack | None]
    renders: tuple[Stack | None, Stack | None]

    def counts(self) -> tuple[int, int]:
        """How many crops of photographs there are, and how many renders."""
        photographs, renders = (sum(len(stack.rgb) for stack in kind if stack) for kind in (self.photographs, self.renders))
        return photographs, renders

    def halved(self) -> Crops:
        """The same at half the size."""
        photographs, renders = ([stack and stack.halved() for stack in kind] for kind in (self.photographs, self.renders))
        return Crops((photographs[0], photographs[1]), (renders[0], renders[1]))

    def whole(self, short: int, long: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(pictures, disparity at half their size) of all photographs, uncropped, in small batches."""
        for portrait, stack in enumerate(self.photographs):
            size = (long, short) if portrait else (short, long)
            for start in range(0, len(stack.rgb) if stack else 0, 8):
                assert stack is not None
                rgb = stack.rgb[start : start + 8].movedim(-1, 1).float() / 255
                disparity = stack.disparity[start : start + 8, None].float()
                yield resize(rgb, size).contiguous(memory_format=torch.channels_last), resize(disparity, (size[0] // 2, size[1] // 2))


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Area average where it shrinks, bilinear else."""
    if size[0] <= values.shape[-2] and size[1] <= values.shape[-1]:
        return F.interpolate(values, size=size, mode="area")
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def load_crops(data: Path, split: str, part: int, parts: int, photographs_only: bool = False, first_only: bool = False) -> Crops:
    """The labelled crops of a split, every `parts`-th of them.

    Raises:
        FileNotFoundError: There are none.
    """
    ids = {photo.id for photo in read_photos(split=split)}
    labelled = [path for path in sorted((data / "labels").glob("*.npz")) if path.stem.split("_")[0] in ids]
    if first_only:
        labelled = [path for path in labelled if path.stem.endswith("_0")]
    rendered = [] if photographs_only else sorted((data / "renders").glob("*.npz"))
    if not labelled and not rendered:
        raise FileNotFoundError(f"{data} has no labels or renders of the split {split!r}: run training.teacher or training.scenes first")
    return Crops(_stacks(labelled[part::parts]), _stacks(rendered[part::parts]))


def _stacks(paths: list[Path]) -> tuple[Stack | None, Stack | None]:
    kept: tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]] = ([], [])
    for path in paths:
        with np.load(path) as arrays:
            if arrays["rgb"].shape[:2] not in ((CROP_SHORT, CROP_LONG), (CROP_LONG, CROP_SHORT)):
                sizes = f"{CROP_SHORT}x{CROP_LONG} or upright"
                raise ValueError(f"{path} is {arrays['rgb'].shape[:2]}; expected {sizes}: delete it and make it again")
            kept[arrays["rgb"].shape[0] > arrays["rgb"].shape[1]].append(dict(arrays))
    return _stack(kept[0]), _stack(kept[1])


def _stack(crops: list[dict[str, np.ndarray]]) -> Stack | None:
    if not crops:
        return None
    maps = {name: torch.from_numpy(np.stack([crop[name] for crop in crops])) for name in crops[0]}
    return Stack(maps["rgb"], maps["disparity"], maps.get("normals"))


def sample_batch(crops: Crops, size: int, short: int, long: int, random: torch.Generator) -> Batch:
    """A batch of windows of random crops, all of one orientation, with changed colours.

    Args:
        crops: Where to draw from.
        size: Number of pictures.
        short: Short side of the pictures.
        long: Long side.
        random: Decides everything.
    """
    counts = [sum(len(stack.rgb) for stack in (crops.photographs[i], crops.renders[i]) if stack) for i in (0, 1)]
    portrait = int(float(torch.rand((), generator=random)) * sum(counts) >= counts[0])
    target = (long, short) if portrait else (short, long)
    photographs, renders = crops.photographs[portrait], crops.renders[portrait]
    rendered = 0 if renders is None else size if photographs is None else round(size * RENDER_SHARE)
    shares = ((photographs, size - rendered), (renders, rendered))
    parts = [_windows(stack, count, target, random) for stack, count in shares if stack and count]
    pictures, disparity, normals = (torch.cat(maps) for maps in zip(*parts, strict=True))
    return Batch(recolour(pictures, random).contiguous(memory_format=torch.channels_last), disparity, normals)


def _windows(stack: Stack, count: int, size: tuple[int, int], random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of random crops, each with its own place, zoom, aspect, tilt and mirroring."""
    height, width = stack.rgb.shape[1:3]
    draw = torch.rand(6, count, generator=random)
    aspect = size[1] / size[0] * torch.exp((draw[0] - 0.5) * 2 * MOST_STRETCH)
    zoom = 1 - (1 - SMALLEST_WINDOW) * draw[1].square()
    columns = torch.minimum(aspect * height, torch.tensor(float(width))) * zoom
    rows = columns / aspect
    cosine, sine = (f((draw[2] - 0.5) * 2 * math.radians(MOST_TILT)) for f in (torch.cos, torch.sin))
    mirror = torch.where(draw[3] < 0.5, -1.0, 1.0)
    across = torch.stack((mirror * cosine * columns / width, -sine * rows / width, (2 * draw[4] - 1) * (1 - columns / width)), 1)
    down = torch.stack((mirror * sine * columns / height, cosine * rows / height, (2 * draw[5] - 1) * (1 - rows / height)), 1)
    window = torch.stack((across, down), 1)
    index = torch.randint(len(stack.rgb), (count,), generator=random)
    half = (size[0] // 2, size[1] // 2)
    rgb = _sample(stack.rgb[index].movedim(-1, 1).float() / 255, window, size)
    disparity = _sample(stack.disparity[index][:, None].float(), window, half)
    if stack.normals is None:
        return rgb, disparity, rgb.new_zeros(count, 3, *half)
    x, y, z = _sample(stack.normals[index].movedim(-1, 1).float() / 127, window, half).unbind(1)
    cosine, sine, mirror = (value[:, None, None] for value in (cosine, sine, mirror))
    return rgb, disparity, torch.stack((mirror * (cosine * x - sine * y), sine * x + cosine * y, z), 1)


def _sample(maps: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) through affine windows (B, 2, 3) in [-1, 1]; a tilted corner outside repeats the border."""
    grid = F.affine_grid(window, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def recolour(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Random brightness, contrast, gamma, saturation, tint and noise, each picture its own."""
    draw = torch.rand(8, len(pictures), 1, 1, 1, generator=random)
    pictures = pictures.clamp(1e-4, 1) ** torch.exp((draw[0] - 0.5) * 0.8)
    order = torch.rand(len(pictures), 3, generator=random).argsort(1)
    order[torch.rand(len(pictures), generator=random) >= PERMUTED] = torch.arange(3)
    pictures = pictures.gather(1, order[:, :, None, None].expand_as(pictures))
    grey = pictures.mean(1, keepdim=True)
    saturation = torch.where(draw[1] < 0.08, torch.zeros_like(draw[1]), 0.6 + 0.7 * draw[2])
    pictures = grey + (pictures - grey) * saturation
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = middle + (pictures - middle) * (0.7 + 0.6 * draw[3]) + (draw[4] - 0.5) * 0.25
    tint = 1 + (torch.rand(len(pictures), 3, 1, 1, generator=random) - 0.5) * 0.2
    noise = torch.randn(pictures.shape, generator=random) * (0.03 * draw[5] * (draw[6] < 0.3))
    return (pictures * tint + noise).clamp(0, 1)
