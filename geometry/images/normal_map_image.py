"""Reads normal maps of any program as vectors, and warns about images that do not look like one."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ..conventions import NormalMapCoding, decode_normal_map
from ..kinds import Axes

logger = logging.getLogger(__name__)

# Of the vectors (2 c - 1) of a normal map, 98 % and more have such lengths, also after JPEG or noise; of photographs a third to two thirds.
_UNIT = (0.75, 1.25)
_MOST = 0.8
# Holes: black, or mid grey, which is no direction.
_BLACK, _NO_LENGTH = 1.5 / 255, 0.05
_LOOKED_AT = 256


def image_to_normals(image: Tensor, coding: NormalMapCoding | Axes | str, name: str = "the normal map") -> Tensor:
    """The unit vectors that a user's image stores. An image that stores none is read all the same, with a warning.

    Args:
        image: (B, 3, H, W) in [0, 1].
        coding: How it stores them.
        name: Of the image, for the warning.

    Returns:
        (B, 3, H, W) unit vectors in OPENGL axes, as `decode_normal_map`.

    Raises:
        ValueError: Not (B, 3, H, W), or an unknown coding.
    """
    normals = decode_normal_map(image, coding)
    if problem := normal_map_problem(image, normals):
        logger.warning("%s %s", name, problem)
    return normals


def normal_map_problem(image: Tensor, normals: Tensor) -> str | None:
    """The reason, in words, why an image is hardly a normal map or has another coding than it was read with; None if there is none.

    Args:
        image: (B, 3, H, W) in [0, 1].
        normals: The vectors that it was taken for, in OPENGL axes.
    """
    step = -(-max(image.shape[-2:]) // _LOOKED_AT)
    samples, vectors = image[..., ::step, ::step], normals[..., ::step, ::step]
    lengths = (2 * samples - 1).square().sum(1).sqrt()
    usable = (samples.amax(1) > _BLACK) & (lengths > _NO_LENGTH)
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
