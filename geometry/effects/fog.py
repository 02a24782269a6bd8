"""Fog: attenuates the scene's light and adds the fog's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...options.checks import check_not_negative
from ...options.effects import FogOptions
from ...utils import constant, in_float32, vector_lengths
from ..assumptions import assumed_intrinsics
from ..camera import pixel_rays, rays_of_pixels
from ..checks import check_image, check_map
from ..edges.depth_edges import edge_radius, sharpen_known_depth
from ..estimate import Estimate
from ..images.srgb import linear_to_srgb, srgb_to_linear
from ..projections import need_perspective
from ..regions.before_sky import land_before_sky
from ..regions.sky import describe_sky, predicted_sky, sky_alpha
from .depths import known_depths

# Distance of the sky in the unit of depth; and the largest exponent.
_SKY, _STEEPEST = 1e6, 60.0


def fog_of(
    estimate: Estimate, image: Tensor, fog: FogOptions, sky: Tensor | bool = True, alpha: Tensor | None = None
) -> tuple[Tensor, Callable[..., str], tuple[Tensor, ...]]:
    """Computes the transmittance of the fog for one image, a function that describes it, and the function's arguments, on the device.

    Args:
        estimate: With depth, of one image, at its size. Without metres, the near end of the scene is at 1.
        image: (1, 3, H, W), to whose edges the depth's edges are aligned.
        fog: Density and falloff; colour and sky are ignored.
        sky: (1, 1, H, W) in [0, 1], each pixel's share of sky, which is infinitely far; True = detect sky, False = no sky. Other pixels
            without depth get the depth of their surroundings, and so does land that the network predicted to be sky.
        alpha: (1, 1, H, W) in [0, 1], each pixel's weight in the description; None = 1.

    Returns:
        (1, 1, H, W) transmittance. The function returns a line such as "fog over 0.8 to 6.2 m, 31 % of the light is the fog's; sky: 9 % of
        the image", with the scene's near and far end.

    Raises:
        ValueError: No depth.
    """
    need_perspective(estimate, "fog")
    estimate, shown = estimate.in_float32(), image.float().clamp(0, 1)
    depths, camera = known_depths(estimate), assumed_intrinsics(estimate)
    depth = sharpen_known_depth(depths.depth, edge_radius(*image.shape[-2:]), image=shown)
    share, hole, is_clear = None, depths.hole, estimate.mask is not None and depths.is_whole
    if sky is not False and not is_clear:
        predicted = predicted_sky(estimate)
        hole = hole | predicted
        share = sky_alpha(shown, estimate, predicted) if sky is True else None
    if isinstance(sky, Tensor):
        share = sky.to(depth)
        hole = hole | (share > 0.5)
    # A detected, not predicted, sky has less exact edges than the depth. Without holes there is nothing to fill.
    land = depth if is_clear and share is None else land_before_sky(depth, hole)
    rays = rays_of_pixels(camera.to(depth), *depth.shape[-2:])
    thickness = (fog.density, fog.start, fog.height_falloff)
    through = _transmitted(land, rays, *thickness)
    if share is not None:
        through = torch.lerp(through, _transmitted(torch.full_like(depth, torch.inf), rays, *thickness), share)
    unit = "m" if depths.is_metric else "times the near end's distance"
    clear = through.mean() if alpha is None else (through * alpha).sum() / alpha.sum()

    def say(clear: float, sky: float = 0.0) -> str:
        reach = f"fog over {depths.nearest:.3g} to {depths.farthest:.3g} {unit}"
        return "; ".join(filter(None, (f"{reach}, {100 * (1 - clear):.0f} % of the light is the fog's", describe_sky(sky))))

    return through, say, (clear,) if share is None else (clear, (share if alpha is None else share * alpha).mean())


def fog_transmittance(
    depth: Tensor, intrinsics: Tensor, density: float, *, start: float = 0.0, falloff: float = 0.0, sky: Tensor | None = None
) -> Tensor:
    """The transmittance of each pixel.

    Args:
        depth: (B, 1, H, W) planar depth, positive and finite.
        intrinsics: (B, 3, 3), pixels.
        density: Extinction per unit of depth, at the camera's height.
        start: Distance from the camera at which the fog begins.
        falloff: Rate at which fog thins upwards: density * exp(-falloff * height above the camera), for a level camera.
        sky: (B, 1, H, W) bool, infinitely far pixels; None = no pixels.

    Returns:
        (B, 1, H, W) in [0, 1]: exp(-density * distance along the ray beyond the start); 0 in the sky, unless the fog thins upwards.

    Raises:
        ValueError: Shapes that do not fit, or a negative number.

    Source:
        The law of Bouguer, Lambert and Beer; its integral along a ray through an exponential atmosphere: I. Quilez, "Better fog" (2010).
    """
    check_map(depth, 1, "depth")
    for name, value in (("density", density), ("start", start), ("falloff", falloff)):
        check_not_negative(name, value)
    rays = pixel_rays(intrinsics.to(depth.dtype), *depth.shape[-2:])
    return _transmitted(depth if sky is None else torch.where(sky, torch.inf, depth), rays, density, start, falloff)


def _transmitted(depth: Tensor, rays: Tensor, density: float, start: float, falloff: float) -> Tensor:
    """`fog_transmittance` along pixel rays, for depth that may be infinite."""
    length = vector_lengths(rays)
    if falloff == 0:
        # Without fog the sky shines through, too.
        return torch.exp((depth * length).sub_(start).clamp_(min=0).mul_(-density)) if density else torch.ones_like(depth)
    through = (depth * length).clamp_(max=_SKY).sub_(start).clamp_(min=0)
    rise = -falloff * rays[:, 1:2] / length
    at_start = torch.exp((-rise * start).clamp(max=_STEEPEST))
    exponent = rise * through
    mean = torch.where(exponent.abs() < 1e-4, 1 - exponent / 2, -torch.expm1((-exponent).clamp(max=_STEEPEST)) / exponent)
    return torch.exp(-density * at_start * mean * through)


def add_fog(image: Tensor, transmittance: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Adds fog to the image.

    Args:
        image: (B, 3, H, W) sRGB in [0, 1]; HDR images exceed 1.
        transmittance: (B, 1, H, W) in [0, 1], from `fog_transmittance`.
        colour: Colour of opaque fog; linear R, G, B.

    Returns:
        (B, 3, H, W) sRGB; the image itself where transmittance is 1.

    Raises:
        ValueError: Maps of wrong shapes, or an image of other values.
    """
    check_image(image)
    check_map(transmittance, 1, "transmittance", like=image)
    return foggy(image, transmittance, colour)


@in_float32
def foggy(image: Tensor, transmittance: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """`add_fog` without checks, which would synchronise a GPU."""
    own = constant(image, tuple(colour)).view(1, 3, 1, 1)
    mixed = torch.lerp(own, srgb_to_linear(image), transmittance)
    return torch.where(transmittance < 1, linear_to_srgb(mixed), image)
