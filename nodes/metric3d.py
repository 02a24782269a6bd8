"""The old pack's Metric3D nodes, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..annotators.registry import BUNDLED_MODEL
from ..geometry.estimate import Estimate, Quantity
from ..geometry.levels import MeasureRange, depth_to_nearness, measure_range
from ..model_loader import Model
from ..options.checks import check_choice, check_range
from ..options.map_images import CLIP_NORMALISATIONS, NORMALBAE, PER_IMAGE
from .checks import check_network_size
from .legacy import LegacyNode, annotate_depth, render_depth
from .loading import choose_tiny, load_model
from .model_list import TINY_CHOICE
from .normal_maps import NormalMapNode, normal_map, normal_map_inputs
from .sockets import Inputs
from .widgets import (
    Widget,
    choice_widget,
    clip_normalisation_widget,
    count_widget,
    image_input,
    network_size_widget,
    precision_widget,
    short_side_widget,
)

BACKBONES = ("vit-small", "vit-large", "vit-giant2", BUNDLED_MODEL)
DEFAULT_FOCAL, MAX_FOCAL = 1000, 16384

# the old node's grey levels, from matplotlib: evenly spaced from 0 to _FARTHEST times the farthest depth, in _STEPS steps
_GREYS = (255, 240, 217, 189, 150, 115, 82, 37, 0)
_FARTHEST, _STEPS = 1.1, 256


def _before() -> dict[str, Widget]:
    """Returns the old widgets before `resolution`."""
    backbone = (
        "Which model to run: small (150 MB), large (1.65 GB), giant2 (5.51 GB). It is unclear whether the weights may be used "
        f"commercially. {TINY_CHOICE}; it gives disparity instead of metres."
    )
    unused = "Has no effect on the image, as in the old node. It is kept so that old graphs open unchanged."
    return {
        "backbone": choice_widget(BACKBONES, backbone),
        "fx": count_widget(DEFAULT_FOCAL, 1, MAX_FOCAL, unused, step=1),
        "fy": count_widget(DEFAULT_FOCAL, 1, MAX_FOCAL, unused, step=1),
    }


def _network_size() -> Widget:
    size = (
        "Height in pixels of the network's input, a letterbox of 616 x 1064 pixels that images are fitted into. 0: "
        "its authors' size, whatever the resolution."
    )
    return network_size_widget(size, step=28)


class Metric3dDepthMap(LegacyNode):
    """Depth maps from Metric3D's metres."""

    NODE_ID = "Metric3D-DepthMapPreprocessor"
    DISPLAY_NAME = "Metric3D Depth Map"
    DESCRIPTION = (
        "Makes a depth map from an image with Metric3D v2, near = white. For depth in metres use Depth & Normals (advanced). "
        "It is unclear whether the weights may be used commercially."
    )
    OUTPUT_TOOLTIPS: ClassVar = (
        "The depth map, near = white: 0 m is white, the farthest point nearly black. Short side = resolution, aspect ratio kept.",
    )
    SEARCH_ALIASES: ClassVar = ["depth map", "metric3d", "metric depth", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {"image": image_input()},
            "optional": {
                **_before(),
                "resolution": short_side_widget(),
                "network_size": _network_size(),
                "precision": precision_widget(),
                "normalisation": clip_normalisation_widget(),
            },
        }

    def execute(
        self,
        image: Tensor,
        backbone: str = BACKBONES[0],
        fx: int = DEFAULT_FOCAL,
        fy: int = DEFAULT_FOCAL,
        resolution: int = 512,
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("normalisation", normalisation, CLIP_NORMALISATIONS)
        check_network_size(network_size)
        load = _loader(backbone, fx, fy, precision)
        return (annotate_depth(image, load, resolution, normalisation, network_size or None, show=_greys),)


class Metric3dNormalMap(NormalMapNode):
    """Normal maps from Metric3D."""

    NODE_ID = "Metric3D-NormalMapPreprocessor"
    DISPLAY_NAME = "Metric3D Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with Metric3D v2, in the format of control_v11p_sd15_normalbae. Choose "
        "another coding for Blender or a game engine. It is unclear whether the weights may be used commercially."
    )
    SEARCH_ALIASES: ClassVar = ["normal map", "metric3d", "controlnet normal", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return normal_map_inputs(_network_size(), _before())

    def execute(
        self,
        image: Tensor,
        backbone: str = BACKBONES[0],
        fx: int = DEFAULT_FOCAL,
        fy: int = DEFAULT_FOCAL,
        resolution: int = 512,
        network_size: int = 0,
        precision: str = "auto",
        coding: str = NORMALBAE,
    ) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        return normal_map(image, _loader(backbone, fx, fy, precision), resolution, network_size, coding)


def _loader(backbone: str, fx: int, fy: int, precision: str) -> Callable[[], Model]:
    """Checks the widgets that choose the model and returns a function that loads it."""
    check_choice("backbone", backbone, BACKBONES)
    check_range("fx", fx, 1, MAX_FOCAL)
    check_range("fy", fy, 1, MAX_FOCAL)
    model = BUNDLED_MODEL if backbone == BUNDLED_MODEL else f"metric3d-{backbone}"
    return partial(load_model, model, precision, choose_tiny("backbone"))


def _greys(estimate: Estimate, measure: MeasureRange = measure_range) -> Tensor:
    """Renders the old depth map: 0 metres white, the farthest nearly black. It interpolates between the middles of the old grey steps."""
    depth, quantity, valid = estimate.known_depth()
    if quantity is not Quantity.METRIC_DEPTH:  # the bundled model's depth
        return render_depth(estimate, measure)
    farthest, _ = measure(depth_to_nearness(depth, quantity), valid, (0.0, 100.0))  # metres as nearness: negative
    levels = depth.new_tensor(_GREYS) / 255
    last = len(levels) - 1
    # NaN has no index.
    step = depth.where(valid, 0) / (-farthest * _FARTHEST) * _STEPS - 0.5
    position = (step * (last / (_STEPS - 1))).clamp(0, last)
    below = position.long().clamp(max=last - 1)
    return torch.lerp(levels[below], levels[below + 1], position - below).where(valid, 0)


NODES = (Metric3dDepthMap, Metric3dNormalMap)
