"""How near the ONNX files of `depth-normal export` come to torch: the final image, in 255ths, of networks at their true size.

    python benchmarks/export_parity.py [--models ID ...] [--dtype float32] [--size N] [--weights FILE] [--record FILE]

Without --models: the bundled one and the smallest of each family whose network is a graph. The bundled model has its own weights; those of
the others are random, such that signals neither die nor grow, or of the file that --weights names, with zeros for what it lacks. Of each:
the dtype, the weights, the size at which the network saw the photograph, the largest and the mean difference on it and on an odd part of
it, the seconds that writing took, and the file's size. With --record, rows are kept in a file, and models with a row are not run again.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import torch
from families import mend_torchvision, random_state, refuse_without_graph
from torch import nn

from depth_normal.annotators.base import Annotator
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.app import onnx_export
from depth_normal.app.batch import per_image
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.load import DTYPES
from depth_normal.model_loader.weights.checkpoint import read_checkpoint

MODEL_IDS = (
    *("tiny", "zipdepth-base", "zipdepth-base-npu", "midas-v2.1-small", "depth-anything-small", "depth-anything-v2-small"),
    *("depth-anything-3-small", "video-depth-anything-small", "zoe-depth-anything-indoor", "moge-2-vits-normal", "bae-normal", "dsine"),
    *("leres", "metric3d-vit-small", "midas-dpt-hybrid", "zoedepth-nyu", "moge-vitl"),
)


HEAD = f"{'model':28} {'dtype':8} {'weights':7} {'size':>7}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[each for each in MODEL_IDS if each in MODELS], metavar="ID")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--size", type=int, help="at which the network sees the images; default: each model's own")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    refuse_without_graph(parser, arguments.models)
    logging.getLogger("depth_normal").setLevel(logging.ERROR)
    mend_torchvision()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{HEAD} {'size':>9} {'largest':>8} {'mean':>8} {'s':>6} {'MB':>7}   of 255, of the photograph and of a part of it")
    known = arguments.record.read_text().splitlines() if arguments.record and arguments.record.exists() else []
    for model_id in arguments.models:
        start = head(model_id, arguments)
        line = next((each for each in known if each.startswith(start)), "") or f"{start} {row(model_id, arguments)}"
        print(line, flush=True)
        if arguments.record and line not in known:
            with arguments.record.open("a") as record:
                record.write(f"{line}\n")


def head(model_id: str, arguments: argparse.Namespace) -> str:
    """The label of a row."""
    weights = "own" if MODELS[model_id].file.bundled else "file" if arguments.weights else "random"
    return f"{model_id:28} {arguments.dtype:8} {weights:7} {arguments.size or 'default':>7}"


def row(model_id: str, arguments: argparse.Namespace) -> str:
    """The figures of one model, or the error."""
    dtype = DTYPES[arguments.dtype]
    model = made(model_id, dtype, arguments.weights)
    exact = model if dtype == torch.float32 else made(model_id, torch.float32, arguments.weights)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = onnx_export.export_model(model, exact.annotator, Path(folder) / f"{model_id}.onnx", arguments.size)
        except Exception as error:  # noqa: BLE001  the other models shall still be measured
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    largest, mean = (max(getattr(each, name) for each in found.checks) for name in ("largest", "mean"))
    return f"{found.checks[0].what.split()[-1]:>9} {largest:8.4f} {mean:8.5f} {found.seconds:6.1f} {found.size / 1e6:7.1f}"


def made(model_id: str, dtype: torch.dtype, weights: Path | None) -> Model:
    """A model with the bundled weights, random ones, or those of a file as far as they fit."""
    spec = MODELS[model_id]
    if spec.file.bundled:
        return load_model(model_id, str(dtype).removeprefix("torch."), "cpu")
    state = random_state(spec)
    if weights:
        state = {**{name: torch.zeros_like(value) for name, value in state.items()}, **read_checkpoint(weights)}
    annotator: Annotator = FAMILIES[spec.family].build(spec, {spec.file.role: state}, dtype)
    if not weights:
        exact = annotator if dtype == torch.float32 else FAMILIES[spec.family].build(spec, {spec.file.role: state}, torch.float32)
        settle(exact)
        for own, settled in zip(annotator.network.buffers(), exact.network.buffers(), strict=True):
            own.copy_(settled)
    return Model(LoadedNetwork(annotator, dtype, torch.device("cpu"), weights or Path(__file__)))


@torch.no_grad()
def settle(annotator: Annotator) -> None:
    """Calibrates batch norms on their actual inputs; otherwise BAE's random network is constant over all pixels."""
    norms = [each for each in annotator.network.modules() if isinstance(each, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    photograph = per_image.read(DEMO_IMAGE)
    annotator.estimate(torch.cat((photograph, photograph.flip(-1))), min(256, annotator.spec.default_size))
    for norm in norms:
        norm.eval()


if __name__ == "__main__":
    main()
