"""The node for stereo pairs."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..geometry.checks import check_choice
from ..geometry.estimate import Estimate
from ..geometry.views.stereo import (
    LAYOUTS,
    MAX_DIVERGENCE,
    ORIGINALS,
    StereoOptions,
    compose,
    compose_holes,
    disparity_range,
    stereo_pair,
)
from ..utils import to_rgb
from .batches import join_outputs, to_output, with_progress
from .effect_inputs import check_depth_linked, check_numbers, depth_input, effect_geometry, images_with, number_widgets
from .sockets import EFFECTS, Inputs
from .widgets import PER_CLIP, PER_IMAGE, choice_widget, geometry_input, image_input

_NUMBERS = {
    "divergence": (
        (2.0, 0.0, MAX_DIVERGENCE, 0.1),
        "Strength of the 3D effect: how far near and far things shift between the two eyes' images, in percent of the width. 2 "
        "is comfortable, 5 strong.",
    ),
    "convergence": (
        (0.5, 0.0, 1.0, 0.05),
        "Depth that lies on the screen: 0 the farthest (everything comes out of the screen), 1 the nearest (everything lies behind it).",
    ),
}


class Stereo:
    """Makes stereo pairs from images and their depth."""

    NODE_ID = "DepthNormal_Stereo"
    DISPLAY_NAME = "Stereo 3D"
    DESCRIPTION = (
        "Makes an image or a video three-dimensional by its depth: side by side, top and bottom, cross-eyed, or an anaglyph for "
        "red-cyan glasses. The background is continued behind near things. Takes any pack's depth map, or this pack's geometry."
    )
    CATEGORY, FUNCTION = EFFECTS, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("stereo", "holes")
    OUTPUT_TOOLTIPS: ClassVar = (
        "Both eyes' images in the chosen layout.",
        (
            "Mask of the pixels that had to be filled in, behind near things or beside the image, in the same layout; "
            "for an inpainting model."
        ),
    )
    SEARCH_ALIASES: ClassVar = [
        "stereo",
        "stereoscopic",
        "sbs",
        "side by side",
        "3d",
        "3d image",
        "3d video",
        "anaglyph",
        "vr",
        "vr180",
        "top bottom",
        "cross-eyed",
        "depth to stereo",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        layout = (
            "Arrangement of the two eyes' images. sbs: side by side. tb: top and bottom. full: each eye's image at "
            "full size; half: both squeezed into the image's size. cross-eyed: left and right swapped, to be viewed "
            "without glasses. anaglyph: for red-cyan glasses."
        )
        original = "Which eye gets the image unchanged. middle: neither; both are rendered, and each has half as much to fill in."
        normalisation = (
            "Range from nearest to farthest. per_image: of each image. per_clip: of the whole batch, so that a video does not flicker."
        )
        return {
            "required": {"image": image_input("The image, or the frames of a video.")},
            "optional": {
                "layout": choice_widget(LAYOUTS, layout),
                **number_widgets(_NUMBERS),
                "original": choice_widget(ORIGINALS, original),
                "normalisation": choice_widget((PER_IMAGE, PER_CLIP), normalisation),
                "depth": depth_input("Depth map of the image."),
                "geometry": geometry_input("Depth of the image as numbers, e.g. from Depth & Normals. If linked, depth is ignored."),
            },
        }

    def execute(
        self,
        image: Tensor,
        layout: str = LAYOUTS[0],
        divergence: float = 2.0,
        convergence: float = 0.5,
        original: str = ORIGINALS[0],
        normalisation: str = PER_IMAGE,
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns a stereo image for each image, and the mask of filled pixels."""
        check_choice("layout", layout, LAYOUTS)
        check_choice("normalisation", normalisation, (PER_IMAGE, PER_CLIP))
        check_numbers(_NUMBERS, {"divergence": divergence, "convergence": convergence})
        options = StereoOptions(divergence, convergence, original)
        images = to_rgb(image)
        check_depth_linked(geometry, depth)
        whole = effect_geometry(images, geometry, depth)
        ends = disparity_range(whole, per_clip=True) if normalisation == PER_CLIP else None
        counting = with_progress(images_with(images, whole), len(images))
        pairs = (stereo_pair(image, estimate, options, ends) for image, estimate in counting)
        outputs = ((to_output(compose(pair, layout)), to_output(compose_holes(pair, layout))[..., 0]) for pair in pairs)
        stereo, holes = join_outputs(outputs, len(images))
        return stereo, holes


NODES = (Stereo,)
