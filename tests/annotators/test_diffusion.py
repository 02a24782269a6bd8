"""The families on Stable Diffusion's networks: seeds, the equations of Lotus and LBM, memory, files and what is refused."""

import functools
import sys
from dataclasses import replace
from math import cos, sin

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from depth_normal.annotators.building import vae_to_diffusers
from depth_normal.annotators.diffusion import DiffusionOptions, LbmAnnotator, LbmOptions
from depth_normal.annotators.marigold import MarigoldOptions
from depth_normal.annotators.registry import FAMILIES, all_specs, models_of_family
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.diffusion import LBM, LOTUS_G, SD2_UNET, SD_VAE
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.model_loader.weights.find import find_weights
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")

SPECS = {spec.id: spec for spec in all_specs()}
DEPTH, NORMALS, MATERIALS = "marigold-depth", "marigold-normals", "marigold-iid-appearance"
LOTUS_D, LOTUS_G_DEPTH, LBM_DEPTH = "lotus-depth-d", "lotus-depth-g", "lbm-depth"
IMAGES, ALIGNED, SQUARE = make_images(39, 56, 2), make_images(40, 56), make_images(48, 48)
LEFT_TO_RIGHT = torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1)


def spec_of(model_id):
    return TINY.shrunk(SPECS[model_id])


@functools.cache
def states_of(model_id):
    return TINY.random_states(spec_of(model_id))


def build(model_id, **states):
    spec = spec_of(model_id)
    return FAMILIES[spec.family].build(spec, {**states_of(model_id), **states}, torch.float32)


def maps_of(annotator, images=IMAGES, **options):
    estimate = annotator.estimate_materials if annotator.spec.id == MATERIALS else annotator.estimate
    return estimate(images, 48, **options).maps


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("model_id", "options", "seed_matters"),
    [
        (DEPTH, MarigoldOptions(3, steps=2), True),
        (MATERIALS, MarigoldOptions(3, steps=2), True),
        (LOTUS_D, DiffusionOptions(3), False),
        (LOTUS_G_DEPTH, DiffusionOptions(3), True),
        (LBM_DEPTH, LbmOptions(3, steps=1), False),
        (LBM_DEPTH, LbmOptions(3, steps=2), True),
        ("marigold-depth-lcm", MarigoldOptions(3, steps=2, ensemble_size=3), True),
        (MATERIALS, MarigoldOptions(3, steps=2, ensemble_size=3), True),
    ],
)
def test_a_batch_equals_its_images_and_the_seed_decides(model_id, options, seed_matters):
    annotator = build(model_id)
    batch, again = (maps_of(annotator, options=options) for _ in range(2))
    singles = [maps_of(annotator, image[None], options=options) for image in IMAGES]
    other = maps_of(annotator, options=replace(options, seed=4))
    for name, value in batch.items():
        assert value.shape[2:] == (33, 48) or model_id == LBM_DEPTH, "39 x 48 / 56, rounded down; what it is padded by is cut off"
        assert torch.allclose(value, torch.cat([each[name] for each in singles]), atol=1e-5), name
        assert torch.equal(value, again[name]), name
        assert value.min() >= 0 and value.max() <= 1
        assert torch.equal(value, other[name]) != seed_matters, name


@pytest.mark.parametrize(("model_id", "what"), [(NORMALS, "normals"), (MATERIALS, "materials")])
def test_nan_is_an_error(model_id, what):
    vae = {key: value.clone() for key, value in states_of(model_id)["vae"].items()}
    vae["decoder.conv_out.bias"][0] = float("nan")
    with pytest.raises(ArithmeticError, match=rf"{model_id} in torch\.float32 gave {what} that is not finite"):
        maps_of(build(model_id, vae=vae), IMAGES[:1], options=MarigoldOptions(steps=1))


# The published equations of Lotus and LBM, for one image whose sides are multiples of 8; Marigold's are in test_marigold.py


@functools.cache
def parts_of(model_id):
    return TINY.random_parts(spec_of(model_id))


@torch.no_grad()
def lotus_by_its_equations(parts, image, seed):
    """EnVision-Research/Lotus, pipeline.py; the mean of the VAE's distribution."""
    unet, vae, text_encoder = parts["network"], parts["vae"], parts["text_encoder"]
    z = vae.encode(image / 0.5 - 1).latent_dist.mean * 0.18215
    text = text_encoder(torch.tensor([TINY.PROMPT])).last_hidden_state
    task = torch.tensor([[1.0, 0.0]])
    task = torch.cat([torch.sin(task), torch.cos(task)], dim=-1)
    assert task[0].tolist() == pytest.approx([sin(1), 0, cos(1), 1])
    if seed is not None:
        z = torch.cat([z, torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))], dim=1)
    x0 = unet(z, torch.tensor(999), encoder_hidden_states=text, class_labels=task).sample
    return ((vae.decode(x0 / 0.18215).sample + 1) / 2).clamp(0, 1)


def lotus(model_id, image=ALIGNED, prompt=TINY.PROMPT):
    """The model's estimate, and the image that the equations give of the same networks."""
    kind = model_id.removesuffix("-v1.0")[-1]
    parts, spec = parts_of(f"lotus-depth-{kind}"), spec_of(model_id)
    states = {role: dict(part.state_dict()) for role, part in parts.items()}
    annotator = FAMILIES["lotus"].build(replace(spec, config=replace(spec.config, prompt=prompt)), states, torch.float32)
    found = annotator.estimate(image, 56, options=DiffusionOptions(seed=5))
    return found, lotus_by_its_equations(parts, image, 5 if kind == "g" else None)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", [each for each in models_of_family("lotus") if "normals" not in each])
def test_depth_of_lotus_equals_the_published_equations(model_id):
    found, image = lotus(model_id)
    assert image.mean(1).std() > 0.05
    assert torch.allclose(found.depth, image.mean(1, keepdim=True), atol=5e-5, rtol=0)  # group norms are more exact here
    assert found.quantity is (Quantity.DISPARITY if "disparity" in model_id else Quantity.RELATIVE_DEPTH)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("model_id", [each for each in models_of_family("lotus") if "normals" in each])
def test_normals_of_lotus_equal_the_published_equations_with_x_turned_to_opengl(model_id):
    found, image = lotus(model_id)
    assert torch.allclose(found.normals, F.normalize(image * 2 - 1, dim=1) * LEFT_TO_RIGHT, atol=3e-4)
    assert found.axes is Axes.OPENGL


def test_the_empty_prompt_is_two_tokens_without_padding():
    """The authors' tokenizer call: padding="do_not_pad"; it would change the depth."""
    assert {SPECS[model_id].config.prompt for model_id in models_of_family("lotus")} == {(49406, 49407)}
    bare, padded = (lotus(LOTUS_D, prompt=prompt)[0].depth for prompt in (TINY.PROMPT, TINY.PROMPT + (0,) * 75))
    assert (padded - bare).abs().max() > 1e-3


@torch.no_grad()
def lbm_by_its_equations(parts, image, steps, bridge_noise, seed):
    """gojasper/LBM, lbm_model.py `sample`, with its scheduler; the mean of the VAE's distribution."""
    unet, vae = parts["network"], parts["vae"]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    sample = vae.encode(image * 2 - 1).latent_dist.mean * 0.13025
    noise = torch.randn((steps, *sample.shape[1:]), generator=torch.Generator().manual_seed(seed))
    for i, t in enumerate(scheduler.timesteps):
        pred = unet(sample, t.repeat(1), encoder_hidden_states=None).sample
        sample = scheduler.step(pred, t, sample, return_dict=False)[0]
        if i < steps - 1:
            sigma = scheduler.sigmas[i + 1]
            sample = sample + bridge_noise * (sigma * (1.0 - sigma)) ** 0.5 * noise[i]
    return (vae.decode(sample / 0.13025).sample.clamp(-1, 1) + 1) / 2


def lbm(spec, **options):
    return LbmAnnotator.build(spec, TINY.random_states(spec), torch.float32).estimate(SQUARE, 48, options=LbmOptions(**options))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("steps", "bridge_noise"), [(1, 0.005), (4, 0.005), (4, 1.0)])
def test_depth_of_lbm_equals_the_published_equations(steps, bridge_noise):
    spec = spec_of(LBM_DEPTH)
    found = lbm(replace(spec, config=replace(spec.config, bridge_noise=bridge_noise)), steps=steps, seed=3)
    expected = lbm_by_its_equations(parts_of(LBM_DEPTH), SQUARE, steps, bridge_noise, seed=3).mean(1, keepdim=True)
    assert expected.std() > 0.05
    assert torch.allclose(found.depth, expected, atol=5e-5, rtol=0)
    assert found.quantity is Quantity.RELATIVE_DEPTH


@pytest.mark.slow("takes a second")
def test_normals_of_lbm_come_out_in_opengl_axes_by_the_one_field_of_the_entry():
    raw = F.normalize(lbm_by_its_equations(parts_of(LBM_DEPTH), SQUARE, 1, 0.0, seed=0) * 2 - 1, dim=1)
    spec = spec_of("lbm-normals")
    for axes, signs in ((spec.axes, LEFT_TO_RIGHT), (Axes.OPENGL, 1)):
        found = lbm(replace(spec, axes=axes))
        assert found.axes is Axes.OPENGL
        assert torch.allclose(found.normals * signs, raw, atol=1e-3)


# Memory


def test_tiles_are_no_larger_than_the_vae_says():
    annotator, sizes = build(DEPTH), []
    for module in (annotator.network.vae.encoder, annotator.network.vae.decoder):
        module.register_forward_pre_hook(lambda module, inputs: sizes.append(max(inputs[0].shape[-2:])))
    found = {}
    for tiled in (False, True, False):  # the choice does not stick
        sizes.clear()
        found[tiled] = annotator.estimate(IMAGES[:1], 64, options=MarigoldOptions(steps=1, tiled=tiled))
        assert max(sizes) == 32 if tiled else sizes == [64, 8]
    assert found[True].depth.shape == found[False].depth.shape


def test_where_the_memory_ends_tiles_begin(caplog):
    annotator = build(DEPTH)
    vae, options = annotator.network.vae, MarigoldOptions(steps=1)
    expected = annotator.estimate(IMAGES[:1], 64, options=options)
    decode, attempts = vae.decode, []

    def too_large(latents, **kwargs):
        attempts.append(vae.use_tiling)
        if not vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return decode(latents, **kwargs)

    vae.decode = too_large
    found = annotator.estimate(IMAGES[:1], 64, options=options)
    assert attempts == [False, True]
    assert "not enough memory" in caplog.text and "tiles" in caplog.text
    assert found.depth.shape == expected.depth.shape
    for message in ("CUDA out of memory", "another error"):  # never enough, and what tiles do not help against
        vae.decode = lambda latents, message=message, **kwargs: (_ for _ in ()).throw(RuntimeError(message))
        with pytest.raises(RuntimeError, match=message):  # for the loader, which knows what to say
            annotator.estimate(IMAGES[:1], 64, options=options)


# Files


def as_published_by_marigold():
    """In half precision; the text encoder's names have a prefix, and a buffer is among them."""
    states = {role: {key: value.half() for key, value in state.items()} for role, state in states_of(DEPTH).items()}
    text = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in states["text_encoder"].items()}
    return {**states, "text_encoder": {**text, "text_model.embeddings.position_ids": torch.arange(77)[None]}}


def folders(model_id, folder):
    return {file.role: f"diffusers/{folder}/{file.filename}" for file in SPECS[model_id].files}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("model_id", "places"),
    [
        (DEPTH, folders(DEPTH, "marigold-depth-v1-1")),
        (LOTUS_D, folders(LOTUS_D, "lotus-depth-d-v1-1")),
        (LBM_DEPTH, {"network": "diffusion_models/LBM/LBM_depth.safetensors"}),
        (LBM_DEPTH, {"network": "LBM_depth/model.safetensors"}),
        (
            LOTUS_D,
            {
                "network": "diffusion_models/lotus-depth-d-v1-1.safetensors",
                "vae": "vae/vae-ft-mse-840000-ema-pruned.safetensors",
                "text_encoder": "lotus-depth-d-v1-1/text_encoder/model.safetensors",
            },
        ),
    ],
)
def test_the_files_that_users_have_are_found_and_load(model_id, places, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    states = as_published_by_marigold() if model_id == DEPTH else states_of(model_id)
    for role, place in places.items():
        (tmp_path / place).parent.mkdir(parents=True)
        save_file(states[role], tmp_path / place)
    paths = {file.role: find_weights(file) for file in SPECS[model_id].files}
    assert paths == {role: tmp_path / place for role, place in places.items()}
    annotator = build(model_id, **{role: read_checkpoint(path) for role, path in paths.items()})
    assert {value.dtype for value in annotator.network.parameters()} == {torch.float32}
    found, expected = (maps_of(each, IMAGES[:1])["depth"] for each in (annotator, build(model_id)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 if model_id == DEPTH else 1e-5)


LDM_NAMES = (
    ("down_blocks.", "down."),
    ("resnets.", "block."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    ("conv_shortcut", "nin_shortcut"),
    ("mid_block.block.0", "mid.block_1"),
    ("mid_block.block.1", "mid.block_2"),
    ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
    ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
    ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
    ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
    ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
    ("conv_norm_out", "norm_out"),
    *((f"up_blocks.{level}.", f"up.{3 - level}.") for level in range(4)),
)
OLD_DIFFUSERS_NAMES = (("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn."))


@pytest.mark.parametrize(("names", "prefix"), [(LDM_NAMES, ""), (LDM_NAMES, "first_stage_model."), (OLD_DIFFUSERS_NAMES, "")])
def test_a_vae_with_older_names_gets_todays(names, prefix):
    state = states_of(DEPTH)["vae"]
    older = {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}
    for key, value in state.items():
        is_matrix = names is LDM_NAMES and "attentions" in key and value.ndim == 2
        for new, old in names:
            key = key.replace(new, old)
        older[prefix + key] = value[..., None, None] if is_matrix else value
    if names is LDM_NAMES:
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        assert convert_ldm_vae_checkpoint(older, {**SD_VAE, **TINY.VAE}).keys() == state.keys(), "these are the original's names"
    found = vae_to_diffusers(older, levels=4)
    assert found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())


# What is refused


TASK = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}


def small_unet(**config):
    """The state dict of a UNet of few channels that takes what a large one takes."""
    text = config.get("cross_attention_dim", 0)
    narrow = {**TINY.UNET, "cross_attention_dim": text} if isinstance(text, int) else TINY.LBM_UNET
    with torch.device("meta"):
        return diffusers.UNet2DConditionModel(**{**config, **narrow}).state_dict()


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("model_id", "given", "found", "expected"),
    [
        (DEPTH, {"cross_attention_dim": 768}, "4 input channels, text of width 768 (SD 1) and no", "8 input channels"),
        (DEPTH, {"cross_attention_dim": 2048}, "4 input channels, text of width 2048 (SDXL) and no", "8 input channels"),
        (DEPTH, {}, "4 input channels, text of width 1024 (SD 2) and no", "8 input channels"),
        (DEPTH, {"in_channels": 8, **TASK}, "8 input channels, text of width 1024 (SD 2) and a", "8 input channels"),
        (LOTUS_D, LOTUS_G.unet, "8 input channels, text of width 1024 (SD 2) and a", "4 input channels"),
        (LOTUS_D, {}, "4 input channels, text of width 1024 (SD 2) and no", "4 input channels"),
        (LBM_DEPTH, {"cross_attention_dim": 2048}, "4 input channels, text of width 2048 (SDXL) and no", "4 input channels, no text"),
        (MATERIALS, {"in_channels": 8}, "8 input channels", "12 input channels"),
        (MATERIALS, {"in_channels": 16, "out_channels": 12}, "16 input channels", "12 input channels"),
        (LOTUS_D, LBM.unet, "4 input channels, no text and no", "4 input channels, text of width 1024 (SD 2) and a"),
    ],
)
def test_another_unet_is_named(model_id, given, found, expected):
    spec = SPECS[model_id]
    narrow = TINY.LBM_UNET if model_id == LBM_DEPTH else {**TINY.UNET, "cross_attention_dim": 1024}
    spec = replace(spec, config=replace(spec.config, unet={**spec.config.unet, **narrow}))
    with pytest.raises(CheckpointError) as refused:
        FAMILIES[spec.family].check_network(spec, small_unet(**{**SD2_UNET, **given}))
    said = str(refused.value)
    assert f"not a UNet of {model_id}: found a UNet with {found}" in said and f", expected a UNet with {expected}" in said


JUNK = {"weight": torch.zeros(1)}
LDM = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}
FLOAT8 = r"stored in torch\.float8_e4m3fn; .* takes float16, bfloat16 or float32"


def in_float8(state):
    return {key: value.to(torch.float8_e4m3fn) for key, value in state.items()}


def with_more(state):
    return {**state, "discriminator.weight": torch.zeros(1)}


def bare_unet(state):
    return {key.removeprefix("denoiser."): value for key, value in state.items() if key.startswith("denoiser.")}


@pytest.mark.parametrize(
    ("model_id", "given", "words"),
    [
        (DEPTH, {"network": LDM}, "found a UNet with the names of the original Stable Diffusion"),
        (DEPTH, {"network": JUNK}, "found no UNet of diffusers"),
        (DEPTH, {"vae": JUNK}, r"VAE that is not the one of marigold-depth: 1 unexpected keys \(first: weight\), \d+ missing"),
        (DEPTH, {"text_encoder": JUNK}, "text encoder that does not fit: not a checkpoint of the text encoder of marigold-depth: "),
        (DEPTH, {"vae": None}, "used without a vae, which marigold-depth needs"),
        (DEPTH, {"text_encoder": None}, "used without a text encoder"),
        (LBM_DEPTH, {"network": with_more}, r"1 unexpected keys \(first: disc"),
        (LBM_DEPTH, {"network": bare_unet}, "without a vae, which lbm"),
        (DEPTH, {"network": in_float8}, FLOAT8),
        (DEPTH, {"vae": in_float8}, FLOAT8),
        (LBM_DEPTH, {"network": in_float8}, FLOAT8),
    ],
)
def test_other_checkpoints_are_named(model_id, given, words):
    changed = {role: change(states_of(model_id)[role]) if callable(change) else change for role, change in given.items()}
    with pytest.raises(CheckpointError, match=words):
        build(model_id, **changed)


@pytest.mark.slow("takes a second")
def test_what_the_authors_of_lbm_leave_in_their_file_is_no_obstacle_and_a_bare_unet_takes_a_vae_beside_it():
    expected = maps_of(build(LBM_DEPTH))["depth"]
    left = {"num_iterations": torch.zeros(()), "lpips_loss.net.slice1.0.weight": torch.zeros(4)}
    bare = {role: part.state_dict() for role, part in TINY.random_parts(spec_of(LBM_DEPTH)).items()}
    published = {**states_of(LBM_DEPTH)["network"], **left}
    trained = {f"model.{key}": value for key, value in published.items()}  # a .ckpt file, see the authors' inference/utils.py
    assert LbmAnnotator.could_be(spec_of(LBM_DEPTH), trained)
    for states in ({"network": published}, {"network": trained}, bare):
        assert torch.equal(maps_of(build(LBM_DEPTH, **states))["depth"], expected)


@pytest.mark.parametrize(("model_id", "taken"), [(DEPTH, "MarigoldOptions"), (LBM_DEPTH, "LbmOptions")])
def test_options_that_all_of_them_have_are_not_enough(model_id, taken):
    with pytest.raises(TypeError, match=f"{model_id} takes {taken}; found DiffusionOptions"):
        maps_of(build(model_id), options=DiffusionOptions())


def test_an_ensemble_without_scipy_says_so_before_the_work(monkeypatch):
    model = build(DEPTH)  # before, as diffusers imports scipy
    monkeypatch.setitem(sys.modules, "scipy", None)
    seen = []
    with pytest.raises(ImportError, match=r'needs scipy .*pip install "diffusers>=0.33" "scipy>=1.11" "huggingface_hub=='):
        maps_of(model, options=MarigoldOptions(ensemble_size=3), progress=lambda *step: seen.append(step))
    assert not seen
