"""Fits the scale and shift that map one depth map to another."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...utils import exact_dtype, sent_to, to_cpu

# Deviations below this many rounding errors carry no shape.
_ROUNDINGS = 8
# The robust fit: rounds; scale of outliers in mean deviations (above pi / 2, below which the weights would concentrate on ever fewer
# pixels); and the least divisor.
_ROUNDS = 8
_OUTLIER = 3.0
_TINY = 1e-12


def fit_scale_shift(values: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift that align each map with its target: scale * values + shift is nearest to target.

    For affine-invariant depth and disparity, aligned with a known map, the previous frame, or a neighbouring tile. To fit a clip as one,
    pass its frames as one map: `values.flatten()[None]`. Raises ValueError: shapes that differ.

    Args:
        values, target: (B, ...), any floating-point dtype, on one device.
        valid: (B, ...) bool, where both are valid; None = True everywhere. Other pixels may hold anything, NaN included.

    Returns:
        Scale and shift, each (B, 1, ...), broadcasting to `values`; float64 on CPU and CUDA, float32 on devices that may lack float64
        (MPS). The scale is never negative, as near must not become far: for anticorrelated maps it is 0, and the shift is the target's
        mean. For constant values, or none valid, the scale is 1, and the shift is the difference of the means, or 0. The device is not
        synchronised.
    """
    if target.shape != values.shape or (valid is not None and valid.shape != values.shape):
        shapes = f"target {tuple(target.shape)}, valid {None if valid is None else tuple(valid.shape)}"
        raise ValueError(f"the maps to fit differ in shape: values {tuple(values.shape)}, {shapes}; resize them to one size first")
    dtype = exact_dtype(values.device)
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    dimensions = tuple(range(1, values.ndim))
    count = valid.sum(dimensions, keepdim=True).clamp(min=1)
    values, target = (torch.where(valid, each, 0).to(dtype) for each in (values, target))
    mean, target_mean = (each.sum(dimensions, keepdim=True) / count for each in (values, target))
    centred = torch.where(valid, values - mean, 0)
    spread, magnitude = (each.square().sum(dimensions, keepdim=True) for each in (centred, values))
    determined = spread > (_ROUNDINGS * torch.finfo(dtype).eps) ** 2 * magnitude
    slope = (centred * (target - target_mean)).sum(dimensions, keepdim=True) / spread
    scale = torch.where(determined, slope.clamp(min=0), 1)
    return scale, target_mean - scale * mean


def fit_robustly(values: Tensor, target: Tensor, weight: Tensor, noise_ratio: float, with_scale: bool = True) -> tuple[Tensor, Tensor]:
    """A robust scale and shift between noisy maps that ignores outliers. Computed on the CPU, with one synchronisation of a GPU.

    Least squares with noisy `values` give too small a scale: along a video, aligned frame by frame, contrast would shrink. Here both maps
    may be noisy, and outliers have no weight. Scale (above 0) and shift are (B, 1, ...), broadcasting to `values`; scale 1 for a constant
    map, shift 0 without weights.

    Args:
        values, target: (B, ...) float32, finite everywhere, on one device.
        weight: The same shape, 0 or more: each pixel's weight.
        noise_ratio: The target's noise variance relative to the aligned values' noise variance: 1 for two single frames, 1 / n if the
            target is the mean of n frames.
        with_scale: False fits only the shift.

    Source:
        W. E. Deming, "Statistical Adjustment of Data" (1943): a line between two noisy quantities, here with the noise of both in units of
        the target; S. Geman and D. McClure, "Statistical methods for tomographic image reconstruction" (1987): the weight of a residual.
    """
    maps = to_cpu({"values": values, "target": target, "weight": weight}).values()
    least = (_ROUNDINGS * torch.finfo(values.dtype).eps) ** 2
    rows = [each.flatten(1).double().numpy() for each in maps]
    fits = [_fitted(own, other, trusted, noise_ratio, least, with_scale) for own, other, trusted in zip(*rows, strict=True)]
    scale, shift = sent_to(values.device, torch.tensor(fits, dtype=values.dtype).view(-1, 2, *[1] * (values.ndim - 1))).unbind(1)
    return scale, shift


def _fitted(
    values: np.ndarray, target: np.ndarray, weight: np.ndarray, noise_ratio: float, least: float, with_scale: bool
) -> tuple[float, float]:
    """Scale and shift between two maps (N,). In numpy: torch takes twice as long for so few numbers."""
    rows, trust, scale, shift = np.stack((values, target, np.ones_like(values))), weight, 1.0, 0.0
    for _ in range(_ROUNDS):
        moments = (rows * trust) @ rows.T
        total = max(float(moments[2, 2]), _TINY)
        scale, shift = _line(moments / total, noise_ratio, least) if with_scale else (1.0, float(moments[1, 2] - moments[0, 2]) / total)
        residual = np.abs(values * scale - target + shift)
        residual /= _OUTLIER * float((residual * trust).sum()) / total + _TINY
        trust = weight / np.square(np.square(residual, out=residual) + 1)
    return scale, shift


def _line(moments: np.ndarray, noise_ratio: float, least: float) -> tuple[float, float]:
    """Scale and shift of the line through noisy values and their noisy target, of the mean products of values, target and 1, (3, 3).

    With v = (t - shift) / scale + noise, and the target's noise `noise_ratio` of scale * noise, the central moments give
    noise_ratio * vv * scale^2 + (1 - noise_ratio) * vt * scale - tt = 0. Moments below `least` of the squared mean are rounding.
    """
    (vv, vt, mean), (_, tt, target_mean), _ = moments.tolist()
    vv, vt, tt = vv - mean * mean, vt - mean * target_mean, tt - target_mean * target_mean
    half = (1 - noise_ratio) / 2 * vt
    below = half + math.sqrt(max(0.0, half * half + noise_ratio * vv * tt))
    scale = tt / below if vv > least * mean**2 and tt > least * target_mean**2 and below > 0 else 1.0
    return scale, target_mean - scale * mean
