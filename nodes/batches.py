"""A batch on its way through a node: taken apart into pictures, counted, and handed on where ComfyUI wants it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..model_loader.host import image_placement, progress_bar, throw_if_interrupted
from ..utils import resize_picture, to_image, to_rgb

Item = TypeVar("Item")


def one_by_one(estimate: Estimate, device: torch.device | None = None) -> Iterator[Estimate]:
    """Each picture of a batch, on `device` (None = where it is): a long clip at once would not fit there. Stops where the user cancels."""
    for index in range(estimate.batch):
        throw_if_interrupted()
        yield estimate.pictures(index, index + 1).to(device or estimate.device)


def counted(items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items; ComfyUI's progress bar moves when the caller has done with one and asks for the next."""
    move = progress_bar(total)
    for done, item in enumerate(items, 1):
        yield item
        if move is not None:
            move(done, total)


def picture_for(estimate: Estimate, image: Tensor) -> Tensor:
    """(B, 3, H, W): the picture that a geometry was made of, at the geometry's size."""
    return resize_picture(to_rgb(image), estimate.height, estimate.width)


def to_output(planar: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) in [0, 1] as the IMAGE that nodes hand on."""
    return to_image(planar).to(*image_placement())


def geometry_output(estimate: Estimate) -> Estimate:
    """The GEOMETRY that nodes hand on, on the device where ComfyUI keeps what waits."""
    return estimate.to(image_placement()[0])
