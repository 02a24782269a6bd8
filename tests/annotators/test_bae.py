"""BAE: the authors' network with the same weights, the old pack's image, files, sizes, and which way the colours point."""

import contextlib
import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.annotators.bae import BaeAnnotator
from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.images.render import normals_to_image

TINY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "tiny_bae.py")))
SPEC = MODELS["bae-normal"]
MEAN, STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def build(state, dtype=torch.float32):
    return BaeAnnotator.build(SPEC, {"network": state}, dtype)


def make_images(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def oracle():
    """The authors' network, as controlnet-aux carries it."""
    oracles = pytest.importorskip("controlnet_aux.normalbae.nets.NNET", reason="the oracle is controlnet-aux (extra 'test')")
    options = SimpleNamespace(mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7)
    with contextlib.redirect_stdout(io.StringIO()):
        return TINY.randomise(oracles.NNET(options))


@pytest.fixture(scope="module")
def ours(oracle):
    return build(oracle.state_dict())


@pytest.fixture
def tiny_network():
    with TINY.tiny_bae():
        yield TINY.randomise(Bae())


@pytest.mark.slow("takes 0.7 GB of memory: the authors' network, not shrunk")
@pytest.mark.parametrize("shape", [(2, 3, 64, 96), (1, 3, 96, 32)], ids=str)
def test_parity_with_the_authors_network(oracle, ours, shape):
    assert len(oracle.state_dict()) == 936, "as many as in scannet.pt"
    images = make_images(*shape)
    expected = oracle((images - MEAN) / STD)[0][-1]
    found = ours.infer_resized(images)
    assert expected[:, :3].std() > 0.05, "the normals differ from pixel to pixel"
    assert (found.normals - expected[:, :3]).abs().max() < 2e-5
    assert (found.confidence - expected[:, 3:]).abs().max() < 2e-5 * expected[:, 3:].max()
    assert found.axes is Axes.SCANNET and found.depth is None


@pytest.mark.slow("takes 0.7 GB of memory: the authors' network, not shrunk")
def test_the_image_is_the_old_nodes_but_for_its_rounding(oracle, ours):
    """The old pack: an image of 8 bits, sides of multiples of 64, the network, colours cut to 8 bits."""
    levels = (make_images(1, 3, 64, 128) * 255).floor()
    normals = oracle((levels / 255 - MEAN) / STD)[0][-1][0, :3].permute(1, 2, 0).numpy()
    old = (((normals + 1) * 0.5).clip(0, 1) * 255.0).clip(0, 255).astype(np.uint8)
    estimate = ours.estimate(levels / 255, 64)
    shown = normals_to_image(estimate.normals, "controlnet-normalbae", estimate.axes)[0].permute(1, 2, 0).numpy() * 255
    assert shown.shape == old.shape == (64, 128, 3)
    lost = shown - old
    assert lost.min() > -0.01 and lost.max() < 1.01, "never more than what cutting off loses"
    assert 0.4 < lost.mean() < 0.6


def ball(height, width):
    """Unit vectors of a ball that fills the image, in OPENGL axes: up is up, right is right."""
    y, x = torch.meshgrid(torch.linspace(1, -1, height), torch.linspace(-1, 1, width), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    flat = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
    return torch.where(inside, torch.stack((x, y, z)), flat)


class Known(torch.nn.Module):
    """A network that sees a ball, as one trained on ScanNet would say it: x to the LEFT."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixels):
        vectors = ball(*pixels.shape[-2:]) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1)
        certainty = torch.full_like(vectors[:1], 30.0)
        return torch.cat((vectors, certainty))[None].expand(len(pixels), -1, -1, -1)


def test_which_way_the_colours_point():
    estimate = BaeAnnotator(SPEC, Known()).estimate(make_images(1, 3, 96, 96), 96)
    truth = ball(96, 96)[None]
    assert (normals_to_image(estimate.normals, "opengl", estimate.axes) - (truth + 1) / 2).abs().max() < 1e-6
    red, green, blue = normals_to_image(estimate.normals, "controlnet-normalbae", estimate.axes)[0]
    assert red[48, 4] > 0.9 and red[48, 91] < 0.1, "normalbae: what faces left is red"
    assert green[4, 48] > 0.9 and green[91, 48] < 0.1, "what faces up is green"
    assert blue[48, 48] > 0.99 and (blue >= 0.499).all(), "and what faces the viewer blue"
    assert estimate.confidence.unique().tolist() == [30.0]


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [
        ((480, 640), None, (480, 640)),
        ((1080, 1920), 512, (512, 896)),
        ((1920, 1080), 512, (896, 512)),
        ((512, 512), 512, (512, 512)),
        ((20, 300), 64, (64, 960)),
        ((100, 100), 1, (32, 32)),
    ],
    ids=str,
)
def test_the_short_side_is_the_resolution_and_both_are_multiples_of_32(image, size, expected):
    assert BaeAnnotator(SPEC, Known()).checked_network_size(*image, size) == expected


def test_images_of_any_size_and_batch(tiny_network):
    annotator = build(tiny_network.state_dict())
    for height, width, batch in ((37, 61, 2), (64, 20, 1), (1, 1, 1)):
        found = annotator.estimate(make_images(batch, 3, height, width), 64)
        assert min(found.height, found.width) == 64 and found.batch == batch
        assert (found.normals.norm(dim=1) - 1).abs().max() < 1e-5 and found.confidence.min() >= 0.01
        assert found.normals_valid.all()
        back = found.resized(height, width)
        assert back.confidence.shape == (batch, 1, height, width) and torch.isfinite(back.normals).all()


def test_a_batch_is_its_images_one_by_one(tiny_network):
    annotator, images = build(tiny_network.state_dict()), make_images(3, 3, 64, 96)
    singles = torch.cat([annotator.infer_resized(images[i : i + 1]).normals for i in range(3)])
    assert (annotator.infer_resized(images).normals - singles).abs().max() < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)], ids=["float16", "bfloat16"])
def test_half_precision_stays_near_and_keeps_the_last_layers(tiny_network, dtype, tolerance):
    state, images = tiny_network.state_dict(), make_images(1, 3, 64, 64)
    exact, half = build(state), build(state, dtype)
    kept = {name for name, value in half.network.named_parameters() if value.dtype == torch.float32}
    last = [f"decoder.out_conv_res{which}" for which in ("8", "4.6", "2.6", "1.6")]
    assert kept == {f"{name}.{part}" for name in last for part in ("weight", "bias")}
    assert all(torch.equal(half.network.state_dict()[name], state[name]) for name in kept), "not rounded on the way"
    found = half.infer_resized(images)
    assert found.normals.dtype == found.confidence.dtype == torch.float32
    assert (found.normals.norm(dim=1) - 1).abs().max() < 1e-5
    assert (found.normals - exact.infer_resized(images).normals).abs().max() < tolerance


BROKEN = {
    "missing": ("decoder.up1._net.1.running_var", None, r"1 missing keys \(first: decoder.up1._net.1.running_var\)"),
    "extra": ("decoder.up5._net.0.weight", torch.zeros(3), r"1 unexpected keys \(first: decoder.up5._net.0.weight\)"),
    "shape": ("decoder.conv2.bias", torch.zeros(7), r"tensors of another shape \(first: decoder.conv2.bias, \(7,\) instead of \(16,\)\)"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_checkpoint_that_differs_is_refused_by_name(tiny_network, kind):
    key, value, named = BROKEN[kind]
    state = tiny_network.state_dict()
    state.pop(key, None)
    with pytest.raises(CheckpointError, match=f"not a checkpoint of bae-normal: .*{named}"):
        build(state if value is None else {**state, key: value})


def test_what_is_not_finite_is_refused(tiny_network):
    state = {**tiny_network.state_dict(), "decoder.out_conv_res1.6.bias": torch.full((4,), torch.nan)}
    with pytest.raises(ArithmeticError, match="normals that is not finite"):
        build(state).estimate(make_images(1, 3, 32, 32), 32)


@pytest.mark.slow("takes most of a second")
def test_nothing_mixes_devices_or_asks_one_for_a_number():
    device = torch.device("cuda:0" if torch.cuda.is_available() else "lazy:0")
    with FakeTensorMode(), torch.no_grad(), TINY.tiny_bae():
        with device:
            annotator = BaeAnnotator(SPEC, Bae())
        found = annotator.infer_resized(torch.empty(2, 3, 64, 96, device=device))
    assert found.normals.shape == (2, 3, 64, 96) and found.normals.dtype == torch.float32
    assert {found.normals.device, found.confidence.device} == {device}


def test_the_entry():
    with torch.device("meta"):
        state = Bae().state_dict()
    # not loaded: the five tensors of a norm that nothing uses
    assert len(state) + 5 == 936
    assert sum(each.numel() for name, each in state.items() if "running_" not in name and each.ndim) + 2 * 2048 == 72_422_336
    assert abs(SPEC.file.size - 4 * 72_422_336) < 4 * 936 * 400
    assert SPEC.commercial_use == "unclear" and SPEC.gives == "normals"
    assert (SPEC.file.repo_id, SPEC.file.name, SPEC.file.sha256[:8]) == ("lllyasviel/Annotators", "scannet.pt", "03dbf160")
