"""Connected regions of pixels. OpenCV is several times faster; the result is the same without it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import opencv
from ..filters.extremes import largest_within


def large_regions(cells: Tensor, least: int) -> Tensor:
    """Keeps the regions with at least `least` cells of a CPU map (H, W) bool; 4-connected."""
    labels = _labels_of(cells)
    return (labels.flatten().bincount() >= least)[labels] & cells


def regions_with(cells: Tensor, seeds: Tensor) -> Tensor:
    """Keeps the regions that contain a seed; CPU maps (H, W) bool, 4-connected."""
    labels = _labels_of(cells)
    holds = cells.new_zeros(labels.numel() + 1)
    holds[labels[seeds & cells]] = True
    return holds[labels] & cells


def region_around(values: Tensor, allowed: Tensor, row: int, column: int, step: float) -> Tensor:
    """The pixels (H, W) bool that can be reached from one pixel of values (H, W) on the CPU without a step in value.

    Only `allowed` pixels are passed, and 4-neighbours that differ by at most `step`. All False if the start is not allowed.
    """
    if not allowed[row, column]:
        return torch.zeros_like(allowed)
    if cv2 := opencv():
        reached = np.pad(~allowed.numpy(), 1, constant_values=True).astype(np.uint8)
        flags = 4 | (2 << 8) | cv2.FLOODFILL_MASK_ONLY
        cv2.floodFill(values.numpy().copy(), reached, (column, row), (0,), (step,), (step,), flags)
        return torch.from_numpy(reached[1:-1, 1:-1] == 2)
    step = float(np.float32(step))  # as OpenCV rounds it
    across = allowed[:, :-1] & allowed[:, 1:] & (values.diff(dim=1).abs() <= step)
    down = allowed[:-1] & allowed[1:] & (values.diff(dim=0).abs() <= step)
    labels = label_regions(across, down)
    return labels == labels[row, column]


def holes_of(region: Tensor) -> Tensor:
    """The holes of a CPU region (H, W) bool: outside pixels that are not connected with the image's border."""
    free = F.pad(~region, (1, 1, 1, 1), value=True)
    return (free & ~region_around(torch.zeros(free.shape, dtype=torch.float32, device="cpu"), free, 0, 0, 1.0))[1:-1, 1:-1]


def opened(region: Tensor, radius: int) -> Tensor:
    """Morphological opening of a region (H, W) bool with a square of that radius."""
    shrunk = 1 - largest_within(1 - region[None, None].float(), radius)
    return largest_within(shrunk, radius)[0, 0] > 0


def _labels_of(cells: Tensor) -> Tensor:
    """(H, W) int64 labels of the regions of cells (H, W) bool, at most H * W; other pixels have arbitrary numbers."""
    if cv2 := opencv():
        _, labels = cv2.connectedComponents(cells.numpy().astype(np.uint8), connectivity=4)
        return torch.from_numpy(np.asarray(labels, np.int64))
    return label_regions(cells[:, :-1] & cells[:, 1:], cells[:-1] & cells[1:])


def label_regions(across: Tensor, down: Tensor) -> Tensor:
    """(H, W) int64: equal labels for connected pixels, by `across` (H, W - 1) and `down` (H - 1, W) bool.

    A label is the index of a pixel of the region. The smaller of two adjacent labels replaces the larger one, until nothing changes.
    """
    height, width = across.shape[0], down.shape[1]
    indices = torch.arange(height * width, device="cpu").view(height, width)
    first = torch.cat((indices[:, :-1][across], indices[:-1][down]))
    second = torch.cat((indices[:, 1:][across], indices[1:][down]))
    labels = indices.flatten()
    while len(first):
        labels.scatter_reduce_(0, torch.maximum(first, second), torch.minimum(first, second), "amin")
        while not torch.equal(labels, shorter := labels[labels]):
            labels = shorter
        first, second = labels[first], labels[second]
        apart = first != second
        first, second = first[apart], second[apart]
    return labels.view(height, width)


def numbered(labels: Tensor) -> Tensor:
    """Renumbers labels of any shape (int64 from 0) in order and without gaps."""
    return ((labels.flatten().bincount() > 0).cumsum(0) - 1)[labels]
