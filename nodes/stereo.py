"""The node for stereo pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ..geometry.checks import check_choice
from ..geometry.estimate import Estimate
from ..geometry.kinds import Projection
from ..geometry.views.stereo import (
    ANAGLYPHS,
    AROUND_LAYOUTS,
    EYE_DISTANCE,
    EYE_SIZES,
    LAYOUTS,
    MAX_DIVERGENCE,
    MAX_EYE_DISTANCE,
    ORIGINALS,
    VR_LAYOUTS,
    StereoOptions,
    compose,
    compose_holes,
    disparity_range,
)
from ..geometry.views.vr import half_sphere_size, pair_for, photo_fov
from ..model_loader.inference.memory_budget import check_result_fits
from .batches import for_all, join_outputs, mask_output, unclamped_output, with_progress
from .effect_inputs import check_depth_linked, check_numbers, depth_input, effect_geometry, images_with, number_widgets, with_alpha
from .sockets import EFFECTS, Inputs
from .widgets import PER_CLIP, PER_IMAGE, as_advanced, choice_widget, count_widget, geometry_input, image_input

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
_HEADSET_NUMBERS = {
    "eye_distance": (
        (EYE_DISTANCE, 0.0, MAX_EYE_DISTANCE, 1.0),
        "Of vr180 and 360: distance of the eyes in millimetres. 63: the true size where depth is in metres; more looks deeper and smaller.",
    ),
    "fov": (
        (0.0, 0.0, 170.0, 0.5),
        "Of vr180: field of view of a photo's longer side in degrees. 0: the geometry's own, or 55. A larger one shows the photo larger.",
    ),
}
_EYE_SIZE = "Of vr180 and 360: rows of each eye's image, an even number from 64. 0: as fine as the image, for photos at most 4096."


class Stereo:
    """Makes stereo pairs from images and their depth."""

    NODE_ID = "DepthNormal_Stereo"
    DISPLAY_NAME = "Stereo 3D"
    DESCRIPTION = (
        "Makes an image or a video three-dimensional by its depth: side by side, top and bottom, cross-eyed, an anaglyph for "
        "red-cyan glasses, or VR180 and 360° panoramas for headsets. The background is continued behind near things. Takes any pack's "
        "depth map, or this pack's geometry."
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
        "360 stereo",
        "ods",
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
            "without glasses. anaglyph: for red-cyan glasses. For headsets, vr180: half spheres of a photo or a panorama side by side; "
            "360: a panorama for both eyes."
        )
        original = "Which eye gets the image unchanged. middle: neither; both are rendered, and each has half as much to fill in."
        normalisation = (
            "Range from nearest to farthest. per_image: of each image. per_clip: of the whole batch, so that a video does not flicker."
        )
        anaglyph = (
            "Of the layout anaglyph: its colours. half: the left eye sees grey, which is calm; red looks brown. colour: the image's; "
            "red and blue things flicker. grey: none, the calmest."
        )
        return {
            "required": {"image": image_input("The image, or the frames of a video.")},
            "optional": {
                "layout": choice_widget(LAYOUTS, layout),
                **number_widgets(_NUMBERS),
                "original": choice_widget(ORIGINALS, original),
                "normalisation": choice_widget((PER_IMAGE, PER_CLIP), normalisation),
                "depth": depth_input("Depth map of the image."),
                "geometry": geometry_input(
                    "Depth of the image as numbers, e.g. from Depth & Normals or, of a panorama, Estimate Panorama. If linked, depth is "
                    "ignored."
                ),
                **{name: as_advanced(widget) for name, widget in number_widgets(_HEADSET_NUMBERS).items()},
                "eye_size": count_widget(0, 0, EYE_SIZES[1], _EYE_SIZE, step=2, advanced=True),
                "anaglyph": choice_widget(ANAGLYPHS, anaglyph, advanced=True),
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
        eye_distance: float = EYE_DISTANCE,
        fov: float = 0.0,
        eye_size: int = 0,
        anaglyph: str = ANAGLYPHS[0],
    ) -> tuple[Tensor, Tensor]:
        """Returns a stereo image for each image, and the mask of filled pixels."""
        check_choice("layout", layout, LAYOUTS)
        check_choice("normalisation", normalisation, (PER_IMAGE, PER_CLIP))
        check_numbers(_NUMBERS, {"divergence": divergence, "convergence": convergence})
        check_numbers(_HEADSET_NUMBERS, {"eye_distance": eye_distance, "fov": fov})
        options = StereoOptions(divergence, convergence, original, eye_distance, eye_size, anaglyph)
        images = for_all(with_alpha(image), geometry, (depth,))
        check_depth_linked(geometry, depth)
        whole = effect_geometry(images, geometry, depth)
        ends = disparity_range(whole, per_clip=True) if normalisation == PER_CLIP else None
        counting = with_progress(images_with(images, whole), len(images))
        if layout in VR_LAYOUTS and whole.projection is Projection.PERSPECTIVE:
            # The frames of a batch have one size, and those of a clip one field of view.
            options = replace(options, eye_size=eye_size or half_sphere_size(whole, max(images.shape[-2:]), fov))
            fov = photo_fov(whole, fov) if normalisation == PER_CLIP else fov
        check_result_fits(len(images), *_result_size(images, layout, options.eye_size))
        pairs = (pair_for(image, estimate, layout, options, ends, fov) for image, estimate in counting)
        outputs = ((unclamped_output(compose(pair, layout, anaglyph)), mask_output(compose_holes(pair, layout))) for pair in pairs)
        stereo, holes = join_outputs(outputs, len(images))
        return stereo, holes


def _result_size(images: Tensor, layout: str, eye_size: int) -> tuple[int, int]:
    """Height and width of both eyes' images together; `eye_size` is 0 where it is the image's."""
    height, width = images.shape[-2:]
    if layout in VR_LAYOUTS and (eye_size or layout not in AROUND_LAYOUTS):
        height = eye_size or max(2, height // 2 * 2)
        width = 2 * height if layout in AROUND_LAYOUTS else height
    if layout == "anaglyph" or layout.startswith("half"):
        return height, width
    return (2 * height, width) if layout.endswith("tb") else (height, 2 * width)


NODES = (Stereo,)
