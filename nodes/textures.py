"""Maps of a material: normals to height and back, curvature, ambient occlusion."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..geometry.conventions import NormalMapCoding, encode_normal_map
from ..geometry.estimate import Estimate, Quantity
from ..geometry.textures.curvature import curvature_maps, mean_curvature
from ..geometry.textures.height import height_to_image, height_to_normals, image_to_height, normals_to_height
from ..geometry.textures.occlusion import estimate_to_occlusion, height_to_occlusion
from ..geometry.textures.pbr import with_contrast
from ..model_loader.comfy.devices import default_device, image_placement
from ..options.checks import check_choice
from ..options.map_images import CODINGS, READ_CODING, READ_CODINGS
from ..options.textures import CurvatureOptions, HeightOptions, OcclusionOptions, SlopesOptions
from .batches import geometry_output, join_outputs, one_by_one, to_output, with_progress
from .checks import check_geometry
from .option_widgets import Node, option_widgets, takes
from .texture_inputs import height_input, heights, heights_as_normals, normal_map_input, opengl_normals, surface_normals
from .widgets import GEOMETRY, TEXTURES, coding_widget, geometry_input

HEIGHT_OUTPUT = "The height map, white = high, with float precision; Save Texture keeps 16 bits. A batch shares one range."
RANGE_OUTPUT = "Pixels of height between black and white, for Height to Normal, Ambient Occlusion, or a displacement modifier."
"""Tooltips of a height map and its range."""


@takes(HeightOptions)
class NormalToHeight(Node):
    """Integrates normals to height maps."""

    NODE_ID = "DepthNormal_NormalToHeight"
    DISPLAY_NAME = "Normal to Height"
    DESCRIPTION = (
        "Makes a height (displacement, bump) map from a normal map or a geometry's normals: the surface whose slopes "
        "fit best everywhere at once. It assumes a surface seen straight on, as textures are."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "height": ("IMAGE", HEIGHT_OUTPUT),
        "height_range": ("FLOAT", RANGE_OUTPUT),
        "geometry": (GEOMETRY, "The raw height in pixels as relative depth (far = low), with the normals, for Save Geometry."),
    }
    SEARCH_ALIASES = (
        "height map, heightmap, displacement map, bump map, pbr material, normal to bump, normal to displacement, normal to depth, "
        "integrate normals, frankot chellappa, poisson"
    )
    INPUTS: ClassVar = {
        "optional": {
            "normal_map": normal_map_input("The normal map to integrate."),
            "geometry": geometry_input(
                "Normals as numbers, to use instead of a normal map, e.g. from Depth & Normals; if it has only depth, normals are computed."
            ),
            "mask": (
                "MASK",
                {
                    "tooltip": "White where the normals are valid. The height continues smoothly over the rest, as it does over black "
                    "pixels of a normal map."
                },
            ),
            "normal_coding": coding_widget(READ_CODING, READ_CODINGS),
            **option_widgets(HeightOptions),
        }
    }

    def execute(
        self,
        options: HeightOptions,
        normal_map: Tensor | None = None,
        geometry: Any = None,
        mask: Tensor | None = None,
        normal_coding: str = CODINGS[0],
    ) -> tuple[Tensor, float, Estimate]:
        whole = surface_normals(normal_map, normal_coding, geometry, mask)
        surfaces = with_progress(one_by_one(whole, default_device()), whole.batch)
        (height,) = join_outputs(((_height(surface, options),) for surface in surfaces), whole.batch)
        valid = None if whole.mask is None else whole.mask.to(height.device)
        image, span = height_to_image(height, valid)
        depth = height.amax() - height
        raw = Estimate(depth, Quantity.RELATIVE_DEPTH, opengl_normals(whole).to(depth.device), mask=valid)
        return to_output(image), span.item(), geometry_output(raw)


@takes(SlopesOptions)
class HeightToNormal(Node):
    """Makes normal maps from height maps."""

    NODE_ID = "DepthNormal_HeightToNormal"
    DISPLAY_NAME = "Height to Normal"
    DESCRIPTION = (
        "Makes a normal map from a height (displacement, bump) map. It is the exact inverse of Normal to Height with the same settings."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "normal_map": ("IMAGE", "The normal map, with float precision."),
        "geometry": (GEOMETRY, "The normals as numbers."),
    }
    SEARCH_ALIASES = (
        "bump map to normal map, displacement map to normal map, height map, heightmap, normal map, pbr material, sobel, tangent space"
    )
    INPUTS: ClassVar = {
        "required": {"height": height_input("The height map, white = high; colours are averaged.")},
        "optional": {
            **option_widgets(SlopesOptions, until="borders"),
            "coding": coding_widget(),
            **option_widgets(SlopesOptions, since="borders"),
        },
    }

    def execute(self, options: SlopesOptions, height: Tensor, coding: str = CODINGS[0]) -> tuple[Tensor, Estimate]:
        check_choice("coding", coding, CODINGS)
        images = heights(height)

        def parts() -> Any:
            for image in with_progress(images.split(1), len(images)):
                level = image_to_height(image.to(default_device()), options.height_range)
                normals = height_to_normals(level, borders=options.borders, derivative=options.derivative)
                yield (normals.to(image_placement()[0]),)

        (normals,) = join_outputs(parts(), len(images))
        return to_output(encode_normal_map(normals, NormalMapCoding(coding))), geometry_output(Estimate(normals=normals))


@takes(CurvatureOptions)
class Curvature(Node):
    """Makes curvature maps."""

    NODE_ID = "DepthNormal_Curvature"
    DISPLAY_NAME = "Curvature"
    DESCRIPTION = (
        "Makes a curvature map from a normal map, a height map or a geometry: flat = grey, edges = white, crevices = "
        "black. Edges and crevices also come as two masks."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "curvature": ("IMAGE", "The curvature map: 0.5 = flat, white = convex, black = concave."),
        "edges": ("IMAGE", "White where the surface is convex, else black: a mask of worn edges."),
        "cavities": ("IMAGE", "White where the surface is concave, else black: a mask for dirt."),
    }
    SEARCH_ALIASES = "curvature map, cavity map, convexity, edge wear, edge mask, dirt mask, crevice, pbr material, roughness map"
    INPUTS: ClassVar = {
        "optional": {
            "normal_map": normal_map_input("The normal map whose curvature is computed."),
            "height": height_input("A height map to use instead, white = high."),
            "geometry": geometry_input("Normals or depth as numbers to use instead, e.g. from Depth & Normals."),
            **option_widgets(CurvatureOptions, until="height_range"),
            "normal_coding": coding_widget(READ_CODING, READ_CODINGS),
            **option_widgets(CurvatureOptions, since="height_range"),
        }
    }

    def execute(
        self,
        options: CurvatureOptions,
        normal_map: Tensor | None = None,
        height: Tensor | None = None,
        geometry: Any = None,
        normal_coding: str = CODINGS[0],
    ) -> tuple[Tensor, Tensor, Tensor]:
        if height is not None and (normal_map is not None or geometry is not None):
            raise ValueError("height is linked, and a normal map or geometry too: curvature is of one of them; unlink the others")
        if height is not None:
            geometry = heights_as_normals(height, options.height_range, options.borders)
        whole = surface_normals(normal_map, normal_coding, geometry)

        def parts() -> Any:
            for surface in with_progress(one_by_one(whole, default_device()), whole.batch):
                valid, scale = surface.normals_valid, options.scale
                bend = mean_curvature(opengl_normals(surface), scale=scale, weight=valid, borders=options.borders)
                yield tuple(to_output(each) for each in curvature_maps(bend, scale=scale, strength=options.strength, weight=valid))

        curvature, edges, cavities = join_outputs(parts(), whole.batch)
        return curvature, edges, cavities


@takes(OcclusionOptions)
class AmbientOcclusion(Node):
    """Makes ambient occlusion maps."""

    NODE_ID = "DepthNormal_AmbientOcclusion"
    DISPLAY_NAME = "Ambient Occlusion"
    DESCRIPTION = (
        "Makes an ambient occlusion map from a height map, or from the depth of an image: white where the sky is "
        "open, dark in corners and joints. It uses horizons and the cosine law, not a blur."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {"occlusion": ("IMAGE", "White = open, black = occluded; sky and holes are white.")}
    SEARCH_ALIASES = "ao, ao map, ambient occlusion, ssao, hbao, gtao, contact shadow, occlusion map, pbr material"
    INPUTS: ClassVar = {
        "optional": {
            "height": height_input("The height map, white = high, seen straight on."),
            "geometry": geometry_input(
                "Depth of an image as numbers to use instead, with its camera, e.g. from Depth & Normals; its normals "
                "are used if it has any."
            ),
            **option_widgets(OcclusionOptions),
        }
    }

    def execute(self, options: OcclusionOptions, height: Tensor | None = None, geometry: Any = None) -> tuple[Tensor]:
        if (height is None) == (geometry is None):
            raise ValueError("link either a height (white = high) or geometry with depth, one of them")
        reach = {"radius": options.radius, "directions": options.directions}
        if height is not None:
            levels = heights(height)
            images = (image_to_height(each.to(default_device()), options.height_range) for each in levels.split(1))
            occlusions = (height_to_occlusion(each, borders=options.borders, **reach) for each in images)
            total = len(levels)
        else:
            whole = check_geometry(geometry)
            occlusions = (estimate_to_occlusion(each, **reach) for each in one_by_one(whole, default_device()))
            total = whole.batch
        return join_outputs(((to_output(with_contrast(each, options.strength)),) for each in with_progress(occlusions, total)), total)


def _height(surface: Estimate, options: HeightOptions) -> Tensor:
    height = normals_to_height(opengl_normals(surface), weight=surface.normals_valid, **vars(options))
    return height.to(image_placement()[0])


NODES = (NormalToHeight, HeightToNormal, Curvature, AmbientOcclusion)
