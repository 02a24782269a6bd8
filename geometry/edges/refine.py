"""Refines an estimate at the image's resolution: depth edges on image edges, and normals of the surface on each side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_range
from ...options.effects import MAX_RADIUS, MAX_STRENGTH
from ...utils import constant, resize_map, vector_lengths
from ..checks import check_alike, check_map
from ..estimate import Estimate, Quantity
from ..filters.extremes import extremes_within, largest_within
from ..kinds import ZERO_AT_CAMERA
from ..levels import FAR_AND_NEAR_END, measure_range
from ..projections import need_perspective
from .ramp_sharpening import ramp_width, sharpen_ramps

Derive = Callable[[Estimate], Estimate]

# Ramps up to _SOFT pixels wide have one mixed pixel between two surfaces. Ramps up to _BY_TWO are such ramps, upsampled by two.
_SOFT, _BY_TWO = 2.0, 3.0
# Rounds of undoing an enlargement by two.
_ROUNDS = 3
# Ratio of a ramp's radius to its measured width, and the width up to which an edge is a step.
_RADIUS, _SHARP = 0.9, 1.2
# Least nearness, relative to half the range, if its zero is assumed; and the least divisor.
_LEAST, _SHORT = 0.05, 1e-12
# Support of a cubic around the nearest old pixel. It may undershoot down to _UNDERSHOOT times the local minimum of nearness, and not at all
# where the local maximum is more than _MANY_TIMES the minimum.
_SUPPORT, _MANY_TIMES, _UNDERSHOOT = 2, 8.0, 0.25
_HARDLY_LESS = 0.9  # least share of the nearness around a pixel that its move may give it, in maps with holes


@torch.no_grad()
def refine_geometry(
    estimate: Estimate,
    image: Tensor,
    strength: float = 1.0,
    radius: int = 0,
    derive: Derive | None = None,
    resampling: str = "bilinear",
    squashed: bool = False,
) -> Estimate:
    """Refines an estimate at the image's size, with depth edges at the image's edges.

    Networks process downscaled images, so at object edges their depth is a ramp between near and far. Each pixel of a ramp is moved to the
    surface on one of its sides. Mask edges at infinitely far areas move likewise. Everything else stays unchanged: textures are not copied
    into the depth.

    Args:
        estimate: With depth of any quantity, of any size with the image's aspect ratio; preferably at the network's own size.
        image: (B, 3, H, W) in [0, 1].
        strength: Weight of colours relative to the position on the ramp, 0 to `MAX_STRENGTH`.
        radius: Half the width of ramps in pixels of the image, up to `MAX_RADIUS`; 0 = measured.
        derive: Adds missing normals, like `with_normals`. It is called with depth without ramps at the network's size: ramps would make
            normals beside edges wrong, and enlarged depth would show the network's pixels. None = adds no normals.
        resampling: As `Estimate.resized`.
        squashed: Whether the estimate may have another aspect ratio, from networks that stretch the image.

    Returns:
        The estimate at the image's size: depth, mask and normals refined, confidence and intrinsics resized.

    Raises:
        ValueError: No depth, a panorama, an image of another batch or aspect ratio, or numbers out of range.

    Source:
        See `ramp_sharpening`.
    """
    need_perspective(estimate, "the refinement of edges")
    check_map(image, 3, "image")
    check_range("strength", strength, 0, MAX_STRENGTH)
    check_range("radius", radius, 0, MAX_RADIUS)
    if image.shape[0] != estimate.batch:
        raise ValueError(f"geometry holds {estimate.batch} images, image {image.shape[0]}; expected as many")
    if not squashed:
        check_alike("geometry", (estimate.height, estimate.width), (image.shape[-2], image.shape[-1]))
    pairs = zip(estimate.split(), image.split(1), strict=True)
    parts = (_refined(one, each.to(estimate.device), strength, radius, derive, resampling) for one, each in pairs)
    return Estimate.cat(parts, estimate.batch)


def _refined(one: Estimate, image: Tensor, strength: float, radius: int, derive: Derive | None, resampling: str) -> Estimate:
    """One image's estimate at the image's size."""
    height, width = image.shape[-2:]
    if one.height > height or one.width > width:
        one = one.resized(height, width)
    if one.normals is None and derive is not None:
        one = _with_derived(one, image, strength, derive)
    is_whole = one.depth is not None and bool(one.valid.all())  # synchronising costs less than treating every map as one with holes
    base = (replace(one, mask=None) if is_whole else one).resized(height, width, resampling, checked=is_whole and one.intrinsics is None)
    nearness, depth_of = _nearness(one, is_whole)
    grown = _enlarged(nearness, height, width, is_whole)
    reach = radius or _radius(ramp_width(grown))
    assert base.depth is not None
    valid = torch.ones_like(base.depth, dtype=torch.bool) if is_whole else base.known_depth()[2]
    if is_whole and one.mask is not None:
        base = replace(base, mask=valid)
    if reach == 0:
        return base
    refined, moved, *normals = sharpen_ramps(grown, image, reach, strength, base.normals)
    assert base.depth is not None
    is_near = refined > 0
    if not is_whole:  # across an edge, a pixel may meet the ramp into a hole: nearer than nothing, and farther than all around
        around = max(1, math.ceil(reach * one.height / height)) + _SUPPORT
        least = F.interpolate(_least_within(nearness, nearness > 0, around), (height, width), mode="nearest-exact")
        moved = moved & ((refined >= _HARDLY_LESS * least) | ~is_near)
    depth = torch.where(moved & is_near, depth_of(refined).to(base.depth), base.depth)
    mask = torch.where(moved, is_near, valid)
    if base.mask is None and bool(mask.all()):
        mask = None
    return replace(base, depth=depth, normals=_unit(normals[0], base) if normals else None, mask=mask)


def _enlarged(nearness: Tensor, height: int, width: int, is_whole: bool) -> Tensor:
    """Upsamples nearness (1, 1, h, w) bicubically. It stays positive where the nearest old values are, even if the cubic undershoots.

    Missing values, 0, contribute nothing, as the result is normalised by the upsampled validity. `is_whole`: there are none.
    """
    if nearness.shape[-2:] == (height, width):
        return nearness
    known = None if is_whole else nearness > 0
    mean = resize_map(nearness, height, width, "bicubic")
    floor = F.interpolate(_floor(nearness, known), (height, width), mode="nearest-exact")
    if known is None:
        return torch.maximum(mean, floor)
    share = resize_map(known.to(nearness), height, width, "bicubic")
    return torch.maximum(mean / share.clamp(min=_SHORT), floor) * share.clamp(min=0)


def _floor(nearness: Tensor, known: Tensor | None) -> Tensor:
    """The least allowed result of resampling: positive wherever values are near, 0 elsewhere. `known`: None = everywhere.

    A slight undershoot restores steep ramps from before downscaling. Beside much nearer surfaces it would exceed the far side's value, so
    there the floor is the local minimum.
    """
    if known is None:
        low, high = extremes_within(nearness, _SUPPORT)
    else:
        low = _least_within(nearness, known, _SUPPORT)
        high = largest_within(nearness, _SUPPORT)
    floor = torch.where(high > _MANY_TIMES * low, low, low * _UNDERSHOOT)
    return floor if known is None else torch.where(low < torch.inf, floor, constant(floor, 0.0))


def _least_within(nearness: Tensor, known: Tensor, radius: int) -> Tensor:
    """The least known value within `radius` pixels; infinite where there is none."""
    return -largest_within(torch.where(known, -nearness, constant(nearness, -math.inf)), radius)


def _radius(width: float) -> int:
    """Half the width of ramps in pixels; 0 if edges are steps, or if there are no edges."""
    return min(MAX_RADIUS, math.ceil(_RADIUS * width)) if width > _SHARP else 0


def _unit(directions: Tensor, base: Estimate) -> Tensor:
    """Unit normals; the base's own values in its holes."""
    length = vector_lengths(directions)
    assert base.normals is not None
    return torch.where(length > 0, directions / length, base.normals)


def _with_derived(one: Estimate, image: Tensor, strength: float, derive: Derive) -> Estimate:
    """Adds normals derived from the depth without the ramps' intermediate pixels."""
    nearness, depth_of = _nearness(one)
    width, source = ramp_width(nearness), one
    if _SOFT < width < _BY_TWO and one.height >= image.shape[-2]:
        source, nearness = _halved(one, nearness, depth_of)
        width = ramp_width(nearness)
    if 0 < width <= _SOFT:
        clean, _ = sharpen_ramps(nearness, resize_map(image, source.height, source.width), 1, strength)[:2]
        depth, _, valid = source.known_depth()
        source = replace(source, depth=torch.where(valid & (clean > 0), depth_of(clean).to(depth), depth))
    derived = derive(source)
    if derived.normals is None:
        return one
    sized = derived.resized(one.height, one.width)
    return replace(one, normals=sized.normals, axes=derived.axes, mask=one.mask if derived.mask is None else sized.mask)


def _halved(one: Estimate, nearness: Tensor, depth_of: Callable[[Tensor], Tensor]) -> tuple[Estimate, Tensor]:
    """Undoes an enlargement of an estimate and its nearness by two.

    Source:
        M. Irani and S. Peleg, "Improving resolution by image registration" (1991): the error of enlarging the result is added back.
    """
    small = one.resized(max(1, one.height // 2), max(1, one.width // 2))
    size = (small.height, small.width)
    halved = resize_map(nearness, *size)
    floor = _floor(halved, halved > 0)
    for _ in range(_ROUNDS):
        missing = nearness - resize_map(halved, one.height, one.width, "bicubic")
        halved = torch.maximum(halved + resize_map(missing, *size), floor)
    depth, _, valid = small.known_depth()
    halved = torch.where(valid, halved, constant(halved, 0.0))
    return replace(small, depth=torch.where(valid & (halved > 0), depth_of(halved).to(depth), depth)), halved


def _nearness(one: Estimate, is_whole: bool = False) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Inverse depth up to scale, (1, 1, h, w), 0 where invalid; and the function that converts it back to depth.

    The zero of disparity and of relative depth is unknown; their far end is assumed to be three times as far as their near end.
    `is_whole`: all pixels are known to be valid.
    """
    if is_whole:
        assert one.depth is not None and one.quantity is not None
        depth, quantity, valid = one.depth, one.quantity, None
    else:
        depth, quantity, valid = one.known_depth()
        depth = torch.where(valid, depth, constant(depth, 1.0))

    def where_valid(nearness: Tensor) -> Tensor:
        return nearness if valid is None else torch.where(valid, nearness, constant(nearness, 0.0))

    if quantity in ZERO_AT_CAMERA:
        inverse = where_valid(depth.reciprocal())
        unit = inverse.amax().clamp(min=torch.finfo(inverse.dtype).tiny)
        return inverse / unit, lambda nearness: (nearness * unit).clamp_(min=torch.finfo(inverse.dtype).tiny).reciprocal_()
    low, high = measure_range(depth, valid, FAR_AND_NEAR_END)
    if valid is not None:
        low, high = torch.stack((low, high)).nan_to_num_(0, 0, 0)  # infinite where no pixel is valid
    half = torch.where(high > low, (high - low) / 2, constant(depth, 0.5))
    nearness = torch.addcdiv(constant(depth, 1.0), depth - low, half).clamp_(min=_LEAST)
    if quantity is Quantity.DISPARITY:
        return where_valid(nearness), lambda found: torch.addcmul(low, found - 1, half)
    return where_valid(nearness.reciprocal_()), lambda found: torch.addcmul(low, found.clamp(min=_LEAST).reciprocal_().sub_(1), half)
