"""Small camera motions through an image, or through a playing video, from its depth.

A z-buffer warps the image into each frame. Disoccluded areas are filled from the background beside them, by the same rule in every frame,
so that they do not flicker. Rims, where defocus or hair mixes the object with the background, move with the near object and show the new
background through.

Convention: camera positions are in OPENCV axes (+X right, +Y down, +Z away from the viewer), in the unit of depth. The camera
never rotates: its image is shifted so that the plane at the focus stays in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.views import BORDERS, MOVES, LoopOptions
from ...utils import resize_image, sent_to
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_inverse
from ..camera import resize_intrinsics
from ..checks import check_image, check_view
from ..edges.depth_edges import depth_at_image_edges
from ..estimate import Estimate
from ..images.tone_mapping import compress_highlights
from ..kinds import ZERO_AT_CAMERA
from ..projections import need_perspective
from ..regions.before_sky import depth_before_sky
from .disocclusion import fill_uncovered
from .forward_warp import Layer, View, render_layer
from .gaps import close_gaps
from .soft_edges import Rims, land_rims, lay_over, split_soft_edges
from .stereo import disparity_range, nearness_share

LARGEST_ZOOM = 1.25
"""Maximum enlargement by "crop"; beyond it the image is mirrored at its border."""

# Frames per batch on a GPU: one frame takes nearly as long as eight, and eight fit the memory estimate of an effect.
_AT_ONCE = 8

# Inverse depth of the sky, where the near end is 1.
_FARTHEST = 1e-3


def camera_path(move: str, frames: int, amount: float) -> Tensor:
    """Camera positions of a loop: (frames, 3) float32, OPENCV axes; swing and dolly begin at (0, 0, 0).

    `amount` is the amplitude of the motion (the radius of the orbit), in the unit of depth. Raises ValueError: unknown move, no frames, or
    an amount that is not finite.
    """
    check_choice("move", move, MOVES)
    if frames < 1 or not math.isfinite(amount):
        raise ValueError(f"{frames} frames with a move of {amount}; expected at least 1 frame and a finite number")
    return _positions(move, torch.arange(frames, dtype=torch.float32) * (2 * math.pi / frames), amount)


def _positions(move: str, angle: Tensor, amount: float) -> Tensor:
    """(F, 3) positions by the phase of the loop, (F,) in radians."""
    zero = torch.zeros_like(angle)
    if move == "orbit":
        return amount * torch.stack((angle.cos(), angle.sin(), zero), 1)
    if move == "swing":
        return amount * torch.stack((angle.sin(), zero, zero), 1)
    return amount * torch.stack((zero, zero, (1 - angle.cos()) / 2), 1)


def looped_positions(move: LoopOptions, times: Sequence[float | Fraction]) -> Tensor:
    """Positions of a repeating move at `times`, in seconds of the video: (F, 3) as `camera_path`."""
    loops = [float(time / Fraction(move.loop) % 1) for time in times]  # exact, so that late frames are as smooth as the first ones
    return _positions(move.move, torch.tensor(loops, dtype=torch.float32) * (2 * math.pi), move.amount)


class _Course(NamedTuple):
    """The extent of a path, which all its frames share, so that all are rendered by the same rule.

    The maximum motion to a side, up or down, and ahead, in the unit of depth; `ahead` is below 0 for a camera that only goes back. `level`:
    the whole path only moves left and right; single positions of an orbit may be level, too.
    """

    across: float
    down: float
    ahead: float
    level: bool

    @classmethod
    def of(cls, path: Tensor) -> _Course:
        """The extent of a path (F, 3). Raises ValueError for another shape, or positions that are not finite."""
        if path.ndim != 2 or path.shape[1] != 3:
            raise ValueError(f"the path has shape {tuple(path.shape)}; expected (frames, 3), finite")
        positions = path.tolist()
        if not all(math.isfinite(number) for position in positions for number in position):
            raise ValueError("the path holds numbers that are not finite; expected (frames, 3), finite")
        across, down = (max((abs(position[axis]) for position in positions), default=0.0) for axis in (0, 1))
        ahead = max((z for _, _, z in positions), default=0.0) or min((z for _, _, z in positions), default=0.0)
        return cls(across, down, ahead, not any(y or z for _, y, z in positions))

    @classmethod
    def of_move(cls, move: LoopOptions) -> _Course:
        """The extent of a whole move, even if a clip shows only a part of it."""
        amount, dolly = move.amount, move.move == "dolly"
        return cls(0.0 if dolly else amount, amount if move.move == "orbit" else 0.0, amount if dolly else 0.0, move.move == "swing")

    def zoom(self, intrinsics: Tensor, height: int, width: int, still: float, low: float, high: float) -> float:
        """The least enlargement at which no frame shows the area outside the image, at most `LARGEST_ZOOM`.

        `still` is the inverse depth of the focus; `low` and `high` are the lowest and highest of the scene.
        """
        farthest = max(high - still, still - low)
        shares = (self.across * float(intrinsics[0, 0]) / width, self.down * float(intrinsics[1, 1]) / height)
        return 1 / max(1 - 2 * max(shares) * farthest, 1 / LARGEST_ZOOM)


def parallax_frames(image: Tensor, depth: Tensor, intrinsics: Tensor, path: Tensor, focus: Tensor | float = math.inf) -> Iterator[Tensor]:
    """Renders the views of a moved camera.

    Args:
        image: (B, 3, H, W) in [0, 1]; HDR images exceed 1.
        depth: (B, 1, H, W) planar depth, positive and finite, steps at the edges (see `sharpen_depth_edges`).
        intrinsics: (B, 3, 3), pixels.
        path: (F, 3) camera positions, OPENCV axes, in the unit of depth.
        focus: Depth that stays in place while the camera moves sideways, a number or (B,); infinity = no shift of the image.

    Yields:
        F times (B, 3, H, W), in the range and dtype of the image, computed in float32. Near surfaces hide far ones. Disoccluded areas
        continue the background; beyond its border the image is mirrored. At (0, 0, 0) the frame is the image itself.

    Raises:
        ValueError: Maps, intrinsics or path of the wrong shape or device, depth or path that is not finite, or a forward motion of more
            than 0.9 of the nearest depth.
    """
    shown, expand = compress_highlights(image, has_none=not check_image(image))
    return (expand(frame).to(image) for frame in _frames(shown, depth, intrinsics, path, focus, _Course.of(path)))


@torch.no_grad()
def _frames(
    image: Tensor, depth: Tensor, intrinsics: Tensor, path: Tensor, focus: Tensor | float, course: _Course, border: tuple[int, int] = (0, 0)
) -> Iterator[Tensor]:
    """`parallax_frames` for images in [0, 1] and a part of a course; crops `border`, (columns, rows), at each side."""
    check_view(depth, intrinsics, image)
    inverse = depth.float().reciprocal()
    share = course.ahead * float(inverse.amax()) if course.ahead > 0 else 0.0
    if share > 0.9:
        raise ValueError(f"the camera goes {course.ahead:g} forward, into what stands at {float(depth.amin()):g}; make the move smaller")
    # Approaching surfaces are magnified by up to 1 / (1 - share), which opens cracks of that width.
    stretch = 1 + math.ceil(0.5 / (1 - share))
    positions = path.tolist()
    columns, rows = border  # visible only where the camera moves towards it
    height, width = image.shape[-2] - 2 * rows, image.shape[-1] - 2 * columns
    intrinsics = intrinsics.to(inverse) - intrinsics.new_tensor(((0, 0, columns), (0, 0, rows), (0, 0, 0))).to(inverse)
    focus = torch.as_tensor(focus, dtype=inverse.dtype, device=inverse.device).reshape(-1, 1, 1, 1)
    needed = _margin(inverse, path, intrinsics, 1 / focus)
    mirrored = max(0, needed[0] - columns), max(0, needed[1] - rows)
    layer, rims = split_soft_edges(image.float(), inverse, mirrored)
    margin = (mirrored[0] + columns, mirrored[1] + rows)
    layer, rims = layer._replace(margin=margin), rims._replace(row=rims.row - rows, column=rims.column - columns, margin=margin)
    at_once = _AT_ONCE if image.device.type != "cpu" and len(image) == 1 else 1
    for part in (positions[first : first + at_once] for first in range(0, len(positions), at_once)):
        moved, frames = [position for position in part if any(position)], iter(())
        if moved:
            view = _views(moved, intrinsics, 1 / focus, course.level, stretch)
            frames = iter(_rendered(layer, rims, view, height, width).split(len(image)))
        for position in part:
            still = image[..., rows : rows + height, columns : columns + width]
            yield next(frames).to(image) if any(position) else still.clone()


def _rendered(layer: Layer, rims: Rims, view: View, height: int, width: int) -> Tensor:
    """(B, 3, height, width): the views of a layer and its rims from moved cameras, without holes."""
    seen = render_layer(layer, view, height, width, land_rims(rims, view, height, width))
    rendered = close_gaps(layer, view, seen, view.sideways)
    filled = fill_uncovered(rendered.colour, rendered.inverse, view.sideways, traces=True)
    return lay_over(rims, view, filled, rendered.inverse, seen.rims)


def parallax_of_estimate(image: Tensor, estimate: Estimate, path: Tensor, focus: float = 0.5, border: str = BORDERS[0]) -> Iterator[Tensor]:
    """`parallax_frames` for an image (1, 3, H, W) and its estimate, with depth of any quantity and size.

    Args:
        path: (F, 3) as `camera_path`; 1 is the distance of the scene's near end.
        focus: Depth that stays in place while the camera moves sideways: 0 = the far end, 1 = the near end, linear in inverse depth.
        border: One of `BORDERS`. "crop" enlarges as much as this path's horizontal and vertical motion needs, so a part of a path may need
            less than the whole.

    Raises:
        ValueError: As `parallax_frames`; an unknown border, no depth, or a panorama.
    """
    need_perspective(estimate, "parallax")
    check_choice("border", border, BORDERS)
    is_hdr = check_image(image)
    height, width, dtype = *image.shape[-2:], image.dtype
    image, expand = compress_highlights(image, has_none=not is_hdr)
    estimate, course, zoom = estimate.in_float32(), _Course.of(path), 1.0
    if border == "crop":
        inverse = filled_inverse(estimate)
        low, high = torch.stack((inverse.amin(), inverse.amax())).tolist()
        intrinsics = assumed_intrinsics(estimate, size=(height, width))[0]
        zoom = course.zoom(intrinsics, height, width, low + (high - low) * focus, low, high)
    image, sides = _enlarged(image, zoom)
    sized = estimate.resized(image.shape[-2], image.shape[-1])
    inverse = filled_inverse(sized)
    depth = _with_steps((inverse + _beyond(inverse.amin(), course)).reciprocal_(), image, sized)
    inverse = depth.reciprocal()
    still = 1 / torch.lerp(inverse.amin(), inverse.amax(), focus)
    return (expand(frame).to(dtype) for frame in _frames(image, depth, assumed_intrinsics(sized), path, still, course, sides))


def parallax_of_clip(
    images: Tensor,
    estimate: Estimate,
    move: LoopOptions,
    times: Sequence[float | Fraction],
    depth_range: tuple[Tensor | float, Tensor | float] | None = None,
    fov: float = 0.0,
) -> Iterator[Tensor]:
    """Renders each frame of a video from the camera's position at its time, as `parallax_frames`; frames do not depend on neighbours.

    Args:
        images: (F, 3, H, W).
        estimate: With depth of any quantity and size, of as many images. Metric depth keeps its proportions; other depth is assumed to have
            a far end three times as far as its near end.
        move: The camera's motion. Cropping is the same for all frames: the maximum that depth within its range may need.
        times: Time of each frame in seconds of the video.
        depth_range: As `stereo_pair`; a temporally smoothed range keeps the motion steady. None = the range of each frame.
        fov: Field of view of all frames in degrees along the longer side; 0 = the first frame's, or `camera.DEFAULT_FOV`.

    Raises:
        ValueError: No depth, a panorama, or different numbers of images, estimates and times.
    """
    need_perspective(estimate, "parallax")
    check_image(images, name="images")
    if not len(images) == len(times) == estimate.batch:
        raise ValueError(f"{len(images)} images, {estimate.batch} estimates and {len(times)} times; expected as many of each")
    path, course, focus = looped_positions(move, times), _Course.of_move(move), move.focus
    estimate = estimate.in_float32()
    ends = (torch.as_tensor(end) for end in depth_range or disparity_range(estimate))
    far, near = (end.to(images.device, torch.float32).reshape(-1, 1, 1, 1).expand(len(images), 1, 1, 1) for end in ends)
    # The same for all frames and clips, as a crop that follows the range would make the image pulsate.
    height, width = images.shape[-2:]
    camera = assumed_intrinsics(estimate.slice(0, 1), fov, (height, width)).to(images.device)
    zoom = course.zoom(camera[0], height, width, focus, 0, 1) if move.border == "crop" else 1.0
    for index, image in enumerate(images.split(1)):
        one = slice(index, index + 1)
        image, expand = compress_highlights(image)
        image, sides = _enlarged(image, zoom)
        size = (image.shape[-2], image.shape[-1])
        sized = estimate.slice(index, index + 1).to(images.device).resized(*size)
        farthest = torch.full_like(far[one], 1 / NEAR_FAR_RATIO)
        if sized.quantity in ZERO_AT_CAMERA:
            farthest = (far[one] / near[one]).nan_to_num(1 / NEAR_FAR_RATIO).clamp(_FARTHEST, 1)
        share = nearness_share(sized, far[one], near[one], focus)
        inverse = torch.lerp(farthest.expand_as(share), torch.ones_like(share), share).clamp(min=_FARTHEST)
        beyond = _beyond(farthest, course)
        depth = _with_steps((inverse + beyond).reciprocal_(), image, sized)
        still = 1 / (torch.lerp(farthest, torch.ones_like(farthest), focus) + beyond).flatten()
        for frame in _frames(image, depth, resize_intrinsics(camera, (height, width), size), path[one], still, course, sides):
            yield expand(frame).to(images)


def _beyond(farthest: Tensor, course: _Course) -> Tensor:
    """An offset that limits the ratio of inverse depths, which range from `farthest` to about 1, to `NEAR_FAR_RATIO`.

    Edges are defined by ratios of depth. With a far end many times as far as the near end, such as the sky, barely visible differences
    there would be edges. All motions but forward and back depend on differences of inverse depth only, which an offset does not change. For
    those two it is 0.
    """
    if course.ahead:
        return torch.zeros_like(farthest)
    return ((1 - NEAR_FAR_RATIO * farthest) / (NEAR_FAR_RATIO - 1)).clamp(min=0)


def _enlarged(image: Tensor, zoom: float) -> tuple[Tensor, tuple[int, int]]:
    """Enlarges an image, in float32; also returns the (columns, rows) added at each side."""
    height, width = image.shape[-2:]
    columns, rows = (math.ceil((zoom - 1) / 2 * side) for side in (width, height))
    if not columns and not rows:
        return image, (0, 0)
    return resize_image(image.float(), height + 2 * rows, width + 2 * columns), (columns, rows)


def _with_steps(depth: Tensor, image: Tensor, estimate: Estimate) -> Tensor:
    """Depth, float32, with steps at the edges of the image, which may have any dtype."""
    image = image.float()
    return depth_at_image_edges(depth_before_sky(depth, image, estimate), image)


def _views(positions: list[list[float]], intrinsics: Tensor, inverse_focus: Tensor, sideways: bool, stretch: int) -> View:
    """The cameras of one image at several positions, or of several images at one; `sideways` and `stretch` as in `View`."""
    x, y, z = sent_to(intrinsics.device, torch.tensor(positions, dtype=intrinsics.dtype)).T.view(3, -1, 1, 1, 1)
    across, down = intrinsics[:, 0, 0].view(-1, 1, 1, 1) * x, intrinsics[:, 1, 1].view(-1, 1, 1, 1) * y
    centre_x, centre_y = (intrinsics[:, axis, 2].view(-1, 1, 1, 1) for axis in (0, 1))
    numbers = across, down, across * inverse_focus, down * inverse_focus, z, centre_x, centre_y
    return View.of(numbers, any(ahead for _, _, ahead in positions), sideways=sideways, stretch=stretch)


def _margin(inverse: Tensor, path: Tensor, intrinsics: Tensor, inverse_focus: Tensor) -> tuple[int, int]:
    """The margin (columns, rows) that a path (F, 3) needs."""
    height, width = inverse.shape[-2:]
    ends = torch.stack(inverse.flatten(1).aminmax(dim=1)).unsqueeze(1)  # (2, 1, B)
    x, y, z = path.to(inverse).T.unsqueeze(2)  # (F, 1) each
    across, down = (
        ((ends - inverse_focus.flatten()) * (intrinsics[:, axis, axis] * moved)).abs().amax((0, 2)) for axis, moved in enumerate((x, y))
    )
    # One synchronisation of the device, for all frames.
    across, down, back = torch.stack((across, down, (-z).clamp(min=0).flatten() * ends.amax())).tolist()
    columns, rows = (
        max(move + backward * side for move, backward in zip(moves, back, strict=True)) for moves, side in ((across, width), (down, height))
    )
    return min(math.ceil(columns), width - 1), min(math.ceil(rows), height - 1)
