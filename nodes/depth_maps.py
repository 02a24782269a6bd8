"""The old pack's nodes of MiDaS, ZoeDepth, Depth Anything and LeReS, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..annotators.leres import LeresOptions
from ..annotators.preprocessing.resizing import SHORT_SIDE
from ..annotators.registry import BUNDLED_MODEL, DEFAULT_MODEL, MODELS, models_of_family
from ..geometry.estimate import Axes, Estimate
from ..geometry.surfaces.normals import midas_normals
from ..model_loader import Model
from ..options.checks import check_choice
from ..options.legacy import (
    DISABLED,
    ENABLED,
    OLD_NODE,
    DepthMapOptions,
    LeresNodeOptions,
    MetricMapOptions,
    MidasDepthOptions,
    MidasNormalsOptions,
    MidasUnusedOptions,
    ZoeDepthAnythingOptions,
    ZoeOptions,
)
from .legacy import WHOLE_RANGE, LegacyNode, Show, annotate, annotate_depth, old_inputs, render_depth, render_normals
from .loading import TINY_CHOICE, by_file_name, choose_tiny, load_model, model_widget
from .option_widgets import option_widgets, takes
from .widgets import Widget, choice_widget

V1_FILES = by_file_name(*(f"depth-anything-{size}" for size in ("large", "base", "small")))
V2_FILES = by_file_name(*(f"depth-anything-v2-{size}" for size in ("giant", "large", "base", "small")))
V2_DEFAULT = "depth_anything_v2_vitl.pth"
V2_ALIASES = "depth map, depth anything v2, disparity, controlnet depth"
ZOE_MODELS = {model: model for model in ("zoedepth-nyu", "zoedepth-kitti", "zoedepth-nyu-kitti", BUNDLED_MODEL)}
METRIC_MODELS = {
    **{size: f"depth-anything-v2-metric-{{0.environment}}-{size}" for size in ("large", "base", "small")},
    BUNDLED_MODEL: BUNDLED_MODEL,
}
ZOE_OR_TINY = {"zoe-depth-anything": "zoe-depth-anything-{0.environment}", BUNDLED_MODEL: BUNDLED_MODEL}
LERES_MODELS = {DISABLED: "leres", ENABLED: "leres-boost"}
LERES_OR_TINY = ("leres", BUNDLED_MODEL)
_TINY = f"{TINY_CHOICE} ({MODELS[BUNDLED_MODEL].licence})."
_TINY_FOR_METRES = f"{_TINY} It gives disparity instead of metres, with more grey levels for near things and fewer for far ones."


class DepthMapNode(LegacyNode):
    """Depth maps by one of several models."""

    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The depth map, near = white: short side = resolution, aspect ratio kept.")}
    WIDGET = "model"
    """Name of the widget that chooses the model."""
    CHOICES: ClassVar[Mapping[str, str]]
    """The model's id, with fields of the options, for each choice of the widget."""
    SHOW: ClassVar[Show] = staticmethod(render_depth)
    """As of `annotate_depth`."""

    def execute(self, options: DepthMapOptions, image: Tensor, **chosen: str) -> tuple[Tensor]:
        choice = chosen[self.WIDGET]
        check_choice(self.WIDGET, choice, list(self.CHOICES))
        load = partial(load_model, self.CHOICES[choice].format(options), options.precision, choose_tiny(self.WIDGET))
        return (annotate_depth(image, load, options.resolution, options.normalisation, options.network_size, show=self.SHOW),)


@takes(ZoeOptions)
class ZoeDepthMap(DepthMapNode):
    """Depth maps from ZoeDepth's metres."""

    NODE_ID = "Zoe-DepthMapPreprocessor"
    DISPLAY_NAME = "Zoe Depth Map"
    DESCRIPTION = "Makes a depth map from an image with ZoeDepth, near = white. For depth in metres use Depth & Normals (advanced)."
    SEARCH_ALIASES = "depth map, zoe, zoedepth, metric depth, controlnet depth"
    CHOICES: ClassVar = ZOE_MODELS
    INPUTS: ClassVar = old_inputs(
        ZoeOptions,
        {
            "model": lambda: model_widget(
                ZOE_MODELS,
                "Which model to run. nyu: rooms, up to 10 m (the old node's). kitti: streets, up to 80 m. nyu-kitti: chooses by the image. "
                "About 1.4 GB each, MIT. " + _TINY_FOR_METRES,
            )
        },
        "network_size",
    )


@takes(DepthMapOptions)
class DepthAnythingMap(DepthMapNode):
    """Depth maps from Depth Anything V1's disparity."""

    NODE_ID = "DepthAnythingPreprocessor"
    DISPLAY_NAME = "Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1, near = white."
    SEARCH_ALIASES = "depth map, depth anything, disparity, controlnet depth"
    WIDGET, CHOICES = "ckpt_name", V1_FILES
    INPUTS: ClassVar = old_inputs(
        DepthMapOptions,
        {
            "ckpt_name": lambda: model_widget(
                V1_FILES, f"Which model to run: large (1.34 GB), base (390 MB), small (99 MB); Apache-2.0. {_TINY}"
            )
        },
        "resolution",
    )


@takes(DepthMapOptions)
class DepthAnythingV2Map(DepthMapNode):
    """Depth maps from Depth Anything V2's disparity."""

    NODE_ID = "DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Relative"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2, near = white. The base, large and giant weights are "
        "CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES = V2_ALIASES
    WIDGET, CHOICES = "ckpt_name", V2_FILES
    INPUTS: ClassVar = old_inputs(
        DepthMapOptions,
        {
            "ckpt_name": lambda: model_widget(
                V2_FILES,
                "Which model to run. vits: 99 MB, Apache-2.0. vitb (390 MB), vitl (1.34 GB), vitg (not published by its authors: add the "
                f"file yourself): CC BY-NC 4.0, not for commercial use. {_TINY}",
                V2_DEFAULT,
            )
        },
        "resolution",
    )


@takes(MetricMapOptions)
class DepthAnythingV2MetricMap(DepthMapNode):
    """Depth maps from Depth Anything V2's metres."""

    NODE_ID = "Metric_DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Metric"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2's metric models: near = white, in equal steps of "
        "metres. Large and base are CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES = "depth map, depth anything v2, metric depth, metres, controlnet depth"
    CHOICES, SHOW = METRIC_MODELS, staticmethod(partial(render_depth, metric_percentiles=WHOLE_RANGE))
    INPUTS: ClassVar = old_inputs(
        MetricMapOptions,
        {
            "model": choice_widget(
                list(METRIC_MODELS),
                "Which model to run. large (1.34 GB; the old node's) and base (390 MB): not for commercial use. small (99 MB): Apache-2.0. "
                + _TINY_FOR_METRES,
            )
        },
        "network_size",
    )


@takes(ZoeDepthAnythingOptions)
class ZoeDepthAnythingMap(DepthMapNode):
    """Depth maps from the metres of Depth Anything V1 with ZoeDepth's head."""

    NODE_ID = "Zoe_DepthAnythingPreprocessor"
    DISPLAY_NAME = "Zoe Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1's metric models (ZoeDepth's head on its encoder), near = white."
    SEARCH_ALIASES = "depth map, zoe, depth anything, metric depth, controlnet depth"
    CHOICES: ClassVar = ZOE_OR_TINY
    INPUTS: ClassVar = old_inputs(
        ZoeDepthAnythingOptions,
        {
            "model": choice_widget(
                list(ZOE_OR_TINY), f"Which model to run. zoe-depth-anything: the one of the environment. {_TINY_FOR_METRES}"
            )
        },
    )


def _midas_widget() -> Widget:
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
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The normal map: short side = resolution, aspect ratio kept.")}
    SEARCH_ALIASES = "normal map, midas, controlnet normal, normal preprocessor, surface normals"
    INPUTS: ClassVar = old_inputs(MidasNormalsOptions, {"model": _midas_widget}, "precision")

    def execute(self, options: MidasNormalsOptions, image: Tensor, model: str) -> tuple[Tensor]:
        def slopes(estimate: Estimate) -> Estimate:
            assert estimate.depth is not None
            normals = midas_normals(estimate.depth, options.a, options.bg_threshold)
            return Estimate(normals=normals, axes=Axes.SCANNET)

        def render(estimates: Iterable[Estimate], images: Tensor) -> Iterator[Tensor]:
            return render_normals(map(slopes, estimates), images, options.resolution, options.coding)

        load = partial(_load_midas, model, options.precision)
        return (annotate(image, load, options.resolution, render, at_resolution=True, refine=False),)


@takes(MidasDepthOptions)
class MidasDepthMap(LegacyNode):
    """Depth maps from MiDaS disparity."""

    NODE_ID = "MiDaS-DepthMapPreprocessor"
    DISPLAY_NAME = "MiDaS Depth Map"
    DESCRIPTION = "Makes a depth map from an image with MiDaS, near = white, as ControlNet's depth models expect it."
    OUTPUTS: ClassVar = {
        "IMAGE": ("IMAGE", "Relative disparity (inverse depth), each image from 0 (farthest, black) to 1 (nearest, white).")
    }
    SEARCH_ALIASES = "depth map, midas, disparity, controlnet depth, depth preprocessor"
    INPUTS: ClassVar = old_inputs(MidasDepthOptions, {"model": _midas_widget}, "precision", option_widgets(MidasUnusedOptions))

    @classmethod
    def VALIDATE_INPUTS(cls, a: float | None = None, bg_threshold: float | None = None) -> bool:  # noqa: N802
        """Accepts any value of these unused inputs: ComfyUI checks no range of inputs that this method names."""
        return True

    def execute(self, options: MidasDepthOptions, image: Tensor, model: str, a: object, bg_threshold: object) -> tuple[Tensor]:
        load = partial(_load_midas, model, options.precision)
        return (annotate_depth(image, load, options.resolution, options.normalisation, at_resolution=True),)


def _load_midas(model: str, precision: str) -> Model:
    """Loads a model whose input's short side is the resolution, as in the old nodes, whatever its authors' size."""
    return load_model(model, precision, choose_tiny("model")).with_resizing(SHORT_SIDE)


@takes(LeresNodeOptions)
class LeresDepthMap(LegacyNode):
    """Depth maps from LeReS's relative depth."""

    NODE_ID = "LeReS-DepthMapPreprocessor"
    DISPLAY_NAME = "LeReS Depth Map (enable boost for LeReS++)"
    DESCRIPTION = (
        "Makes a depth map from an image with LeReS or LeReS++, near = white. The weights are not for commercial use; "
        "LeReS++'s second file is for academic use only."
    )
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The depth map, near = white: short side = resolution.")}
    SEARCH_ALIASES = "depth map, leres, leres++, boost, relative depth, controlnet depth"
    INPUTS: ClassVar = old_inputs(
        LeresNodeOptions,
        {
            "model": choice_widget(
                LERES_OR_TINY,
                f"Which model to run. leres: LeReS, or LeReS++ with boost. {TINY_CHOICE}; it gives disparity instead of depth and ignores "
                "boost and input.",
            )
        },
    )

    def execute(self, options: LeresNodeOptions, image: Tensor, model: str = LERES_OR_TINY[0]) -> tuple[Tensor]:
        check_choice("model", model, LERES_OR_TINY)
        old, boosted = options.input == OLD_NODE, options.boost == ENABLED
        wanted = BUNDLED_MODEL if model == BUNDLED_MODEL else LERES_MODELS[options.boost]

        def load() -> Model:
            loaded = load_model(wanted, options.precision, choose_tiny("model"))
            return loaded.with_resizing(SHORT_SIDE) if old and not boosted else loaded

        own, at = LeresOptions(old_node=old), old or boosted
        images = annotate_depth(image, load, options.resolution, options.normalisation, options.network_size, at_resolution=at, options=own)
        return (without_ends(images, options.rm_nearest, options.rm_background),)


def without_ends(images: Tensor, nearest: float, background: float) -> Tensor:
    """Makes the nearest grey levels of depth maps in [0, 1], near = white, white and the farthest black.

    `nearest` is the percentage of the range that becomes white, `background` that which then becomes black.

    Source:
        `LeresDetector` of the ControlNet nodes, which compares 8-bit levels; the other values stay floats here.
    """
    if nearest:
        images = torch.where(255 - _levels(images) <= nearest / 100 * 255, 1, images)
    if background:
        images = torch.where(_levels(images) <= background / 100 * 255, 0, images)
    return images


def _levels(images: Tensor) -> Tensor:
    return (images.float() * 255).round()
