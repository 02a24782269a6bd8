"""Graphs as ONNX files, by torch's exporter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .graph import Graph

GRAPH_VERSION = "2"
"""Becomes another whenever what a graph computes changes, or the way in which it is written."""
OPSET = 18
MOST_INSIDE = 1_800_000_000
"""Bytes of weights that a file can hold itself; protobuf ends at 2 GB."""
_EXAMPLE = (140, 168)  # about the sides of the example, which are small and not equal
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

    Batch, height and width are free where the graph allows. Weights lie in the file, beyond `MOST_INSIDE` beside it (`<name>.data`).

    A fixed size is `dataclasses.replace(graph, dynamic_size=False)`.

    Args:
        graph: The graph; its module on the CPU.
        path: The file; what is there is replaced.
        input_size: Height and width, multiples of `graph.multiple_of`, of a graph that holds for one size; of another they are those of the
            example.
        batch: The same, of the number of images.
        notes: The file's own metadata.
        step: Called with the name of each step when it begins.

    Raises:
        ImportError: The packages onnx and onnxscript are not installed; the message says how to install them.
        ValueError: `input_size` is not a multiple, or too many images.
    """
    check_onnx()
    multiple = graph.multiple_of
    height, width = input_size or (-(-side // multiple) * multiple for side in _EXAMPLE)
    if height % multiple or width % multiple or min(height, width) < graph.least_side:
        raise ValueError(f"the graph's sides are {width}x{height}; accepted: multiples of {multiple}, at least {graph.least_side}")
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
    program.save(str(path), external_data=_weights(graph) > MOST_INSIDE)


def traced_graph(graph: Graph, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The graph as torch traces it, by itself: torch.onnx.export of the module would silently make static what it cannot keep dynamic."""
    return torch.export.export(graph.module, example, dynamic_shapes=_free(graph), strict=False)


def check_onnx() -> None:
    """Refuses to go on without the packages that write ONNX.

    Raises:
        ImportError: As `export_graph`.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"writing ONNX needs packages ({error}): pip install onnx onnxscript onnxruntime") from error


def _free(graph: Graph) -> tuple[dict[int, Any] | None, ...]:
    """The dynamic axes of each input."""
    dim = torch.export.Dim
    axes: dict[int, Any] = {0: dim("batch", min=1, max=graph.most_batch or _MOST_BATCH)} if graph.dynamic_batch else {}
    if graph.dynamic_size:
        multiple = graph.multiple_of
        ends = {"min": max(1, -(-graph.least_side // multiple)), "max": _MOST_SIDE // multiple}
        axes |= {axis: multiple * dim(name, **ends) for axis, name in ((2, "rows"), (3, "columns"))}
    return (axes, None)[: len(graph.inputs)]


def _weights(graph: Graph) -> int:
    return sum(each.numel() * each.element_size() for each in (*graph.module.parameters(), *graph.module.buffers()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's libraries."""
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
