"""LeReS++: LeReS in more detail, by looking at pictures at several sizes and patch by patch.

Source:
    Yin et al. (see `leres`) and Miangoleh et al. (see `boosting`), put together as in the ControlNet nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.align import fit_scale_shift
from ..geometry.estimate import Estimate, Quantity
from ..utils import resize_picture, scale_short_side
from .base import Annotator, ModelSpec, Progress, fill
from .boosting import CELL, UPSCALING, Booster, fit_in_float32
from .graph import Graph
from .kernels import cubic, linear
from .leres import LeresAnnotator, build_network
from .networks.leres import Leres
from .networks.merge import MergeNetwork
from .networks.names import StateDict

_MIN_SIDE = 64


class _Networks(nn.Module):
    def __init__(self, depth: Leres, merge: MergeNetwork) -> None:
        super().__init__()
        self.depth = depth
        self.merge = merge


class LeresBoostAnnotator(LeresAnnotator):
    """LeReS++.

    Its `size` is the shorter side of the picture in which it looks for detail, and of the estimate; the network's own input is up to
    1600 pixels square. A picture takes from three passes to hundreds, and is computed by itself.

    Convention:
        Relative depth: large = far, about 0 to 1.
    """

    network: _Networks
    needs_by_size = False

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LeresBoostAnnotator:
        """See `Annotator.build`. The merging network computes in float32 always: what it gives is the depth."""
        config = spec.config
        with torch.device("meta"):
            merge = MergeNetwork(config.merge)
        complaint = f"not a checkpoint of {spec.id} (its file {spec.files[1].name} is not the merging network's)"
        fill(merge, MergeNetwork.official_names(states["merge"], config.merge), complaint)
        return cls(spec, _Networks(build_network(spec, config.leres, states["depth"], dtype), merge.float()))

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """The largest input that the network may get, whatever is found in the picture, or the picture itself, whichever is larger."""
        config, sides = self.spec.config, _picture_size(height, width, size)
        side = max(2 * config.field, min(config.greatest_side, UPSCALING * max(sides)) // CELL * CELL)
        return max((side, side), sides, key=math.prod)

    def _estimate(self, images: Tensor, size: int | None, fov: float, progress: Progress | None) -> Estimate:
        height, width = images.shape[-2:]
        return self._finished(self._boosted(images, size, progress), height, width, fov)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`; the estimate's shorter side is `size`."""
        return self._boosted(images, size, None)

    def network_outputs(self, given: Tensor, numbers: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Annotator.network_outputs`: what LeReS alone says."""
        return (self.network.depth(given),)

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        """See `Annotator.why_no_graph`."""
        return "it looks at a picture many times, at sizes that the picture decides"

    def graph(self) -> Graph:
        """See `Annotator.graph`."""
        return Annotator.graph(self)

    def _boosted(self, images: Tensor, size: int | None, progress: Progress | None) -> Estimate:
        height, width = images.shape[-2:]
        self.checked_network_size(height, width, size)
        sides = _picture_size(height, width, size or self.spec.default_size)
        config = self.spec.config
        fit = fit_in_float32 if self.options.old_node else fit_scale_shift
        booster = Booster(self._seen, self._merge, config.field, config.merge_side, config.greatest_side, fit)
        depth = []
        for index, picture in enumerate(resize_picture(images, *sides).split(1)):
            depth.append(booster.depth(picture, _part_of(progress, index, len(images))))
        return Estimate(depth=torch.cat(depth), quantity=Quantity.RELATIVE_DEPTH)

    def _seen(self, picture: Tensor, side: int) -> Tensor:
        depth = self.predict(linear(picture, side, side)).depth
        assert depth is not None
        return cubic(depth, *picture.shape[-2:])

    def _merge(self, whole: Tensor, fine: Tensor) -> Tensor:
        return self.network.merge(torch.cat((whole, fine), 1))


def _picture_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of what a picture is boosted at; below `_MIN_SIDE` no detail would be left to find."""
    return scale_short_side(height, width, max(size, _MIN_SIDE))


def _part_of(progress: Progress | None, index: int, total: int) -> Progress | None:
    """Progress within a picture as progress of the whole batch."""
    if progress is None:
        return None
    return lambda done, parts: progress(index * parts + done, total * parts)
