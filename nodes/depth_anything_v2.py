"""The nodes of ComfyUI-DepthAnythingV2, with the same ids, sockets, sizes and display."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..annotators.preprocessing.resizing import OwnSize, linear
from ..annotators.registry import BUNDLED_MODEL, MODELS
from ..model_loader import Model
from ..model_loader.comfy.devices import default_device, image_placement, is_fast
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.memory_budget import check_result_fits
from ..model_loader.weights.find import find_file
from ..options.checks import check_choice
from ..utils import to_images
from .batches import join_outputs, to_output
from .depth_maps import V2_ALIASES
from .legacy import WHOLE_RANGE, render_depth
from .loading import TINY_CHOICE, ChosenModel, check_chosen, choose_tiny, load_model, model_widget, weights_state
from .option_widgets import Node
from .widgets import image_input

CATEGORY = "DepthAnythingV2"
DAMODEL = "DAMODEL"
"""The old pack's socket. Its own nodes pass a dictionary with a network, which this pack's nodes reject."""

_RELATIVE = ("depth-anything-v2-small", "depth-anything-v2-base", "depth-anything-v2-large")
_METRIC = ("depth-anything-v2-metric-indoor-large", "depth-anything-v2-metric-outdoor-large")
FILES = {
    **{name: model for model in _RELATIVE for name in sorted(MODELS[model].file.aliases)},
    **{name: model for model in _METRIC for name in MODELS[model].file.aliases if "fp32" in name},
    BUNDLED_MODEL: BUNDLED_MODEL,
}
DEFAULT_FILE = "depth_anything_v2_vitl_fp32.safetensors"


class LoadDepthAnythingV2Model(Node):
    """Chooses a Depth Anything V2 model."""

    NODE_ID = "DownloadAndLoadDepthAnythingV2Model"
    DISPLAY_NAME = "Load Depth Anything V2 Model"
    DESCRIPTION = (
        "Chooses a Depth Anything V2 model; the node Depth Anything V2 loads it. The base and large weights are CC BY-NC 4.0: not for "
        "commercial use; small is Apache-2.0."
    )
    CATEGORY = CATEGORY
    OUTPUTS: ClassVar = {"da_v2_model": (DAMODEL, "The model, for Depth Anything V2.")}
    SEARCH_ALIASES = f"{V2_ALIASES}, depth model"
    INPUTS: ClassVar = {
        "optional": {
            "model": lambda: model_widget(
                FILES,
                "Which model to run. vits: 99 MB, Apache-2.0. vitb (390 MB) and vitl (1.34 GB): CC BY-NC 4.0, not for commercial use. "
                "metric_...: trained on metres, of rooms (hypersim) or streets (vkitti). fp16: half precision if the device is fast in it. "
                f"A file of this name is used if there is one, else the published weights. {TINY_CHOICE} "
                f"({MODELS[BUNDLED_MODEL].licence}).",
                DEFAULT_FILE,
            )
        }
    }

    @classmethod
    def IS_CHANGED(cls, model: str | None = DEFAULT_FILE, **_others: object) -> str:  # noqa: N802
        """Returns a text that changes with the file of the name (of any name if it is linked), and with the weights of any model."""
        files = map(_file, FILES if model is None else (model,))
        return "; ".join((weights_state(), *(f"{file}: {weights_state(None, file)}" for file in files if file)))

    def execute(self, model: str) -> tuple[ChosenModel]:
        check_choice("model", model, list(FILES))
        return (ChosenModel(model),)


class DepthAnythingV2(Node):
    """Depth maps from Depth Anything V2 at the images' own size."""

    NODE_ID = "DepthAnything_V2"
    DISPLAY_NAME = "Depth Anything V2"
    DESCRIPTION = (
        "Makes depth maps with Depth Anything V2, near = white. The network sees the images at their own size, so memory and time grow "
        "with it; images much larger than 1000 pixels lose their overall shape."
    )
    CATEGORY = CATEGORY
    OUTPUTS: ClassVar = {
        "image": ("IMAGE", "One depth map for each image, near = white: the image's size, with odd sides one pixel shorter.")
    }
    SEARCH_ALIASES = V2_ALIASES
    INPUTS: ClassVar = {"required": {"da_model": (DAMODEL, {"tooltip": "From Load Depth Anything V2 Model."}), "images": image_input()}}

    def execute(self, da_model: Any, images: Tensor) -> tuple[Tensor]:
        chosen = check_chosen(da_model, "da_model", LoadDepthAnythingV2Model.DISPLAY_NAME)
        frames = to_images(images)
        total, (height, width) = len(frames), (max(2, side // 2 * 2) for side in frames.shape[-2:])
        check_result_fits(total, height, width)
        estimates = _load(chosen.name).estimates(frames, progress=progress_bar(total))
        # the old node normalises each map at the network's size, and then all maps together at the images' size
        shown = (linear(render_depth(each, metric_percentiles=WHOLE_RANGE), height, width).to(image_placement()[0]) for each in estimates)
        (maps,) = join_outputs(((one,) for part in shown for one in part.split(1)), total)
        return (to_output(_stretched(maps)),)


def _load(name: str) -> Model:
    """Loads the model of one of `FILES`: from a file of that name, else from the model's own weights."""
    advice = choose_tiny("model of Load Depth Anything V2 Model")
    if name == BUNDLED_MODEL:
        return load_model(name, "auto", advice)
    half = "_fp16" in name and is_fast(torch.float16, default_device())
    model = load_model(FILES[name], "float16" if half else "float32", advice, _file(name))
    return model if model.spec.id == BUNDLED_MODEL else model.with_resizing(OwnSize(resample=linear))


def _file(name: str) -> Path | None:
    """The file of this name in a weights folder; None if there is none."""
    try:
        return find_file(name)
    except FileNotFoundError:
        return None


def _stretched(maps: Tensor) -> Tensor:
    """Normalises a batch (B, 1, H, W) as a whole to [0, 1]."""
    low, high = maps.aminmax()
    return (maps - low) / (high - low) if high > low else torch.zeros_like(maps)


NODES = (LoadDepthAnythingV2Model, DepthAnythingV2)
