"""What the old pack's nodes share: their place in the menu, and the way from an IMAGE through a model to a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..model_loader import Model
from ..model_loader.host import progress_bar
from ..utils import resize_map, scale_short_side, to_pictures
from .batches import to_output
from .checks import check_short_side

LEGACY_CATEGORY = "ControlNet Preprocessors/Normal and Depth Estimators"


def annotate(image: Tensor, model: Model, resolution: int, render: Callable[[Estimate], Tensor], network_size: int | None = None) -> Tensor:
    """Estimates a batch of pictures and renders what was found.

    Args:
        image: ComfyUI's IMAGE, (B, H, W, C), C = 1, 3 or 4, values in [0, 1] (clamped), any float dtype.
        model: The model to run.
        resolution: Short side of the result in pixels.
        render: Makes a picture (B, 1 or 3, h, w) in [0, 1] of an estimate at the network's size.
        network_size: Side of the network's input in pixels; None = the size of the model's authors.

    Returns:
        (B, h, w, 3) in [0, 1], on ComfyUI's intermediate device and in its dtype.

    Raises:
        ValueError: A resolution out of range, or pictures that `utils.to_rgb` refuses.
    """
    check_short_side(resolution)
    pictures = to_pictures(image)
    height, width = scale_short_side(pictures.shape[-2], pictures.shape[-1], resolution)
    estimates = model.estimates(pictures, network_size, progress_bar(pictures.shape[0]))
    return torch.cat([to_output(resize_map(render(estimate), height, width)) for estimate in estimates])
