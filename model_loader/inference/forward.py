"""The first stage: images, independent or as views of one scene, go through the network, as many in one batch as the memory holds.

Resizing and the camera are the family's: `Annotator.estimate` resizes, runs the network, and applies a known field of view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.family import Progress, progress_of_part
from ...annotators.registry import models_of_scenes
from ...geometry.estimate import Estimate
from ...geometry.textures.materials import Materials
from ...utils import images_to_rgb
from .memory_budget import IMAGES_TO_MAKE_ROOM_FOR, in_batches
from .network import ModelNetwork, NetworkVariant, PreparedNetwork
from .options import InferenceOptions

Images = Tensor | np.ndarray
"""A batch as `check_images` returns it: a tensor (B, C, H, W) or an array (B, H, W, C)."""

Maps = TypeVar("Maps", Estimate, Materials)
"""What a network predicts of a batch."""

Forward = Callable[[Annotator, Tensor, Progress | None], Maps]
"""The maps of images (B, 3, H, W) on the network's device, at the network's size."""


def image_estimates(
    network: ModelNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None, fetched: int = 0
) -> Iterator[Estimate]:
    """The estimates of images, each independent of the others.

    Args:
        network: The network to run.
        images: The batch; each part is converted to float32 RGB on the device by itself.
        options: The options; `size`, `fov`, `family_options`, `normals` and `refine` are used.
        progress: Called with (work done, work in all), in images or in a family's passes over them.
        fetched: As of `Annotator.estimate`.

    Returns:
        Estimates of one or more images at the network's size, on its device, in order, each computed when it is asked for.
    """

    def forward(annotator: Annotator, rgb: Tensor, passes: Progress | None) -> Estimate:
        return annotator.estimate(
            rgb,
            options.size,
            fov=options.fov,
            options=options.family_options,
            progress=passes,
            normals=options.normals,
            sharp=options.refine is not False,
            fetched=fetched,
        )

    return batch_maps(network, images, options, forward, progress, divisible=True)


def scene_estimates(network: ModelNetwork, images: Images, options: InferenceOptions, progress: Progress | None) -> Iterator[Estimate]:
    """The one estimate of views of a scene that does not move; they are not divided into batches.

    Raises:
        ValueError: The model estimates each image independently, or there are more views than any machine holds.
        MemoryError: The views do not fit in one batch.
    """
    annotator = network.annotator
    if not annotator.sees_scenes(annotator.spec):
        raise ValueError(
            f"{annotator.spec.id} estimates each image independently; models that take a batch as views of one scene: "
            + ", ".join(models_of_scenes())
        )
    annotator.check_scene(*batch_shape(images), options.size)

    def forward(annotator: Annotator, rgb: Tensor, _: Progress | None) -> Estimate:
        return annotator.estimate_scene(rgb, options.size, fov=options.fov)

    return batch_maps(network, images, options, forward, progress, divisible=False)


def batch_maps(
    network: ModelNetwork, images: Images, options: InferenceOptions, forward: Forward[Maps], progress: Progress | None, divisible: bool
) -> Iterator[Maps]:
    """Runs a network on a batch, divided for memory where it may be: the only place that moves images to the device."""
    total, height, width = batch_shape(images)
    wanted = min(total, IMAGES_TO_MAKE_ROOM_FOR) if divisible else total

    def prepare(now: NetworkVariant) -> PreparedNetwork:
        return now.prepare(height, width, options.size, wanted)

    prepared = prepare(network.current)
    sizes = (height, width, prepared.height, prepared.width)
    limit = prepared.network.in_dtype.batch_limits.get(sizes, total)

    @torch.no_grad()
    def run(start: int, stop: int, now: NetworkVariant) -> Maps:
        nonlocal prepared
        if now is not prepared.network:  # after a fall-back
            prepared = prepare(now)
        rgb = rgb_on_device(images[start:stop], prepared.device)
        return forward(now.annotator, rgb, progress_of_part(progress, start, stop, total))

    def remember(size: int) -> None:
        prepared.network.in_dtype.batch_limits[sizes] = size

    found = in_batches(
        lambda start, stop: network.run(partial(run, start, stop)),
        total,
        min(total, prepared.fits, limit) if divisible else total,
        what=str(prepared),
        too_large=lambda: prepared.too_large(1 if divisible else total),
        smaller=remember,
        divisible=divisible,
    )
    done = 0
    for part in found:
        yield part
        done += part.batch
        del part
        if progress is not None:
            progress(done, total)


def batch_shape(images: Images) -> tuple[int, int, int]:
    """The number of images of a batch, and their height and width."""
    height, width = images.shape[-2:] if isinstance(images, Tensor) else images.shape[1:3]
    return images.shape[0], height, width


def rgb_on_device(images: Images, device: torch.device) -> Tensor:
    """Images as the network's preprocessing takes them: (B, 3, H, W) float32 in [0, 1], on its device."""
    # From pinned memory a tensor is copied while the program goes on.
    moved = images.to(device, torch.float32, non_blocking=device.type == "cuda") if isinstance(images, Tensor) else images
    return images_to_rgb(moved).to(device)
