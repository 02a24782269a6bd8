"""Marigold on tiny random networks against diffusers' own pipelines; what it shares with Lotus and LBM is in test_diffusion.py."""

from dataclasses import replace

import pytest
import torch

from depth_normal.annotators.marigold import MarigoldAnnotator, MarigoldOptions
from depth_normal.annotators.networks.layers import exact_group_norms
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import ModelSpec
from depth_normal.annotators.specs.diffusion import MARIGOLD_LCM, MARIGOLD_V1_1, MarigoldConfig
from depth_normal.geometry.estimate import Axes, Quantity
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
IMAGES = make_images(39, 56, 2)


@pytest.fixture(scope="module")
def parts():
    parts = TINY.random_parts(spec())
    for role in ("network", "vae"):  # torch's lose digits, which ensembles of random networks make visible
        exact_group_norms(parts[role])
    return parts


def spec(kind: str = "depth", like: MarigoldConfig = MARIGOLD_V1_1) -> ModelSpec:
    return TINY.shrunk(replace(find_spec(f"marigold-{kind}"), config=like))


def build(parts, **kwargs) -> MarigoldAnnotator:
    return MarigoldAnnotator.build(spec(**kwargs), {role: dict(part.state_dict()) for role, part in parts.items()}, torch.float32)


def pipeline(parts, kind: str, config: MarigoldConfig):
    pipeline_class = {"depth": diffusers.MarigoldDepthPipeline, "normals": diffusers.MarigoldNormalsPipeline}[kind]
    scheduler = getattr(diffusers, config.scheduler)(**config.schedule)
    pipe = pipeline_class(parts["network"], parts["vae"], scheduler, None, None, prediction_type=kind)
    with torch.no_grad():
        pipe.empty_text_embedding = parts["text_encoder"](torch.tensor([TINY.PROMPT]))[0]
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("kind", ["depth", "normals"])
@pytest.mark.parametrize(
    ("config", "steps", "ensemble"),
    [(MARIGOLD_V1_1, 1, 1), (MARIGOLD_V1_1, 4, 1), (MARIGOLD_V1_1, 2, 3), (MARIGOLD_LCM, 1, 1), (MARIGOLD_LCM, 3, 3)],
)
def test_equals_the_pipelines_of_diffusers(parts, kind, config, steps, ensemble):
    # the rounding of a resize (1e-7) grows where members are merged and where vectors of nearly no length become normals: none there
    size = 48 if kind == "depth" and ensemble == 1 else 56
    annotator = build(parts, kind=kind, like=config)
    options = MarigoldOptions(steps=steps, ensemble_size=ensemble, seed=7)
    found = annotator.estimate(IMAGES[:1], size, options=options)
    expected = pipeline(parts, kind, config)(
        IMAGES[:1],
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


def test_depth_or_normals(parts):
    depth, normals = (build(parts, kind=kind).estimate(IMAGES, 48) for kind in ("depth", "normals"))
    assert depth.quantity is Quantity.RELATIVE_DEPTH and depth.depth.dtype == torch.float32
    assert normals.axes is Axes.OPENGL
    assert torch.allclose(normals.normals.norm(dim=1), torch.ones(2, 33, 48), atol=1e-5)
