"""Networks as single functions, for exporters and for engines that replace torch (`Annotator.graph`), and their ONNX files."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.kinds import Axes, Quantity
from ..options.checks import how_to_install
from .preprocessing.resizing import RGB
from .specs.base import IMAGENET_MEAN, IMAGENET_STD, ModelSpec

Engine = Callable[..., tuple[Tensor, ...]]
"""Runs a graph. Takes contiguous float32 pixels (B, 3, h, w) and, if the graph has them, float32 scalar inputs (n,), on any device; returns
the graph's outputs in order, float32, on the pixels' device."""

Predict = Callable[[Tensor, Sequence[Any]], tuple[Tensor, ...]]
"""`Family.predict`."""

NOT_NORMALISED: tuple[RGB, RGB] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and standard deviation for networks that take RGB in [0, 1] directly."""

_MEANINGS = {
    Quantity.DISPARITY: "inverse depth, large = near, unknown scale and shift",
    Quantity.RELATIVE_DEPTH: "depth, large = far, unknown scale and shift",
    Quantity.METRIC_DEPTH: "metres along the optical axis",
    Quantity.SCALE_INVARIANT_DEPTH: "depth along the optical axis, up to one factor for the whole image",
}
_AXES = {
    Axes.OPENGL: "+X right, +Y up, +Z to the viewer",
    Axes.DIRECTX: "+X right, +Y down, +Z to the viewer",
    Axes.OPENCV: "+X right, +Y down, +Z away from the viewer",
    Axes.SCANNET: "+X left, +Y up, +Z to the viewer",
}


@dataclass(frozen=True)
class ScalarInputs:
    """A network's inputs besides the images: a few scalars, shared by the whole batch."""

    name: str  # of the graph's second input, (n,) float32
    meaning: str  # in words
    example: tuple[float, ...]  # values for tracing
    step: Mapping[str, Any]  # describes their source in an exported file's metadata


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a family's network."""

    outputs: Mapping[str, str]  # names and meanings of the outputs, in order
    mean: RGB = IMAGENET_MEAN  # and `std`: normalisation of RGB in [0, 1]
    std: RGB = IMAGENET_STD
    scalar_inputs: ScalarInputs | None = None  # inputs besides the images
    dynamic_batch: bool = True  # whether one trace holds for any B
    dynamic_size: bool = True  # whether one trace holds for any h and w; else for those of its example only
    most_batch: int | None = None  # the largest B; None = any
    batch_is_clip: bool = False  # whether a batch is the frames of one clip
    least_side: int = 1  # the smallest h and w
    # steps from the outputs to maps, for an exported file's metadata; depth limits and resizing are added automatically
    afterwards: Sequence[dict[str, Any]] = field(default=())
    at_image_size: bool = False  # whether these steps end at image size, so that no resizing follows

    @classmethod
    def of(cls, spec: ModelSpec, **changes: Any) -> Signature:
        """The signature of a network whose outputs are those of its table entry: depth, normals or both."""
        depth = {} if spec.quantity is None else depth_output(spec)
        normals = {} if spec.axes is None else normals_output(spec.axes)
        return cls({**depth, **normals}, **changes)

    @property
    def one_image(self) -> bool:
        """Whether unrelated images must go through the graph one by one."""
        return self.batch_is_clip or self.most_batch == 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return ("pixels",) if self.scalar_inputs is None else ("pixels", self.scalar_inputs.name)

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Inputs for tracing."""
        seed = torch.Generator().manual_seed(0)
        pixels = torch.rand(batch, 3, height, width, generator=seed, dtype=torch.float32)
        if self.scalar_inputs is None:
            return (pixels,)
        return pixels, torch.tensor(self.scalar_inputs.example, dtype=torch.float32)


@dataclass(frozen=True, kw_only=True)
class Graph(Signature):
    """A network as one function, with its signature."""

    # takes float32 pixels (B, 3, h, w), resized and normalised, and `scalar_inputs` if any; returns a tuple of float32 tensors. It
    # converts to the network's dtype and back, and shares the annotator's parameters.
    module: nn.Module
    multiple_of: int  # h and w are multiples of this

    def checked_size(self, input_size: tuple[int, int] | None) -> tuple[int, int]:
        """Height and width for tracing: `input_size`, or small ones; a ValueError if they are too small or no multiples."""
        multiple = self.multiple_of
        height, width = input_size or (-(-side // multiple) * multiple for side in _EXAMPLE)
        if height % multiple or width % multiple or min(height, width) < self.least_side:
            raise ValueError(f"the graph's sides are {width}x{height}; accepted: multiples of {multiple}, at least {self.least_side}")
        return height, width


class GraphModule(nn.Module):
    """Wraps a family's network and `predict` into one module."""

    def __init__(self, network: nn.Module, predict: Predict, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network  # lets exporters find the weights
        self._predict = predict
        self._dtype = dtype

    def forward(self, pixels: Tensor, scalar_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        scalars: Any = () if scalar_inputs is None else scalar_inputs.unbind()
        return tuple(output.float() for output in self._predict(pixels.to(self._dtype), scalars))


def depth_output(spec: ModelSpec) -> dict[str, str]:
    """The entry of `Graph.outputs` for a model's depth."""
    assert spec.quantity is not None
    return {spec.quantity.value: _MEANINGS[spec.quantity]}


def normals_output(axes: Axes) -> dict[str, str]:
    """The entry of `Graph.outputs` for normals."""
    return {"normals": f"unit vectors, {_AXES[axes]}"}


GRAPH_VERSION = "2"
"""Changes whenever a graph's computation, or the way it is written, changes."""
OPSET = 18
MOST_INSIDE = 1_800_000_000
"""Bytes of weights that fit inside the file; protobuf is limited to 2 GB."""
_EXAMPLE = (140, 168)  # approximate example size: small, and not square
_MOST_BATCH, _MOST_SIDE = 4096, 16384


def export_graph(
    graph: Graph,
    path: Path,
    input_size: tuple[int, int] | None = None,
    batch: int | None = None,
    notes: Mapping[str, str] | None = None,
    step: Callable[[str], None] = lambda name: None,
) -> None:
    """Writes a graph as an ONNX file.

    Batch, height and width are dynamic where the graph allows; `dataclasses.replace(graph, dynamic_size=False)` fixes the size. Weights are
    stored in the file, or above `MOST_INSIDE` beside it (`<name>.data`).

    Args:
        graph: The graph; its module on the CPU.
        path: The file; an existing one is overwritten.
        input_size, batch: For tracing, height and width multiples of `graph.multiple_of`; fixed where the graph is not dynamic.
        notes: Metadata of the file.
        step: Called with the name of each step as it begins.

    Raises:
        ImportError: onnx or onnxscript is missing; the message says how to install them.
        ValueError: `input_size` is no multiple, or the batch is too large.
    """
    check_onnx()
    height, width = graph.checked_size(input_size)
    batch = batch or (2 if graph.dynamic_batch else 1)
    if graph.most_batch and batch > graph.most_batch:
        raise ValueError(f"{batch} images at once; the graph takes at most {graph.most_batch}")
    example = graph.example(batch, height, width)
    with torch.no_grad(), _quiet():
        step("tracing the network")
        traced = traced_graph(graph, example)
        step("translating it to ONNX")
        program: Any = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_free(graph),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
    step("writing the file")
    program.model.metadata_props.update(notes or {})
    weights = sum(each.nbytes for each in (*graph.module.parameters(), *graph.module.buffers()))
    program.save(str(path), external_data=weights > MOST_INSIDE)


def traced_graph(graph: Graph, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Traces the graph separately, as torch.onnx.export would silently make axes static where dynamic ones fail."""
    return torch.export.export(graph.module, example, dynamic_shapes=_free(graph), strict=False)


def check_onnx() -> None:
    """Raises an ImportError, as `export_graph`, if the packages that write ONNX are missing."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"writing ONNX needs packages ({error}): {how_to_install('onnx', 'onnxscript', 'onnxruntime')}") from error


def _free(graph: Graph) -> tuple[dict[int, Any] | None, ...]:
    """The dynamic axes of each input."""
    dim = torch.export.Dim
    axes: dict[int, Any] = {0: dim("batch", min=1, max=graph.most_batch or _MOST_BATCH)} if graph.dynamic_batch else {}
    if graph.dynamic_size:
        multiple = graph.multiple_of
        ends = {"min": max(1, -(-graph.least_side // multiple)), "max": _MOST_SIDE // multiple}
        axes |= {axis: multiple * dim(name, **ends) for axis, name in ((2, "rows"), (3, "columns"))}
    return (axes, None)[: len(graph.inputs)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export", "torch.fx")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
