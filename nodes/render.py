"""Renders raw depth and normals as images, and converts normal maps between conventions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.conventions import NormalMapCoding, blend_normals, encode_normal_map, scale_normal_strength, unit_normals
from ..geometry.estimate import Estimate
from ..geometry.images.normal_map_image import normal_map_to_estimate
from ..geometry.images.render import depth_to_image, normals_to_image
from ..geometry.kinds import ZERO_AT_CAMERA
from ..options.map_images import FIXED
from ..options.render import BLACK, FACING, GREY, ConversionOptions, DepthImageOptions, NormalMapOptions
from ..utils import to_planar
from .batches import mask_output, to_output
from .checks import check_geometry
from .option_widgets import Node, option_widgets, takes
from .widgets import CONVERT, RENDER, geometry_input, image_input


@takes(DepthImageOptions)
class RenderDepth(Node):
    """Renders raw depth as an image."""

    NODE_ID = "DepthNormal_RenderDepth"
    DISPLAY_NAME = "Render Depth"
    DESCRIPTION = (
        "Renders raw depth as an image: near = white for ControlNet, a fixed or clip-wide range so that video does "
        "not flicker, or a colour map."
    )
    CATEGORY = RENDER
    OUTPUTS: ClassVar = {
        "image": ("IMAGE", "The depth map; black where depth is unknown."),
        "mask": ("MASK", "White where depth is valid."),
    }
    SEARCH_ALIASES = (
        "depth map, depth image, depth to image, controlnet depth, turbo, inferno, colormap, z depth, z-depth, z pass, zpass, z buffer, "
        "invert depth"
    )
    INPUTS: ClassVar = {"required": {"geometry": geometry_input()}}

    def execute(self, options: DepthImageOptions, geometry: Any) -> tuple[Tensor, Tensor]:
        return rendered_depth(
            check_geometry(geometry),
            options.near,
            options.normalisation,
            options.metric_as_disparity,
            percentiles=(options.percentile_low, options.percentile_high),
            value_range=(options.range_low, options.range_high) if options.normalisation == FIXED else None,
            colour_map=None if options.colour_map == GREY else options.colour_map,
        )


@takes(NormalMapOptions)
class RenderNormals(Node):
    """Renders raw normals as a normal map."""

    NODE_ID = "DepthNormal_RenderNormals"
    DISPLAY_NAME = "Render Normals"
    DESCRIPTION = "Renders raw normals as a normal map for Blender, Unreal, OpenCV or a ControlNet model."
    CATEGORY = RENDER
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The normal map.")}
    SEARCH_ALIASES = "normal map, normal pass, controlnet normal, normalbae, surface normals, opengl, directx"
    INPUTS: ClassVar = {"required": {"geometry": geometry_input("Normals as numbers, e.g. from Depth & Normals.")}}

    def execute(self, options: NormalMapOptions, geometry: Any) -> tuple[Tensor]:
        return (rendered_normals(check_geometry(geometry), options.coding, options.background),)


@takes(ConversionOptions)
class ConvertNormalMap(Node):
    """Converts normal maps between conventions."""

    NODE_ID = "DepthNormal_ConvertNormalMap"
    DISPLAY_NAME = "Convert Normal Map"
    DESCRIPTION = "Converts a normal map to another convention, makes its relief stronger or weaker, and adds the detail of a second map."
    CATEGORY = CONVERT
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The normal map in the new convention; black pixels (no normal) stay black.")}
    SEARCH_ALIASES = (
        "flip green, flip green channel, flip y, invert green channel, flip normal map, invert normal map, directx to opengl, "
        "opengl to directx, normal strength, normal intensity, blend normals, combine normals, rnm"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("Normal maps to convert.")},
        "optional": {
            **option_widgets(ConversionOptions, until="detail_strength"),
            "detail": image_input(
                "A second normal map of the same size and convention, whose relief is added to the first (reoriented normal mapping)."
            ),
            **option_widgets(ConversionOptions, since="detail_strength"),
        },
    }

    def execute(self, options: ConversionOptions, image: Tensor, detail: Tensor | None = None) -> tuple[Tensor]:
        base = _with_strength(image, options.source, options.strength)
        assert base.normals is not None
        normals = base.normals
        if detail is not None:
            map_of_detail = _with_strength(detail, options.source, options.detail_strength, "the detail map")
            relief, valid = map_of_detail.normals, map_of_detail.mask
            assert relief is not None
            if valid is not None:  # flat where there is no detail
                relief = torch.where(valid, relief, unit_normals(torch.zeros_like(relief[:1, :, :1, :1])))
            normals = blend_normals(normals, relief.expand(len(normals), -1, -1, -1) if len(relief) == 1 else relief)
        image = encode_normal_map(normals, NormalMapCoding(options.target))
        return (to_output(image if base.mask is None else image.mul_(base.mask)),)


def rendered_depth(
    estimate: Estimate,
    near: str,
    normalisation: str,
    metric_as_disparity: bool,
    percentiles: tuple[float, float] = (0.0, 100.0),
    value_range: tuple[float, float] | None = None,
    colour_map: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Renders depth as ComfyUI's IMAGE, and its valid pixels as a MASK.

    `near` is one of `NEAR`, `colour_map` one of `COLOUR_MAPS`, None = grey; with `metric_as_disparity` metric depth is shown as 1 / depth.
    Other arguments and errors as of `depth_to_image`; ValueError without depth.
    """
    if estimate.depth is None:
        raise ValueError("the geometry has normals and no depth; use Render Normals, or a model that predicts depth")
    depth, quantity, trusted = estimate.known_depth()
    image = depth_to_image(
        depth,
        quantity,
        near=near,
        normalisation=normalisation,
        percentiles=percentiles,
        value_range=value_range,
        as_disparity=metric_as_disparity and quantity in ZERO_AT_CAMERA,
        colour_map=colour_map,
        mask=estimate.mask,
    )
    return to_output(image), mask_output(trusted)


def rendered_normals(estimate: Estimate, coding: str, background: str = BLACK) -> Tensor:
    """Renders normals as ComfyUI's IMAGE, in one of `CODINGS`, on one of `BACKGROUNDS`; ValueError if there are none."""
    if estimate.normals is None:
        raise ValueError("the geometry has depth and no normals; put Depth to Normals in between")
    normals, valid = estimate.normals, estimate.normals_valid
    if background == FACING and valid is not None:
        facing = unit_normals(torch.zeros_like(normals[:1, :, :1, :1]), estimate.axes)
        normals, valid = torch.where(valid, normals, facing), None
    return to_output(normals_to_image(normals, NormalMapCoding(coding), estimate.axes, valid))


def _with_strength(image: Tensor, source: str, strength: float, name: str = "the normal map") -> Estimate:
    """Decodes a normal map to vectors in OPENGL axes and scales their slopes."""
    estimate = normal_map_to_estimate(to_planar(image), source, name)
    assert estimate.normals is not None
    return estimate if strength == 1 else replace(estimate, normals=scale_normal_strength(estimate.normals, strength))


NODES = (RenderDepth, RenderNormals, ConvertNormalMap)
