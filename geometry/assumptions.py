"""Assumptions where an estimate is ambiguous: the zero and unit of depth, depth in holes, and the camera."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..options.checks import InvalidArgumentError
from ..utils import constant, joined, to_cpu
from .camera import DEFAULT_FOV, intrinsics_from_fov, resize_intrinsics
from .estimate import Estimate, Quantity
from .kinds import ZERO_AT_CAMERA, Projection
from .levels import FAR_AND_NEAR_END, are_apart, are_ends_apart, at_percentiles, in_order, samples_of, value_at_ranks
from .projections import need_perspective
from .valid import are_all, are_finite
from .zero_of_normals import cells_of, inverse_ratio

NEAR_FAR_RATIO = 3.0
"""The assumed ratio of a scene's far depth to its near depth."""

_NEAREST = 0.1
_SKY_RATIO = 10.0
# Added to the weight of the constant ratio, which is that of the normals: those that face the camera tell nothing.
_FACING = 0.02
# Sky fills at least this share of the top border with disparities within _AS_FAR of the range from the least value.
_AS_FAR, _SKY_SHARE = 0.005, 0.1
_NEAREST_FILLED, _FARTHEST_FILLED = 0.5, 1e6


def assumed_depth(estimate: Estimate, near_far_ratio: float | None = None, fov: float | None = None) -> Tensor:
    """Depth (B, 1, H, W), positive, with zero at the camera, in metres or up to scale; NaN where it is not valid (`Estimate.depth_valid`).

    Metric depth is returned unchanged. Disparity and relative depth have an unknown shift, which `near_far_ratio` fixes for the 2nd and the
    98th percentile of each image; the near end is at depth 1. Raises ValueError: no depth, a ratio that is not above 1, or relative depth
    without a ratio.

    Args:
        near_far_ratio: Far depth divided by near depth, above 1. None or 0 = for disparity 3, or 10 if a constant, farthest region along
            the top border, masked or not, looks like sky. Only networks that were trained on sky predict it in this way; if their mask is
            True everywhere, there is no sky. Other skies can be found only from the image (`sky.find_sky`): give 10 for landscapes. If a
            perspective estimate has normals, its inverse is averaged with that of the ratio at which the depth has these normals.
        fov: Field of view for the comparison with normals, as `assumed_intrinsics`.
    """
    depth, quantity, valid = estimate.known_depth()
    if near_far_ratio and not near_far_ratio > 1:
        raise InvalidArgumentError("near_far_ratio", f"is {near_far_ratio}; expected a number above 1, or 0 to choose it automatically")
    if quantity in ZERO_AT_CAMERA:
        return torch.where(valid, depth, torch.nan)
    images = list(zip(depth.split(1), valid.split(1), strict=True))
    if quantity is Quantity.DISPARITY:
        scales = _scales_of(estimate, valid, near_far_ratio, _compared(estimate, near_far_ratio, fov))
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
    """Depth without holes whose near end is 1, so that camera motions and light positions mean the same in every scene.

    The estimate has depth of any quantity; relative depth is assumed to span 1 to 3. Raises ValueError: no depth.

    Returns:
        (B, 1, H, W) float32, 0.5 to a million. The near end is the 2nd percentile of each image; nearer values are clamped to half of it.
        Holes and masked pixels take the farthest valid depth; an image without valid pixels is 1 everywhere.
    """
    estimate = estimate.in_float32()  # half precision ends before a million
    if estimate.quantity is Quantity.DISPARITY:
        return filled_inverse(estimate).reciprocal_()
    depth = assumed_depth(estimate, NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None)
    return joined([_filled_and_scaled(image) for image in depth.split(1)])


def filled_inverse(estimate: Estimate, valid: Tensor | None = None) -> Tensor:
    """The inverse of `filled_depth`; `valid` is the estimate's `depth_valid`, if computed already."""
    if estimate.quantity is not Quantity.DISPARITY:
        return filled_depth(estimate).reciprocal_()
    disparity = estimate.depth
    assert disparity is not None
    valid = estimate.known_depth()[2] if valid is None else valid
    images = zip(_scales_of(estimate, valid, None), disparity.split(1), valid.split(1), strict=True)
    return joined([scale.filled_inverse(*image) for scale, *image in images])


def filled_with_ends(estimate: Estimate, valid: Tensor) -> tuple[Tensor, float, float, bool]:
    """`filled_depth` for the disparity of one image and its `depth_valid`; also the depth ends and whether all is valid.

    The ends are the depths of the near and the far end, infinite if no pixel is valid.
    """
    assert estimate.depth is not None
    (scale,) = _scales_of(estimate, valid, None)
    farthest = min(scale.deepest / scale.nearest, _FARTHEST_FILLED)
    nearest, farthest = (1.0, farthest) if math.isfinite(scale.far) else (math.inf, math.inf)
    return scale.filled_inverse(estimate.depth, valid).reciprocal_(), nearest, farthest, scale.is_whole


def assumed_intrinsics(estimate: Estimate, fov: float | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """Intrinsics (B, 3, 3) float32 from `fov`, else the estimate's own, else from `DEFAULT_FOV`.

    Args:
        estimate: Of perspective images.
        fov: Degrees on the longer side; None or 0 = not set.
        size: (height, width) that the intrinsics are for; None = the estimate's.

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
    """Converts one image's disparity to inverse depth: 1 at the near end, 1 / ratio at the far end.

    `far` and `near` are the disparity of both ends; near = None: the image has no range, and inverse depth is 1 everywhere. `ratio` is far
    depth divided by near depth, `farthest` the least valid disparity; `nearest` (close to 1) and `deepest` are the depth of the ends.
    """

    far: float
    near: float | None
    ratio: float
    farthest: float
    is_whole: bool
    nearest: float = 1.0
    deepest: float = 1.0

    def inverse_depth(self, disparity: Tensor) -> Tensor:
        """Positive inverse depth of disparity (1, 1, H, W)."""
        if self.near is None:
            return torch.ones_like(disparity)
        return (disparity - self.far).mul_(self.slope).add_(1 / self.ratio).clamp_(min=_NEAREST / self.ratio)

    def filled_inverse(self, disparity: Tensor, valid: Tensor) -> Tensor:
        """Inverse depth scaled so that its near end is 1, with invalid pixels at the farthest value."""
        if self.near is None:
            return torch.ones_like(disparity)
        if not self.is_whole:
            disparity = torch.where(valid, disparity, self.farthest)
        inverse = (disparity - self.far).mul_(self.slope * self.nearest).add_(self.nearest / self.ratio)
        return inverse.clamp_(max(_NEAREST * self.nearest / self.ratio, 1 / _FARTHEST_FILLED), 1 / _NEAREST_FILLED)

    @property
    def slope(self) -> float:
        """Inverse depth per unit of disparity."""
        return 0.0 if self.near is None else (1 - 1 / self.ratio) / (self.near - self.far)


def _scales_of(
    estimate: Estimate, valid: Tensor, near_far_ratio: float | None, compared: Mapping[str, Tensor] | None = None
) -> list[_Scale]:
    """The scale of each image; `compared`: of `cells_of`. Synchronises the device once an image and continues with Python numbers."""
    disparity = estimate.depth
    assert disparity is not None
    masks = [None] * estimate.batch if estimate.mask is None else estimate.mask.split(1)
    images = zip(disparity.split(1), valid.split(1), masks, strict=True)
    beside = [{name: each[index] for name, each in (compared or {}).items()} for index in range(estimate.batch)]
    return [_scale_of(*image, near_far_ratio, more) for image, more in zip(images, beside, strict=True)]


def _scale_of(
    disparity: Tensor, valid: Tensor, mask: Tensor | None, near_far_ratio: float | None, compared: Mapping[str, Tensor]
) -> _Scale:
    known = finite = disparity if are_all(valid) else torch.where(valid, disparity, constant(disparity, torch.inf))
    if mask is not None and not near_far_ratio:
        finite = disparity.nan_to_num(torch.inf, torch.inf, torch.inf)
    farthest, nearest = known.aminmax()
    maps = {"samples": samples_of(known), "farthest": farthest, "nearest": nearest, "least": finite.amin(), **compared}
    if not near_far_ratio:
        maps |= {"top": disparity[0, 0, 0], **({} if mask is None else {"is_whole": mask.all()})}
    fetched = to_cpu(maps)
    ordered = in_order(fetched["samples"])
    if not len(ordered):  # a coarse grid may miss a few scattered values
        ordered = np.sort(disparity[valid].float().cpu().numpy())
    far, near = at_percentiles(ordered, FAR_AND_NEAR_END)
    farthest, least, is_whole = fetched["farthest"].item(), fetched["least"].item(), fetched["nearest"].item() < math.inf
    if fetched.get("is_whole"):  # the network predicts no sky
        near_far_ratio = NEAR_FAR_RATIO
    ratio = near_far_ratio or (_SKY_RATIO if _sees_sky(fetched["top"].tolist(), least, near) else NEAR_FAR_RATIO)
    if not are_ends_apart(far, near):
        return _Scale(far, None, ratio, farthest, is_whole)
    if compared:
        inverse, weight = inverse_ratio(fetched["cells"].numpy(), fetched["camera"].numpy(), far, near)
        ratio = (2 * weight + _FACING) / (weight * inverse + (weight + _FACING) / ratio)
    scale = _Scale(far, near, ratio, farthest, is_whole)
    inverse = np.maximum((ordered - far) * scale.slope + 1 / ratio, _NEAREST / ratio)
    nearest, deepest = at_percentiles(1 / inverse[::-1], FAR_AND_NEAR_END)
    return scale._replace(nearest=nearest, deepest=deepest)


def _compared(estimate: Estimate, near_far_ratio: float | None, fov: float | None) -> dict[str, Tensor] | None:
    """`cells_of` an estimate whose own normals tell its ratio; None if there are none, or the ratio is given."""
    if near_far_ratio or estimate.normals is None or estimate.projection is not Projection.PERSPECTIVE:
        return None
    return cells_of(estimate, assumed_intrinsics(estimate, fov))


def _stretched(depth: Tensor, valid: Tensor, ratio: float) -> Tensor:
    """Maps the relative depth of one image (1, 1, H, W): near end to 1, far end to `ratio`."""
    count = int(valid.sum())
    if not count:
        return torch.ones_like(depth)
    near, far = value_at_ranks(depth, valid, [round(end / 100 * (count - 1)) for end in FAR_AND_NEAR_END])
    apart = are_apart(near, far)
    share = torch.where(apart, (depth - near) / torch.where(apart, far - near, 1), 0)
    return (1 + share * (ratio - 1)).clamp(min=_NEAREST)


def _sees_sky(top: Sequence[float], farthest: float, near: float) -> bool:
    """True if more than a tenth of the top border is the farthest disparity, as sky-trained networks predict sky.

    The mask is not used: it may exclude the sky. `sky.find_sky` also finds the sky of other networks, from the image.
    """
    sky = [value - farthest < _AS_FAR * (near - farthest) for value in top]
    return sum(sky) > _SKY_SHARE * len(sky)


def _filled_and_scaled(depth: Tensor) -> Tensor:
    """Fills and scales one image (1, 1, H, W), NaN = no value. Synchronises the device once."""
    valid = are_finite(depth)
    whole = are_all(valid)
    nearest, farthest = depth if whole else torch.where(valid, depth, torch.inf), depth if whole else torch.where(valid, depth, -torch.inf)
    fetched = to_cpu({"samples": samples_of(nearest), "ends": torch.stack((nearest.amin(), farthest.amax()))})
    near, _ = at_percentiles(in_order(fetched["samples"]), FAR_AND_NEAR_END)
    least, most = fetched["ends"].tolist()
    if most == -math.inf:
        return torch.ones_like(depth)
    # A coarse grid may miss a few scattered values.
    depth = depth if whole else torch.where(valid, depth, most)
    return (depth / (near if near < math.inf else least)).clamp_(_NEAREST_FILLED, _FARTHEST_FILLED)
