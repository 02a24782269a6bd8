"""Lamps: their parameters for shading, and their placement by angles or by pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...options.checks import check_choice, check_not_negative, check_range
from ...options.lights import DIRECTIONAL, KINDS, POINT, LightOptions
from ...utils import constant, dot_products
from ..camera import pixel_to_ray
from ..images.srgb import colour_to_linear

NEAREST_LAMP = 0.05
"""Minimum distance of a point light from a surface."""
# Of a lamp's angular radius.
_LEAST_SINE = 1e-12


@dataclass(frozen=True)
class Light:
    """A lamp.

    Attributes:
        position: (x, y, z) in OPENGL camera axes: a point light's position in the unit of depth, or the direction towards a directional
            light, of any length.
        is_point: True: a point light with inverse-square falloff. False: infinitely far.
        colour: Linear R, G, B; (1, 1, 1) is white.
        intensity: 1 shows a surface that faces the lamp (a point light: at distance 1) as bright as the image is.
        size: Diameter in the unit of depth; for a directional light, at distance 1 (the sun: 0.009). 0 = hard shadows and a hard
            terminator.
        shadow: Darkness of the lamp's shadows, 0 to 1; None = the value common to all lamps.

    Raises:
        ValueError: A number that is not finite, a negative colour, intensity or size, a shadow beyond 1, or a zero direction.
    """

    position: tuple[float, float, float]
    is_point: bool = False
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    intensity: float = 1.0
    size: float = 0.0
    shadow: float | None = None

    def __post_init__(self) -> None:
        for value in self.colour:
            check_not_negative("colour", value)
        _check_lamp(self)
        if not all(map(math.isfinite, self.position)):
            raise ValueError(f"the light's place is {self.position}; every number must be finite")
        if not self.is_point and not any(self.position):
            raise ValueError("the light's direction is (0, 0, 0), which points nowhere; give (0, 0, 1) for a light beside the viewer")


def _check_lamp(lamp: Light | LightPlan) -> None:
    """Refuses invalid intensity, size and shadow."""
    check_not_negative("intensity", lamp.intensity)
    check_not_negative("size", lamp.size)
    if lamp.shadow is not None:
        check_range("shadow", lamp.shadow, 0, 1)


@dataclass(frozen=True)
class LightPlan:
    """A lamp that is placed in any image, by angles or by a position in the image.

    Attributes:
        kind: "directional" or "point".
        azimuth, elevation: Angles of a directional light, as in `light_direction`.
        x, y: A point light's position from left (0) to right (1) and from top to bottom; may lie outside.
        depth: A point light's distance from the viewer, in the unit of depth.
        colour, intensity, size, shadow: As `Light`.

    Raises:
        ValueError: An unknown kind, an elevation beyond 90 degrees, a lamp behind the viewer, a negative intensity or
            size, or a shadow beyond 1.
    """

    kind: str = DIRECTIONAL
    azimuth: float = 135.0
    elevation: float = 40.0
    x: float = 0.3
    y: float = 0.25
    depth: float = 0.6
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    intensity: float = 1.0
    size: float = 0.0
    shadow: float | None = None

    def __post_init__(self) -> None:
        check_choice("light", self.kind, KINDS)
        _check_lamp(self)
        if self.kind == DIRECTIONAL:
            check_range("elevation", self.elevation, -90, 90)
        elif not 0 < self.depth < math.inf:
            raise ValueError(f"the light stands at depth {self.depth}; accepted: above 0, which is before the viewer")

    @classmethod
    def of(cls, options: LightOptions) -> LightPlan:
        """The lamp of a user's options."""
        place = (options.azimuth, options.elevation, options.light_x, options.light_y, options.light_depth)
        return cls(options.light, *place, colour_to_linear(options.colour), options.intensity, options.light_size, options.shadows)

    def placed(self, intrinsics: Tensor, height: int, width: int) -> Light:
        """Places the lamp in front of a camera with intrinsics (1, 3, 3). Raises as `Light`."""
        if self.kind == POINT:
            position = light_position(self.x * width - 0.5, self.y * height - 0.5, self.depth, intrinsics)
        else:
            position = light_direction(self.azimuth, self.elevation)
        return Light(position, self.kind == POINT, self.colour, self.intensity, self.size, self.shadow)


def light_direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """The direction towards a lamp: a unit vector in OPENGL axes.

    Args:
        azimuth: Degrees around the image: 0 = from the right, 90 = from above, 180 = from the left, 270 = from below.
        elevation: Degrees out of the image's plane: 0 = grazing, 90 = from the viewer, negative = from behind the scene.
    """
    around, out = math.radians(azimuth), math.radians(elevation)
    return math.cos(out) * math.cos(around), math.cos(out) * math.sin(around), math.sin(out)


def light_position(column: float, row: float, depth: float, intrinsics: Tensor) -> tuple[float, float, float]:
    """The position (x, y, z) of a lamp that appears at a pixel, in or outside the image, in OPENGL axes and the unit of `depth`.

    Raises ValueError: intrinsics that are not (1, 3, 3), or do not fit.
    """
    intrinsics = intrinsics.cpu()  # a few numbers, one synchronisation
    x, y, _ = (pixel_to_ray(intrinsics.new_tensor([[[column, row]]]), intrinsics)[0, 0] * depth).tolist()
    return x, -y, -depth


def towards(light: Light, points: Tensor) -> tuple[Tensor, Tensor | float]:
    """The direction from points (B, 3, H, W), OPENGL axes, to a lamp, and the intensity of its light there.

    Unit vectors, (B, 3, H, W) or for all points (1, 3, 1, 1), and strengths, (B, 1, H, W) or a number for all.

    Source:
        On the axis of a disk of radius r light falls as 1 / (distance^2 + r^2).
    """
    if not light.is_point:
        length = max(math.hypot(*light.position), 1e-12)
        x, y, z = (each / length for each in light.position)
        return placed_on((x, y, z), points), light.intensity
    way = placed_on(light.position, points) - points
    squared = dot_products(way, way).clamp_(min=NEAREST_LAMP**2)
    return way * torch.rsqrt(squared), light.intensity / (squared + (light.size / 2) ** 2)


def received_share(light: Light, cosines: Tensor, strengths: Tensor | float) -> Tensor:
    """The share of a lamp's light that a surface receives: the cosine, adjusted for the part of a sized lamp above the horizon.

    With the cosine c (B, 1, H, W) of the angle between the normal and the direction to the lamp's middle, and the sine s of its angular
    radius, the share is c above s, 0 below -s, and (c + s)^2 / (4 s) between. That is within 0.011 of the integral over a disk up to
    s = 0.45, and within 0.02 up to 0.75; larger lamps light less than a disk would where they touch the horizon. `strengths` are from
    `towards`.
    """
    if light.size == 0 or light.intensity == 0:
        return cosines.clamp(min=0)
    radius = light.size / 2
    sine = max(radius / math.hypot(1, radius), _LEAST_SINE)
    if isinstance(strengths, Tensor):
        sine = (radius * (strengths / light.intensity).sqrt()).clamp_(min=_LEAST_SINE)
    above = (cosines + sine).clamp_(min=0)
    low = above.clamp(max=2 * sine)
    return above - low + low * low / (4 * sine)


def placed_on(numbers: tuple[float, float, float], like: Tensor) -> Tensor:
    """Three numbers as (1, 3, 1, 1) on the device of a map, without synchronising it."""
    return constant(like, tuple(numbers)).view(1, 3, 1, 1)
