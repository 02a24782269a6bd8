"""LBM on a tiny random network against the published equations, and the check of its normals' signs."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.diffusion import LbmAnnotator, LbmOptions
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.diffusion import LBM
from depth_normal.geometry.estimate import Axes, Quantity
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")

IMAGE = make_images(48, 48)


def spec(kind: str = "depth", bridge_noise: float = LBM.bridge_noise):
    published = find_spec(f"lbm-{kind}")
    return TINY.shrunk(replace(published, config=replace(published.config, bridge_noise=bridge_noise)))


@functools.cache
def parts():
    return TINY.random_parts(spec()).values()


def build(made) -> LbmAnnotator:
    return LbmAnnotator.build(made, TINY.random_states(made), torch.float32)


@torch.no_grad()
def published_equations(image, steps, bridge_noise, seed):
    """gojasper/LBM, lbm_model.py `sample`, with its scheduler; the mean of the VAE's distribution."""
    unet, vae = parts()
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
def test_depth_equals_the_published_equations(steps, bridge_noise):
    found = build(spec(bridge_noise=bridge_noise)).estimate(IMAGE, 48, options=LbmOptions(steps=steps, seed=3))
    expected = published_equations(IMAGE, steps, bridge_noise, seed=3).mean(1, keepdim=True)
    assert expected.std() > 0.05
    assert torch.allclose(found.depth, expected, atol=5e-5, rtol=0)  # group norms are more exact here
    assert found.quantity is Quantity.RELATIVE_DEPTH


def test_normals_come_out_in_opengl_axes_by_the_one_field_of_the_entry():
    raw = F.normalize(published_equations(IMAGE, 1, 0.0, seed=0) * 2 - 1, dim=1)
    for made, sign in ((spec("normals"), -1.0), (replace(spec("normals"), axes=Axes.OPENGL), 1.0)):
        found = build(made).estimate(IMAGE, 48)
        assert found.axes is Axes.OPENGL
        assert torch.allclose(found.normals * torch.tensor([sign, 1, 1]).view(1, 3, 1, 1), raw, atol=1e-3)
