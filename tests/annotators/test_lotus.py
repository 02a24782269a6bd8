"""Lotus on tiny random networks against the published equations written out in a straight line."""

import functools
from dataclasses import replace
from math import cos, sin

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from depth_normal.annotators.diffusion import DiffusionOptions, LotusAnnotator
from depth_normal.annotators.networks import layers as attention
from depth_normal.annotators.registry import find_spec, models_of_family
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.diffusion import LOTUS_G, SD_VAE
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.model_loader.weights.find import find_weights
from tests import tiny_diffusion as TINY

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

UNET = {
    **TINY.UNET,
    "in_channels": 4,
    "out_channels": 4,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 4,
}
VAE = {**SD_VAE, **TINY.VAE}
TEXT = TINY.TEXT
PROMPT = TINY.PROMPT
IDS = models_of_family("lotus")
DEPTH_IDS, NORMAL_IDS = ([name for name in IDS if ("normals" in name) is normals] for normals in (False, True))


def make_parts(in_channels: int):
    torch.manual_seed(in_channels)
    unet = diffusers.UNet2DConditionModel(**{**UNET, "in_channels": in_channels}).eval()
    vae = TINY.random_vae(VAE).eval()
    return {"network": unet, "vae": vae, "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT)).eval()}


@pytest.fixture(scope="module")
def both():
    return {"d": make_parts(4), "g": make_parts(8)}


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))


def spec(model_id: str):
    published = find_spec(model_id)
    unet = {**UNET, "in_channels": published.config.unet["in_channels"]}
    return replace(published, config=replace(published.config, unet=unet, vae=VAE, text_encoder=TEXT, prompt=PROMPT))


@pytest.fixture(scope="module")
def built(both):
    """The annotator of an id, built once."""

    def build(model_id: str) -> LotusAnnotator:
        published = spec(model_id)
        parts = both["d" if published.config.unet["in_channels"] == 4 else "g"]
        return LotusAnnotator.build(published, {role: dict(part.state_dict()) for role, part in parts.items()}, torch.float32)

    return functools.cache(build)


@torch.no_grad()
def published_equations(parts, image, seed):
    """EnVision-Research/Lotus, pipeline.py, for one image whose sides are multiples of 8; the mean of the VAE's distribution."""
    unet, vae, text_encoder = parts["network"], parts["vae"], parts["text_encoder"]
    z = vae.encode(image / 0.5 - 1).latent_dist.mean * 0.18215
    text = text_encoder(torch.tensor([PROMPT])).last_hidden_state
    task = torch.tensor([[1.0, 0.0]])
    task = torch.cat([torch.sin(task), torch.cos(task)], dim=-1)
    assert task[0].tolist() == pytest.approx([sin(1), 0, cos(1), 1])
    if seed is not None:
        z = torch.cat([z, torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))], dim=1)
    x0 = unet(z, torch.tensor(999), encoder_hidden_states=text, class_labels=task).sample
    return ((vae.decode(x0 / 0.18215).sample + 1) / 2).clamp(0, 1)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", DEPTH_IDS)
def test_depth_equals_the_published_equations(both, built, images, model_id):
    kind = model_id[-1]
    found = built(model_id).estimate(images[:1], 56, options=DiffusionOptions(seed=5))
    expected = published_equations(both[kind], images[:1], 5 if kind == "g" else None).mean(1, keepdim=True)
    assert expected.std() > 0.05
    assert torch.allclose(found.depth, expected, atol=5e-5, rtol=0)  # group norms are more exact here
    assert found.quantity is (Quantity.DISPARITY if "disparity" in model_id else Quantity.RELATIVE_DEPTH)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("model_id", NORMAL_IDS)
def test_normals_equal_the_published_equations_with_x_turned_to_opengl(both, built, images, model_id):
    kind = model_id.removesuffix("-v1.0")[-1]
    found = built(model_id).estimate(images[:1], 56, options=DiffusionOptions(seed=5))
    left_up_viewer = F.normalize(published_equations(both[kind], images[:1], 5 if kind == "g" else None) * 2 - 1, dim=1)
    assert torch.allclose(found.normals[:, 0], -left_up_viewer[:, 0], atol=3e-4)
    assert torch.allclose(found.normals[:, 1:], left_up_viewer[:, 1:], atol=3e-4)
    assert found.axes is Axes.OPENGL


def test_all_eight_models_are_compared():
    assert len(IDS) == 8
    assert {model_id.removesuffix("-v1.0")[-1] for model_id in IDS} == {"d", "g"}


@pytest.mark.parametrize("model_id", IDS)
def test_the_empty_prompt_is_two_tokens_without_padding(model_id):
    config = find_spec(model_id).config
    # the authors' tokenizer call: padding="do_not_pad"
    assert config.prompt == (49406, 49407)


def test_the_padding_would_change_the_answer(both, built, images):
    published = spec("lotus-depth-d")
    padded = replace(published, config=replace(published.config, prompt=PROMPT + (0,) * 75))
    states = {role: dict(part.state_dict()) for role, part in both["d"].items()}
    found = LotusAnnotator.build(padded, states, torch.float32).estimate(images[:1], 56).depth
    assert (found - built("lotus-depth-d").estimate(images[:1], 56).depth).abs().max() > 1e-3


def test_d_needs_no_seed_and_g_obeys_it(built, images):
    one, two = DiffusionOptions(seed=1), DiffusionOptions(seed=2)
    d, g = built("lotus-depth-d"), built("lotus-depth-g")
    assert torch.equal(d.estimate(images, 48, options=one).depth, d.estimate(images, 48, options=two).depth)
    assert torch.equal(g.estimate(images, 48, options=one).depth, g.estimate(images, 48, options=one).depth)
    assert not torch.allclose(g.estimate(images, 48, options=one).depth, g.estimate(images, 48, options=two).depth, atol=1e-3)


@pytest.mark.parametrize("model_id", ["lotus-depth-d", "lotus-depth-g"])
def test_a_batch_equals_its_images(built, images, model_id):
    annotator = built(model_id)
    batch = annotator.estimate(images, 48).depth
    assert batch.shape == (2, 1, 34, 48)
    assert torch.allclose(batch, torch.cat([annotator.estimate(image[None], 48).depth for image in images]), atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_half_precision_stays_near(both, built, images, dtype, tolerance):
    exact = built("lotus-depth-g")
    states = {role: dict(part.state_dict()) for role, part in both["g"].items()}
    rounded = LotusAnnotator.build(spec("lotus-depth-g"), states, dtype)
    assert {value.dtype for value in rounded.network.parameters()} == {dtype}
    found = rounded.estimate(images, 48).depth
    assert found.dtype == torch.float32
    assert (found - exact.estimate(images, 48).depth).abs().mean() < tolerance


def test_linear_layers_multiply_as_the_processor_is_fast_at(built, images, monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "convolutions_are_faster", lambda: True)
    monkeypatch.setattr(attention, "linear", lambda *args: calls.append(args) or F.linear(*args))
    built("lotus-depth-d").estimate(images, 48)
    assert calls


def test_progress_is_one_pass(built, images):
    seen = []
    built("lotus-depth-g").estimate(images, 48, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]


@pytest.mark.parametrize("layout", ["folders", "single file"])
def test_the_layouts_that_users_have_are_found_and_load(both, built, images, tmp_path, monkeypatch, layout):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    published = spec("lotus-depth-d")
    places = {
        "folders": {file.role: f"diffusers/lotus-depth-d-v1-1/{file.filename}" for file in published.files},
        "single file": {
            "network": "diffusion_models/lotus-depth-d-v1-1.safetensors",
            "vae": "vae/vae-ft-mse-840000-ema-pruned.safetensors",
            "text_encoder": "lotus-depth-d-v1-1/text_encoder/model.safetensors",
        },
    }[layout]
    for role, place in places.items():
        (tmp_path / place).parent.mkdir(parents=True)
        save_file(dict(both["d"][role].state_dict()), tmp_path / place)
    found = {file.role: find_weights(file) for file in published.files}
    assert found == {role: tmp_path / place for role, place in places.items()}
    annotator = LotusAnnotator.build(published, {role: read_checkpoint(path) for role, path in found.items()}, torch.float32)
    assert torch.equal(annotator.estimate(images, 48).depth, built("lotus-depth-d").estimate(images, 48).depth)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (LOTUS_G.unet, "a UNet with 8 input channels, text of width 1024 (SD 2) and a task embedding"),
        ({}, "a UNet with 4 input channels, text of width 1024 (SD 2) and no task embedding"),
        (
            {"cross_attention_dim": 768, "use_linear_projection": False},
            "a UNet with 4 input channels, text of width 768 (SD 1) and no task embedding",
        ),
    ],
)
def test_another_unet_is_named(config, found):
    published = find_spec("lotus-depth-d")
    with pytest.raises(CheckpointError) as error:
        LotusAnnotator.build(published, {"network": TINY.full_size_unet(**config), "vae": {}, "text_encoder": {}}, torch.float32)
    expected = "a UNet with 4 input channels, text of width 1024 (SD 2) and a task embedding"
    assert f"not a UNet of lotus-depth-d: found {found}, expected {expected}: " in str(error.value)
