"""Lotus on tiny random networks against the published equations written out in a straight line."""

import functools
from dataclasses import replace
from math import cos, sin

import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.diffusion import DiffusionOptions, LotusAnnotator
from depth_normal.annotators.registry import find_spec, models_of_family
from depth_normal.geometry.estimate import Axes, Quantity
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")

IDS = models_of_family("lotus")
DEPTH_IDS, NORMAL_IDS = ([name for name in IDS if ("normals" in name) is normals] for normals in (False, True))
IMAGE = make_images(40, 56)


def kind_of(model_id):
    """Lotus D or G."""
    return model_id.removesuffix("-v1.0")[-1]


@functools.cache
def parts_of(kind):
    return TINY.random_parts(TINY.shrunk(find_spec(f"lotus-depth-{kind}")))


def build(model_id, prompt=TINY.PROMPT):
    spec = TINY.shrunk(find_spec(model_id))
    states = {role: dict(part.state_dict()) for role, part in parts_of(kind_of(model_id)).items()}
    return LotusAnnotator.build(replace(spec, config=replace(spec.config, prompt=prompt)), states, torch.float32)


@torch.no_grad()
def published_equations(parts, image, seed):
    """EnVision-Research/Lotus, pipeline.py, for one image whose sides are multiples of 8; the mean of the VAE's distribution."""
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


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", DEPTH_IDS)
def test_depth_equals_the_published_equations(model_id):
    kind = kind_of(model_id)
    found = build(model_id).estimate(IMAGE, 56, options=DiffusionOptions(seed=5))
    expected = published_equations(parts_of(kind), IMAGE, 5 if kind == "g" else None).mean(1, keepdim=True)
    assert expected.std() > 0.05
    assert torch.allclose(found.depth, expected, atol=5e-5, rtol=0)  # group norms are more exact here
    assert found.quantity is (Quantity.DISPARITY if "disparity" in model_id else Quantity.RELATIVE_DEPTH)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("model_id", NORMAL_IDS)
def test_normals_equal_the_published_equations_with_x_turned_to_opengl(model_id):
    kind = kind_of(model_id)
    found = build(model_id).estimate(IMAGE, 56, options=DiffusionOptions(seed=5))
    left_up_viewer = F.normalize(published_equations(parts_of(kind), IMAGE, 5 if kind == "g" else None) * 2 - 1, dim=1)
    assert torch.allclose(found.normals[:, 0], -left_up_viewer[:, 0], atol=3e-4)
    assert torch.allclose(found.normals[:, 1:], left_up_viewer[:, 1:], atol=3e-4)
    assert found.axes is Axes.OPENGL


def test_the_empty_prompt_is_two_tokens_without_padding():
    """The authors' tokenizer call: padding="do_not_pad"; it would change the depth."""
    assert {find_spec(model_id).config.prompt for model_id in IDS} == {(49406, 49407)}
    bare, padded = (build("lotus-depth-d", prompt).estimate(IMAGE, 56).depth for prompt in (TINY.PROMPT, TINY.PROMPT + (0,) * 75))
    assert (padded - bare).abs().max() > 1e-3
