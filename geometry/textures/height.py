"""Integrates normals to a height field and derives normals from one, orthographic, in pixels."""

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
from ..kinds import Axes
from ..valid import valid_normals
from .slopes import adjoint, border_share, integrated, mirrored_slopes, slopes_of, solved

logger = logging.getLogger(__name__)

MAX_SLOPE = 10.0
"""Steepest slope, 84 degrees: steeper normals, and those that face away, are clamped to it."""

MAX_PIXELS = 2**26
"""Largest map, 8192 x 8192: integrating it takes 4 GB, with holes 9 GB, and its trend 3 GB."""

# Larger maps are integrated in float32, with an error of 0.0001 pixels at 1024 x 1024: 63 bytes a pixel instead of 125.
_EXACT_PIXELS = 2**24

# Weight of unknown slopes: smooths the height there, at little cost to known ones.
_HOLE_WEIGHT = 1e-3
_ITERATIONS = 16
_PRECISION = 1e-4
# Required ratio of residuals for the spline derivative to be chosen.
_BETTER = 0.98
# What rounding to float32 leaves of slopes.
_ROUNDING = 1e-5
# Side in pixels of the sample on which the derivative is chosen.
_SAMPLE = 1024
# Mean channel difference from which an image is not grey.
_COLOURED = 0.05
# Mean slope of a tile by 8-bit rounding: half a level of 255, doubled for a margin.
_LEVEL = 0.01


def normals_to_slopes(normals: Tensor, axes: Axes | str = Axes.OPENGL) -> Tensor:
    """The slopes of a surface.

    Args:
        normals: (B, 3, H, W) vectors of any length.

    Returns:
        (B, 2, H, W): change of height a pixel to the right, and downwards; no steeper than `MAX_SLOPE`, 0 where there is no direction.
    """
    across, up, towards = unit_normals(convert_normals(normals, axes, Axes.OPENGL)).split(1, 1)
    least = torch.hypot(across, up) / MAX_SLOPE
    return torch.cat((-across, up), 1) / torch.maximum(towards, least).clamp(min=torch.finfo(normals.dtype).tiny)


def slopes_to_normals(slopes: Tensor) -> Tensor:
    """(B, 2, H, W) slopes as (B, 3, H, W) unit normals in OPENGL axes."""
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
    """Integrates normals: the height whose slopes differ least from theirs, in the sense of least squares, everywhere at once.

    Args:
        normals: (B, 3, H, W) unit vectors, seen straight on (no perspective).
        weight: (B, 1, H, W) bool, where they can be trusted; None = wherever they have a direction. Elsewhere the height goes on smoothly.
        borders: One of `BORDERS`.
        level: Whether the mean slope of valid pixels is taken out first, as that of a wall photographed at an angle.
        flatten: A shape of this width in pixels becomes half as high, wider ones flatter (screened Poisson); 0 = all stay.
        derivative: One of `DERIVATIVES`: "spline" for normals of surfaces, rendered, baked or a network's; "central" for normals that were
            made of a height by differences of its pixels. Or `AUTO`: whichever leaves less of the slopes unexplained.

    Returns:
        (B, 1, H, W) in pixels, larger = nearer the viewer, mean 0. `height_to_normals` of it gives the normals back as far as any height
        has them, and `normals_to_height(height_to_normals(height))` the height, but for its mean and the finest checkerboards (1 % of all
        that fits into the map), which slopes at pixels do not tell.

    Raises:
        ValueError: Wrong shapes or names, too many pixels, or seamless borders of normals that lean to one side as a whole.

    Source:
        R. Frankot and R. Chellappa (1988) with seamless borders; T. Simchony, R. Chellappa, M. Shao (1990) with free ones, here with the
        discrete derivative that `height_to_normals` takes; P. Bhat and others, "Fourier analysis of the 2D screened Poisson equation"
        (2008). With holes: conjugate gradients, preconditioned by the same transforms.
    """
    check_choice("derivative", derivative, (AUTO, *DERIVATIVES))
    check_range("flatten", flatten, 0, 1e6)
    known = known_normals(normals, weight, borders)
    pairs = zip(normals.split(1), known.split(1), strict=True)
    return torch.cat([_integrated(image, where, axes, borders, level, flatten, derivative) for image, where in pairs])


def height_to_normals(height: Tensor, *, borders: str = FREE, derivative: str = CENTRAL) -> Tensor:
    """Unit normals of a height: the exact inverse of `normals_to_height`.

    Args:
        height: (B, 1, H, W) in pixels, larger = nearer the viewer.
        borders: One of `BORDERS`.
        derivative: One of `DERIVATIVES`.

    Returns:
        (B, 3, H, W) in OPENGL axes.

    Raises:
        ValueError: Wrong shape or names, or too many pixels.
    """
    check_map(height, 1, "height")
    check_choice("derivative", derivative, DERIVATIVES)
    _check(height, borders)
    exact = height if derivative == CENTRAL else height.to(exact_dtype(height.device))
    return slopes_to_normals(slopes_of(exact, borders == SEAMLESS, derivative).to(height.dtype))


def height_to_image(height: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A height as an image, the highest white; a batch shares one range.

    Args:
        height: (B, 1, H, W) in pixels.
        known: (B, 1, H, W) bool, what the range is of; None = everything.

    Returns:
        (B, 1, H, W) in [0, 1], and how many pixels lie between black and white, (); a flat height is mid grey of range 0.
    """
    measured = torch.isfinite(height) if known is None else known & torch.isfinite(height)
    measured = measured | ~measured.any()
    whole = height.nan_to_num(0.0, 0.0, 0.0)
    low, high = whole.where(measured, torch.inf).amin(), whole.where(measured, -torch.inf).amax()
    span = high - low
    share = (whole - low) / torch.where(span > 0, span, 1)
    return torch.where(span > 0, share.clamp(0, 1), 0.5), span


def image_to_height(image: Tensor, height_range: float) -> Tensor:
    """The height that an image shows.

    Args:
        image: (B, C, H, W) in [0, 1], white = high; of colours their mean.
        height_range: Pixels between black and white.

    Returns:
        (B, 1, H, W) in pixels.
    """
    check_range("height_range", height_range, 0, 1e6)
    return image.mean(1, keepdim=True) * height_range


def grey_heights(image: Tensor, known: Tensor, name: str) -> Tensor:
    """The levels of a height map. The log says where it is coloured, and so is none.

    Args:
        image: (B, C, H, W), white = high.
        known: (B, 1, H, W) bool, where it has values.
        name: Of the map, for the log.

    Returns:
        (B, 1, H, W), of colours their mean; NaN where the map has no values.
    """
    spread = (image.amax(1) - image.amin(1)).where(known[:, 0], 0)
    if (spread.sum() / known.sum()).item() > _COLOURED:
        logger.warning(
            "%s is coloured, and a height map is grey; Normal to Height, or `depth-normal texture height`, makes one of a normal map", name
        )
    return image.mean(1, keepdim=True).where(known, torch.nan)


def check_size(height: int, width: int) -> None:
    """Refuses maps that are too large, before memory is taken for them.

    Raises:
        ValueError: Says which size is accepted.
    """
    if height * width > MAX_PIXELS:
        share = math.sqrt(MAX_PIXELS / (height * width))
        raise ValueError(
            f"the map has {width}x{height} pixels, more than {MAX_PIXELS} together; "
            f"make it {int(width * share)}x{int(height * share)} or less"
        )


def known_normals(normals: Tensor, weight: Tensor | None, borders: str) -> Tensor:
    """Checks the normals of a material and finds where they are known: (B, 1, H, W) bool.

    Raises:
        ValueError: Wrong shapes, unknown borders, or too many pixels.
    """
    check_map(normals, 3, "normals")
    _check(normals, borders)
    known = valid_normals(normals)
    check_mask(weight, known)
    return known if weight is None else known & weight


def _check(maps: Tensor, borders: str) -> None:
    check_choice("borders", borders, BORDERS)
    check_size(maps.shape[-2], maps.shape[-1])


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
    """The derivative that leaves less of the slopes unexplained, in the middle of a large map.

    Both explain slopes along a single axis; that counts as central differences.
    """
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
    """Refuses normals with a mean slope: a seamless height cannot have one."""
    right, down = mean.flatten().tolist()
    steepest = math.hypot(right, down)
    if steepest > _LEVEL and min(size) > 1:
        raise ValueError(
            f"the normals lean by {math.degrees(math.atan(steepest)):.1f} degrees on average (slope {right:+.3f} to the right, "
            f"{-down:+.3f} up), and a seamless height cannot: switch level on to take that out, or choose free borders"
        )


def _around_holes(known: Tensor, target: Tensor, seamless: bool, derivative: str, screening: float) -> Tensor:
    """Least squares where slopes are only partly valid, by conjugate gradients."""
    weight = torch.where(known, 1.0, _HOLE_WEIGHT).to(target.dtype)

    def applied(height: Tensor) -> Tensor:
        return adjoint(weight * mirrored_slopes(height, seamless, derivative), seamless, derivative) + screening * height

    residual = adjoint(weight * target, seamless, derivative)
    solution = torch.zeros_like(residual)
    direction = step = solved(residual, seamless, derivative, screening=screening)
    energy = first = (residual * step).sum()
    for _ in range(_ITERATIONS):
        turned = applied(direction)
        length = energy / (direction * turned).sum().clamp(min=torch.finfo(energy.dtype).tiny)
        solution = solution + length * direction
        residual = residual - length * turned
        step = solved(residual, seamless, derivative, screening=screening)
        energy, before = (residual * step).sum(), energy
        # A GPU answers sooner than a step is launched.
        if not bool(energy > first * _PRECISION**2):
            break
        direction = step + energy / before.clamp(min=torch.finfo(energy.dtype).tiny) * direction
    return solution
