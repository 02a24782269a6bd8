"""How near the parts of an image are, at the small size at which things are looked for."""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import resize_map
from ..edges.depth_edges import depth_at_image_edges
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples

_LEAST_RANGE = 1e-3
"""Share of the near end that the range of inverse depth has at least: less is rounding, or a wall's grain."""
_FARTHEST = 1e-9


def small_scene(depth: Tensor, image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Nearness and colours on so many rows and columns, on the CPU.

    Args:
        depth: (1, 1, H, W), positive and finite.
        image: (1, 3, H, W) RGB in [0, 1].

    Returns:
        (rows, columns), inverse depth as a share of its range, about 0 at its far end, with steps where the image has edges; and
        (1, 3, rows, columns). Constant depth is constant nearness.
    """
    small = resize_map(image.float(), rows, columns).clamp(0, 1).cpu()
    # In float64, or rounding would be taken for a range.
    soft = resize_map(1 / depth.cpu().double(), rows, columns).float().clamp(min=_FARTHEST)
    far, near = measure_range_of_samples(soft, torch.ones_like(soft, dtype=torch.bool), FAR_AND_NEAR_END)
    return ((1 / depth_at_image_edges(1 / soft, small) - far) / (near - far).clamp(min=_LEAST_RANGE * near))[0, 0], small
