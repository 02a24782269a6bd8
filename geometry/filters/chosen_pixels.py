"""Operations on a few selected pixels instead of whole maps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, sample_at
from .coarse import enlarged


def chosen_places(chosen: Tensor) -> Tensor:
    """Indices (N,) of the True pixels on a CPU; elsewhere of all pixels, as counting would synchronise the device."""
    if chosen.device.type != "cpu":
        return torch.arange(chosen.numel(), device=chosen.device)
    return places_where(chosen)


def places_where(chosen: Tensor) -> Tensor:
    """Indices (N,) of the True pixels. Synchronises the device for N."""
    if chosen.device.type != "cpu":
        return chosen.flatten().nonzero().flatten()
    # A quarter of the time of torch's own `nonzero`.
    return torch.from_numpy(np.flatnonzero(chosen.numpy()))


def values_at(values: Tensor, places: Tensor) -> Tensor:
    """The values (N,) of maps with one channel, (B, 1, H, W), at flat indices (N,) through all images."""
    return values.flatten().index_select(0, places)


def rows_and_columns(places: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Converts flat indices (N,) through images of this size to rows and columns in their image, (N,) each."""
    rows = places // width
    return rows % height, torch.sub(places, rows, alpha=width)


def located(places: Tensor, images: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Converts flat indices (N,) through images of one size to image, row and column, (N,) each; of a single image, a scalar 0."""
    rows = places // width
    columns = torch.sub(places, rows, alpha=width)
    if images == 1:
        return constant(places, 0), rows, columns
    image = rows // height
    return image, torch.sub(rows, image, alpha=height), columns


def summed_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Sums (N, C) of K rows each of a table (M, C), by row indices (N, K)."""
    if table.device.type != "mps":  # older versions of torch lack `embedding_bag` on MPS
        return F.embedding_bag(rows, table, mode="sum")
    return table.index_select(0, rows.flatten()).view(*rows.shape, table.shape[1]).sum(1)


def pixels_where(chosen: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The flat indices of the True pixels of maps (B, 1, H, W), and their image, row and column as from `located`."""
    images, height, width = chosen[:, 0].shape
    if chosen.device.type == "cpu":
        places = places_where(chosen)
        return places, located(places, images, height, width)
    image, _, row, column = chosen.nonzero().unbind(1)
    places = torch.add(column, row, alpha=width)
    if images == 1:
        return places, (constant(places, 0), row, column)
    return places.add_(image, alpha=height * width), (image, row, column)


class ChosenPixels:
    """The `chosen` pixels of maps: on a CPU a list of N pixels; elsewhere all pixels, as the list's length would synchronise the device."""

    def __init__(self, chosen: Tensor) -> None:
        self.chosen = chosen
        self._indices = chosen_places(chosen) if chosen.device.type == "cpu" else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.chosen.shape[-2], self.chosen.shape[-1]

    def take(self, values: Tensor) -> Tensor:
        """The values (N,) of a map at the selected pixels."""
        return values.flatten() if self._indices is None else values_at(values, self._indices)

    def put(self, values: Tensor, new: Tensor) -> Tensor:
        """Replaces the values of a map at the selected pixels by new ones (N,)."""
        if self._indices is None:
            return torch.where(self.chosen, new.view_as(values), values)
        return values.flatten().index_copy(0, self._indices, new).view_as(values)

    def take_vectors(self, maps: Tensor) -> Tensor:
        """The values (C, N) of maps (1, C, H, W) at the selected pixels."""
        vectors = maps.flatten(2)[0]
        return vectors if self._indices is None else vectors.index_select(1, self._indices)

    def sample_vectors(self, small: Tensor, pitch: int) -> Tensor:
        """Values (C, N) at the selected pixels, interpolated from smaller maps (1, C, h, w) with one value per square of `pitch` pixels."""
        height, width = self.chosen.shape[-2:]
        if self._indices is None:
            return enlarged(small, pitch, (height, width)).flatten(2)[0]
        rows, columns = rows_and_columns(self._indices, height, width)
        rows_of_small, columns_of_small = small.shape[-2:]
        x = (2 * columns + 1).float() / (pitch * columns_of_small) - 1
        y = (2 * rows + 1).float() / (pitch * rows_of_small) - 1
        grid = torch.stack((x, y), -1).to(small)
        return sample_at(small, grid[None, None])[0, :, 0]

    def put_vectors(self, maps: Tensor, new: Tensor) -> Tensor:
        """Replaces the values of maps (1, C, H, W) at the selected pixels by new ones (C, N)."""
        if self._indices is None:
            return torch.where(self.chosen, new.view_as(maps), maps)
        return maps.flatten(2)[0].index_copy(1, self._indices, new).view_as(maps)
