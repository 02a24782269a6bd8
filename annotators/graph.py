"""A network as one function of one tensor: what exporters take, and what other engines run in its place (`Annotator.graph`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..geometry.kinds import Axes, Quantity
from .specs.base import RGB, ModelSpec

if TYPE_CHECKING:
    from .base import Annotator

Engine = Callable[..., tuple[Tensor, ...]]
"""Runs a graph: takes pixels (B, 3, h, w) float32, contiguous, and the numbers (n,) float32 of a graph that has such, on any device; gives
the graph's outputs in order, float32, on the pixels' device."""

_MEANINGS = {
    Quantity.DISPARITY: "inverse depth, large = near, unknown scale and shift",
    Quantity.RELATIVE_DEPTH: "depth, large = far, unknown scale and shift",
    Quantity.METRIC_DEPTH: "metres along the optical axis",
}
_AXES = {
    Axes.OPENGL: "+X right, +Y up, +Z to the viewer",
    Axes.DIRECTX: "+X right, +Y down, +Z to the viewer",
    Axes.OPENCV: "+X right, +Y down, +Z away from the viewer",
    Axes.SCANNET: "+X left, +Y up, +Z to the viewer",
}


@dataclass(frozen=True)
class Numbers:
    """What a network is told beside the pictures: a few numbers, the same for all of a batch.

    Attributes:
        name: Of the graph's second input, (n,) float32.
        meaning: In words.
        example: Values for tracing.
    """

    name: str
    meaning: str
    example: tuple[float, ...]


@dataclass(frozen=True)
class Graph:
    """A network as one function.

    Attributes:
        module: Takes pixels (B, 3, h, w) float32, resized and normalised, and `numbers` where the graph has such; gives a tuple of float32
            tensors. It casts to the network's dtype and back by itself. Its parameters are the annotator's own.
        outputs: Names of the tensors that come out, in order, and what they mean.
        multiple_of: h and w are multiples of this.
        mean: What is subtracted from RGB in [0, 1].
        std: What that is then divided by.
        numbers: What else the network is told.
        dynamic_batch: Whether one trace holds for any B.
        dynamic_sides: Whether one trace holds for any h and w; else it holds for those of its example.
        most_batch: The most pictures at once; None = any number.
        least_side: The least h and w.
    """

    module: nn.Module
    outputs: Mapping[str, str]
    multiple_of: int
    mean: RGB
    std: RGB
    numbers: Numbers | None = None
    dynamic_batch: bool = True
    dynamic_sides: bool = True
    most_batch: int | None = None
    least_side: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what goes in, in order."""
        return ("pixels",) if self.numbers is None else ("pixels", self.numbers.name)

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Inputs of a size, for tracing."""
        pixels = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
        return (pixels,) if self.numbers is None else (pixels, torch.tensor(self.numbers.example))


class GraphModule(nn.Module):
    """An annotator's network with what makes one function of it."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self.network = annotator.network  # so that exporters find the weights
        self._say = annotator.network_outputs
        self._dtype = annotator.dtype

    def forward(self, pixels: Tensor, numbers: Tensor | None = None) -> tuple[Tensor, ...]:
        """See `Graph.module`."""
        told: Any = () if numbers is None else numbers.unbind()
        return tuple(output.float() for output in self._say(pixels.to(self._dtype), told))


def depth_output(spec: ModelSpec) -> dict[str, str]:
    """The entry of `Graph.outputs` for a model's depth."""
    assert spec.quantity is not None
    scale = ", up to one factor for the whole picture" if spec.up_to_scale else ""
    return {spec.quantity.value: _MEANINGS[spec.quantity] + scale}


def normals_output(axes: Axes) -> dict[str, str]:
    """The entry of `Graph.outputs` for normals."""
    return {"normals": f"unit vectors, {_AXES[axes]}"}
