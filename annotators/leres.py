"""LeReS: depth from one picture, up to scale and shift.

Source:
    Yin et al., "Learning to Recover 3D Scene Shape from a Single Image" (2021); code aim-uofa/AdelaiDepth, folder LeReS.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .base import Annotator, ModelSpec, Progress, fill
from .graph import Graph, depth_output
from .networks.configs import LeresConfig
from .networks.leres import Leres
from .networks.names import StateDict


@dataclass(frozen=True)
class LeresOptions:
    """What can be chosen anew for each picture.

    Attributes:
        old_node: Whether the network is fed as the old ControlNet nodes feed it: blue, green, red between 0 and 255, of which the mean
            and deviation of RGB in [0, 1] are taken. LeReS++ also fits its patches as there (`boosting.fit_in_float32`).
    """

    old_node: bool = False


class LeresAnnotator(Annotator):
    """LeReS.

    Convention:
        Relative depth: large = far, unknown scale and shift, of either sign. Its authors add what makes the least of it 0.01. They
        stretch pictures to a square, in training too; the estimate has the pictures' own size.
    """

    bytes_per_pixel = 1100
    options = LeresOptions()

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LeresAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoint; of it, the depth network alone."""
        return cls(spec, build_network(spec, spec.config, states["network"], dtype))

    def estimate(
        self, images: Tensor, size: int | None = None, *, fov: float = 0.0, options: Any = None, progress: Progress | None = None
    ) -> Estimate:
        """See `Annotator.estimate`; `options` are `LeresOptions`."""
        if not isinstance(options, LeresOptions | None):
            raise TypeError(f"{self.spec.id} takes LeresOptions; found {type(options).__name__}")
        other = copy.copy(self)
        other.options = options or LeresOptions()
        return other._estimate(images, size, fov, progress)

    def _estimate(self, images: Tensor, size: int | None, fov: float, progress: Progress | None) -> Estimate:
        """`estimate`, by the options that it has."""
        return super().estimate(images, size, fov=fov, progress=progress)

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        given = self.normalised(pixels.flip(1) * 255 if self.options.old_node else pixels)
        return Estimate(depth=self.outputs(given)[0].contiguous(), quantity=Quantity.RELATIVE_DEPTH)

    def graph(self) -> Graph:
        """See `Annotator.graph`."""
        return self._graph(depth_output(self.spec))


def build_network(spec: ModelSpec, config: LeresConfig, state: StateDict, dtype: torch.dtype) -> Leres:
    """The network of a published checkpoint, strictly.

    Raises:
        CheckpointError: The tensors are another network's.
    """
    with torch.device("meta"):
        network = Leres(config)
    fill(network, Leres.official_names(state), f"not a checkpoint of {spec.id}")
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
    network.set_dtype(dtype)
    return network
