"""What the old nodes share: their widgets, and the way from an IMAGE through a model to a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..model_loader import DTYPE_CHOICES, Model
from ..model_loader.host import image_placement, progress_bar
from ..utils import resize_map, scale_short_side, to_image, to_planar

LEGACY_CATEGORY = "ControlNet Preprocessors/Normal and Depth Estimators"
MIN_RESOLUTION, MAX_RESOLUTION = 64, 16384


BOTH_SIZES = "Short side of the result in pixels, aspect kept. The network runs at this size too: larger shows more and takes longer."


def resolution_widget(tooltip: str = BOTH_SIZES) -> tuple[str, dict[str, Any]]:
    """The widget that says how long the output's short side is."""
    return "INT", {"default": 512, "min": MIN_RESOLUTION, "max": MAX_RESOLUTION, "step": 64, "tooltip": tooltip}


def precision_widget() -> tuple[list[str], dict[str, Any]]:
    """The widget that says what the network computes in."""
    tooltip = "What the network computes in. auto: the fastest in which the picture stays the same; float32 where in doubt."
    return list(DTYPE_CHOICES), {"default": "auto", "tooltip": tooltip, "advanced": True}


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuses a widget's value outside its range, NaN included: scripts call nodes without ComfyUI's own check.

    Raises:
        ValueError: Names the widget, the value and the range.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; accepted: {low:g} to {high:g}")


def check_choice(name: str, value: str, accepted: Sequence[str]) -> None:
    """Refuses a choice that is not in a widget's list.

    Raises:
        ValueError: Names the widget, the value and the list.
    """
    if value not in accepted:
        raise ValueError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")


def annotate(image: Tensor, model: Model, resolution: int, render: Callable[[Estimate], Tensor], network_size: int | None = None) -> Tensor:
    """Estimates a batch of pictures and renders what was found.

    Args:
        image: ComfyUI's IMAGE, (B, H, W, C), C = 1, 3 or 4, values in [0, 1], any float dtype.
        model: The model to run.
        resolution: Short side of the result in pixels.
        render: Makes a picture (B, 1 or 3, h, w) in [0, 1] of an estimate at the network's size.
        network_size: Side of the network's input in pixels; None = the size of the model's authors.

    Returns:
        (B, h, w, 3) in [0, 1], on ComfyUI's intermediate device and in its dtype.

    Raises:
        ValueError: A resolution out of range, or pictures that `utils.as_batch` refuses.
    """
    if not isinstance(resolution, int):
        raise ValueError(f"resolution is {resolution!r}; accepted: whole numbers from {MIN_RESOLUTION} to {MAX_RESOLUTION}")
    check_range("resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    pictures = to_planar(image)
    height, width = scale_short_side(pictures.shape[-2], pictures.shape[-1], resolution)
    device, dtype = image_placement()
    estimates = model.estimates(pictures, network_size, progress_bar(pictures.shape[0]))
    return torch.cat([to_image(resize_map(render(estimate), height, width)).to(device, dtype) for estimate in estimates])
