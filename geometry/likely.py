"""What is assumed where an estimate does not say it: the zero of its depth, and the camera."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import DEFAULT_FOV, intrinsics_from_fov
from .estimate import Estimate, Quantity
from .normals import likely_inverse_depth

_ENDS = (0.02, 0.98)
_NEAREST = 0.1


def likely_depth(estimate: Estimate, near_far_ratio: float | None = None) -> Tensor:
    """Depth that is 0 at the camera, in metres or up to scale.

    Metric depth is taken as it is. Of disparity and relative depth the shift is fixed by a ratio of far to near depth, measured
    between the 2nd and the 98th percentile of each picture, and the near end is 1.

    Args:
        estimate: With depth.
        near_far_ratio: Above 1; None or 0 = for disparity 3, or 30 where sky is seen, as `disparity_to_normals`.

    Returns:
        (B, 1, H, W), positive; NaN where depth does not count (`Estimate.depth_valid`).

    Raises:
        ValueError: No depth, a ratio that is not above 1, or relative depth without a ratio: nothing says how deep it is.
    """
    depth = estimate.depth
    if depth is None:
        raise ValueError("there are normals but no depth, and depth is needed here")
    if near_far_ratio and not near_far_ratio > 1:
        raise ValueError(f"near_far_ratio is {near_far_ratio}; expected a number above 1, or 0 to choose it automatically")
    valid = estimate.depth_valid
    assert valid is not None
    if estimate.quantity is Quantity.METRIC_DEPTH:
        return torch.where(valid, depth, torch.nan)
    if estimate.quantity is Quantity.DISPARITY:
        pairs = zip(depth.split(1), valid.split(1), strict=True)
        likely = torch.cat([1 / likely_inverse_depth(values, usable, near_far_ratio) for values, usable in pairs])
    elif near_far_ratio:
        pairs = zip(depth.split(1), valid.split(1), strict=True)
        likely = torch.cat([_stretched(values, usable, near_far_ratio) for values, usable in pairs])
    else:
        raise ValueError(
            "relative depth has an unknown zero, so its shape is not known; give near_far_ratio "
            "(how many times farther the far end is than the near end), or use metric depth or disparity"
        )
    return torch.where(valid, likely, torch.nan)


def likely_intrinsics(estimate: Estimate, fov: float | None = None) -> Tensor:
    """The camera: the one asked for, else the one the estimate knows, else one of `DEFAULT_FOV`.

    Args:
        estimate: Whose size and batch the intrinsics are for.
        fov: Degrees on the longer side; None or 0 = not asked for.

    Returns:
        (B, 3, 3) float32, pixels, on the estimate's device.

    Raises:
        ValueError: A `fov` that is not below 180.
    """
    if not fov and estimate.intrinsics is not None:
        return estimate.intrinsics
    return intrinsics_from_fov(fov or DEFAULT_FOV, estimate.height, estimate.width, batch=estimate.batch).to(estimate.device)


def _stretched(depth: Tensor, valid: Tensor, ratio: float) -> Tensor:
    """Relative depth of one picture (1, 1, H, W), its near end at 1 and its far end at `ratio`."""
    ordered = depth[valid].sort().values
    if not ordered.numel():
        return torch.ones_like(depth)
    near, far = (ordered[round(end * (ordered.numel() - 1))] for end in _ENDS)
    share = torch.where(far > near, (depth - near) / torch.where(far > near, far - near, 1), 0)
    return (1 + share * (ratio - 1)).clamp(min=_NEAREST)
