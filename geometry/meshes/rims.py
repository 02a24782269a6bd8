"""Smooths surfaces beside cuts in soft depth, where leftover ramps would make the rim jagged."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters.chosen_pixels import chosen_places, rows_and_columns
from ..filters.extremes import largest_within

# Distance from a cut within which surfaces are smoothed, and radius in which a pixel's plane is fitted, both in ramp radii.
_BAND, _REACH = 1.5, 2.0
# Weight of pixels at the cut itself, and the radii of the sampled rings as shares of the reach.
_LEAST, _RINGS = 0.01, (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
# Least share of the range of inverse depth within a ramp radius that lies at the cut; with less, the cut is on a slope.
_STEEP = 0.6
# Least rise at the cut, in multiples of the noise.
_CLEAR = 3.0
# Pixels are on one side of a cut if their inverse depths differ by less than this share of the step at the cut, and of their own value.
_SAME = 0.35
# Ridge on the variance of positions, in squares of the reach: collinear pixels define no slope across their line.
_RIDGE = 0.003
# Number of distance levels from cuts; pixels fitted at a time.
_STEPS, _AT_ONCE = 8, 2**16
_TINY = 1e-9


def smooth_rims(depth: Tensor, valid: Tensor, cut: Tensor, radius: int, noise: Tensor) -> Tensor:
    """Extends surfaces to their cuts along planes fitted farther inside: (H, W) depth.

    Values change by less than the step at the cut beside them, and only within `_BAND` ramp radii of cuts.

    Args:
        depth: (H, W), positive where `valid`, with steps in place of ramps.
        cut: (H, W) bool, the pixels on both sides of cuts.
        radius: Half the width of ramps in pixels.
        noise: (H, W), from `noise_within`; cuts whose step barely exceeds it are ignored.
    """
    inverse = torch.where(valid, 1 / depth, 0)  # 0 differs too much from any value to be on the same side
    step, span = (_span(inverse, valid, reach) for reach in (1, radius))
    cut = cut & (step > _STEEP * span) & (step > _CLEAR * noise)
    band = math.ceil(_BAND * radius)
    away = _distances(cut, band)
    trust = (away / radius).clamp(max=1).square().clamp(min=_LEAST)
    reach = max(1, round(_REACH * radius))
    padded = torch.stack([F.pad(each, (reach,) * 4).flatten() for each in (inverse, trust)])
    smooth = inverse.flatten().clone()
    for places in chosen_places((away < band) & valid).split(_AT_ONCE):
        rows, columns = rows_and_columns(places, *depth.shape)
        width = depth.shape[1] + 2 * reach
        here = inverse.flatten()[places]
        allowed = _SAME * span.flatten()[places].minimum(here)
        fitted = _fitted(padded, (rows + reach) * width + columns + reach, width, here, allowed, reach)
        own = ((away.flatten()[places] - radius) / (band - radius)).clamp(0, 1)
        smooth[places] = fitted + (here - fitted) * own
    smooth = smooth.view_as(depth)
    return torch.where(smooth == inverse, depth, 1 / smooth.clamp(min=_TINY))


def _span(inverse: Tensor, valid: Tensor, reach: int) -> Tensor:
    """The range of valid values within `reach` pixels, (H, W); meaningless where no pixel is valid."""
    high, low = (largest_within(each[None, None], reach)[0, 0] for each in (inverse, torch.where(valid, -inverse, -torch.inf)))
    return high + low


def _distances(cut: Tensor, farthest: int) -> Tensor:
    """Approximate Chebyshev distance (H, W) to the pixels beside cuts, at most `farthest`."""
    total, near = torch.zeros(cut.shape, device=cut.device), cut[None, None].float()
    reaches = [farthest * step // _STEPS for step in range(_STEPS + 1)]
    for reach, following in itertools.pairwise(reaches):
        if following > reach:
            total += (following - reach) * (1 - largest_within(near, reach)[0, 0])
    return total


def _fitted(padded: Tensor, index: Tensor, width: int, here: Tensor, allowed: Tensor, reach: int) -> Tensor:
    """The value (N,) at each pixel of the plane fitted to its neighbours, up to `reach` pixels, on the same side of a cut.

    `padded` (2, pixels), of rows of `width`, are inverse depth and weights of maps padded by `reach`; `index` (N,) the pixels in it, `here`
    (N,) their inverse depth; `allowed` (N,) the largest difference of inverse depth on the same side, and largest change by the fit.
    """
    sums = here.new_zeros(9, len(here))
    for down, right in _places(reach):
        value, weight = padded[:, index + (down * width + right)]
        value, y, x = value - here, down / reach, right / reach
        weight = weight * (value.abs() <= allowed) * math.exp(-2 * (x * x + y * y))
        of_value = weight * value
        for each, term, factor in zip(sums, (weight,) * 6 + (of_value,) * 3, (1, x, y, x * x, x * y, y * y, 1, x, y), strict=True):
            each.add_(term, alpha=factor)
    x, y, xx, xy, yy, value, x_value, y_value = sums[1:] / sums[0].clamp(min=_TINY)
    xx, xy, yy, x_value, y_value = xx - x * x + _RIDGE, xy - x * y, yy - y * y + _RIDGE, x_value - x * value, y_value - y * value
    value = value - ((yy * x_value - xy * y_value) * x + (xx * y_value - xy * x_value) * y) / (xx * yy - xy * xy)
    return here + value.maximum(-allowed).minimum(allowed)


def _places(reach: int) -> list[tuple[int, int]]:
    """Offsets (rows, columns) on rings, without duplicates."""
    places = {(0, 0): None}
    for ring, share in enumerate(_RINGS):
        count = 4 + 4 * ring
        for step in range(count):
            angle = (step + ring % 2 / 2) * math.tau / count
            places[round(share * reach * math.sin(angle)), round(share * reach * math.cos(angle))] = None
    return list(places)
