"""Assumptions where an estimate leaves something open: the zero and unit of depth, what is behind holes, and the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .camera import DEFAULT_FOV, intrinsics_from_fov, resize_intrinsics
from .errors import InvalidArgumentError
from .estimate import Estimate, Quantity
from .levels import FAR_AND_NEAR_END, are_apart, are_ends_apart, measure_range, measure_range_of_samples, value_at_ranks
from .projections import need_perspective
from .valid import are_all, are_finite

NEAR_FAR_RATIO = 3.0
"""The assumed ratio of a scene's far depth to its near depth."""

_NEAREST = 0.1
_SKY_RATIO = 30.0
# What is as far as anything gets, as a share of the values' span, and how much of the top border it fills where it is sky.
_AS_FAR, _SKY_SHARE = 0.005, 0.1
_NEAREST_FILLED, _FARTHEST_FILLED = 0.5, 1e6


def assumed_depth(estimate: Estimate, near_far_ratio: float | None = None) -> Tensor:
    """Depth that is 0 at the camera, in metres or up to scale.

    Metric depth is taken as it is. Disparity and relative depth have an unknown shift; it follows from how many times farther the far
    end of each image is than its near end (the 2nd and the 98th percentile). The near end is at depth 1 then.

    Args:
        estimate: With depth.
        near_far_ratio: Far depth divided by near depth, above 1. None or 0 = for disparity 3, or 30 where sky is seen: a region along
            the top border, masked or not, that is one constant value, as far as anything gets. Only networks that were taught the sky
            give it so, and a mask of theirs that is True everywhere says that there is none.
            Skies of other networks are found from the image (`sky.find_sky`), which is missing here: give 30 for landscapes.

    Returns:
        (B, 1, H, W), positive; NaN where depth is not valid (`Estimate.depth_valid`).

    Raises:
        ValueError: No depth, a ratio that is not above 1, or relative depth without a ratio: nothing says how deep it is.
    """
    depth, quantity, valid = estimate.known_depth()
    if near_far_ratio and not near_far_ratio > 1:
        raise InvalidArgumentError("near_far_ratio", f"is {near_far_ratio}; expected a number above 1, or 0 to choose it automatically")
    if quantity is Quantity.METRIC_DEPTH:
        return torch.where(valid, depth, torch.nan)
    images = list(zip(depth.split(1), valid.split(1), strict=True))
    if quantity is Quantity.DISPARITY:
        masks = [None] * len(images) if estimate.mask is None else estimate.mask.split(1)
        ratios = [near_far_ratio or (NEAR_FAR_RATIO if mask is not None and are_all(mask) else None) for mask in masks]
        assumed = torch.cat([1 / _assumed_inverse_depth(*image, ratio) for image, ratio in zip(images, ratios, strict=True)])
    elif near_far_ratio:
        assumed = torch.cat([_stretched(*image, near_far_ratio) for image in images])
    else:
        raise ValueError(
            "relative depth has an unknown zero, so its shape is not known; give near_far_ratio "
            "(how many times farther the far end is than the near end), or use metric depth or disparity"
        )
    return torch.where(valid, assumed, torch.nan)


def filled_depth(estimate: Estimate) -> Tensor:
    """Depth without holes whose near end is 1, so that a camera's move or a lamp's place means the same in every scene.

    Args:
        estimate: With depth of any quantity. Relative depth is taken to reach from 1 to 3.

    Returns:
        (B, 1, H, W), 0.5 to a million. The near end is the 2nd percentile of each image; what is nearer than half of it is
        brought there. Holes and masked pixels are as far as the farthest valid pixel; an image without any is a wall at 1.

    Raises:
        ValueError: No depth.
    """
    depth = assumed_depth(estimate, NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None)
    return torch.cat([_filled_and_scaled(image) for image in depth.split(1)])


def assumed_intrinsics(estimate: Estimate, fov: float | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """The camera: of `fov`, else the estimate's own, else of `DEFAULT_FOV`.

    Args:
        estimate: Whose batch the intrinsics are for.
        fov: Degrees on the longer side; None or 0 = not set.
        size: (height, width) of the images that the intrinsics are for; None = the estimate's.

    Returns:
        (B, 3, 3) float32, pixels, on the estimate's device.

    Raises:
        ValueError: A `fov` that is not below 180, or a panorama.
    """
    need_perspective(estimate, "a field of view")
    own = (estimate.height, estimate.width)
    size = size or own
    if not fov and estimate.intrinsics is not None:
        return estimate.intrinsics if size == own else resize_intrinsics(estimate.intrinsics, own, size)
    return intrinsics_from_fov(fov or DEFAULT_FOV, *size, batch=estimate.batch).to(estimate.device)


def _assumed_inverse_depth(disparity: Tensor, valid: Tensor, near_far_ratio: float | None) -> Tensor:
    """Disparity of one image (1, 1, H, W) as inverse depth: positive everywhere, 1 at the near end, 1 / ratio at the far end."""
    ends = torch.stack(measure_range_of_samples(disparity, valid, FAR_AND_NEAR_END)).flatten()
    # One question: what depends on the answers is computed with numbers.
    farthest = torch.where(are_finite(disparity), disparity, torch.inf).amin().view(1)
    far, near, farthest, *top = torch.cat((ends, farthest, *([] if near_far_ratio else [disparity[0, 0, 0]]))).tolist()
    if not math.isfinite(far):  # a coarse grid may miss the few values there are
        far, near = torch.stack(measure_range(disparity, valid, FAR_AND_NEAR_END)).flatten().tolist()
    if not math.isfinite(far):
        return torch.ones_like(disparity)
    ratio = near_far_ratio or (_SKY_RATIO if _sees_sky(top, farthest, near) else NEAR_FAR_RATIO)
    if not are_ends_apart(far, near):
        return torch.ones_like(disparity)
    inverse = (disparity - far).mul_((1 - 1 / ratio) / (near - far)).add_(1 / ratio)
    return inverse.where(valid, 1).clamp_(min=_NEAREST / ratio)


def _stretched(depth: Tensor, valid: Tensor, ratio: float) -> Tensor:
    """Relative depth of one image (1, 1, H, W), its near end at 1 and its far end at `ratio`."""
    count = int(valid.sum())
    if not count:
        return torch.ones_like(depth)
    near, far = value_at_ranks(depth, valid, [round(end / 100 * (count - 1)) for end in FAR_AND_NEAR_END])
    apart = are_apart(near, far)
    share = torch.where(apart, (depth - near) / torch.where(apart, far - near, 1), 0)
    return (1 + share * (ratio - 1)).clamp(min=_NEAREST)


def _sees_sky(top: Sequence[float], farthest: float, near: float) -> bool:
    """True if a tenth of the top border is the farthest disparity. The mask is not used: it may leave out the sky.

    It sees the sky of networks that were taught to give it one value, and needs no image. `sky.find_sky` sees that of the others too,
    by the image.
    """
    sky = [value - farthest < _AS_FAR * (near - farthest) for value in top]
    return sum(sky) > _SKY_SHARE * len(sky)


def _filled_and_scaled(depth: Tensor) -> Tensor:
    """One image (1, 1, H, W), NaN where it has no value; the device is not synchronised."""
    valid = are_finite(depth)
    near, _ = measure_range_of_samples(depth, valid, FAR_AND_NEAR_END)
    if depth.device.type == "cpu" and bool(valid.all()):  # there asking costs less than filling nothing
        return (depth / near).clamp_(_NEAREST_FILLED, _FARTHEST_FILLED)
    # A coarse grid may miss the few values there are.
    near = torch.where(near < torch.inf, near, torch.where(valid, depth, torch.inf).amin())
    farthest = torch.where(valid, depth, -torch.inf).amax()
    scaled = torch.where(valid, depth, farthest) / near  # NaN without any
    return torch.where(farthest > -torch.inf, scaled.clamp_(_NEAREST_FILLED, _FARTHEST_FILLED), 1)
