"""Valid pixels of maps outside an `Estimate`; an `Estimate` has `valid`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .kinds import ZERO_AT_CAMERA, Quantity

FAR_AWAY = 1e9
"""Metres from which a renderer's depth means "nothing hit": Blender writes 1e10, others more."""

LARGEST_HALF, LARGEST_SHORT = 65504.0, 65535.0
"""The largest 16-bit float and integer: "nothing hit" in 16-bit files."""

_INFINITY = float("inf")


class NoDepthError(ValueError):
    """No pixel of an image has a usable depth."""


def valid_depth(depth: Tensor, quantity: Quantity, mask: Tensor | None = None) -> Tensor:
    """Valid pixels of a depth map, (B, 1, H, W) bool: finite, unmasked and, if zero is the camera, positive."""
    finite = are_positive(depth) if quantity in ZERO_AT_CAMERA else are_finite(depth)
    return finite if mask is None else finite & mask


def depth_mask(depth: Tensor, quantity: Quantity, known: Tensor | None = None) -> Tensor | None:
    """The valid pixels (B, 1, H, W) of a depth map from a file, or None if True everywhere.

    `valid_depth` and `known` (B, 1, H, W), where the file has depth (None = everywhere), without pixels where nothing was hit: FAR_AWAY or
    farther, or the largest 16-bit value. In relative depth the largest integer is the scene's far end, as images are stretched to it.
    """
    mask = valid_depth(depth, quantity, known)
    if quantity is not Quantity.DISPARITY:
        mask = mask & ~((depth >= FAR_AWAY) | (depth == LARGEST_HALF))
    if quantity in ZERO_AT_CAMERA:
        mask = mask & (depth != LARGEST_SHORT)
    return None if bool(mask.all()) else mask


def are_finite(values: Tensor) -> Tensor:
    """`torch.isfinite`, on a CPU in a fifth of its time."""
    if type(values) is Tensor and values.device.type == "cpu" and values.dtype == torch.float32:
        return torch.from_numpy(np.isfinite(values.detach().numpy(), out=np.empty(values.shape, np.bool_)))
    return values.abs() < _INFINITY  # twice as fast


def are_positive(values: Tensor) -> Tensor:
    """Where values are positive and finite."""
    if values.device.type == "cpu":
        return are_finite(values) & (values > 0)
    kind = torch.finfo(values.dtype)
    return values == values.clamp(kind.tiny * kind.eps, kind.max)  # two kernels instead of four


def all_valid_depth(depth: Tensor, quantity: Quantity) -> bool:
    """True if every pixel is `valid_depth` without a mask; on a CPU in a fourth of the time."""
    least, most = depth.aminmax()
    return bool(least > (0 if quantity in ZERO_AT_CAMERA else -_INFINITY)) and bool(most < _INFINITY)


def are_all(valid: Tensor) -> bool:
    """True if a CPU mask is all True. False on other devices, to avoid synchronising; callers then handle holes."""
    return valid.device.type == "cpu" and bool(valid.numpy().all())  # a tenth of torch's time


def valid_normals(normals: Tensor, mask: Tensor | None = None) -> Tensor:
    """The pixels whose normals have a direction, (B, 1, H, W) bool: all three numbers finite, not all zero, unmasked."""
    if normals.device.type == "cpu":
        x, y, z = normals.split(1, 1)
        length = x.abs().add_(y.abs()).add_(z.abs())
    else:
        length = torch.linalg.vector_norm(normals, torch.inf, 1, keepdim=True)
    pointing = are_positive(length)
    return pointing if mask is None else pointing & mask


def all_point(normals: Tensor) -> bool:
    """True if every vector (B, 3, H, W) has a direction, as by `valid_normals` in a third of its time on a CPU.

    False also where a vector is so short that its square is 0.
    """
    x, y, z = normals.split(1, 1)
    least, most = (x * x).addcmul_(y, y).addcmul_(z, z).aminmax()
    return bool(least > 0) and bool(most < _INFINITY)
