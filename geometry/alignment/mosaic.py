"""Aligns overlapping tiles with a map of the whole image and blends them.

A network that processes only a tile gets its detail right, but not its layout: scale and shift differ from tile to tile, planes lean, and
flat walls get a shape. A map of the whole image has the layout but no detail. So low frequencies are taken from the whole image's map and
high frequencies from the tile: each tile is aligned first by one robust scale and shift, then by a slowly varying scale and shift. The
blending windows add up to one, so that the grid of tiles leaves no trace.

Source:
    Li, Bhat and Wonka, "PatchFusion" (2024), and Miangoleh et al., "Boosting Monocular Depth Estimation Models to High-Resolution" (2021),
    for a pass over the whole image and patches at full size. They join patches by trained networks, TilingZoeDepth (B. F. Smith, 2023)
    by scale and shift. The slowly varying scale and shift are a guided filter (He and Sun, "Fast Guided Filter", 2015) of the whole map
    with the tile as its guide. One change is ours: an undetermined slope is 1 instead of 0, which keeps detail where the whole map is flat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import resize_map, sample_at, sent_to, unit_vectors, without_autocast
from .scale_shift import fit_robustly

# Noise variance of the whole map relative to the tile: nearly least squares, whose scale is smaller the less the tile matches.
_NOISE_RATIO = 100.0
# Largest side of the grid on which corrections are computed, and the deviation of their blur as a share of it.
_CELLS = 64
_REACH = 1 / 24
# Relative deviation of a tile's values below which the slope is undetermined, and the limits of slope - 1.
_FLAT = 0.2
_SLOPES = (-0.9, 1.0)
# Reweighting rounds against outliers, and the residual, in mean residuals, at which a weight falls to a quarter.
_ROUNDS = 3
_OUTLIER = 2.0
# Share at each end of an overlap in which only one tile has weight.
_MARGIN = 0.1
_TINY = 1e-12


class Tile(NamedTuple):
    """A part of an image, in pixels; fractional in a rescaled image."""

    top: float
    left: float
    height: float
    width: float


class Grid(NamedTuple):
    """Overlapping tiles of one size that cover a map.

    Attributes:
        height, width: Size of the map in pixels.
        tops, lefts: First pixel of each row and of each column of tiles.
        tile_height, tile_width: Size of each tile in pixels.
    """

    height: int
    width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    tile_height: int
    tile_width: int

    def row(self, index: int) -> list[Tile]:
        """The tiles of a row, from left to right."""
        return [Tile(self.tops[index], left, self.tile_height, self.tile_width) for left in self.lefts]


def lay_tiles(height: int, width: int, rows: int, columns: int, overlap: float) -> Grid:
    """Divides a map into at most rows x columns tiles of one size that overlap by a share of 0 to 0.5 of their side, evenly spaced."""
    tops, tile_height = _spread(height, min(rows, height), overlap)
    lefts, tile_width = _spread(width, min(columns, width), overlap)
    return Grid(height, width, tops, lefts, tile_height, tile_width)


def _spread(length: int, count: int, overlap: float) -> tuple[tuple[int, ...], int]:
    side = min(length, math.ceil(length / (count - (count - 1) * overlap)))
    return tuple(round(index * (length - side) / max(1, count - 1)) for index in range(count)), side


def windows(starts: tuple[int, ...], side: int, device: torch.device) -> Tensor:
    """Each tile's weights along one axis: (tiles, side), smooth; overlapping weights add up to 1."""
    lengths = [(before + side - start) for before, start in pairwise(starts)]
    places = torch.arange(side, device=device, dtype=torch.float32) + 0.5
    raw = [
        _rise(places, lengths[index - 1] if index else 0) * _rise(side - places, lengths[index] if index < len(lengths) else 0)
        for index in range(len(starts))
    ]
    total = places.new_zeros(starts[-1] + side)
    for start, window in zip(starts, raw, strict=True):
        total[start : start + side] += window
    return torch.stack([window / total[start : start + side] for start, window in zip(starts, raw, strict=True)])


def _rise(places: Tensor, length: int) -> Tensor:
    """A twice differentiable ramp from 0 to 1; weight 0 close to a tile's border, where predictions are poor."""
    t = ((places / max(length, 1) - _MARGIN) / (1 - 2 * _MARGIN)).clamp(0, 1) if length else torch.ones_like(places)
    return t * t * t * (10 + t * (6 * t - 15))


class Mosaic:
    """Blends tiles row by row; only `result` (1, channels, height, width), on `home`, is stored at full size.

    Tiles are summed on their own device. The result is complete after all `rows`.
    """

    def __init__(self, grid: Grid, channels: int, home: torch.device) -> None:
        self._grid = grid
        self.result = torch.empty(1, channels, grid.height, grid.width, dtype=torch.float32, device=home)
        self._strip: Tensor | None = None
        self._done = 0

    def rows(self) -> Iterator[int]:
        """Yields the number of each row, from the top, whose tiles are then added; it is finished when the next one is requested."""
        grid, carried = self._grid, None
        for index, top in enumerate(grid.tops):
            yield index
            assert self._strip is not None and self._done == len(grid.lefts)
            strip = self._strip * windows(grid.tops, grid.tile_height, self._strip.device)[index][:, None]
            self._strip, self._done = None, 0
            if carried is not None:
                strip[:, : carried.shape[1]] += carried
            bottom = grid.tops[index + 1] if index + 1 < len(grid.tops) else grid.height
            self.result[0, :, top:bottom] = strip[:, : bottom - top]
            carried = strip[:, bottom - top :]

    def add(self, tiles: Tensor) -> None:
        """Adds a row's next tiles, (N, channels, tile height, tile width), from left to right."""
        grid = self._grid
        if self._strip is None:
            self._strip = tiles.new_zeros(self.result.shape[1], grid.tile_height, grid.width)
            self._across = windows(grid.lefts, grid.tile_width, tiles.device)
        for tile in tiles:
            left = grid.lefts[self._done]
            self._strip[..., left : left + grid.tile_width].addcmul_(tile, self._across[self._done])
            self._done += 1


def sample(values: Tensor, places: list[Tile], size: tuple[int, int], height: int, width: int) -> Tensor:
    """Samples parts (`places`) of a map (1, C, h, w) of an image of `size` bilinearly: (N, C, height, width)."""
    box = sent_to(values.device, torch.tensor([tuple(place) for place in places], dtype=torch.float32))
    down, across = (
        (box[:, start, None] + (torch.arange(count, dtype=torch.float32, device=values.device) + 0.5) / count * box[:, start + 2, None])
        * (2 / side)
        - 1
        for start, count, side in ((0, height, size[0]), (1, width, size[1]))
    )
    grid = torch.stack((across[:, None, :].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)), -1)
    parts = values.expand(len(places), -1, -1, -1)
    return sample_at(parts, grid.to(values.dtype))


def cells_of(height: float, width: float) -> tuple[int, int]:
    """Rows and columns of the grid for a tile's corrections, from the tile's height and width in pixels of the whole map."""
    scale = min(1.0, _CELLS / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def align_values(tile: Tensor, valid: Tensor, whole: Tensor, whole_weight: Tensor) -> Tensor:
    """Aligns depth or disparity of tiles with the whole map: the tile's detail with the whole map's layout. Synchronises a GPU once.

    Args:
        tile: (N, 1, H, W), finite; so is the result, but arbitrary without valid pixels.
        valid: (N, 1, H, W) float, 1 = valid, 0 = invalid.
        whole: (N, 1, h, w), the same parts of the whole map, smaller, finite.
        whole_weight: (N, 1, h, w) float in [0, 1], weights of `whole`.
    """
    small, weight = _means(tile, valid, whole, whole_weight)
    scale, shift = fit_robustly(small, whole, weight, _NOISE_RATIO)
    small = scale * small + shift
    slope, offset = _slow_line(small, whole - small, weight)
    slope, offset = (_at_size_of(tile, each) for each in (slope, offset))
    brought = scale * tile + shift
    return brought + slope * brought + offset


def _slow_line(values: Tensor, change: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Fits a slowly varying slope and offset that predict `change` from `values`, (N, 1, h, w) each; robust to outliers."""
    mean = _weighted_mean(values, weight)
    values = values - mean
    least = (_FLAT**2) * _weighted_mean(values.square(), weight)
    trust, slope, offset = weight, torch.zeros_like(values), torch.zeros_like(values)
    for _ in range(_ROUNDS):
        slope, offset = _local_line(values, change, trust, least)
        residual = (change - slope * values - offset).abs()
        typical = _weighted_mean(residual, trust)
        trust = weight / (1 + (residual / (_OUTLIER * typical + _TINY)).square()).square()
    return slope, offset - slope * mean


def _local_line(values: Tensor, change: Tensor, weight: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    total = _blurred(weight)
    share = total.clamp(min=_TINY)
    v, c, vv, vc = (_blurred(weight * each) / share for each in (values, change, values.square(), values * change))
    slope = ((vc - v * c) / (vv - v * v + least).clamp(min=_TINY)).clamp(*_SLOPES)
    trust = total / (total + 1e-3)  # far from valid pixels the correction is constant
    everywhere = _weighted_mean(change, weight)
    slope, offset = trust * slope, trust * (c - slope * v) + (1 - trust) * everywhere
    return _blurred_evenly(slope), _blurred_evenly(offset)


def align_normals(tile: Tensor, valid: Tensor, whole: Tensor, whole_weight: Tensor) -> Tensor:
    """Rotates unit normals of tiles (N, 3, H, W) so that their low frequencies match the whole map's. Otherwise as `align_values`.

    Networks assume that the camera looks at the middle of a tile, so its normals lean by up to the angle between both optical axes. The
    device is not synchronised.
    """
    small, weight = _means(tile, valid, whole, whole_weight)
    before, after = (_blurred_evenly(_blurred(weight * each) + _TINY * each) for each in (small, whole))
    before, after = (unit_vectors(_at_size_of(tile, unit_vectors(each))) for each in (before, after))
    both = before + after
    along = (tile * both).sum(1, keepdim=True) / (both.square().sum(1, keepdim=True) / 2).clamp(min=1e-3)
    return unit_vectors(tile - along * both + 2 * (tile * before).sum(1, keepdim=True) * after)


def align_mask(tile: Tensor, whole: Tensor) -> Tensor:
    """Aligns the masks of tiles (N, 1, H, W) float with the whole map's: edges come from the tile, areas from the whole map.

    The result is above 0.5 where pixels are valid.
    """
    small = _at_size_of(whole, tile)
    return tile + _at_size_of(tile, _blurred_evenly(whole) - _blurred_evenly(small))


def _means(values: Tensor, valid: Tensor, like: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Downsizes values to the size of `like`: means of valid pixels, and the share of valid pixels times `weight`."""
    share = _at_size_of(like, valid)
    return _at_size_of(like, values * valid) / share.clamp(min=_TINY), share * weight


def _at_size_of(like: Tensor, values: Tensor) -> Tensor:
    return resize_map(values, like.shape[-2], like.shape[-1])


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum((1, 2, 3), keepdim=True).clamp(min=_TINY)
    return (values * weight).sum((1, 2, 3), keepdim=True) / total


def _blurred_evenly(values: Tensor) -> Tensor:
    """A Gaussian blur, normalised at the border."""
    return _blurred(values) / _blurred(torch.ones_like(values[:1, :1]))


@without_autocast
def _blurred(values: Tensor) -> Tensor:
    """A Gaussian blur with zeros beyond the border, by products of matrices, as the maps are small."""
    reach = max(1.0, _REACH * max(values.shape[-2:]))
    for axis in (-2, -1):
        places = torch.arange(values.shape[axis], device=values.device, dtype=values.dtype)
        weights = torch.exp(-0.5 * ((places[:, None] - places) / reach).square()) / (reach * math.sqrt(2 * math.pi))
        values = weights @ values if axis == -2 else values @ weights
    return values
