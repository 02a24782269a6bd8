"""The old pack's nodes of BAE, DSINE and Metric3D, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..annotators.dsine import DsineOptions
from ..annotators.registry import BUNDLED_MODEL
from ..geometry.estimate import Estimate
from ..geometry.kinds import ZERO_AT_CAMERA
from ..geometry.levels import MeasureRange, depth_to_nearness, measure_range
from ..model_loader import Model
from ..options.checks import check_choice
from ..options.legacy import AS_OLD, DsineNodeOptions, Metric3dDepthOptions, Metric3dNormalsOptions, NormalsOptions
from .depth_maps import DepthMapNode
from .legacy import LegacyNode, annotate, old_inputs, render_depth, render_normals
from .loading import OTHER_NODE, TINY_CHOICE, choose_tiny, load_model
from .option_widgets import takes
from .widgets import Widget, choice_widget


class NormalMapNode(LegacyNode):
    """Base class of the old nodes of normal models."""

    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The normal map in the chosen coding: short side = resolution, aspect ratio kept.")}


def normal_map(options: NormalsOptions, image: Tensor, load: Callable[[], Model], /, **more: Any) -> tuple[Tensor]:
    """Makes one normal map per image by a model that predicts normals; `load`, `more` and errors as in `annotate`."""
    render = partial(render_normals, resolution=options.resolution, coding=options.coding)
    return (annotate(image, load, options.resolution, render, options.network_size, **more),)


@takes(NormalsOptions)
class BaeNormalMap(NormalMapNode):
    """Normal maps from BAE."""

    NODE_ID = "BAE-NormalMapPreprocessor"
    DISPLAY_NAME = "BAE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with BAE's network, in the format of ControlNet 1.1's normal model "
        "(control_v11p_sd15_normalbae). Choose another coding for Blender or a game engine. The code is MIT; it is "
        "unclear whether the weights may be used commercially."
    )
    SEARCH_ALIASES = "bae, normalbae, controlnet normal, surface normals"
    INPUTS: ClassVar = old_inputs(NormalsOptions)

    def execute(self, options: NormalsOptions, image: Tensor) -> tuple[Tensor]:
        return normal_map(options, image, partial(load_model, "bae-normal", options.precision, OTHER_NODE), at_resolution=True)


@takes(DsineNodeOptions)
class DsineNormalMap(NormalMapNode):
    """Normal maps from DSINE."""

    NODE_ID = "DSINE-NormalMapPreprocessor"
    DISPLAY_NAME = "DSINE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with DSINE, in the format of control_v11p_sd15_normalbae. Licence of "
        "Imperial College London: for research only, not for commercial use."
    )
    SEARCH_ALIASES = "normal map, dsine, controlnet normal, normalbae, surface normals"
    INPUTS: ClassVar = old_inputs(DsineNodeOptions)

    def execute(self, options: DsineNodeOptions, image: Tensor) -> tuple[Tensor]:
        own = DsineOptions(options.iterations, old_camera=options.camera == AS_OLD)
        load = partial(load_model, "dsine", options.precision, OTHER_NODE)
        return normal_map(options, image, load, at_resolution=True, fov=options.fov, options=own)


BACKBONES = {**{f"vit-{size}": f"metric3d-vit-{size}" for size in ("small", "large", "giant2")}, BUNDLED_MODEL: BUNDLED_MODEL}

# the old node's grey levels, from matplotlib: evenly spaced from 0 to _FARTHEST times the farthest depth, in _STEPS steps
_GREYS = (255, 240, 217, 189, 150, 115, 82, 37, 0)
_FARTHEST, _STEPS = 1.1, 256


def _backbone_widget() -> Widget:
    tooltip = (
        "Which model to run: small (150 MB), large (1.65 GB), giant2 (5.51 GB). It is unclear whether the weights may be used "
        f"commercially. {TINY_CHOICE}; it gives disparity instead of metres."
    )
    return choice_widget(list(BACKBONES), tooltip)


def _greys(estimate: Estimate, measure: MeasureRange = measure_range) -> Tensor:
    """Renders the old depth map: 0 metres white, the farthest nearly black. Interpolates between the centres of the old grey steps."""
    depth, quantity, valid = estimate.known_depth()
    if quantity not in ZERO_AT_CAMERA:  # the bundled model's depth
        return render_depth(estimate, measure)
    farthest, _ = measure(depth_to_nearness(depth, quantity), valid, (0.0, 100.0))  # metres as nearness: negative
    levels = depth.new_tensor(_GREYS) / 255
    last = len(levels) - 1
    # NaN has no index.
    step = depth.where(valid, 0) / (-farthest * _FARTHEST) * _STEPS - 0.5
    position = (step * (last / (_STEPS - 1))).clamp(0, last)
    below = position.long().clamp(max=last - 1)
    return torch.lerp(levels[below], levels[below + 1], position - below).where(valid, 0)


@takes(Metric3dDepthOptions)
class Metric3dDepthMap(DepthMapNode):
    """Depth maps from Metric3D's metres."""

    NODE_ID = "Metric3D-DepthMapPreprocessor"
    DISPLAY_NAME = "Metric3D Depth Map"
    DESCRIPTION = (
        "Makes a depth map from an image with Metric3D v2, near = white. For depth in metres use Depth & Normals (advanced). "
        "It is unclear whether the weights may be used commercially."
    )
    OUTPUTS: ClassVar = {
        "IMAGE": (
            "IMAGE",
            "The depth map, near = white: 0 m is white, the farthest point nearly black. Short side = resolution, aspect ratio kept.",
        )
    }
    SEARCH_ALIASES = "depth map, metric3d, metric depth, controlnet depth"
    WIDGET, CHOICES, SHOW = "backbone", BACKBONES, staticmethod(_greys)
    INPUTS: ClassVar = old_inputs(Metric3dDepthOptions, {"backbone": _backbone_widget()}, "fx")


@takes(Metric3dNormalsOptions)
class Metric3dNormalMap(NormalMapNode):
    """Normal maps from Metric3D."""

    NODE_ID = "Metric3D-NormalMapPreprocessor"
    DISPLAY_NAME = "Metric3D Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with Metric3D v2, in the format of control_v11p_sd15_normalbae. Choose "
        "another coding for Blender or a game engine. It is unclear whether the weights may be used commercially."
    )
    SEARCH_ALIASES = "normal map, metric3d, controlnet normal, surface normals"
    INPUTS: ClassVar = old_inputs(Metric3dNormalsOptions, {"backbone": _backbone_widget()}, "fx")

    def execute(self, options: Metric3dNormalsOptions, image: Tensor, backbone: str) -> tuple[Tensor]:
        check_choice("backbone", backbone, list(BACKBONES))
        return normal_map(options, image, partial(load_model, BACKBONES[backbone], options.precision, choose_tiny("backbone")))
