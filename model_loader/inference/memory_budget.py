"""Estimates memory per image and batch sizes, retries batches that do not fit, and advises when one image does not.

Operating systems kill programs without notice when memory runs out. So what certainly does not fit is refused before any allocation;
what may fit is tried.
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
from ..comfy import devices, interrupt
from ..comfy.devices import free_main_memory
from ..comfy.placement import WeightsTooLargeError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BytesPerPixel(IntEnum):
    """Measured bytes per pixel (benchmarks/tiles.py --memory). For a network's input see the family's `bytes_per_pixel`."""

    IMAGE_ON_DEVICE = 64
    """An image on the network's device: RGB in float32, twice during resizing, and all maps, which resampling doubles."""
    IMAGE_AT_LEAST = 32
    """Lower bound of an image's memory besides the network."""
    TILED_ESTIMATE = 200
    """A tiled estimate: normals from depth, and resizing both."""
    RESULT = 36
    """A node's result: three floats, each held while resized, as the result, and in the batch."""
    FURTHER_RESULT = 12
    """Each further image of the batch."""
    EFFECT = 56
    """Lower bound for fog, light and cut-outs. Depth of field takes more."""
    EFFECT_AT_MOST = 600
    """Upper bound for any effect, temporaries included."""


IMAGES_TO_MAKE_ROOM_FOR = 4
"""Number of images to free working memory for before a run. More would evict other models for little gain."""

# Libraries and machines differ: lower bound of a network's memory, as a share of the measured one.
_LEAST_SHARE = 0.5
_GIGABYTE = 2**30
_SIZE_STEP = 32
_SIDE_STEP = 64


def images_that_fit(available: float, bytes_each: int) -> int:
    """The batch size; at least 1, as one image is always tried."""
    return max(1, int(available // bytes_each))


def working_bytes(annotator: Annotator, image: tuple[int, int], network: tuple[int, int]) -> int:
    """Approximate bytes of device memory to estimate one image; heights and widths of image and network input."""
    return math.prod(network) * annotator.bytes_per_pixel + math.prod(image) * BytesPerPixel.IMAGE_ON_DEVICE


def steady_batch_size(fits: int, most: int) -> int:
    """The batch size for video frames: `most` if that many fit, else a power of two.

    Small changes of free memory thus change neither the batches nor the last bits of the result.
    """
    return most if fits >= most else 1 << (fits.bit_length() - 1)


def is_batch_too_large(error: Exception) -> bool:
    """Whether a batch ran out of memory. Not if the weights do not fit, as after a fallback to float32: no smaller batch helps."""
    return is_out_of_memory(error) and not isinstance(error, WeightsTooLargeError)


def in_batches(
    step: Callable[[int, int], T],
    total: int,
    size: int,
    mend: Callable[[Exception, int], int],
    can_mend: Callable[[Exception], bool] = is_batch_too_large,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[T]:
    """Yields a step's results over all items in batches, in order; retries a failed batch after `mend`.

    ComfyUI's user can interrupt between batches.

    Args:
        step: Computes the items [start, stop) of `total`.
        size: The first batch size, at least 1.
        mend: Called with an error and the batch size; returns the size of all following batches, or raises.
        can_mend: Whether to call `mend` with an error; other errors are raised.
        progress: Called with (items done, `total`) after a batch's result was consumed.
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


def on_device_or_cpu(compute: Callable[[torch.device], T], device: torch.device, what: str) -> T:
    """Computes on a device, or on the CPU if the GPU runs out of memory; `what` is the action for the log: "the maps are enlarged".

    A network that does not fit raises MemoryError instead, which is not retried on the CPU.
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
    """Strips the traceback, which keeps alive the tensors of every frame that the exception passed through."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def check_network_fits(annotator: Annotator, device: torch.device, height: int, width: int, size: int | None, half: bool = False) -> None:
    """Refuses an image of height x width if it, or the network's input (in half precision if `half`), certainly does not fit.

    Raises:
        MemoryError: Names the required memory, the available memory and a size that fits.
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
    """Refuses a batch of results of height x width that certainly does not fit in main memory; raises as `check_network_fits`."""
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
    """Refuses an image whose effects (light, fog, a lens, a mask) certainly do not fit on their device; raises as `check_network_fits`."""
    free, need = _total_memory(device), height * width * BytesPerPixel.EFFECT
    if need > free:
        advice = f"{_smaller_image(height, width, BytesPerPixel.EFFECT, free)}, or close other programs"
        raise _refusal(f"an image of {width}x{height}", need, device, free, advice)


def _refusal(what: str, need: float, device: torch.device, free: float, advice: str) -> MemoryError:
    memory = f"of which {_gigabytes(free)} are free" if device.type == "cpu" else f"which has {_gigabytes(free)}"
    return MemoryError(f"{what} takes at least {_gigabytes(need)} of the memory of {device}, {memory}: {advice}")


def _total_memory(device: torch.device) -> float:
    """The usable bytes: of main memory those still free, of a GPU all, as other models are evicted; infinite if unknown."""
    if device.type == "cpu":
        return free_main_memory()
    if device.type == "cuda" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(device)[1])
    return math.inf


def _smaller_image(height: int, width: int, bytes_per_pixel: int, free: float) -> str:
    rows, columns = _fitting_size(height, width, bytes_per_pixel, free)
    return f"make it smaller (up to about {columns}x{rows})"


def _fitting_size(height: int, width: int, bytes_per_pixel: int, free: float) -> tuple[int, int]:
    """Height and width of the largest image of this aspect that fits, rounded down."""
    shrink = min(1.0, math.sqrt(free / (height * width * bytes_per_pixel)))
    rows, columns = (max(_SIDE_STEP, math.floor(side * shrink) // _SIDE_STEP * _SIDE_STEP) for side in (height, width))
    return rows, columns


def _gigabytes(count: float) -> str:
    return f"{count / _GIGABYTE:.1f} GB"
