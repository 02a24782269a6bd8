"""How near the ONNX files of `depth-normal export` come to torch: the final picture, in 255ths, of networks at their true size.

    python benchmarks/export_parity.py [--models ID ...] [--dtype float32] [--weights FILE]

Without --models: the bundled one and the smallest of each family whose network is a graph. The bundled model has its own weights; those of
the others are random, such that signals neither die nor grow, or of the file that --weights names, with zeros for what it lacks. Of each:
the largest and the mean difference on the bundled photograph and on an odd part of it, the seconds that writing took, and the file's size.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from depth_normal.annotators import metric3d, moge
from depth_normal.annotators.base import Annotator, ModelSpec
from depth_normal.annotators.depth_anything import DinoAnnotator
from depth_normal.annotators.libraries import from_transformers
from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.networks.dsine import DSINE
from depth_normal.annotators.networks.leres import Leres
from depth_normal.annotators.networks.metric3d import Metric3d
from depth_normal.annotators.networks.midas_small import MidasSmall
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.app import export
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.checkpoint import read_checkpoint
from depth_normal.model_loader.load import DTYPES

MODEL_IDS = (
    "tiny",
    "midas-v2.1-small",
    "depth-anything-small",
    "depth-anything-v2-small",
    "depth-anything-3-small",
    "video-depth-anything-small",
    "moge-2-vits-normal",
    "bae-normal",
    "dsine",
    "leres",
    "metric3d-vit-small",
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[each for each in MODEL_IDS if each in MODELS], metavar="ID")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("depth_normal").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.dtype}")
    print(f"{'model':28} {'largest':>8} {'mean':>8} {'s':>6} {'MB':>7}   of 255, of the photograph and of a part of it")
    for model_id in arguments.models:
        print(f"{model_id:28} {row(model_id, arguments)}", flush=True)


def row(model_id: str, arguments: argparse.Namespace) -> str:
    """The figures of one model, or why there are none."""
    dtype = DTYPES[arguments.dtype]
    model, exact = (made(model_id, each, arguments.weights) for each in (dtype, torch.float32))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = export.export_model(model, exact.annotator, Path(folder) / f"{model_id}.onnx")
        except (ValueError, RuntimeError, ArithmeticError) as error:
            return str(error).splitlines()[0]
    largest, mean = (max(getattr(each, name) for each in found.checks) for name in ("largest", "mean"))
    return f"{largest:8.4f} {mean:8.5f} {found.seconds:6.1f} {found.size / 1e6:7.1f}"


def made(model_id: str, dtype: torch.dtype, weights: Path | None) -> Model:
    """A model with the bundled weights, or random ones, or those of a file as far as it has them."""
    spec = MODELS[model_id]
    if spec.file.bundled:
        return load_model(model_id, str(dtype).removeprefix("torch."), "cpu")
    state = random_state(spec)
    if weights:
        state = {**{name: torch.zeros_like(value) for name, value in state.items()}, **read_checkpoint(weights)}
    annotator: Annotator = FAMILIES[spec.family].build(spec, {spec.file.role: state}, dtype)
    return Model(annotator, dtype, torch.device("cpu"), weights or Path(__file__))


def random_state(spec: ModelSpec) -> dict[str, Tensor]:
    """Weights for which signals neither die nor grow."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, value in empty_network(spec).state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif value.ndim > 1:
            state[name] = noise / value[0].numel() ** 0.5
        elif name.endswith("running_var"):
            state[name] = 1 + 0.2 * noise.abs()
        else:
            norm = any(word in name for word in ("norm", "bn")) and name.endswith("weight")
            state[name] = (1 if norm or name.endswith("gamma") else 0) + 0.2 * noise
    last = next((key for key in reversed(state) if state[key].shape == (1,) and key.endswith("bias")), None)
    if last is not None and spec.quantity == "disparity":
        state[last] += 3  # above the ReLU that ends the network
    return state


def empty_network(spec: ModelSpec) -> torch.nn.Module:
    """A spec's network, without memory."""
    family, config = FAMILIES[spec.family], spec.config
    with torch.device("meta"):
        if issubclass(family, DinoAnnotator):
            return family.network_class(config.vit, config.dpt)
        if issubclass(family, moge.MogeAnnotator):
            return moge.network_of(spec)
        if issubclass(family, metric3d.Metric3dAnnotator):
            return Metric3d(config)
        if spec.family == "midas" and config.backbone != "efficientnet-lite3":
            from depth_normal.annotators.midas import transformers_config

            (network_class,) = from_transformers("DPTForDepthEstimation")
            return network_class(transformers_config(config))
        makers = {"midas": MidasSmall, "bae": Bae, "dsine": lambda: DSINE(config), "leres": lambda: Leres(config)}
        return makers[spec.family]()


if __name__ == "__main__":
    main()
