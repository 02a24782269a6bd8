"""Small camera moves through an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.estimate import Estimate
from ..geometry.views.parallax import BORDERS, MOVES, camera_path, parallax_of_estimate
from ..geometry.views.transparency import Layers, split_layers
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.inference.memory_budget import check_result_fits
from .batches import for_all, join_outputs, unclamped_output, with_progress
from .effect_inputs import check_depth_linked, check_numbers, depth_input, effect_geometry, layers_with, number_widgets, with_alpha
from .sockets import EFFECTS, Inputs
from .widgets import choice_widget, count_widget, geometry_input, image_input

MAX_FRAMES = 480

# name: ((default, lowest, highest, step), tooltip)
_MOVE_NUMBERS = {
    "amount": (
        (0.05, 0.0, 0.4, 0.01),
        "How far the camera moves; 1 is the distance to the near end of the scene. Begin at 0.03 with depth of tiny. Above 0.1 the "
        "invented background shows.",
    ),
    "focus": ((0.5, 0.0, 1.0, 0.05), "Depth that does not move when the camera goes sideways: 0 the farthest, 1 the nearest."),
}


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
    SEARCH_ALIASES: ClassVar = [
        "parallax",
        "3d photo",
        "3d ken burns",
        "ken burns",
        "camera move",
        "camera motion",
        "depthflow",
        "image to video",
        "orbit",
        "dolly",
        "zoom",
        "wiggle",
        "wigglegram",
        "2.5d",
        "depth video",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        move = (
            "Movement of the camera. orbit: a circle. swing: left and right. dolly: forward and back. All end where "
            "they begin, so that they loop."
        )
        border = (
            "What the camera would see beside the image. crop: nothing, as all frames are enlarged, by 1.25 at most. "
            "mirror: the image, mirrored."
        )
        return {
            "required": {"image": image_input("The image to animate, or a batch.")},
            "optional": {
                "move": choice_widget(MOVES, move),
                "frames": count_widget(24, 1, MAX_FRAMES, "Number of frames of one loop.", step=1),
                **number_widgets(_MOVE_NUMBERS),
                "border": choice_widget(BORDERS, border),
                "depth": depth_input("Depth map of the image."),
                "geometry": geometry_input(
                    "Depth of the image as numbers, with its camera, e.g. from Depth & Normals. If linked, depth is ignored."
                ),
            },
        }

    def execute(
        self,
        image: Tensor,
        move: str = MOVES[0],
        frames: int = 24,
        amount: float = 0.05,
        focus: float = 0.5,
        border: str = BORDERS[0],
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
    ) -> tuple[Tensor]:
        """Returns all frames of all images."""
        check_choice("move", move, MOVES)
        check_choice("border", border, BORDERS)
        check_range("frames", frames, 1, MAX_FRAMES)
        check_numbers(_MOVE_NUMBERS, {"amount": amount, "focus": focus})
        images = for_all(with_alpha(image), geometry, (depth,))
        check_depth_linked(geometry, depth)
        layers = split_layers(images)
        whole = effect_geometry(layers.shown, geometry, depth)
        path = camera_path(move, int(frames), amount)
        total = len(images) * len(path)
        check_result_fits(total, *images.shape[-2:])
        views = (view for layer, estimate in layers_with(layers, whole) for view in _views(layer, estimate, path, focus, border))
        return join_outputs(((unclamped_output(view),) for view in with_progress(views, total)), total)


def _views(layer: Layers, estimate: Estimate, path: Tensor, focus: float, border: str) -> Iterator[Tensor]:
    """Renders an image from each position of the camera's path."""
    for view in layer.each_through(lambda image: parallax_of_estimate(image, estimate, path, focus, border)):
        throw_if_interrupted()
        yield view


NODES = (DepthParallax,)
