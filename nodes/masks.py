"""Masks by depth, for a range of distances, around a clicked point or in a box, and cut-outs."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.effects.makers import cut_by_mask
from ..geometry.views.transparency import split_layers
from ..options.masks import CutoutOptions, MaskOptions, SelectionOptions
from ..options.sky import SkyOptions
from ..utils import resize_map, to_planar
from .checks import check_geometry
from .effect_inputs import check_depth_linked, depth_input, masks_of, refuse_no_mask
from .effect_runs import darkened, effect_layers, effect_of, on_grey, shown_effect
from .option_widgets import option_widgets, takes
from .sockets import EFFECTS, Inputs
from .widgets import geometry_input, image_input

_GEOMETRY = "Depth as numbers, e.g. from Depth & Normals. If linked, depth is ignored."
_CHOOSE = "; click on a thing or drag a box to choose another"


@takes(MaskOptions)
class DepthMask:
    """Makes masks by distance or around a point."""

    NODE_ID = "DepthNormal_DepthMask"
    DISPLAY_NAME = "Depth Mask"
    DESCRIPTION = (
        "Makes a mask of everything between two distances, in metres or percent of the way from near to far, or of "
        "the surface or the whole object at a point of the image, or the object in a box. "
        "Takes any pack's depth map, or this pack's geometry."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("MASK",)
    OUTPUT_TOOLTIPS: ClassVar = ("The mask: 1 = selected. It has the image's size, or without an image the depth's.",)
    SEARCH_ALIASES: ClassVar = [
        "mask by depth",
        "mask from depth",
        "depth range",
        "depth threshold",
        "select by distance",
        "segment",
        "foreground mask",
        "matte",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {},
            "optional": {
                "geometry": geometry_input(_GEOMETRY),
                "depth": depth_input(),
                "image": image_input("Image that the node shows the mask on; the mask gets its size."),
                **option_widgets(MaskOptions),
            },
        }

    def execute(self, options: MaskOptions, geometry: Any = None, depth: Tensor | None = None, image: Tensor | None = None) -> Any:
        """Returns one mask for each image."""
        check_depth_linked(geometry, depth)
        layers = split_layers(_blank(geometry, depth), checked=True) if image is None else effect_layers(image, geometry, depth)
        return shown_effect(self.RETURN_TYPES, effect_of("mask", options, layers, geometry, depth), len(layers.shown), darkened)


class SkyMask:
    """Makes masks of the sky."""

    NODE_ID = "DepthNormal_SkyMask"
    DISPLAY_NAME = "Sky Mask"
    DESCRIPTION = (
        "Makes a mask of the sky, with a soft border that follows roofs, leaves and hair of the image: to replace the sky, or, mended by "
        "hand, for Fog and Relight. Takes any pack's depth map, or this pack's geometry; models that see skies find more of them."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("MASK",)
    OUTPUT_TOOLTIPS: ClassVar = ("The mask: 1 = sky. Black where no sky was found. It has the image's size.",)
    SEARCH_ALIASES: ClassVar = ["sky", "sky replacement", "replace sky", "sky segmentation", "horizon", "clouds"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {"image": image_input("The image, or a batch.")},
            "optional": {
                "geometry": geometry_input(_GEOMETRY),
                "depth": depth_input(),
            },
        }

    def execute(self, image: Tensor, geometry: Any = None, depth: Tensor | None = None) -> Any:
        """Returns one mask for each image."""
        layers = effect_layers(image, geometry, depth)
        return shown_effect(self.RETURN_TYPES, effect_of("sky", SkyOptions(), layers, geometry, depth), len(layers.shown), darkened)


@takes(CutoutOptions, unless={"mask": SelectionOptions})
class ForegroundCutout:
    """Cuts the foreground out of images."""

    NODE_ID = "DepthNormal_ForegroundCutout"
    DISPLAY_NAME = "Foreground Cut-out"
    DESCRIPTION = (
        "Cuts the foreground out of an image by depth, around a point, in a box, or by a mask: transparent background, a soft "
        "border that follows the image, and no fringe in the colours of the old background."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("cutout", "mask")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The foreground on a transparent background (four channels), for Save Image or for compositing.",
        "Opacity of each pixel of the foreground.",
    )
    SEARCH_ALIASES: ClassVar = ["remove background", "rembg", "cutout", "matting", "alpha", "transparent", "rgba", "foreground"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {"image": image_input("The image to cut, or a batch. Its transparent pixels stay transparent.")},
            "optional": {
                "geometry": geometry_input(
                    "Depth as numbers, if no mask is linked, e.g. from Depth & Normals. If linked, depth is ignored."
                ),
                "depth": depth_input("Depth map, if neither geometry nor a mask is linked."),
                "mask": (
                    "MASK",
                    {
                        "tooltip": (
                            "Mask of the foreground, of any size, e.g. from Depth Mask. If linked, unit, near, far, "
                            "feather, the points, tolerance, select and the box are ignored."
                        )
                    },
                ),
                **option_widgets(CutoutOptions),
            },
        }

    def execute(
        self, options: CutoutOptions, image: Tensor, geometry: Any = None, depth: Tensor | None = None, mask: Tensor | None = None
    ) -> Any:
        """Returns a cut-out and its mask for each image."""
        if mask is None and geometry is None and depth is None:
            raise ValueError("there is neither depth nor a mask: link raw depth to geometry, a depth image to depth, or a mask to mask")
        layers, hint = effect_layers(image, geometry, depth, mask), ""
        if mask is None:
            parts, hint = effect_of("cutout", options, layers, geometry, depth), _CHOOSE * options.whole_foreground
        else:
            masks = zip(layers.split(), _masks(mask, layers.shown).split(1), strict=True)
            parts = ((layer, None, cut_by_mask(layer, each, "mask from the input", options)) for layer, each in masks)
        return shown_effect(self.RETURN_TYPES, parts, len(layers.shown), on_grey, hint)


def _blank(geometry: Any, depth: Tensor | None) -> Tensor:
    """Returns white images of the size of the geometry or depth map, to show masks on; they take no memory."""
    if geometry is None:
        assert depth is not None
        planar = to_planar(depth)
        return torch.ones(1, 1, 1, 1).expand(len(planar), 3, *planar.shape[-2:])
    estimate = check_geometry(geometry)
    return torch.ones(1, 1, 1, 1).expand(estimate.batch, 3, estimate.height, estimate.width)


def _masks(mask: Tensor, images: Tensor) -> Tensor:
    """Converts a MASK (B, H, W) or (H, W) to (B, 1, H, W) in [0, 1] at the images' size."""
    masks = masks_of(mask, "mask", len(images))
    refuse_no_mask(masks, "mask", (images.shape[-2], images.shape[-1]))
    return resize_map(masks, images.shape[-2], images.shape[-1]).expand(len(images), -1, -1, -1).to(images.device)


NODES = (DepthMask, ForegroundCutout, SkyMask)
