"""All maps of a PBR material from one photograph and its geometry."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.textures import CENTRAL, DETAILS, NORMALS, PHOTO, SEAMLESS, DetailOptions, PbrOptions
from ..estimate import Estimate
from ..projections import need_perspective
from .curvature import CurvatureMaps, curvature_maps, mean_curvature
from .detail import PhotoRelief, detail_normals
from .height import height_to_image, normals_to_height, normals_to_slopes, slopes_to_normals
from .occlusion import height_to_occlusion
from .slopes import slopes_of


class PbrMaps(NamedTuple):
    """The maps of a batch."""

    height: Tensor
    """(B, 1, H, W) in [0, 1], white = high."""
    height_range: Tensor
    """Pixels between black and white, ()."""
    normals: Tensor
    """(B, 3, H, W) unit vectors, OPENGL axes; their integral is the height."""
    occlusion: Tensor
    """(B, 1, H, W) in [0, 1], 1 = open."""
    bend: CurvatureMaps


def shape_width(options: DetailOptions, height: int, width: int) -> float:
    """The width in pixels above which a shape is not relief."""
    return options.radius or max(4.0, min(height, width) / 8)


def relief_of_photo(image: Tensor, options: DetailOptions) -> PhotoRelief:
    """The relief of photographs (B, 3, H, W) in [0, 1], for `material_normals`."""
    # Only fine shading is relief; coarser differences are paint, dirt and lighting.
    return PhotoRelief(image, max(2.0, shape_width(options, *image.shape[-2:]) / 2), options.borders)


def material_normals(estimate: Estimate | None, photo: PhotoRelief | None, options: DetailOptions) -> Tensor:
    """Normals of a material's relief (B, 3, H, W), OPENGL axes, without the shape of the object.

    Args:
        estimate: With normals; None if the source is the photograph alone.
        photo: From `relief_of_photo`, at the estimate's size; None if the source is the normals alone.

    Raises:
        ValueError: An input that the source needs is missing.
    """
    if estimate is not None:
        need_perspective(estimate, "a material")
    normals = None if estimate is None else estimate.normals
    check_source(options.source, normals is not None, photo is not None)
    parts = []
    if options.source != PHOTO:
        assert estimate is not None and normals is not None
        radius = shape_width(options, *normals.shape[-2:])
        parts.append(detail_normals(normals, estimate.axes, radius=radius, weight=estimate.normals_valid, borders=options.borders))
    if options.source != NORMALS:
        assert photo is not None
        parts.append(photo.normals(options.relief, options.bright))
    # Slopes are added, like heights. Composed rotations would not be integrable, and steep edges would get combs.
    return parts[0] if len(parts) == 1 else slopes_to_normals(normals_to_slopes(parts[0]) + normals_to_slopes(parts[1]))


def is_in_doubt(photo: PhotoRelief | None, options: DetailOptions) -> bool:
    """Whether `material_normals` has to guess if bright parts of a photograph are high or low."""
    return photo is not None and options.asks_pattern and bool(photo.is_in_doubt.any())


def check_source(source: str, has_normals: bool, has_photo: bool) -> None:
    """Refuses a source whose input is missing: a ValueError says which, and what to choose instead."""
    check_choice("source", source, DETAILS)
    if source != PHOTO and not has_normals:
        raise ValueError(f"source is {source}, and there are no normals: link geometry or a normal map, or choose {PHOTO}")
    if source != NORMALS and not has_photo:
        raise ValueError(f"source is {source}, and there is no photograph: link image, or choose {NORMALS}")


def pbr_maps(normals: Tensor, options: PbrOptions) -> PbrMaps:
    """Computes all maps of a material from its normals (B, 3, H, W), OPENGL axes, from `material_normals`."""
    radius = shape_width(options, *normals.shape[-2:])
    height, normals = _flattened(normals, 2 * radius, options.borders)
    reach = options.occlusion_radius or max(4.0, radius / 2)
    occlusion = height_to_occlusion(height, radius=reach, directions=options.directions, borders=options.borders)
    bend = curvature_maps(mean_curvature(normals, scale=options.scale, borders=options.borders), scale=options.scale)
    levels, span = height_to_image(height)
    return PbrMaps(levels, span, normals, occlusion, bend)


def height_map(normals: Tensor, options: DetailOptions) -> Tensor:
    """The height of `pbr_maps` alone, (B, 1, H, W) in [0, 1]."""
    radius = shape_width(options, *normals.shape[-2:])
    return height_to_image(_flattened(normals, 2 * radius, options.borders)[0])[0]


def _flattened(normals: Tensor, width: float, borders: str) -> tuple[Tensor, Tensor]:
    """Removes shapes wider than `width` from height and normals, so that both describe one surface."""
    whole, height = (normals_to_height(normals, borders=borders, level=True, flatten=each, derivative=CENTRAL) for each in (0.0, width))
    slopes = normals_to_slopes(normals)
    beyond = slopes_of(whole - height, borders == SEAMLESS) + slopes.mean((2, 3), keepdim=True)
    return height, slopes_to_normals(slopes - beyond)


def with_contrast(occlusion: Tensor, strength: float) -> Tensor:
    """Makes occlusion darker (strength above 1) or lighter (below 1); open areas stay white."""
    return torch.clamp(occlusion, 0, 1) ** strength
