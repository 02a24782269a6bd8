"""Reads normal maps of any program as vectors, and warns about images that do not look like one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ...options.map_images import DXT5NM
from ...utils import split_alpha, vector_lengths
from ..conventions import LOOKED_AT, NO_LENGTH, NormalMapCoding, are_unit_vectors, decode_normal_map
from ..estimate import Estimate
from ..kinds import Axes
from ..valid import are_finite

logger = logging.getLogger(__name__)

# Range of lengths of the vectors 2 c - 1, and the least share of vectors in it. In normal maps it is 98 % or more, even with noise or after
# JPEG compression; in photographs a third to two thirds.
_UNIT = (0.75, 1.25)
_MOST = 0.8
# Colours up to this are black, which stands for a hole.
_BLACK = 1.5 / 255
_COMPRESSED = 0.1
# Colours below minus the first are vectors instead, as resampling overshoots by less. Magnitudes above the second are neither.
_OVERSHOOT, _MOST_STORED = 0.1, 1.5


def normal_map_to_estimate(
    image: Tensor, coding: NormalMapCoding | Axes | str, name: str = "the normal map", known: Tensor | None = None
) -> Estimate:
    """Decodes any program's normal map; the single entry point for normal maps.

    An image that does not look like a normal map is decoded as well, with a logged warning. Textures of
    games have red and green alone, with a constant blue, or height in a smooth alpha. Raises ValueError:
    values beyond [-1.5, 1.5], an unknown coding, "dxt5nm" without alpha, or as `stored_values`.

    Args:
        image: (B, C, H, W), the stored values, C = 1, 3 or 4 (with alpha): colours in [0, 1], or vectors in [-1, 1].
        coding: The axes and channel order of the map; or "dxt5nm": x in alpha and y, upwards, in green.
        name: Name of the map, for the warning and errors.
        known: (B or 1, 1, H, W) bool, pixels with a normal; None = all.

    Returns:
        The estimate at the map's size, with normals in OPENGL axes. Its mask excludes pixels that are not
        `known`, less than half opaque (their number is logged), not finite, black, or vectors of almost no
        length.
    """
    if swizzled := coding == DXT5NM:
        image, coding = _unswizzled(image, name), NormalMapCoding.OPENGL
    colours, trusted = stored_values(_without_height(image, name), known, name)
    lowest = torch.where(trusted, colours, 1).expand(-1, 3, -1, -1).amin((0, 2, 3))
    colours = torch.where(trusted, colours, 0).expand(-1, 3, -1, -1)
    lows, highs = torch.stack((lowest, colours.amax((0, 2, 3)))).tolist()
    low, high = min(lows), max(highs)
    if low < -_MOST_STORED or high > _MOST_STORED:
        raise ValueError(f"the values of {name} go from {low:g} to {high:g}; a normal map stores colours in 0..1, or vectors in -1..1")
    if is_vectors := are_vectors(colours, low):
        trusted = trusted & (vector_lengths(colours) > NO_LENGTH)
        colours = torch.where(trusted, (colours + 1) / 2, 0)
    else:
        trusted = trusted & (colours.amax(1, keepdim=True) > _BLACK)
    colours = colours.clamp(0, 1)
    two_suffice = coding in (NormalMapCoding.OPENGL, NormalMapCoding.DIRECTX)
    if not is_vectors and two_suffice and _lacks_blue(lows, highs):
        if not swizzled:
            logger.info("%s has red and green alone; blue is computed", name, extra={"note": ""})
        blue = (1 - (2 * colours[:, :2] - 1).square().sum(1, keepdim=True)).clamp(min=0).sqrt()
        colours = torch.cat((colours[:, :2], (blue + 1) / 2), 1)
    normals = decode_normal_map(colours, coding)
    if problem := normal_map_problem(colours, normals):
        if image.shape[1] == 4 and _red_is_empty(image):
            problem = f"has no x in red: it is probably in alpha; name the coding {DXT5NM}"
        logger.warning("%s %s", name, problem)
    return Estimate(normals=normals, mask=None if bool(trusted.all()) else trusted)


def _unswizzled(image: Tensor, name: str) -> Tensor:
    """Red and green alone of a map with x in alpha and y in green."""
    colours, x = split_alpha(image)
    if x is None:
        remedy = "name the coding of red and green, or join alpha to the image"
        raise ValueError(f"{name} has no alpha, where {DXT5NM} stores x; {remedy}")
    if not _red_is_empty(colours):
        logger.warning("%s has x in red, it seems, and not in alpha as in %s; name its own coding", name, DXT5NM)
    return torch.cat((x, colours[:, 1:2], torch.zeros_like(x)), 1)


def _red_is_empty(colours: Tensor) -> bool:
    """Whether red is the same everywhere, or repeats green, up to what compression to blocks of pixels changes."""
    red, green = colours[:, 0], colours[:, 1]
    return bool(torch.minimum(red.amax() - red.amin(), (red - green).abs().amax()) <= _COMPRESSED)


def _without_height(image: Tensor, name: str) -> Tensor:
    """The map without its alpha if that is height: smooth, over good normals.

    Else the number of pixels that alpha hides is logged.
    """
    colours, alpha = split_alpha(image)
    if alpha is None:
        return image
    hidden = alpha < 0.5
    is_unit = _have_unit_length(vector_lengths(2 * colours.float() - 1))
    counts = [each.sum() for each in (hidden, hidden & (alpha > _BLACK), hidden & is_unit)]
    count, smooth, good = torch.stack(counts).tolist()
    if smooth > count / 2 and good > _MOST * count:
        words = "%s: its alpha is smooth, over good normals: height, no transparency; it is left out"
        logger.info(words, name, extra={"note": ""})
        return colours
    if count:
        ignored = f"{count:,} of {alpha.numel():,} pixels"
        logger.info("%s: %s are transparent and ignored", name, ignored, extra={"note": ""})
    return image


def _lacks_blue(lows: Sequence[float], highs: Sequence[float]) -> bool:
    """Whether red and green alone hold a normal map, by the channels' ranges.

    Blue is 0 everywhere, or the same everywhere where the others are not.
    """
    red, green, blue = (high - low for low, high in zip(lows, highs, strict=True))
    return blue <= _BLACK < min(highs[:2]) and (highs[2] <= _BLACK or max(red, green) > _BLACK)


def _have_unit_length(lengths: Tensor) -> Tensor:
    return (lengths > _UNIT[0]) & (lengths < _UNIT[1])


def are_vectors(values: Tensor, low: float) -> bool:
    """Whether normals (B, 3, H, W) are vectors in [-1, 1], not colours in [0, 1]; `low` is the least number."""
    return low < -_OVERSHOOT or are_unit_vectors(values)


def stored_values(image: Tensor, known: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    """Splits a map into its values (B, 1 or 3, H, W) float32 and its valid pixels, which are finite and at least half opaque.

    Args:
        image: (B, C, H, W), C = 1, 3 or 4 (with alpha).
        known: (B or 1, 1, H, W) bool, other pixels are invalid; None = all.
        name: Name of the map, for the error.

    Raises:
        ValueError: No pixel is valid.
    """
    colours, alpha = split_alpha(image.float())
    trusted = are_finite(colours).all(1, keepdim=True)
    if alpha is not None:
        trusted = trusted & (alpha >= 0.5)
    if known is not None:
        trusted = trusted & known.to(trusted.device)
    if not bool(trusted.any()):
        raise ValueError(f"{name} has no pixel with a value: all are transparent, masked, NaN or infinite")
    return colours, trusted


def normal_map_problem(image: Tensor, normals: Tensor) -> str | None:
    """Why an image is probably not a normal map, or has another coding than assumed; None if it looks right.

    `normals` (B, 3, H, W) were decoded from it, in OPENGL axes.
    """
    step = -(-max(image.shape[-2:]) // LOOKED_AT)
    samples, vectors = image[..., ::step, ::step], normals[..., ::step, ::step]
    lengths = (2 * samples - 1).square().sum(1).sqrt()
    usable = (samples.amax(1) > _BLACK) & (lengths > NO_LENGTH)
    is_unit, is_away = _have_unit_length(lengths), vectors[:, 2] < 0
    pixels, unit, away = torch.stack([each.sum() for each in (usable, usable & is_unit, usable & is_away)]).tolist()
    if not pixels:
        return None
    if unit / pixels < _MOST:
        return (
            f"does not look like a normal map: {unit / pixels:.0%} of its pixels store vectors of about unit length, "
            "of a normal map nearly all do. A photograph needs a model that estimates its normals"
        )
    share = away / pixels
    return f"points away from the viewer in {share:.0%} of its pixels: its coding is probably another one" if share > 1 - _MOST else None
