"""A small camera move through an image, or through a video while it plays, from its depth.

A z-buffer moves the image into each frame. What comes into view behind depth edges is continued from the background beside it, by the
same rule in every frame, so that it does not flicker. Rims that a lens or hair mixed with the background move with the near thing and let
the new background through.

Convention: the camera's positions are in OPENCV axes (+X right, +Y down, +Z away from the viewer), in the unit of depth. The camera
never turns: its image is shifted so that the plane at the focus stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..checks import check_choice, check_depth, check_intrinsics, check_map, check_range
from ..edges.depth_edges import depth_at_image_edges
from ..estimate import Estimate, Quantity
from ..projections import need_perspective
from ..regions.before_sky import depth_before_sky
from .disocclusion import fill_uncovered
from .forward_warp import View, render_layer, with_margin
from .soft_edges import lay_over, split_soft_edges
from .stereo import disparity_range, nearness_share

MOVES = ("orbit", "swing", "dolly")
"""orbit: a circle in the image's plane; swing: left and right; dolly: forward and back. All end where they begin."""

MAX_AMOUNT = 0.4
"""How far the camera may go."""

LOOP_RANGE = (0.1, 3600)
"""Seconds that one loop of a move through a video may take."""

# Inverse depth of the sky, where the near end is 1.
_FARTHEST = 1e-3


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
    return _positions(move, torch.arange(frames, dtype=torch.float32) * (2 * math.pi / frames), amount)


def _positions(move: str, angle: Tensor, amount: float) -> Tensor:
    """(F, 3) positions by how far the loop is, (F,) in radians."""
    zero = torch.zeros_like(angle)
    if move == "orbit":
        return amount * torch.stack((angle.cos(), angle.sin(), zero), 1)
    if move == "swing":
        return amount * torch.stack((angle.sin(), zero, zero), 1)
    return amount * torch.stack((zero, zero, (1 - angle.cos()) / 2), 1)


@dataclass(frozen=True)
class CameraMove:
    """A move that repeats while a video plays.

    Attributes:
        move: One of `MOVES`.
        amount: How far the camera goes; 1 is the distance of the near end of the scene.
        focus: As `parallax_of_estimate`.
        loop: Seconds of one loop.

    Raises:
        ValueError: Unknown move, or a number that is out of range.
    """

    move: str = MOVES[0]
    amount: float = 0.05
    focus: float = 0.5
    loop: float = 4.0

    def __post_init__(self) -> None:
        check_choice("move", self.move, MOVES)
        check_range("amount", self.amount, 0, MAX_AMOUNT)
        check_range("focus", self.focus, 0, 1)
        check_range("loop", self.loop, *LOOP_RANGE)

    def positions(self, times: Sequence[float | Fraction]) -> Tensor:
        """Where the camera is at these seconds of the video: (F, 3) as `camera_path`."""
        loops = [float(time / Fraction(self.loop) % 1) for time in times]  # exact: a late frame is no less smooth than the first
        return _positions(self.move, torch.tensor(loops, dtype=torch.float32) * (2 * math.pi), self.amount)

    @property
    def sideways(self) -> bool:
        """Whether the camera only moves left and right; said of the whole move, as single positions of an orbit lie level."""
        return self.move == "swing"


class _Course(NamedTuple):
    """What the positions of a path have in common, so that one rule makes all its frames.

    Attributes:
        sideways: Whether the camera only moves left and right.
        ahead: How far it goes forward at most.
    """

    sideways: bool
    ahead: float

    @classmethod
    def of(cls, path: Tensor, sideways: bool | None = None) -> _Course:
        """That of a path (F, 3); `sideways` as `parallax_of_clip`.

        Raises:
            ValueError: Another shape, or positions that are not finite.
        """
        if path.ndim != 2 or path.shape[1] != 3:
            raise ValueError(f"the path has shape {tuple(path.shape)}; expected (frames, 3), finite")
        positions = path.tolist()
        if not all(math.isfinite(number) for position in positions for number in position):
            raise ValueError("the path holds numbers that are not finite; expected (frames, 3), finite")
        level = not any(y or z for _, y, z in positions)
        return cls(level and sideways is not False, max((z for _, _, z in positions), default=0.0))


def parallax_frames(image: Tensor, depth: Tensor, intrinsics: Tensor, path: Tensor, focus: Tensor | float = math.inf) -> Iterator[Tensor]:
    """The view of a moved camera.

    Args:
        image: (B, 3, H, W) in [0, 1].
        depth: (B, 1, H, W) planar depth, positive and finite, steps at the edges (see `sharpen_depth_edges`).
        intrinsics: (B, 3, 3), pixels.
        path: (F, 3) camera positions, OPENCV axes, in the unit of depth.
        focus: Depth that stays where it is while the camera moves sideways, a number or (B,); infinity = none, the plain move.

    Yields:
        F times (B, 3, H, W) in [0, 1], computed in float32 and of the image's type. The nearest surface wins. Behind an edge the
        background beside it is continued; beyond the image's border the image is mirrored. At (0, 0, 0) the frame is the image itself.

    Raises:
        ValueError: Maps, intrinsics or path of the wrong shape or device, or depth or a path that is not finite, or that comes too near.
    """
    return _frames(image, depth, intrinsics, path, focus, _Course.of(path))


def _frames(image: Tensor, depth: Tensor, intrinsics: Tensor, path: Tensor, focus: Tensor | float, course: _Course) -> Iterator[Tensor]:
    """As `parallax_frames`, of a part of a course."""
    check_map(image, 3, "image")
    check_depth(depth, like=image)
    check_intrinsics(intrinsics, image.shape[0], image)
    inverse = 1 / depth.float()
    share = course.ahead * float(inverse.amax()) if course.ahead > 0 else 0.0
    if share > 0.9:
        raise ValueError(f"the camera goes {course.ahead:g} forward, into what stands at {float(depth.amin()):g}; make the move smaller")
    # What comes nearer grows, and what grows is torn apart by as many pixels.
    stretch = 1 + math.ceil(0.5 / (1 - share))
    positions = path.tolist()
    views = _views(positions, intrinsics.to(inverse), focus, course.sideways, stretch)
    layer, rims = split_soft_edges(with_margin(image.float(), inverse, _margin(inverse, views)))
    for position, view in zip(positions, views, strict=True):
        if not any(position):
            yield image.clone()
            continue
        rendered = render_layer(layer, view, *image.shape[-2:])
        filled = fill_uncovered(rendered.colour, rendered.inverse, view.sideways, traces=True)
        yield lay_over(rims, view, filled, rendered.inverse).to(image)


def parallax_of_estimate(image: Tensor, estimate: Estimate, path: Tensor, focus: float = 0.5) -> Iterator[Tensor]:
    """The views of a moved camera, of an image and what is known of it.

    Args:
        image: (1, 3, H, W) in [0, 1].
        estimate: With depth of any quantity and size.
        path: (F, 3) as `camera_path`, where 1 is the distance of the near end of the scene.
        focus: What stays where it is while the camera moves sideways: 0 the far end, 1 the near end, linear in inverse depth.

    Yields:
        As `parallax_frames`.
    """
    need_perspective(estimate, "parallax")
    sized = estimate.in_float32().resized(image.shape[-2], image.shape[-1])
    depth = _with_steps(filled_depth(sized), image, sized)
    inverse = 1 / depth
    still = 1 / torch.lerp(inverse.amin(), inverse.amax(), focus)
    return parallax_frames(image, depth, assumed_intrinsics(sized), path, still)


def parallax_of_clip(
    images: Tensor,
    estimate: Estimate,
    path: Tensor,
    focus: float = 0.5,
    depth_range: tuple[Tensor | float, Tensor | float] | None = None,
    sideways: bool | None = None,
) -> Iterator[Tensor]:
    """The frames of a video, each seen from the camera's place at its time.

    Args:
        images: (F, 3, H, W) in [0, 1].
        estimate: With depth of any quantity and size, of as many images. Metres keep their proportions; of other depth, the far end is
            taken to be three times as far as the near end.
        path: (F, 3), a position for each frame, where 1 is the distance of the near end.
        focus: As `parallax_of_estimate`.
        depth_range: As `stereo_pair`: one that follows the video keeps the move steady. None = each frame's own.
        sideways: `CameraMove.sideways`, where `path` is a part of its positions: one rule makes all frames of a move. None = `path` is
            the whole.

    Yields:
        F times (1, 3, H, W), as `parallax_frames`.

    Raises:
        ValueError: No depth, a panorama, or not as many positions and estimates as images.
    """
    need_perspective(estimate, "parallax")
    if not len(images) == len(path) == estimate.batch:
        raise ValueError(f"{len(images)} images, {estimate.batch} estimates and {len(path)} positions; expected as many of each")
    course = _Course.of(path, sideways)
    estimate = estimate.in_float32()
    ends = (torch.as_tensor(end) for end in depth_range or disparity_range(estimate))
    far, near = (end.to(images.device, torch.float32).reshape(-1, 1, 1, 1).expand(len(images), 1, 1, 1) for end in ends)
    for index, image in enumerate(images.split(1)):
        one = slice(index, index + 1)
        sized = estimate.slice(index, index + 1).to(images.device).resized(images.shape[-2], images.shape[-1])
        farthest = torch.full_like(far[one], 1 / NEAR_FAR_RATIO)
        if sized.quantity is Quantity.METRIC_DEPTH:
            farthest = (far[one] / near[one]).nan_to_num(1 / NEAR_FAR_RATIO).clamp(_FARTHEST, 1)
        share = nearness_share(sized, far[one], near[one], focus)
        inverse = torch.lerp(farthest.expand_as(share), torch.ones_like(share), share).clamp(min=_FARTHEST)
        depth = _with_steps(1 / inverse, image, sized)
        still = 1 / torch.lerp(farthest, torch.ones_like(farthest), focus).flatten()
        yield from _frames(image, depth, assumed_intrinsics(sized), path[one], still, course)


def _with_steps(depth: Tensor, image: Tensor, estimate: Estimate) -> Tensor:
    """Float32 depth of an estimate with steps where the image, of any type, has its edges."""
    image = image.float()
    return depth_at_image_edges(depth_before_sky(depth, image, estimate), image)


def _views(positions: list[list[float]], intrinsics: Tensor, focus: Tensor | float, sideways: bool, stretch: int) -> list[View]:
    """The camera at each position; `sideways` and `stretch` as `View`'s."""
    focal_x, focal_y = (intrinsics[:, axis, axis].view(-1, 1, 1, 1) for axis in (0, 1))
    centre_x, centre_y = (intrinsics[:, axis, 2].view(-1, 1, 1, 1) for axis in (0, 1))
    inverse_focus = (1 / torch.as_tensor(focus, dtype=intrinsics.dtype, device=intrinsics.device)).reshape(-1, 1, 1, 1)
    views = []
    for x, y, z in positions:
        across, down = focal_x * x, focal_y * y
        views.append(View(across, down, across * inverse_focus, down * inverse_focus, z, centre_x, centre_y, sideways, stretch))
    return views


def _margin(inverse: Tensor, views: list[View]) -> tuple[int, int]:
    """The (columns, rows) that the moves need beyond the border."""
    height, width = inverse.shape[-2:]
    low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
    moves = [high.amax()]
    for view in views:
        for way, shift in ((view.across, view.shift_x), (view.down, view.shift_y)):
            moves.append(torch.maximum((way * low - shift).abs(), (way * high - shift).abs()).amax())
    # Synchronises the device once for all frames.
    highest, *numbers = torch.stack(moves).tolist()
    backward = [max(0.0, -view.forward) * highest for view in views]
    columns = max(move + back * width for move, back in zip(numbers[0::2], backward, strict=True))
    rows = max(move + back * height for move, back in zip(numbers[1::2], backward, strict=True))
    return min(math.ceil(columns), width - 1), min(math.ceil(rows), height - 1)
