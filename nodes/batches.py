"""Batches in a node: split into images, with the progress bar, and moved to ComfyUI's output device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.valid import NoDepthError
from ..model_loader.comfy.devices import image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.comfy.placement import make_room
from ..model_loader.inference.memory_budget import BytesPerPixel
from ..utils import images_to_rgb, resize_image, to_cpu, to_image, to_rgb
from .checks import check_images_of, is_geometry

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")

_MOST_NAMED = 5


def one_by_one(estimate: Estimate, device: torch.device | None = None, pixels: int = 0) -> Iterator[Estimate]:
    """Yields each image of a batch on `device` (None = its own), where a long clip would not fit. Stops if the user cancels.

    On a GPU, ComfyUI's cached models first make room for an effect of one image, of `pixels` if that is more.
    """
    if device is not None and device != estimate.device:
        make_room(device, max(pixels, estimate.height * estimate.width) * BytesPerPixel.EFFECT_AT_MOST)
    for index in range(estimate.batch):
        throw_if_interrupted()
        yield estimate.slice(index, index + 1).to(device or estimate.device)


def for_all(images: Tensor, geometry: Any = None, maps: Iterable[Tensor | None] = (), mask: Tensor | None = None) -> Tensor:
    """Expands a single image (1, 3, H, W) to the number of the other inputs of an effect, without copying.

    `maps` are inputs of the type IMAGE, `mask` is a MASK. Several images stay unchanged. Invalid inputs are left to their own checks.
    """
    counts = [geometry.batch] if is_geometry(geometry) else []
    counts += [len(each) for each in maps if isinstance(each, Tensor) and each.ndim == 4]
    counts += [len(mask)] if isinstance(mask, Tensor) and mask.ndim > 2 else []
    return images.expand(max(counts, default=1), -1, -1, -1) if len(images) == 1 and 0 not in counts else images


def in_chunks(images: Tensor, frames: int = 16) -> Iterator[Tensor]:
    """Yields a batch in chunks (B, 3, H, W), so that only one chunk at a time is converted."""
    for start in range(0, images.shape[0], frames):
        yield images_to_rgb(images[start : start + frames])


def with_progress(items: Iterable[Item], total: int, images_of: Callable[[Item], int] = lambda _item: 1) -> Iterator[Item]:
    """Yields the items and advances ComfyUI's progress bar after each, by its number of images."""
    move, done = progress_bar(total), 0
    for item in items:
        yield item
        done += images_of(item)
        if move is not None:
            move(done, total)


def for_each(inputs: Iterable[tuple], work: Callable[..., Made], otherwise: Callable[..., Made] | None = None) -> Iterator[Made]:
    """Yields `work` of each image's inputs, and `otherwise` of images without depth, which a note then names.

    Without `otherwise`, raises NoDepthError, of several images with the image's number, from 1.
    """
    unchanged: list[int] = []
    rest = iter(inputs)
    for number, each in enumerate(rest, 1):
        try:
            made = work(*each)
        except NoDepthError as error:
            if otherwise is None:
                if number == 1 and next(rest, None) is None:
                    raise
                raise NoDepthError(f"image {number}: {error}") from error
            unchanged.append(number)
            made = otherwise(*each)
        yield made
    if unchanged:
        names = ", ".join(map(str, unchanged[:_MOST_NAMED])) + (f" (+{more})" if (more := len(unchanged) - _MOST_NAMED) > 0 else "")
        logger.warning("no pixel has a depth, so the image is unchanged: image %s", names)


def join_outputs(parts: Iterable[tuple[Tensor, ...]], total: int) -> tuple[Any, ...]:
    """Joins the outputs of single images, each (1, ...), to a batch (total, ...), without holding a long clip in memory twice.

    Raises ValueError if the number of images is 0 or not `total`, so that rows of an output would be unwritten.
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


def image_for(estimate: Estimate, image: Tensor) -> Tensor:
    """Resizes a geometry's image to the geometry's size, (B, 3, H, W); a single one is expanded. Raises as `check_images_of`."""
    images = to_rgb(image)
    check_images_of(estimate, images)
    return resize_image(images, estimate.height, estimate.width).expand(estimate.batch, -1, -1, -1)


def to_output(planar: Tensor) -> Tensor:
    """Converts (B, 1, 3 or 4, H, W) in [0, 1] to ComfyUI's IMAGE on its intermediate device."""
    return to_image(planar).to(*image_placement())


def unclamped_output(image: Tensor) -> Tensor:
    """Converts (B, 3 or 4, H, W) to ComfyUI's IMAGE, with values above 1."""
    return image.movedim(1, -1).contiguous().to(*image_placement())


def outputs_together(kinds: Sequence[str], maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`unclamped_output` of maps of the kind "IMAGE", `mask_output` of "MASK", and the others, with one copy from a GPU to the CPU."""
    ordered = {
        str(place): each.movedim(1, -1).contiguous() if kind == "IMAGE" else each
        for place, (kind, each) in enumerate(zip(kinds, maps, strict=True))
    }
    device, dtype = image_placement()
    moved = (to_cpu(ordered) if device.type == "cpu" else ordered).values()
    return tuple(mask_output(each) if kind == "MASK" else each.to(device, dtype) for kind, each in zip(kinds, moved, strict=True))


def mask_output(planar: Tensor) -> Tensor:
    """Converts (B, 1, H, W) in [0, 1], or bool, to ComfyUI's MASK (B, H, W) on its intermediate device."""
    return planar[:, 0].to(*image_placement()).clamp(0, 1)


def geometry_output(estimate: Estimate) -> Estimate:
    """Moves an estimate to ComfyUI's intermediate device, where outputs are kept."""
    return estimate.to(image_placement()[0])
