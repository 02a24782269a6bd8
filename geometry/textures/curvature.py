"""Mean curvature of normals as a grey image: mid grey where flat, white on edges, black in crevices."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_range
from ..checks import check_map
from ..conventions import convert_normals
from ..filters.transforms import blurred_where
from ..kinds import Axes
from ..levels import measure_range_of_samples
from .height import FREE, SEAMLESS, known_normals
from .slopes import slopes_of

MAX_SCALE = 512.0

# Percentiles for the automatic strength: the stronger end saturates 1 % of the pixels.
_ENDS = (1.0, 99.0)
# Smaller bends are rounding errors: a plane stays grey.
_FLAT = 1e-4


class CurvatureMaps(NamedTuple):
    """Curvature as three images, (B, 1, H, W) in [0, 1] each."""

    curvature: Tensor
    """0.5 flat, 1 convex, 0 concave."""
    edges: Tensor
    """White where it is convex, black where it is flat or concave."""
    cavities: Tensor
    """White where it is concave, black where it is flat or convex."""


def mean_curvature(
    normals: Tensor, axes: Axes | str = Axes.OPENGL, *, scale: float = 1.0, weight: Tensor | None = None, borders: str = FREE
) -> Tensor:
    """Half the divergence of the normals across the image.

    Args:
        normals: (B, 3, H, W) unit vectors of an orthographic view.
        scale: Bends narrower than this, in pixels, are smoothed away; 0 to `MAX_SCALE`.
        weight: (B, 1, H, W) bool, valid pixels; None = all with a direction. Curvature is 0 at and beside invalid pixels.
        borders: "free" or "seamless".

    Returns:
        (B, 1, H, W) in 1 / pixels: 1 / R on a sphere of radius R that bulges towards the viewer, -1 / R in a bowl, half as much on a
        cylinder.

    Raises:
        ValueError: Wrong shapes, unknown borders, too many pixels, or a scale out of range.
    """
    check_range("scale", scale, 0, MAX_SCALE)
    known = known_normals(normals, weight, borders)
    share, across = known.to(normals.dtype), convert_normals(normals, axes, Axes.OPENGL)[:, :2]
    # Central differences smooth like a Gaussian of variance 1, so the blur adds the rest.
    sigma = max(scale * scale - 1, 0) ** 0.5
    smooth = blurred_where(torch.where(known, across, 0), share, sigma, borders == SEAMLESS)
    right, up = smooth.split(1, 1)
    bend = slopes_of(right, borders == SEAMLESS)[:, :1] - slopes_of(up, borders == SEAMLESS)[:, 1:]
    # All eight neighbours must be known; pixels beyond the map's border count as known.
    return torch.where(F.max_pool2d((~known).float(), 3, 1, 1) == 0, 0.5 * bend, 0)


def curvature_maps(curvature: Tensor, *, scale: float = 1.0, strength: float = 0.0, weight: Tensor | None = None) -> CurvatureMaps:
    """Renders curvature (B, 1, H, W) in 1 / pixels as images, without synchronising the device.

    Args:
        scale: Reference length in pixels: curvature times this is an angle in radians.
        strength: Contrast relative to one radian over `scale`; 0 = automatic: 1 % of each image is saturated, at the end that bends more.
        weight: (B, 1, H, W) bool, pixels for the automatic strength; None = all.
    """
    check_map(curvature, 1, "curvature")
    check_range("strength", strength, 0, 1e6)
    bend = curvature * max(scale, 1.0)
    if strength:
        shown = bend * strength
    else:
        measured = torch.ones_like(bend, dtype=torch.bool) if weight is None else weight
        low, high = measure_range_of_samples(bend, measured, _ENDS)
        largest = torch.maximum(low.abs(), high.abs())
        shown = bend / torch.where((largest > _FLAT) & (largest < torch.inf), largest, 1)
    shown = shown.clamp(-1, 1)
    return CurvatureMaps(0.5 + 0.5 * shown, shown.clamp(min=0), (-shown).clamp(min=0))
