"""Integrates normals to a height field, and derives normals from one. Views are orthographic, heights are in pixels."""

from __future__ import annotations

import logging
import math
from functools import partial

import torch
from torch import Tensor

from ...options.checks import check_choice, check_range
from ...options.textures import AUTO, BORDERS, CENTRAL, DERIVATIVES, FREE, SEAMLESS, SPLINE
from ...utils import exact_dtype
from ..checks import check_map, check_mask
from ..conventions import convert_normals, unit_normals
from ..filters.transforms import conjugate_gradients
from ..kinds import Axes
from ..valid import valid_normals
from .slopes import adjoint, border_share, integrated, mirrored_slopes, slopes_of, solved

logger = logging.getLogger(__name__)

MAX_SLOPE = 10.0
"""The steepest slope, 84 degrees. Steeper normals, and normals that face away, are clamped to it."""

MAX_PIXELS = 2**26
"""The largest map, 8192 x 8192: integrating it takes 4 GB, with holes 9 GB, and its trend 3 GB."""

# Larger maps are integrated in float32: 63 bytes per pixel instead of 125, with an error of 0.0001 pixels at 1024 x 1024.
_EXACT_PIXELS = 2**24

# Weight of unknown slopes, which are 0: it smooths the height there and hardly affects known slopes.
_HOLE_WEIGHT = 1e-3
# Conjugate gradients: most iterations, and the relative residual at which they end.
_ITERATIONS = 16
_PRECISION = 1e-4
# The spline derivative is chosen if its residual is smaller than the central one's by this factor.
_BETTER = 0.98
# Relative error of slopes from normals in float32.
_ROUNDING = 1e-5
# Longest side in pixels of the part of a map on which the derivative is chosen.
_SAMPLE = 1024
# Mean difference between colour channels above which an image is not grey.
_COLOURED = 0.05
# Largest mean slope that 8-bit rounding leaves in seamless normals: half a level of 255, doubled as a margin.
_LEVEL = 0.01


def normals_to_slopes(normals: Tensor, axes: Axes | str = Axes.OPENGL) -> Tensor:
    """Converts normals (B, 3, H, W) to rises to the right and downwards (B, 2, H, W), `MAX_SLOPE` at most; 0 without a direction."""
    across, up, towards = unit_normals(convert_normals(normals, axes, Axes.OPENGL)).split(1, 1)
    least = torch.hypot(across, up) / MAX_SLOPE
    return torch.cat((-across, up), 1) / torch.maximum(towards, least).clamp(min=torch.finfo(normals.dtype).tiny)


def slopes_to_normals(slopes: Tensor) -> Tensor:
    """Converts slopes (B, 2, H, W), to the right and downwards, to unit normals (B, 3, H, W) in OPENGL axes."""
    right, down = slopes.split(1, 1)
    return unit_normals(torch.cat((-right, down, torch.ones_like(right)), 1))


def normals_to_height(
    normals: Tensor,
    axes: Axes | str = Axes.OPENGL,
    *,
    weight: Tensor | None = None,
    borders: str = FREE,
    level: bool = False,
    flatten: float = 0.0,
    derivative: str = AUTO,
) -> Tensor:
    """Integrates normals: the height whose slopes fit theirs best, by least squares over the whole map.

    Args:
        normals: (B, 3, H, W) unit vectors of an orthographic view.
        axes: Their camera axes.
        weight: (B, 1, H, W) bool, valid pixels; None = all with a direction. The height continues smoothly over other pixels.
        borders: One of `BORDERS`.
        level: Whether to subtract the mean slope of valid pixels first, such as that of a wall photographed at an angle.
        flatten: Width in pixels of shapes whose height is halved; wider shapes become flatter (screened Poisson). 0 = off.
        derivative: One of `DERIVATIVES`: "spline" for normals of surfaces, whether rendered, baked or predicted; "central" for normals
            computed from a height map by pixel differences. `AUTO` takes the one with the smaller residual.

    Returns:
        (B, 1, H, W) in pixels, larger = nearer the viewer, mean 0. Its `height_to_normals` are the given normals, as far as these are
        integrable. Conversely, `normals_to_height(height_to_normals(height))` is the height without its mean and without the finest
        checkerboards (1 % of the coefficients), which slopes at pixels do not determine.

    Raises:
        ValueError: Wrong shapes, unknown names, too many pixels, or normals with a mean slope for seamless borders.

    Source:
        R. Frankot and R. Chellappa (1988) for seamless borders; T. Simchony, R. Chellappa, M. Shao (1990) for free borders, here with the
        discrete derivative of `height_to_normals`; P. Bhat and others, "Fourier analysis of the 2D screened Poisson equation" (2008).
        Holes: conjugate gradients, preconditioned by the same transforms.
    """
    check_choice("derivative", derivative, (AUTO, *DERIVATIVES))
    check_range("flatten", flatten, 0, 1e6)
    known = known_normals(normals, weight, borders)
    pairs = zip(normals.split(1), known.split(1), strict=True)
    return torch.cat([_integrated(image, where, axes, borders, level, flatten, derivative) for image, where in pairs])


def height_to_normals(height: Tensor, *, borders: str = FREE, derivative: str = CENTRAL) -> Tensor:
    """The normals (B, 3, H, W), OPENGL axes, of a height field (B, 1, H, W) in pixels: the inverse of `normals_to_height`.

    Raises ValueError: wrong shape, unknown borders or derivative, or too many pixels.
    """
    check_maps(height, 1, "height", borders)
    check_choice("derivative", derivative, DERIVATIVES)
    exact = height if derivative == CENTRAL else height.to(exact_dtype(height.device))
    return slopes_to_normals(slopes_of(exact, borders == SEAMLESS, derivative).to(height.dtype))


def height_to_image(height: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scales heights (B, 1, H, W) in pixels to grey levels in [0, 1], the highest white. A batch shares one range.

    Heights that are not finite become 0 pixels; `known` pixels determine the range (None = all). Returns also the height range () in pixels
    between black and white. A flat height becomes 0.5, with a range of 0.
    """
    measured = torch.isfinite(height) if known is None else known & torch.isfinite(height)
    measured = measured | ~measured.any()
    whole = height.nan_to_num(0.0, 0.0, 0.0)
    low, high = whole.where(measured, torch.inf).amin(), whole.where(measured, -torch.inf).amax()
    span = high - low
    share = (whole - low) / torch.where(span > 0, span, 1)
    return torch.where(span > 0, share.clamp(0, 1), 0.5), span


def image_to_height(image: Tensor, height_range: float) -> Tensor:
    """Converts grey levels (B, C, H, W), white = high, to heights (B, 1, H, W), `height_range` pixels between black and white.

    Channels are averaged. Raises ValueError: `height_range` is below 0 or above 1e6.
    """
    check_range("height_range", height_range, 0, 1e6)
    return image.mean(1, keepdim=True) * height_range


def grey_heights(image: Tensor, known: Tensor, name: str) -> Tensor:
    """The channel mean of a map (B, C, H, W), white = high, NaN where not `known`; logs a warning with its `name` if it is coloured."""
    spread = (image.amax(1) - image.amin(1)).where(known[:, 0], 0)
    if (spread.sum() / known.sum()).item() > _COLOURED:
        logger.warning(
            "%s is coloured, and a height map is grey; Normal to Height, or `depth-normal texture height`, makes one of a normal map", name
        )
    return image.mean(1, keepdim=True).where(known, torch.nan)


def check_size(height: int, width: int) -> None:
    """Raises ValueError for more than `MAX_PIXELS` pixels, before memory is allocated; it names the largest size of that shape."""
    if height * width > MAX_PIXELS:
        share = math.sqrt(MAX_PIXELS / (height * width))
        raise ValueError(
            f"the map has {width}x{height} pixels, more than {MAX_PIXELS} together; "
            f"make it {int(width * share)}x{int(height * share)} or less"
        )


def check_maps(maps: Tensor, channels: int, name: str, borders: str = FREE) -> None:
    """Checks maps of a material as `check_map`, their size, and the name of their borders."""
    check_map(maps, channels, name)
    check_size(*maps.shape[-2:])
    check_choice("borders", borders, BORDERS)


def known_normals(normals: Tensor, weight: Tensor | None, borders: str) -> Tensor:
    """Checks normals (B, 3, H, W), size and borders; gives (B, 1, H, W) bool: they have a direction and are in `weight` (None = all)."""
    check_maps(normals, 3, "normals", borders)
    known = valid_normals(normals)
    check_mask(weight, known)
    return known if weight is None else known & weight


def _integrated(normals: Tensor, known: Tensor, axes: Axes | str, borders: str, level: bool, flatten: float, derivative: str) -> Tensor:
    """`normals_to_height` of one image."""
    seamless, whole = borders == SEAMLESS, bool(known.all())
    dtype = exact_dtype(normals.device) if known.numel() <= _EXACT_PIXELS else torch.float32
    slopes = normals_to_slopes(torch.where(known, normals, 0).to(dtype), axes)
    count = known.sum().clamp(min=1)
    mean = slopes.sum((2, 3), keepdim=True) / count
    if level:
        slopes = torch.where(known, slopes - mean, 0)
    elif seamless and whole:
        _check_level(mean, normals.shape[-2:])
    screening = (math.pi / flatten) ** 2 if flatten else 0.0
    if derivative == AUTO:
        derivative = _likeliest(slopes, known, seamless)
    solve = integrated if whole else partial(_around_holes, known)
    height = solve(slopes * border_share(slopes, seamless, derivative), seamless, derivative, screening)
    return (height - height.mean()).to(normals.dtype)


def _likeliest(slopes: Tensor, known: Tensor, seamless: bool) -> str:
    """The derivative with the smaller residual, in the middle of a large map; CENTRAL if both fit, as for slopes along a single axis."""
    if max(slopes.shape[-2:]) > _SAMPLE:
        middle = (..., *(slice(first := max(0, (side - _SAMPLE) // 2), first + _SAMPLE) for side in slopes.shape[-2:]))
        slopes, known, seamless = slopes[middle], known[middle], False
    shares = {way: border_share(slopes, seamless, way) for way in (CENTRAL, SPLINE)}
    heights = solved(torch.cat([adjoint(slopes * share, seamless, way) for way, share in shares.items()], 1), seamless, *shares)
    candidates = [mirrored_slopes(height, seamless, way) / shares[way] for height, way in zip(heights.split(1, 1), shares, strict=True)]
    of_central, of_spline = torch.where(known, torch.stack(candidates) - slopes, 0).square().flatten(1).sum(1)
    rounding = _ROUNDING**2 * slopes.square().sum()
    return SPLINE if bool(of_spline < _BETTER * of_central - rounding) else CENTRAL


def _check_level(mean: Tensor, size: torch.Size) -> None:
    """Raises ValueError for normals with a mean slope, which a seamless height cannot have."""
    right, down = mean.flatten().tolist()
    steepest = math.hypot(right, down)
    if steepest > _LEVEL and min(size) > 1:
        raise ValueError(
            f"the normals lean by {math.degrees(math.atan(steepest)):.1f} degrees on average (slope {right:+.3f} to the right, "
            f"{-down:+.3f} up), and a seamless height cannot: switch level on to take that out, or choose free borders"
        )


def _around_holes(known: Tensor, target: Tensor, seamless: bool, derivative: str, screening: float) -> Tensor:
    """Heights (1, 1, H, W), as `integrated`, of slopes (1, 2, H, W) that are 0 in holes (not `known`), by conjugate gradients."""
    weight = known.to(target.dtype).clamp(min=_HOLE_WEIGHT)

    def applied(height: Tensor) -> Tensor:
        return adjoint(weight * mirrored_slopes(height, seamless, derivative), seamless, derivative) + screening * height

    def inverse(residual: Tensor) -> Tensor:
        return solved(residual, seamless, derivative, screening=screening)

    return conjugate_gradients(applied, adjoint(weight * target, seamless, derivative), inverse, _ITERATIONS, _PRECISION)
