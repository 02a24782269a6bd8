"""Downsampled nearness for object search."""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import finite_bounds, resize_map, to_cpu
from ..checks import check_depth, check_map
from ..edges.depth_edges import edge_growth, edge_radius, sharpen_known_depth
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples

_LEAST_RANGE = 1e-3
"""Minimum range of inverse depth relative to the near end: less is rounding, or a wall's grain."""
_FARTHEST = 1e-9


def check_maps_of_one(depth: Tensor, image: Tensor) -> None:
    """Checks for one depth map (1, 1, H, W) with its image (1, 3, H, W).

    Raises:
        TypeError, ValueError: As `check_map`, or several images.
    """
    check_map(depth, 1, "depth")
    if len(depth) != 1:
        raise ValueError(f"depth is of {len(depth)} images; expected 1: pass them one by one")
    check_map(image, 3, "image", like=depth)


def small_scene(depth: Tensor, image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Downsamples nearness and colours to `rows` and `columns`, on the CPU. Synchronises the device once.

    Args:
        depth: (1, 1, H, W), positive and finite.
        image: (1, 3, H, W) RGB in [0, 1].
        rows, columns: New size.

    Returns:
        (rows, columns), inverse depth as a share of its range, about 0 at its far end, with steps at the image's edges; and colours
        (1, 3, rows, columns) in [0, 1]. Constant depth becomes constant nearness.

    Raises:
        ValueError: Depth that is not positive and finite, or an image with NaN or infinite pixels.
    """
    small, depth = to_cpu({"image": resize_map(image.float(), rows, columns), "depth": depth}).values()
    check_depth(depth)
    if not bool(small.isfinite().all()):
        finite_bounds(image)
    small = small.clamp(0, 1)
    # In float64, or rounding would look like a range.
    soft = resize_map(1 / depth.double(), rows, columns).float().clamp(min=_FARTHEST)
    far, near = measure_range_of_samples(soft, torch.ones_like(soft, dtype=torch.bool), FAR_AND_NEAR_END)
    sharp = sharpen_known_depth(1 / soft, edge_radius(rows, columns), edge_growth(rows, columns), small)
    span, least = near - far, (near - far).clamp(min=_LEAST_RANGE * near)
    # A range below the minimum is mostly rounding, so the values shrink with it.
    return ((1 / sharp - far) / least * (span / least))[0, 0], small
