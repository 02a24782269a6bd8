"""Resampling kernels that bring images to the size of a network's input.

A part of the table of models: torch is imported by the functions that resample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def by_area(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size, as `utils.resize_image`."""
    from ...utils import resize_image

    return resize_image(images, height, width)


def cubic(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: cubic without antialiasing, as OpenCV's INTER_CUBIC on floats; overshoot stays."""
    return _interpolated(images, height, width, "bicubic", align_corners=False)


def cubic_or_area(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: `cubic` where either side grows, clamped to [0, 1]; else the area average."""
    if height > images.shape[-2] or width > images.shape[-1]:
        return cubic(images, height, width).clamp(0, 1)
    return by_area(images, height, width)


def cubic_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: cubic with antialiasing, as Pillow's BICUBIC on floats; overshoot stays."""
    return _interpolated(images, height, width, "bicubic", antialias=True)


def linear(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: linear without antialiasing, as OpenCV's INTER_LINEAR."""
    return _interpolated(images, height, width, "bilinear", align_corners=False)


def linear_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: linear with antialiasing, as Pillow's BILINEAR on floats."""
    return _interpolated(images, height, width, "bilinear", antialias=True)


def linear_to_corners(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) at another size: linear without antialiasing, the centres of the corner pixels kept in their places."""
    return _interpolated(images, height, width, "bilinear", align_corners=True)


def _interpolated(images: Tensor, height: int, width: int, mode: str, **options: bool) -> Tensor:
    import torch.nn.functional as F

    return F.interpolate(images, size=(height, width), mode=mode, **options)


Kernel = Callable[["Tensor", int, int], "Tensor"]

KERNELS: Mapping[Kernel, tuple[str, str]] = {
    by_area: ("area_cubic", "each axis the area average where it shrinks, cubic (a = -0.75) clamped to [0, 1] where it grows"),
    cubic: ("cubic", "cubic (a = -0.75) without antialiasing"),
    cubic_or_area: ("cubic_or_area", "cubic (a = -0.75) clamped to [0, 1] where either side grows, else the area average"),
    cubic_antialiased: ("cubic_antialiased", "cubic (a = -0.5) with antialiasing"),
    linear: ("linear", "linear without antialiasing"),
    linear_antialiased: ("linear_antialiased", "linear with antialiasing"),
    linear_to_corners: ("linear_corners", "linear without antialiasing, corners aligned"),
}
"""Name in an exported file's metadata, and what it does in words."""
