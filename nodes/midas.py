"""The old pack's MiDaS nodes, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from ..annotators.preprocessing.resizing import SHORT_SIDE
from ..annotators.registry import DEFAULT_MODEL, models_of_family
from ..geometry.conventions import encode_normal_map
from ..geometry.estimate import Axes, Estimate
from ..geometry.surfaces.normals import midas_normals
from ..model_loader import Model
from ..options.legacy import MidasDepthOptions, MidasNormalsOptions, MidasUnusedOptions
from .legacy import LegacyNode, annotate, annotate_depth, old_inputs
from .loading import choose_tiny, load_model, model_widget
from .option_widgets import option_widgets, takes
from .widgets import Inputs, Widget


def _model_widget() -> Widget:
    tooltip = (
        "Which MiDaS model to run. dpt-hybrid: the old nodes' model; its weights (493 MB) are downloaded once if no "
        "installed pack has them. tiny: the pack's own small network, a preview without a download."
    )
    return model_widget(models_of_family("midas", "tiny"), tooltip, DEFAULT_MODEL)


@takes(MidasNormalsOptions)
class MidasNormalMap(LegacyNode):
    """Normal maps from the slopes of MiDaS disparity."""

    NODE_ID = "MiDaS-NormalMapPreprocessor"
    DISPLAY_NAME = "MiDaS Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with MiDaS, in the format of ControlNet 1.0's normal model "
        "(control_sd15_normal). Choose another coding for control_v11p_sd15_normalbae, Blender or a game engine."
    )
    OUTPUT_TOOLTIPS: ClassVar = ("The normal map: short side = resolution, aspect ratio kept.",)
    SEARCH_ALIASES = "normal map, midas, controlnet normal, normal preprocessor, surface normals"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return old_inputs(MidasNormalsOptions, {"model": _model_widget()}, "precision")

    def execute(self, options: MidasNormalsOptions, image: Tensor, model: str) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        render = partial(_render_normals, a=options.a, bg_threshold=options.bg_threshold, coding=options.coding)
        return (annotate(image, partial(_load, model, options.precision), options.resolution, render, at_resolution=True),)


@takes(MidasDepthOptions)
class MidasDepthMap(LegacyNode):
    """Depth maps from MiDaS disparity."""

    NODE_ID = "MiDaS-DepthMapPreprocessor"
    DISPLAY_NAME = "MiDaS Depth Map"
    DESCRIPTION = "Makes a depth map from an image with MiDaS, near = white, as ControlNet's depth models expect it."
    OUTPUT_TOOLTIPS: ClassVar = ("Relative disparity (inverse depth), each image from 0 (farthest, black) to 1 (nearest, white).",)
    SEARCH_ALIASES = "depth map, midas, disparity, controlnet depth, depth preprocessor"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        inputs = old_inputs(MidasDepthOptions, {"model": _model_widget()}, "precision")
        return {**inputs, "optional": {**option_widgets(MidasUnusedOptions), **inputs["optional"]}}

    @classmethod
    def VALIDATE_INPUTS(cls, a: float | None = None, bg_threshold: float | None = None) -> bool:  # noqa: N802
        """Accepts any value of these unused inputs: ComfyUI checks no range of inputs that this method names."""
        return True

    def execute(self, options: MidasDepthOptions, image: Tensor, model: str, a: object, bg_threshold: object) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        load = partial(_load, model, options.precision)
        return (annotate_depth(image, load, options.resolution, options.normalisation, at_resolution=True),)


def _load(model: str, precision: str) -> Model:
    """Loads a model whose input's short side is the resolution, as in the old nodes, whatever its authors' size."""
    return load_model(model, precision, choose_tiny("model")).with_resizing(SHORT_SIDE)


def _render_normals(estimate: Estimate, a: float, bg_threshold: float, coding: str) -> Tensor:
    assert estimate.depth is not None
    return encode_normal_map(midas_normals(estimate.depth, a, bg_threshold), coding, source=Axes.SCANNET)


NODES = (MidasNormalMap, MidasDepthMap)
