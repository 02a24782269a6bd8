"""Grids of places, and resizing whose code does not depend on the sizes: an exporter that traces it gets one graph for all of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CUBIC = -0.75  # torch's constant of bicubic interpolation


def is_traced() -> bool:
    """True while an exporter or a compiler traces, whose graph must hold for other sizes."""
    return torch.compiler.is_compiling()


def count(length: int, device: torch.device) -> Tensor:
    """(1,) float32: a length, as a tensor that a graph computes with."""
    return torch.arange(length, device=device, dtype=torch.float32)[-1:] + 1


def aspect_of(height: int, width: int, device: torch.device) -> float | Tensor:
    """Width by height; as a tensor where that is traced."""
    return count(width, device) / count(height, device) if is_traced() else width / height


def height_in_longer_side(height: int, width: int, device: torch.device) -> float | Tensor:
    """Height by the longer side; as a tensor where that is traced."""
    if not is_traced():
        return height / max(height, width)
    rows, columns = count(height, device), count(width, device)
    return rows / torch.maximum(rows, columns)


def middles(length: int, span: float | Tensor, device: torch.device) -> Tensor:
    """(length,) float32: the middles of as many cells between -span and span."""
    if not isinstance(span, Tensor):
        edge = span * (length - 1) / length
        return torch.linspace(-edge, edge, length, device=device)
    return span * ((2 * torch.arange(length, device=device) + 1 - length) / count(length, device))


def ends(length: int, device: torch.device) -> Tensor:
    """(length,) float32: so many numbers at equal distances from -1 to 1; of one, -1."""
    if not is_traced():
        return torch.linspace(-1, 1, length, device=device)
    return torch.arange(length, device=device) * (2 / (count(length, device) - 1).clamp(min=1)) - 1


def resized_positions(patches: Tensor, rows: int, columns: int, offset: float) -> Tensor:
    """A grid of positions brought to another size as DINOv2 does it: cubic, by (size + offset) / grid, unless the size is the grid's own.

    Args:
        patches: (1, C, grid, grid) float32.
        rows, columns: Of the result.
        offset: See above: 0.1 in DINOv2's own code, which moves every value.
    """
    grid = patches.shape[-1]
    if is_traced():
        return _resized_by_products(patches, rows, columns, offset)
    if (rows, columns) == (grid, grid):
        return patches
    if not offset:  # a factor would round the size
        return F.interpolate(patches, (rows, columns), mode="bicubic")
    return F.interpolate(patches, scale_factor=((rows + offset) / grid, (columns + offset) / grid), mode="bicubic")


def _resized_by_products(patches: Tensor, rows: int, columns: int, offset: float) -> Tensor:
    """The same by two matrix products, without a choice by size."""
    grid = patches.shape[-1]
    heights, widths = (torch.arange(side, device=patches.device, dtype=torch.float32) for side in (rows, columns))
    as_they_are = (heights[-1:] == grid - 1) & (widths[-1:] == grid - 1)
    offset_here = torch.where(as_they_are, 0.0, offset)
    down, across = (_cubic_weights(each, grid, grid / (each[-1:] + 1 + offset_here)) for each in (heights, widths))
    return down @ patches @ across.mT


def _cubic_weights(places: Tensor, grid: int, step: Tensor) -> Tensor:
    """(places, grid): what each cell of the grid counts for the cells at `places` of another, whose cells are `step` of its own."""
    source = (places + 0.5) * step - 0.5
    first = source.floor()
    part = source - first
    cells = torch.arange(grid, device=places.device, dtype=torch.float32)
    weights = torch.zeros_like(source)[:, None] * cells
    for tap in (-1, 0, 1, 2):
        distance = (part - tap).abs()
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
        far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
        cell = (first + tap).clamp(0, grid - 1)
        weights = weights + (cell[:, None] == cells) * torch.where(distance <= 1, near, far)[:, None]
    return weights


def shrunk(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) float32 at a size that is not above theirs: linear with antialiasing."""
    if not is_traced():
        return F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    down, across = (_linear_weights(new, old, images.device) for new, old in ((height, images.shape[-2]), (width, images.shape[-1])))
    return down @ images @ across.mT


def _linear_weights(new: int, old: int, device: torch.device) -> Tensor:
    """(new, old): what each of `old` cells counts for each of the fewer `new` ones."""
    step = count(old, device) / count(new, device)
    centres = (torch.arange(new, device=device, dtype=torch.float32) + 0.5) * step
    cells = torch.arange(old, device=device, dtype=torch.float32) + 0.5
    weights = (1 - ((cells - centres[:, None]) / step).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
