"""Large images by any family: one pass over the whole for the layout, overlapping tiles at full size for detail.

Where tiles are many, a tile shows too little of the whole to be brought to it. Then rows of fewer, larger tiles come between: of 10 x 10
tiles each is brought to a mosaic of 3 x 3, and that to the whole.

Source:
    `geometry.mosaic` has the mathematics and where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import resize_intrinsics
from ..geometry.conventions import unit_normals
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.mosaic import Grid, Mosaic, Tile, bring_mask, bring_normals, bring_values, cells_of, lay_tiles, sample
from ..utils import pictures_to_rgb, resize_map
from .base import Progress

AUTO, OFF = "auto", "off"
MOST_TILES = 64
"""Tiles along the longer side; more would be smaller than any network's input in the largest image."""
AUTO_MOST = 4
"""The same where "auto" chooses: smaller parts of an image show too little context for depth (benchmarks/tiles.py)."""
OVERLAP = 1 / 3
_STEP = 3
"""How many times as many tiles along a side each mosaic has than the one before."""
_SHOWN = 2
"""Parts of images are made smaller before a network resizes them by its own rule, to so many times its input."""
_BAND_PIXELS = 2**22
_BARELY = 1.25
_NO_COUNT, _TOLD = 1e-6, 0.01

Pictures = Tensor | np.ndarray
Run = Callable[[Tensor, float], Iterable[Estimate]]
"""Estimates (N, 3, h, w) of a field of view in degrees on the longer side (0 = not known), in parts, in order, on the network's device."""
Sized = Callable[[int, int], tuple[int, int]]
"""Height and width of the network's input for images of a height and width."""


def check_tiles(tiles: int | str | None) -> int | str:
    """`tiles` as `tiles_along` takes it; None, "off" and 1 are 0.

    Raises:
        ValueError: Neither a number of tiles nor one of the words.
    """
    if tiles == AUTO:
        return AUTO
    number = {"": -1, OFF: 0}.get(tiles, tiles) if isinstance(tiles, str) else tiles or 0
    if isinstance(number, str):
        number = int(number) if number.isdecimal() else -1
    if number != int(number) or not 0 <= number <= MOST_TILES:
        raise ValueError(f"tiles is {tiles!r}; accepted: {AUTO!r}, {OFF!r}, or how many along the longer side, up to {MOST_TILES}")
    return 0 if number == 1 else int(number)


def tiles_along(tiles: int | str, height: int, width: int, sized: Sized) -> tuple[int, int]:
    """Rows and columns of tiles for an image.

    Args:
        tiles: Along the longer side, or "auto": so many that a network sees each at about its own size, at most `AUTO_MOST`.
        height: Of the image.
        width: Of the image.
        sized: The network's input.

    Returns:
        (rows, columns); (1, 1) where there is nothing to gain: tiles are at least half as large as the network's input.
    """
    net_height, net_width = sized(height, width)
    times = min(height / net_height, width / net_width)
    if tiles == AUTO:
        along = 1 if times < _BARELY else min(AUTO_MOST, max(2, round(times)))
    else:
        along = min(int(tiles), max(1, math.ceil(2 * times)))
    shorter = max(1, round(along * min(height, width) / max(height, width)))
    return (along, shorter) if height > width else (shorter, along)


@dataclass(frozen=True)
class Maps:
    """The maps of an image, or of some tiles of one, in a form that can be blended.

    Attributes:
        values: (N, C, h, w): depth or disparity if there is any, then normals, a mask and confidence, if there are any.
        quantity: What the depth was. Of metric depth, `values` have 1 / metres.
        axes: Of the normals.
        parts: Names of the maps, in the order of the channels.
    """

    values: Tensor
    quantity: Quantity | None
    axes: Axes
    parts: tuple[str, ...]

    def part(self, name: str) -> Tensor | None:
        """One of the maps."""
        start = 0
        for each in self.parts:
            if each == name:
                return self.values[:, start : start + _CHANNELS[each]]
            start += _CHANNELS[each]
        return None


_CHANNELS = {"depth": 1, "normals": 3, "mask": 1, "confidence": 1}


def maps_of(estimate: Estimate, parts: tuple[str, ...] | None = None) -> Maps:
    """An estimate's maps; finite everywhere. `parts`: those of the whole, which all tiles must have."""
    maps: dict[str, Tensor] = {}
    counts = estimate.valid
    if estimate.depth is not None:
        depth = estimate.depth
        if estimate.quantity is Quantity.METRIC_DEPTH:
            depth = 1 / depth
        maps["depth"] = torch.where(counts, depth, 0)
    if estimate.normals is not None:
        maps["normals"] = torch.where(counts, estimate.normals, 0)
    if estimate.mask is not None or (parts and "mask" in parts):
        maps["mask"] = counts.to(torch.float32)
    if estimate.confidence is not None:
        maps["confidence"] = estimate.confidence
    names = parts or tuple(maps)
    return Maps(torch.cat([maps[name] for name in names], 1), estimate.quantity, estimate.axes, names)


def estimate_in_tiles(
    run: Run, sized: Sized, image: Pictures, tiles: tuple[int, int], fov: float = 0.0, progress: Progress | None = None
) -> Estimate:
    """Estimates one image as a whole and in tiles.

    Args:
        run: The network.
        sized: The network's input.
        image: (1, C, H, W) or an array (1, H, W, C), as `check_pictures` returns it. It is never converted as a whole.
        tiles: Rows and columns.
        fov: As `Annotator.estimate`. Tiles get their part of it, or of what the whole pass finds.
        progress: Called with (tiles done, tiles in all), the whole pass among them.

    Returns:
        An estimate of one image where the image was, at its size or at that which the tiles' estimates have together, if that is
        less. Metres are those of the whole pass, as is the camera. A part of an image shows the same depth along the same axis.
    """
    height, width = _sides(image)
    home = image.device if isinstance(image, Tensor) else torch.device("cpu")
    counts = mosaics(*tiles)
    total, done = 1 + sum(rows * columns for rows, columns in counts), 1
    (whole,) = run(shown(image, (0, height, 0, width), sized), fov)
    detail = whole.height / sized(height, width)[0]
    maps = maps_of(whole)
    if progress is not None:
        progress(done, total)
    for rows, columns in counts:
        grid = _grid(height, width, rows, columns, sized, detail)
        mosaic = Mosaic(grid, maps.values.shape[1], home)
        for row in mosaic.rows():
            crops = [_in_picture(tile, grid, height, width) for tile in grid.row(row.index)]
            seen = run(torch.cat([shown(image, crop, sized) for crop in crops]), _fov_of_part(whole, width, crops[0], fov))
            for part, places in _with_places(seen, grid.row(row.index)):
                row.add(brought(maps_of(part, maps.parts), maps, places, grid))
                done += part.batch
                if progress is not None:
                    progress(done, total)
        maps = Maps(mosaic.result, maps.quantity, maps.axes, maps.parts)
    return _estimate_of(maps, whole)


def mosaics(rows: int, columns: int) -> list[tuple[int, int]]:
    """Rows and columns of tiles in each mosaic, the last one's as asked for."""
    steps = max(1, math.ceil(math.log(max(rows, columns)) / math.log(_STEP) - 1e-9)) if max(rows, columns) > 1 else 0
    return [tuple(max(1, round(count ** (step / steps))) for count in (rows, columns)) for step in range(1, steps + 1)]  # pyright: ignore[reportReturnType]


def brought(tiles: Maps, whole: Maps, places: list[Tile], grid: Grid) -> Tensor:
    """Tiles brought to the whole, at the size that they have in the mosaic.

    Args:
        tiles: A network's outputs of them.
        whole: Maps of the whole image, of the same parts.
        places: Where the tiles lie in the mosaic.
        grid: The mosaic.

    Returns:
        (N, C, tile height, tile width) as `Maps.values`.
    """
    scale = whole.values.shape[-2] / grid.height
    cells = cells_of(grid.tile_height * scale, grid.tile_width * scale)
    known = sample(whole.values.to(tiles.values.device), places, (grid.height, grid.width), *cells)
    below = Maps(known, whole.quantity, whole.axes, whole.parts)
    mask, known_mask = tiles.part("mask"), below.part("mask")
    counts = torch.ones_like(tiles.values[:, :1]) if mask is None else mask
    known_counts = torch.ones_like(known[:, :1]) if known_mask is None else known_mask
    fills = None if mask is None or known_mask is None else (bring_mask(mask, known_mask).clamp(0, 1), known_counts)
    finished: list[Tensor] = []
    for name in tiles.parts:
        values, of_whole = tiles.part(name), below.part(name)
        assert values is not None and of_whole is not None
        if name == "depth":
            values = bring_values(values, counts, _unmixed(of_whole, known_counts), known_counts)
            if tiles.quantity is Quantity.METRIC_DEPTH:
                values = values.clamp(min=_least(_unmixed(of_whole, known_counts), known_counts))
        elif name == "normals":
            values = bring_normals(values, counts, of_whole, known_counts)
        if fills is not None:
            values = _filled(name, values, of_whole, counts, *fills)
        finished.append(values)
    return resize_map(torch.cat(finished, 1), grid.tile_height, grid.tile_width)


def _filled(name: str, values: Tensor, of_whole: Tensor, counts: Tensor, mask: Tensor, known_counts: Tensor) -> Tensor:
    """A map of tiles as mosaics blend it: nothing where it does not count, the whole's where it counts but the tile says nothing."""
    if name == "mask":
        return mask
    if name == "confidence":
        return values
    known, told = (resize_map(each, values.shape[-2], values.shape[-1]) for each in (_unmixed(of_whole, known_counts), known_counts))
    return torch.where((counts > 0) | (told < _TOLD), values, known) * mask


def shown(image: Pictures, part: tuple[int, int, int, int], sized: Sized) -> Tensor:
    """(1, 3, h, w) in [0, 1]: a part (top, bottom, left, right) of an image, no larger than a network can use, on the image's device."""
    top, bottom, left, right = part
    height, width = bottom - top, right - left
    net_height, net_width = sized(height, width)
    rows, columns = min(height, _SHOWN * net_height), min(width, _SHOWN * net_width)
    band = max(1, _BAND_PIXELS // width)
    bands = [_rgb(image, start, min(start + band, bottom), left, right) for start in range(top, bottom, band)]
    return resize_map(torch.cat([resize_map(each, each.shape[-2], columns) for each in bands], 2), rows, columns)


def _rgb(image: Pictures, top: int, bottom: int, left: int, right: int) -> Tensor:
    if isinstance(image, Tensor):
        return pictures_to_rgb(image[..., top:bottom, left:right])
    return pictures_to_rgb(image[:, top:bottom, left:right])


def _sides(image: Pictures) -> tuple[int, int]:
    height, width = image.shape[-2:] if isinstance(image, Tensor) else image.shape[1:3]
    return height, width


def _grid(height: int, width: int, rows: int, columns: int, sized: Sized, detail: float) -> Grid:
    """The tiles of a mosaic no larger than what a network says of all its tiles; `detail`: how many times its input that is."""
    full = lay_tiles(height, width, rows, columns, OVERLAP)
    net_height, net_width = sized(full.tile_height, full.tile_width)
    scale = min(1.0, detail * max(net_height / full.tile_height, net_width / full.tile_width))
    return lay_tiles(max(1, round(height * scale)), max(1, round(width * scale)), rows, columns, OVERLAP)


def _in_picture(tile: Tile, grid: Grid, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a tile in pixels of the image."""
    down, across = height / grid.height, width / grid.width
    top, left = round(tile.top * down), round(tile.left * across)
    rows, columns = max(1, round(tile.height * down)), max(1, round(tile.width * across))
    top, left = min(top, height - rows), min(left, width - columns)
    return top, top + rows, left, left + columns


def _with_places(parts: Iterable[Estimate], places: list[Tile]) -> Iterator[tuple[Estimate, list[Tile]]]:
    done = 0
    for part in parts:
        yield part, places[done : done + part.batch]
        done += part.batch


def _fov_of_part(whole: Estimate, width: int, part: tuple[int, int, int, int], fov: float) -> float:
    """Field of view of a part of an image; its focal length is the image's."""
    if whole.intrinsics is None:
        return 0.0
    focal_length = float(whole.intrinsics[0, 0, 0]) * width / whole.width
    top, bottom, left, right = part
    return math.degrees(2 * math.atan(max(bottom - top, right - left) / (2 * focal_length)))


def _unmixed(values: Tensor, counts: Tensor) -> Tensor:
    """Means of what counts, of values that are 0 where they do not."""
    return values / counts.clamp(min=_NO_COUNT)


def _least(disparity: Tensor, counts: Tensor) -> Tensor:
    """Half of the least disparity that each tile has in the whole; farther than twice that, the tile's word is not taken."""
    known = torch.where(counts > 0.5, disparity, torch.inf).amin((1, 2, 3), keepdim=True)
    return torch.where(torch.isfinite(known), known, 0).clamp(min=1e-6) / 2


def _estimate_of(maps: Maps, whole: Estimate) -> Estimate:
    """The estimate of a mosaic, whose memory becomes the estimate's."""
    depth, normals, mask, confidence = (maps.part(name) for name in _CHANNELS)
    if depth is not None and mask is not None:
        depth = depth.div_(mask.clamp(min=_NO_COUNT))
    if depth is not None and maps.quantity is Quantity.METRIC_DEPTH:
        depth = depth.reciprocal_()
    if normals is not None:
        normals = unit_normals(normals, maps.axes)
    intrinsics = whole.intrinsics
    height, width = maps.values.shape[-2:]
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, (whole.height, whole.width), (height, width)).to(maps.values.device)
    counts = None if mask is None else mask > 0.5
    if counts is not None and depth is not None and whole.depth is not None:
        # sky is as far as the whole has it
        depth = torch.where(counts, depth, F.interpolate(whole.depth, (height, width), mode="nearest-exact").to(depth.device))
    return Estimate(depth, maps.quantity, normals, maps.axes, counts, intrinsics, confidence)
