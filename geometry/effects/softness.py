"""Tells a network's maps, whether their edges were refined or not, from rendered and measured ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import kept_constants, squared_lengths
from ..edges.depth_edges import find_ramps
from ..filters.box import box_means
from ..filters.coarse import enlarged, middles_of, shrunk
from ..filters.extremes import extremes_within, largest_within
from .highlight_maps import pitch_and_reach, pitch_of

# Between neighbours, normals that turn by so much are on a bend, and by so much on an edge.
_BEND, _EDGE = 0.1, 0.3
# A step has this share of the change of depth within the width of soft edges between neighbours, and changes depth by this factor.
_STEP, _LEAST = 0.5, 1.02
# Of silhouettes, the share that are steps in maps without and with refined edges.
_FEW, _MOST = 0.5, 0.8
# A network's normals ripple everywhere, in its quietest fifth by so much. True surfaces are flat or evenly curved over large parts.
_QUIET, _FLAT, _RIPPLED = 0.2, 0.0003, 0.0012
# Away from steps, the share of edges where normals turn fast, of a refined network's and of measured depth. Where normals turn fast in
# fewer places than the last share, edges are a few mistaken pixels.
_REFINED, _MEASURED, _RARE = 0.05, 0.15, 0.02


def normal_softness(normals: Tensor) -> Tensor:
    """1 where normals bend but have no edges, down to 0 where a third of what turns fast is an edge: (B, 1, 1, 1)."""
    bends, edges = _bends_and_edges(normals)
    return 1 - (3 * edges / bends.clamp(min=1)).clamp(max=1)


@dataclass(frozen=True)
class DepthSteps:
    """Where depth has steps in place of ramps: rendered or measured depth, or a network's whose edges were refined.

    Attributes:
        beside: (1, 1, h, w) in [0, 1], a value for `pitch_of` pixels: 1 within the width of soft edges of a step.
        share: (1, 1, 1, 1) in [0, 1], 1 where most silhouettes are steps.
    """

    beside: Tensor
    share: Tensor

    @classmethod
    def of(cls, depth: Tensor) -> DepthSteps:
        """Those of depth (1, 1, H, W), positive and finite."""
        pitch, reach = pitch_and_reach(*depth.shape[-2:])
        inverse = 1 / depth
        low, high = extremes_within(inverse, 1)
        small = middles_of(inverse, pitch)
        between = F.max_pool2d(high - low, pitch, ceil_mode=True)[..., : small.shape[-2], : small.shape[-1]]
        ramps = find_ramps(small, reach)
        steps = (between > _STEP * (ramps.high - ramps.low)) & (ramps.high > ramps.low * _LEAST)
        beside = largest_within(steps.to(depth), 2 * reach, has_nan=False)
        found = (beside * ramps.edge).sum() / ramps.edge.sum().clamp(min=1)
        share = ((found - _FEW) / (_MOST - _FEW)).clamp(0, 1)
        return cls(box_means(beside, reach), share.view(1, 1, 1, 1))

    def softness(self, normals: Tensor, unrefined: Tensor) -> Tensor:
        """As `normal_softness`, of normals whose edges may have been refined: none but those, and ripples all over.

        Args:
            normals: (1, 3, H, W).
            unrefined: (1, 1, 1, 1), the `normal_softness` of them.
        """
        apart = self.beside == 0
        bends, edges = _bends_and_edges(normals, apart)
        sharp = edges / torch.maximum(bends, _RARE * apart.sum()).clamp(min=1)
        refined = ((_MEASURED - sharp) / (_MEASURED - _REFINED)).clamp(0, 1) * ((_ripple(normals) - _FLAT) / (_RIPPLED - _FLAT)).clamp(0, 1)
        return torch.lerp(unrefined, refined, self.share)

    def softened(self, values: Tensor, share: Tensor) -> Tensor:
        """Values (1, C, H, W) that lead from one thing to the other beside steps, by that share, as a network's do."""
        pitch, reach = pitch_and_reach(*values.shape[-2:])
        small = shrunk(values, pitch)[..., : self.beside.shape[-2], : self.beside.shape[-1]]
        means = box_means(box_means(small, reach), max(1, reach // 2))
        means, beside = enlarged(torch.cat((means, self.beside), 1), pitch, values.shape[-2:]).split((values.shape[1], 1), 1)
        return torch.lerp(values, means, beside * share)


def _bends_and_edges(normals: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """In how many places normals turn fast, and in how many of these between two pixels: (B, 1, 1, 1) each.

    `where` (B, 1, h, w) bool are the places that are looked at, in values of `pitch_of`; None = all.
    """
    pitch, counts = pitch_of(*normals.shape[-2:]), normals.new_zeros(len(normals), 2, 1, 1)
    for axis in (2, 3):
        along = normals.shape[axis] - 1
        nexts, owns = (middles_of(normals.narrow(axis, start, along), pitch) for start in (1, 0))
        turns = squared_lengths(nexts - owns)
        if where is not None:
            turns = turns * where[..., : turns.shape[-2], : turns.shape[-1]]
        counts = counts + (turns > _least_turns(turns)).sum((2, 3), keepdim=True)
    bends, edges = counts.split(1, 1)
    return bends, edges


@kept_constants
def _least_turns() -> Tensor:
    """(1, 2, 1, 1): the squares of the turns of bends and edges."""
    return torch.tensor((_BEND**2, _EDGE**2)).view(1, 2, 1, 1)


def _ripple(normals: Tensor) -> Tensor:
    """How much the turning of normals changes within the width of soft edges, where it changes least."""
    pitch, reach = pitch_and_reach(*normals.shape[-2:])
    small, found = middles_of(normals, pitch), [normals.new_zeros(1)]
    for axis in (2, 3):
        if (along := small.shape[axis] - 2 * reach) > 0:
            before, own, after = (small.narrow(axis, start * reach, along) for start in range(3))
            found.append((before + after - 2 * own).square().sum(1).flatten())
    changes = torch.cat(found).sort().values
    return changes[int(_QUIET * (len(changes) - 1))].sqrt()
