"""A small camera move through one picture, from its depth.

The picture is taken apart into what is seen and, behind every depth edge, the background that may come into view; both are moved into
each frame with a z-buffer. The background is made once for each side on which the move uncovers it, so that it does not flicker.

Convention: the camera's positions are in OPENCV axes (+X right, +Y down, +Z away from the viewer), in the unit of depth. The camera
never turns: its picture is shifted so that the plane at the focus stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import check_intrinsics, check_map
from .estimate import Estimate, Quantity
from .likely import likely_depth

MOVES = ("orbit", "swing", "dolly")
"""orbit: a circle in the picture's plane; swing: left and right; dolly: forward and back. All end where they begin."""

# Neighbours whose depths differ by more than this factor are different things: nothing is stretched between them.
_EDGE = 1.05
# A step that is smaller than this, and opens by three pixels at most, is noise, through which nothing is to shine.
_SMALL_STEP = 1.15
_OVERLAP = 0.25
_RELATIVE_DEPTH_RATIO = 3.0
_NEAR_END = 0.02
_NEAREST, _FARTHEST = 0.5, 1e6


class _Layer(NamedTuple):
    """Surfaces as the source camera sees them, with a margin around the picture.

    Attributes:
        colour: (B, 3, h, w).
        inverse: (B, 1, h, w) inverse depth.
        margin: Pixels that were added on each side: (columns, rows).
    """

    colour: Tensor
    inverse: Tensor
    margin: tuple[int, int]


class _View(NamedTuple):
    """The camera's move, per picture (B, 1, 1, 1): pixels moved by one unit of inverse depth, the shift of all, and the way forward."""

    across: Tensor
    down: Tensor
    shift_x: Tensor
    shift_y: Tensor
    forward: float
    centre_x: Tensor
    centre_y: Tensor


def near_unit_depth(estimate: Estimate) -> Tensor:
    """Depth without holes, whose near end is 1: a camera move or a lamp's place then means the same in every scene.

    Args:
        estimate: With depth of any quantity. Relative depth is taken to reach from 1 to 3.

    Returns:
        (B, 1, H, W), 0.5 to a million. The near end is the 2nd percentile of each picture; what is nearer than half of it is
        brought there. Holes and masked pixels are as far as the farthest valid pixel; a picture without any is a wall at 1.

    Raises:
        ValueError: No depth.
    """
    depth = likely_depth(estimate, _RELATIVE_DEPTH_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None)
    return torch.cat([_filled_and_scaled(picture) for picture in depth.split(1)])


def sharpen_depth_edges(depth: Tensor, radius: int, growth: int = 0) -> Tensor:
    """Depth whose ramps from one thing to another are steps: networks and resizing make ramps of edges.

    Args:
        depth: (B, 1, H, W), positive and finite.
        radius: Half the width in pixels of the ramps that are steepened.
        growth: By how many pixels near things grow at their edges, so that the picture's mixed colours there move with them.

    Returns:
        (B, 1, H, W) of values of `depth`; slopes of surfaces stay as they are.

    Raises:
        ValueError: Not (B, 1, H, W), or depth that is not positive and finite.
    """
    check_depth(depth)
    inverse = 1 / depth
    low, high = -_largest(-inverse, radius), _largest(inverse, radius)
    wide_span = _largest(inverse, 2 * radius) + _largest(-inverse, 2 * radius)
    # Twice the window sees twice the span of a slope, but no more of a ramp that the window holds already.
    ramp = (high > low * _EDGE) & (wide_span < 1.5 * (high - low))
    inverse = torch.where(ramp, torch.where(inverse - low > high - inverse, high, low), inverse)
    grown = _largest(inverse, growth)
    return 1 / torch.where(grown > inverse * _EDGE, grown, inverse)


def camera_path(move: str, frames: int, amount: float) -> Tensor:
    """Camera positions of a move that can be played in a loop.

    Args:
        move: One of `MOVES`.
        frames: How many, at least 1.
        amount: How far the camera goes from where it was (the radius of the orbit), in the unit of depth.

    Returns:
        (frames, 3) float32, OPENCV axes; swing and dolly begin at (0, 0, 0).

    Raises:
        ValueError: Unknown move, no frames, or an amount that is not finite.
    """
    if move not in MOVES:
        raise ValueError(f"move is {move!r}; expected one of {', '.join(MOVES)}")
    if frames < 1 or not math.isfinite(amount):
        raise ValueError(f"{frames} frames with a move of {amount}; expected at least 1 frame and a finite number")
    angle = torch.arange(frames, dtype=torch.float32) * (2 * math.pi / frames)
    zero = torch.zeros_like(angle)
    if move == "orbit":
        return amount * torch.stack((angle.cos(), angle.sin(), zero), 1)
    if move == "swing":
        return amount * torch.stack((angle.sin(), zero, zero), 1)
    return amount * torch.stack((zero, zero, (1 - angle.cos()) / 2), 1)


def parallax_frames(picture: Tensor, depth: Tensor, intrinsics: Tensor, path: Tensor, focus: Tensor | float = math.inf) -> Iterator[Tensor]:
    """What a moved camera sees of the scene.

    Args:
        picture: (B, 3, H, W) in [0, 1].
        depth: (B, 1, H, W) planar depth, positive and finite, steps at the edges (see `sharpen_depth_edges`).
        intrinsics: (B, 3, 3), pixels.
        path: (F, 3) camera positions, OPENCV axes, in the unit of depth.
        focus: Depth that stays where it is while the camera moves sideways, a number or (B,); infinity = none, the plain move.

    Yields:
        F times (B, 3, H, W) in [0, 1]. The nearest surface wins. What comes into view behind an edge continues the background beside
        it; what comes into view at the picture's border is mirrored. At (0, 0, 0) it is the picture itself.

    Raises:
        ValueError: Maps, intrinsics or path of the wrong shape or device, or depth or a path that is not finite, or that comes too near.
    """
    check_map(picture, 3, "picture")
    check_depth(depth)
    check_intrinsics(intrinsics, picture.shape[0], picture)
    if depth.shape[0] != picture.shape[0] or depth.shape[-2:] != picture.shape[-2:]:
        raise ValueError(f"depth {tuple(depth.shape)} does not fit the picture {tuple(picture.shape)}; resize it first")
    if path.ndim != 2 or path.shape[1] != 3 or not bool(torch.isfinite(path).all()):
        raise ValueError(f"the path has shape {tuple(path.shape)}; expected (frames, 3), finite")
    inverse = 1 / depth
    if float(path[:, 2].amax()) * float(inverse.amax()) > 0.9:
        raise ValueError(
            f"the camera goes {float(path[:, 2].amax()):g} forward, into what stands at {float(depth.amin()):g}; make the move smaller"
        )
    views = [_view(position, intrinsics.to(picture), focus) for position in path.tolist()]
    margin, radius = _reach(inverse, views)
    front = _with_margin(picture, inverse, margin)
    backs: dict[str, _Layer] = {}
    for view in views:
        side = _uncovered_side(view, max(picture.shape[-2:]))
        if side not in backs:
            backs[side] = _background(front, side, radius)
        seen, covered = _render(front, view, *picture.shape[-2:])
        behind, _ = _render(backs[side], view, *picture.shape[-2:])
        yield torch.where(covered, seen, behind)


def check_depth(depth: Tensor) -> None:
    """Refuses depth with holes.

    Raises:
        ValueError: Not (B, 1, H, W), or values that are not positive and finite.
    """
    check_map(depth, 1, "depth")
    if not bool(((depth > 0) & (depth < float("inf"))).all()):
        raise ValueError("depth holds values that are not positive and finite; fill the holes first, as `near_unit_depth` does")


def _filled_and_scaled(depth: Tensor) -> Tensor:
    valid = torch.isfinite(depth)
    if not bool(valid.any()):
        return torch.ones_like(depth)
    stride = max(1, int((depth.numel() / 2**16) ** 0.5))
    sample = depth[..., ::stride, ::stride]
    near = torch.nanquantile(sample, _NEAR_END) if bool(torch.isfinite(sample).any()) else depth[valid].amin()
    return (torch.where(valid, depth, depth[valid].amax()) / near).clamp(_NEAREST, _FARTHEST)


def _view(position: list[float], intrinsics: Tensor, focus: Tensor | float) -> _View:
    x, y, z = position
    across, down = (intrinsics[:, axis, axis].view(-1, 1, 1, 1) * way for axis, way in ((0, x), (1, y)))
    still = (1 / torch.as_tensor(focus, dtype=intrinsics.dtype, device=intrinsics.device)).reshape(-1, 1, 1, 1)
    centre_x, centre_y = (intrinsics[:, axis, 2].view(-1, 1, 1, 1) for axis in (0, 1))
    return _View(across, down, across * still, down * still, z, centre_x, centre_y)


def _reach(inverse: Tensor, views: list[_View]) -> tuple[tuple[int, int], int]:
    """How many (columns, rows) beyond the border are looked at, and how many pixels two depths part at most."""
    height, width = inverse.shape[-2:]
    low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
    columns = rows = apart = 0.0
    for view in views:
        backward = max(0.0, -view.forward) * float(high.amax())
        for ends in (low, high):
            columns = max(columns, float((view.across * ends - view.shift_x).abs().amax()) + backward * width)
            rows = max(rows, float((view.down * ends - view.shift_y).abs().amax()) + backward * height)
        speed = (view.across.abs() + view.down.abs() + abs(view.forward) * max(height, width) / 2) * (high - low)
        apart = max(apart, float((speed / (1 - view.forward * high).clamp(min=0.1)).amax()))
    margin = (min(math.ceil(columns), width - 1), min(math.ceil(rows), height - 1))
    return margin, min(math.ceil(apart) + 2, max(height, width))


def _with_margin(picture: Tensor, inverse: Tensor, margin: tuple[int, int]) -> _Layer:
    sides = (margin[0], margin[0], margin[1], margin[1])
    return _Layer(F.pad(picture, sides, mode="reflect"), F.pad(inverse, sides, mode="reflect"), margin)


def _uncovered_side(view: _View, length: int) -> str:
    """On which side of near things this view uncovers the background; "inner" is towards the middle."""
    across, down = float(view.across.mean()), float(view.down.mean())
    if abs(view.forward) * length / 2 > max(abs(across), abs(down)):
        return "inner" if view.forward > 0 else "outer"
    if abs(across) >= abs(down):
        return "right" if across > 0 else "left"
    return "below" if down > 0 else "above"


def _background(front: _Layer, side: str, radius: int) -> _Layer:
    """The scene without what stands before an edge: within `radius` of it, the far side's depth and the mirror image of its colours."""
    inverse = front.inverse
    height, width = inverse.shape[-2:]
    rows, columns = _pixel_grid(inverse, (0, 0))
    row, column = _nearest_far_side(inverse, side, radius)
    beside = _at(inverse, row, column)
    behind = (row >= 0) & (beside * _EDGE < inverse) & ((row - rows) ** 2 + (column - columns) ** 2 <= radius**2)
    mirrored_row, mirrored_column = 2 * row - rows, 2 * column - columns
    usable = (mirrored_row >= 0) & (mirrored_row < height) & (mirrored_column >= 0) & (mirrored_column < width)
    usable = usable & (_at(inverse, mirrored_row, mirrored_column) < beside * _EDGE)
    row, column = torch.where(usable, mirrored_row, row), torch.where(usable, mirrored_column, column)
    colour = torch.where(behind, _at(front.colour, row, column), front.colour)
    return _Layer(colour, torch.where(behind, beside, inverse), front.margin)


def _nearest_far_side(inverse: Tensor, side: str, radius: int) -> tuple[Tensor, Tensor]:
    """(B, 1, h, w) row and column of the nearest pixel on the far side of an edge that the pixel is before; -1 where none was found.

    Edges on the side that is uncovered come first; what is behind the other side of a thin thing is another background. What is
    beyond `radius` comes last.

    Source:
        G. Rong and T. Tan, "Jump flooding in GPU with applications to Voronoi diagram and distance transform" (2006).
    """
    rows, columns = _pixel_grid(inverse, (0, 0))
    far_side = _largest(inverse, 1) > inverse * _EDGE
    row = torch.where(far_side, rows, -1).expand_as(inverse)
    column = torch.where(far_side, columns, -1).expand_as(inverse)
    worst = (inverse.shape[-2] + inverse.shape[-1]) ** 2
    towards_row, towards_column = _directions(side, rows, columns)

    def cost(row: Tensor, column: Tensor) -> Tensor:
        down, right = row - rows, column - columns
        wrong_side = down * towards_row + right * towards_column <= 0
        not_behind = _at(inverse, row, column) * _EDGE >= inverse
        distance = down**2 + right**2
        penalty = wrong_side * 1 + (distance > radius**2) * 2 + not_behind * 4
        return torch.where(row >= 0, distance + penalty * worst, 8 * worst)

    best = cost(row, column)
    for step in (2**power for power in range(max(1, math.ceil(math.log2(radius))), -1, -1)):
        for down, right in ((a, b) for a in (-step, 0, step) for b in (-step, 0, step) if a or b):
            candidate_row, candidate_column = _shifted(row, down, right), _shifted(column, down, right)
            candidate = cost(candidate_row, candidate_column)
            better = candidate < best
            best = torch.where(better, candidate, best)
            row, column = torch.where(better, candidate_row, row), torch.where(better, candidate_column, column)
    return row, column


def _directions(side: str, rows: Tensor, columns: Tensor) -> tuple[Tensor | int, Tensor | int]:
    """Steps (down, right) from a pixel towards the side."""
    if side in ("inner", "outer"):
        outwards = rows * 2 - (rows.shape[0] - 1), columns * 2 - (columns.shape[0] - 1)
        return outwards if side == "outer" else (-outwards[0], -outwards[1])
    return {"right": (0, 1), "left": (0, -1), "below": (1, 0), "above": (-1, 0)}[side]


def _render(layer: _Layer, view: _View, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The layer as the moved camera sees it, (B, 3, height, width), and (B, 1, height, width) where it has a surface there."""
    nearest = _splat(layer.inverse, view, layer.margin, height, width)
    covered = nearest > 0
    nearest = torch.where(covered, nearest, layer.inverse.amin((1, 2, 3), keepdim=True))
    rows, columns = torch.meshgrid(*(torch.arange(n, device=nearest.device).to(nearest) for n in (height, width)), indexing="ij")
    # Written as the pixel plus its move, so that without a move it is exact.
    u = columns - view.shift_x - (columns - view.centre_x - view.shift_x) * view.forward * nearest + view.across * nearest
    v = rows - view.shift_y - (rows - view.centre_y - view.shift_y) * view.forward * nearest + view.down * nearest
    return _sample(layer, u + layer.margin[0], v + layer.margin[1], nearest), covered


def _splat(inverse: Tensor, view: _View, margin: tuple[int, int], height: int, width: int) -> Tensor:
    """(B, 1, height, width) inverse depth in the new picture, 0 where there is no surface.

    Each pixel is a cell that reaches half way to its neighbours on the same surface, and half a pixel towards others.
    """
    rows, columns = _pixel_grid(inverse, margin)
    closer = 1 / (1 - view.forward * inverse)
    x = (columns - view.centre_x - view.across * inverse) * closer + view.centre_x + view.shift_x
    y = (rows - view.centre_y - view.down * inverse) * closer + view.centre_y + view.shift_y
    left, right = _half_extents(x, inverse, closer, -1)
    up, down = _half_extents(y, inverse, closer, -2)
    middle_x, middle_y = x.round(), y.round()
    first = torch.arange(inverse.shape[0], device=inverse.device).view(-1, 1, 1, 1) * (height * width)
    target = inverse.new_zeros(inverse.shape[0] * height * width)
    for offset_y in _offsets(up, down):
        for offset_x in _offsets(left, right):
            i, j = middle_y + offset_y, middle_x + offset_x
            covered = (j >= x - left) & (j <= x + right) & (i >= y - up) & (i <= y + down)
            covered = covered & (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = (first + i.long() * width + j.long())[covered]
            target.scatter_reduce_(0, index, inverse[covered], "amax")
    return target.view(-1, 1, height, width)


def _offsets(before: Tensor, after: Tensor) -> range:
    """The pixels, counted from the one that the middle of a cell lies in, which cells reach; three at most, as wider ones are rare."""
    reach = min(3, math.floor(float(torch.maximum(before, after).amax()) + 0.5))
    return range(-reach, reach + 1)


def _half_extents(position: Tensor, inverse: Tensor, size: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """How far each cell reaches to both sides along an axis, in pixels of the new picture.

    On one surface they overlap: cells of a surface that is sheared or turned do not tile it.
    """
    count = position.shape[axis] - 1
    gap = position.diff(dim=axis)
    one, other = inverse.narrow(axis, 0, count), inverse.narrow(axis, 1, count)
    step = torch.maximum(one, other) / torch.minimum(one, other)
    same = (step < _EDGE) | ((step < _SMALL_STEP) & (gap < 4))
    gap = gap / 2 + _OVERLAP
    own = size / 2
    after, before = own.clone(), own.clone()
    after.narrow(axis, 0, count).copy_(torch.where(same, gap, own.narrow(axis, 0, count)))
    before.narrow(axis, 1, count).copy_(torch.where(same, gap, own.narrow(axis, 1, count)))
    # Rounding must not open cracks between cells that touch.
    return before + 1e-3, after + 1e-3


def _sample(layer: _Layer, u: Tensor, v: Tensor, nearest: Tensor) -> Tensor:
    """Bilinear colours at columns u and rows v, of the pixels only that belong to the surface at inverse depth `nearest`."""
    height, width = layer.inverse.shape[-2:]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    total, weights = torch.zeros_like(layer.colour[..., :1, :1]), torch.zeros_like(nearest)
    for row, weight_y in ((top, 1 - (v - top)), (top + 1, v - top)):
        for column, weight_x in ((left, 1 - (u - left)), (left + 1, u - left)):
            i, j = row.long().clamp(max=height - 1), column.long().clamp(max=width - 1)
            inverse = _at(layer.inverse, i, j)
            same = torch.maximum(inverse, nearest) < torch.minimum(inverse, nearest) * _EDGE
            weight = weight_x * weight_y * torch.where(same, 1.0, 1e-6)
            total = total + _at(layer.colour, i, j) * weight
            weights = weights + weight
    return total / weights


def _at(values: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """(B, C, h, w) values at rows and columns (B, 1, h', w'), which are brought inside."""
    height, width = values.shape[-2:]
    index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    picked = values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))
    return picked.unflatten(2, row.shape[-2:])


def _shifted(index: Tensor, down: int, right: int) -> Tensor:
    """Indices of the pixel that many rows and columns away; -1 beyond the border."""
    height, width = index.shape[-2:]
    padded = F.pad(index, (max(0, -right), max(0, right), max(0, -down), max(0, down)), value=-1)
    return padded[..., max(0, down) : max(0, down) + height, max(0, right) : max(0, right) + width]


def _largest(values: Tensor, radius: int) -> Tensor:
    """The largest value within `radius` pixels in each direction."""
    size = 2 * radius + 1
    rows = F.max_pool2d(values, (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, size), stride=1, padding=(0, radius))


def _pixel_grid(like: Tensor, margin: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column numbers of a map with a margin, counted from the picture's first pixel."""
    rows = torch.arange(like.shape[-2], device=like.device).view(-1, 1) - margin[1]
    return rows, torch.arange(like.shape[-1], device=like.device) - margin[0]
