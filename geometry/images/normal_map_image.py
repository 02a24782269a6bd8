"""Reads normal maps of any program as vectors, and warns about images that do not look like one."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...utils import split_alpha, vector_lengths
from ..conventions import LOOKED_AT, NO_LENGTH, NormalMapCoding, are_unit_vectors, decode_normal_map
from ..estimate import Estimate
from ..kinds import Axes
from ..valid import are_finite

logger = logging.getLogger(__name__)

# Of the vectors (2 c - 1) of a normal map, 98 % and more have such lengths, also after JPEG or noise; of photographs a third to two thirds.
_UNIT = (0.75, 1.25)
_MOST = 0.8
# Holes: black, or no direction.
_BLACK = 1.5 / 255
# Colours overshoot by this where they were resampled, and by no more than this in any case.
_OVERSHOOT, _MOST_STORED = 0.1, 1.5


def normal_map_to_estimate(
    image: Tensor, coding: NormalMapCoding | Axes | str, name: str = "the normal map", known: Tensor | None = None
) -> Estimate:
    """The normals that a normal map of any program stores. Everything that takes a normal map reads it here.

    An image that stores none is read all the same, with a warning.

    Args:
        image: (B, C, H, W), the numbers as they are stored, C = 1, 3 or 4 (with alpha): colours in [0, 1], or the vectors themselves.
        coding: How it stores them.
        name: Of the image, for the warning and errors.
        known: (B or 1, 1, H, W) bool, False where there is no normal; None = everywhere is one.

    Returns:
        The estimate at the map's size, its normals in OPENGL axes. It masks what has no normal: not `known`, less than half opaque, black,
        a vector without length, not finite.

    Raises:
        ValueError: Numbers that are neither colours nor unit vectors, or an unknown coding.
    """
    colours, trusted = stored_values(image, known, name)
    colours = torch.where(trusted, colours, 0).expand(-1, 3, -1, -1)
    low, high = torch.stack(colours.aminmax()).tolist()
    if low < -_MOST_STORED or high > _MOST_STORED:
        raise ValueError(f"the values of {name} go from {low:g} to {high:g}; a normal map stores colours in 0..1, or vectors in -1..1")
    if low < -_OVERSHOOT or are_unit_vectors(colours):
        trusted = trusted & (vector_lengths(colours) > NO_LENGTH)
        colours = torch.where(trusted, (colours + 1) / 2, 0)
    else:
        trusted = trusted & (colours.amax(1, keepdim=True) > _BLACK)
    colours = colours.clamp(0, 1)
    normals = decode_normal_map(colours, coding)
    if problem := normal_map_problem(colours, normals):
        logger.warning("%s %s", name, problem)
    return Estimate(normals=normals, mask=None if bool(trusted.all()) else trusted)


def stored_values(image: Tensor, known: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    """The numbers of a map, and where they are known: at opaque pixels of finite numbers.

    Args:
        image: (B, C, H, W), C = 1, 3 or 4 (with alpha).
        known: (B or 1, 1, H, W) bool, where else they are known; None = everywhere.
        name: Of the map, for the error.

    Returns:
        (B, 1 or 3, H, W) float32, and (B, 1, H, W) bool.

    Raises:
        ValueError: No pixel is known.
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
    """The reason, in words, why an image is hardly a normal map or has another coding than it was read with; None if there is none.

    Args:
        image: (B, 3, H, W) in [0, 1].
        normals: The vectors that it was taken for, in OPENGL axes.
    """
    step = -(-max(image.shape[-2:]) // LOOKED_AT)
    samples, vectors = image[..., ::step, ::step], normals[..., ::step, ::step]
    lengths = (2 * samples - 1).square().sum(1).sqrt()
    usable = (samples.amax(1) > _BLACK) & (lengths > NO_LENGTH)
    is_unit, is_away = (lengths > _UNIT[0]) & (lengths < _UNIT[1]), vectors[:, 2] < 0
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
