"""Inputs of the texture nodes: normals and heights, from this pack's geometry or any pack's images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..geometry.conventions import convert_normals
from ..geometry.estimate import Axes, Estimate
from ..geometry.images.normal_map_image import normal_map_to_estimate, stored_values
from ..geometry.projections import need_perspective
from ..geometry.surfaces.derive import with_normals
from ..geometry.textures.height import check_size, grey_heights, height_to_normals, image_to_height
from ..options.checks import check_choice, check_range
from ..options.map_images import READ_CODINGS
from ..utils import to_planar, to_rgb
from .batches import one_by_one
from .checks import check_geometry
from .effect_inputs import valid_pixels
from .widgets import Widget, image_input


def normal_map_input(purpose: str) -> Widget:
    """Input for a normal map, to use instead of raw normals."""
    return image_input(f"{purpose} Any pack's normal map; black pixels have no normal.")


def height_input(purpose: str) -> Widget:
    """Input for height maps."""
    return image_input(f"{purpose} Height, displacement or bump map; 16 bits or floats keep slopes smooth.")


def heights(image: Tensor) -> Tensor:
    """Converts an IMAGE of height maps to (B, 1, H, W), NaN where transparent."""
    return grey_heights(*stored_values(_stored(image), None, "height"), "height")


def planar(image: Tensor) -> Tensor:
    """Converts an IMAGE of photos to (B, 3, H, W) in [0, 1]; rejects images too large for a material before memory is allocated."""
    _stored(image)
    return to_rgb(image)


def _stored(image: Tensor) -> Tensor:
    """An IMAGE as (B, C, H, W) with unchanged values; rejects images too large for a material."""
    stored = to_planar(image)
    check_size(stored.shape[-2], stored.shape[-1])
    return stored


def heights_as_normals(image: Tensor, height_range: float, borders: str) -> Estimate:
    """Computes normals from height maps."""
    check_range("height_range", height_range, 0, 1e6)
    return Estimate(normals=height_to_normals(image_to_height(heights(image), height_range), borders=borders))


def surface_normals(normal_map: Tensor | None, coding: str, geometry: Any, mask: Tensor | None = None) -> Estimate:
    """A node's input normals, from a normal map or a geometry, with a mask if some are invalid.

    Args:
        normal_map: Images in the convention `coding`; black pixels are invalid.
        geometry: An estimate to use instead; missing normals are computed from its depth.
        mask: (B, H, W), white = valid; of any size.

    Raises:
        ValueError: Neither or both are linked, the geometry is empty, the mask has another number of images, or no pixel is valid.
    """
    check_choice("normal_coding", coding, READ_CODINGS)
    if (normal_map is None) == (geometry is None):
        raise ValueError("link either a normal map or geometry, one of them")
    if normal_map is not None:
        surface = normal_map_to_estimate(_stored(normal_map), coding, "normal_map")
    else:
        estimate = check_geometry(geometry)
        need_perspective(estimate, "a texture map")
        surface = _derived(estimate)
    if mask is None:
        return surface
    assert surface.normals is not None
    shown = valid_pixels(mask, surface.normals, "the normals")
    linked = shown.expand(surface.batch, -1, -1, -1).to(surface.device)
    whole = replace(surface, mask=linked if surface.mask is None else linked & surface.mask)
    valid = whole.normals_valid
    if valid is not None and not bool(valid.flatten(1).any(1).all()):
        raise ValueError("the mask leaves no normal of an image: it is black there, or white only in holes; white marks valid normals")
    return whole


def opengl_normals(known: Estimate) -> Tensor:
    """The normals of an estimate in OPENGL axes, (B, 3, H, W)."""
    assert known.normals is not None
    return convert_normals(known.normals, known.axes, Axes.OPENGL)


def _derived(estimate: Estimate) -> Estimate:
    if estimate.normals is not None:
        return estimate
    derived = Estimate.cat((with_normals(part) for part in one_by_one(estimate)), estimate.batch)
    if derived.normals is None:
        raise ValueError(
            "the geometry has relative depth without normals, and its slopes are unknown; put Depth to Normals in between, with a "
            "near_far_ratio, or use a model that predicts normals"
        )
    return derived
