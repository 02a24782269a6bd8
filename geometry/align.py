"""Scale and shift: one map brought to another that shows the same in other numbers."""

from __future__ import annotations

import torch
from torch import Tensor

_WITH_FLOAT64 = ("cpu", "cuda")
# Deviations below this many roundings of the values are rounding, not shape.
_ROUNDINGS = 8


def fit_scale_shift(values: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scale and the shift of least squares that bring each map to its target: scale * values + shift is nearest to target.

    It is for depth and disparity "up to scale and shift", whose target is a known map, the frame before, or a neighbouring tile. To fit a
    clip as one, pass its frames as one map: `values.flatten()[None]`.

    Args:
        values: (B, ...), any floating-point dtype.
        target: (B, ...), the same shape and device.
        valid: (B, ...) bool, where both count; None = everywhere. Other pixels may hold anything, NaN included.

    Returns:
        Scale and shift, each (B, 1, ...): they broadcast to `values`. They are float64 on the CPU and on CUDA, float32 on devices that
        need not have float64 (MPS). The scale is never negative, as near must not become far: where the maps run against each other it
        is 0, and the shift is the target's mean. Where the values are all equal, or none counts, nothing tells the scale: it is 1, and
        the shift is the difference of the means, or 0. Nothing is asked of the device.

    Raises:
        ValueError: Shapes that differ.
    """
    if target.shape != values.shape or (valid is not None and valid.shape != values.shape):
        found = f"target {tuple(target.shape)}, valid {None if valid is None else tuple(valid.shape)}"
        raise ValueError(f"the maps to fit differ in shape: values {tuple(values.shape)}, {found}; resize them to one size first")
    dtype = torch.float64 if values.device.type in _WITH_FLOAT64 else torch.float32
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    dimensions = tuple(range(1, values.ndim))
    count = valid.sum(dimensions, keepdim=True).clamp(min=1)
    values, target = (torch.where(valid, each, 0).to(dtype) for each in (values, target))
    mean, target_mean = (each.sum(dimensions, keepdim=True) / count for each in (values, target))
    centred = torch.where(valid, values - mean, 0)
    spread, magnitude = (each.square().sum(dimensions, keepdim=True) for each in (centred, values))
    told = spread > (_ROUNDINGS * torch.finfo(dtype).eps) ** 2 * magnitude
    slope = (centred * (target - target_mean)).sum(dimensions, keepdim=True) / spread
    scale = torch.where(told, slope.clamp(min=0), 1)
    return scale, target_mean - scale * mean
