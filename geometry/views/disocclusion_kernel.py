"""The Triton kernel of `disocclusion`, imported only where it runs: each hole walks to the closest visible pixels."""

from __future__ import annotations

from typing import Any

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from ..edges.depth_edges import EDGE
from . import disocclusion

_EDGE, _DEEPEST = tl.constexpr(EDGE), tl.constexpr(disocclusion._DEEPEST)
_PIXELS = 64  # per program


def background_beside(
    inverse: Tensor, places: Tensor, row: Tensor, column: Tensor, sideways: bool, blurred: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`disocclusion._background_beside`."""
    made, depths = places.new_empty(4, len(places)), inverse.new_empty(len(places))
    grid = (triton.cdiv(len(places), _PIXELS),)
    maps = inverse.contiguous(), places.contiguous()
    size, far = (inverse.shape[-2], inverse.shape[-1]), 4 * max(inverse.shape)
    kernel: Any = _background_beside[grid]  # pyright: ignore[reportIndexIssue]
    kernel(*maps, made, depths, len(places), *size, far, 2 if sideways else 4, blurred, _PIXELS, enable_fp_fusion=False)
    return made[0], depths, made[1], made[2], made[3]


@triton.jit(do_not_specialize=("count", "height", "width", "far"))
def _background_beside(
    inverse, places, made, depths, count, height, width, far, sides: tl.constexpr, blurred: tl.constexpr, block: tl.constexpr
):
    at, direction = tl.program_id(0) * block + tl.arange(0, block), tl.arange(0, sides)[:, None]
    inside, length = at < count, tl.maximum(height, width)
    place = tl.load(places + at, inside, 0)[None]
    column, row = place % width, place // width % height
    pitch = tl.where(direction < 2, 1, width) * (1 - 2 * (direction % 2))
    room = tl.where(direction == 0, width - 1 - column, column)
    room = tl.where(direction < 2, room, tl.where(direction == 2, height - 1 - row, row))
    # To the first visible pixel.
    walks, distance, first = inside & (room > 0), tl.zeros_like(room) + 1, tl.zeros_like(room).to(tl.float32)
    while tl.max(walks.to(tl.int32)) > 0:
        there = tl.load(inverse + place + pitch * distance, walks, 0.0)
        first = tl.where(there > 0, there, first)
        distance += (walks & (there <= 0)).to(tl.int64)
        walks = walks & (there <= 0) & (distance <= room)
    nothing = distance > room
    # Over its surface, up to the hole's mirror image: to where a nearer one or a hole begins.
    walks, reach, steps, last = inside & (distance <= room), tl.zeros_like(room) + length, 1, first
    while tl.max(walks.to(tl.int32)) > 0:
        there = tl.load(inverse + place + pitch * (distance + steps), walks & (distance + steps <= room), 0.0)
        ends = walks & ((there == 0) | (there > last * _EDGE))
        reach, last = tl.where(ends, steps, reach), there
        walks = walks & (reach == length) & (steps < distance)
        steps += 1
    step = (distance - 1) % (2 * reach)
    source = tl.where(nothing, place, place + pitch * (distance + tl.minimum(step, 2 * reach - 1 - step)))
    depth, distance = tl.where(nothing, float("inf"), first), tl.where(nothing, 4 * length, distance)
    seen, farthest = tl.where(nothing, 0.0, first), tl.min(depth, 0)
    nearest = tl.max(seen, 0)
    middle = tl.sqrt(nearest * (farthest if blurred else tl.maximum(farthest, nearest / _DEEPEST)))
    middle = tl.where(nearest > farthest * _EDGE, middle, nearest)
    hider = tl.where(seen > middle, place + pitch * (distance + 1), -1)
    best = tl.min(tl.where(depth <= middle, distance, far) * sides + direction, 0)
    is_best, is_opposite = direction == best % sides, direction == ((best % sides) ^ 1)
    tl.store(made + at, best // sides, inside)
    tl.store(depths + at, tl.min(tl.where(is_best, depth, float("inf")), 0), inside)
    tl.store(made + count + at, tl.sum(tl.where(is_best, source, 0), 0), inside)
    tl.store(made + 2 * count + at, tl.sum(tl.where(is_best, pitch, 0), 0), inside)
    tl.store(made + 3 * count + at, tl.sum(tl.where(is_opposite, hider, 0), 0), inside)
