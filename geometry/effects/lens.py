"""Thin-lens formulas: circles of confusion and depth of field.

Convention: circles are signed diameters in pixels of the image, positive behind the focus and negative in front of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_map

SHARP_SHARE = 1 / 1500
"""Largest circle that looks sharp, as a share of the image's diagonal (0.029 mm on full frame)."""


def aperture_scale(focus: Tensor | float, f_number: float, focal_length_mm: float, sensor_mm: float, side: int) -> Tensor:
    """The circle's diameter in pixels for a point at infinity.

    Args:
        focus: Focused depth in metres; a number or any shape.
        f_number: Focal length divided by the aperture's diameter.
        focal_length_mm: Focal length in mm.
        sensor_mm: Length of the sensor in mm along the image's side of `side` pixels.
        side: Length of this side in pixels.

    Returns:
        Pixels, of `focus`'s shape: f^2 / (N (focus - f)), times side / sensor.

    Raises:
        ValueError: A number that is not positive and finite, or a focus nearer than the focal length, where no lens focuses.

    Source:
        The thin lens equation 1/f = 1/focus + 1/image distance.
    """
    for name, value in (("f_number", f_number), ("focal_length_mm", focal_length_mm), ("sensor_mm", sensor_mm)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a number above 0")
    focal = focal_length_mm / 1000
    if not isinstance(focus, Tensor) and not focus > focal:
        raise ValueError(f"the focus is at {focus:g} m; a lens of {focal_length_mm:g} mm focuses from beyond {focal:g} m on")
    distance = torch.as_tensor(focus, dtype=torch.float32)
    return focal * focal_length_mm / (f_number * (distance - focal).clamp(min=focal / 100)) * (side / sensor_mm)


def circle_of_confusion(depth: Tensor, focus: Tensor | float, scale: Tensor | float) -> Tensor:
    """Signed diameters of the circles.

    Args:
        depth: (B, 1, H, W), positive; infinite is allowed.
        focus: Focused depth in the same unit; a number, or a tensor that broadcasts.
        scale: Diameter in pixels for a point at infinity, from `aperture_scale`.

    Returns:
        (B, 1, H, W) pixels: scale * (1 - focus / depth). It is linear in inverse depth, so disparity of unknown scale and shift suffices.

    Raises:
        ValueError: Not (B, 1, H, W).
    """
    check_map(depth, 1, "depth")
    return scale * (1 - focus / depth)


def sharp_range(focus: float, scale: float, circle: float) -> tuple[float, float]:
    """The nearest and farthest depth that look sharp; infinite beyond the hyperfocal distance.

    Args:
        focus: Focused depth.
        scale: Diameter in pixels for a point at infinity.
        circle: The largest diameter that looks sharp, in pixels.
    """
    if scale <= circle:
        return focus / (1 + circle / scale) if scale > 0 else 0.0, math.inf
    return focus / (1 + circle / scale), focus / (1 - circle / scale)
