"""Distinguishes a network's maps, with or without refined edges, from rendered and measured ones; sizes of highlight maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, vector_lengths
from ..edges.depth_edges import Ramps, edge_radius, find_ramps
from ..filters.box import box_means
from ..filters.coarse import enlarged, middles_of, shrunk
from ..filters.extremes import extremes_within, largest_within

# Least difference of neighbouring normals on a bend, and on an edge.
_BEND, _EDGE = 0.1, 0.3
# Least share of the depth range within a soft edge's width that lies between two neighbours at a step, and the least ratio of depths there.
_STEP, _LEAST = 0.5, 1.02
# Shares of silhouettes that are steps: up to the first, edges are not refined; from the second on, they are.
_FEW, _MOST = 0.5, 0.8
# A network's normals ripple everywhere, while true surfaces are flat or evenly curved over large parts: quantile of second differences, and
# its values on true surfaces and in a network's normals.
_QUIET, _FLAT, _RIPPLED = 0.2, 0.0003, 0.0012
# Share of edges among fast turns of normals away from steps: of a network's refined depth, and of measured depth. If less than the last
# share of the pixels turns fast, edges are a few mistaken pixels; and if less is on silhouettes, they tell little.
_REFINED, _MEASURED, _RARE = 0.05, 0.15, 0.02


class Softness(NamedTuple):
    """How much maps look like a network's, in [0, 1].

    Attributes:
        whole: 1 if silhouettes are ramps, or normals bend but have no edges except at refined silhouettes; 0 if they have true edges.
        added: `whole` minus the value from ramps and normals alone.
        share: 1 if most silhouettes are steps, 0 if half of them or fewer are.
        doubt: `whole` from the normals alone: depth that is soft for another reason casts true shadows.
    """

    whole: float
    added: float = 0.0
    share: float = 0.0
    doubt: float = 0.0


def normal_softness(normals: Tensor) -> Softness:
    """Softness from normals (1, 3, H, W) alone; 0 once a third of the bends are edges."""
    smoothness = _smoothness(*_fast_turns(normals).sum((0, 2, 3)).tolist())
    return Softness(smoothness, doubt=smoothness)


def _smoothness(bends: int, edges: int) -> float:
    return 1 - min(3 * edges / max(bends, 1), 1)


@dataclass(frozen=True)
class DepthSteps:
    """Depth steps instead of ramps, as in rendered or measured depth, or in a network's depth with refined edges.

    Attributes:
        beside: (1, 1, h, w) in [0, 1], one value per square of `pitch_of` pixels: 1 within a soft edge's width of a step.
        edges: (2,): number of values on silhouettes, and of those that are beside a step.
    """

    beside: Tensor
    edges: Tensor

    @classmethod
    def of(cls, inverse: Tensor, ramps: Ramps | None = None) -> DepthSteps:
        """Finds the steps of inverse depth (1, 1, H, W), positive and finite; `ramps` is its `find_ramps` by `edge_radius`, if known."""
        pitch, reach = pitch_and_reach(*inverse.shape[-2:])
        low, high = extremes_within(inverse, 1)
        small = middles_of(inverse, pitch)
        between = high - low
        if pitch > 1:
            between = F.max_pool2d(between, pitch, ceil_mode=True)[..., : small.shape[-2], : small.shape[-1]]
        if ramps is None or pitch > 1:
            ramps = find_ramps(small, reach)
        steps = (between > _STEP * (ramps.high - ramps.low)) & (ramps.high > ramps.low * _LEAST)
        beside = largest_within(steps.to(inverse), 2 * reach, has_nan=False)
        edges = (torch.cat((constant(beside, 1.0).expand_as(beside), beside)) * ramps.edge).sum((1, 2, 3))
        return cls(box_means(beside, reach), edges)

    def evidence(self, normals: Tensor) -> dict[str, Tensor]:
        """What `softness` needs of normals (1, 3, H, W), for `to_cpu`."""
        apart = self.beside == 0
        turns = _fast_turns(normals)
        maps = {"counts": torch.cat((turns, turns & apart), 1).sum((0, 2, 3)), "apart": apart.sum(), "edges": self.edges}
        if apart.device.type != "cpu":  # where a second synchronisation costs more than computing them
            maps["changes"] = _changes(normals)
        return maps

    def softness(self, normals: Tensor, fetched: Mapping[str, Tensor]) -> Softness:
        """The softness of normals (1, 3, H, W), by their `evidence` on the CPU.

        A network's refined normals have edges only at depth steps, and ripples everywhere.
        """
        bends, edges, bends_apart, edges_apart = fetched["counts"].tolist()
        silhouettes, stepped = fetched["edges"].tolist()
        share = _within(stepped / max(silhouettes, 1), _FEW, _MOST)
        # Normals that waver beside ramps look like edges.
        ramps = (1 - share) * min(silhouettes / (_RARE * self.beside.numel()), 1)
        smoothness = _smoothness(bends, edges)
        unrefined = 1 - (1 - ramps) * (1 - smoothness)
        if share == 0:
            return Softness(unrefined, doubt=smoothness)
        sharp = edges_apart / max(bends_apart, _RARE * fetched["apart"].item(), 1)
        refined = _within(sharp, _MEASURED, _REFINED)
        if refined:
            refined *= _within(_ripple(fetched["changes"] if "changes" in fetched else _changes(normals)), _FLAT, _RIPPLED)
        added = share * (refined - unrefined)
        return Softness(unrefined + added, added, share, smoothness + share * (refined - smoothness))

    def softened(self, values: Tensor, *shares: float) -> Tensor:
        """Blurs values (1, C, H, W) beside depth steps, as a network's maps are; `shares` (C) are the weights of the blur by channel."""
        pitch, reach = pitch_and_reach(*values.shape[-2:])
        small = shrunk(values, pitch)[..., : self.beside.shape[-2], : self.beside.shape[-1]]
        means = box_means(box_means(small, reach), max(1, reach // 2))
        means, beside = enlarged(torch.cat((means, self.beside), 1), pitch, values.shape[-2:]).split((values.shape[1], 1), 1)
        return torch.lerp(values, means, beside * constant(beside, shares).view(1, -1, 1, 1))


def _within(value: float, low: float, high: float) -> float:
    """The linear ramp from 0 at `low` to 1 at `high`, clamped; `low` may exceed `high`."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _fast_turns(normals: Tensor) -> Tensor:
    """Where normals turn downwards and to the right as fast as on a bend, and on an edge: (2, 2, h, w) bool, every `pitch_of` pixels."""
    pitch, padded = pitch_of(*normals.shape[-2:]), F.pad(normals, (0, 1, 0, 1), mode="replicate")
    below, beside, own = (middles_of(each, pitch) for each in (padded[..., 1:, :-1], padded[..., :-1, 1:], normals))
    return vector_lengths(torch.cat((below, beside)) - own) > constant(normals, (_BEND, _EDGE)).view(1, 2, 1, 1)


def _changes(normals: Tensor) -> Tensor:
    """(N,): second differences of normals over the width of soft edges."""
    pitch, reach = pitch_and_reach(*normals.shape[-2:])
    small, changes = middles_of(normals, pitch), []
    for axis in (2, 3):
        if (along := small.shape[axis] - 2 * reach) > 0:
            before, own, after = (small.narrow(axis, start * reach, along) for start in range(3))
            changes.append(vector_lengths((before + after).sub_(own, alpha=2)).flatten())
    return torch.cat(changes) if changes else normals.new_zeros(0)


def _ripple(changes: Tensor) -> float:
    """The quantile `_QUIET` of the changes."""
    place = int(_QUIET * (len(changes) - 1))
    return float(np.partition(changes.detach().numpy(), place)[place]) if len(changes) else 0.0


def pitch_of(height: int, width: int) -> int:
    """The distance between values of a highlight map, in pixels of an image of this size."""
    return max(1, edge_radius(height, width) // 3)


def pitch_and_reach(height: int, width: int) -> tuple[int, int]:
    """The distance between values of a highlight map in pixels, and the radius of soft edges in such values."""
    pitch = pitch_of(height, width)
    return pitch, max(1, round(edge_radius(height, width) / pitch))
