"""The old pack's MiDaS nodes, with the same ids, widgets, sizes and display."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

from torch import Tensor

from ..annotators.preprocessing.resizing import SHORT_SIDE
from ..annotators.registry import DEFAULT_MODEL, models_of_family
from ..geometry.conventions import encode_normal_map
from ..geometry.estimate import Axes, Estimate
from ..geometry.surfaces.normals import midas_normals
from ..model_loader import Model
from ..options.checks import check_choice, check_range
from ..options.map_images import CLIP_NORMALISATIONS, CODINGS, NORMAL_1_0, PER_IMAGE
from .legacy import LegacyNode, annotate, annotate_depth
from .loading import choose_tiny, load_model
from .model_list import model_widget
from .sockets import Inputs
from .widgets import (
    background_widget,
    clip_normalisation_widget,
    flatness_widget,
    image_input,
    old_coding_widget,
    precision_widget,
    short_side_widget,
)

DEFAULT_A, MAX_A = math.tau, math.pi * 5
DEFAULT_THRESHOLD = 0.1


def _inputs(a_tooltip: str, threshold_tooltip: str, *, unused: bool = False) -> Inputs:
    """Returns the old widgets in the order in which graphs store them, then the new ones; `unused`: `a` and the threshold do nothing."""
    model_tooltip = (
        "Which MiDaS model to run. dpt-hybrid: the old nodes' model; its weights (493 MB) are downloaded once if no "
        "installed pack has them. tiny: the pack's own small network, a preview without a download."
    )
    size = (
        "Short side of the result in pixels; the aspect ratio is kept. The network runs at this size too: larger "
        "shows more detail and takes longer."
    )
    return {
        "required": {"image": image_input()},
        "optional": {
            "a": flatness_widget(a_tooltip, MAX_A, advanced=unused),
            "bg_threshold": background_widget(threshold_tooltip, advanced=unused),
            "resolution": short_side_widget(size),
            "model": model_widget(models_of_family("midas", "tiny"), model_tooltip, DEFAULT_MODEL),
            "precision": precision_widget(),
        },
    }


class MidasNormalMap(LegacyNode):
    """Normal maps from the slopes of MiDaS disparity."""

    NODE_ID = "MiDaS-NormalMapPreprocessor"
    DISPLAY_NAME = "MiDaS Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with MiDaS, in the format of ControlNet 1.0's normal model "
        "(control_sd15_normal). Choose another coding for control_v11p_sd15_normalbae, Blender or a game engine."
    )
    OUTPUT_TOOLTIPS: ClassVar = ("The normal map: short side = resolution, aspect ratio kept.",)
    SEARCH_ALIASES: ClassVar = ["normal map", "midas", "controlnet normal", "normal preprocessor", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        inputs = _inputs(
            (
                "How flat the surface looks: larger values give flatter normals. It is the length of the axis towards "
                "the viewer, relative to the slopes of the depth."
            ),
            "Where the background begins: pixels farther than this (0 = farthest, 1 = nearest) get a normal that faces the viewer.",
        )
        inputs["optional"]["coding"] = old_coding_widget(NORMAL_1_0)
        return inputs

    def execute(
        self,
        image: Tensor,
        a: float = DEFAULT_A,
        bg_threshold: float = DEFAULT_THRESHOLD,
        resolution: int = 512,
        model: str = DEFAULT_MODEL,
        precision: str = "auto",
        coding: str = NORMAL_1_0,
    ) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        check_range("a", a, 0, MAX_A)
        check_range("bg_threshold", bg_threshold, 0, 1)
        check_choice("coding", coding, CODINGS)
        render = partial(_render_normals, a=a, bg_threshold=bg_threshold, coding=coding)
        return (annotate(image, partial(_load, model, precision), resolution, render, at_resolution=True),)


class MidasDepthMap(LegacyNode):
    """Depth maps from MiDaS disparity."""

    NODE_ID = "MiDaS-DepthMapPreprocessor"
    DISPLAY_NAME = "MiDaS Depth Map"
    DESCRIPTION = "Makes a depth map from an image with MiDaS, near = white, as ControlNet's depth models expect it."
    OUTPUT_TOOLTIPS: ClassVar = ("Relative disparity (inverse depth), each image from 0 (farthest, black) to 1 (nearest, white).",)
    SEARCH_ALIASES: ClassVar = ["depth map", "midas", "disparity", "controlnet depth", "depth preprocessor"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        unused = "Has no effect on the depth map. It is kept so that old graphs open unchanged."
        inputs = _inputs(unused, unused, unused=True)
        inputs["optional"]["normalisation"] = clip_normalisation_widget()
        return inputs

    @classmethod
    def VALIDATE_INPUTS(cls, a: float | None = DEFAULT_A, bg_threshold: float | None = DEFAULT_THRESHOLD) -> bool:  # noqa: N802
        """Accepts any numbers where they have no effect: ComfyUI checks no range of the inputs that this names."""
        return True

    def execute(
        self,
        image: Tensor,
        a: float = DEFAULT_A,
        bg_threshold: float = DEFAULT_THRESHOLD,
        resolution: int = 512,
        model: str = DEFAULT_MODEL,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("normalisation", normalisation, CLIP_NORMALISATIONS)
        return (annotate_depth(image, partial(_load, model, precision), resolution, normalisation, at_resolution=True),)


def _load(model: str, precision: str) -> Model:
    """Loads a model that runs with the resolution as its input's short side, as in the old nodes, whatever its authors' size."""
    return load_model(model, precision, choose_tiny("model")).with_resizing(SHORT_SIDE)


def _render_normals(estimate: Estimate, a: float, bg_threshold: float, coding: str) -> Tensor:
    assert estimate.depth is not None
    return encode_normal_map(midas_normals(estimate.depth, a, bg_threshold), coding, source=Axes.SCANNET)


NODES = (MidasNormalMap, MidasDepthMap)
