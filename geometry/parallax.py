"""A small camera move through one picture, from its depth.

The picture is split into two layers: what is seen, and the background that may come into view behind depth edges. A z-buffer moves both
into each frame. The background is made once for each side on which the move uncovers it, so that it does not flicker.

Convention: the camera's positions are in OPENCV axes (+X right, +Y down, +Z away from the viewer), in the unit of depth. The camera
never turns: its picture is shifted so that the plane at the focus stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_choice, check_depth, check_intrinsics, check_map
from .edges import EDGE, largest_within
from .splat import Layer, View, pixel_grid, render_layers, values_at

MOVES = ("orbit", "swing", "dolly")
"""orbit: a circle in the picture's plane; swing: left and right; dolly: forward and back. All end where they begin."""


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
    check_choice("move", move, MOVES)
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
        F times (B, 3, H, W) in [0, 1]. The nearest surface wins. Behind an edge the background beside it is continued; beyond the
        picture's border the picture is mirrored. At (0, 0, 0) the frame is the picture itself.

    Raises:
        ValueError: Maps, intrinsics or path of the wrong shape or device, or depth or a path that is not finite, or that comes too near.
    """
    check_map(picture, 3, "picture")
    check_depth(depth, like=picture)
    check_intrinsics(intrinsics, picture.shape[0], picture)
    if path.ndim != 2 or path.shape[1] != 3:
        raise ValueError(f"the path has shape {tuple(path.shape)}; expected (frames, 3), finite")
    positions = path.tolist()
    if not all(math.isfinite(number) for position in positions for number in position):
        raise ValueError("the path holds numbers that are not finite; expected (frames, 3), finite")
    inverse, ahead = 1 / depth, max(z for _, _, z in positions)
    if ahead > 0 and ahead * float(inverse.amax()) > 0.9:
        raise ValueError(f"the camera goes {ahead:g} forward, into what stands at {float(depth.amin()):g}; make the move smaller")
    views = _views(positions, intrinsics.to(picture), focus, max(picture.shape[-2:]))
    margin, radius = _reach(inverse, views)
    front = _with_margin(picture, inverse, margin)
    backs: dict[str, Layer] = {}
    for view in views:
        if view.side not in backs:
            backs[view.side] = _background(front, view.side, radius)
        (seen, covered), (behind, _) = render_layers((front, backs[view.side]), view, *picture.shape[-2:])
        yield torch.where(covered, seen, behind)


def _views(positions: list[list[float]], intrinsics: Tensor, focus: Tensor | float, length: int) -> list[View]:
    """The camera at each position; `length` is the picture's longer side."""
    focal_x, focal_y = (intrinsics[:, axis, axis].view(-1, 1, 1, 1) for axis in (0, 1))
    centre_x, centre_y = (intrinsics[:, axis, 2].view(-1, 1, 1, 1) for axis in (0, 1))
    still = (1 / torch.as_tensor(focus, dtype=intrinsics.dtype, device=intrinsics.device)).reshape(-1, 1, 1, 1)
    mean_x, mean_y = torch.stack((focal_x.mean(), focal_y.mean())).tolist()
    views = []
    for x, y, z in positions:
        across, down = focal_x * x, focal_y * y
        side = _uncovered_side(mean_x * x, mean_y * y, z * length / 2)
        views.append(View(across, down, across * still, down * still, z, centre_x, centre_y, side))
    return views


def _reach(inverse: Tensor, views: list[View]) -> tuple[tuple[int, int], int]:
    """How far the move reaches: the (columns, rows) needed beyond the border, and by how many pixels near and far part at most."""
    height, width = inverse.shape[-2:]
    low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
    moves = [high.amax()]
    for view in views:
        for way, shift in ((view.across, view.shift_x), (view.down, view.shift_y)):
            moves.append(torch.maximum((way * low - shift).abs(), (way * high - shift).abs()).amax())
        speed = (view.across.abs() + view.down.abs() + abs(view.forward) * max(height, width) / 2) * (high - low)
        moves.append((speed / (1 - view.forward * high).clamp(min=0.1)).amax())
    # Asked of the device once for all frames.
    highest, *numbers = torch.stack(moves).tolist()
    backward = [max(0.0, -view.forward) * highest for view in views]
    columns = max(move + back * width for move, back in zip(numbers[0::3], backward, strict=True))
    rows = max(move + back * height for move, back in zip(numbers[1::3], backward, strict=True))
    apart = max(numbers[2::3])
    margin = (min(math.ceil(columns), width - 1), min(math.ceil(rows), height - 1))
    return margin, min(math.ceil(apart) + 2, max(height, width))


def _with_margin(picture: Tensor, inverse: Tensor, margin: tuple[int, int]) -> Layer:
    sides = (margin[0], margin[0], margin[1], margin[1])
    return Layer(F.pad(picture, sides, mode="reflect"), F.pad(inverse, sides, mode="reflect"), margin)


def _uncovered_side(across: float, down: float, forward: float) -> str:
    """On which side of near things a move uncovers the background. The move is given in pixels by which it shifts what is at depth 1."""
    if abs(forward) > max(abs(across), abs(down)):
        return "inner" if forward > 0 else "outer"
    if abs(across) >= abs(down):
        return "right" if across > 0 else "left"
    return "below" if down > 0 else "above"


def _background(front: Layer, side: str, radius: int) -> Layer:
    """The scene with its near things taken away at their edges.

    Within `radius` of an edge, a near thing gets the far side's depth and the mirror image of the far side's colours.
    """
    inverse = front.inverse
    height, width = inverse.shape[-2:]
    rows, columns = pixel_grid(inverse, (0, 0))
    row, column = _nearest_far_side(inverse, side, radius)
    beside = values_at(inverse, row, column)
    behind = (row >= 0) & (beside * EDGE < inverse) & ((row - rows) ** 2 + (column - columns) ** 2 <= radius**2)
    mirrored_row, mirrored_column = 2 * row - rows, 2 * column - columns
    usable = (mirrored_row >= 0) & (mirrored_row < height) & (mirrored_column >= 0) & (mirrored_column < width)
    usable = usable & (values_at(inverse, mirrored_row, mirrored_column) < beside * EDGE)
    row, column = torch.where(usable, mirrored_row, row), torch.where(usable, mirrored_column, column)
    colour = torch.where(behind, values_at(front.colour, row, column), front.colour)
    return Layer(colour, torch.where(behind, beside, inverse), front.margin)


def _nearest_far_side(inverse: Tensor, side: str, radius: int) -> tuple[Tensor, Tensor]:
    """For each pixel of a near thing the nearest pixel beyond its edge: rows and columns, (B, 1, h, w); -1 where there is none.

    Edges on the side that is uncovered come first, as another background lies behind the other side of a thin thing. Edges beyond `radius`
    come last.

    Source:
        G. Rong and T. Tan, "Jump flooding in GPU with applications to Voronoi diagram and distance transform" (2006).
    """
    rows, columns = pixel_grid(inverse, (0, 0))
    far_side = largest_within(inverse, 1) > inverse * EDGE
    row = torch.where(far_side, rows, -1).expand_as(inverse)
    column = torch.where(far_side, columns, -1).expand_as(inverse)
    worst = (inverse.shape[-2] + inverse.shape[-1]) ** 2
    towards_row, towards_column = _directions(side, rows, columns)

    def cost(row: Tensor, column: Tensor) -> Tensor:
        down, right = row - rows, column - columns
        wrong_side = down * towards_row + right * towards_column <= 0
        not_behind = values_at(inverse, row, column) * EDGE >= inverse
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


def _shifted(index: Tensor, down: int, right: int) -> Tensor:
    """Indices of the pixel that many rows and columns away; -1 beyond the border."""
    height, width = index.shape[-2:]
    padded = F.pad(index, (max(0, -right), max(0, right), max(0, -down), max(0, down)), value=-1)
    return padded[..., max(0, down) : max(0, down) + height, max(0, right) : max(0, right) + width]
