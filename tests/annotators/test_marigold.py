"""Marigold on tiny random networks against diffusers' own pipelines, and what the three diffusion families share."""

import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators.diffusion import DiffusionOptions
from depth_normal.annotators.marigold import MarigoldAnnotator, MarigoldOptions
from depth_normal.annotators.networks.layers import exact_group_norms
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec
from depth_normal.annotators.specs.diffusion import MARIGOLD_LCM, MARIGOLD_V1_1, SD2_TEXT_ENCODER, SD_VAE, MarigoldConfig
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.model_loader.weights.find import find_weights
from tests import tiny_diffusion as TINY

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

UNET = {**TINY.UNET, "in_channels": 8, "out_channels": 4, "use_linear_projection": True}
VAE = {**SD_VAE, **TINY.VAE}
TEXT, PROMPT = TINY.TEXT, TINY.PROMPT


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**UNET).eval()
    vae = TINY.random_vae(VAE).eval()
    for part in (unet, vae):  # torch's lose digits, which ensembles of random networks make visible
        exact_group_norms(part)
    return {"network": unet, "vae": vae, "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT)).eval()}


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 39, 56, generator=torch.Generator().manual_seed(1))


def spec(kind: str = "depth", like: MarigoldConfig = MARIGOLD_V1_1) -> ModelSpec:
    published = find_spec(f"marigold-{kind}")
    return replace(published, config=replace(like, unet=UNET, vae=VAE, text_encoder=TEXT, prompt=PROMPT))


def states(parts) -> dict[str, dict[str, torch.Tensor]]:
    return {role: dict(module.state_dict()) for role, module in parts.items()}


def build(parts, **kwargs) -> MarigoldAnnotator:
    return MarigoldAnnotator.build(spec(**kwargs), states(parts), torch.float32)


@pytest.fixture(scope="module")
def marigold(parts) -> MarigoldAnnotator:
    return build(parts)


def pipeline(parts, kind: str, config: MarigoldConfig):
    pipeline_class = {"depth": diffusers.MarigoldDepthPipeline, "normals": diffusers.MarigoldNormalsPipeline}[kind]
    scheduler = getattr(diffusers, config.scheduler)(**config.schedule)
    pipe = pipeline_class(parts["network"], parts["vae"], scheduler, None, None, prediction_type=kind)
    with torch.no_grad():
        pipe.empty_text_embedding = parts["text_encoder"](torch.tensor([PROMPT]))[0]
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("kind", ["depth", "normals"])
@pytest.mark.parametrize(
    ("config", "steps", "ensemble"),
    [(MARIGOLD_V1_1, 1, 1), (MARIGOLD_V1_1, 4, 1), (MARIGOLD_V1_1, 2, 3), (MARIGOLD_LCM, 1, 1), (MARIGOLD_LCM, 3, 3)],
)
def test_equals_the_pipelines_of_diffusers(parts, images, kind, config, steps, ensemble):
    # the rounding of a resize (1e-7) grows where members are merged and where vectors of nearly no length become normals: none there
    size = 48 if kind == "depth" and ensemble == 1 else 56
    annotator = build(parts, kind=kind, like=config)
    options = MarigoldOptions(steps=steps, ensemble_size=ensemble, seed=7)
    found = annotator.estimate(images[:1], size, options=options)
    expected = pipeline(parts, kind, config)(
        images[:1],
        num_inference_steps=steps,
        ensemble_size=ensemble,
        processing_resolution=size,
        match_input_resolution=False,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
        output_uncertainty=ensemble > 1,
    )
    value = found.depth if kind == "depth" else found.normals
    assert expected.prediction.std() > 0.05  # a flat map would equal anything
    assert torch.allclose(value, expected.prediction, atol=1e-5, rtol=0)
    if ensemble == 1:
        assert found.confidence is None
    else:
        assert torch.allclose(found.confidence, 1 - expected.uncertainty, atol=1e-5, rtol=0)


def test_the_first_step_starts_from_pure_noise():
    """As v1-1 was trained: "zero-SNR and trailing timestamps" (the authors' README); LCM from the last of its 50 original steps."""
    for config in (MARIGOLD_V1_1, MARIGOLD_LCM):
        for steps in (1, 4):
            scheduler = getattr(diffusers, config.scheduler)(**config.schedule)
            scheduler.set_timesteps(steps)
            assert scheduler.timesteps[0] == 999
            assert len(scheduler.timesteps) == steps
    assert diffusers.DDIMScheduler(**MARIGOLD_V1_1.schedule).alphas_cumprod[-1] == 0


def test_keeps_the_aspect_and_says_what_it_gives(parts, marigold, images):
    depth = marigold.estimate(images, 48)
    assert (depth.height, depth.width) == (33, 48)  # 39 x 48 / 56, rounded down; the padding to 40 is cut off
    assert depth.quantity is Quantity.RELATIVE_DEPTH
    assert depth.depth.dtype == torch.float32
    normals = build(parts, kind="normals").estimate(images, 48)
    assert normals.axes is Axes.OPENGL
    assert torch.allclose(normals.normals.norm(dim=1), torch.ones(2, 33, 48), atol=1e-5)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("config", "ensemble"), [(MARIGOLD_V1_1, 1), (MARIGOLD_LCM, 3)])
def test_the_seed_decides_and_a_batch_equals_its_images(parts, images, config, ensemble):
    annotator = build(parts, like=config)
    options = MarigoldOptions(steps=2, ensemble_size=ensemble, seed=3)
    batch = annotator.estimate(images, 48, options=options).depth
    singles = [annotator.estimate(image[None], 48, options=options).depth for image in images]
    assert torch.allclose(batch, torch.cat(singles), atol=1e-5)
    assert torch.equal(batch, annotator.estimate(images, 48, options=options).depth)
    assert not torch.allclose(batch, annotator.estimate(images, 48, options=replace(options, seed=4)).depth, atol=1e-2)


def test_steps_default_to_the_authors_and_progress_counts_each_pass(parts, marigold, images):
    seen = []
    marigold.estimate(images, 48, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    seen.clear()
    build(parts, like=MARIGOLD_LCM).estimate(
        images, 48, options=MarigoldOptions(ensemble_size=3), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_what_progress_raises_ends_the_work(marigold, images):
    passes = []

    def interrupt(done, total):
        passes.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        marigold.estimate(images, 48, progress=interrupt)
    assert passes == [1]


def test_bad_options(marigold, images):
    for wrong in ({"steps": 0}, {"steps": 1001}, {"ensemble_size": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*accepted"):
            MarigoldOptions(**wrong)
    with pytest.raises(TypeError, match="marigold-depth takes MarigoldOptions; found DiffusionOptions"):
        marigold.estimate(images, 48, options=DiffusionOptions())


def test_an_ensemble_without_scipy_says_so_before_the_work(marigold, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    seen = []
    with pytest.raises(ImportError, match=r'needs scipy .*-m pip install "diffusers>=0.33" "scipy>=1.11" "huggingface_hub=='):
        marigold.estimate(images, 48, options=MarigoldOptions(ensemble_size=3), progress=lambda *step: seen.append(step))
    assert not seen


def test_only_unet_and_vae_stay(parts):
    network = build(parts).network
    kinds = {type(module).__name__ for module in network.modules()}
    assert {"UNet2DConditionModel", "AutoencoderKL"} <= kinds
    assert not any("CLIP" in kind for kind in kinds)
    expected = parts["text_encoder"](torch.tensor([PROMPT]))[0][0]
    assert torch.allclose(network.prompt, expected, atol=1e-6)
    assert network.half().prompt.dtype == torch.float16  # it moves with the rest


def test_the_published_folder_is_found_and_loads(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    published = spec()
    for file in published.files:
        path = tmp_path / "diffusers" / "marigold-depth-v1-1" / file.filename
        path.parent.mkdir(parents=True)
        prefix = "text_model." if file.role == "text_encoder" else ""  # as in the published file
        tensors = {prefix + key.removeprefix(prefix): value.half() for key, value in parts[file.role].state_dict().items()}
        save_file({**tensors, **({"text_model.embeddings.position_ids": torch.arange(77)[None]} if prefix else {})}, path)
        assert ".fp16." in file.filename
    found = {file.role: read_checkpoint(find_weights(file)) for file in published.files}
    annotator = MarigoldAnnotator.build(published, found, torch.float32)
    expected = parts["network"].state_dict()["conv_in.weight"].half().float()
    assert torch.equal(annotator.network.unet.state_dict()["conv_in.weight"], expected)
    assert annotator.network.vae.dtype == torch.float32


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


def original_vae(vae) -> dict[str, torch.Tensor]:
    """A VAE's state dict as the original Stable Diffusion names it; diffusers' own converter confirms it."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    state = {}
    for key, value in vae.state_dict().items():
        is_matrix = "attentions" in key and value.ndim == 2
        for new, old in LDM_NAMES:
            key = key.replace(new, old)
        state[key] = value[..., None, None] if is_matrix else value
    assert convert_ldm_vae_checkpoint(state, vae.config).keys() == vae.state_dict().keys()
    return state


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_vae_with_the_original_names_loads(parts, prefix):
    renamed = {prefix + key: value for key, value in original_vae(parts["vae"]).items()}
    renamed["loss.logvar"] = renamed["model_ema.decay"] = torch.zeros(())
    annotator = MarigoldAnnotator.build(spec(), {**states(parts), "vae": renamed}, torch.float32)
    expected = parts["vae"].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in annotator.network.vae.state_dict().items())


SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
WRONG_UNETS = {
    "a UNet with 4 input channels, text of width 768 (SD 1) and no task embedding": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "a UNet with 4 input channels, text of width 2048 (SDXL) and no task embedding": SDXL,
    "a UNet with 4 input channels, text of width 1024 (SD 2) and no task embedding": {},
    "a UNet with 8 input channels, text of width 1024 (SD 2) and a task embedding": {
        "in_channels": 8,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 4,
    },
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("found", WRONG_UNETS)
def test_another_unet_is_named(found):
    wrong = {"network": TINY.full_size_unet(**WRONG_UNETS[found]), "vae": {}, "text_encoder": {}}
    published = find_spec("marigold-depth")
    with pytest.raises(CheckpointError) as error:
        MarigoldAnnotator.build(published, wrong, torch.float32)
    assert f"found {found}, expected a UNet with 8 input channels, text of width 1024 (SD 2) and no task embedding: " in str(error.value)


def test_other_checkpoints_are_named(parts):
    good = states(parts)
    ldm = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}
    junk = {"weight": torch.zeros(1)}
    cases = {
        r"found a UNet with the names of the original Stable Diffusion": {**good, "network": ldm},
        r"found no UNet of diffusers": {**good, "network": junk},
        r"given a VAE that is not the one of marigold-depth: 1 unexpected keys \(first: weight\), \d+ missing": {**good, "vae": junk},
        r"given a text encoder that does not fit: not a checkpoint of the text encoder of marigold-depth: ": {**good, "text_encoder": junk},
        r"used without a vae": {role: state for role, state in good.items() if role != "vae"},
        r"used without a text encoder": {role: state for role, state in good.items() if role != "text_encoder"},
    }
    for message, given in cases.items():
        with pytest.raises(CheckpointError, match=message):
            MarigoldAnnotator.build(spec(), given, torch.float32)


@pytest.mark.parametrize("role", ["network", "vae"])
def test_float8_files_are_refused(parts, role):
    good = states(parts)
    good[role] = {key: value.to(torch.float8_e4m3fn) for key, value in good[role].items()}
    with pytest.raises(CheckpointError, match=r"stored in torch\.float8_e4m3fn; marigold-depth takes float16, bfloat16 or float32"):
        MarigoldAnnotator.build(spec(), good, torch.float32)


def test_full_size_parts_have_the_published_numbers():
    with torch.device("meta"):
        vae = diffusers.AutoencoderKL(**SD_VAE)
        text = CLIPTextModel(CLIPTextConfig(**SD2_TEXT_ENCODER))
    assert sum(value.numel() for value in vae.parameters()) == 83_653_863
    assert round(4 * sum(value.numel() for value in text.parameters()) / 1e9, 2) == 1.36


def test_tiles_are_no_larger_than_the_vae_says(parts, images):
    annotator = build(parts)
    sizes = []
    for module in (annotator.network.vae.encoder, annotator.network.vae.decoder):
        module.register_forward_pre_hook(lambda module, inputs: sizes.append(max(inputs[0].shape[-2:])))
    whole = annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1))
    assert sizes == [64, 8]
    sizes.clear()
    tiled = annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1, tiled=True))
    assert max(sizes) == 32
    assert (tiled.height, tiled.width) == (whole.height, whole.width)
    sizes.clear()
    annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1))
    assert sizes == [64, 8]  # the choice does not stick


def test_where_the_memory_ends_tiles_begin(parts, images, caplog):
    annotator = build(parts)
    vae = annotator.network.vae
    expected = annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1))
    decode, attempts = vae.decode, []

    def too_large(latents, **kwargs):
        attempts.append(vae.use_tiling)
        if not vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return decode(latents, **kwargs)

    vae.decode = too_large
    found = annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1))
    assert attempts == [False, True]
    assert "not enough memory" in caplog.text
    assert "tiles" in caplog.text
    assert found.depth.shape == expected.depth.shape
    for message in ("CUDA out of memory", "another error"):  # never enough, and what tiles do not help against
        vae.decode = lambda latents, message=message, **kwargs: (_ for _ in ()).throw(RuntimeError(message))
        with pytest.raises(RuntimeError, match=message):  # for the loader, which knows what to say
            annotator.estimate(images[:1], 64, options=MarigoldOptions(steps=1))


def test_nan_is_an_error(parts, images):
    annotator = build(deepcopy(parts), kind="normals")  # the annotator's weights are those it was built from
    with torch.no_grad():
        annotator.network.vae.decoder.conv_out.bias[0] = float("nan")
    with pytest.raises(ArithmeticError, match=r"marigold-normals in torch\.float32 gave normals that is not finite"):
        annotator.estimate(images[:1], 48)
