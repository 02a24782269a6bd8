"""Describes an engine to build (a model's graph, device and dtype) and the trial that each engine has to pass."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...annotators.graphs.graph import Graph
from ...annotators.graphs.onnx_file import GRAPH_VERSION, export_graph
from ...annotators.specs.base import ModelSpec
from .engine import Runner, Size, UnusableError
from .engine_store import Key, Step, kept

GRAPH_FILE = "graph.onnx"
_TRIAL_PIXELS = 224
_MOST_DIFFERENCE = {torch.float32: 1.0, torch.float16: 8.0, torch.bfloat16: 16.0}
"""In 255ths of the range of a graph's output: more is no rounding but an engine that computes something else."""


@dataclass(frozen=True)
class Job:
    """An engine that is to be built.

    Attributes:
        spec: The model.
        weights: Digests of its files.
        graph: Its network.
        dtype: What the engine shall compute in.
        device: Where torch would run it.
        any_device: Whether another device will do, because nobody named this one.
        step: See `engine_store.Step`.
    """

    spec: ModelSpec
    weights: str
    graph: Graph
    dtype: torch.dtype
    device: torch.device
    any_device: bool
    step: Step

    def key(self, engine: str, input_size: Size | None, **more: str) -> Key:
        """The key of an engine; `more` is what this one depends on beside model, weights, dtype and size."""
        config = hashlib.sha256(repr((self.spec.config, self.spec.multiple_of)).encode()).hexdigest()
        return {
            "model": self.spec.id,
            "weights": self.weights,
            "architecture": config,
            "graph": GRAPH_VERSION,
            "torch": torch.__version__,
            "engine": engine,
            "dtype": str(self.dtype).removeprefix("torch."),
            "size": "any" if input_size is None else f"{input_size[1]}x{input_size[0]}",
            **more,
        }

    def onnx(self, input_size: Size | None) -> tuple[Path, Key]:
        """The exported graph, and what it depends on."""
        import onnx
        import onnxscript

        network = next(self.graph.module.parameters()).dtype
        key = replace(self, dtype=network).key("graph", input_size, onnx=onnx.__version__, onnxscript=onnxscript.__version__)

        def build(folder: Path) -> None:
            self.step("exporting its graph, once for this version (about half a minute)")
            export_graph(self.graph, folder / GRAPH_FILE, input_size)

        return kept(key, build, self.step, self.bytes_of_weights) / GRAPH_FILE, key

    @property
    def bytes_of_weights(self) -> int:
        """The bytes of the network's parameters."""
        return sum(each.numel() * each.element_size() for each in self.graph.module.parameters())

    @property
    def default_input_size(self) -> Size:
        """The network's input size for a typical photograph: never square."""
        multiple, side = self.graph.multiple_of, self.spec.default_size
        rows = max(1, round(side / multiple))
        return rows * multiple, max(rows + 1, round(4 / 3 * side / multiple)) * multiple

    def trial(self, runner: Runner, input_size: Size | None) -> float:
        """Runs an engine once, beside torch.

        Returns:
            The greatest difference, in 255ths of the output's range.

        Raises:
            UnusableError: It computes something else.
        """
        multiple = self.graph.multiple_of
        side = max(1, _TRIAL_PIXELS // multiple) * multiple
        # not square, nor does torch.compile then take height and width for one number
        inputs = self.graph.example(1, *(input_size or (side, side + multiple)))
        pixels, *scalar_inputs = (each.to(self.device) for each in inputs)
        found = runner.run(pixels, scalar_inputs[0] if scalar_inputs else None)
        home = next(self.graph.module.parameters()).device  # the CPU at first; where the model runs when an engine starts again
        expected = [each.cpu() for each in self.graph.module(*(each.to(home) for each in inputs))]
        worst = max(_difference(*pair) for pair in zip(found, expected, strict=True))
        if not worst <= _MOST_DIFFERENCE[self.dtype]:
            raise UnusableError(f"{runner.words} computes something else than torch ({worst:.1f} of 255 apart)")
        return worst


def _difference(found: Tensor, expected: Tensor) -> float:
    """The difference of two maps, in 255ths of the second's range; infinite where the shapes differ or one is not finite."""
    if found.shape != expected.shape or not torch.isfinite(found).all():
        return float("inf")
    low, high = expected.aminmax()
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # one number, such as a scale, or a map that is constant
        low = torch.zeros_like(low)
    return 255 * ((found.cpu() - expected).abs().max() / (high - low).abs().clamp_min(1e-6)).item()
