"""Estimates how much memory images take and how many fit, halves batches that do not, and advises when one image does not.

A system without memory ends programs without a word. What certainly does not fit is therefore refused before any memory is taken; what
might fit is tried.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TypeVar

import torch

from ...annotators.base import Annotator, is_out_of_memory
from ...annotators.choices import wording
from ...annotators.specs.base import ModelSpec
from ..comfy import devices, interrupt
from ..comfy.devices import free_main_memory
from ..comfy.placement import WeightsTooLargeError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BytesPerPixel(IntEnum):
    """Bytes that a pixel takes, as measured (benchmarks/tiles.py --memory). For a network's input see the family's `bytes_per_pixel`."""

    IMAGE_ON_DEVICE = 64
    """An image beside the network: RGB in float32, twice while it is resized, and all maps, which resampling doubles."""
    IMAGE_AT_LEAST = 32
    """The least that an image takes beside the network."""
    TILED_ESTIMATE = 200
    """An estimate in tiles: normals of its depth, and resizing both."""
    RESULT = 36
    """A node's result: three floats, once while resized, once as the result, once in the batch."""
    FURTHER_RESULT = 12
    """Each further image of the batch."""
    EFFECT = 56
    """The least that fog, light and cut-outs take. Depth of field takes more."""
    EFFECT_AT_MOST = 600
    """The most that an effect takes while it is computed."""


IMAGES_TO_MAKE_ROOM_FOR = 4
"""The number of images whose working memory is made free before a run: more would evict other models for little gain."""

# Libraries and machines differ: the least that a network takes, as a share of its measured working memory.
_LEAST_SHARE = 0.5
_GIGABYTE = 2**30
_SIZE_STEP = 32
_SIDE_STEP = 64


def images_that_fit(available: float, bytes_each: int) -> int:
    """The number of images in one batch; at least 1, which is always tried."""
    return max(1, int(available // bytes_each))


def working_bytes(annotator: Annotator, image: tuple[int, int], network: tuple[int, int]) -> int:
    """About how much memory an image takes on the device while it is estimated; heights and widths of both."""
    return math.prod(network) * annotator.bytes_per_pixel + math.prod(image) * BytesPerPixel.IMAGE_ON_DEVICE


def steady_batch_size(fits: int, most: int) -> int:
    """The number of frames of a video in one batch.

    Returns:
        `most` if as many fit now, or else a power of two. So a little more or less memory changes neither the batches nor the last bits
        of the result.
    """
    return most if fits >= most else 1 << (fits.bit_length() - 1)


def is_batch_too_large(error: Exception) -> bool:
    """True if a batch ran out of memory; not where the weights do not fit, as after a fall-back to float32: no smaller batch helps."""
    return is_out_of_memory(error) and not isinstance(error, WeightsTooLargeError)


def in_batches(
    step: Callable[[int, int], T],
    total: int,
    size: int,
    mend: Callable[[Exception, int], int],
    can_mend: Callable[[Exception], bool] = is_batch_too_large,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[T]:
    """The results of a step for all of so many items in order; where a batch fails, it is tried again after `mend`.

    ComfyUI's user can stop it between batches.

    Args:
        step: Computes the items from start up to but not including stop.
        total: The number of items.
        size: The number of items in the first batch, at least 1.
        mend: Called with an error and the size of the batch; returns the size of all batches that follow, or raises.
        can_mend: Whether an error is one to call `mend` with; others are raised.
        progress: Called with (items done, `total`) when the result of a batch was taken.
    """
    done = 0
    while done < total:
        interrupt.throw_if_interrupted()
        stop = min(total, done + size)
        try:
            part = step(done, stop)
        except (ArithmeticError, RuntimeError, MemoryError) as error:
            if not can_mend(error):
                raise
            problem = without_traceback(error)
        else:
            yield part
            del part
            if progress is not None:
                progress(stop, total)
            done = stop
            continue
        size = mend(problem, stop - done)


def halved(problem: Exception, batch: int, spec: ModelSpec, height: int, width: int, device: torch.device, divisible: bool = True) -> int:
    """Half the size of a batch with which a network ran out of memory, which is logged; height and width are of the network's input.

    Raises:
        MemoryError: It cannot be divided: it is one image, or views of one scene.
    """
    devices.empty_cache()
    if batch == 1 or not divisible:
        raise MemoryError(_too_large(spec, height, width, device, batch)) from problem
    where = f"{spec.id} at {width}x{height} on {device}"
    logger.warning("out of memory: continuing with batches of %d: %s", batch // 2, where)
    return batch // 2


def on_device_or_cpu(compute: Callable[[torch.device], T], device: torch.device, what: str) -> T:
    """Computes on a device, or on the CPU where the memory of a GPU is full.

    Args:
        compute: Computes on a device. Where a network does not fit there, it raises MemoryError, which no other device mends.
        device: The first one.
        what: What is done, for the log: "the maps are enlarged".
    """
    try:
        return compute(device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    devices.empty_cache()
    logger.warning("the memory of %s is full: %s on the CPU", device, what)
    return compute(torch.device("cpu"))


def without_traceback(error: Exception) -> Exception:
    """The exception without its traceback, which keeps the tensors of every function that it passed through alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def check_network_fits(annotator: Annotator, device: torch.device, height: int, width: int, size: int | None, half: bool = False) -> None:
    """Refuses an image where the network's input, or the image itself, certainly does not fit.

    Args:
        annotator: The model.
        device: Where it runs.
        height: Of the image.
        width: Of the image.
        size: As `InferenceOptions.size`.
        half: Whether the network computes in half precision.

    Raises:
        MemoryError: With what it would take, what there is, and what would fit.
    """
    free = _total_memory(device)
    size = size or annotator.spec.default_size

    def of_network(size: int) -> float:
        pixels = math.prod(annotator.network_size(height, width, size)) if annotator.needs_by_size else 0
        return pixels * annotator.bytes_per_pixel * _LEAST_SHARE / (2 if half else 1)

    of_image = height * width * BytesPerPixel.IMAGE_AT_LEAST if device.type == "cpu" else 0
    if of_image + of_network(_SIZE_STEP) > free:
        # half of the memory is left for the network
        advice = f"{_smaller_image(height, width, BytesPerPixel.IMAGE_AT_LEAST, free / 2)}, or close other programs"
        raise _refusal(f"an image of {width}x{height}", of_image, device, free, advice)
    if of_image + of_network(size) > free:
        fits = max((each for each in range(_SIZE_STEP, size, _SIZE_STEP) if of_image + of_network(each) <= free), default=_SIZE_STEP)
        rows, columns = annotator.network_size(height, width, size)
        what = f"an image of {width}x{height} at resolution {size} makes {annotator.spec.id} run at {columns}x{rows}, which"
        words = wording()
        advice = f"{words.lower_size}{words.where_size}{words.up_to.format(fits)}; for detail, {words.tiles}"
        raise _refusal(what, of_image + of_network(size), device, free, advice)


def check_result_fits(images: int, height: int, width: int) -> None:
    """Refuses a batch of images, each height x width in the result, that certainly does not fit in main memory.

    Raises:
        MemoryError: As `check_network_fits`.
    """
    cpu = torch.device("cpu")
    free = _total_memory(cpu)
    each = BytesPerPixel.RESULT + BytesPerPixel.FURTHER_RESULT * (images - 1)
    if height * width * each <= free:
        return
    fits = min(_fitting_size(height, width, each, free))
    what, fewer = (f"a result of {images} images", ", or give fewer images at once") if images > 1 else ("a result", "")
    advice = f"lower the resolution to {fits} or less{fewer}"
    raise _refusal(f"{what} of {width}x{height}", height * width * each, cpu, free, advice)


def check_effect_fits(height: int, width: int, device: torch.device) -> None:
    """Refuses an image whose effects (light, fog, a lens, a mask) certainly do not fit on the device where they are computed.

    Raises:
        MemoryError: As `check_network_fits`.
    """
    free, need = _total_memory(device), height * width * BytesPerPixel.EFFECT
    if need > free:
        advice = f"{_smaller_image(height, width, BytesPerPixel.EFFECT, free)}, or close other programs"
        raise _refusal(f"an image of {width}x{height}", need, device, free, advice)


def _too_large(spec: ModelSpec, height: int, width: int, device: torch.device, views: int) -> str:
    if views == 1:
        return (
            f"{spec.id} at {width}x{height} does not fit in the memory of {device}: "
            f"{wording().lower_size}{wording().where_size}, or free other models"
        )
    return (
        f"{views} views of one scene, which {spec.id} processes in one batch, do not fit in the memory of {device} at "
        f"{width}x{height} each: give fewer views, {wording().lower_size}, or free other models"
    )


def _refusal(what: str, need: float, device: torch.device, free: float, advice: str) -> MemoryError:
    memory = f"of which {_gigabytes(free)} are free" if device.type == "cpu" else f"which has {_gigabytes(free)}"
    return MemoryError(f"{what} takes at least {_gigabytes(need)} of the memory of {device}, {memory}: {advice}")


def _total_memory(device: torch.device) -> float:
    """The memory that may be used: of a GPU all of it, as other models are evicted."""
    if device.type == "cpu":
        return free_main_memory()
    if device.type == "cuda" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(device)[1])
    return math.inf


def _smaller_image(height: int, width: int, bytes_per_pixel: int, free: float) -> str:
    rows, columns = _fitting_size(height, width, bytes_per_pixel, free)
    return f"make it smaller (up to about {columns}x{rows})"


def _fitting_size(height: int, width: int, bytes_per_pixel: int, free: float) -> tuple[int, int]:
    """Height and width of the largest image of this shape that fits, rounded down."""
    shrink = min(1.0, math.sqrt(free / (height * width * bytes_per_pixel)))
    rows, columns = (max(_SIDE_STEP, math.floor(side * shrink) // _SIDE_STEP * _SIDE_STEP) for side in (height, width))
    return rows, columns


def _gigabytes(count: float) -> str:
    return f"{count / _GIGABYTE:.1f} GB"
