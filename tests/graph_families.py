"""An annotator of each family whose network is a graph, with random weights and few channels."""

from __future__ import annotations

import contextlib
import functools
import runpy
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file

from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.networks.configs import TINY_2, DsineConfig, LeresConfig, ResnextConfig
from depth_normal.annotators.networks.dsine import DSINE
from depth_normal.annotators.networks.leres import Leres
from depth_normal.annotators.networks.tiny import TinyNetwork
from depth_normal.annotators.registry import FAMILIES, MODELS, models_of_family
from depth_normal.app.batch import per_image
from depth_normal.app.differences import apart
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.model_loader import load, load_model
from depth_normal.utils import resize_image
from tests import tiny_depth
from tests.random_weights import random_midas_small, state_of
from tests.tiny_old_nodes import tiny_encoder

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
BUILT_HERE = ("tiny", "tiny-2", "tiny-edges", "leres", "bae", "dsine")
IN_THEIR_TESTS = {"moge": "test_moge.py", "moge-1": "test_moge_1.py"}
SLOW = ("zoedepth-nyu", "midas-v2.1-small")
"""ZoeDepth's heads are slow however narrow, and MiDaS small is at its true size; both are of the end to end comparison alone."""
_KNOWN = {MODELS[name].family for name in (*DINO, *SLOW)} | {*BUILT_HERE, *IN_THEIR_TESTS}
IN_THEIR_TESTS |= {
    spec.family: f"test_{spec.family.replace('-', '_')}.py"
    for spec in MODELS.values()
    if spec.family not in _KNOWN and FAMILIES[spec.family].why_no_graph(spec) is None
}
"""Any other family with a graph, by its test, whose `annotator(dtype=...)` builds one with few channels and random weights."""
OTHERS = (*BUILT_HERE, *IN_THEIR_TESTS)


@functools.cache
def _module(name):
    return runpy.run_path(str(TESTS / "annotators" / name))


def annotator(name, dtype=torch.float32):
    """The annotator of a name in `DINO`, `OTHERS` or `SLOW`."""
    if name == "midas-v2.1-small":
        return FAMILIES["midas"].build(MODELS[name], {"network": random_midas_small().state_dict()}, dtype)
    if name in (*DINO, *SLOW):
        spec = tiny_depth.shrunk(MODELS[name])
        return FAMILIES[spec.family].build(spec, tiny_depth.random_states(spec), dtype)
    if name in IN_THEIR_TESTS:
        return _module(IN_THEIR_TESTS[name])["annotator"](dtype=dtype)  # each family's test has this function
    return {"tiny": _tiny, "tiny-2": _tiny_2, "tiny-edges": _tiny_edges, "leres": _leres, "bae": _bae, "dsine": _dsine}[name](dtype)


def _tiny(dtype):
    return FAMILIES["tiny"].build(MODELS["tiny"], {"network": load_file(ROOM / "tiny.safetensors")}, dtype)


def _tiny_edges(dtype):
    """As it is exported: with its head for edges."""
    states = {file.role: load_file(ROOM / file.name) for file in MODELS["tiny"].files}
    return FAMILIES["tiny"].build(MODELS["tiny"], states, dtype).for_export()


def _tiny_2(dtype):
    """The network's second version, with weights at random, which take about half of the photograph for sky."""
    state = _randomised(TinyNetwork(TINY_2))
    state["network"]["fine.sky.bias"] -= 20  # else all of it
    return FAMILIES["tiny"].build(MODELS["tiny"], state, dtype)


def _randomised(network):
    return {"network": state_of(network, gain=1.3)}


def _leres(dtype):
    config = LeresConfig(ResnextConfig((1, 1, 1, 1), 2, 4, 8, (16, 16, 32, 32)), (16, 16, 16, 32))
    spec = replace(MODELS[models_of_family("leres")[0]], config=config)
    return FAMILIES["leres"].build(spec, _randomised(Leres(config)), dtype)


def _bae(dtype):
    with tiny_encoder():
        return FAMILIES["bae"].build(MODELS[models_of_family("bae")[0]], _randomised(Bae()), dtype)


def _dsine(dtype):
    spec = replace(MODELS[models_of_family("dsine")[0]], config=DsineConfig(64, 8))
    with tiny_encoder():
        return FAMILIES["dsine"].build(spec, _randomised(DSINE(spec.config)), dtype)


@contextlib.contextmanager
def loaded(name, folder):
    """Gives `load_model` of a name by its runtime, with all that it does but reading the weights."""
    spec = annotator(name).spec
    weights = folder / f"{name}.safetensors"
    weights.write_bytes(name.encode())  # engines are stored by the hash of the weights, and "tiny-2" has the id of "tiny"

    def build(_spec, _paths, dtype):
        return annotator(name, dtype)

    with mock.patch.dict(MODELS, {spec.id: spec}), mock.patch.object(load, "_build", build):
        yield lambda runtime: load_model(spec.id, "float32", "cpu", weights, runtime)


def photographs():
    """Of the bundled photograph: two at once, an odd part that is upright, and with a known camera; each with its field of view."""
    whole = per_image.read(DEMO_IMAGE)
    small = resize_image(whole, 120, 180)
    return (torch.cat((small, 0.7 * small)), 0.0), (resize_image(whole[..., :300], 135, 90), 0.0), (small, 50.0)


def end_to_end(expected, found, name):
    """How far two models' estimates of `photographs` are apart, at worst: 255ths of the image, their mean, and degrees of normals."""
    size = 98 if expected.spec.default_size > 200 and name != "metric3d" else None  # Metric3D's frame is its own, and small here
    worst = (0.0, 0.0, 0.0)
    for images, fov in photographs():
        true, other = (model.estimate(images, size, fov=fov) for model in (expected, found))
        assert (other.quantity, other.axes, other.maps.keys()) == (true.quantity, true.axes, true.maps.keys())
        both = other.valid & true.valid
        assert (other.valid != true.valid).float().mean() < 1e-3, "the same pixels count"
        assert both.any(), f"{name} has no valid pixel to compare"
        if true.intrinsics is not None:
            torch.testing.assert_close(other.intrinsics, true.intrinsics, rtol=1e-3, atol=1e-3)
        degrees = 0.0 if true.normals is None else _degrees(other.normals, true.normals)[both[:, 0]].max().item()
        worst = tuple(map(max, worst, (*apart(other, true)[:2], degrees)))
    return worst


def _degrees(found, true):
    return torch.rad2deg(torch.atan2(found.cross(true, dim=1).norm(dim=1), (found * true).sum(1)))
