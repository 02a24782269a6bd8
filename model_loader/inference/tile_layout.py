"""Computes which tiles an image is cut into, and their positions in the image and in the mosaic.

Where tiles are many, one tile shows too little of the whole to be aligned with it. Then mosaics of fewer, larger tiles come between:
each of 10 x 10 tiles is aligned with a mosaic of 3 x 3, and that with the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...geometry.alignment.mosaic import Grid, Tile, lay_tiles
from .options import AUTO

AUTO_MOST = 4
"""Tiles along the longer side where "auto" chooses: smaller parts of an image show little of its depth (benchmarks/tiles.py)."""
OVERLAP = 1 / 3
_STEP = 3
"""How many times as many tiles along a side each mosaic has as the one before."""
_BARELY = 1.25

NetworkSize = Callable[[int, int], tuple[int, int]]
"""Height and width of the network's input for images of a height and width."""


def tiles_along(tiles: int | str, height: int, width: int, network_size: NetworkSize) -> tuple[int, int]:
    """Rows and columns of tiles for an image.

    Args:
        tiles: Along the longer side, or "auto": so many that the network takes each at about its own size, at most `AUTO_MOST`.
        height: Of the image.
        width: Of the image.
        network_size: Height and width of the network's input for images of a height and width.

    Returns:
        (rows, columns); (1, 1) where there is nothing to gain: tiles are at least half as large as the network's input.
    """
    net_height, net_width = network_size(height, width)
    times = min(height / net_height, width / net_width)
    if tiles == AUTO:
        along = 1 if times < _BARELY else min(AUTO_MOST, max(2, round(times)))
    else:
        along = min(int(tiles), max(1, math.ceil(2 * times)))
    shorter = max(1, round(along * min(height, width) / max(height, width)))
    return (along, shorter) if height > width else (shorter, along)


def mosaics(rows: int, columns: int) -> list[tuple[int, int]]:
    """Rows and columns of tiles in each mosaic, the last one's as asked for."""
    steps = max(1, math.ceil(math.log(max(rows, columns)) / math.log(_STEP) - 1e-9)) if max(rows, columns) > 1 else 0
    return [tuple(max(1, round(count ** (step / steps))) for count in (rows, columns)) for step in range(1, steps + 1)]  # pyright: ignore[reportReturnType]


def grid_of(height: int, width: int, rows: int, columns: int, network_size: NetworkSize, detail: float) -> Grid:
    """The tiles of a mosaic no larger than the network's outputs of all its tiles; `detail`: how many times its input an output is."""
    full = lay_tiles(height, width, rows, columns, OVERLAP)
    net_height, net_width = network_size(full.tile_height, full.tile_width)
    scale = min(1.0, detail * max(net_height / full.tile_height, net_width / full.tile_width))
    return lay_tiles(max(1, round(height * scale)), max(1, round(width * scale)), rows, columns, OVERLAP)


def part_of_image(tile: Tile, grid: Grid, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a tile in pixels of the image."""
    down, across = height / grid.height, width / grid.width
    top, left = round(tile.top * down), round(tile.left * across)
    rows, columns = max(1, round(tile.height * down)), max(1, round(tile.width * across))
    top, left = min(top, height - rows), min(left, width - columns)
    return top, top + rows, left, left + columns
