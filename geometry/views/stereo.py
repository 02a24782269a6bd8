"""Stereo pairs from one image and its depth, and the layouts of screens, glasses and headsets.

Both images are rendered as in `parallax`, for a camera that moves sideways. Near objects move right in the left eye's image and left in
the right eye's image; points on the screen plane stay in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.views import ANAGLYPHS, LAYOUTS, StereoOptions
from ...utils import constant, ends_of_parts, on_white, resize_image, sent_to, to_cpu, without_autocast
from ..assumptions import NEAR_FAR_RATIO
from ..checks import check_image, check_map
from ..edges.depth_edges import depth_at_image_edges
from ..estimate import Estimate, Quantity
from ..images.srgb import linear_to_srgb, luminance, srgb_to_linear
from ..images.tone_mapping import compress_highlights
from ..kinds import ZERO_AT_CAMERA
from ..levels import FAR_AND_NEAR_END, are_apart, depth_to_nearness, measure_range, sample_stride
from ..projections import need_perspective
from ..regions.before_sky import depth_before_sky
from .disocclusion import fill_uncovered
from .forward_warp import Layer, View, render_layer
from .gaps import close_gaps
from .soft_edges import Rims, land_rims, lay_over, split_soft_edges

_USUAL = StereoOptions()
_SUFFIXES = {
    "full-sbs": "_LRF_Full_SBS",
    "half-sbs": "_LR",
    "full-tb": "_TBF_fulltb",
    "half-tb": "_TB",
    "cross-eyed": "_RLF_cross",
    "anaglyph": "_anaglyph",
    "vr180": "_180x180_LR",
    "360-tb": "_360_TB",
    "360-sbs": "_360_LR",
}
# Share of the range by which a scene may exceed it, as a few pixels of every image do.
_BEYOND = 0.25


@dataclass(frozen=True)
class StereoPair:
    """A stereo pair.

    Attributes:
        left, right: (B, 3, H, W), in the images' range, or with alpha as a fourth channel.
        holes_left, holes_right: (B, 1, H, W) bool, True where disoccluded areas were filled.
    """

    left: Tensor
    right: Tensor
    holes_left: Tensor
    holes_right: Tensor


@torch.no_grad()
def stereo_pair(
    images: Tensor, estimate: Estimate, options: StereoOptions = _USUAL, depth_range: tuple[Tensor | float, Tensor | float] | None = None
) -> StereoPair:
    """Renders the images of both eyes, in the images' dtype, computed in float32. A flat scene lies on the screen.

    Args:
        images: (B, 3, H, W) in [0, 1]; HDR images exceed 1.
        estimate: With depth of any quantity and size, of as many images, or of one for all. The far end of relative depth is assumed to be
            three times as far as its near end. Masked pixels and holes are at the far end.
        depth_range: Far and near end from `disparity_range`, numbers or (B or 1, 1, 1, 1). One range for all frames keeps a video's depth
            and screen plane stable. None = the range of each image.

    Raises:
        ValueError: Invalid images, no depth, a panorama, or another number of estimates.
    """
    need_perspective(estimate, "stereo")
    check_map(images, 3, "images")
    check_as_many(estimate, images)
    estimate = estimate.in_float32()
    # One synchronisation, which costs less than treating every map as one with holes; two for maps with holes.
    asked = {"levels": ends_of_parts(images).to(estimate.device), "is_whole": estimate.known_depth()[2].all()}
    answers = to_cpu(asked | _flat_ends(estimate, depth_range or disparity_range(estimate, is_whole=True)))
    is_hdr, is_whole = check_image(images, "images", answers["levels"]), bool(answers["is_whole"])
    if is_whole:
        estimate = replace(estimate, mask=None)
    elif depth_range is None:
        answers = to_cpu(_flat_ends(estimate, disparity_range(estimate)))
    far, near = (answers[end].expand(len(images)) for end in ("far", "near"))
    whole = estimate if estimate.batch == len(images) else estimate.expanded(len(images))
    frames: list[tuple[Tensor, ...]] = []
    height, width = images.shape[-2:]
    for index, image in enumerate(images.split(1)):  # one by one: all at once would take many times the video's memory
        sized = whole.slice(index, index + 1).to(images.device).resized(height, width)
        share = nearness_share(sized, far[index], near[index], options.convergence, is_whole)
        frames.append(_both_eyes(image, sized, share, options, is_hdr))
    return StereoPair(*(torch.cat(parts) if len(frames) > 1 else parts[0] for parts in zip(*frames, strict=True)))


def _flat_ends(estimate: Estimate, ends: tuple[Tensor | float, Tensor | float]) -> dict[str, Tensor]:
    """The far and the near end, (B,) or (1,) each, on the estimate's device."""
    flat = (torch.as_tensor(end, dtype=torch.float32, device=estimate.device).flatten() for end in ends)
    return dict(zip(("far", "near"), flat, strict=True))


def check_as_many(estimate: Estimate, images: Tensor) -> None:
    """Raises ValueError unless the estimate holds as many images as `images` (B, C, H, W), or one for all."""
    if estimate.batch not in (1, len(images)):
        raise ValueError(f"the estimate holds {estimate.batch} images, images {len(images)}; expected as many, or one for all")


def disparity_range(estimate: Estimate, per_clip: bool = False, is_whole: bool = False) -> tuple[Tensor, Tensor]:
    """The far and near end of scenes, as nearness: the 2nd and 98th percentile of 1 / metres, disparity, or negated relative depth.

    (B, 1, 1, 1) each, or (1, 1, 1, 1) per clip; infinite without valid pixels. `is_whole`: all pixels are known to be valid, which a GPU
    measures faster. Raises ValueError: no depth.
    """
    values, valid = _nearness(estimate, is_whole)
    stride = sample_stride(values.shape[-2] * values.shape[-1])
    some = (..., slice(None, None, stride), slice(None, None, stride))
    return measure_range(values[some], None if valid is None else valid[some], FAR_AND_NEAR_END, per_clip)


def compose(pair: StereoPair, layout: str, anaglyph: str = ANAGLYPHS[0]) -> Tensor:
    """Combines the images of both eyes to one.

    Returns:
        (B, 3 or 4, H', W') in the range of the pair; an anaglyph is composited over white. Size: (H, 2 W) for full-sbs, cross-eyed, vr180
        and 360-sbs; (2 H, W) for full-tb and 360-tb; (H, W) for other layouts.

    Raises:
        ValueError: Unknown layout or colours, or images that are too small to be halved.
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("anaglyph", anaglyph, ANAGLYPHS)
    return _anaglyph(pair.left, pair.right, anaglyph) if layout == "anaglyph" else _arranged(pair.left, pair.right, layout)


def compose_holes(pair: StereoPair, layout: str) -> Tensor:
    """The filled pixels in the layout of `compose`, (B, 1, H', W'), 1 where filled; in an anaglyph, where filled in either eye."""
    check_choice("layout", layout, LAYOUTS)
    if layout == "anaglyph":
        return (pair.holes_left | pair.holes_right).to(pair.left)
    return _arranged(pair.holes_left.to(pair.left), pair.holes_right.to(pair.left), layout)


def stereo_suffix(layout: str) -> str:
    """The end of a file's name, before its extension, by which players recognise the layout.

    Source:
        nunif iw3, "About file naming rule": `_LRF_Full_SBS` is what Pigasus, SKYBOX and DeoVR recognise; the others are its names too.
        SKYBOX, "Add suffix to help recognize the correct format": `180x180`, `360`, `LR` and `TB`. Meta, "VR Media Overview": `_TB` and
        `_LR` at the end of the name.

    Raises:
        ValueError: Unknown layout.
    """
    check_choice("layout", layout, LAYOUTS)
    return _SUFFIXES[layout]


def _nearness(estimate: Estimate, is_whole: bool) -> tuple[Tensor, Tensor | None]:
    """Nearness, and where it is valid, (B, 1, H, W) each; None instead if all pixels are known to be valid."""
    if is_whole and estimate.depth is not None and estimate.quantity is not None:
        depth, quantity, valid = estimate.depth, estimate.quantity, None
    else:
        depth, quantity, valid = estimate.known_depth()
    return depth_to_nearness(depth, quantity, as_disparity=quantity in ZERO_AT_CAMERA), valid


def nearness_share(estimate: Estimate, far: Tensor, near: Tensor, flat: float, is_whole: bool = False) -> Tensor:
    """Disparity of one image (1, 1, H, W) as a share of its range; -0.25 to 1.25.

    0 at the `far` end of `disparity_range` (and for invalid pixels), 1 at the `near` end; both are the image's, or numbers on the CPU.
    `flat` is the result for constant depth; `is_whole`: all pixels are known to be valid. Raises ValueError: no depth.
    """
    values, valid = _nearness(estimate, is_whole)
    apart = are_apart(far, near)
    share = (values - far) / torch.where(apart, near - far, constant(near, 1.0))
    if estimate.quantity is Quantity.RELATIVE_DEPTH:
        share = (NEAR_FAR_RATIO / (1 + (1 - share.clamp(max=1 + _BEYOND / 2)) * (NEAR_FAR_RATIO - 1)) - 1) / (NEAR_FAR_RATIO - 1)
    share = share.clamp(-_BEYOND, 1 + _BEYOND)
    share = share if valid is None else torch.where(valid, share, constant(share, 0.0))
    if apart.device.type == "cpu":
        return share if apart else torch.full_like(share, flat)
    return torch.where(apart, share, flat)


def _both_eyes(
    image: Tensor, estimate: Estimate, share: Tensor, options: StereoOptions, is_hdr: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The left and right image of one image, and their holes. The estimate is in float32; `share` is from `nearness_share`."""
    source, (image, expand) = image, compress_highlights(image.float(), has_none=not is_hdr)
    pixels = options.divergence / 100 * image.shape[-1]
    left, right = {"middle": (0.5, -0.5), "left": (0.0, -1.0), "right": (1.0, 0.0)}[options.original]
    # The renderer separates surfaces by depth ratios, so the scene is scaled to the assumed ratio.
    depth = torch.add(constant(share, 1 / NEAR_FAR_RATIO), share, alpha=1 - 1 / NEAR_FAR_RATIO).reciprocal_()
    inverse = depth_at_image_edges(depth_before_sky(depth, image, estimate), image).reciprocal_()
    margin = min(math.ceil(max(abs(left), abs(right)) * pixels * (1 + _BEYOND)), image.shape[-1] - 1)
    layer, rims = split_soft_edges(image, inverse, (margin, 0))
    moves = [pixels * eye for eye in (left, right)]
    moved = [move for move in moves if move]
    # On a GPU, one eye takes nearly as long as both.
    parts = [moved] if image.device.type != "cpu" else [[move] for move in moved]
    views = [_rendered(layer, rims, part, options.convergence) for part in parts if part]
    eyes = (eye for colour, holes in views for eye in zip(expand(colour).to(source).split(1), holes.split(1), strict=True))
    (left_eye, holes_left), (right_eye, holes_right) = (
        next(eyes) if move else (source.clone(), torch.zeros_like(inverse, dtype=torch.bool)) for move in moves
    )
    return left_eye, right_eye, holes_left, holes_right


def _rendered(layer: Layer, rims: Rims, moves: list[float], convergence: float) -> tuple[Tensor, Tensor]:
    """The images of eyes (B, 3, H, W) and their holes; `moves` are shifts of the near end to the right of the far end, in pixels."""
    height, width = layer.inverse.shape[-2], layer.inverse.shape[-1] - 2 * layer.margin[0]
    share = 1 - 1 / NEAR_FAR_RATIO
    across = torch.tensor([-move / share for move in moves], dtype=torch.float32, device="cpu").view(-1, 1, 1, 1)
    screen, none = 1 / NEAR_FAR_RATIO + convergence * share, torch.zeros_like(across)
    view = View.of((across, none, across * screen, none, none, none, none), sideways=True, stretch=2)
    view = view._replace(numbers=sent_to(layer.inverse.device, view.numbers))
    seen = render_layer(layer, view, height, width, land_rims(rims, view, height, width))
    rendered = close_gaps(layer, view, seen, sideways=True)
    is_beside = rendered.column != rendered.column.clamp(-0.5, width - 0.5)
    holes = (rendered.inverse <= 0) | is_beside
    if rendered is not seen:
        holes |= rendered.inverse != seen.inverse
    filled = fill_uncovered(rendered.colour, rendered.inverse, sideways=True, traces=True)
    return lay_over(rims, view, filled, rendered.inverse, seen.rims), holes


def _arranged(left: Tensor, right: Tensor, layout: str) -> Tensor:
    if layout == "cross-eyed":
        left, right = right, left
    side = -2 if layout.endswith("tb") else -1
    if layout.startswith("half"):
        height, width = left.shape[-2:]
        if left.shape[side] < 2:
            raise ValueError(f"an image of {width}x{height} pixels has no half; choose a full layout or anaglyph")
        halves = (left.shape[side] + 1) // 2, left.shape[side] // 2
        sizes = [(height, half) if side == -1 else (half, width) for half in halves]
        left, right = (resize_image(eye, *size) for eye, size in zip((left, right), sizes, strict=True))
    return torch.cat((left, right), side)


@without_autocast
def _anaglyph(left: Tensor, right: Tensor, colours: str) -> Tensor:
    """An image for red-cyan glasses, mixed in linear light: red of the left eye's image, green and blue of the right eye's image."""
    left, right = (srgb_to_linear(on_white(eye)) for eye in (left, right))
    red = left[:, :1] if colours == "colour" else luminance(left)
    cyan = luminance(right).expand(-1, 2, -1, -1) if colours == "grey" else right[:, 1:]
    return linear_to_srgb(torch.cat((red, cyan), 1))
