"""An annotator of each family whose network is a graph, with random weights and few channels, run by `runpy`."""

from __future__ import annotations

import functools
import runpy
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.networks.configs import TINY_2, DsineConfig, LeresConfig, ResnextConfig
from depth_normal.annotators.networks.dsine import DSINE
from depth_normal.annotators.networks.leres import Leres
from depth_normal.annotators.networks.tiny import TinyNetwork
from depth_normal.annotators.registry import FAMILIES, MODELS, models_of_family

OLD_EXPORTER = {
    "condition": tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9),
    "reason": "torch's exporter from before 2.9 was never tried (docs/runtimes.md): there torch itself runs the networks",
}
TESTS = Path(__file__).parent
ROOM = TESTS.parent / "annotators"
DINO = (
    "depth-anything-small",
    "depth-anything-v2-small",
    "depth-anything-v2-metric-indoor-small",
    "depth-anything-3-small",
    "depth-anything-3-metric-large",
    "zoe-depth-anything-indoor",
    "video-depth-anything-small",
)
OTHERS = ("tiny", "tiny-2", "moge", "moge-1", "metric3d", "leres", "bae", "dsine")


@functools.cache
def _module(name):
    return runpy.run_path(str(TESTS / name))


def annotator(name, dtype=torch.float32):
    """The annotator of a name in `DINO` or `OTHERS`."""
    if name in DINO:
        depth = _module("tiny_depth.py")
        spec = depth["shrunk"](MODELS[name])
        return FAMILIES[spec.family].build(spec, depth["random_states"](spec), dtype)
    files = {"moge": "test_moge.py", "moge-1": "test_moge_1.py", "metric3d": "test_metric3d.py"}
    if name in files:
        return _module(f"annotators/{files[name]}")["annotator"](dtype=dtype)
    return {"tiny": _tiny, "tiny-2": _tiny_2, "leres": _leres, "bae": _bae, "dsine": _dsine}[name](dtype)


def _tiny(dtype):
    return FAMILIES["tiny"].build(MODELS["tiny"], {"network": load_file(ROOM / "tiny.safetensors")}, dtype)


def _tiny_2(dtype):
    """The network's second version, of which the pack has no weights yet."""
    return FAMILIES["tiny"].build(MODELS["tiny"], _randomised(TinyNetwork(TINY_2)), dtype)


def _randomised(network):
    return {"network": _module("tiny_bae.py")["randomise"](network).state_dict()}


def _leres(dtype):
    config = LeresConfig(ResnextConfig((1, 1, 1, 1), 2, 4, 8, (16, 16, 32, 32)), (16, 16, 16, 32))
    spec = replace(MODELS[models_of_family("leres")[0]], config=config)
    return FAMILIES["leres"].build(spec, _randomised(Leres(config)), dtype)


def _bae(dtype):
    with _module("tiny_bae.py")["tiny_bae"]():
        return FAMILIES["bae"].build(MODELS[models_of_family("bae")[0]], _randomised(Bae()), dtype)


def _dsine(dtype):
    spec = replace(MODELS[models_of_family("dsine")[0]], config=DsineConfig(64, 8))
    with _module("tiny_bae.py")["tiny_bae"]():
        return FAMILIES["dsine"].build(spec, _randomised(DSINE(spec.config)), dtype)
