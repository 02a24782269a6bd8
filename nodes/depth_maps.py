"""The old pack's depth nodes of ZoeDepth and Depth Anything, with the same ids, widgets, sizes and display."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..annotators.registry import BUNDLED_MODEL, MODELS
from ..options.checks import check_choice, check_range
from ..options.map_images import CLIP_NORMALISATIONS, PER_IMAGE
from .checks import check_network_size
from .legacy import WHOLE_RANGE, ZOE_PERCENTILES, LegacyNode, Percentiles, annotate_depth, render_depth
from .loading import choose_tiny, load_model
from .model_list import TINY_CHOICE, model_widget
from .sockets import Inputs
from .widgets import (
    choice_widget,
    clip_normalisation_widget,
    image_input,
    network_size_widget,
    number_widget,
    precision_widget,
    short_side_widget,
)

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
ZOE_MODELS = ("zoedepth-nyu", "zoedepth-kitti", "zoedepth-nyu-kitti", BUNDLED_MODEL)
ENVIRONMENTS = ("indoor", "outdoor")
METRIC_SIZES = ("large", "base", "small", BUNDLED_MODEL)
ZOE_OR_TINY = ("zoe-depth-anything", BUNDLED_MODEL)
METRIC_MAX_DEPTH = 20.0
_TINY = f"{TINY_CHOICE} ({MODELS[BUNDLED_MODEL].licence})."
_TINY_FOR_METRES = f"{_TINY} It gives disparity instead of metres, with more grey levels for near things and fewer for far ones."


def _inputs(before: dict[str, Any], after: dict[str, Any], last: dict[str, Any] | None = None) -> Inputs:
    """Returns the old widgets in their order, because graphs store them by position, and the new ones after `resolution`."""
    size = "Size of the network's input in pixels. 0: the size its authors use, whatever the resolution."
    return {
        "required": {"image": image_input()},
        "optional": {
            **before,
            "resolution": short_side_widget(),
            **after,
            "network_size": network_size_widget(size, step=2),
            "precision": precision_widget(),
            "normalisation": clip_normalisation_widget(),
            **(last or {}),
        },
    }


def _depth_map(
    image: Tensor,
    model: str,
    precision: str,
    resolution: int,
    network_size: int,
    normalisation: str,
    widget: str,
    metric_percentiles: Percentiles = ZOE_PERCENTILES,
) -> tuple[Tensor]:
    """Returns the depth maps of a model that was chosen in `widget`."""
    check_network_size(network_size)
    check_choice("normalisation", normalisation, CLIP_NORMALISATIONS)
    show = partial(render_depth, metric_percentiles=metric_percentiles)
    load = partial(load_model, model, precision, choose_tiny(widget))
    return (annotate_depth(image, load, resolution, normalisation, network_size or None, show=show),)


class _DepthMap(LegacyNode):
    OUTPUT_TOOLTIPS: ClassVar = ("The depth map, near = white: short side = resolution, aspect ratio kept.",)


class ZoeDepthMap(_DepthMap):
    """Depth maps from ZoeDepth's metres."""

    NODE_ID = "Zoe-DepthMapPreprocessor"
    DISPLAY_NAME = "Zoe Depth Map"
    DESCRIPTION = "Makes a depth map from an image with ZoeDepth, near = white. For depth in metres use Depth & Normals (advanced)."
    SEARCH_ALIASES: ClassVar = ["depth map", "zoe", "zoedepth", "metric depth", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        model = (
            "Which model to run. nyu: rooms, up to 10 m (the old node's). kitti: streets, up to 80 m. nyu-kitti: chooses by the image. "
            "About 1.4 GB each, MIT. " + _TINY_FOR_METRES
        )
        return _inputs({}, {"model": model_widget(ZOE_MODELS, model)})

    def execute(
        self,
        image: Tensor,
        resolution: int = 512,
        model: str = ZOE_MODELS[0],
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("model", model, ZOE_MODELS)
        return _depth_map(image, model, precision, resolution, network_size, normalisation, "model")


class DepthAnythingMap(_DepthMap):
    """Depth maps from Depth Anything V1's disparity."""

    NODE_ID = "DepthAnythingPreprocessor"
    DISPLAY_NAME = "Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1, near = white."
    SEARCH_ALIASES: ClassVar = ["depth map", "depth anything", "disparity", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        tooltip = f"Which model to run: large (1.34 GB), base (390 MB), small (99 MB); Apache-2.0. {_TINY}"
        return _inputs({"ckpt_name": model_widget(V1_FILES, tooltip)}, {})

    def execute(
        self,
        image: Tensor,
        ckpt_name: str = "depth_anything_vitl14.pth",
        resolution: int = 512,
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("ckpt_name", ckpt_name, list(V1_FILES))
        return _depth_map(image, V1_FILES[ckpt_name], precision, resolution, network_size, normalisation, "ckpt_name")


class DepthAnythingV2Map(_DepthMap):
    """Depth maps from Depth Anything V2's disparity."""

    NODE_ID = "DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Relative"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2, near = white. The base, large and giant weights are "
        "CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES: ClassVar = ["depth map", "depth anything v2", "disparity", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        tooltip = (
            "Which model to run. vits: 99 MB, Apache-2.0. vitb (390 MB), vitl (1.34 GB), vitg (not published by its authors: add the file "
            f"yourself): CC BY-NC 4.0, not for commercial use. {_TINY}"
        )
        return _inputs({"ckpt_name": model_widget(V2_FILES, tooltip, V2_DEFAULT)}, {})

    def execute(
        self,
        image: Tensor,
        ckpt_name: str = V2_DEFAULT,
        resolution: int = 512,
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("ckpt_name", ckpt_name, list(V2_FILES))
        return _depth_map(image, V2_FILES[ckpt_name], precision, resolution, network_size, normalisation, "ckpt_name")


class DepthAnythingV2MetricMap(_DepthMap):
    """Depth maps from Depth Anything V2's metres."""

    NODE_ID = "Metric_DepthAnythingV2Preprocessor"
    DISPLAY_NAME = "Depth Anything V2 - Metric"
    DESCRIPTION = (
        "Makes a depth map from an image with Depth Anything V2's metric models: near = white, in equal steps of "
        "metres. Large and base are CC BY-NC 4.0: not for commercial use; small is Apache-2.0."
    )
    SEARCH_ALIASES: ClassVar = ["depth map", "depth anything v2", "metric depth", "metres", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        environment = "Scenes that the model was trained on. indoor: rooms, up to 20 m. outdoor: streets, up to 80 m."
        max_depth = (
            "Has no effect: each depth map spans its nearest to its farthest point, as in the old node. It is kept so "
            "that old graphs open unchanged."
        )
        model = "Which model to run. large (1.34 GB; the old node's) and base (390 MB): not for commercial use. small (99 MB): Apache-2.0. "
        model += _TINY_FOR_METRES
        before = {
            "environment": choice_widget(ENVIRONMENTS, environment),
            "max_depth": number_widget(METRIC_MAX_DEPTH, 0.0, 100.0, 0.01, max_depth),
        }
        return _inputs(before, {"model": choice_widget(METRIC_SIZES, model)})

    def execute(
        self,
        image: Tensor,
        environment: str = ENVIRONMENTS[0],
        max_depth: float = METRIC_MAX_DEPTH,
        resolution: int = 512,
        model: str = METRIC_SIZES[0],
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("environment", environment, ENVIRONMENTS)
        check_choice("model", model, METRIC_SIZES)
        check_range("max_depth", max_depth, 0.0, 100.0)
        network = BUNDLED_MODEL if model == BUNDLED_MODEL else f"depth-anything-v2-metric-{environment}-{model}"
        return _depth_map(image, network, precision, resolution, network_size, normalisation, "model", WHOLE_RANGE)


class ZoeDepthAnythingMap(_DepthMap):
    """Depth maps from the metres of Depth Anything V1 with ZoeDepth's head."""

    NODE_ID = "Zoe_DepthAnythingPreprocessor"
    DISPLAY_NAME = "Zoe Depth Anything"
    DESCRIPTION = "Makes a depth map from an image with Depth Anything V1's metric models (ZoeDepth's head on its encoder), near = white."
    SEARCH_ALIASES: ClassVar = ["depth map", "zoe", "depth anything", "metric depth", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        tooltip = (
            "Scenes that the model was trained on. indoor: rooms, up to 10 m. outdoor: streets, up to 80 m. About 1.3 GB each, Apache-2.0."
        )
        model = f"Which model to run. zoe-depth-anything: the one of the environment. {_TINY_FOR_METRES}"
        last = {"model": choice_widget(ZOE_OR_TINY, model)}
        return _inputs({"environment": choice_widget(ENVIRONMENTS, tooltip)}, {}, last)

    def execute(
        self,
        image: Tensor,
        environment: str = ENVIRONMENTS[0],
        resolution: int = 512,
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
        model: str = ZOE_OR_TINY[0],
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("environment", environment, ENVIRONMENTS)
        check_choice("model", model, ZOE_OR_TINY)
        network = BUNDLED_MODEL if model == BUNDLED_MODEL else f"zoe-depth-anything-{environment}"
        return _depth_map(image, network, precision, resolution, network_size, normalisation, "model")


NODES = (ZoeDepthMap, DepthAnythingMap, ZoeDepthAnythingMap, DepthAnythingV2Map, DepthAnythingV2MetricMap)
