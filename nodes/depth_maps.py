"""The old pack's depth nodes of ZoeDepth and Depth Anything, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from ..annotators.registry import BUNDLED_MODEL, MODELS
from ..options.checks import check_choice
from ..options.legacy import DepthMapOptions, MetricMapOptions, ZoeDepthAnythingOptions, ZoeOptions
from .legacy import WHOLE_RANGE, ZOE_PERCENTILES, LegacyNode, Percentiles, annotate_depth, old_inputs, render_depth
from .loading import TINY_CHOICE, choose_tiny, load_model, model_widget
from .option_widgets import takes
from .widgets import Inputs, choice_widget

V1_FILES = {
    "depth_anything_vitl14.pth": "depth-anything-large",
    "depth_anything_vitb14.pth": "depth-anything-base",
    "depth_anything_vits14.pth": "depth-anything-small",
    BUNDLED_MODEL: BUNDLED_MODEL,
}
V2_FILES = {
    "depth_anything_v2_vitg.pth": "depth-anything-v2-giant",
    "depth_anything_v2_vitl.pth": "depth-anything-v2-large",
    "depth_anything_v2_vitb.pth": "depth-anything-v2-base",
    "depth_anything_v2_vits.pth": "depth-anything-v2-small",
    BUNDLED_MODEL: BUNDLED_MODEL,
}
V2_DEFAULT = "depth_anything_v2_vitl.pth"
V2_ALIASES = "depth map, depth anything v2, disparity, controlnet depth"
ZOE_MODELS = ("zoedepth-nyu", "zoedepth-kitti", "zoedepth-nyu-kitti", BUNDLED_MODEL)
METRIC_SIZES = ("large", "base", "small", BUNDLED_MODEL)
ZOE_OR_TINY = ("zoe-depth-anything", BUNDLED_MODEL)
_TINY = f"{TINY_CHOICE} ({MODELS[BUNDLED_MODEL].licence})."
_TINY_FOR_METRES = f"{_TINY} It gives disparity instead of metres, with more grey levels for near things and fewer for far ones."


def _depth_map(
    options: DepthMapOptions, image: Tensor, model: str, widget: str, metric_percentiles: Percentiles = ZOE_PERCENTILES
) -> tuple[Tensor]:
    show = partial(render_depth, metric_percentiles=metric_percentiles)
    load = partial(load_model, model, options.precision, choose_tiny(widget))
    return (annotate_depth(image, load, options.resolution, options.normalisation, options.network_size or None, show=show),)


class _DepthMap(LegacyNode):
    OUTPUT_TOOLTIPS: ClassVar = ("The depth map, near = white: short side = resolution, aspect ratio kept.",)


@takes(ZoeOptions)
class ZoeDepthMap(_DepthMap):
    """Depth maps from ZoeDepth's metres."""

    NODE_ID = "Zoe-DepthMapPreprocessor"
    DISPLAY_NAME = "Zoe Depth Map"
    DESCRIPTION = "Makes a depth map from an image with ZoeDepth, near = white. For depth in metres use Depth & Normals (advanced)."
    SEARCH_ALIASES = "depth map, zoe, zoedepth, metric depth, controlnet depth"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        model = (
            "Which model to run. nyu: rooms, up to 10 m (the old node's). kitti: streets, up to 80 m. nyu-kitti: chooses by the image. "
            "About 1.4 GB each, MIT. " + _TINY_FOR_METRES
        )
        return old_inputs(ZoeOptions, {"model": model_widget(ZOE_MODELS, model)}, "network_size")

    def execute(self, options: ZoeOptions, image: Tensor, model: str = ZOE_MODELS[0]) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("model", model, ZOE_MODELS)
        return _depth_map(options, image, model, "model")


@takes(DepthMapOptions)
class DepthAnythingMap(_DepthMap):
    """Depth maps from Depth Anything V1's disparity."""

    NODE_ID = "DepthAnythingPreprocessor"
    DISPLAY_NAME = "Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1, near = white."
    SEARCH_ALIASES = "depth map, depth anything, disparity, controlnet depth"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        tooltip = f"Which model to run: large (1.34 GB), base (390 MB), small (99 MB); Apache-2.0. {_TINY}"
        return old_inputs(DepthMapOptions, {"ckpt_name": model_widget(V1_FILES, tooltip)}, "resolution")

    def execute(self, options: DepthMapOptions, image: Tensor, ckpt_name: str) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("ckpt_name", ckpt_name, list(V1_FILES))
        return _depth_map(options, image, V1_FILES[ckpt_name], "ckpt_name")


@takes(DepthMapOptions)
class DepthAnythingV2Map(_DepthMap):
    """Depth maps from Depth Anything V2's disparity."""

    NODE_ID = "DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Relative"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2, near = white. The base, large and giant weights are "
        "CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES = V2_ALIASES

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        tooltip = (
            "Which model to run. vits: 99 MB, Apache-2.0. vitb (390 MB), vitl (1.34 GB), vitg (not published by its authors: add the file "
            f"yourself): CC BY-NC 4.0, not for commercial use. {_TINY}"
        )
        return old_inputs(DepthMapOptions, {"ckpt_name": model_widget(V2_FILES, tooltip, V2_DEFAULT)}, "resolution")

    def execute(self, options: DepthMapOptions, image: Tensor, ckpt_name: str) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("ckpt_name", ckpt_name, list(V2_FILES))
        return _depth_map(options, image, V2_FILES[ckpt_name], "ckpt_name")


@takes(MetricMapOptions)
class DepthAnythingV2MetricMap(_DepthMap):
    """Depth maps from Depth Anything V2's metres."""

    NODE_ID = "Metric_DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Metric"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2's metric models: near = white, in equal steps of "
        "metres. Large and base are CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES = "depth map, depth anything v2, metric depth, metres, controlnet depth"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        model = "Which model to run. large (1.34 GB; the old node's) and base (390 MB): not for commercial use. small (99 MB): Apache-2.0. "
        model += _TINY_FOR_METRES
        return old_inputs(MetricMapOptions, {"model": choice_widget(METRIC_SIZES, model)}, "network_size")

    def execute(self, options: MetricMapOptions, image: Tensor, model: str) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("model", model, METRIC_SIZES)
        network = BUNDLED_MODEL if model == BUNDLED_MODEL else f"depth-anything-v2-metric-{options.environment}-{model}"
        return _depth_map(options, image, network, "model", WHOLE_RANGE)


@takes(ZoeDepthAnythingOptions)
class ZoeDepthAnythingMap(_DepthMap):
    """Depth maps from the metres of Depth Anything V1 with ZoeDepth's head."""

    NODE_ID = "Zoe_DepthAnythingPreprocessor"
    DISPLAY_NAME = "Zoe Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1's metric models (ZoeDepth's head on its encoder), near = white."
    SEARCH_ALIASES = "depth map, zoe, depth anything, metric depth, controlnet depth"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        model = f"Which model to run. zoe-depth-anything: the one of the environment. {_TINY_FOR_METRES}"
        return old_inputs(ZoeDepthAnythingOptions, {"model": choice_widget(ZOE_OR_TINY, model)})

    def execute(self, options: ZoeDepthAnythingOptions, image: Tensor, model: str = ZOE_OR_TINY[0]) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("model", model, ZOE_OR_TINY)
        network = BUNDLED_MODEL if model == BUNDLED_MODEL else f"zoe-depth-anything-{options.environment}"
        return _depth_map(options, image, network, "model")


NODES = (ZoeDepthMap, DepthAnythingMap, ZoeDepthAnythingMap, DepthAnythingV2Map, DepthAnythingV2MetricMap)
