"""Value statistics of maps: nearness, ranges (extremes or percentiles, per image or clip), and samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..utils import constant, joined, kept_constants
from .kinds import Quantity
from .valid import are_all

MeasureRange: TypeAlias = Callable[[Tensor, Tensor, tuple[float, float]], tuple[Tensor, Tensor]]
"""Maps values, valid and percentiles to the low and high end of the display range, (B or 1, 1, 1, 1)."""

FAR_AND_NEAR_END = (2.0, 98.0)
"""Percentiles of nearness that define a scene's ends, robust to outliers."""

ROUNDING = 1e-5
"""Relative difference below which values are equal up to rounding."""

_SAMPLES = 2**16
_EXACT = 2**24  # greater whole numbers are rounded in float32
# A GPU sorts up to this many values, in seven times their memory; in more, as of a clip, a CPU finds percentiles.
_SORTED = 2**27


def depth_to_nearness(depth: Tensor, quantity: Quantity, as_disparity: bool = False) -> Tensor:
    """Values that increase with nearness: disparity, and -depth, or 1 / depth with `as_disparity`. Any shape."""
    if quantity is Quantity.DISPARITY:
        return depth
    return 1 / depth if as_disparity else -depth


def are_apart(low: Tensor, high: Tensor) -> Tensor:
    """Whether range ends differ by more than rounding, bool; False where an end is not finite.

    Keeps a constant map with rounding noise from being stretched to a full range.
    """
    largest = torch.maximum(low.abs(), high.abs())  # NaN if either is
    return high / 2 - low / 2 > ROUNDING / 2 * largest  # False for infinity, too


def are_ends_apart(low: float, high: float) -> bool:
    """`are_apart` of numbers."""
    return math.isfinite(low) and math.isfinite(high) and high - low > ROUNDING * max(abs(low), abs(high))


def measure_range(
    values: Tensor, valid: Tensor | None, percentiles: tuple[float, float] = (0.0, 100.0), per_clip: bool = False
) -> tuple[Tensor, Tensor]:
    """The ends of the range of values. The device is not synchronised, except for percentiles of more than `_SORTED` values.

    Args:
        values: (B, 1, H, W).
        valid: (B, 1, H, W) bool; None = everywhere.
        percentiles: (low, high), 0 to 100, interpolated linearly.
        per_clip: One range for all images instead of one each.

    Returns:
        Low and high, (B, 1, 1, 1), or (1, 1, 1, 1) per clip; infinite without valid values.
    """
    if percentiles == (0.0, 100.0):
        dimensions = (0, 1, 2, 3) if per_clip else (1, 2, 3)
        if valid is None or are_all(valid):
            return values.amin(dimensions, keepdim=True), values.amax(dimensions, keepdim=True)
        low = torch.where(valid, values, float("inf")).amin(dimensions, keepdim=True)
        return low, torch.where(valid, values, float("-inf")).amax(dimensions, keepdim=True)
    if per_clip:
        values, valid = values.reshape(1, 1, 1, -1), None if valid is None else valid.reshape(1, 1, 1, -1)
    if valid is None and values.device.type != "cpu":
        return _range_of_all(values, percentiles)
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    ends = _percentiles(values.flatten(1).float(), valid.flatten(1), percentiles).to(values).view(-1, 2, 1, 1, 1)
    return ends[:, 0], ends[:, 1]


def sample_stride(pixels: int) -> int:
    """The stride in rows and columns that takes some ten thousand samples of a map of `pixels` pixels."""
    return max(1, int((pixels / _SAMPLES) ** 0.5))


def measure_range_of_samples(values: Tensor, valid: Tensor | None, percentiles: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """`measure_range` of each image from some ten thousand samples, for ends that need not be exact; infinite where none is valid."""
    stride = sample_stride(values.shape[-2] * values.shape[-1])
    if valid is None:
        return _range_of_all(values[..., ::stride, ::stride], percentiles)
    return measure_range(values[..., ::stride, ::stride], valid[..., ::stride, ::stride], percentiles)


def samples_of(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Some ten thousand values (B, 1, h, w), infinite where not `valid`, to be fetched from the device together with other numbers."""
    stride = sample_stride(values.shape[-2] * values.shape[-1])
    some = values[..., ::stride, ::stride]
    return some if valid is None else torch.where(valid[..., ::stride, ::stride], some, constant(values, torch.inf))


def in_order(samples: Tensor) -> np.ndarray:
    """The finite values (N,) of `samples_of` on the CPU, ascending."""
    values = np.sort(samples.float().numpy(), axis=None)
    return values[: np.searchsorted(values, np.inf)]


def at_percentiles(ordered: np.ndarray, percentiles: Sequence[float]) -> list[float]:
    """Percentiles of ascending values, interpolated as by `measure_range`; infinite if there are none."""
    if not len(ordered):
        return [math.inf] * len(percentiles)
    last = len(ordered) - 1
    position = np.float32(last) * (np.array(percentiles, np.float32) / 100)
    below = position.astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, last)]
    return (low + (high - low) * (position - below).astype(np.float32)).tolist()


def measure_range_of_most(values: Tensor, valid: Tensor, percentiles: tuple[float, float] = (0.0, 100.0)) -> tuple[Tensor, Tensor]:
    """`measure_range` of each image for display: exact extremes, percentiles of samples.

    Low and high, (B, 1, 1, 1): the extremes if the percentiles coincide or no sample is valid; infinite without valid values. The device is
    not synchronised.
    """
    least, greatest = measure_range(values, valid)
    if percentiles == (0.0, 100.0):
        return least, greatest
    low, high = measure_range_of_samples(values, valid, percentiles)
    apart = are_apart(low, high)
    return torch.where(apart, low, least), torch.where(apart, high, greatest)


def value_at_ranks(values: Tensor, valid: Tensor, ranks: Sequence[int]) -> Tensor:
    """Exact order statistics of the valid values, one for each of the `ranks`: ascending positions from 0, fewer than valid values."""
    places = torch.tensor([ranks], device=values.device)
    return _ordered(values.reshape(1, -1).float(), valid.reshape(1, -1), places)[0].to(values)


def sampled(values: Tensor, valid: Tensor) -> Tensor:
    """Some ten thousand valid values (N,) of a map (1, 1, H, W), for medians and percentiles that need not be exact.

    They are of a sparse grid, without gradient; all valid values if the grid misses them. Synchronises the device.
    """
    stride = sample_stride(values.numel())
    sample = values[..., ::stride, ::stride][valid[..., ::stride, ::stride]].detach()
    return sample if sample.numel() else values[valid].detach()


def _percentiles(values: Tensor, valid: Tensor, percentiles: tuple[float, float]) -> Tensor:
    """(B, 2) percentiles of each row's valid values (B, N); infinite where there are none."""
    last, shares = valid.sum(1, keepdim=True) - 1, tuple((np.array(percentiles, np.float32) / 100).tolist())
    position = last * constant(values, shares)
    places = torch.cat((position, position.ceil()), 1).long()
    if values.shape[1] > _EXACT or 1 in shares:  # rounded beyond the last one; -1 in a row without any
        places = places.minimum(last).clamp(min=0)
    low, high = _ordered(values, valid, places).chunk(2, 1)
    none = constant(values, math.inf)
    return torch.where(low < none, torch.lerp(low, high, position.frac()), none)


def _ordered(values: Tensor, valid: Tensor, places: Tensor) -> Tensor:
    """(B, K): each row's valid values (B, N) at ascending positions (B, K), of as many as there are; infinite in a row without any."""
    if values.shape[1] <= _SORTED and (type(values) is not Tensor or values.device.type != "cpu"):
        none, count = constant(values, math.inf), max(1, _EXACT // values.shape[1])  # of images at once, as sorting takes 28 bytes a value
        rows = zip(values.split(count), valid.split(count), places.split(count), strict=True)
        return joined([torch.where(known, row, none).sort(1).values.gather(1, at) for row, known, at in rows])
    ordered = np.full(places.shape, np.inf, np.float32)
    for row, known, at, into in zip(values.detach(), valid, places.cpu().numpy(), ordered, strict=True):
        # By NumPy, as torch would make an index, twice as large as the values.
        some = row.cpu().numpy()[known.cpu().numpy()]
        if len(some):
            some.partition(at)  # a third of the time of sorting
            into[:] = some[at]
    return torch.from_numpy(ordered).to(values.device)


def _range_of_all(values: Tensor, percentiles: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """`measure_range` of images (B, 1, H, W) whose values are all valid."""
    flat = values.flatten(1)
    if type(values) is Tensor and values.device.type == "cpu":
        ranges = [at_percentiles(np.sort(each.float().numpy()), percentiles) for each in flat.detach()]
        ends = values.new_tensor(ranges).view(-1, 2, 1, 1, 1)
    else:
        places, share = _places_of(values, flat.shape[1], tuple(percentiles))
        low, high = flat.sort(1).values.index_select(1, places).view(-1, 2, 2).unbind(1)
        ends = torch.lerp(low, high, share.to(values)).view(-1, 2, 1, 1, 1)
    return ends[:, 0], ends[:, 1]


@kept_constants
def _places_of(count: int, percentiles: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Positions (4,) in `count` sorted values, below both percentiles and then above, and the weights (2,) of those above."""
    position = (count - 1) * torch.tensor(percentiles, dtype=torch.float32) / 100
    below = position.long().clamp(max=count - 1)  # large counts are rounded
    return torch.cat((below, (below + 1).clamp(max=count - 1))), position - below
