"""The Triton kernel of `stripes`, imported only where it runs. Its steps are those of that module's functions, whose names are given."""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from . import stripes

_CELL, _BESIDE, _FEW, _STEEPEST, _STEP, _SOFT_FROM, _AGREED, _TINY, _NOISE, _FAR = map(
    tl.constexpr,
    (
        *(stripes._CELL, stripes._BESIDE, stripes._FEW, stripes._STEEPEST, stripes._STEP),
        *(stripes._SOFT_FROM, stripes._AGREED, stripes._TINY, stripes._NOISE, stripes._FAR),
    ),
)
_FALL_FROM, _FALL_TO, _STEP_FROM, _STEP_TO = map(tl.constexpr, stripes._FALL)
_DOWN_TO, _UP_FROM = map(tl.constexpr, stripes._LEFT)
_VARIANCES = tl.constexpr(stripes._DEVIATIONS**2)
_GAIN, _ANY_GAIN, _EXPLAINED, _OVER = map(tl.constexpr, (stripes._GAIN, stripes._ANY_GAIN, stripes._EXPLAINED, stripes._OVER))
_CONTRAST, _ANY_CONTRAST = map(tl.constexpr, (stripes._CONTRAST, stripes._ANY_CONTRAST))
_ROUND = tl.constexpr(3 * 2.0**22)  # added and subtracted, it rounds to a whole number, halves to even
_BLOCK = 64  # per program


def votes(maps: Tensor, edge: Tensor, place: Tensor, image: Tensor, row: Tensor, column: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """`stripes._votes`: a program for each cell, and for each block of pixels."""
    images, _, height, width = edge.shape
    rows, columns = (-(-side // stripes._CELL) + 2 for side in (height, width))
    grid, lines = maps.new_empty(4, images * rows * columns), maps.new_empty(3, len(place))
    before, beyond, widest = stripes._reaches(radius)
    size = triton.next_power_of_2(before + beyond + 1)
    _votes[(grid.shape[1] + triton.cdiv(len(place), _BLOCK),)](  # pyright: ignore[reportIndexIssue]
        *(maps, edge.contiguous().view(torch.uint8), place, grid, lines),
        *(images, height, width, len(place), before, beyond, widest, radius + 2, 9, size, _BLOCK),
        num_warps=1,
        enable_fp_fusion=False,
    )
    return grid.view(4, images, rows, columns).transpose(0, 1), lines


@triton.jit
def _index(row, column, down, right, steps, height, width):
    """`Lines.at`, in one image."""
    row, column = (row + down * steps + _ROUND) - _ROUND, (column + right * steps + _ROUND) - _ROUND
    row, column = tl.minimum(tl.maximum(row, 0.0), height - 1.0), tl.minimum(tl.maximum(column, 0.0), width - 1.0)
    return row.to(tl.int32) * width + column.to(tl.int32)


@triton.jit
def _line(maps, total, place, first, known, height, width, reach):
    """`Lines.through` and `_away` of pixels: row, column, direction, distance from the ramp's middle, inverse depth of both sides."""
    bottom, top = tl.load(maps + place, known, 0.0), tl.load(maps + total + place, known, 0.0)
    down, right = tl.load(maps + 2 * total + place, known, 0.0), tl.load(maps + 3 * total + place, known, 0.0)
    length = tl.maximum(tl.sqrt(down * down + right * right), _TINY)
    row, column, down, right = (
        ((place - first) // width).to(tl.float32),
        ((place - first) % width).to(tl.float32),
        down / length,
        right / length,
    )
    depth, middle = maps + 4 * total, top - (top - bottom) * 0.5
    own = tl.load(depth + place, known, 0.0)
    sign = tl.where(own > middle, -1.0, 1.0)
    before, away = (middle - own) * sign, tl.full(place.shape, reach + 1.0, tl.float32)
    for step in range(1, reach + 1):
        there = first + _index(row, column, down, right, -sign * step, height, width)
        after = (middle - tl.load(depth + there, known, 0.0)) * sign
        before = tl.maximum(before, 0.0)
        crossing = step - 1 + before / tl.maximum(before - after, _TINY)
        away, before = tl.where(after <= 0, tl.minimum(away, crossing), away), after
    return row, column, down, right, sign * away, bottom, top


@triton.jit
def _pixels(edge, first, cell_row, cell_column, height, width):
    """A cell's pixels, and which of them are in the image and on an edge."""
    at = tl.arange(0, _CELL * _CELL)
    row, column = cell_row * _CELL + at // _CELL, cell_column * _CELL + at % _CELL
    place, known = first + row * width + column, (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return place, known & (tl.load(edge + place, known, 0) != 0)


@triton.jit
def _cell(maps, edge, total, first, cell_row, cell_column, height, width, reach):
    """`_line` of a cell's pixels, and each pixel's weight."""
    place, known = _pixels(edge, first, cell_row, cell_column, height, width)
    y, x, down, right, away, bottom, top = _line(maps, total, place, first, known, height, width, reach)
    depth = maps + 4 * total + first
    ramp = tl.load(depth + _index(y, x, down, right, _FALL_FROM - away, height, width), known, 0.0)
    ramp -= tl.load(depth + _index(y, x, down, right, _FALL_TO - away, height, width), known, 0.0)
    step = tl.load(depth + _index(y, x, down, right, _STEP_FROM - away, height, width), known, 0.0)
    step -= tl.load(depth + _index(y, x, down, right, _STEP_TO - away, height, width), known, 0.0)
    weight = _share_above(step / tl.maximum(ramp, _TINY), _STEEPEST, -_STEP)
    return y, x, down, right, away, bottom, top, known, tl.where(known & (tl.abs(away) <= _BESIDE), weight, 0.0)


@triton.jit
def _share_above(values, least, over):
    return tl.minimum(tl.maximum(values / over - least / over, 0.0), 1.0)


@triton.jit
def _sum(sums, channel, number):
    """One channel of sums (8, N)."""
    return tl.sum(tl.where(channel == number, sums, 0.0), 0)


@triton.jit
def _taken(values, index, size: tl.constexpr):
    """The values (8, size) at an index, clamped."""
    return tl.gather(values, tl.broadcast_to(tl.minimum(tl.maximum(index, 0), size - 1)[None], (8, size)), 1)


@triton.jit
def _mean_and_error(sums, channel):
    """`_mean_and_error` of sums (8, N), the last two 0: a mean of channels that are no colours is 0."""
    mean = tl.where((channel > 1) & (channel < 5), sums, 0.0) / tl.maximum(_sum(sums, channel, 0), _TINY)[None]
    return mean, tl.maximum(_sum(sums, channel, 5) - tl.sum(sums * mean, 0), 0.0)


@triton.jit
def _mixed(sums, mean, line, length, channel):
    """The error of single distances `sums`, beside a side of colour `mean`, that may be mixtures along `line`."""
    colour, error = _mean_and_error(sums, channel)
    apart = colour - mean
    share = tl.minimum(tl.maximum(tl.sum(apart * line, 0) / tl.maximum(length, _TINY), 0.0), 1.0)
    apart -= share[None] * line
    return error + _sum(sums, channel, 0) * tl.sum(apart * apart, 0)


@triton.jit
def _stripe_end(rows, channel, at, before, widest, count, size: tl.constexpr):
    """`_stripe_end` of one profile (8, size), the last two channels and the distances from count on 0."""
    weight = _sum(rows, channel, 0)
    left = _sum(rows, channel, 1) / tl.maximum(weight, _TINY)
    may_end = (left < _UP_FROM) & (tl.gather(left, tl.minimum(at + 1, size - 1), 0) > _DOWN_TO) & (at < count - 1)
    until, since = tl.cumsum(rows, 1), tl.cumsum(rows, 1, reverse=True)
    # `_best_stripe`: `at` is where it begins.
    within, shares, squares = tl.zeros_like(rows), tl.zeros_like(rows), tl.zeros_like(rows)
    single, best = tl.full((size,), float("inf"), tl.float32), tl.full((size,), float("inf"), tl.float32)
    contrast, width = tl.zeros((size,), tl.float32), tl.zeros((size,), tl.int32)
    for wide in range(widest + 1):
        end, soft, last = at + wide, tl.minimum(tl.maximum(wide - (_SOFT_FROM - 1), 0), 1), _taken(rows, at + wide - 1, size)
        added, to = tl.where((end > at)[None], last, 0.0), wide - 0.5
        within, shares, squares = within + added, shares + added * to, squares + added * (to * to)
        fits, per = (at >= 2) & (end < count - 2), 1.0 / tl.maximum(wide, 1)
        near, first_error = _mean_and_error(_taken(until, at - 1, size), channel)
        far, second_error = _mean_and_error(_taken(since, end, size), channel)
        line, share, square = far - near, shares * per, squares * (per * per)
        by_near = near * _sum(within, channel, 0)[None] + 2 * line * _sum(share, channel, 0)[None] - 2 * within
        by_line = line * _sum(square, channel, 0)[None] - 2 * share
        mixture = tl.maximum(tl.sum(near * by_near + line * by_line, 0) + _sum(within, channel, 5), 0.0)
        single = tl.where(fits, tl.minimum(single, first_error + second_error + mixture), single)
        first = _taken(rows, at, size)
        near, first_error = _mean_and_error(_taken(until, at - 1 - soft, size), channel)
        middle, middle_error = _mean_and_error(within - soft * (first + last), channel)
        far, second_error = _mean_and_error(_taken(since, end + soft, size), channel)
        lines, other = middle - near, far - middle
        length, other_length = tl.sum(lines * lines, 0), tl.sum(other * other, 0)
        error = first_error + middle_error + second_error
        if wide >= _SOFT_FROM:
            error += _mixed(_taken(rows, at - 1, size), near, lines, length, channel) + _mixed(first, near, lines, length, channel)
            error += _mixed(last, middle, other, other_length, channel) + _mixed(
                _taken(rows, end, size), middle, other, other_length, channel
            )
        ends = tl.gather(may_end.to(tl.int32), tl.minimum(tl.maximum(end - 1, 0), size - 1), 0) != 0
        better = fits & ends & (end > at) & (error < best)
        best, width = tl.where(better, error, best), tl.where(better, wide, width)
        contrast = tl.where(better, tl.sqrt(tl.minimum(length, other_length)), contrast)
    single, error = tl.min(single, 0), tl.min(best, 0)
    number = tl.min(tl.where(best == error, width * size + at, 1 << 30), 0)
    end, contrast = number // size + number % size - 1, tl.sum(tl.where(at == number % size, contrast, 0.0), 0)
    # `_begin_of_far`
    mean, errors = _mean_and_error(rows, channel)
    far, far_error = _mean_and_error(tl.sum(tl.where((at >= count - _FAR)[None], rows, 0.0), 1)[:, None], channel)
    _, total = _mean_and_error(tl.sum(rows, 1)[:, None], channel)
    total = tl.sum(total, 0)
    varies = errors / tl.maximum(weight, _TINY)
    far_weight = tl.sum(tl.where(at >= count - _FAR, weight, 0.0), 0)
    least = tl.maximum(tl.sum(far_error, 0) / tl.maximum(far_weight, _TINY) * _VARIANCES, _CONTRAST * _CONTRAST)
    apart = tl.sum((mean - far) * (mean - far), 0)
    far_end = tl.max(tl.where((apart > least) & (at < count), at, 2), 0)
    beside = (at <= far_end) & (at > far_end - 3)
    peak, spread = tl.max(tl.where(beside, apart, 0.0), 0), tl.min(tl.where(beside, varies, float("inf")), 0)
    clear = tl.minimum(tl.maximum(2 - 2 * tl.sqrt(spread / tl.maximum(peak, _TINY)), 0.0), 1.0)
    in_ramp = tl.sum(tl.where(at == tl.minimum(far_end, count - 2), may_end.to(tl.int32), 0), 0) * tl.where(far_end > 2, 1, 0)
    any_error = tl.sum(errors + tl.where(at > far_end, weight * apart, 0.0), 0)
    # The criteria, as ramps.
    noise, whole = _NOISE * total + _TINY, tl.maximum(total, _TINY)
    sure = _share_above((error + noise) / (single + noise), 1 - _GAIN, -0.5 * _GAIN)
    sure *= _share_above(error / whole, 1 - _EXPLAINED, -_OVER) * _share_above(contrast, _CONTRAST, 0.5 * _CONTRAST)
    also = clear * in_ramp * _share_above((any_error + noise) / (single + noise), 1 - _ANY_GAIN, -0.1)
    also *= _share_above(any_error / whole, 1 - _EXPLAINED, -_OVER)
    also *= _share_above(tl.sqrt(peak), _ANY_CONTRAST, 0.5 * _ANY_CONTRAST)
    enough = tl.where(tl.max(weight, 0) > _FEW, 1.0, 0.0)
    return tl.where(sure >= also, end, far_end) - (before - 0.5), tl.maximum(sure, also) * enough


# Sizes are not specialised, or each kind of size would be compiled anew. `around` is 9: a known number of rounds would be unrolled.
@triton.jit(do_not_specialize=[*range(5, 14)])
def _votes(
    maps,
    edge,
    place,
    grid,
    lines,
    images,
    height,
    width,
    pixels,
    before,
    beyond,
    widest,
    reach,
    around,
    size: tl.constexpr,
    block: tl.constexpr,
):
    rows, columns = (height + _CELL - 1) // _CELL + 2, (width + _CELL - 1) // _CELL + 2
    cell, cells, total, count = tl.program_id(0), images * rows * columns, images * height * width, before + beyond + 1
    if cell >= cells:
        number = (cell - cells) * block + tl.arange(0, block)
        known = number < pixels
        here = tl.load(place + number, known, 0)
        first = here // (height * width) * (height * width)
        _, _, down, right, away, _, _ = _line(maps, total, here, first, known, height, width, reach)
        tl.store(lines + number, away, known)
        tl.store(lines + pixels + number, down, known)
        tl.store(lines + 2 * pixels + number, right, known)
        return
    first = (cell // (rows * columns)).to(tl.int64) * height * width
    cell_row, cell_column = cell // columns % rows - 1, cell % columns - 1
    channel, at = tl.arange(0, 8)[:, None], tl.arange(0, size)
    profile, own = tl.zeros((8, size), tl.float32), 0.0
    _, known = _pixels(edge, first, cell_row, cell_column, height, width)
    if tl.max(known.to(tl.int32), 0) > 0:
        for beside in range(around):
            y, x, down, right, away, bottom, top, known, weight = _cell(
                maps, edge, total, first, cell_row + beside // 3 - 1, cell_column + beside % 3 - 1, height, width, reach
            )
            if beside == 4:
                own += tl.sum(weight, 0)
            if tl.sum(weight, 0) > 0:
                steps = (at - before)[None] - away[:, None]
                there = maps + first + _index(y[:, None], x[:, None], down[:, None], right[:, None], steps, height, width)
                seen = known[:, None] & (at < count)[None]
                left = (tl.load(there + 4 * total, seen, 0.0) - bottom[:, None]) / tl.maximum(top - bottom, _TINY)[:, None]
                red, green = tl.load(there + 5 * total, seen, 0.0), tl.load(there + 6 * total, seen, 0.0)
                blue, weights = tl.load(there + 7 * total, seen, 0.0), tl.where(seen, weight[:, None], 0.0)
                profile += tl.where(channel == 0, tl.sum(weights, 0)[None], 0.0)
                profile += tl.where(channel == 1, tl.sum(weights * tl.minimum(tl.maximum(left, 0.0), 1.0), 0)[None], 0.0)
                profile += tl.where(channel == 2, tl.sum(weights * red, 0)[None], 0.0)
                profile += tl.where(channel == 3, tl.sum(weights * green, 0)[None], 0.0)
                profile += tl.where(channel == 4, tl.sum(weights * blue, 0)[None], 0.0)
                profile += tl.where(channel == 5, tl.sum(weights * (red * red + green * green + blue * blue), 0)[None], 0.0)
    end, sure, agreed = 0.0, 0.0, 0.0
    if own > 0:
        end, sure = _stripe_end(profile, channel, at, before, widest, count, size)
        agreed += _AGREED
    tl.store(grid + cell, sure * end)
    tl.store(grid + cells + cell, sure * end * end)
    tl.store(grid + 2 * cells + cell, sure)
    tl.store(grid + 3 * cells + cell, agreed)
