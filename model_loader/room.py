"""Whether there is memory for what is asked, answered before any is taken: a system without memory ends programs and says nothing.

What is certain not to fit is refused. What might fit is tried.
"""

from __future__ import annotations

import math

import torch

from ..annotators.base import Annotator
from ..annotators.wording import wording
from .main_memory import free_main_memory

# Of the working memory as measured, what a network takes at least: libraries and machines differ.
_AT_LEAST = 0.5
# Of a picture's pixel, beside the network: what it becomes while it is resized, and the maps at its size (benchmarks/tiles.py --memory).
_BYTES_PER_PICTURE_PIXEL = 32
# Of a result's pixel: three floats, once while it is resized, once as it is, and once in the batch.
_BYTES_PER_RESULT_PIXEL = 36
# Of a picture's pixel, half of what fog, light and cut-outs take beside the picture; depth of field takes more.
_BYTES_PER_EFFECT_PIXEL = 56
_GIGABYTE = 2**30
_STEP = 32


def check_network_room(annotator: Annotator, device: torch.device, sides: tuple[int, int], size: int | None, half: bool = False) -> None:
    """Refuses a picture whose network's input, or which itself, is certain not to fit.

    Args:
        annotator: The model.
        device: Where it runs.
        sides: Height and width of the picture.
        size: As `Model.estimate`.
        half: Whether the network computes in half precision.

    Raises:
        MemoryError: Says what it would take, what there is, and what fits.
    """
    room = _free_memory(device)
    size = size or annotator.spec.default_size

    def need(asked: int) -> float:
        pixels = math.prod(annotator.network_size(*sides, asked)) if annotator.needs_by_size else 0
        return pixels * annotator.bytes_per_pixel * _AT_LEAST / (2 if half else 1)

    of_picture = math.prod(sides) * _BYTES_PER_PICTURE_PIXEL if device.type == "cpu" else 0
    if need(size) + of_picture <= room:
        return
    height, width = sides
    memory = f"of which {_gigabytes(room)} are free" if device.type == "cpu" else f"which has {_gigabytes(room)}"
    if of_picture + need(_STEP) > room:
        raise MemoryError(
            f"a picture of {width}x{height} takes at least {_gigabytes(of_picture)} of the memory of {device}, {memory}: make it smaller "
            f"(up to about {_fitting_sides(sides, room)}), or close other programs"
        )
    fits = max((each for each in range(_STEP, size, _STEP) if need(each) + of_picture <= room), default=_STEP)
    rows, columns = annotator.network_size(height, width, size)
    raise MemoryError(
        f"a picture of {width}x{height} at resolution {size} makes {annotator.spec.id} run at {columns}x{rows}, which takes at least "
        f"{_gigabytes(need(size) + of_picture)} of the memory of {device}, {memory}: {wording().lower_size}{wording().where_size} "
        f"to {fits} or less; for detail, {wording().tiles}"
    )


def check_result_room(pictures: int, height: int, width: int) -> None:
    """Refuses a result that is certain not to fit in main memory.

    Args:
        pictures: How many the batch has.
        height: Of each, as it is handed on.
        width: Of each.

    Raises:
        MemoryError: As `check_network_room`.
    """
    room = _free_memory(torch.device("cpu"))
    need = height * width * (_BYTES_PER_RESULT_PIXEL + 12 * (pictures - 1))
    if need <= room:
        return
    fits = math.floor(min(height, width) * math.sqrt(room / need)) // 64 * 64
    many, fewer = (f"{pictures} pictures", ", or give fewer pictures at once") if pictures > 1 else ("a picture", "")
    raise MemoryError(
        f"{many} of {width}x{height} would take {_gigabytes(need)} of memory, of which {_gigabytes(room)} are free: lower the resolution "
        f"to {max(fits, 64)} or less{fewer}"
    )


def check_effect_room(height: int, width: int, device: torch.device) -> None:
    """Refuses a picture whose effects (light, fog, a lens, a mask) are certain not to fit.

    Args:
        height: Of the picture.
        width: Of the picture.
        device: Where they are computed.

    Raises:
        MemoryError: As `check_network_room`.
    """
    room, need = _free_memory(device), height * width * _BYTES_PER_EFFECT_PIXEL
    if need > room:
        shrink = math.sqrt(room / need)
        rows, columns = (max(64, math.floor(side * shrink) // 64 * 64) for side in (height, width))
        raise MemoryError(
            f"a picture of {width}x{height} takes at least {_gigabytes(need)} of the memory of {device}, of which there are "
            f"{_gigabytes(room)}: make it smaller (up to about {columns}x{rows}), or close other programs"
        )


def _free_memory(device: torch.device) -> float:
    """Of a GPU all that it has: other models give way."""
    if device.type == "cpu":
        return free_main_memory()
    if device.type == "cuda" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(device)[1])
    return math.inf


def _fitting_sides(sides: tuple[int, int], room: float) -> str:
    shrink = math.sqrt(room / 2 / (math.prod(sides) * _BYTES_PER_PICTURE_PIXEL))
    rows, columns = (max(64, math.floor(side * min(shrink, 1)) // 64 * 64) for side in sides)
    return f"{columns}x{rows}"


def _gigabytes(count: float) -> str:
    return f"{count / _GIGABYTE:.1f} GB"
