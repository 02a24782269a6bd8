"""The old pack's DSINE node, with the same id and widgets, but a correct camera and no black border."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from ..annotators.dsine import MAX_ITERATIONS, DsineOptions
from ..options.checks import check_choice
from ..options.map_images import NORMALBAE
from .checks import check_camera
from .loading import OTHER_NODE, load_model
from .normal_maps import NormalMapNode, normal_map, normal_map_inputs
from .sockets import Inputs
from .widgets import choice_widget, count_widget, network_size_widget, number_widget

DEFAULT_FOV, OLD_MAX_FOV = 60.0, 365.0
DEFAULT_ITERATIONS = 5
CORRECT, AS_OLD = CAMERAS = ("correct", "as the old node")


class DsineNormalMap(NormalMapNode):
    """Normal maps from DSINE."""

    NODE_ID = "DSINE-NormalMapPreprocessor"
    DISPLAY_NAME = "DSINE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with DSINE, in the format of control_v11p_sd15_normalbae. Licence of "
        "Imperial College London: for research only, not for commercial use."
    )
    SEARCH_ALIASES: ClassVar = ["normal map", "dsine", "controlnet normal", "normalbae", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        fov = "Field of view of the image's longer side in degrees, at most 175. 0: unknown, 60 is assumed."
        iterations = "Number of refinement passes, in which neighbouring pixels correct each other's normals. DSINE was trained with 5."
        camera = (
            "Which camera is assumed for the image. correct: the one of fov. as the old node: with the old node's errors "
            "(focal length, image centre), for the same images as before."
        )
        size = (
            "Short side of the network's input in pixels. 0: the same as resolution, as in the old node. The network "
            "was trained at about 480."
        )
        before = {
            "fov": number_widget(DEFAULT_FOV, 0.0, OLD_MAX_FOV, 0.01, fov),
            "iterations": count_widget(DEFAULT_ITERATIONS, 1, MAX_ITERATIONS, iterations),
        }
        return normal_map_inputs(network_size_widget(size), before, {"camera": choice_widget(CAMERAS, camera, advanced=True)})

    def execute(
        self,
        image: Tensor,
        fov: float = DEFAULT_FOV,
        iterations: int = DEFAULT_ITERATIONS,
        resolution: int = 512,
        camera: str = CORRECT,
        network_size: int = 0,
        precision: str = "auto",
        coding: str = NORMALBAE,
    ) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        check_camera(fov)
        check_choice("camera", camera, CAMERAS)
        options = DsineOptions(iterations, old_camera=camera == AS_OLD)
        load = partial(load_model, "dsine", precision, OTHER_NODE)
        return normal_map(image, load, resolution, network_size, coding, at_resolution=True, fov=fov, options=options)


NODES = (DsineNormalMap,)
