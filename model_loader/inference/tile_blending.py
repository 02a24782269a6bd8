"""Aligns the estimates of tiles with that of the whole image and blends them.

Source:
    `geometry.alignment.mosaic` has the mathematics and where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.alignment.mosaic import Grid, Tile, align_mask, align_normals, align_values, cells_of, sample
from ...geometry.camera import resize_intrinsics
from ...geometry.conventions import unit_normals
from ...geometry.estimate import Axes, Estimate, Quantity
from ...utils import resize_map

_LEAST_WEIGHT, _KNOWN = 1e-6, 0.01


@dataclass(frozen=True)
class Maps:
    """The maps of an image, or of some tiles of one, in numbers that can be blended.

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
    valid = estimate.valid
    if estimate.depth is not None:
        depth = estimate.depth
        if estimate.quantity is Quantity.METRIC_DEPTH:
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
    """Tiles of a mosaic, aligned with the whole image's maps, which have the same parts; `places` are where the tiles lie in the mosaic.

    Returns:
        (N, C, tile height, tile width) as `Maps.values`.
    """
    scale = whole.values.shape[-2] / grid.height
    cells = cells_of(grid.tile_height * scale, grid.tile_width * scale)
    known = sample(whole.values.to(tiles.values.device), places, (grid.height, grid.width), *cells)
    below = Maps(known, whole.quantity, whole.axes, whole.parts)
    mask, known_mask = tiles.part("mask"), below.part("mask")
    weight = torch.ones_like(tiles.values[:, :1]) if mask is None else mask
    whole_weight = torch.ones_like(known[:, :1]) if known_mask is None else known_mask
    fills = None
    if mask is not None and known_mask is not None and (whole_mask := whole.part("mask")) is not None:
        all_valid = (whole_mask > 0.5).all().to(mask)  # then what a tile alone takes for sky, say a plain wall, is none
        fills = (align_mask(mask, known_mask).clamp(0, 1).maximum(all_valid), whole_weight)
    finished: list[Tensor] = []
    for name in tiles.parts:
        values, of_whole = tiles.part(name), below.part(name)
        assert values is not None and of_whole is not None
        if name == "depth":
            values = align_values(values, weight, _unmixed(of_whole, whole_weight), whole_weight)
            if tiles.quantity is Quantity.METRIC_DEPTH:
                values = values.clamp(min=_least(_unmixed(of_whole, whole_weight), whole_weight))
        elif name == "normals":
            values = align_normals(values, weight, of_whole, whole_weight)
        if fills is not None:
            values = _filled(name, values, of_whole, weight, *fills)
        finished.append(values)
    return resize_map(torch.cat(finished, 1), grid.tile_height, grid.tile_width)


def _filled(name: str, values: Tensor, of_whole: Tensor, weight: Tensor, mask: Tensor, whole_weight: Tensor) -> Tensor:
    """A map of tiles as mosaics blend it: 0 where the mask is, the whole's where only the tile is invalid."""
    if name == "mask":
        return mask
    if name == "confidence":
        return values
    known, share = (resize_map(each, values.shape[-2], values.shape[-1]) for each in (_unmixed(of_whole, whole_weight), whole_weight))
    return torch.where((weight > 0) | (share < _KNOWN), values, known) * mask


def _unmixed(values: Tensor, weight: Tensor) -> Tensor:
    """Means of valid values, of values that are 0 where they are invalid."""
    return values / weight.clamp(min=_LEAST_WEIGHT)


def _least(disparity: Tensor, weight: Tensor) -> Tensor:
    """Half of the least disparity that each tile has in the whole; farther than twice that, the tile is not trusted."""
    known = torch.where(weight > 0.5, disparity, torch.inf).amin((1, 2, 3), keepdim=True)
    return torch.where(torch.isfinite(known), known, 0).clamp(min=1e-6) / 2


def estimate_of(maps: Maps, whole: Estimate) -> Estimate:
    """The estimate of a mosaic, whose memory becomes the estimate's."""
    depth, normals, mask, confidence = (maps.part(name) for name in _CHANNELS)
    if depth is not None and mask is not None:
        depth = depth.div_(mask.clamp(min=_LEAST_WEIGHT))
    if depth is not None and maps.quantity is Quantity.METRIC_DEPTH:
        depth = depth.reciprocal_()
    if normals is not None:
        normals = unit_normals(normals, maps.axes)
    intrinsics = whole.intrinsics
    height, width = maps.values.shape[-2:]
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, (whole.height, whole.width), (height, width)).to(maps.values.device)
    valid = None if mask is None else mask > 0.5
    if valid is not None and depth is not None and whole.depth is not None:
        # sky is as far as the whole has it
        depth = torch.where(valid, depth, F.interpolate(whole.depth, (height, width), mode="nearest-exact").to(depth.device))
    return Estimate(depth, maps.quantity, normals, maps.axes, valid, intrinsics, confidence)
