"""Slopes of inverse depth for sparse maps, such as lidar points or sensor maps with many holes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import without_autocast
from ..filters.bands import by_bands
from .plane_fit import Planes
from .scattered_fit import fit_scattered

# A pixel is isolated with fewer valid pixels than this in its 3x3 window, itself included.
_LONELY = 4
# Share of isolated pixels above which a map is scattered points.
_SPARSE = 0.5
# Window radii; the smallest window with _ENOUGH valid pixels is used.
_RADII = (2, 4, 8, 16)
_ENOUGH = 8
# Maximum RMS distance from the plane relative to inverse depth; minimum variance in each direction, in squared pixels.
_FLAT, _SPREAD = 0.02, 0.3


def fit_isolated(planes: Planes, inverse: Tensor, valid: Tensor, intrinsics: Tensor) -> Planes:
    """Fits planes in a wider window for pixels with hardly any valid neighbours.

    If most valid pixels are isolated, such as a lidar's, all planes are fitted to the nearest points in space (`fit_scattered`). Otherwise
    they are fitted by unweighted least squares, and accepted only where the window shows one flat surface.

    Args:
        planes: From `fit_planes`.
        inverse: (1, 1, H, W) inverse depth, finite everywhere.
        valid: (1, 1, H, W) of the same dtype, 1 where it can be trusted, 0 elsewhere.
        intrinsics: (3, 3), in pixels.

    Returns:
        The planes; unchanged for pixels with neighbours or without a suitable window. Synchronises the device.
    """
    waiting = (valid > 0) & (F.avg_pool2d(valid, 3, 1, 1, divisor_override=1) < _LONELY)
    if float(waiting.sum() / valid.sum().clamp(min=1)) > _SPARSE:
        return fit_scattered(planes, inverse, valid, intrinsics)
    for radius in _RADII:
        if not bool(waiting.any()):
            break
        suits, *fitted = by_bands(lambda d, v, radius=radius: _fitted(d, v, radius), radius, inverse, valid)
        chosen = waiting & (suits > 0)
        planes = Planes(*(torch.where(chosen, new, old) for new, old in zip(fitted, planes, strict=True)))
        waiting = waiting & ~chosen
    return planes


@without_autocast
def _fitted(inverse: Tensor, valid: Tensor, radius: int) -> tuple[Tensor, ...]:
    """1 where the window shows a plane, else 0; and the plane's value and slopes. Inputs have `radius` more pixels on each side."""
    offsets = torch.arange(-radius, radius + 1, dtype=inverse.dtype, device=inverse.device)
    weighted = inverse * valid

    def moment(maps: Tensor, x: int, y: int) -> Tensor:
        return F.conv2d(F.conv2d(maps, (offsets**x).view(1, 1, 1, -1)), (offsets**y).view(1, 1, -1, 1))

    count = moment(valid, 0, 0).clamp(min=1)
    mean_x, mean_y, mean = moment(valid, 1, 0) / count, moment(valid, 0, 1) / count, moment(weighted, 0, 0) / count
    xx, yy = moment(valid, 2, 0) / count - mean_x**2, moment(valid, 0, 2) / count - mean_y**2
    xy = moment(valid, 1, 1) / count - mean_x * mean_y
    xd, yd = moment(weighted, 1, 0) / count - mean_x * mean, moment(weighted, 0, 1) / count - mean_y * mean
    dd = (moment(weighted * inverse, 0, 0) / count - mean**2).clamp(min=0)
    determinant = xx * yy - xy * xy
    divisor = determinant.clamp(min=_SPREAD**2)
    slope_x, slope_y = (xd * yy - yd * xy) / divisor, (yd * xx - xd * xy) / divisor
    rest = dd - slope_x * xd - slope_y * yd
    suits = (count >= _ENOUGH) & (determinant >= _SPREAD * (xx + yy)) & (rest <= (_FLAT * mean) ** 2)
    return suits.to(inverse), mean - slope_x * mean_x - slope_y * mean_y, slope_x, slope_y
