"""Interprets maps in files that do not label their quantity."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...options.outputs import UNITS
from ..conventions import are_unit_vectors
from ..kinds import Quantity
from ..valid import FAR_AWAY, depth_mask
from .paths import FileFormatError

logger = logging.getLogger(__name__)

NAME_QUANTITY = (
    "name the quantity: metric_depth (metres), millimetres, kitti (its PNGs), "
    "scale_invariant_depth (0 at the camera, no unit), relative_depth (large is far) or disparity (large is near); "
    "with --quantity, an option of `depth-normal convert` too"
)
"""Advice if a file does not say what its depth is."""

WHOLE_NUMBERS = f"whole numbers, whose unit is not stated; {NAME_QUANTITY}"
"""Why integers without a quantity are refused."""

_NAME_AXES = "name the axes if they are the camera's (`axes` of Load Geometry, load_estimate or an .npz)"

WITH_CHANNEL = "with --channel, an option of `depth-normal convert` too"
"""How to select one of several maps in a file; nodes have no input for it."""


def planes_to_map(planes: Sequence[np.ndarray]) -> Tensor:
    """C planes (H, W) as (1, C, H, W)."""
    return torch.from_numpy(np.stack(planes))[None]


def unnamed_map(path: str | os.PathLike[str], channels: Mapping[str, np.ndarray], metric: bool) -> tuple[Tensor | None, Tensor | None]:
    """Tells depth from normals by their values, if no channel name does: (depth, None) or (None, normals).

    Args:
        path: The file, for messages.
        channels: Float32 (H, W) by name; `A` is ignored.
        metric: Whether depth would be taken for metres by default.

    Raises:
        FileFormatError: Neither; or default metres that lie within [0, 1] as images do.
    """
    names = sorted(set(channels) - {"A", "mask", "confidence"})
    if len(names) == 1 or (names == ["B", "G", "R"] and _equal(channels["R"], channels["G"]) and _equal(channels["R"], channels["B"])):
        depth = channels[names[0]]
        if metric and are_levels(depth):
            raise FileFormatError(
                f"{path}: all values lie within 0..1, as a depth image's do, and nothing says that they are metres; {NAME_QUANTITY}"
            )
        return planes_to_map([depth]), None
    if names in (["B", "G", "R"], ["X", "Y", "Z"]):
        planes = planes_to_map([channels[name] for name in ("XYZ" if "X" in names else "RGB")])
        if are_unit_vectors(planes):
            return None, planes
    raise FileFormatError(
        f"{path}: no depth or normals among the channels {sorted(channels)}; expected Z or a Depth layer, N.X/N.Y/N.Z or a Normal layer, "
        f"one channel, R, G, B that are equal (depth), or R, G, B or X, Y, Z that are unit vectors (normals); or name one {WITH_CHANNEL}"
    )


def are_levels(depth: np.ndarray) -> bool:
    """Whether all finite values lie within [0, 1], as a depth image's do; False if none is finite."""
    finite = depth[np.isfinite(depth)]
    return bool(finite.size and finite.min() >= 0 and finite.max() <= 1)


def without_world_normals(path: str | os.PathLike[str], which: str, alone: bool) -> None:
    """Leaves out normals in world axes beside depth, with a warning; `which` names them.

    Raises:
        FileFormatError: They are `alone`.
    """
    if alone:
        problem = f"{which} is in world axes, and camera axes are needed"
        raise FileFormatError(f"{path}: {problem}: take the depth of the same render, or {_NAME_AXES}")
    remedy = f"compute the normals from the depth, or {_NAME_AXES}"
    logger.warning("%s: %s is in world axes and is left out; %s", path, which, remedy)


def in_metres(depth: Tensor, quantity: Quantity | str) -> tuple[Tensor, Quantity]:
    """Depth and its quantity; depth in one of `UNITS` is converted to metres."""
    return (depth / UNITS[quantity], Quantity.METRIC_DEPTH) if quantity in UNITS else (depth, Quantity(quantity))


def mask_of(
    path: str | os.PathLike[str], depth: Tensor, quantity: Quantity, known: Tensor | None = None, alone: bool = True
) -> Tensor | None:
    """`valid.depth_mask` of a file without a mask; raises FileFormatError if no pixel is valid, and the file holds depth alone."""
    mask = depth_mask(depth, quantity, known)
    if alone and mask is not None and not bool(mask.any()):
        if quantity is Quantity.METRIC_DEPTH and bool(((depth < 0) & (depth > -FAR_AWAY)).any()):
            raise FileFormatError(
                f"{path}: no depth is above 0, and some are below it, as the positions before a camera that looks along -Z are; "
                "save them with the sign turned"
            )
        raise FileFormatError(
            f"{path}: no pixel has a depth: all are NaN, infinite, masked, 0 or less metres, or {FAR_AWAY:g} or more (where renderers hit "
            "nothing); render or save it again"
        )
    return mask


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=True)
