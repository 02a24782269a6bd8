"""MiDaS v2.1 small: the same network as the authors', and what its real weights see."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from depth_normal.annotators.base import CheckpointError
from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.midas_small import MidasSmall
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.utils import as_batch

SPEC = MODELS["midas-v2.1-small"]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def build(state, dtype=torch.float32):
    return MidasAnnotator.build(SPEC, {"network": state}, dtype)


@torch.no_grad()
def randomised(network):
    """Random weights that keep the activations' size, and statistics of the norms that are not those they start with."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.ndim == 1:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        elif value.ndim:
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
    network.scratch.output_conv[4].bias.fill_(10)  # above what the last ReLU cuts
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def random_state():
    return randomised(MidasSmall()).state_dict()


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_parity_with_the_authors_network(monkeypatch, capsys):
    timm = pytest.importorskip("timm", reason="the oracle's encoder is timm's (extra 'test')")
    reason = "the oracle is controlnet-aux (extra 'test')"
    oracles = pytest.importorskip("controlnet_aux.midas.midas.midas_net_custom", reason=reason)
    encoder = timm.create_model("tf_efficientnet_lite3")
    encoder.act1 = torch.nn.Identity()  # timm >= 0.9 has the activation in bn1
    monkeypatch.setattr(torch.hub, "load", lambda *_args, **_options: encoder)
    oracle = randomised(oracles.MidasNet_small(None))
    state = oracle.state_dict()
    assert len(state) == 482
    images = pictures(2, 3, 96, 160)
    expected = oracle((images - MEAN) / STD)
    estimate = build(state).predict(images)
    assert estimate.quantity is Quantity.DISPARITY
    assert expected.min() > 0
    error = (estimate.depth[:, 0] - expected).abs().max()
    assert error < 1e-4 * expected.max()
    assert error < 1e-3 * expected.std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_gives_float32_near_the_same(random_state, dtype):
    images = pictures(1, 3, 32, 64)
    exact, found = (build(random_state, each).predict(images).depth for each in (torch.float32, dtype))
    assert found.dtype == torch.float32
    # eight bits of mantissa, rounded some tens of times on the way
    tolerance = 2.0**-4 if dtype == torch.bfloat16 else 2.0**-7
    assert (found - exact).abs().max() < tolerance * (exact.max() - exact.min())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_disparity_beyond_float16_does_not_overflow(random_state, dtype):
    last = "scratch.output_conv.4."
    state = {**random_state, last + "weight": random_state[last + "weight"] * 1e5, last + "bias": torch.tensor([1e6])}
    depth = build(state, dtype).predict(pictures(1, 3, 32, 32)).depth
    assert depth.dtype == torch.float32
    assert depth.max() > 1e6


def test_disparity_is_never_negative(random_state):
    state = {**random_state, "scratch.output_conv.4.bias": torch.tensor([-1e6])}
    assert torch.equal(build(state).predict(pictures(1, 3, 32, 32)).depth, torch.zeros(1, 1, 32, 32))


BROKEN = {
    "missing": ("pretrained.layer3.1.0.bn1.running_var", None, r"1 missing keys \(first: pretrained.layer3.1.0.bn1.running_var\)"),
    "extra": ("scratch.layer5_rn.weight", torch.zeros(3), r"1 unexpected keys \(first: scratch.layer5_rn.weight\)"),
    "shape": (
        "scratch.layer1_rn.weight",
        torch.zeros(64, 24, 3, 3),
        r"1 tensors of another shape \(first: scratch.layer1_rn.weight, \(64, 24, 3, 3\) instead of \(64, 32, 3, 3\)\)",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_checkpoint_that_differs_is_refused_by_name(random_state, kind):
    key, value, named = BROKEN[kind]
    state = dict(random_state)
    state.pop(key, None)
    with pytest.raises(CheckpointError, match=f"not a checkpoint of midas-v2.1-small: {named}"):
        build(state if value is None else {**state, key: value})


def test_the_large_networks_checkpoint_is_refused():
    state = {"pretrained.model.cls_token": torch.zeros(1, 1, 1024), "scratch.layer1_rn.weight": torch.zeros(256, 256, 3, 3)}
    with pytest.raises(CheckpointError, match=r"unexpected keys \(first: pretrained.model.cls_token\), \d+ missing keys"):
        build(state)


def test_the_partial_checkpoint_is_partial(shared):
    state = load_file(shared / "weights" / "midas_v21_small_256_partial.safetensors")
    with pytest.raises(CheckpointError, match=r"5 missing keys \(first: scratch.layer4_rn.weight\)$"):
        build(state)


@pytest.fixture(scope="module")
def seen(partial_midas_small, photo):
    state = load_file(partial_midas_small)
    images = as_batch(photo)
    return SimpleNamespace(state=state, images=images, depth=build(state).estimate(images).depth)


# The authors' code (controlnet-aux's copy, timm's encoder) with the same weights, fed by OpenCV's INTER_AREA: (row, column) of 256 x 256
GOLDEN = {
    "face": ((50, 112), 476.1231),
    "helmet": ((200, 200), 507.8753),
    "sleeve": ((240, 60), 454.1595),
    "chest": ((128, 112), 344.8945),
    "flag": ((100, 20), 162.5949),
    "wall beside the rocket": ((60, 180), 40.2379),
    "wall behind the head": ((30, 150), 12.7312),
}


def test_golden_values_on_a_photograph(seen):
    assert seen.depth.shape == (1, 1, 256, 256)
    found = {name: seen.depth[0, 0, row, column].item() for name, ((row, column), _) in GOLDEN.items()}
    assert found == pytest.approx({name: value for name, (_, value) in GOLDEN.items()}, rel=1e-3, abs=0.05)
    assert seen.depth.max().item() == pytest.approx(521.7126, rel=1e-3)
    assert seen.depth.mean().item() == pytest.approx(283.9290, rel=1e-3)
    assert seen.depth.std().item() == pytest.approx(138.9647, rel=1e-3)


def test_the_person_is_nearer_than_the_wall(seen):
    near = {name: seen.depth[0, 0, row - 4 : row + 4, column - 4 : column + 4].mean() for name, ((row, column), _) in GOLDEN.items()}
    for person in ("face", "helmet", "chest"):
        for wall in ("wall beside the rocket", "wall behind the head", "flag"):
            assert near[person] > 1.5 * near[wall]
    assert near["helmet"] > near["chest"]


def test_a_picture_seen_in_bfloat16_is_the_same_picture(seen):
    depth = build(seen.state, torch.bfloat16).estimate(seen.images).depth
    error = (depth - seen.depth).abs() / (seen.depth.max() - seen.depth.min())
    assert error.mean() < 1 / 255
    assert error.max() < 0.05
