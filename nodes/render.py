"""Pictures of raw depth and normals, and normal maps from one convention to another."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.conventions import (
    NormalMapCoding,
    blend_normals,
    decode_normal_map,
    encode_normal_map,
    scale_normal_strength,
    unit_normals,
)
from ..geometry.estimate import Quantity
from ..geometry.render import COLOUR_MAPS, NORMALISATIONS, depth_to_image, normals_to_image
from ..utils import to_rgb
from .common import check_choice, check_range
from .sockets import CATEGORY, check_geometry, geometry_input, to_output

GREY = "none"
BLACK, FACING = BACKGROUNDS = ("black", "facing the viewer")
CODINGS = tuple(coding.value for coding in NormalMapCoding)
MAX_VALUE = 1e9
MAX_STRENGTH = 100.0

# A picture of 8 bits that is black up to rounding: no unit vector is stored so.
_NO_DIRECTION = 1.5 / 255


class RenderDepth:
    """Raw depth as a picture."""

    NODE_ID = "DepthNormal_RenderDepth"
    DISPLAY_NAME = "Render Depth"
    DESCRIPTION = (
        "Makes a picture of raw depth: near white for ControlNet, a fixed or clip-wide range so that video does not flicker, or colours."
    )
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("image", "mask")
    OUTPUT_TOOLTIPS: ClassVar = ("The depth picture; black where there is no value.", "White where depth can be trusted.")
    SEARCH_ALIASES: ClassVar = ["depth map", "depth image", "controlnet depth", "turbo", "inferno", "z-depth"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """ComfyUI's description of the inputs."""
        normalisation = (
            "Where the range between black and white comes from. per_image: each picture. per_clip: the whole batch. "
            "fixed: range_low to range_high."
        )
        as_disparity = (
            "Metric depth only: shows 1 / depth, which spends the grey levels on what is near, as ControlNet's depth models know it."
        )
        colours = "Colours instead of grey; the last colour of the map is white's."
        low = "Percentile of the values shown (depth, or disparity where that is shown) at which the range begins: above 0 cuts outliers."
        high = "Percentile of the values shown at which the range ends: below 100 cuts outliers. ZoeDepth's picture: depth, 2 and 85."
        ends = "Of fixed: one end of the range in the geometry's own unit (metres for metric depth)."
        percent: dict[str, Any] = {"min": 0.0, "max": 100.0, "step": 0.1, "advanced": True}
        value: dict[str, Any] = {"min": -MAX_VALUE, "max": MAX_VALUE, "step": 0.01}
        return {
            "required": {
                "geometry": geometry_input("Raw depth."),
                "near": (["white", "black"], {"default": "white", "tooltip": "Which end of the grey levels is near."}),
                "normalisation": (list(NORMALISATIONS), {"default": "per_image", "tooltip": normalisation}),
            },
            "optional": {
                "metric_as_disparity": ("BOOLEAN", {"default": True, "tooltip": as_disparity}),
                "colour_map": ([GREY, *COLOUR_MAPS], {"default": GREY, "tooltip": colours}),
                "range_low": ("FLOAT", {**value, "default": 0.1, "tooltip": ends}),
                "range_high": ("FLOAT", {**value, "default": 10.0, "tooltip": ends}),
                "percentile_low": ("FLOAT", {**percent, "default": 0.0, "tooltip": low}),
                "percentile_high": ("FLOAT", {**percent, "default": 100.0, "tooltip": high}),
            },
        }

    def execute(
        self,
        geometry: Any,
        near: str,
        normalisation: str,
        metric_as_disparity: bool = True,
        colour_map: str = GREY,
        range_low: float = 0.1,
        range_high: float = 10.0,
        percentile_low: float = 0.0,
        percentile_high: float = 100.0,
    ) -> tuple[Tensor, Tensor]:
        """One picture and mask for each of the geometry's."""
        estimate = check_geometry(geometry)
        check_choice("colour_map", colour_map, (GREY, *COLOUR_MAPS))
        if estimate.depth is None or estimate.quantity is None:
            raise ValueError("the geometry holds normals and no depth; use Render Normals, or a model that gives depth")
        image = depth_to_image(
            estimate.depth,
            estimate.quantity,
            near=near,
            normalisation=normalisation,
            percentiles=(percentile_low, percentile_high),
            value_range=(range_low, range_high) if normalisation == "fixed" else None,
            as_disparity=metric_as_disparity and estimate.quantity is Quantity.METRIC_DEPTH,
            colour_map=None if colour_map == GREY else colour_map,
            mask=estimate.mask,
        )
        trusted = estimate.depth_valid
        assert trusted is not None
        return to_output(image), to_output(trusted.float())[..., 0]


class RenderNormals:
    """Raw normals as a picture."""

    NODE_ID = "DepthNormal_RenderNormals"
    DISPLAY_NAME = "Render Normals"
    DESCRIPTION = "Makes a normal map of raw normals, for Blender, Unreal, OpenCV or the ControlNet model that will read it."
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("The normal map.",)
    SEARCH_ALIASES: ClassVar = ["normal map", "controlnet normal", "normalbae", "surface normals", "opengl", "directx"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """ComfyUI's description of the inputs."""
        coding = (
            "How the vectors are stored. opengl: Blender, glTF. directx: Unreal. controlnet-normalbae: control_v11p_sd15_normalbae. "
            "controlnet-1.0-normal: control_sd15_normal."
        )
        return {
            "required": {
                "geometry": geometry_input("Raw normals."),
                "coding": (list(CODINGS), {"default": NormalMapCoding.OPENGL.value, "tooltip": coding}),
            },
            "optional": {"background": (list(BACKGROUNDS), {"default": BLACK, "tooltip": "What is shown where there is no normal."})},
        }

    def execute(self, geometry: Any, coding: str, background: str = BLACK) -> tuple[Tensor]:
        """One normal map for each of the geometry's pictures."""
        estimate = check_geometry(geometry)
        check_choice("coding", coding, CODINGS)
        check_choice("background", background, BACKGROUNDS)
        if estimate.normals is None:
            raise ValueError("the geometry holds depth and no normals; put Normals from Depth in between")
        normals, valid = estimate.normals, estimate.normals_valid
        if background == FACING and valid is not None:
            facing = unit_normals(torch.zeros_like(normals[:1, :, :1, :1]), estimate.axes)
            normals, valid = torch.where(valid, normals, facing), None
        return (to_output(normals_to_image(normals, NormalMapCoding(coding), estimate.axes, valid)),)


class ConvertNormalMap:
    """Normal maps from one convention to another."""

    NODE_ID = "DepthNormal_ConvertNormalMap"
    DISPLAY_NAME = "Convert Normal Map"
    DESCRIPTION = (
        "Turns a normal map into another convention, makes its relief stronger or weaker, and lays fine detail of a second map on it."
    )
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("The normal map in the new convention; pixels that were black (no value) stay black.",)
    SEARCH_ALIASES: ClassVar = ["flip green", "directx to opengl", "normal strength", "blend normals", "combine normals", "rnm", "bump"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """ComfyUI's description of the inputs."""
        strength: dict[str, Any] = {"default": 1.0, "min": -MAX_STRENGTH, "max": MAX_STRENGTH, "step": 0.05}
        base = "Slopes times this: 1 keeps them, 0 flattens, negative numbers turn bumps into dents."
        detail = "A second normal map of the same size, stored as the first: its relief is laid on the first (reoriented normal mapping)."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "Normal maps."}),
                "source": (list(CODINGS), {"default": NormalMapCoding.OPENGL.value, "tooltip": "How the given maps store their vectors."}),
                "target": (list(CODINGS), {"default": NormalMapCoding.DIRECTX.value, "tooltip": "How the result shall store them."}),
            },
            "optional": {
                "strength": ("FLOAT", {**strength, "tooltip": base}),
                "detail": ("IMAGE", {"tooltip": detail}),
                "detail_strength": ("FLOAT", {**strength, "tooltip": f"Of the second map. {base}"}),
            },
        }

    def execute(
        self, image: Tensor, source: str, target: str, strength: float = 1.0, detail: Tensor | None = None, detail_strength: float = 1.0
    ) -> tuple[Tensor]:
        """One normal map for each given."""
        check_choice("source", source, CODINGS)
        check_choice("target", target, CODINGS)
        check_range("strength", strength, -MAX_STRENGTH, MAX_STRENGTH)
        check_range("detail_strength", detail_strength, -MAX_STRENGTH, MAX_STRENGTH)
        picture = to_rgb(image)
        normals = _with_strength(picture, source, strength)
        if detail is not None:
            relief = _with_strength(to_rgb(detail), source, detail_strength)
            normals = blend_normals(normals, relief.expand(len(normals), -1, -1, -1) if len(relief) == 1 else relief)
        converted = encode_normal_map(normals, NormalMapCoding(target))
        return (to_output(torch.where(picture.amax(1, keepdim=True) > _NO_DIRECTION, converted, 0)),)


def _with_strength(picture: Tensor, source: str, strength: float) -> Tensor:
    """(B, 3, H, W) vectors in OPENGL axes; where the picture is black, towards the viewer."""
    stored = picture.where(picture.amax(1, keepdim=True) > _NO_DIRECTION, 0.5)
    return scale_normal_strength(decode_normal_map(stored, NormalMapCoding(source)), strength)


NODES = (RenderDepth, RenderNormals, ConvertNormalMap)
