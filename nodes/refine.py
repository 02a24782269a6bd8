"""Aligns depth edges and normals with the image's edges."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..geometry.edges.refine import Derive, refine_geometry
from ..geometry.estimate import Estimate
from ..geometry.surfaces.derive import with_normals
from ..options.estimate import AUTO
from ..options.refine import RefineOptions
from ..utils import images_to_rgb, to_rgb
from .batches import for_all, geometry_output, with_progress
from .effect_inputs import effect_geometry, images_with
from .option_widgets import option_widgets, takes
from .widgets import ESTIMATE, GEOMETRY, Inputs, geometry_input, image_input


@takes(RefineOptions)
class RefineGeometry:
    """Aligns the edges of geometry to the image's edges."""

    NODE_ID = "DepthNormal_RefineGeometry"
    DISPLAY_NAME = "Refine Geometry"
    DESCRIPTION = (
        "Aligns the edges of depth and normals to the edges of the image: ramps between near and far things become "
        "steps, and normals beside them follow their own surface. Surfaces and their textures do not change."
    )
    CATEGORY, FUNCTION = ESTIMATE, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("Depth, mask and normals after refinement, at the image's size.",)
    SEARCH_ALIASES = "refine depth, sharpen depth, depth edges, guided filter, joint bilateral upsampling, depth upscale, edge aware"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {
            "required": {
                "image": image_input("The images that the geometry was estimated from, at the size that the result should have."),
                "geometry": geometry_input("Depth as numbers, with or without normals, of any size; one for each image, or one for all."),
            },
            "optional": option_widgets(RefineOptions),
        }

    def execute(self, options: RefineOptions, image: Tensor, geometry: Estimate) -> tuple[Estimate]:
        """Returns the refined geometry."""
        derive = with_normals if options.normals == AUTO else None
        return (_refined(to_rgb(image), geometry, options.strength, options.radius, derive),)


def refined_by_images(estimate: Estimate, images: Tensor, refine: bool) -> Estimate:
    """Refines an estimate by its images if `refine` is set and there is depth; returns the node's GEOMETRY at their size.

    Args:
        estimate: One for each image.
        images: (B, C, H, W), from `to_images`.
    """
    return _refined(images_to_rgb(images), estimate) if refine and estimate.depth is not None else geometry_output(estimate)


def _refined(images: Tensor, geometry: Estimate, strength: float = 1.0, radius: int = 0, derive: Derive | None = None) -> Estimate:
    """Refines each image on the compute device; the result is on ComfyUI's intermediate device."""
    images = for_all(images, geometry)
    whole = effect_geometry(images, geometry, None)
    pairs = with_progress(images_with(images, whole), len(images))
    parts = (geometry_output(refine_geometry(estimate, image, strength, radius, derive)) for image, estimate in pairs)
    return Estimate.cat(parts, len(images))


NODES = (RefineGeometry,)
