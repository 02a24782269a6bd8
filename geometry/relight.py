"""A picture under another light: Lambert, Blinn-Phong and shadows from its normals and depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import DEFAULT_FOV, depth_to_points, intrinsics_from_fov, pixel_to_ray
from .checks import check_depth, check_intrinsics, check_map, check_mask
from .conventions import convert_normals
from .estimate import Axes

_MAX_STEPS, _PIXELS_A_STEP = 256, 3
# How far behind a surface a ray must pass to be in its shadow, in shares of that surface's depth: 8-bit depth has steps of almost 0.01.
_BIAS = 0.02
_PENUMBRA = 0.02
_BLUR = 0.004
_NEAREST_LAMP = 0.05
# Shadows of things near the border fade over this share of half the picture, as nobody knows what stands beyond it.
_BORDER = 0.1


@dataclass(frozen=True)
class Light:
    """A lamp.

    Attributes:
        position: (x, y, z) in OPENGL camera axes. A point light stands there, in the unit of depth; a directional light lies in this
            direction, of any length.
        is_point: True: it stands somewhere, and its light falls off with the square of the distance. False: it is infinitely far.
        colour: Linear R, G, B; (1, 1, 1) is white.
        intensity: 1 shows a surface that faces the lamp (a point light: at distance 1) as bright as the picture is.

    Raises:
        ValueError: A number that is not finite, a negative colour or intensity, or a direction of no length.
    """

    position: tuple[float, float, float]
    is_point: bool = False
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    intensity: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.position, *self.colour, self.intensity)):
            raise ValueError(f"{self} holds a number that is not finite")
        if min(*self.colour, self.intensity) < 0:
            raise ValueError(f"{self} takes light away; colour and intensity must be 0 or more")
        if not self.is_point and not any(self.position):
            raise ValueError("the light's direction is (0, 0, 0), which points nowhere; give (0, 0, 1) for a light beside the viewer")


def light_direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """The direction towards a lamp, as photographers say it.

    Args:
        azimuth: Degrees around the picture: 0 = from the right, 90 = from above, 180 = from the left, 270 = from below.
        elevation: Degrees out of the picture's plane: 0 = grazing, 90 = from the viewer, negative = from behind the scene.

    Returns:
        (x, y, z), unit length, OPENGL axes.
    """
    around, out = math.radians(azimuth), math.radians(elevation)
    return math.cos(out) * math.cos(around), math.cos(out) * math.sin(around), math.sin(out)


def light_position(column: float, row: float, depth: float, intrinsics: Tensor) -> tuple[float, float, float]:
    """The place of a lamp that is seen at a pixel.

    Args:
        column: In pixels; may lie outside the picture.
        row: In pixels; may lie outside the picture.
        depth: Along the optical axis, in the unit of depth.
        intrinsics: (1, 3, 3), pixels.

    Returns:
        (x, y, z), OPENGL axes, the unit of depth.

    Raises:
        ValueError: Intrinsics that do not fit.
    """
    x, y, _ = (pixel_to_ray(intrinsics.new_tensor([[[column, row]]]), intrinsics)[0, 0] * depth).tolist()
    return x, -y, -depth


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Coded sRGB in [0, 1], a tensor of any shape, as linear light in [0, 1].

    Source:
        IEC 61966-2-1.
    """
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Linear light in [0, 1], a tensor of any shape, as sRGB in [0, 1]: the inverse of `srgb_to_linear`."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def relight(
    picture: Tensor,
    normals: Tensor,
    light: Light,
    *,
    ambient: float = 0.3,
    specular: float = 0.0,
    shininess: float = 32.0,
    shadow: float = 0.0,
    depth: Tensor | None = None,
    intrinsics: Tensor | None = None,
    mask: Tensor | None = None,
    sky: Tensor | None = None,
) -> Tensor:
    """The picture under a new lamp. Its colours are taken for the colours of the surfaces, and light is added in linear space.

    Args:
        picture: (B, 3, H, W) sRGB in [0, 1].
        normals: (B, 3, H, W) unit vectors, OPENGL axes.
        light: The lamp.
        ambient: Share of the picture's own light that stays whatever the lamp; 1 with a lamp of intensity 0 keeps the picture.
        specular: Share of the lamp's light that is mirrored instead of scattered, 0 to 1.
        shininess: Blinn-Phong exponent, 1 to 1000: larger = smaller and brighter highlights.
        shadow: How dark cast shadows are, 0 (none) to 1 (no light of this lamp).
        depth: (B, 1, H, W) planar depth, positive and finite, in the unit of the lamp's position; None = a wall at 1.
        intrinsics: (B, 3, 3), pixels; None = a camera of `DEFAULT_FOV`.
        mask: (B, 1, H, W) bool, False where the picture is to stay as it is; None = light everywhere.
        sky: (B, 1, H, W) bool, True where no shadow can fall (see `sky.find_sky`); None = nowhere.

    Returns:
        (B, 3, H, W) sRGB in [0, 1].

    Source:
        J. Blinn, "Models of light reflection for computer synthesized pictures" (1977).

    Raises:
        ValueError: Maps or intrinsics of the wrong shape or device, depth that is not positive and finite, or a number out of range.
    """
    depth, intrinsics = _complete_inputs(picture, normals, depth, intrinsics, mask)
    check_mask(sky, picture[:, :1])
    for name, value, low, high in (
        ("ambient", ambient, 0, 100),
        ("specular", specular, 0, 1),
        ("shininess", shininess, 1, 1000),
        ("shadow", shadow, 0, 1),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}; expected {low} to {high}")
    points = convert_normals(depth_to_points(depth, intrinsics), Axes.OPENCV, Axes.OPENGL)
    to_light, strength = _towards(light, points)
    received = (normals * to_light).sum(1, keepdim=True).clamp(min=0) * strength
    if shadow > 0:
        cast = cast_shadow(depth, intrinsics, light)
        received = received * (1 - shadow * (cast if sky is None else cast.masked_fill(sky, 0)))
    half = _unit(to_light + _unit(-points))
    facing = (normals * half).sum(1, keepdim=True).clamp(min=0)
    highlight = specular * _highlight_factor(shininess) * facing**shininess
    coloured = received * picture.new_tensor(light.colour).view(1, 3, 1, 1)
    base = srgb_to_linear(picture)
    lit = linear_to_srgb((base * (ambient + (1 - specular) * coloured) + highlight * coloured).clamp(0, 1))
    return lit if mask is None else torch.where(mask, lit, picture)


def cast_shadow(depth: Tensor, intrinsics: Tensor, light: Light, *, thickness: float = 0.3) -> Tensor:
    """Where a thing stands between the surface and the lamp: the depth map is searched along each ray to the lamp.

    Args:
        depth: (B, 1, H, W) planar depth, positive and finite, in the unit of the lamp's position.
        intrinsics: (B, 3, 3), pixels.
        light: The lamp.
        thickness: How far things reach behind what is seen of them, in shares of their depth. A depth map does not say it.

    Returns:
        (B, 1, H, W), 0 (the lamp is seen) to 1 (hidden). Things outside the picture cast no shadow. A directional light's rays are
        searched as far as the surface's own depth.

    Raises:
        ValueError: Maps or intrinsics of the wrong shape, or depth that is not positive and finite.
    """
    check_depth(depth)
    check_intrinsics(intrinsics, depth.shape[0], depth)
    inverse = 1 / depth
    start, end, end_inverse = _screen_rays(depth, intrinsics, light)
    height, width = depth.shape[-2:]
    steps = _step_count(end - start, height, width)
    hidden = torch.zeros_like(depth)
    for step in range(1, steps + 1):
        # Short steps near the surface, where contact shadows begin.
        share = (step / steps) ** 1.5
        column, row = torch.lerp(start, end, share).split(1, 1)
        index = row.round().long().clamp(0, height - 1) * width + column.round().long().clamp(0, width - 1)
        seen = inverse.flatten(1).gather(1, index.flatten(1)).view_as(inverse)
        behind = seen / torch.lerp(inverse, end_inverse, share) - 1
        softness = _PENUMBRA * (1 + 4 * share)
        cover = ((behind - _BIAS) / softness).clamp(0, 1) * ((thickness - behind) / softness).clamp(0, 1)
        from_middle = torch.maximum(((2 * column + 1) / width - 1).abs(), ((2 * row + 1) / height - 1).abs())
        hidden = torch.maximum(hidden, cover * ((1 - from_middle) / _BORDER).clamp(0, 1))
    return _blur(hidden, round(max(height, width) * _BLUR))


def _step_count(ways: Tensor, height: int, width: int) -> int:
    """Steps that are about `_PIXELS_A_STEP` long for rays as long as most are, inside the picture."""
    longest = ways.abs().amax(1).clamp(max=max(height, width))
    return max(1, min(_MAX_STEPS, math.ceil(float(longest.mean()) / _PIXELS_A_STEP)))


def _blur(values: Tensor, radius: int) -> Tensor:
    """Averages over squares, twice, the border repeated: soft rims, and no combs where a step just missed a rim."""
    for _ in range(2):
        values = F.avg_pool2d(F.pad(values, (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1)
    return values


def _highlight_factor(shininess: float) -> float:
    """Normalises a highlight: whatever its size, it reflects exactly the light it receives.

    Source:
        F. Giesen, "Phong and Blinn-Phong normalization factors" (2009), times pi.
    """
    return (shininess + 2) * (shininess + 4) / (8 * (2 ** (-shininess / 2) + shininess))


def _screen_rays(depth: Tensor, intrinsics: Tensor, light: Light) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 2, H, W) where the rays to the lamp start and end, and inverse depth at the end: both are linear on the screen."""
    points = depth_to_points(depth, intrinsics)
    towards, _ = _towards(light, convert_normals(points, Axes.OPENCV, Axes.OPENGL))
    towards = convert_normals(towards, Axes.OPENGL, Axes.OPENCV).expand_as(points)
    if light.is_point:
        lamp = depth.new_tensor(light.position).view(1, 3, 1, 1)
        reach = torch.linalg.vector_norm(convert_normals(lamp, Axes.OPENGL, Axes.OPENCV) - points, dim=1, keepdim=True)
    else:
        reach = depth
    # A ray that comes towards the viewer ends before it passes him.
    reach = torch.minimum(reach, 0.95 * depth / (-towards[:, 2:]).clamp(min=1e-6))
    ends = points + reach * towards
    pixels = torch.einsum("bij,bjhw->bihw", intrinsics.to(depth), ends)
    rows, columns = torch.meshgrid(*(torch.arange(n, device=depth.device, dtype=depth.dtype) for n in depth.shape[-2:]), indexing="ij")
    return torch.stack((columns, rows))[None], pixels[:, :2] / ends[:, 2:], 1 / ends[:, 2:]


def _towards(light: Light, points: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors to the lamp and how strong its light arrives, for points (B, 3, H, W) in OPENGL axes."""
    position = points.new_tensor(light.position).view(1, 3, 1, 1)
    if not light.is_point:
        return _unit(position), points.new_tensor(light.intensity)
    way = position - points
    distance = torch.linalg.vector_norm(way, dim=1, keepdim=True).clamp(min=_NEAREST_LAMP)
    return way / distance, light.intensity / distance**2


def _unit(vectors: Tensor) -> Tensor:
    """Written out, as over channels torch's own is many times slower on a CPU; zero stays zero."""
    x, y, z = vectors.split(1, 1)
    return vectors / (x * x + y * y + z * z).sqrt().clamp(min=1e-12)


def _complete_inputs(
    picture: Tensor, normals: Tensor, depth: Tensor | None, intrinsics: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    check_map(picture, 3, "picture")
    check_map(normals, 3, "normals", like=picture)
    batch, _, height, width = picture.shape
    depth = torch.ones_like(picture[:, :1]) if depth is None else depth
    intrinsics = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=batch).to(picture) if intrinsics is None else intrinsics
    check_depth(depth, like=picture)
    check_intrinsics(intrinsics, batch, picture)
    check_mask(mask, picture[:, :1])
    return depth, intrinsics
