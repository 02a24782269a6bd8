"""Interprets maps in files that do not label their quantity."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .paths import FileFormatError

_UNIT_TOLERANCE = 0.02

NAME_QUANTITY = (
    "name the quantity: metric-depth (metres), relative-depth (large is far) or disparity (large is near); as an option --quantity"
)
"""What to do where a file does not say what its depth is."""


def planes_to_map(planes: Sequence[np.ndarray]) -> Tensor:
    """C planes (H, W) as (1, C, H, W)."""
    return torch.from_numpy(np.stack(planes))[None]


def unnamed_map(path: str | os.PathLike[str], channels: Mapping[str, np.ndarray], metric: bool) -> tuple[Tensor | None, Tensor | None]:
    """Tells depth from normals by their values, where no channel is named as either.

    Args:
        channels: Float32 (H, W) by name; `A` is not looked at.
        metric: Whether depth would be taken for metres, because nobody said otherwise.

    Returns:
        (depth, None) or (None, normals).

    Raises:
        FileFormatError: Neither; or what would be metres lies within [0, 1] as images do.
    """
    names = sorted(set(channels) - {"A", "mask", "confidence"})
    if len(names) == 1 or (names == ["B", "G", "R"] and _equal(channels["R"], channels["G"]) and _equal(channels["R"], channels["B"])):
        depth = channels[names[0]]
        if metric and not bool((np.isfinite(depth) & ((depth < 0) | (depth > 1))).any()):
            raise FileFormatError(
                f"{path}: all values lie within 0..1, as a depth image's do, and nothing says that they are metres; {NAME_QUANTITY}"
            )
        return planes_to_map([depth]), None
    if names == ["B", "G", "R"]:
        planes = [channels[name] for name in "RGB"]
        if are_unit_vectors(np.stack(planes, -1)):
            return None, planes_to_map(planes)
    raise FileFormatError(
        f"{path}: no depth or normals among the channels {sorted(channels)}; expected Z or a Depth layer, N.X/N.Y/N.Z or a Normal layer, "
        "one channel, or R, G, B that are equal (depth) or unit vectors (normals); or name one (--channel)"
    )


def are_unit_vectors(values: np.ndarray) -> bool:
    """True if numbers (..., 3) are vectors of length 1, zero vectors and those that are NaN apart."""
    length = np.sqrt(np.square(values).sum(-1))
    unit = np.abs(length - 1) < _UNIT_TOLERANCE
    return bool(unit.any()) and bool((unit | (length == 0) | np.isnan(length)).all())


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=True)
