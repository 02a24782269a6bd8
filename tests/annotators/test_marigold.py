"""Marigold on tiny random networks against diffusers' own pipelines; what it shares with Lotus and LBM is in test_diffusion.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.marigold import MarigoldAnnotator, MarigoldMaterialsAnnotator, MarigoldOptions
from depth_normal.annotators.networks.layers import exact_group_norms
from depth_normal.annotators.registry import find_material_spec, find_spec
from depth_normal.annotators.specs.base import ModelSpec
from depth_normal.annotators.specs.diffusion import MARIGOLD_LCM, MARIGOLD_V1_0, MARIGOLD_V1_1, MarigoldConfig
from depth_normal.geometry.textures.materials import Materials
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference.model import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
IMAGES = (make_images(39, 56, 2) * 255).round() / 255
MATERIALS = TINY.shrunk(find_material_spec("marigold-iid-appearance"))
# of the authors' config/train_marigold_iid_appearance.yaml
TARGETS = {
    "target_names": ["albedo", "material"],
    "albedo": {"prediction_space": "srgb"},
    "material": {"prediction_space": "stack", "sub_target_names": ["roughness", "metallicity", None]},
    "roughness": {"prediction_space": "linear", "up_to_scale": False},
    "metallicity": {"prediction_space": "linear", "up_to_scale": False},
}


def exact_parts(entry):
    parts = TINY.random_parts(entry)
    for role in ("network", "vae"):  # torch's lose digits, which ensembles of random networks make visible
        exact_group_norms(parts[role])
    return parts


@pytest.fixture(scope="module")
def parts():
    return exact_parts(spec())


@pytest.fixture(scope="module")
def parts_of_materials():
    return exact_parts(MATERIALS)


def spec(kind: str = "depth", like: MarigoldConfig = MARIGOLD_V1_1) -> ModelSpec:
    return TINY.shrunk(replace(find_spec(f"marigold-{kind}"), config=like))


def states(parts):
    return {role: dict(part.state_dict()) for role, part in parts.items()}


def build(parts, **kwargs) -> MarigoldAnnotator:
    return MarigoldAnnotator.build(spec(**kwargs), states(parts), torch.float32)


@pytest.fixture
def of_materials(parts_of_materials):
    return MarigoldMaterialsAnnotator.build(MATERIALS, states(parts_of_materials), torch.float32)


def pipeline(parts, kind: str, config: MarigoldConfig, **options):
    scheduler = getattr(diffusers, config.scheduler)(**config.schedule)
    pipeline_class = getattr(diffusers, f"Marigold{kind.title()}Pipeline")
    pipe = pipeline_class(parts["network"], parts["vae"], scheduler, None, None, prediction_type=kind, **options)
    with torch.no_grad():
        pipe.empty_text_embedding = parts["text_encoder"](torch.tensor([TINY.PROMPT]))[0]
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("kind", ["depth", "normals"])
@pytest.mark.parametrize(
    ("config", "steps", "ensemble"),
    [
        (MARIGOLD_V1_1, 1, 1),
        (MARIGOLD_V1_1, 4, 1),
        (MARIGOLD_V1_0, 4, 1),
        (MARIGOLD_V1_1, 2, 3),
        (MARIGOLD_LCM, 1, 1),
        (MARIGOLD_LCM, 3, 3),
    ],
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
    for config in (MARIGOLD_V1_1, MARIGOLD_V1_0, MARIGOLD_LCM):
        for steps in (1, 4):
            scheduler = getattr(diffusers, config.scheduler)(**config.schedule)
            scheduler.set_timesteps(steps)
            assert scheduler.timesteps[0] == 999
            assert len(scheduler.timesteps) == steps
    assert diffusers.DDIMScheduler(**MARIGOLD_V1_1.schedule).alphas_cumprod[-1] == 0
    assert diffusers.DDIMScheduler(**MARIGOLD_V1_0.schedule).alphas_cumprod[-1] > 0  # trained before the zero-SNR schedule


# Materials


def expected_targets(parts, image, size, **options) -> dict[str, torch.Tensor]:
    """The pipeline's maps by the names of its configuration, as it predicts them."""
    same = {"match_input_resolution": False, "generator": torch.Generator().manual_seed(7), "output_type": "pt"}
    pipe = pipeline(parts, "intrinsics", MATERIALS.config, target_properties=TARGETS)
    found = pipe(image, processing_resolution=size, **same, **options).prediction
    names = [name for name in TARGETS["material"]["sub_target_names"] if name]
    return {"albedo": found[:1], **{name: found[1:2, [index]] for index, name in enumerate(names)}}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [48, 56])
@pytest.mark.parametrize(("steps", "ensemble"), [(1, 1), (4, 1), (2, 3)])
def test_materials_equal_the_pipeline_of_diffusers(of_materials, parts_of_materials, steps, ensemble, size):
    options, passes = MarigoldOptions(7, steps=steps, ensemble_size=ensemble), []
    found = of_materials.estimate_materials(IMAGES[:1], size, options=options, progress=lambda *each: passes.append(each))
    assert passes[-1] == (steps * ensemble,) * 2
    expected = expected_targets(parts_of_materials, IMAGES[:1], size, num_inference_steps=steps, ensemble_size=ensemble)
    near = {"atol": 1e-6 if size == 56 else 3e-5, "rtol": 0}  # at 48 the rounding of a resize (1e-7) grows in the network
    assert all(value.std() > 0.1 for value in expected.values())  # flat maps would equal anything
    assert torch.allclose(found.albedo, expected["albedo"], **near)
    # the authors code what they train with by x ** (1 / 2.2), and evaluate by x ** 2.2
    assert torch.allclose(found.roughness, expected["roughness"] ** 2.2, **near)
    assert torch.allclose(found.metallic, expected["metallicity"] ** 2.2, **near)


def test_a_model_gives_maps_of_the_images_size_and_no_depth(of_materials):
    model = Model(LoadedNetwork(of_materials, torch.float32, torch.device("cpu"), Path("unet.safetensors")))
    found = model.estimate_materials(IMAGES, 48, options=MarigoldOptions(steps=1))
    assert isinstance(found, Materials)
    assert {name: tuple(value.shape) for name, value in found.maps.items()} == {
        "albedo": (2, 3, 39, 56),
        "roughness": (2, 1, 39, 56),
        "metallic": (2, 1, 39, 56),
    }
    with pytest.raises(ValueError, match="albedo, roughness, metallic, and neither depth nor normals: use the node Material from Photo"):
        model.estimate(IMAGES)
    with pytest.raises(ValueError, match="tiny gives disparity, normals, and no materials"):
        load_model("tiny", device="cpu").estimate_materials(IMAGES)


def test_the_table_of_materials_says_what_it_is():
    assert (MATERIALS.quantity, MATERIALS.axes, MATERIALS.gives) == (None, None, "albedo, roughness, metallic")
    assert all(file.sha256 and file.revision != "main" for file in MATERIALS.files)
    for name in ("tiny", "marigold-depth"):
        with pytest.raises(ValueError, match="is no model of materials; accepted: marigold-iid-appearance"):
            find_material_spec(name)
    with pytest.raises(ValueError, match=r"neither depth nor normals: .*`depth-normal texture pbr --materials marigold-iid-appearance`"):
        find_spec("marigold-iid-appearance")
