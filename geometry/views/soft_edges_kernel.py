"""The Triton kernels of `soft_edges`, imported only where they run: its functions of the same names, whose comments hold here."""

from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from ..edges.depth_edges import EDGE
from . import soft_edges
from .forward_warp import SMALL_STEP

_SMALL_STEP, _LOOSE, _WAVERING = map(tl.constexpr, (SMALL_STEP, soft_edges._LOOSE, soft_edges._WAVERING))
_FEW, _TINY, _NONE, _FAINT = map(tl.constexpr, (soft_edges._FEW, soft_edges._TINY, soft_edges._NONE, soft_edges._FAINT))
_HIDDEN, _LEVELS, _LEAST = map(tl.constexpr, (soft_edges._HIDDEN, soft_edges._LEVELS, soft_edges._LEAST))
_FRINGE, _FOREIGN, _MOST_FOREIGN = map(tl.constexpr, (soft_edges._FRINGE, *soft_edges._FOREIGN))
_EDGE, _LEAST_EDGE, _LEAST_SAME = map(tl.constexpr, (EDGE, 1 / EDGE, 1 / soft_edges._SAME))
# Two bits for each offset, plus one: Triton 3.3 cannot index tuples.
_DOWN, _RIGHT = (
    tl.constexpr(sum((step + 1) << 2 * number for number, step in enumerate(each.flatten().tolist())))
    for each in soft_edges._square_around(torch.empty(0))
)
_ROUND = tl.constexpr(3 * 2.0**22)  # float32 has no fractions there
_PIXELS = 128  # per program


def beside(
    maps: Tensor,
    colours: Tensor,
    place: Tensor,
    image: Tensor,
    row: Tensor,
    column: Tensor,
    away: Tensor,
    height: int,
    width: int,
    reach: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`soft_edges._beside`."""
    around, made = place.new_empty(9, len(place)), away.new_empty(11, len(place))
    is_known = torch.empty(3, len(place), dtype=torch.bool, device=place.device)
    _run(_beside, place, maps, colours, away, around, made, is_known, height, width, maps.shape[1], reach)
    return around, made[:3], made[3:], is_known


def completed(slots: Tensor, around: Tensor, own: Tensor, beside: Tensor, is_known: Tensor, away: Tensor) -> tuple[Tensor, Tensor]:
    """`soft_edges._completed`."""
    values, known = own.new_empty(12, len(away)), torch.empty_like(away, dtype=torch.bool)
    _run(_completed, away, slots, around, own, beside, is_known, values, known)
    return values, known


def expected(values: Tensor, mixture: Tensor, share: Tensor, growth: int) -> tuple[Tensor, Tensor, Tensor]:
    """`soft_edges._expected`."""
    made = values.new_empty(10, values.shape[1])
    _run(_expected, values, mixture, share, made, growth)
    return made[0], made[1:4], made[4:]


def separated(
    values: Tensor, share: Tensor, fringe: Tensor, opacities: Tensor, variation: Tensor, colours: Tensor, depths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`soft_edges._separated`."""
    made = values.new_empty(9, values.shape[1])
    _run(_separated, values, share, fringe, opacities, variation, colours, depths, made)
    return made[:3], made[3], made[4:]


def _run(kernel: Any, values: Tensor, *others: Any) -> None:
    count, others = values.shape[-1], tuple(each.contiguous() if isinstance(each, Tensor) else each for each in others)
    kernel[(triton.cdiv(count, _PIXELS),)](values.contiguous(), *others, count, _PIXELS, enable_fp_fusion=False)


@triton.jit
def _index(row, column, height, width):
    """The index of the nearest pixel of the image."""
    return tl.minimum(tl.maximum(row, 0), height - 1) * width + tl.minimum(tl.maximum(column, 0), width - 1)


@triton.jit
def _rounded(value):
    """To the nearest whole number, halves to even."""
    return ((value + _ROUND) - _ROUND).to(tl.int64)


@triton.jit
def _linear(colour):
    return tl.where(colour <= 0.04045, colour / 12.92, tl.exp2(tl.log2((tl.maximum(colour, 0.0) + 0.055) / 1.055) * 2.4))


@triton.jit(do_not_specialize=("height", "width", "total", "reach", "count"))
def _beside(place, maps, colours, away, around, made, is_known, height, width, total, reach, count, pixels: tl.constexpr):
    at, side = tl.program_id(0) * pixels + tl.arange(0, pixels), tl.arange(0, 2)[:, None]
    inside, sign = at < count, 1 - 2 * side
    here, distance = tl.load(place + at, inside, 0), tl.load(away + at, inside, 0.0)
    column, row = here % width, here // width % height
    first = here - row * width - column
    ways = tl.zeros((2, pixels), tl.float32)
    for number in tl.static_range(9):
        down, right = (_DOWN >> 2 * number & 3) - 1, (_RIGHT >> 2 * number & 3) - 1
        there = first + _index(row + down, column + right, height, width)
        tl.store(around + number * count + at, there, inside)
        if number < 4:
            step = tl.load(maps + there, inside, 0.0)
            ways += tl.where(side == number % 2, step, 0.0) * (1.0 if number < 2 else -1.0)
    length = tl.maximum(tl.sqrt(tl.sum(ways * ways, 0)), _TINY)
    down, right = tl.sum(tl.where(side == 0, ways, 0.0), 0) / length, tl.sum(tl.where(side == 1, ways, 0.0), 0) / length
    near, far, within = reach * sign - distance, (reach + 1) * sign - distance, 1.5 * sign - distance
    near = first + _index(row + _rounded(down * near), column + _rounded(right * near), height, width)
    far = first + _index(row + _rounded(down * far), column + _rounded(right * far), height, width)
    within = first + _index(row + _rounded(down * within), column + _rounded(right * within), height, width)
    own, bottom = tl.load(maps + total + here, inside, 0.0), tl.load(maps + 2 * total + here, inside, 0.0)
    top, mask = tl.load(maps + 3 * total + here, inside, 0.0), inside & (side < 2)
    outside, more = tl.load(maps + total + near, mask, 0.0), tl.load(maps + total + far, mask, 0.0)
    within = tl.load(maps + total + within, mask, 0.0)
    middle = tl.sqrt(bottom * top)
    is_own = (own - middle) * sign < 0
    surface = tl.where(is_own, own, tl.where((within - middle) * sign < 0, within, outside))
    fits = ((outside - middle) * sign < 0) & (more / outside >= _LEAST_EDGE) & (more / outside <= _EDGE)
    of_far, of_near = tl.sum(tl.where(side == 0, surface, 0.0), 0), tl.sum(tl.where(side == 1, surface, 0.0), 0)
    usable = (
        (tl.min(fits.to(tl.int32), 0) > 0) & (of_near > of_far * _EDGE) & (of_near > top * _LEAST_SAME) & (bottom > of_far * _LEAST_SAME)
    )
    for channel in tl.static_range(3):
        colour = colours + channel * total
        tl.store(made + channel * count + at, _linear(tl.load(colour + here, inside, 0.0)), inside)
        mean = (_linear(tl.load(colour + near, mask, 0.0)) + _linear(tl.load(colour + far, mask, 0.0))) / 2
        tl.store(made + (3 + 2 * channel + side) * count + at, mean, mask)
    tl.store(made + (9 + side) * count + at, surface, mask)
    tl.store(is_known + at, usable, inside)
    tl.store(is_known + (1 + side) * count + at, is_own, mask)


@triton.jit(do_not_specialize=("count",), do_not_specialize_on_alignment=("beside",))
def _completed(away, slots, around, own, beside, is_known, values, known, count, pixels: tl.constexpr):
    at, row = tl.program_id(0) * pixels + tl.arange(0, pixels), tl.arange(0, 16)[:, None]
    inside, sums, number = at < count, tl.zeros((16, pixels), tl.float32), tl.zeros((pixels,), tl.float32)
    for neighbour in tl.static_range(9):
        slot = tl.load(slots + tl.load(around + neighbour * count + at, inside, 0), inside, 0)
        usable = inside & (slot < count)
        usable = usable & (tl.load(is_known + slot, usable, 0) != 0)
        sums += tl.load(beside + row * count + slot, usable & (row < 8), 0.0)
        number += tl.where(usable, 1.0, 0.0)
    means = sums / tl.maximum(number, 1.0)
    keeps = inside & ((row == 6) | (row == 7))
    is_own = tl.load(is_known + (row - 5) * count + at, keeps, 0) | tl.load(is_known + at + 0 * row, keeps, 0)
    means = tl.where(is_own != 0, tl.load(beside + row * count + at, keeps, 0.0), means)
    tl.store(values + row * count + at, tl.load(own + row * count + at, inside & (row < 3), 0.0), inside & (row < 3))
    # Far surfaces alternate with near ones, and come after them in the result.
    into = tl.where(row < 6, 6 + row // 2 - 3 * (row % 2), 16 - row)
    tl.store(values + into * count + at, means, inside & (row < 8))
    tl.store(values + 11 * count + at, tl.load(away + at, inside, 0.0), inside)
    tl.store(known + at, number > 1, inside)


@triton.jit
def _surfaces(values, at, count):
    """The mask of the block's pixels; (4, pixels) colours of pixels, near and far surfaces, the fourth row 0; and its mask."""
    channel, inside = tl.arange(0, 4)[:, None], at < count
    place, mask = values + channel * count + at, (channel < 3) & inside
    near, far = tl.load(place + 3 * count, mask, 0.0), tl.load(place + 6 * count, mask, 0.0)
    return inside, tl.load(place, mask, 0.0), near, far, mask


@triton.jit
def _normal(value, deviation):
    return 0.5 + 0.5 * tl.erf(value / (deviation * 1.4142135623730951))


@triton.jit(do_not_specialize=("growth", "count"))
def _expected(values, mixture, share, made, growth, count, pixels: tl.constexpr):
    at = tl.program_id(0) * pixels + tl.arange(0, pixels)
    inside, colour, near, far, _ = _surfaces(values, at, count)
    near_inverse, far_inverse = tl.load(values + 9 * count + at, inside, 1.0), tl.load(values + 10 * count + at, inside, 1.0)
    away, sure = tl.load(values + 11 * count + at, inside, 0.0), tl.load(share + at, inside, 0.0)
    offset, width = tl.load(mixture + at, inside, 0.0), tl.load(mixture + count + at, inside, 1.0)
    fringe = tl.minimum(tl.maximum(growth - away, 0.0), 1.0) * sure * tl.where(near_inverse > far_inverse * _SMALL_STEP, 1.0, 0.0)
    deviation = tl.maximum(sure * width, 1e-3)
    alpha = _normal(sure * offset - away, deviation)
    rest = (colour - far) - (near - far) * alpha
    rest = tl.sum(rest * rest, 0)
    tl.store(made + at, fringe, inside)
    tl.store(made + count + at, _normal(sure * (offset - _LOOSE) - away, deviation), inside)
    tl.store(made + 2 * count + at, alpha, inside)
    tl.store(made + 3 * count + at, _normal(sure * (offset + _WAVERING * growth) - away, deviation), inside)
    of_far = tl.where((away > growth) & (sure > 0), 1.0, 0.0)
    of_fringe = tl.where((fringe > 0) & (alpha < 0.1) & (sure > 0), 1.0, 0.0)
    of_near = tl.where((alpha > 0.9) & (sure > 0), 1.0, 0.0)
    tl.store(made + 4 * count + at, rest * of_far, inside)
    tl.store(made + 5 * count + at, rest * of_fringe, inside)
    tl.store(made + 6 * count + at, rest * of_near, inside)
    tl.store(made + 7 * count + at, of_far, inside)
    tl.store(made + 8 * count + at, of_fringe, inside)
    tl.store(made + 9 * count + at, of_near, inside)


@triton.jit(do_not_specialize=("count",), do_not_specialize_on_alignment=("fringe", "opacities"))
def _separated(values, share, fringe, opacities, variation, colours, depths, made, count, pixels: tl.constexpr):
    at = tl.program_id(0) * pixels + tl.arange(0, pixels)
    inside, colour, near, far, mask = _surfaces(values, at, count)
    near_inverse, far_inverse = tl.load(values + 9 * count + at, inside, 1.0), tl.load(values + 10 * count + at, inside, 1.0)
    low, high = tl.load(opacities + at, inside, 0.0), tl.load(opacities + 2 * count + at, inside, 1.0)
    alpha, in_fringe = tl.load(opacities + count + at, inside, 0.0), tl.load(fringe + at, inside, 0.0)
    enough = tl.load(variation + 3 * count + at, inside, 1.0)
    of_far = 1e-5 + tl.load(variation + at, inside, 0.0) / tl.maximum(enough, 1.0)
    of_far = tl.where(enough > _FEW, of_far, 1.0)
    of_fringe = 1e-5 + tl.load(variation + count + at, inside, 0.0) / tl.maximum(tl.load(variation + 4 * count + at, inside, 1.0), 1.0)
    of_near = 1e-5 + tl.load(variation + 2 * count + at, inside, 0.0) / tl.maximum(tl.load(variation + 5 * count + at, inside, 1.0), 1.0)
    between, from_far = near - far, colour - far
    contrast, along = tl.sum(between * between, 0), tl.sum((from_far - between * alpha) * between, 0)
    spread = (high - low) * (high - low)
    noise = alpha * alpha * of_near + (1 - alpha) * (1 - alpha) * of_far
    alpha += spread * along / (noise + spread * tl.maximum(contrast, _TINY) / 12) / 12
    alpha = tl.minimum(tl.maximum(alpha, low), high)
    varied = 2 * tl.sqrt(of_far)
    lowest, highest = far - varied, far + varied
    least = 1 - tl.minimum(colour / tl.maximum(lowest, _TINY), (1 - colour) / tl.maximum(1 - highest, _TINY))
    least = tl.where((tl.minimum(lowest, 1 - highest) > 0) & (alpha > _NONE) & mask, least, 0.0)
    alpha = tl.maximum(alpha, tl.max(least, 0))
    rest = from_far - between * alpha
    share_of_near = tl.minimum(tl.maximum(of_near / (of_near + of_far), _LEAST), 1 - _LEAST)
    share_of_far = (1 - alpha) * (1 - share_of_near)
    rest *= share_of_far / (alpha * alpha * share_of_near + (1 - alpha) * share_of_far)
    its_own = of_far * tl.minimum(tl.maximum(of_far / of_fringe * (_MOST_FOREIGN * _FRINGE), _FOREIGN), _MOST_FOREIGN)
    kept = tl.minimum(its_own / tl.maximum(tl.sum(rest * rest, 0), _TINY), 1.0)
    behind = tl.minimum(tl.maximum(far + rest * (1 + (kept - 1) * in_fringe), lowest), highest)
    behind = tl.minimum(tl.maximum(behind, tl.minimum(colour, far)), tl.maximum(colour, far))
    depth, sure = tl.load(depths + at, inside, 0.0), tl.load(share + at, inside, 0.0)
    on_near = depth * depth > near_inverse * far_inverse
    between, from_far = near - behind, colour - behind
    trace = tl.sum(from_far * between, 0) / tl.maximum(tl.sum(between * between, 0), _TINY)
    trace = tl.maximum(alpha, tl.minimum(tl.maximum(trace, 0.0), _FAINT))
    alpha = tl.where(on_near & (alpha < _FAINT), trace, alpha)
    least = tl.max(tl.maximum(from_far / (-_LEVELS - behind), from_far / (1 + _LEVELS - behind)), 0)
    alpha = tl.where((alpha > _NONE) | (in_fringe > 0), tl.maximum(alpha, tl.minimum(least, 1.0)), alpha)
    is_rim = tl.where(on_near, alpha < 1 - _NONE, alpha > _NONE) & (sure > 0)
    srgb = tl.exp2(tl.log2(tl.maximum(behind, 0.0031308)) / 2.4) * 1.055 - 0.055
    srgb = tl.where(behind <= 0.0031308, behind * 12.92, srgb)
    row = tl.arange(0, 4)[:, None] * count + at
    tl.store(made + row, tl.where(is_rim, srgb, tl.load(colours + row, mask, 0.0)), mask)
    tl.store(made + 3 * count + at, tl.where(is_rim, tl.where(alpha <= _HIDDEN, far_inverse, 0.0), depth), inside)
    rim = tl.minimum(tl.maximum(from_far + alpha * behind, 0.0), alpha)
    tl.store(made + 4 * count + row, tl.where(is_rim, rim, 0.0), mask)
    tl.store(made + 7 * count + at, tl.where(is_rim, alpha, 0.0), inside)
    tl.store(made + 8 * count + at, tl.where(is_rim, near_inverse, 0.0), inside)
