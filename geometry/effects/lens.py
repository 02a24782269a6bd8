"""Circles of confusion and depth of field: thin-lens formulas, the circles of an image by lens settings and a focus, and their blur.

Convention: circles are signed diameters in pixels of the image, positive behind the focus and negative in front of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_whole
from ...options.effects import MAX_BLADES, LensOptions
from ...utils import kept_constants, opencv_for, without_autocast
from ..assumptions import assumed_intrinsics
from ..checks import check_map
from ..edges.depth_edges import edge_radius, sharpened_inverse
from ..estimate import Estimate
from ..filters.coarse import enlarged, shrunk
from ..filters.extremes import extremes_within, largest_within
from ..projections import need_perspective
from ..regions.before_sky import depth_before_sky
from .depths import Depths, depth_of, known_depths

SHARP_SHARE = 1 / 1500
"""Largest circle that looks sharp, as a share of the image's diagonal (0.029 mm on full frame)."""


def aperture_scale(focus: Tensor | float, f_number: float, focal_length_mm: float, sensor_mm: float, side: int) -> Tensor:
    """The circle's diameter in pixels for a point at infinity: f^2 / (N (focus - f)), times side / sensor.

    Args:
        focus: Focused depth in metres; a number or any shape, which the result has.
        f_number: Focal length divided by the aperture's diameter.
        sensor_mm: Length of the sensor in mm along the image's side of `side` pixels.

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
    """Signed diameters (B, 1, H, W) of the circles in pixels: scale * (1 - focus / depth).

    It is linear in inverse depth, so disparity of unknown scale and shift suffices. Raises ValueError: not (B, 1, H, W).

    Args:
        depth: (B, 1, H, W), positive; infinite is allowed.
        focus: Focused depth in the same unit; a number, or a tensor that broadcasts.
        scale: Diameter in pixels for a point at infinity, from `aperture_scale`.
    """
    check_map(depth, 1, "depth")
    return scale * (1 - focus / depth)


def sharp_range(focus: float, scale: float, circle: float) -> tuple[float, float]:
    """The nearest and farthest depth that look sharp; infinite beyond the hyperfocal distance.

    `scale` is the diameter in pixels for a point at infinity, `circle` the largest one that looks sharp.
    """
    if scale <= circle:
        return focus / (1 + circle / scale) if scale > 0 else 0.0, math.inf
    return focus / (1 + circle / scale), focus / (1 - circle / scale)


class Focused(NamedTuple):
    """Depth of field for one image.

    Attributes:
        circle: (1, 1, H, W) signed diameters in pixels.
        description: The sharp range, e.g. "focus 2.31 m, sharp from 2.02 m to 2.7 m".
    """

    circle: Tensor
    description: str


def focused(estimate: Estimate, image: Tensor, lens: LensOptions) -> Focused:
    """Computes the circles of one image (1, 3, H, W), to whose edges the depth's edges are aligned.

    Raises ValueError: no depth, metres or an f-number without metric depth, or a focus that is impossible with such a lens.
    """
    need_perspective(estimate, "depth of field")
    depths = known_depths(estimate)
    if lens.f_number and not depths.is_metric:
        raise ValueError("an f-number needs depth in metres, and this depth has none: give the blur in percent instead")
    # Pixels at the border of a near object have mixed colours, and belong to the object.
    shown = image.clamp(0, 1)
    soft = depth_before_sky(depths.depth, shown, estimate).reciprocal()
    inverse = sharpened_inverse(soft, edge_radius(*image.shape[-2:]), 1, shown)
    # A single far pixel within a near object would be a hole through which the blurred background shows.
    padded = F.pad(inverse, (2, 2, 2, 2), mode="replicate")  # so that the border's own values stay
    closed, _ = extremes_within(largest_within(padded, 1), 1)
    depths = depths._replace(depth=1 / closed[..., 2:-2, 2:-2])
    distance = depths.at_point(*lens.point) if lens.point else depth_of(depths, lens.focus, lens.unit, "focus")
    side = max(image.shape[-2:])
    if lens.f_number:
        focal_length = lens.focal_length
        if not focal_length:
            along = 0 if estimate.width >= estimate.height else 1
            focal_length = float(assumed_intrinsics(estimate)[0, along, along]) / side * lens.sensor
        scale = float(aperture_scale(distance, lens.f_number, focal_length, lens.sensor, side))
    else:
        span = 1 / depths.nearest - 1 / depths.farthest
        scale = lens.blur / 100 * side / (distance * span) if span * distance > 1e-6 else 0.0
    return Focused(circle_of_confusion(depths.depth, distance, scale), _words(depths, distance, scale, image))


def _words(depths: Depths, distance: float, scale: float, image: Tensor) -> str:
    near, far = sharp_range(distance, scale, SHARP_SHARE * math.hypot(*image.shape[-2:]))
    words = f"focus {depths.describe(distance)}, sharp from {depths.describe(near)} to {depths.describe(far)}"
    if not depths.is_metric:
        return f"{words}; 0 % is the near end, 100 % the far end"
    misses = far < depths.nearest or near > depths.farthest
    if not 0.99 * depths.nearest <= distance <= 1.01 * depths.farthest:
        sharp = ", nothing in it is sharp" if misses else ""
        words += f"; the scene reaches from {depths.nearest:.3g} to {depths.farthest:.3g} m{sharp}"
    return words


MAX_ROTATION = 360000.0
# (largest radius in pixels, how many times smaller the layer is made)
_SIZES = ((4.0, 1), (16.0, 2), (48.0, 4))
LARGEST_STEP = 8
# Kernel side up to which OpenCV convolves directly, in half the time of a convolution; beyond, its FFT leaves traces.
_DIRECT = 11


def aperture_kernel(radius: float, blades: int = 0, rotation: float = 0.0) -> Tensor:
    """The image of an out-of-focus point light, as a convolution kernel: (n, n) float32 weights, n odd, with sum 1, antialiased.

    Args:
        radius: Radius of the circle in pixels. Negative radii, in front of the focus, rotate the shape by 180 degrees.
        blades: Aperture blades: 3 and more make a polygon with its corners on the circle, fewer a disc.
        rotation: Rotation of the polygon in degrees.

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
    """Blurs a layer (B, C, H, W) by `aperture_kernel` with zero padding. The sum is preserved, except across the border.

    The layer is premultiplied by coverage; H and W are multiples of `size_step(radius)`.
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
