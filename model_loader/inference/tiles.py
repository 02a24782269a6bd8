"""A source: large images as a whole, for what is where, and in overlapping tiles at full size, for detail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ...annotators.family import Progress
from ...geometry.alignment.mosaic import Mosaic, Tile
from ...geometry.estimate import Estimate
from ...utils import images_to_rgb, resize_map
from ..comfy import devices
from .forward import Images, batch_shape, image_estimates
from .memory_budget import BytesPerPixel
from .network import Network
from .options import InferenceOptions
from .tile_blending import Maps, aligned, estimate_of, maps_of
from .tile_layout import NetworkSize, grid_of, mosaics, part_of_image, tiles_along

_SHOWN = 2
"""Parts of images are made smaller before a network resizes them by its own rule, to so many times its input."""
_BAND_PIXELS = 2**22

Run = Callable[[Tensor, float], Iterable[Estimate]]
"""Estimates (N, 3, h, w) of a field of view in degrees on the longer side (0 = unknown), in parts, in order, on the network's device."""


def tile_estimates(network: Network, images: Images, options: InferenceOptions, progress: Progress | None = None) -> Iterator[Estimate]:
    """The estimates of images in tiles, one image after another; `progress` is called with (tiles done, tiles in all).

    Yields:
        Estimates of one image each, on the model's device if what is derived of them fits there, else where the images were.
    """
    total, height, width = batch_shape(images)

    def network_size(rows: int, columns: int) -> tuple[int, int]:
        return network.annotator.checked_network_size(rows, columns, options.size)

    def run(tiles: Tensor, fov: float) -> Iterable[Estimate]:
        return image_estimates(network, tiles, replace(options, fov=fov))

    assert options.tiles is not None
    counts = tiles_along(options.tiles, height, width, network_size)
    if counts == (1, 1):
        yield from image_estimates(network, images, options, progress)
        return
    device = network.weights.device
    for index in range(total):
        found = estimate_in_tiles(run, network_size, images[index : index + 1], counts, options.fov, _of_all(progress, index, total))
        fits = devices.available_memory(device) > found.height * found.width * BytesPerPixel.TILED_ESTIMATE
        yield found.to(device) if fits else found


def _of_all(progress: Progress | None, index: int, total: int) -> Progress | None:
    """Progress within an image as progress of the whole batch."""
    if progress is None:
        return None
    return lambda done, parts: progress(index * parts + done, total * parts)


def estimate_in_tiles(
    run: Run, network_size: NetworkSize, image: Images, tiles: tuple[int, int], fov: float = 0.0, progress: Progress | None = None
) -> Estimate:
    """Estimates one image as a whole and in tiles.

    Args:
        run: The network.
        network_size: Height and width of the network's input for images of a height and width.
        image: (1, C, H, W) or an array (1, H, W, C), as `check_images` returns it. It is never converted as a whole.
        tiles: Rows and columns.
        fov: As `Annotator.estimate`. Tiles get their part of it, or of what the pass over the whole finds.
        progress: Called with (tiles done, tiles in all), the whole pass among them.

    Returns:
        An estimate of one image where the image was, at its size or at that which the tiles' estimates have together, if that is
        less. Metres are those of the pass over the whole, as is the camera. A part of an image shows the same depth along the same axis.
    """
    _, height, width = batch_shape(image)
    home = image.device if isinstance(image, Tensor) else torch.device("cpu")
    counts = mosaics(*tiles)
    total, done = 1 + sum(rows * columns for rows, columns in counts), 1
    (whole,) = run(shown(image, (0, height, 0, width), network_size), fov)
    detail = whole.height / network_size(height, width)[0]
    maps = maps_of(whole)
    if progress is not None:
        progress(done, total)
    for rows, columns in counts:
        grid = grid_of(height, width, rows, columns, network_size, detail)
        mosaic = Mosaic(grid, maps.values.shape[1], home)
        for row in mosaic.rows():
            crops = [part_of_image(tile, grid, height, width) for tile in grid.row(row.index)]
            predicted = run(torch.cat([shown(image, crop, network_size) for crop in crops]), _fov_of_part(whole, width, crops[0], fov))
            for part, places in _with_places(predicted, grid.row(row.index)):
                row.add(aligned(maps_of(part, maps.parts), maps, places, grid))
                done += part.batch
                if progress is not None:
                    progress(done, total)
        maps = Maps(mosaic.result, maps.quantity, maps.axes, maps.parts)
    return estimate_of(maps, whole)


def shown(image: Images, part: tuple[int, int, int, int], network_size: NetworkSize) -> Tensor:
    """(1, 3, h, w) in [0, 1]: a part (top, bottom, left, right) of an image, no larger than the network can use, on its device."""
    top, bottom, left, right = part
    height, width = bottom - top, right - left
    net_height, net_width = network_size(height, width)
    rows, columns = min(height, _SHOWN * net_height), min(width, _SHOWN * net_width)
    band = max(1, _BAND_PIXELS // width)
    bands = [_rgb(image, start, min(start + band, bottom), left, right) for start in range(top, bottom, band)]
    return resize_map(torch.cat([resize_map(each, each.shape[-2], columns) for each in bands], 2), rows, columns)


def _rgb(image: Images, top: int, bottom: int, left: int, right: int) -> Tensor:
    if isinstance(image, Tensor):
        return images_to_rgb(image[..., top:bottom, left:right])
    return images_to_rgb(image[:, top:bottom, left:right])


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
