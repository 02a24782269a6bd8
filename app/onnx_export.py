"""Exports a model's network to ONNX. ONNX Runtime runs the file and compares it with torch before it replaces anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..annotators.base import Annotator
from ..annotators.graphs import GRAPH_VERSION, Engine, Graph, check_onnx, export_graph
from ..annotators.preprocessing.resizing import round_to_multiple
from ..annotators.registry import FAMILIES, MODELS, find_spec
from ..geometry.estimate import Estimate
from ..geometry.files.paths import move_over
from ..model_loader import Model, load_model
from ..model_loader.inference.memory_budget import check_network_fits
from ..model_loader.runtimes.onnx_runtime import library
from ..model_loader.weights.integrity import sha256_of
from ..options.checks import how_to_install
from .batch import per_image
from .batch.staging import folder_beside
from .console.terminal import Step
from .differences import apart
from .outcomes import DEMO_IMAGE

MOST = 1.0
"""The largest accepted difference of a file's image from torch's, in 255ths."""
_ODD = (slice(None), slice(None), slice(0, 397), slice(120, 331))
"""A crop of the photo with odd sides and another aspect ratio."""
_QUICK_SIZE = 384
"""The largest `size` in all but the first comparison, of the whole photo: networks at 840 take five times as long."""
_MOST_ELSEWHERE = 1e-3  # share of pixels whose validity may differ: those on a mask's border


Images = list[tuple[str, Tensor, int]]
"""Inputs of a comparison: description, images (B, 3, H, W) in [0, 1], and `size` of the network's input."""


class Check(NamedTuple):
    """The difference of an image from that of torch in float32, over all pixels, in 255ths.

    `by`: what made it, the file or torch in half precision. `what`: the input image, and the size of the network's input.
    """

    by: str
    what: str
    largest: float
    mean: float


@dataclass(frozen=True)
class Exported:
    """An exported model: the file, with its external weights if they are too large for it; total bytes; seconds without the comparison."""

    files: tuple[Path, ...]
    size: int
    seconds: float
    checks: tuple[Check, ...]


def export(
    model_id: str,
    path: Path,
    dtype: str = "float32",
    size: int | None = None,
    input_size: tuple[int, int] | None = None,
    batch: int | None = None,
    weights: Path | None = None,
    step: Step = lambda name: None,
    check: Callable[[], object] = bool,
) -> Exported:
    """Exports a model's network as an ONNX file.

    Args:
        path: The file; an existing one is replaced once the new one has passed the comparison.
        dtype: Of weights and activations, "float32" or "float16"; inputs and outputs are float32.
        size: The `size` stated in the file's metadata and used in the comparison, and the side of a square input if the network's size
            cannot be dynamic; None = the model's default.
        input_size: Fixed height and width of the input; None = dynamic, if the network allows.
        batch: Fixed batch size; None = dynamic, if the network allows.
        weights: As `load_model`.
        step: Called with the name of each step when it begins.
        check: Called before anything is moved to `path`; raises to prevent that.

    Raises:
        ValueError: The network is not one graph, sides or batch do not fit, or the file's image differs from torch's.
        ImportError: A package is missing.
        ArithmeticError: The network's values exceed float16.
        RuntimeError: The exporter or ONNX Runtime fails.
    """
    check_graph(model_id)
    check_onnx()
    _onnx_runtime()
    model = load_model(model_id, dtype, "cpu", weights)
    exact = model if dtype == "float32" else load_model(model_id, "float32", "cpu", weights)
    return export_model(model, exact.annotator, path, size, input_size, batch, step, check)


def check_graph(model_id: str) -> None:
    """Rejects a model whose network is not one graph, before it is downloaded: ValueError says why, and names all such models."""
    spec = find_spec(model_id)
    if why := FAMILIES[spec.family].why_no_graph(spec):
        unable = ", ".join(each.id for each in MODELS.values() if FAMILIES[each.family].why_no_graph(each))
        raise ValueError(f"{spec.id} cannot be exported: {why}. All models can but these: {unable}")


def export_model(
    model: Model,
    exact: Annotator,
    path: Path,
    size: int | None = None,
    input_size: tuple[int, int] | None = None,
    batch: int | None = None,
    step: Step = lambda name: None,
    check: Callable[[], object] = bool,
) -> Exported:
    """As `export`, for a loaded model on the CPU; `exact` is its annotator in float32."""
    annotator, exact = model.annotator.for_export(), exact.for_export()
    graph = annotator.graph()
    size = size or model.spec.default_size
    if input_size is not None or not graph.dynamic_size:
        side = round_to_multiple(size, graph.multiple_of)
        input_size, graph = input_size or (side, side), replace(graph, dynamic_size=False)
        annotator, exact = annotator.for_input_size(*input_size), exact.for_input_size(*input_size)
    graph = replace(graph, dynamic_batch=graph.dynamic_batch and batch is None)
    graph.checked_size(input_size)
    # Fails early if the network's input would be too large for any machine, or for this one.
    height, width = per_image.read(DEMO_IMAGE).shape[-2:]
    exact.checked_network_size(height, width, size)
    check_network_fits(exact, torch.device("cpu"), height, width, size)
    images = _images(graph, size, batch or 1)
    half = _half_precision(model, annotator, exact, images, step)
    with folder_beside(path) as folder:
        made = folder / path.name
        start = time.monotonic()
        _write(graph, made, input_size, batch, _notes(model, annotator, graph, size), step)
        seconds = time.monotonic() - start
        step("starting ONNX Runtime")
        engine = onnx_runtime_engine(made, graph, batch)
        checks = _near(model, _compared("the file", annotator.with_engine(engine), exact, images, step))
        check()
        return _in_place(made, path, seconds, (*checks, *half))


def _half_precision(model: Model, annotator: Annotator, exact: Annotator, images: Images, step: Step) -> tuple[Check, ...]:
    """Checks half precision in torch: on a CPU ONNX Runtime computes a float16 file in float32, which hides overflows."""
    if annotator.dtype == torch.float32:
        return ()
    quick = [(name, image, min(size, _QUICK_SIZE)) for name, image, size in images]
    return _near(model, _compared(f"torch in {model.dtype_name}", annotator, exact, quick, step))


def _near(model: Model, checks: Iterator[Check]) -> tuple[Check, ...]:
    """The checks, if all differences are small enough."""
    compared = tuple(checks)
    worst = max(compared, key=lambda each: each.largest)
    if worst.largest > MOST:
        raise ValueError(
            f"the image of {model.spec.id} by {worst.by} differs from torch's in float32 "
            f"by up to {worst.largest:.2f} of 255, more than {MOST:g}: nothing was written"
            + ("" if model.annotator.dtype == torch.float32 else "; use --dtype float32")
        )
    return compared


def _write(graph: Graph, path: Path, input_size: tuple[int, int] | None, batch: int | None, notes: dict[str, str], step: Step) -> None:
    try:
        export_graph(graph, path, input_size, batch, notes, step)
    except (ValueError, ImportError, OSError, MemoryError):
        raise
    except Exception as error:  # the exporter's exceptions have no common class
        lines = [line for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise RuntimeError(f"torch {torch.__version__} cannot export the network: {lines[0] if lines else type(error).__name__}") from error


def _in_place(made: Path, path: Path, seconds: float, checks: tuple[Check, ...]) -> Exported:
    """Moves the files to their final paths, weights first; removes an older file's weights."""
    files, size = [], 0
    beside = path.with_name(f"{path.name}.data")
    for source, target in ((made.with_name(beside.name), beside), (made, path)):
        if source.exists():
            size += source.stat().st_size
            move_over(source, target)
            files.append(target)
    if beside not in files:
        beside.unlink(missing_ok=True)
    return Exported(tuple(reversed(files)), size, seconds, checks)


def _notes(model: Model, annotator: Annotator, graph: Graph, size: int) -> dict[str, str]:
    spec = model.spec
    scalars = graph.scalar_inputs
    return {
        "model": spec.id,
        "quantity": "" if spec.quantity is None else spec.quantity.value,
        "axes": spec.axes.value if spec.axes else "",
        "input": "pixels (B, 3, h, w) float32: RGB in [0, 1], mean subtracted, then divided by std",
        "mean": json.dumps(graph.mean),
        "std": json.dumps(graph.std),
        "multiple_of": str(graph.multiple_of),
        "preprocess": json.dumps(annotator.preprocess_metadata(size)),
        "postprocess": json.dumps(annotator.postprocess_metadata()),
        "outputs": json.dumps(dict(graph.outputs)),
        **({f"input {scalars.name}": scalars.meaning} if scalars else {}),
        "dtype": model.dtype_name,
        "licence": spec.terms,
        "licence_url": spec.licence_page,
        "weights": model.weights_path.name,
        "weights_sha256": sha256_of(model.weights_path),
        "made_by": f"depth-normal {__version__}, torch {torch.__version__}",
        "graph_version": GRAPH_VERSION,
    }


def _onnx_runtime() -> Any:
    try:
        return library()
    except ImportError as error:
        raise ImportError(f"comparing the file with torch needs ONNX Runtime ({error}): {how_to_install('onnxruntime')}") from error


def onnx_runtime_engine(path: Path, graph: Graph, batch: int | None = None) -> Engine:
    """An engine that runs a file with ONNX Runtime on the CPU. Raises RuntimeError if it cannot be loaded.

    Batches are split to `batch`, the file's fixed batch size: families that also run on mirrored images pass multiples of it.
    """
    library = _onnx_runtime()
    try:
        session = library.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class
        raise RuntimeError(f"ONNX Runtime {library.__version__} refuses the file: {str(error).splitlines()[0]}") from error

    def run(pixels: Tensor, *scalar_inputs: Tensor) -> tuple[Tensor, ...]:
        parts = [run_part(part, *scalar_inputs) for part in pixels.split(batch or len(pixels))]
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def run_part(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = session.run(None, dict(zip(graph.inputs, (each.numpy() for each in inputs), strict=True)))
        return tuple(torch.from_numpy(np.ascontiguousarray(output)) for output in outputs)

    return run


def _images(graph: Graph, size: int, batch: int) -> Images:
    """The images to compare: the photo, and an odd crop of it if the graph's size is dynamic."""
    photograph = per_image.read(DEMO_IMAGE).expand(batch, -1, -1, -1)
    images = [("the photograph", photograph, size)]
    if graph.dynamic_size:
        images.append(("an odd part of it", photograph[_ODD], min(size, _QUICK_SIZE)))
    return images


@torch.no_grad()
def _compared(by: str, annotator: Annotator, exact: Annotator, images: Images, step: Step) -> Iterator[Check]:
    for name, image, size in images:
        height, width = exact.checked_network_size(image.shape[-2], image.shape[-1], size)
        what = f"{name}, seen at {width}x{height}"
        step(f"comparing {by} with torch in float32: {what}")
        exported, true = (each.estimate(image, size) for each in (annotator, exact))
        yield Check(by, what, *_differences(exported, true))


def _differences(found: Estimate, true: Estimate) -> tuple[float, float]:
    """Largest and mean difference of the final images, in 255ths."""
    largest, mean, elsewhere = apart(found, true)
    if elsewhere > _MOST_ELSEWHERE:
        raise ValueError(f"{elsewhere:.2%} of the pixels are valid in only one of the two estimates: nothing was written")
    if not (found.valid & true.valid).any():
        raise ValueError("no pixel of the photograph is valid, so that nothing can be compared: nothing was written")
    return largest, mean
