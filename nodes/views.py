"""Stereo pairs, and small camera moves through an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.kinds import Projection
from ..geometry.views.parallax import camera_path, parallax_of_estimate
from ..geometry.views.stereo import compose, compose_holes, disparity_range
from ..geometry.views.transparency import Layers, split_layers
from ..geometry.views.vr import half_sphere_size, pair_for, photo_fov
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.inference.memory_budget import check_result_fits
from ..options.views import AROUND_LAYOUTS, PER_CLIP, VR_LAYOUTS, FramesOptions, StereoNodeOptions, StereoOptions
from .batches import for_all, join_outputs, outputs_together, unclamped_output, with_progress
from .effect_inputs import check_depth_linked, depth_input, effect_geometry, images_with, layers_with, with_alpha
from .option_widgets import Node, option_widgets, takes
from .widgets import EFFECTS, geometry_input, image_input


@takes(StereoOptions, StereoNodeOptions)
class Stereo(Node):
    """Makes stereo pairs from images and their depth."""

    NODE_ID = "DepthNormal_Stereo"
    DISPLAY_NAME = "Stereo 3D"
    DESCRIPTION = (
        "Makes an image or a video three-dimensional by its depth: side by side, top and bottom, cross-eyed, an anaglyph for "
        "red-cyan glasses, or VR180 and 360° panoramas for headsets. The background is continued behind near things. Takes any pack's "
        "depth map, or this pack's geometry."
    )
    CATEGORY = EFFECTS
    OUTPUTS: ClassVar = {
        "stereo": ("IMAGE", "Both eyes' images in the chosen layout."),
        "holes": (
            "MASK",
            "Mask of the pixels that had to be filled in, behind near things or beside the image, in the same layout; "
            "for an inpainting model.",
        ),
    }
    SEARCH_ALIASES = (
        "stereo, stereoscopic, sbs, side by side, 3d, 3d image, 3d video, anaglyph, vr, vr180, 360 stereo, ods, top bottom, cross-eyed, "
        "depth to stereo"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("The image, or the frames of a video.")},
        "optional": {
            **option_widgets(StereoNodeOptions, until="normalisation"),
            **option_widgets(StereoOptions, until="eye_distance"),
            **option_widgets(StereoNodeOptions, since="normalisation", until="fov"),
            "depth": depth_input("Depth map of the image."),
            "geometry": geometry_input(
                "Depth of the image as numbers, e.g. from Depth & Normals or, of a panorama, Estimate Panorama. If linked, depth is "
                "ignored."
            ),
            **option_widgets(StereoOptions, since="eye_distance", until="eye_size"),
            **option_widgets(StereoNodeOptions, since="fov"),
            **option_widgets(StereoOptions, since="eye_size"),
        },
    }

    def execute(
        self, options: StereoOptions, more: StereoNodeOptions, image: Tensor, depth: Tensor | None = None, geometry: Estimate | None = None
    ) -> tuple[Tensor, Tensor]:
        layout, fov, per_clip = more.layout, more.fov, more.normalisation == PER_CLIP
        images = for_all(with_alpha(image), geometry, (depth,))
        check_depth_linked(geometry, depth)
        whole = effect_geometry(images, geometry, depth)
        ends = disparity_range(whole, per_clip=True) if per_clip else None
        counting = with_progress(images_with(images, whole), len(images))
        if layout in VR_LAYOUTS and whole.projection is Projection.PERSPECTIVE:
            # All frames of a batch need one size, and those of a clip one field of view.
            options = replace(options, eye_size=options.eye_size or half_sphere_size(whole, max(images.shape[-2:]), fov))
            fov = photo_fov(whole, fov) if per_clip else fov
        check_result_fits(len(images), *_result_size(images, layout, options.eye_size))
        pairs = (pair_for(image, estimate, layout, options, ends, fov) for image, estimate in counting)
        parts = ((compose(pair, layout, options.anaglyph), compose_holes(pair, layout)) for pair in pairs)
        stereo, holes = join_outputs((outputs_together(self.RETURN_TYPES, part) for part in parts), len(images))
        return stereo, holes


def _result_size(images: Tensor, layout: str, eye_size: int) -> tuple[int, int]:
    """Height and width of the stereo image; `eye_size` 0 = the image's."""
    height, width = images.shape[-2:]
    if layout in VR_LAYOUTS and (eye_size or layout not in AROUND_LAYOUTS):
        height = eye_size or max(2, height // 2 * 2)
        width = 2 * height if layout in AROUND_LAYOUTS else height
    if layout == "anaglyph" or layout.startswith("half"):
        return height, width
    return (2 * height, width) if layout.endswith("tb") else (height, 2 * width)


@takes(FramesOptions)
class DepthParallax(Node):
    """Renders a small camera move through a still image."""

    NODE_ID = "DepthNormal_DepthParallax"
    DISPLAY_NAME = "Depth Parallax"
    DESCRIPTION = (
        "Moves the camera a little through an image by its depth: frames of an orbit, a swing or a dolly that loop. "
        "Near things pass in front of far ones, and the background is continued behind them. Takes any pack's depth "
        "map, or this pack's geometry."
    )
    CATEGORY = EFFECTS
    OUTPUTS: ClassVar = {
        "frames": ("IMAGE", "The frames in order, at the image's size, for Create Video; of a batch, those of the first image come first.")
    }
    SEARCH_ALIASES = (
        "parallax, 3d photo, 3d ken burns, ken burns, camera move, camera motion, depthflow, image to video, orbit, dolly, zoom, wiggle, "
        "wigglegram, 2.5d, depth video"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("The image to animate, or a batch.")},
        "optional": {
            **option_widgets(FramesOptions),
            "depth": depth_input("Depth map of the image."),
            "geometry": geometry_input(
                "Depth of the image as numbers, with its camera, e.g. from Depth & Normals. If linked, depth is ignored."
            ),
        },
    }

    def execute(
        self, options: FramesOptions, image: Tensor, depth: Tensor | None = None, geometry: Estimate | None = None
    ) -> tuple[Tensor]:
        images = for_all(with_alpha(image), geometry, (depth,))
        check_depth_linked(geometry, depth)
        layers = split_layers(images, checked=True)
        whole = effect_geometry(layers.shown, geometry, depth)
        path = camera_path(options.move, options.frames, options.amount)
        total = len(images) * len(path)
        check_result_fits(total, *images.shape[-2:])
        views = (view for layer, estimate in layers_with(layers, whole) for view in _views(layer, estimate, path, options))
        return join_outputs(((unclamped_output(view),) for view in with_progress(views, total)), total)


def _views(layer: Layers, estimate: Estimate, path: Tensor, move: FramesOptions) -> Iterator[Tensor]:
    for view in layer.each_through(lambda image: parallax_of_estimate(image, estimate, path, move.focus, move.border)):
        throw_if_interrupted()
        yield view


NODES = (Stereo,)
