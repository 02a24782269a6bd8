"""LBM on a tiny random network against the published equations, and the check of its normals' signs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from depth_normal.annotators.diffusion import DiffusionOptions, LbmAnnotator, LbmOptions
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.diffusion import LBM, SD_VAE
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.model_loader.weights.find import find_weights
from tests import tiny_diffusion as TINY

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")

UNET = {**LBM.unet, **TINY.LBM_UNET}
VAE = {**SD_VAE, "scaling_factor": 0.13025, **TINY.VAE}
SIDE = 48


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**UNET).eval()
    vae = TINY.random_vae(VAE).eval()
    return unet, vae


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def spec(kind: str = "depth", bridge_noise: float = LBM.bridge_noise):
    published = find_spec(f"lbm-{kind}")
    return replace(published, config=replace(LBM, unet=UNET, vae=VAE, bridge_noise=bridge_noise))


def official_state(parts) -> dict[str, torch.Tensor]:
    unet, vae = parts
    state = {f"denoiser.{key}": value for key, value in unet.state_dict().items()}
    state.update({f"vae.vae_model.{key}": value for key, value in vae.state_dict().items()})
    state["num_iterations"] = torch.zeros(())
    state["lpips_loss.net.slice1.0.weight"] = torch.zeros(4)
    return state


def build(parts, **kwargs) -> LbmAnnotator:
    return LbmAnnotator.build(spec(**kwargs), {"network": official_state(parts)}, torch.float32)


@torch.no_grad()
def published_equations(parts, image, steps, bridge_noise, seed):
    """gojasper/LBM, lbm_model.py `sample`, with its scheduler; the mean of the VAE's distribution."""
    unet, vae = parts
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


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("steps", "bridge_noise"), [(1, 0.005), (4, 0.005), (4, 1.0)])
def test_depth_equals_the_published_equations(parts, images, steps, bridge_noise):
    found = build(parts, bridge_noise=bridge_noise).estimate(images[:1], SIDE, options=LbmOptions(steps=steps, seed=3))
    expected = published_equations(parts, images[:1], steps, bridge_noise, seed=3).mean(1, keepdim=True)
    assert expected.std() > 0.05
    assert torch.allclose(found.depth, expected, atol=5e-5, rtol=0)  # group norms are more exact here
    assert found.quantity is Quantity.RELATIVE_DEPTH


def test_one_step_is_the_latents_less_the_networks_answer(parts, images):
    unet, vae = parts
    with torch.no_grad():
        z = vae.encode(images[:1] * 2 - 1).latent_dist.mean * 0.13025
        decoded = vae.decode((z - unet(z, 1000, None).sample) / 0.13025).sample
    found = build(parts).estimate(images[:1], SIDE).depth
    assert torch.allclose(found, (decoded.clamp(-1, 1).mean(1, keepdim=True) + 1) / 2, atol=5e-5)


def test_normals_come_out_in_opengl_axes_by_the_one_field_of_the_entry(parts, images):
    image = published_equations(parts, images[:1], 1, 0.0, seed=0)
    raw = F.normalize(image * 2 - 1, dim=1)
    found = build(parts, kind="normals").estimate(images[:1], SIDE)
    assert found.axes is Axes.OPENGL
    assert torch.allclose(found.normals * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1), raw, atol=1e-3)
    flipped = replace(spec("normals"), axes=Axes.OPENGL)
    unflipped = LbmAnnotator.build(flipped, {"network": official_state(parts)}, torch.float32).estimate(images[:1], SIDE)
    assert torch.allclose(unflipped.normals, raw, atol=1e-3)


def test_the_seed_counts_between_steps_only_and_a_batch_equals_its_images(parts, images):
    annotator = build(parts, bridge_noise=1.0)
    for steps, same in ((1, True), (2, False)):
        one, two = (annotator.estimate(images, SIDE, options=LbmOptions(steps=steps, seed=seed)).depth for seed in (1, 2))
        assert torch.equal(one, two) is same
        assert torch.equal(one, annotator.estimate(images, SIDE, options=LbmOptions(steps=steps, seed=1)).depth)
        singles = [annotator.estimate(image[None], SIDE, options=LbmOptions(steps=steps, seed=1)).depth for image in images]
        assert torch.allclose(one, torch.cat(singles), atol=1e-5)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("height", "width", "expected"),
    # as many pixels as a square of 1024, at the image's aspect, in eighths
    [(1024, 1024, (1024, 1024)), (512, 512, (1024, 1024)), (1080, 1920, (768, 1368)), (4000, 1000, (2048, 512))],
)
def test_keeps_the_aspect_at_one_megapixel(parts, height, width, expected):
    annotator = build(parts)
    assert annotator.spec.default_size == 1024
    assert annotator.network_size(height, width, 1024) == expected


@pytest.mark.slow("takes most of a second")
def test_the_files_that_users_have_are_found_and_load(parts, images, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    expected = build(parts).estimate(images, SIDE).depth
    for place in ("diffusion_models/LBM/LBM_depth.safetensors", "LBM_depth/model.safetensors"):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        save_file(official_state(parts), path)
        (file,) = spec().files
        assert find_weights(file) == path
        annotator = LbmAnnotator.build(spec(), {"network": read_checkpoint(path)}, torch.float32)
        assert torch.equal(annotator.estimate(images, SIDE).depth, expected)
        path.unlink()


def test_a_bare_unet_takes_a_vae_beside_it(parts, images):
    unet, vae = parts
    states = {"network": dict(unet.state_dict()), "vae": dict(vae.state_dict())}
    annotator = LbmAnnotator.build(spec(), states, torch.float32)
    assert torch.equal(annotator.estimate(images, SIDE).depth, build(parts).estimate(images, SIDE).depth)
    with pytest.raises(CheckpointError, match="used without a vae, which lbm-depth needs"):
        LbmAnnotator.build(spec(), {"network": states["network"]}, torch.float32)


@pytest.mark.slow("takes most of a second")
def test_other_checkpoints_are_named(parts):
    surplus = {**official_state(parts), "discriminator.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 unexpected keys \(first: discriminator.weight\)"):
        LbmAnnotator.build(spec(), {"network": surplus}, torch.float32)
    sdxl = {**LBM.unet, "cross_attention_dim": 2048}
    published = find_spec("lbm-depth")
    with torch.device("meta"):
        state = diffusers.UNet2DConditionModel(**sdxl).state_dict()
    with pytest.raises(CheckpointError) as error:
        LbmAnnotator.build(published, {"network": state, "vae": {}}, torch.float32)
    found, expected = "text of width 2048 (SDXL)", "no text"
    message = (
        "found a UNet with 4 input channels, {} and no task embedding, expected a UNet with 4 input channels, {} and no task embedding: "
    )
    assert message.format(found, expected) in str(error.value)
    with pytest.raises(CheckpointError, match=r"stored in torch\.float8_e4m3fn"):
        small = {key: value.to(torch.float8_e4m3fn) for key, value in official_state(parts).items()}
        LbmAnnotator.build(spec(), {"network": small}, torch.float32)


def test_bad_options(parts, images):
    with pytest.raises(ValueError, match="steps is 0; accepted: 1 to 1000"):
        LbmOptions(steps=0)
    with pytest.raises(TypeError, match="lbm-depth takes LbmOptions; found DiffusionOptions"):
        build(parts).estimate(images, SIDE, options=DiffusionOptions())


def test_progress_counts_each_pass(parts, images):
    seen = []
    build(parts).estimate(images, SIDE, options=LbmOptions(steps=3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.slow("takes most of a second")
def test_the_vae_of_sdxl_never_runs_in_float16(parts, images):
    exact = build(parts).estimate(images, SIDE).depth
    for dtype, expected, tolerance in ((torch.float16, torch.float32, 0.01), (torch.bfloat16, torch.bfloat16, 0.05)):
        annotator = LbmAnnotator.build(spec(), {"network": official_state(parts)}, dtype)
        assert {value.dtype for value in annotator.network.unet.parameters()} == {dtype}
        assert {value.dtype for value in annotator.network.vae.parameters()} == {expected}
        assert (annotator.estimate(images, SIDE).depth - exact).abs().mean() < tolerance
