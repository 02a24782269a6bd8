"""Box sums, means and other pooling over the square around every pixel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import kept_constants, opencv_for

# Number of values up to which squares are pooled directly, which takes about as long as a second kernel launch; and the largest radius of
# pooled lines.
_READ_AT_ONCE, _WIDEST = 1 << 24, 64


def is_pooled(values: Tensor, radius: int) -> bool:
    """Whether `pooled` is faster: not on a CPU, and not with windows so wide that reading them takes longer than kernel launches."""
    return values.device.type != "cpu" and radius <= _WIDEST


def pooled(pool: Callable[..., Tensor], values: Tensor, radius: int) -> Tensor:
    """Pools the square around every pixel of maps (B, C, H, W); large squares along rows and then along columns."""
    size = 2 * radius + 1
    if radius <= 2 or values.numel() * size**2 <= _READ_AT_ONCE:
        return pool(values, size, stride=1, padding=radius)
    along = pool(values, (1, size), stride=1, padding=(0, radius))
    return pool(along, (size, 1), stride=1, padding=(radius, 0))


# Norm from which a running sum in float64 may lose small values.
_LARGE = 1e8


def box_means(values: Tensor, radius: int) -> Tensor:
    """Means over a square around every pixel, clipped at the border."""
    if opencv_for(values):
        return box_sums(values, radius).div_(box_counts(values, radius))
    if is_pooled(values, radius):
        return pooled(partial(F.avg_pool2d, count_include_pad=False), values, radius)
    for axis in (-1, -2):  # half precision cannot hold the sums of a square
        counts = _counts_along(values, radius, values.shape[axis]).to(values)
        values = _sums_along(values, radius, axis) / (counts if axis == -1 else counts[:, None])
    return values


def box_counts(values: Tensor, radius: int) -> Tensor:
    """(H, W): number of pixels in the square around every pixel, clipped at the border."""
    down, along = (_counts_along(values, radius, length) for length in values.shape[-2:])
    return (down[:, None] * along).to(values)


@kept_constants
def _counts_along(radius: int, length: int) -> Tensor:
    """(length,): number of positions within the radius of each."""
    at = torch.arange(length)
    return ((at + radius).clamp(max=length - 1) - (at - radius).clamp(min=0) + 1).float()


def box_sums(values: Tensor, radius: int) -> Tensor:
    """Sums over a square around every pixel, with zero padding."""
    cv2 = opencv_for(values)
    # OpenCV's running sum would spread non-finite values, and the rounding of large ones, over all following pixels.
    if cv2 is None or not values.norm() < _LARGE:
        if is_pooled(values, radius):
            return pooled(partial(F.avg_pool2d, divisor_override=1), values, radius)
        return _sums_along(_sums_along(values, radius, -1), radius, -2)
    size = (2 * radius + 1,) * 2
    planes = values.reshape(-1, *values.shape[-2:]).contiguous()
    sums = torch.empty_like(planes)
    for source, target in zip(planes.numpy(), sums.numpy(), strict=True):
        cv2.boxFilter(source, -1, size, target, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return sums.view(values.shape)


def _sums_along(values: Tensor, radius: int, axis: int) -> Tensor:
    """Sums over 2 * radius + 1 pixels along an axis, from sums over 1, 2, 4, ... pixels; 0 beyond the border."""
    size, length = 2 * radius + 1, values.shape[axis]
    of_power = F.pad(values, (radius, radius) if axis == -1 else (0, 0, radius, radius))
    power, begin, total = 1, 0, None
    while True:
        if size & power:
            part = of_power.narrow(axis, begin, length)
            total = part if total is None else total + part
            begin += power
        if 2 * power > size:
            assert total is not None
            return total
        left = of_power.shape[axis] - power
        of_power = of_power.narrow(axis, 0, left) + of_power.narrow(axis, power, left)
        power *= 2
