"""Continues far surfaces behind occluders, so that a mesh seen from the side has no gaps at silhouettes.

A surface continues at the depth of its last visible pixel. Extrapolating the pixels before a cut is no better for soft depth,
such as a network's, which bends there, and tears the surface into pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..edges.depth_edges import edge_radius
from ..filters.extremes import largest_within
from .mesh_cuts import Joins, find_joins

# Minimum relative distance of continued surfaces behind the occluder.
_BEHIND = 0.02
# Surfaces that continue for fewer pixels than this many ramp radii are remains of a ramp or a tuft of hair; farther surfaces replace them.
_SHORT = 4
# Continued surfaces are not joined if the depths of neighbours differ by more than this share.
_ALIKE = 0.15


class HiddenSurface(NamedTuple):
    """Hidden surfaces, on the grid of the pixels that occlude them.

    Attributes:
        depth: (H, W), depth of the hidden surface where `hidden` is True, elsewhere of the map.
        hidden: (H, W) bool, pixels behind which a surface is hidden.
        last: (2, H, W) row and column of the last visible pixel of each hidden pixel's surface; elsewhere the pixel itself.
        joins: Joins of hidden pixels with each other, and with the last visible pixels of their surface. Last visible pixels are joined
            with each other as in the map.
    """

    depth: Tensor
    hidden: Tensor
    last: Tensor
    joins: Joins

    def joins_with(self, visible: Joins) -> Joins:
        """The joins of the map in which hidden surfaces replace their occluders, from the joins of the original map."""
        pairs = _with_one_of(self.hidden)
        return Joins(*(own.where(pair, seen) for own, pair, seen in zip(self.joins, pairs, visible, strict=True)))


class _Front(NamedTuple):
    """Pixels that continued surfaces have reached behind occluders; all (N,).

    Attributes:
        places: Flat index in the map.
        inverse: Inverse depth of the surface.
        left, way: Remaining and total number of pixels by which the surface continues.
        last: Flat index of the surface's nearest visible pixel.
    """

    places: np.ndarray
    inverse: np.ndarray
    left: np.ndarray
    way: np.ndarray
    last: np.ndarray


def continue_behind(
    depth: Tensor, valid: Tensor, joins: Joins, reach: float, near: Tensor | None = None, nothing: Tensor | None = None
) -> HiddenSurface:
    """Continues surfaces behind cuts.

    Args:
        depth: (H, W), positive where `valid`, on the CPU.
        joins: From `cut_grid`: valid neighbours that are not joined are cut.
        reach: Pixels by which the far side of a cut continues, per unit of difference in inverse depth: the parallax of the expected view
            change.
        near: (H, W) bool, the pixels behind which surfaces are continued; None = all.
        nothing: (H, W) bool, the pixels of no surface, such as the sky, at least those that are not `valid`; None = these. They continue
            infinitely far.

    Returns:
        One surface per pixel, behind the map's own: the one that reaches the pixel over the shortest distance; none if that is `nothing`.
    """
    height, width = depth.shape
    radius = edge_radius(height, width)
    visible = np.pad(torch.where(valid, 1 / depth, 0).float().numpy(), 1)
    across, down = (np.pad(each.numpy(), 1) for each in joins)
    pairs = _cut_pairs(visible, across, down, np.pad(np.ones(depth.shape, bool), 1))
    if near is not None:
        pairs = pairs[np.pad(near.numpy(), 1).ravel()[pairs[:, 0]]]
    before, far = pairs[:, 0], pairs[:, 1]
    flat, stride = visible.ravel(), width + 2
    continued, source = np.full(flat.size, np.nan, np.float32), np.arange(flat.size)
    way, short = np.zeros(flat.size, np.float32), _SHORT * radius
    around = np.array([row * stride + column for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column])
    # A ramp beside the sky is part of it.
    nothing = largest_within((~valid if nothing is None else nothing).float()[None, None], radius)[0, 0] > 0
    behind = np.where(np.pad(nothing.numpy(), 1).ravel()[far], 0, flat[far])
    ways = np.ceil(reach * (flat[before] - behind))
    seeds = _Front(before, behind, ways, ways, far)
    edge = _merged(seeds._replace(inverse=np.minimum(seeds.inverse, flat[before] / (1 + _BEHIND))), stride)
    while len(edge.places):
        continued[edge.places], source[edge.places], way[edge.places] = edge.inverse, edge.last, edge.way
        going = edge.left > 1
        grown = _Front(*(np.repeat(each[going], len(around)) for each in edge))
        grown = grown._replace(places=grown.places + np.tile(around, int(going.sum())), left=grown.left - 1)
        there = continued[grown.places]
        behind_short = (grown.inverse * (1 + _ALIKE) < there) & (way[grown.places] <= short)
        free = (grown.inverse * (1 + _BEHIND) < flat[grown.places]) & (np.isnan(there) | behind_short)
        edge = _merged(_Front(*(each[free] for each in grown)), stride)
    continued = continued.reshape(visible.shape)[1:-1, 1:-1]
    hidden = torch.from_numpy(continued > 0)
    sheet = torch.where(hidden, 1 / torch.from_numpy(np.nan_to_num(continued, nan=1.0)), depth)
    rim = np.zeros(visible.size, bool)
    rim[far[behind > 0]] = True
    rim, source = (torch.from_numpy(each.reshape(visible.shape)[1:-1, 1:-1].copy()) for each in (rim, source))
    last = torch.stack((source // stride - 1, source % stride - 1))
    alike = find_joins(sheet, hidden | rim, _ALIKE)
    joins = Joins(*(each & (seen | pair) for each, seen, pair in zip(alike, joins, _with_one_of(hidden), strict=True)))
    return HiddenSurface(sheet, hidden, last, joins)


def beside_near_things(depth: Tensor, valid: Tensor, joins: Joins, reach: int) -> tuple[Tensor, Tensor]:
    """Finds the pixels (H, W) of far surfaces within `reach` pixels, at least 1, of cuts.

    Their colour may be mixed with the occluder's. Returns also row and column (2, H, W) of their mirror pixel, farther from the cut on the
    same surface; elsewhere of the pixel itself. Surfaces without such pixels are left out. Arguments as `continue_behind`.
    """
    inverse = np.pad(torch.where(valid, 1 / depth, 0).float().numpy(), 1)
    across, down = np.pad(joins.across.numpy(), ((1, 1), (1, 2))), np.pad(joins.down.numpy(), ((1, 2), (1, 1)))
    stride, own = inverse.shape[1], np.arange(inverse.size)
    layers = [np.unique(_cut_pairs(inverse, across[:, :-1], down[:-1], inverse > 0)[:, 1])]
    across, down, source, beside = across.ravel(), down.ravel(), own.copy(), np.zeros(own.size, bool)

    def outside(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The four neighbours (N, 4) of pixels (N,), and which of them are on the same surface but not beside a cut."""
        sides = places[:, None] + np.array((-stride, stride, -1, 1))
        return sides, np.stack((down[sides[:, 0]], down[places], across[sides[:, 2]], across[places]), 1) & ~beside[sides]

    for _ in range(reach):
        beside[layers[-1]] = True
        sides, free = outside(layers[-1])
        layers.append(np.unique(sides[free]))
    for layer in layers[-2::-1]:
        sides, free = outside(layer)
        source[layer] = np.where(free.any(1), source[np.take_along_axis(sides, free.argmax(1)[:, None], 1)[:, 0]], layer)
        beside[layer] = source[layer] == layer
    changed = np.flatnonzero(source != own)
    last, flat = source[changed], inverse.ravel()
    mirrored = (2 * last - changed).clip(0, own.size - 1)
    # Mirror pixels must not be beside another cut, nor across the border.
    usable = np.abs(flat[mirrored] - flat[last]) <= _ALIKE * flat[last]
    usable &= (source[mirrored] == mirrored) & (np.abs(mirrored % stride - last % stride) <= 2 * reach)
    source[changed] = np.where(usable, mirrored, last)
    changed, source = (torch.from_numpy(each.reshape(inverse.shape)[1:-1, 1:-1].copy()) for each in (source != own, source))
    return changed, torch.stack((source // stride - 1, source % stride - 1))


def _cut_pairs(visible: np.ndarray, across: np.ndarray, down: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The near and the far pixel (N, 2) of each cut between `used` pixels, as indices in a map padded by 1."""
    places = np.arange(visible.size).reshape(visible.shape)
    pairs = []
    for joined, first, second in ((across[:, 1:-1], np.s_[:, 1:-2], np.s_[:, 2:-1]), (down[1:-1], np.s_[1:-2], np.s_[2:-1])):
        one, other = visible[first], visible[second]
        cut = ~joined & used[first] & used[second] & (one != other)
        pair = np.stack((places[first][cut], places[second][cut]), 1)
        nearer = (one > other)[cut]
        pairs.append(np.where(nearer[:, None], pair, pair[:, ::-1]))
    return np.concatenate(pairs)


def _merged(front: _Front, stride: int) -> _Front:
    """Merges surfaces that reach the same pixel: the mean of the farthest ones, with the attributes of the one that ended closest to it."""
    unique, of = np.unique(front.places, return_inverse=True)
    farthest = np.full(len(unique), np.inf)
    np.minimum.at(farthest, of, front.inverse)
    alike = front.inverse <= farthest[of] * (1 + _ALIKE)
    of, (places, inverse, left, way, last) = of[alike], (each[alike] for each in front)
    distance = (places // stride - last // stride) ** 2 + (places % stride - last % stride) ** 2
    order = np.lexsort((distance, of))
    nearest = order[np.searchsorted(of[order], np.arange(len(unique)))]
    mean = np.bincount(of, inverse, len(unique)) / np.bincount(of, minlength=len(unique))
    return _Front(unique, mean, left[nearest], way[nearest], last[nearest])


def _with_one_of(pixels: Tensor) -> Joins:
    """Pairs of neighbours of which at least one is in `pixels`, (H, W) bool."""
    return Joins(pixels[:, :-1] | pixels[:, 1:], pixels[:-1] | pixels[1:])
