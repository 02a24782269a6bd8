"""Value statistics of maps: nearness, ranges (extremes or percentiles, per image or clip), and samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..utils import constant, kept_constants
from .kinds import Quantity
from .valid import are_all

MeasureRange: TypeAlias = Callable[[Tensor, Tensor, tuple[float, float]], tuple[Tensor, Tensor]]
"""Maps values, valid and percentiles to the low and high end of the display range, (B or 1, 1, 1, 1)."""

FAR_AND_NEAR_END = (2.0, 98.0)
"""Percentiles of nearness that define a scene's ends, robust to outliers."""

ROUNDING = 1e-5
"""Relative difference below which values are equal up to rounding."""

_DIGITS = 2**16
_SAMPLES = 2**16
# Up to this many values per image, a GPU finds percentiles by sorting: one kernel launch instead of fifty.
_SORTED = 2**20


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
    """The ends of the range of values. The device is not synchronised.

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
    if values.device.type != "cpu" and not per_clip and values[0].numel() <= _SORTED:
        if valid is None:
            return _range_of_all(values, percentiles)
        ends = _sorted_percentiles(values.flatten(1).float(), valid.flatten(1), tuple(percentiles)).to(values).view(-1, 2, 1, 1, 1)
        return ends[:, 0], ends[:, 1]
    usable = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    images = [(value.flatten().float(), known.flatten()) for value, known in zip(values, usable, strict=True)]
    groups = [images] if per_clip else [[image] for image in images]
    ends = torch.stack([_percentiles(group, percentiles) for group in groups]).to(values).view(-1, 2, 1, 1, 1)
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
    wanted = torch.tensor(ranks, device=values.device)
    return _ranked([(values.flatten().float(), valid.flatten())], wanted).to(values)


def sampled(values: Tensor, valid: Tensor) -> Tensor:
    """Some ten thousand valid values (N,) of a map (1, 1, H, W), for medians and percentiles that need not be exact.

    They are of a sparse grid, without gradient; all valid values if the grid misses them. Synchronises the device.
    """
    stride = sample_stride(values.numel())
    sample = values[..., ::stride, ::stride][valid[..., ::stride, ::stride]].detach()
    return sample if sample.numel() else values[valid].detach()


def _sorted_percentiles(values: Tensor, valid: Tensor, percentiles: tuple[float, ...]) -> Tensor:
    """(B, 2) percentiles of each image's valid values (B, N); infinite where there are none."""
    none = constant(values, math.inf)
    ordered = torch.where(valid, values, none).sort(1).values
    position = (valid.sum(1, keepdim=True) - 1) * constant(values, tuple(each / 100 for each in percentiles))
    low, high = ordered.gather(1, torch.cat((position, position.ceil()), 1).long()).chunk(2, 1)
    return torch.where(low < none, torch.lerp(low, high, position.frac()), none)


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
    below = position.long()
    return torch.cat((below, (below + 1).clamp(max=count - 1))), position - below


def _percentiles(images: Sequence[tuple[Tensor, Tensor]], percentiles: tuple[float, float]) -> Tensor:
    """(2,) percentiles of the valid values of all images; infinite where there are none."""
    device = images[0][0].device
    total = torch.stack([valid.sum() for _, valid in images]).sum()
    last = (total - 1).clamp(min=0)
    position = last * torch.tensor(percentiles, dtype=torch.float32).div(100).to(device)
    below = position.floor().long()
    low, high = _ranked(images, torch.stack((below, torch.minimum(below + 1, last)))).unbind()
    return torch.where(total > 0, torch.lerp(low, high, position - below), float("inf"))


def _ranked(images: Sequence[tuple[Tensor, Tensor]], ranks: Tensor) -> Tensor:
    """The valid values at `ranks` (any shape, from 0) in ascending order; any number beyond the last.

    An exact radix select: a histogram of the upper 16 bits of all values, then of the lower 16 bits of values whose upper bits match
    a wanted one. It sorts nothing and reads a clip image by image.
    """
    wanted = ranks.flatten()
    first = _counts(images, lambda upper, lower: upper, _DIGITS)
    upper, inside = _find(first.expand(len(wanted), -1), wanted)
    # Ranks with the same upper digits share a histogram of the lower ones; the last histogram counts all other values.
    places = torch.arange(len(wanted), device=wanted.device)
    histogram = torch.full((_DIGITS,), len(wanted), device=wanted.device).index_put((upper,), places)
    rest = _counts(images, lambda upper, lower: histogram[upper] * _DIGITS + lower, (len(wanted) + 1) * _DIGITS)
    lower, _ = _find(rest.view(-1, _DIGITS)[histogram[upper]], inside)
    bits = (upper - _DIGITS // 2) * _DIGITS + lower
    return _ordered_bits(bits.to(torch.int32)).view(torch.float32).view(ranks.shape)


def _counts(images: Sequence[tuple[Tensor, Tensor]], bin_of: Callable[[Tensor, Tensor], Tensor], bins: int) -> Tensor:
    """Counts the valid values in each bin; `bin_of` maps the upper and lower digits of a value's order to its bin."""
    counts = torch.zeros(bins + 1, dtype=torch.int64, device=images[0][0].device)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    for values, valid in images:
        order = _ordered_bits(values.contiguous().view(torch.int32)).long()
        index = torch.where(valid, bin_of((order >> 16) + _DIGITS // 2, order & (_DIGITS - 1)), bins)
        counts.scatter_add_(0, index, one.expand_as(index))
    return counts[:-1]


def _find(counts: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """For each histogram (N, bins): the bin that holds the rank, and the rank within that bin."""
    reached = counts.cumsum(1)
    bins = torch.searchsorted(reached, ranks[:, None], right=True).clamp(max=counts.shape[1] - 1)
    return bins[:, 0], ranks - (reached - counts).gather(1, bins)[:, 0]


def _ordered_bits(bits: Tensor) -> Tensor:
    """Maps the bits of float32 values to integers of the same order, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
