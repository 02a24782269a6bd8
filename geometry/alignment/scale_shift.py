"""Fits the scale and shift that map one depth map to another."""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import exact_dtype

# Deviations below this many roundings of the values are rounding, not shape.
_ROUNDINGS = 8
# The robust fit: its rounds, the mean deviations from which on outliers lose weight (above pi / 2, below
# which the weights would close in on ever fewer pixels), and what keeps divisions apart from zero.
_ROUNDS = 8
_OUTLIER = 3.0
_TINY = 1e-12


def fit_scale_shift(values: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scale and the shift of least squares that bring each map to its target: scale * values + shift is nearest to target.

    It is for depth and disparity "up to scale and shift", whose target is a known map, the frame before, or a neighbouring tile. To fit a
    clip as one, pass its frames as one map: `values.flatten()[None]`.

    Args:
        values: (B, ...), any floating-point dtype.
        target: (B, ...), the same shape and device.
        valid: (B, ...) bool, where both are valid; None = everywhere. Other pixels may hold anything, NaN included.

    Returns:
        Scale and shift, each (B, 1, ...): they broadcast to `values`. They are float64 on the CPU and on CUDA, float32 on devices that
        need not have float64 (MPS). The scale is never negative, as near must not become far: where the maps run against each other it
        is 0, and the shift is the target's mean. Where the values are all equal, or none is valid, nothing tells the scale: it is 1, and
        the shift is the difference of the means, or 0. The device is not synchronised.

    Raises:
        ValueError: Shapes that differ.
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


def fit_robustly(values: Tensor, target: Tensor, weight: Tensor, noise_ratio: Tensor, with_scale: bool = True) -> tuple[Tensor, Tensor]:
    """A robust scale and shift between two noisy maps; outliers among the pixels are ignored.

    Least squares take the noise of `values` for shape and give too small a scale: along a video, of which each frame is brought to those
    before, a little contrast would be lost with each frame. Here both maps may be noisy, and what fits badly has no weight.

    Args:
        values: (1, ...) float32; finite everywhere.
        target: The same shape and device; finite everywhere.
        weight: The same shape, 0 or more: each pixel's weight.
        noise_ratio: The variance of the target's noise by that of the values' once they are brought to it, (1, ...) or a number: 1 for
            two single frames, 1 / n where the target is the mean of n.
        with_scale: False looks for the shift alone.

    Returns:
        Scale (above 0) and shift, each (1, ...) of one number. Where nothing tells the scale (a constant map), it is 1; where no pixel
        has weight, the shift is 0. The device is not synchronised; float32 throughout.

    Source:
        W. E. Deming, "Statistical Adjustment of Data" (1943): a line between two noisy quantities, here with the noise of both in units of
        the target; S. Geman and D. McClure, "Statistical methods for tomographic image reconstruction" (1987): the weight of a residual.
    """
    scale, shift = torch.ones_like(values.flatten(1)[:, :1]), torch.zeros_like(values.flatten(1)[:, :1])
    pairs, weight_row = torch.stack((values.flatten(1), target.flatten(1))), weight.flatten(1)
    trust = weight_row
    for _ in range(_ROUNDS):
        share = trust / trust.sum(1, keepdim=True).clamp(min=_TINY)
        scale, shift = _fit_line(pairs, share, noise_ratio, with_scale)
        residual = torch.addcmul(shift, scale, pairs[0]).sub_(pairs[1]).abs_()
        typical = (share * residual).sum(1, keepdim=True)
        trust = weight_row / residual.div_(_OUTLIER * typical + _TINY).square_().add_(1).square_()
    one = (-1, *[1] * (values.ndim - 1))
    return scale.view(one), shift.view(one)


def _fit_line(pairs: Tensor, share: Tensor, noise_ratio: Tensor, with_scale: bool) -> tuple[Tensor, Tensor]:
    """(B, 1) scale and shift of the lines through (2, B, N) noisy values and their noisy target, by each pair's share of the weight (B, N).

    With v = (t - shift) / scale + noise, and the target's noise `noise_ratio` of scale * noise, the three moments give
    ratio * vv * scale^2 + (1 - ratio) * vt * scale - tt = 0.
    """
    means = (share * pairs).sum(-1, keepdim=True)
    mean, target_mean = means.unbind()
    if not with_scale:
        return torch.ones_like(mean), target_mean - mean
    centred = pairs - means
    weighted = centred * share
    vt = (weighted[0] * centred[1]).sum(-1, keepdim=True)
    vv, tt = weighted.mul_(centred).sum(-1, keepdim=True).unbind()
    half = (1 - noise_ratio) * vt
    scale = 2 * tt / (half + (half.square() + 4 * noise_ratio * vv * tt).sqrt())
    rounding = (_ROUNDINGS * torch.finfo(pairs.dtype).eps) ** 2
    determined = (vv > rounding * mean.square()) & (tt > rounding * target_mean.square()) & torch.isfinite(scale)
    scale = torch.where(determined, scale, 1)
    return scale, target_mean - scale * mean
