"""Inputs of the texture nodes: normals and heights, from this pack's geometry or any pack's images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.conventions import convert_normals
from ..geometry.estimate import Axes, Estimate
from ..geometry.images.normal_map_image import image_to_normals
from ..geometry.surfaces.derive import with_normals
from ..geometry.textures.height import check_size, height_to_normals, image_to_height
from ..utils import resize_map, to_rgb
from .batches import one_by_one
from .checks import check_geometry
from .known import masks_of
from .sockets import Widget
from .widgets import CODINGS, image_input

# An image of 8 bits that is black up to rounding: no unit vector is stored so.
_NO_DIRECTION = 1.5 / 255


def normal_map_input(purpose: str) -> Widget:
    """The input for a normal map, for those who have no raw normals."""
    return image_input(f"{purpose} Any pack's normal map; black pixels have no normal.")


def height_input(purpose: str) -> Widget:
    """The input for heights."""
    return image_input(f"{purpose} Height, displacement or bump map; 16 bits or floats keep slopes smooth.")


def heights(image: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] of images of heights."""
    return planar(image).mean(1, keepdim=True)


def planar(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] of images; those too large for a material are refused before memory is taken."""
    if isinstance(image, Tensor) and image.ndim in (3, 4):
        check_size(image.shape[-3], image.shape[-2])
    return to_rgb(image)


def heights_as_normals(image: Tensor, height_range: float, borders: str) -> Estimate:
    """The normals of images of heights."""
    check_range("height_range", height_range, 0, 1e6)
    return Estimate(normals=height_to_normals(image_to_height(heights(image), height_range), borders=borders))


def surface_normals(normal_map: Tensor | None, coding: str, geometry: Any, mask: Tensor | None = None) -> Estimate:
    """The normals that a node works on: of a normal map or of a geometry.

    Args:
        normal_map: Images; black pixels count as holes.
        coding: How they store their vectors.
        geometry: An estimate instead; where it has no normals they are computed from its depth.
        mask: (B, H, W), white = counts; of any size.

    Returns:
        An estimate with normals, with a mask where some do not count.

    Raises:
        ValueError: Neither or both are given, there is nothing to compute normals of, the mask is of another number of images, or
            nothing at all counts.
    """
    check_choice("normal_coding", coding, CODINGS)
    if (normal_map is None) == (geometry is None):
        raise ValueError("link either a normal map or geometry, one of them")
    if normal_map is not None:
        image = planar(normal_map)
        shown = image.amax(1, keepdim=True) > _NO_DIRECTION
        known = Estimate(normals=image_to_normals(image, coding), mask=None if bool(shown.all()) else shown)
    else:
        known = _derived(check_geometry(geometry))
    if mask is None:
        return known
    counts = _mask_of(mask, known)
    whole = replace(known, mask=counts if known.mask is None else counts & known.mask)
    valid = whole.normals_valid
    if valid is not None and not bool(valid.flatten(1).any(1).all()):
        raise ValueError("the mask leaves no normal of an image: it is black there, or white only in holes; white is what counts")
    return whole


def upright(known: Estimate) -> Tensor:
    """(B, 3, H, W): the normals of an estimate that has some, in OPENGL axes."""
    assert known.normals is not None
    return convert_normals(known.normals, known.axes, Axes.OPENGL)


def _derived(estimate: Estimate) -> Estimate:
    if estimate.normals is not None:
        return estimate
    derived = Estimate.cat((with_normals(part) for part in one_by_one(estimate)), estimate.batch)
    if derived.normals is None:
        raise ValueError(
            "the geometry holds relative depth without normals, and its slopes are not known; put Depth to Normals in between, with a "
            "near_far_ratio, or use a model that gives normals"
        )
    return derived


def _mask_of(mask: Tensor, known: Estimate) -> Tensor:
    """(B, 1, H, W) bool of a MASK of any size."""
    sized = resize_map(masks_of(mask, "mask", known.batch, "the normals"), known.height, known.width) >= 0.5
    return sized.expand(known.batch, -1, -1, -1).to(known.device)
