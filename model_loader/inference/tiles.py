"""Estimates large images as a whole, for the layout, and in overlapping full-resolution tiles, for detail.

A single small tile shows too little to be aligned with the whole. So with many tiles, mosaics of fewer, larger tiles come in between:
each of 9 x 9 tiles is aligned with a mosaic of 3 x 3, and that with the whole.

Source:
    See `geometry.alignment.mosaic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...annotators.family import Progress, counted, progress_of_part
from ...geometry.alignment.mosaic import Grid, Mosaic, Tile, align_mask, align_normals, align_values, cells_of, lay_tiles, sample
from ...geometry.camera import resize_intrinsics
from ...geometry.conventions import unit_normals
from ...geometry.estimate import Axes, Estimate, Quantity
from ...geometry.kinds import ZERO_AT_CAMERA
from ...options.estimate import AUTO
from ...utils import images_to_rgb, resize_map
from ..comfy import devices
from .memory_budget import BytesPerPixel
from .network import Images, LoadedNetwork, batch_shape
from .stages import InferenceOptions, image_estimates

_LEAST_WEIGHT, _KNOWN = 1e-6, 0.01


@dataclass(frozen=True)
class Maps:
    """Maps of an image or of some of its tiles, in values that can be blended."""

    values: Tensor  # (N, C, h, w): depth or disparity, normals, mask and confidence, each if present. Metric depth is stored as 1 / metres.
    quantity: Quantity | None  # the quantity of the original depth
    axes: Axes  # of the normals
    parts: tuple[str, ...]  # names of the maps, in channel order

    def part(self, name: str) -> Tensor | None:
        """One of the maps; None if absent."""
        start = 0
        for each in self.parts:
            if each == name:
                return self.values[:, start : start + _CHANNELS[each]]
            start += _CHANNELS[each]
        return None


_CHANNELS = {"depth": 1, "normals": 3, "mask": 1, "confidence": 1}


def maps_of(estimate: Estimate, parts: tuple[str, ...] | None = None) -> Maps:
    """An estimate's maps, finite everywhere. `parts`: the maps of the whole, which all tiles must have."""
    maps: dict[str, Tensor] = {}
    valid = estimate.valid
    if estimate.depth is not None:
        depth = estimate.depth
        if estimate.quantity in ZERO_AT_CAMERA:
            depth = 1 / depth
        maps["depth"] = torch.where(valid, depth, 0)
    if estimate.normals is not None:
        maps["normals"] = torch.where(valid, estimate.normals, 0)
    if estimate.mask is not None or (parts and "mask" in parts):
        maps["mask"] = valid.to(torch.float32)
    if estimate.confidence is not None:
        maps["confidence"] = estimate.confidence
    names = parts or tuple(maps)
    return Maps(torch.cat([maps[name] for name in names], 1), estimate.quantity, estimate.axes, names)


def aligned(tiles: Maps, whole: Maps, places: list[Tile], grid: Grid) -> Tensor:
    """Aligns tiles with the maps of the whole image. Both have the same parts; `places` are the tiles' positions in the mosaic.

    Returns:
        (N, C, tile height, tile width), as `Maps.values`.
    """
    scale = whole.values.shape[-2] / grid.height
    cells = cells_of(grid.tile_height * scale, grid.tile_width * scale)
    whole_values = sample(whole.values.to(tiles.values.device), places, (grid.height, grid.width), *cells)
    below = Maps(whole_values, whole.quantity, whole.axes, whole.parts)
    mask, known_mask = tiles.part("mask"), below.part("mask")
    weight = torch.ones_like(tiles.values[:, :1]) if mask is None else mask
    whole_weight = torch.ones_like(whole_values[:, :1]) if known_mask is None else known_mask
    fills = None
    if mask is not None and known_mask is not None and (whole_mask := whole.part("mask")) is not None:
        all_valid = (whole_mask > 0.5).all().to(mask)  # then there is no sky: a tile may mistake a plain wall for it
        fills = (align_mask(mask, known_mask).clamp(0, 1).maximum(all_valid), whole_weight)
    finished: list[Tensor] = []
    for name in tiles.parts:
        values, of_whole = tiles.part(name), below.part(name)
        assert values is not None and of_whole is not None
        if name == "depth":
            values = align_values(values, weight, _unmixed(of_whole, whole_weight), whole_weight)
            if tiles.quantity in ZERO_AT_CAMERA:
                values = values.clamp(min=_least(_unmixed(of_whole, whole_weight), whole_weight))
        elif name == "normals":
            values = align_normals(values, weight, of_whole, whole_weight)
        if fills is not None:
            values = _filled(name, values, of_whole, weight, *fills)
        finished.append(values)
    return resize_map(torch.cat(finished, 1), grid.tile_height, grid.tile_width)


def _filled(name: str, values: Tensor, of_whole: Tensor, weight: Tensor, mask: Tensor, whole_weight: Tensor) -> Tensor:
    """A tile map in the form that mosaics blend: 0 outside the mask, the whole's values where only the tile is invalid."""
    if name == "mask":
        return mask
    if name == "confidence":
        return values
    whole_values, share = (
        resize_map(each, values.shape[-2], values.shape[-1]) for each in (_unmixed(of_whole, whole_weight), whole_weight)
    )
    return torch.where((weight > 0) | (share < _KNOWN), values, whole_values) * mask


def _unmixed(values: Tensor, weight: Tensor) -> Tensor:
    """Means over valid pixels, from means that count invalid pixels as 0, and the share of valid ones."""
    return values / weight.clamp(min=_LEAST_WEIGHT)


def _least(disparity: Tensor, weight: Tensor) -> Tensor:
    """Half of each tile's minimum disparity in the whole: tiles are not trusted beyond twice the whole's largest distance."""
    least = torch.where(weight > 0.5, disparity, torch.inf).amin((1, 2, 3), keepdim=True)
    return torch.where(torch.isfinite(least), least, 0).clamp(min=1e-6) / 2


def estimate_of(maps: Maps, whole: Estimate) -> Estimate:
    """The estimate of a mosaic; reuses the mosaic's memory."""
    depth, normals, mask, confidence = (maps.part(name) for name in _CHANNELS)
    if depth is not None and mask is not None:
        depth = depth.div_(mask.clamp(min=_LEAST_WEIGHT))
    if depth is not None and maps.quantity in ZERO_AT_CAMERA:
        depth = depth.reciprocal_()
    if normals is not None:
        normals = unit_normals(normals, maps.axes)
    intrinsics = whole.intrinsics
    height, width = maps.values.shape[-2:]
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, (whole.height, whole.width), (height, width)).to(maps.values.device)
    valid = None if mask is None else mask > 0.5
    if valid is not None and depth is not None and whole.depth is not None:
        # the sky's distance is the whole's
        depth = torch.where(valid, depth, F.interpolate(whole.depth, (height, width), mode="nearest-exact").to(depth.device))
    return Estimate(depth, maps.quantity, normals, maps.axes, valid, intrinsics, confidence)


AUTO_MOST = 4
"""Maximum number of tiles along the longer side for "auto": smaller parts show too little of an image's depth (benchmarks/tiles.py)."""
OVERLAP = 1 / 3
_STEP = 3
"""About the largest factor between the tile counts along a side of successive mosaics."""
_BARELY = 1.25

NetworkSize = Callable[[int, int], tuple[int, int]]
"""Maps an image's height and width to those of the network's input."""

_SHOWN = 2
"""Parts of images are first reduced to at most this multiple of the network's input; the network's own resizing follows."""
_BAND_PIXELS = 2**22

Run = Callable[[Tensor, float], Iterable[Estimate]]
"""Estimates (N, 3, h, w) with a field of view in degrees along the longer side (0 = unknown); in order, on the network's device."""


def tile_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None
) -> Iterator[Estimate]:
    """Estimates images in tiles, one image after another; `progress` is called with (tiles done, total tiles).

    Yields:
        Estimates of one image each, on the model's device if derived maps fit there too, else where the images were.
        Where tiles gain nothing, those of `image_estimates`.
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
    device = network.device
    for index in range(total):
        part_progress = progress_of_part(progress, index, index + 1, total)
        estimate = estimate_in_tiles(run, network_size, images[index : index + 1], counts, options.fov, part_progress)
        fits = devices.available_memory(device) > estimate.height * estimate.width * BytesPerPixel.TILED_ESTIMATE
        yield estimate.to(device) if fits else estimate


def estimate_in_tiles(
    run: Run, network_size: NetworkSize, image: Images, tiles: tuple[int, int], fov: float = 0.0, progress: Progress | None = None
) -> Estimate:
    """Estimates one image as a whole and in tiles.

    Args:
        run, network_size: The network.
        image: (1, C, H, W) or an array (1, H, W, C), from `check_images`. It is converted in parts only, to save memory.
        tiles: Rows and columns.
        fov: As in `Annotator.estimate`. Tiles get their share of it, or of the one that the pass over the whole predicts.
        progress: Called with (tiles done, total tiles); the pass over the whole counts as one.

    Returns:
        An estimate of one image, on its device, at image size or at the tiles' combined output size, whichever is less. Camera and metres
        come from the pass over the whole. Tiles share its optical axis: their depth is along the same axis.
    """
    _, height, width = batch_shape(image)
    home = image.device if isinstance(image, Tensor) else torch.device("cpu")
    counts = mosaics(*tiles)
    passed = counted(progress, 1 + sum(rows * columns for rows, columns in counts))
    (whole,) = run(shown(image, (0, height, 0, width), network_size), fov)
    detail = whole.height / network_size(height, width)[0]
    maps = maps_of(whole)
    passed()
    for rows, columns in counts:
        grid = grid_of(height, width, rows, columns, network_size, detail)
        mosaic = Mosaic(grid, maps.values.shape[1], home)
        for row in mosaic.rows():
            crops = [part_of_image(tile, grid, height, width) for tile in grid.row(row)]
            predicted = run(torch.cat([shown(image, crop, network_size) for crop in crops]), _fov_of_part(whole, width, crops[0]))
            for part, places in _with_places(predicted, grid.row(row)):
                mosaic.add(aligned(maps_of(part, maps.parts), maps, places, grid))
                passed(part.batch)
        maps = Maps(mosaic.result, maps.quantity, maps.axes, maps.parts)
    return estimate_of(maps, whole)


def shown(image: Images, part: tuple[int, int, int, int], network_size: NetworkSize) -> Tensor:
    """(1, 3, h, w) in [0, 1]: a part (top, bottom, left, right) of an image, reduced to what the network can use, on its device."""
    top, bottom, left, right = part
    height, width = bottom - top, right - left
    net_height, net_width = network_size(height, width)
    return reduced(image, part, min(height, _SHOWN * net_height), min(width, _SHOWN * net_width))


def reduced(image: Images, part: tuple[int, int, int, int], rows: int, columns: int) -> Tensor:
    """(1, 3, rows, columns) in [0, 1]: a part (top, bottom, left, right) of an image, resized in bands of rows, on the image's device."""
    top, bottom, left, right = part
    band = max(1, _BAND_PIXELS // (right - left))
    cuts = (slice(start, min(start + band, bottom)) for start in range(top, bottom, band))
    bands = (images_to_rgb(image[..., cut, left:right] if isinstance(image, Tensor) else image[:, cut, left:right]) for cut in cuts)
    return resize_map(torch.cat([resize_map(each, each.shape[-2], columns) for each in bands], 2), rows, columns)


def _with_places(parts: Iterable[Estimate], places: list[Tile]) -> Iterator[tuple[Estimate, list[Tile]]]:
    done = 0
    for part in parts:
        yield part, places[done : done + part.batch]
        done += part.batch


def _fov_of_part(whole: Estimate, width: int, part: tuple[int, int, int, int]) -> float:
    """Field of view of a part of an image, which has the image's focal length."""
    if whole.intrinsics is None:
        return 0.0
    focal_length = float(whole.intrinsics[0, 0, 0]) * width / whole.width
    top, bottom, left, right = part
    return math.degrees(2 * math.atan(max(bottom - top, right - left) / (2 * focal_length)))


def tiles_along(tiles: int | str, height: int, width: int, network_size: NetworkSize) -> tuple[int, int]:
    """Rows and columns of tiles for an image.

    Args:
        tiles: Along the longer side, or "auto": as many as give each tile about the network's input size, at most `AUTO_MOST`.
        height, width: Of the image.
        network_size: Maps an image's height and width to those of the network's input.

    Returns:
        (rows, columns). Tiles are at least half as large as the network's input; (1, 1) where tiles gain nothing.
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
    """Rows and columns of tiles of each mosaic; the last has those requested."""
    steps = max(1, math.ceil(math.log(max(rows, columns)) / math.log(_STEP) - 1e-9)) if max(rows, columns) > 1 else 0
    return [tuple(max(1, round(count ** (step / steps))) for count in (rows, columns)) for step in range(1, steps + 1)]  # pyright: ignore[reportReturnType]


def grid_of(height: int, width: int, rows: int, columns: int, network_size: NetworkSize, detail: float) -> Grid:
    """The tiles of a mosaic no larger than the outputs of all its tiles; `detail` is the ratio of output to input size."""
    full = lay_tiles(height, width, rows, columns, OVERLAP)
    net_height, net_width = network_size(full.tile_height, full.tile_width)
    scale = min(1.0, detail * max(net_height / full.tile_height, net_width / full.tile_width))
    return lay_tiles(max(1, round(height * scale)), max(1, round(width * scale)), rows, columns, OVERLAP)


def part_of_image(tile: Tile, grid: Grid, height: int, width: int) -> tuple[int, int, int, int]:
    """A tile's (top, bottom, left, right) in image pixels."""
    down, across = height / grid.height, width / grid.width
    top, left = round(tile.top * down), round(tile.left * across)
    rows, columns = max(1, round(tile.height * down)), max(1, round(tile.width * across))
    top, left = min(top, height - rows), min(left, width - columns)
    return top, top + rows, left, left + columns
