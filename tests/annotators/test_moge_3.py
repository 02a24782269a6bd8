import functools
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators import moge
from depth_normal.annotators.moge import MogeAnnotator, MogeOptions
from depth_normal.annotators.networks.configs import Moge1Config, MogeConfig, RefinerConfig, VitConfig
from depth_normal.annotators.networks.moge import MoGe, MoGe1
from depth_normal.annotators.networks.moge_refiner import Refiner, SubmanifoldConv
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.model_loader import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.weights import identify
from tests import random_weights as RANDOM

CONFIG = MogeConfig(
    VitConfig(16, 4, 2, (1, 3), grid=3), (16, 12, 8, 8, 8), (0, 2, 1, 1, 0), refiner=RefinerConfig((4, 6, 8, 10, 12), bins=24)
)
SECOND = replace(CONFIG, refiner=None)
FIRST = Moge1Config(VitConfig(16, 4, 2, (0, 1, 2, 3), grid=3), 12, (8, 8, 8))
IMAGES = RANDOM.make_images(30, 40, 2)
IMAGE = IMAGES[:1]


def spec(config=CONFIG):
    file = WeightFile("moge_tiny.pt")
    return ModelSpec(
        "moge-3-tiny", "moge", (file,), "MIT", Quantity.METRIC_DEPTH, Axes.OPENCV, multiple_of=14, default_size=42, config=config
    )


@functools.cache
def published(config):
    """Random weights in the shapes of the files: the refiner's convolutions have five axes there."""
    state = RANDOM.state_of(MoGe1(config) if isinstance(config, Moge1Config) else MoGe(config))
    return {name: value.unflatten(1, (3, 3, 3)) if ".conv" in name and value.ndim == 3 else value for name, value in state.items()}


def built(config=CONFIG, state=None, dtype=torch.float32):
    return MogeAnnotator.build(spec(config), {"network": dict(state or published(config))}, dtype)


@torch.no_grad()
@pytest.mark.parametrize("spread", [0.0, 0.2, 2.0])
def test_a_step_is_the_authors(spread, is_the_authors):
    refiner = RANDOM.randomise(Refiner(CONFIG.refiner, 18)).double()
    generator = torch.Generator().manual_seed(1)
    points, features = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 32, 48), (18, 2, 3)))
    points[2] *= spread
    is_the_authors(f"moge-3, one step, spread: {spread}", 1e-5, third=refiner(points, features)[None])


@torch.no_grad()
def test_the_steps_correct_the_third_part_alone_and_bin_anew(is_the_authors):
    network, pixels = built().network, torch.randn(2, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    before, after = network(pixels, 1.5), network(pixels, 1.5, 2)
    is_the_authors("moge-3, two steps", points=after.points)
    assert torch.equal(after.points[:, :2], before.points[:, :2])
    for name in ("mask", "scale", "normals"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name


def test_no_steps_are_moge_2():
    state = published(CONFIG)
    second = built(SECOND, {name: value for name, value in state.items() if not name.startswith("refiner.")})
    expected = second.estimate(IMAGE)
    found = built(state=state).estimate(IMAGE, options=MogeOptions(0))
    for name in ("depth", "normals", "mask", "intrinsics"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert torch.equal(second.estimate(IMAGE, options=MogeOptions(5)).depth, expected.depth), "which has nothing to refine"


@pytest.mark.slow("takes a second")
def test_three_steps_are_the_default():
    third = built()
    depths = [third.estimate(IMAGE, options=MogeOptions(steps)).depth for steps in (1, 2, 3)]
    assert torch.equal(third.estimate(IMAGE).depth, depths[2])
    assert len({depth.double().sum().item() for depth in depths}) == 3
    assert all(torch.isfinite(depth).all() for depth in depths)


@pytest.mark.slow("takes a second")
def test_options_can_be_set_once():
    third, images = built(), IMAGE
    twice = third.with_options(MogeOptions(1))
    assert torch.equal(twice.estimate(images).depth, third.estimate(images, options=MogeOptions(1)).depth)
    assert torch.equal(twice.estimate(images, options=MogeOptions(2)).depth, third.estimate(images, options=MogeOptions(2)).depth)
    assert torch.equal(twice.infer_resized(images).depth, third.with_options(MogeOptions(1)).infer_resized(images).depth)
    with pytest.raises(TypeError, match="moge-3-tiny takes MogeOptions; found int"):
        third.with_options(3)


@pytest.mark.slow("takes most of a second")
def test_out_of_memory_in_a_step_is_not_seen_in_the_depth(monkeypatch):
    """The batch is halved and begun anew: no image keeps a step that was done before."""
    model = Model(LoadedNetwork(built(), torch.float32, torch.device("cpu"), Path()))
    expected, run, calls = model.estimate(IMAGES).depth, SubmanifoldConv.forward, []

    def forward(self, features, pairs):
        calls.append(len(features))
        if len(calls) == 70:  # in the fourth step of six
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, features, pairs)

    monkeypatch.setattr(SubmanifoldConv, "forward", forward)
    torch.testing.assert_close(model.estimate(IMAGES).depth, expected, rtol=1e-3, atol=1e-4)
    assert len(calls) > 6 * 20, "it ran again"


@pytest.mark.slow("takes most of a second")
def test_the_files_own_widths_are_taken():
    """Those of moge-3-vitg stand in its file only."""
    other = replace(CONFIG, channels=(16, 10, 6, 4, 2), neck_blocks=(1, 0, 2, 1, 0), head_blocks=(0, 1, 0, 1, 0))
    found = built(CONFIG, published(other))
    assert found.network.state_dict().keys() == MoGe(other).state_dict().keys() and found.spec == spec()
    with pytest.raises(CheckpointError, match="tensors of another shape"):
        built(CONFIG, published(replace(other, vit=replace(CONFIG.vit, width=32))))
    with pytest.raises(CheckpointError, match="not a checkpoint"):  # version 2's are known
        built(SECOND, published(replace(SECOND, channels=(16, 10, 6, 4, 2))))


@pytest.fixture
def siblings(monkeypatch):
    both = replace(spec(SECOND), id="moge-2-tiny"), spec()
    monkeypatch.setattr(moge, "SPECS", both)
    return both


@pytest.mark.slow("takes a second")
def test_siblings_are_named(siblings, monkeypatch):
    all_three = (*siblings, replace(spec(FIRST), id="moge-1-tiny"))
    monkeypatch.setattr(moge, "SPECS", all_three)
    for wanted, other in itertools.permutations(all_three, 2):
        said = f'not a checkpoint of {wanted.id} but of {other.id}: choose load_model("{other.id}") to use it'
        with pytest.raises(CheckpointError, match=re.escape(said)):
            MogeAnnotator.build(wanted, {"network": published(other.config)}, torch.float32)


def test_a_refiner_without_a_base_says_what_it_lacks(siblings):
    alone = {name: value for name, value in published(CONFIG).items() if name.startswith("refiner.")}
    for wanted in siblings:
        with pytest.raises(CheckpointError, match=r"MoGe-3's refiner alone, .*take a whole file, such as that of moge-3-tiny$"):
            MogeAnnotator.build(wanted, {"network": alone}, torch.float32)


def test_another_refiner_is_refused(siblings):
    other = replace(CONFIG, refiner=RefinerConfig((4, 6, 8, 10, 14)))
    for wanted, told in zip(siblings, ("unexpected keys (first: refiner.", "tensors of another shape (first: refiner."), strict=True):
        with pytest.raises(CheckpointError, match=re.escape(told)):
            MogeAnnotator.build(wanted, {"network": published(other)}, torch.float32)


@pytest.mark.slow("takes most of a second")
def test_a_file_of_a_refiner_alone_is_recognised_in_words(tmp_path):
    path = tmp_path / "refiner.safetensors"
    save_file({f"refiner.{name}": value for name, value in RANDOM.state_of(Refiner(CONFIG.refiner, 18)).items()}, path)
    with pytest.raises(CheckpointError, match="is MoGe-3's refiner without its base network"):
        identify.recognise(path)


@pytest.mark.parametrize("model", ["moge-3-vitl", "moge-3-vitg"])
@pytest.mark.slow("takes most of a second")
def test_a_published_file_is_recognised(model):
    """By names and shapes alone, so that no memory is needed here."""
    with torch.device("meta"):
        state = MoGe(MODELS[model].config).state_dict()
    state = {name: value.unflatten(1, (3, 3, 3)) if ".conv" in name and value.ndim == 3 else value for name, value in state.items()}
    assert [each.id for each in identify.matching_models(state)[0]] == [model] and MODELS[model].knows_camera
