"""Depth Pro: the authors' network and transformers' with the same weights, its files, its camera, and its 37 passes."""

import functools
import math
import os
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.annotators.depth_pro import MAX_DEPTH, DepthProAnnotator
from depth_normal.annotators.family import Request
from depth_normal.annotators.networks.configs import DepthProConfig, VitConfig
from depth_normal.annotators.networks.depth_pro import PASSES, DepthPro
from depth_normal.annotators.registry import MODELS, find_spec
from depth_normal.geometry.camera import fov_from_intrinsics
from depth_normal.geometry.estimate import Quantity
from depth_normal.model_loader import load_model
from tests.random_weights import make_images, state_of

TESTS = Path(__file__).resolve().parents[1]
DEVICES = runpy.run_path(str(TESTS / "geometry" / "test_devices.py"))
DEVICE = DEVICES["DEVICE"]
CONFIG = DepthProConfig(VitConfig(16, 4, 2, (0, 2, 3), grid=8, patch=4), channels=(32, 20, 24, 28), features=32)
SIZES = dict.fromkeys(("default_size", "multiple_of", "largest_size", "smallest_size"), CONFIG.side)
SPEC = replace(find_spec("depth-pro"), config=CONFIG, **SIZES)
AUTHORS = os.environ.get("DEPTH_NORMAL_DEPTH_PRO", "")
FOV = 55.0


@functools.cache
def weights(config=CONFIG):
    """Random weights under the authors' names: inverse depths of about 0.5 / m, and a field of view of about `FOV` degrees."""
    with torch.device("meta"):
        network = DepthPro(config)
    state = state_of(network)
    state["head.4.bias"], state["fov.head.4.bias"] = torch.tensor([0.5]), torch.tensor([FOV])
    state["head.4.weight"] *= 0.3
    state["fov.head.2.bias"] += 1
    state["fov.head.4.weight"] *= 5
    return state


def annotator(state=None):
    return DepthProAnnotator.build(SPEC, {"network": dict(state or weights())}, torch.float32)


def half_tangent(degrees):
    return math.tan(math.radians(degrees) / 2)


# The estimate


def test_metres_follow_the_focal_length():
    network = annotator()
    image = make_images(30, 50)
    found = network.estimate(image)
    assert found.quantity is Quantity.METRIC_DEPTH and found.depth.shape == (1, 1, 30, 50)
    degrees = float(fov_from_intrinsics(found.intrinsics, 30, 50)[0])
    assert 30 < degrees < 80
    twice = math.degrees(2 * math.atan(half_tangent(degrees) / 2))
    nearer = network.estimate(image, fov=twice)
    assert float(fov_from_intrinsics(nearer.intrinsics, 30, 50)[0]) == pytest.approx(twice, rel=1e-5)
    torch.testing.assert_close(nearer.depth, 2 * found.depth, rtol=1e-4, atol=0)


def test_an_upright_image_has_its_field_of_view_along_its_longer_side():
    found = annotator().estimate(make_images(50, 30), fov=60.0)
    assert float(found.intrinsics[0, 0, 0]) == pytest.approx(25 / half_tangent(60))


def test_what_has_no_inverse_depth_is_far():
    state = dict(weights())
    state["head.4.bias"], state["head.4.weight"] = torch.zeros(1), torch.zeros_like(state["head.4.weight"])
    assert torch.equal(annotator(state=state).estimate(make_images(30, 50)).depth, torch.full((1, 1, 30, 50), MAX_DEPTH))


def test_every_pass_counts_and_can_be_the_last():
    steps = []
    annotator().infer(Request(make_images(30, 50, 2), CONFIG.side, progress=lambda done, total: steps.append((done, total))))
    assert steps == [(10 * part, 2 * PASSES) for part in range(1, 8)] + [(72, 74), (74, 74)]

    def cancel(done, _):
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotator().infer(Request(make_images(30, 50), CONFIG.side, progress=cancel))


@torch.no_grad()
@pytest.mark.slow("takes most of a second")
def test_on_a_graphics_card_the_focal_length_alone_is_waited_for():
    """Followed without a device: a tensor on the CPU, or another value read back, would fail."""
    with FakeTensorMode(), DEVICES["Questions"]() as questions:
        network = DepthPro(CONFIG).eval()
        state = {name: torch.empty(each.shape, device=DEVICE) for name, each in network.named_parameters()}
        inverse_depth, fov = torch.func.functional_call(network, state, (torch.empty(2, 3, CONFIG.side, CONFIG.side, device=DEVICE),))
        assert questions.asked == 0
        request = Request(torch.empty(2, 3, 30, 50, device=DEVICE), CONFIG.side)
        found = [DepthProAnnotator(SPEC, network).postprocess((inverse_depth, fov), replace(request, fov=each)) for each in (0.0, 60.0)]
    tensors = [inverse_depth, fov, *(each.depth for each in found), *(each.intrinsics for each in found)]
    assert {each.device for each in tensors} == {DEVICE} and questions.asked == len(found)


# Files


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_files_load_by_either_names(monkeypatch, tmp_path, dtype):
    monkeypatch.setitem(MODELS, "depth-pro", SPEC)
    for name, state in (("theirs", weights()), ("hub", hub_names(weights()))):
        save_file({key: value.to(dtype).contiguous() for key, value in state.items()}, tmp_path / f"{name}.safetensors")
    theirs, hub = (load_model("depth-pro", weights=tmp_path / f"{name}.safetensors", device="cpu") for name in ("theirs", "hub"))
    expected = theirs.estimate(make_images(30, 50)).depth
    assert expected is not None and torch.equal(hub.estimate(make_images(30, 50)).depth, expected)


# Against others' code


HUB = "depth_pro."
TO_HUB = (
    (r"^encoder\.(patch|image)_encoder\.", HUB + r"encoder.\1_encoder.model."),
    (r"^fov\.encoder\.0\.", "fov_model.fov_encoder.model."),
    (r"model\.norm\.", "model.layernorm."),
    (r"model\.(cls_token)", r"model.embeddings.\1"),
    (r"model\.pos_embed", "model.embeddings.position_embeddings"),
    (r"model\.patch_embed\.proj\.", "model.embeddings.patch_embeddings.projection."),
    (r"model\.blocks\.", "model.encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma", r".layer_scale\1.lambda1"),
    (r"^fov\.encoder\.1\.", "fov_model.fov_encoder.neck."),
    (r"^fov\.downsample\.0\.", "fov_model.conv."),
    (r"^fov\.head\.", "fov_model.head.layers."),
    (r"^head\.", "head.layers."),
    (r"^encoder\.upsample_lowres\.", HUB + "neck.feature_upsample.image_block.layers.0."),
    (r"^encoder\.fuse_lowres\.", HUB + "neck.fuse_image_with_low_res."),
    (r"^encoder\.upsample_latent(\d)\.", lambda name: f"{HUB}neck.feature_upsample.intermediate.{1 - int(name[1])}.layers."),
    (r"^encoder\.upsample(\d)\.", lambda name: f"{HUB}neck.feature_upsample.scaled_images.{2 - int(name[1])}.layers."),
    (r"^decoder\.convs\.(\d)\.", lambda name: f"{HUB}neck.feature_projection.projections.{4 - int(name[1])}."),
    (r"^decoder\.fusions\.0\.", "fusion_stage.final."),
    (r"^decoder\.fusions\.(\d)\.", lambda name: f"fusion_stage.intermediate.{4 - int(name[1])}."),
    (r"resnet([12])\.residual\.1\.", r"residual_layer\1.convolution1."),
    (r"resnet([12])\.residual\.3\.", r"residual_layer\1.convolution2."),
    (r"^(fusion_stage.*)\.out_conv\.", r"\1.projection."),
)


def hub_names(state):
    """The same tensors as transformers names them in the published file, which holds queries, keys and values apart."""
    named = {}
    for name, value in state.items():
        for pattern, replacement in TO_HUB:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, each in zip(("query", "key", "value"), value.chunk(3), strict=True):
                named[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = each.clone()
        else:
            named[name] = value
    for part in ("depth_pro.encoder.patch_encoder", "depth_pro.encoder.image_encoder", "fov_model.fov_encoder"):
        named[f"{part}.model.embeddings.mask_token"] = torch.zeros(1, CONFIG.vit.width)
    return named


@pytest.fixture(scope="module")
def hub_network(tmp_path_factory):
    """transformers' network with the weights, read from a file as published."""
    transformers = pytest.importorskip("transformers")
    runpy.run_path(str(TESTS / "mend_torchvision.py"))
    if not hasattr(transformers, "DepthProConfig"):
        pytest.skip(f"transformers {transformers.__version__} has no Depth Pro; 4.49 is the first that has it")
    from transformers import DepthProConfig as HubConfig
    from transformers import DepthProForDepthEstimation

    vit, (first, second, third, last) = CONFIG.vit, CONFIG.channels
    transformer = {
        "model_type": "dinov2", "image_size": CONFIG.window, "patch_size": vit.patch, "hidden_size": vit.width,
        "num_hidden_layers": vit.depth, "num_attention_heads": vit.heads,
    }  # fmt: skip
    shallow, deeper, _ = vit.taken
    config = HubConfig(
        fusion_hidden_size=CONFIG.features,
        patch_size=CONFIG.window,
        intermediate_hook_ids=[deeper, shallow],
        intermediate_feature_dims=[first, first],
        scaled_images_ratios=[0.25, 0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[last, third, second],
        merge_padding_value=vit.grid // 8,
        use_fov_model=True,
        image_model_config=transformer,
        patch_model_config=transformer,
        fov_model_config=transformer,
    )
    folder = tmp_path_factory.mktemp("hub")
    config.save_pretrained(folder)
    save_file(hub_names(weights()), folder / "model.safetensors", {"format": "pt"})
    network, report = DepthProForDepthEstimation.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return network.eval().requires_grad_(False)


@pytest.mark.slow("imports transformers' networks")
def test_the_network_is_transformers(hub_network):
    pixels = torch.randn(2, 3, CONFIG.side, CONFIG.side, generator=torch.Generator().manual_seed(1))
    expected = hub_network(pixels)
    inverse_depth, fov = annotator().network(pixels)
    assert inverse_depth.std() > 0.03 and fov.std() > 0.1
    assert (inverse_depth[:, 0] - expected.predicted_depth).abs().max() < 1e-5 * inverse_depth.max()
    assert torch.allclose(fov, expected.field_of_view, rtol=1e-6)


@pytest.mark.slow("imports transformers' networks")
def test_tensors_that_transformers_holds_in_memory_load(hub_network):
    found = annotator(state=dict(hub_network.state_dict())).estimate(make_images(30, 50))
    assert torch.equal(found.depth, annotator().estimate(make_images(30, 50)).depth)


@pytest.fixture
def authors(monkeypatch):
    """The authors' modules, from the folder of their repository."""
    if not AUTHORS:
        pytest.skip("DEPTH_NORMAL_DEPTH_PRO does not name a folder of apple/ml-depth-pro")
    pytest.importorskip("timm")
    runpy.run_path(str(TESTS / "mend_torchvision.py"))
    heif = ModuleType("pillow_heif")  # only reads files
    heif.register_heif_opener = lambda: None
    monkeypatch.setitem(sys.modules, "pillow_heif", heif)
    monkeypatch.syspath_prepend(str(Path(AUTHORS) / "src"))
    before = set(sys.modules)
    from depth_pro import depth_pro

    yield depth_pro
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "depth_pro":
            del sys.modules[name]


def their_network(authors, config, state):
    """The authors' network; their patches have 384 pixels always."""
    from timm.models.vision_transformer import VisionTransformer

    def transformer():
        vit = config.vit
        sizes = {"embed_dim": vit.width, "depth": vit.depth, "num_heads": vit.heads}
        network = VisionTransformer(config.window, vit.patch, init_values=1.0, num_classes=0, **sizes)
        network.forward = network.forward_features
        return network

    encoder = authors.DepthProEncoder(
        dims_encoder=config.channels,
        patch_encoder=transformer(),
        image_encoder=transformer(),
        hook_block_ids=config.vit.taken[:2],
        decoder_features=config.features,
    )
    decoder = authors.MultiresConvDecoder([config.features, *encoder.dims_encoder], config.features)
    network = authors.DepthPro(encoder, decoder, (32, 1), True, transformer())
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


LARGER = replace(CONFIG, vit=VitConfig(16, 4, 2, (0, 2, 3), grid=24, patch=16))


@pytest.mark.slow("runs the authors' network at its true size of images")
@pytest.mark.parametrize("known", [0.0, 70.0], ids=["found", "known"])
@pytest.mark.parametrize(("height", "width"), [(200, 333), (300, 180), (1536, 1536), (1700, 900)])
def test_from_the_image_to_metres_as_the_authors(authors, height, width, known):
    state = weights(LARGER)
    ours = DepthProAnnotator.build(replace(SPEC, config=LARGER), {"network": state}, torch.float32)
    check_against_the_authors(their_network(authors, LARGER, state), ours, height, width, known)


@pytest.mark.slow("builds the network at its true size: 8 GB")
def test_the_network_at_its_true_size_is_the_authors(authors):
    if os.environ.get("DEPTH_NORMAL_DEPTH_PRO_WHOLE") != "1":
        pytest.skip("DEPTH_NORMAL_DEPTH_PRO_WHOLE is not 1")
    spec = find_spec("depth-pro")
    state = weights(spec.config)
    assert len(state) == 1119 and sum(value.numel() for value in state.values()) == 951_991_330
    ours = DepthProAnnotator.build(spec, {"network": state}, torch.float32)
    check_against_the_authors(their_network(authors, spec.config, state), ours, 480, 640, 0.0)


def check_against_the_authors(theirs, ours, height, width, known):
    from torchvision.transforms import Compose, Normalize, ToTensor

    image = (make_images(height, width) * 255).round().to(torch.uint8)
    pixels = Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])(image[0].permute(1, 2, 0).numpy())
    focal_length = torch.tensor(0.5 * max(height, width) / half_tangent(known)) if known else None
    expected = theirs.infer(pixels, f_px=focal_length)
    found = ours.estimate(image / 255, fov=known)
    assert found.depth.shape[-2:] == (height, width)
    worst = (found.depth[0, 0] / expected["depth"] - 1).abs().max()
    print(f"{height}x{width}: depth {expected['depth'].min():.3g} to {expected['depth'].max():.3g}, worst {worst:.2g}")
    assert found.depth.std() > 0.01
    assert worst < 1e-5
    assert found.intrinsics[0, 0, 0] == pytest.approx(float(expected["focallength_px"]), rel=1e-6)
