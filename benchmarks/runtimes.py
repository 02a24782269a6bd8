"""Each runtime of this machine beside torch, with how far its images are from torch's; and our method into it beside its own bare loop.

    python benchmarks/runtimes.py [--models tiny ...] [--weights FILE] [--seconds 2]

Depth Anything V2 small and MiDaS v2.1 small have random weights unless --weights names a file (of one model): for time it makes no
difference, and in half precision the images differ more than those of trained networks. tiny is itself. Engines are built in the pack's
folder (DEPTH_NORMAL_HOME) the first time; `ready` then counts their building, later their loading. In the second table, "bare" is the
engine's own loop over the same file: `InferenceSession.run` and `InferRequest.infer`, on an input that lies ready, with as many threads.
Freed memory is kept, as `depth-normal estimate`, `video` and `bench` keep it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from families import mend_torchvision, random_state, refuse_without_graph
from safetensors.torch import save_file

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch.allocator import keep_freed_memory
from depth_normal.app.batch.options import Options
from depth_normal.app.bench.runtimes import EACH, HEADER, line, measure_runtimes
from depth_normal.app.bench.timing import processor, take_turns
from depth_normal.model_loader import Model
from depth_normal.model_loader.runtimes.build import GRAPH_FILE
from depth_normal.model_loader.runtimes.engine_store import store_folder
from depth_normal.options.estimate import ONNX, OPENVINO, TORCH

SIDES = (640, 480)
USUAL = ("depth-anything-v2-small", "midas-v2.1-small", "tiny")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="ID", default=USUAL)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", nargs="+", choices=EACH, default=EACH, metavar="NAME", help="beside torch")
    arguments = parser.parse_args()
    refuse_without_graph(parser, arguments.models)
    mend_torchvision()
    keep_freed_memory()
    print(f"{processor()}, {torch.get_num_threads()} threads of torch {torch.__version__}; an image of {SIDES[0]}x{SIDES[1]}")
    with tempfile.TemporaryDirectory() as folder:
        for model_id in arguments.models:
            weights = arguments.weights or weights_of(model_id, Path(folder))
            options = Options(MODELS[model_id], weights=weights)
            print(f"\n{model_id}, {'random weights' if weights and not arguments.weights else 'trained weights'}\n")
            print(*HEADER, sep="\n")
            for row in measure_runtimes(options, arguments.device, arguments.seconds, SIDES, arguments.runtime):
                print(line(row), flush=True)
            print_overheads(options, arguments)


def weights_of(model_id: str, folder: Path) -> Path | None:
    """A file of random weights; None for the bundled model."""
    spec = MODELS[model_id]
    if spec.file.bundled:
        return None
    path = folder / f"{model_id}.safetensors"
    save_file(random_state(spec), path)
    os.utime(path, (0, 0))
    return path


def print_overheads(options: Options, arguments: argparse.Namespace) -> None:
    """Prints the overhead of our wrapper over an engine's own loop."""
    print("\n| engine | its own loop, ms | ours, ms | ours to its own |\n|---|---:|---:|---:|")
    for runtime, bare in ((ONNX, bare_onnx), (OPENVINO, bare_openvino)):
        if runtime not in arguments.runtime:
            continue
        model = replace(options, runtime=runtime).load(arguments.device)
        if model.runtime == TORCH:
            continue
        height, width = model.network_size(SIDES[1], SIDES[0])
        pixels = torch.rand(1, 3, height, width)
        engine = model.engine
        assert engine is not None
        if model.annotator.signature().scalar_inputs is not None:
            print(f"| {model.runtime} | not measured: the graph takes more than the image | | |")
            continue
        times = take_turns({"bare": bare(model, pixels), "ours": partial(engine, pixels)}, lambda: None, arguments.seconds)
        its, ours = times["bare"], times["ours"]
        print(f"| {model.runtime} | {1000 * its:.1f} | {1000 * ours:.1f} | {ours / its:.3f} |", flush=True)


def bare_onnx(model: Model, pixels: torch.Tensor) -> Callable[[], object]:
    """ONNX Runtime's own loop over the stored graph."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(newest(model.spec.id, GRAPH_FILE), settings, providers=["CPUExecutionProvider"])
    feed = {"pixels": pixels.numpy()}
    return lambda: session.run(None, feed)


def bare_openvino(model: Model, pixels: torch.Tensor) -> Callable[[], object]:
    """OpenVINO's own loop over our engine's compiled graph."""
    engine: Any = model.engine
    request = engine.runner(pixels).compiled.create_infer_request()
    feed = [pixels.numpy()]
    return lambda: request.infer(feed, share_inputs=True, share_outputs=True)


def newest(model_id: str, name: str) -> str:
    """The most recently stored file of this name."""
    return str(max((store_folder() / model_id).glob(f"*/{name}"), key=lambda path: path.stat().st_mtime))


if __name__ == "__main__":
    main()
