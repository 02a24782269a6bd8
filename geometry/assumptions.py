"""Assumptions where an estimate leaves something open: the zero and unit of depth, what is behind holes, and the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..options.checks import InvalidArgumentError
from ..utils import constant, to_cpu
from .camera import DEFAULT_FOV, intrinsics_from_fov, resize_intrinsics
from .estimate import Estimate, Quantity
from .levels import FAR_AND_NEAR_END, are_apart, are_ends_apart, at_percentiles, in_order, samples_of, value_at_ranks
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
        scales = _scales_of(estimate, valid, near_far_ratio)
        assumed = torch.cat([scale.inverse_depth(image).reciprocal_() for (image, _), scale in zip(images, scales, strict=True)])
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
    if estimate.quantity is Quantity.DISPARITY:
        return filled_inverse(estimate).reciprocal_()
    depth = assumed_depth(estimate, NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None)
    return _joined([_filled_and_scaled(image) for image in depth.split(1)])


def filled_inverse(estimate: Estimate) -> Tensor:
    """The inverse of `filled_depth`."""
    if estimate.quantity is not Quantity.DISPARITY:
        return filled_depth(estimate).reciprocal_()
    disparity, _, valid = estimate.known_depth()
    images = zip(_scales_of(estimate, valid, None), disparity.split(1), valid.split(1), strict=True)
    return _joined([scale.filled_inverse(*image) for scale, *image in images])


def filled_with_ends(estimate: Estimate, valid: Tensor) -> tuple[Tensor, float, float, bool]:
    """`filled_depth` of disparity of one image by its `depth_valid`, its near and its far end, which are infinite where nothing is valid.

    The last is whether all of it is.
    """
    assert estimate.depth is not None
    (scale,) = _scales_of(estimate, valid, None)
    farthest = min(scale.deepest / scale.nearest, _FARTHEST_FILLED)
    nearest, farthest = (1.0, farthest) if math.isfinite(scale.far) else (math.inf, math.inf)
    return scale.filled_inverse(estimate.depth, valid).reciprocal_(), nearest, farthest, scale.is_whole


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


class _Scale(NamedTuple):
    """What makes inverse depth of one image's disparity: 1 at the near end, 1 / ratio at the far end.

    Attributes:
        far, near: The disparity of both ends; None = there is no range, and all is at 1.
        ratio: Far depth divided by near depth.
        farthest: The least valid disparity.
        is_whole: Whether all disparity is valid.
        nearest: The depth of the near end, close to 1.
        deepest: The depth of the far end.
    """

    far: float
    near: float | None
    ratio: float
    farthest: float
    is_whole: bool
    nearest: float = 1.0
    deepest: float = 1.0

    def inverse_depth(self, disparity: Tensor) -> Tensor:
        """Of disparity (1, 1, H, W), positive."""
        if self.near is None:
            return torch.ones_like(disparity)
        return (disparity - self.far).mul_(self.slope).add_(1 / self.ratio).clamp_(min=_NEAREST / self.ratio)

    def filled_inverse(self, disparity: Tensor, valid: Tensor) -> Tensor:
        """The same without holes: where it is not valid, that of the farthest. Its near end is at 1."""
        if self.near is None:
            return torch.ones_like(disparity)
        if not self.is_whole:
            disparity = torch.where(valid, disparity, self.farthest)
        inverse = (disparity - self.far).mul_(self.slope * self.nearest).add_(self.nearest / self.ratio)
        return inverse.clamp_(max(_NEAREST * self.nearest / self.ratio, 1 / _FARTHEST_FILLED), 1 / _NEAREST_FILLED)

    @property
    def slope(self) -> float:
        """Inverse depth over disparity."""
        return 0.0 if self.near is None else (1 - 1 / self.ratio) / (self.near - self.far)


def _scales_of(estimate: Estimate, valid: Tensor, near_far_ratio: float | None) -> list[_Scale]:
    """Those of each image of disparity. Waits for the device once an image: what depends on the answers is computed with numbers."""
    disparity = estimate.depth
    assert disparity is not None
    masks = [None] * estimate.batch if estimate.mask is None else estimate.mask.split(1)
    return [_scale_of(*image, near_far_ratio) for image in zip(disparity.split(1), valid.split(1), masks, strict=True)]


def _scale_of(disparity: Tensor, valid: Tensor, mask: Tensor | None, near_far_ratio: float | None) -> _Scale:
    is_whole = are_all(valid)
    known = finite = disparity if is_whole else torch.where(valid, disparity, constant(disparity, torch.inf))
    if mask is not None and not near_far_ratio:
        finite = disparity.nan_to_num(torch.inf, torch.inf, torch.inf)
    maps = {"samples": samples_of(disparity, valid), "farthest": known.amin(), "least": finite.amin(), "valid": valid.all()}
    if not near_far_ratio:
        maps |= {"top": disparity[0, 0, 0], **({} if mask is None else {"is_whole": mask.all()})}
    fetched = to_cpu(maps)
    ordered = in_order(fetched["samples"])
    if not len(ordered):  # a coarse grid may miss the few values there are
        ordered = np.sort(disparity[valid].float().cpu().numpy())
    far, near = at_percentiles(ordered, FAR_AND_NEAR_END)
    farthest, least, is_whole = fetched["farthest"].item(), fetched["least"].item(), bool(fetched["valid"])
    if fetched.get("is_whole"):  # the network says that there is no sky
        near_far_ratio = NEAR_FAR_RATIO
    ratio = near_far_ratio or (_SKY_RATIO if _sees_sky(fetched["top"].tolist(), least, near) else NEAR_FAR_RATIO)
    if not are_ends_apart(far, near):
        return _Scale(far, None, ratio, farthest, is_whole)
    scale = _Scale(far, near, ratio, farthest, is_whole)
    inverse = np.maximum((ordered - far) * scale.slope + 1 / ratio, _NEAREST / ratio)
    nearest, deepest = at_percentiles(1 / inverse[::-1], FAR_AND_NEAR_END)
    return scale._replace(nearest=nearest, deepest=deepest)


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
    """One image (1, 1, H, W), NaN where it has no value. Waits for the device once."""
    valid = are_finite(depth)
    whole = are_all(valid)
    nearest, farthest = depth if whole else torch.where(valid, depth, torch.inf), depth if whole else torch.where(valid, depth, -torch.inf)
    fetched = to_cpu({"samples": samples_of(depth, valid), "ends": torch.stack((nearest.amin(), farthest.amax()))})
    near, _ = at_percentiles(in_order(fetched["samples"]), FAR_AND_NEAR_END)
    least, most = fetched["ends"].tolist()
    if most == -math.inf:
        return torch.ones_like(depth)
    # A coarse grid may miss the few values there are.
    depth = depth if whole else torch.where(valid, depth, most)
    return (depth / (near if near < math.inf else least)).clamp_(_NEAREST_FILLED, _FARTHEST_FILLED)


def _joined(images: Sequence[Tensor]) -> Tensor:
    """A batch of maps (1, 1, H, W); of one image without a copy."""
    return images[0] if len(images) == 1 else torch.cat(list(images))
