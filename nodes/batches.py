"""Batches in a node: split into images, counted, and moved to where ComfyUI expects results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..model_loader.comfy.devices import image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..utils import images_to_rgb, resize_image, to_image, to_rgb

Item = TypeVar("Item")


def one_by_one(estimate: Estimate, device: torch.device | None = None) -> Iterator[Estimate]:
    """Each image of a batch, on `device` (None = where it is): a long clip at once would not fit there. Stops where the user cancels."""
    for index in range(estimate.batch):
        throw_if_interrupted()
        yield estimate.slice(index, index + 1).to(device or estimate.device)


def in_chunks(images: Tensor, frames: int = 16) -> Iterator[Tensor]:
    """A batch as the chunks (B, 3, H, W) of a video: no more of it than that is converted at a time."""
    for start in range(0, images.shape[0], frames):
        yield images_to_rgb(images[start : start + frames])


def counted(items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items; ComfyUI's progress bar moves when the caller has done with one and asks for the next."""
    move = progress_bar(total)
    for done, item in enumerate(items, 1):
        yield item
        if move is not None:
            move(done, total)


def joined(parts: Iterable[tuple[Tensor, ...]], total: int) -> tuple[Any, ...]:
    """What a node hands on of `total` images, from what it makes of each: a long clip is in memory once, not in pieces and whole.

    Args:
        parts: For each image the outputs, (1, ...).
        total: How many come.

    Returns:
        The outputs, (total, ...).

    Raises:
        ValueError: There is no image, or another number of them than `total`: no row of an output is left unwritten.
    """
    whole: tuple[Tensor, ...] = ()
    done = 0
    for part in parts:
        whole = whole or tuple(each.new_empty(total, *each.shape[1:]) for each in part)
        if done == total:
            raise ValueError(f"there are more outputs than the {total} images of the batch")
        for place, each in zip(whole, part, strict=True):
            place[done] = each[0]
        done += 1
    if not whole:
        raise ValueError("there is no image in the batch; at least one is needed")
    if done < total:
        raise ValueError(f"there are outputs of {done} of the {total} images of the batch")
    return whole


def counted_images(parts: Iterable[Estimate], total: int) -> Iterator[Estimate]:
    """The estimates of `total` images in parts; ComfyUI's progress bar moves by the images of each."""
    move, done = progress_bar(total), 0
    for part in parts:
        yield part
        done += part.batch
        if move is not None:
            move(done, total)


def image_for(estimate: Estimate, image: Tensor) -> Tensor:
    """(B, 3, H, W): the image that a geometry was made of, at the geometry's size."""
    return resize_image(to_rgb(image), estimate.height, estimate.width)


def to_output(planar: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) in [0, 1] as the IMAGE that nodes hand on."""
    return to_image(planar).to(*image_placement())


def geometry_output(estimate: Estimate) -> Estimate:
    """The GEOMETRY that nodes hand on, on the device where ComfyUI keeps what waits."""
    return estimate.to(image_placement()[0])
