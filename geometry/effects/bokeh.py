"""Blurs layers of an image with the shape of a lens's aperture.

Small radii are blurred at full size. For larger radii, the layer is downsampled, which makes them as cheap as small ones. The kernel is
narrowed by the blur that resampling adds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_whole
from ...options.lens import MAX_BLADES
from ...utils import kept_constants, opencv_for, without_autocast
from ..filters.coarse import enlarged, shrunk

MAX_ROTATION = 360000.0
# (largest radius in pixels, how many times smaller the layer is made)
_SIZES = ((4.0, 1), (16.0, 2), (48.0, 4))
LARGEST_STEP = 8
# Kernel side up to which OpenCV convolves directly, in half the time of a convolution; beyond, its FFT leaves traces.
_DIRECT = 11


def aperture_kernel(radius: float, blades: int = 0, rotation: float = 0.0) -> Tensor:
    """The image of an out-of-focus point light, as a convolution kernel.

    Args:
        radius: Radius of the circle in pixels. Negative radii, in front of the focus, rotate the shape by 180 degrees.
        blades: Aperture blades: 3 and more make a polygon with its corners on the circle, fewer a disc.
        rotation: Rotation of the polygon in degrees.

    Returns:
        (n, n) float32 weights, n odd, with sum 1, antialiased.

    Raises:
        ValueError: Blades out of range.
    """
    check_whole("blades", blades, 0, MAX_BLADES)
    size = abs(radius)
    reach = max(0, math.ceil(size))
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    x, y = axis[None], axis[:, None]
    if blades < 3:
        outside = torch.hypot(x, y) - size
    else:
        turns = [math.radians(rotation) + 2 * math.pi * (side + 0.5) / blades + (math.pi if radius < 0 else 0) for side in range(blades)]
        distances = torch.stack([x * math.cos(turn) + y * math.sin(turn) for turn in turns])
        outside = distances.amax(0) - size * math.cos(math.pi / blades)
    weights = (0.5 - outside).clamp(0, 1)
    weights[reach, reach] = weights[reach, reach].clamp(min=1e-3)
    return weights / weights.sum()


def size_step(radius: float) -> int:
    """The factor by which a layer is downsampled before it is blurred by `radius` pixels."""
    return next((step for limit, step in _SIZES if abs(radius) < limit), LARGEST_STEP)


def blur_layer(layer: Tensor, radius: float, blades: int = 0, rotation: float = 0.0) -> Tensor:
    """Blurs a layer with zero padding.

    Args:
        layer: (B, C, H, W), premultiplied by coverage; H and W multiples of `size_step(radius)`.
        radius, blades, rotation: As `aperture_kernel`.

    Returns:
        (B, C, H, W). The sum is preserved, except across the border.
    """
    step = size_step(radius)
    if step == 1:
        return _filtered(layer, _flipped_kernel(layer, radius, blades, rotation))
    small = shrunk(layer, step)
    # Down- and upsampling blur by a variance of step^2 / 4; a disc's is radius^2 / 4.
    narrower = math.copysign(math.sqrt(max(radius * radius - step * step, 0)) / step, radius)
    blurred = _filtered(small, _flipped_kernel(small, narrower, blades, rotation))
    return enlarged(blurred, step, layer.shape[-2:])


@kept_constants
def _flipped_kernel(radius: float, blades: int, rotation: float) -> Tensor:
    return aperture_kernel(radius, blades, rotation).flip(0, 1)


@without_autocast
def _filtered(layer: Tensor, flipped: Tensor) -> Tensor:
    if flipped.numel() == 1:
        return layer
    if len(flipped) <= _DIRECT and (cv2 := opencv_for(layer)):
        blurred, weights = torch.empty_like(layer), flipped.numpy()
        for plane, into in zip(*(each.view(-1, *layer.shape[-2:]).numpy() for each in (layer, blurred)), strict=True):
            cv2.filter2D(plane, -1, weights, into, borderType=cv2.BORDER_CONSTANT)
        return blurred
    # A CPU takes a fifth of the time in this memory format.
    arranged = layer.contiguous(memory_format=torch.channels_last) if layer.device.type == "cpu" else layer
    channels = layer.shape[1]
    return F.conv2d(arranged, flipped.to(layer).expand(channels, 1, -1, -1), padding=len(flipped) // 2, groups=channels)
