"""Large pictures through a model: as a whole and in tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..annotators.family import Progress
from ..annotators.tiles import estimate_in_tiles, tiles_along
from ..geometry.estimate import Estimate
from . import host

if TYPE_CHECKING:
    from .model import Model

# What normals of depth, and bringing both to another size, take for each pixel.
_BYTES_PER_PIXEL = 200


def estimates_in_tiles(
    model: Model,
    batch: Tensor | np.ndarray,
    size: int | None,
    progress: Progress | None,
    *,
    fov: float,
    options: Any,
    tiles: int | str,
) -> Iterator[Estimate]:
    """The estimates of pictures in tiles, one picture after another.

    Args:
        model: The model.
        batch: The pictures, as `check_pictures` returns them.
        size: As `Model.estimate`.
        progress: Called with (tiles done, tiles in all).
        fov: As `Model.estimate`.
        options: As `Model.estimate`.
        tiles: As `annotators.tiles.tiles_along`, above 1 or "auto".

    Returns:
        Estimates of one picture each, on the model's device if there is room for what may follow from them, else where the pictures were.
    """
    height, width = batch.shape[-2:] if isinstance(batch, Tensor) else batch.shape[1:3]

    def sized(rows: int, columns: int) -> tuple[int, int]:
        return model.annotator.checked_network_size(rows, columns, size)

    def run(pictures: Tensor, degrees: float) -> Iterable[Estimate]:
        return model.estimates(pictures, size, fov=degrees, options=options)

    counts = tiles_along(tiles, height, width, sized)
    if counts == (1, 1):
        yield from model.estimates(batch, size, progress, fov=fov, options=options)
        return
    for index in range(len(batch)):
        found = estimate_in_tiles(run, sized, batch[index : index + 1], counts, fov, _of_all(progress, index, len(batch)))
        fits = host.available_memory(model.device) > found.height * found.width * _BYTES_PER_PIXEL
        yield found.to(model.device) if fits else found


def _of_all(progress: Progress | None, index: int, total: int) -> Progress | None:
    """Progress within a picture as progress of the whole batch."""
    if progress is None:
        return None
    return lambda done, parts: progress(index * parts + done, total * parts)
