"""Small camera moves through an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.views.parallax import camera_path, parallax_of_estimate
from ..geometry.views.transparency import Layers, split_layers
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.inference.memory_budget import check_result_fits
from ..options.views import FramesOptions
from .batches import for_all, join_outputs, unclamped_output, with_progress
from .effect_inputs import check_depth_linked, depth_input, effect_geometry, layers_with, with_alpha
from .option_widgets import option_widgets, takes
from .widgets import EFFECTS, Inputs, geometry_input, image_input


@takes(FramesOptions)
class DepthParallax:
    """Renders a small camera move through a still image."""

    NODE_ID = "DepthNormal_DepthParallax"
    DISPLAY_NAME = "Depth Parallax"
    DESCRIPTION = (
        "Moves the camera a little through an image by its depth: frames of an orbit, a swing or a dolly that loop. "
        "Near things pass in front of far ones, and the background is continued behind them. Takes any pack's depth "
        "map, or this pack's geometry."
    )
    CATEGORY, FUNCTION = EFFECTS, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("frames",)
    OUTPUT_TOOLTIPS: ClassVar = (
        "The frames in order, at the image's size, for Create Video; of a batch, those of the first image come first.",
    )
    SEARCH_ALIASES = (
        "parallax, 3d photo, 3d ken burns, ken burns, camera move, camera motion, depthflow, image to video, orbit, dolly, zoom, wiggle, "
        "wigglegram, 2.5d, depth video"
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {
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
        """Returns all frames of all images."""
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


NODES = (DepthParallax,)
