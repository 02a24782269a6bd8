"""Marigold IID Appearance on tiny random networks against diffusers' own pipeline, and what its maps mean."""

from pathlib import Path

import pytest
import torch

from depth_normal.annotators.marigold import MarigoldMaterialsAnnotator, MarigoldOptions
from depth_normal.annotators.networks.layers import exact_group_norms
from depth_normal.annotators.registry import find_material_spec, find_spec
from depth_normal.geometry.textures.materials import Materials
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference.model import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from tests import tiny_diffusion as TINY
from tests.random_weights import make_images

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")

# of the authors' config/train_marigold_iid_appearance.yaml
TARGETS = {
    "target_names": ["albedo", "material"],
    "albedo": {"prediction_space": "srgb"},
    "material": {"prediction_space": "stack", "sub_target_names": ["roughness", "metallicity", None]},
    "roughness": {"prediction_space": "linear", "up_to_scale": False},
    "metallicity": {"prediction_space": "linear", "up_to_scale": False},
}


SPEC = TINY.shrunk(find_material_spec("marigold-iid-appearance"))
IMAGES = (make_images(39, 56, 2) * 255).round() / 255


@pytest.fixture(scope="module")
def parts():
    parts = TINY.random_parts(SPEC)
    for role in ("network", "vae"):  # torch's lose digits, which ensembles of random networks make visible
        exact_group_norms(parts[role])
    return parts


@pytest.fixture
def annotator(parts):
    return MarigoldMaterialsAnnotator.build(SPEC, {role: dict(part.state_dict()) for role, part in parts.items()}, torch.float32)


def pipeline(parts):
    scheduler = getattr(diffusers, SPEC.config.scheduler)(**SPEC.config.schedule)
    pipe = diffusers.MarigoldIntrinsicsPipeline(
        parts["network"], parts["vae"], scheduler, None, None, prediction_type="intrinsics", target_properties=TARGETS
    )
    with torch.no_grad():
        pipe.empty_text_embedding = parts["text_encoder"](torch.tensor([TINY.PROMPT]))[0]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected_targets(parts, image, size, **options) -> dict[str, torch.Tensor]:
    """The pipeline's maps by the names of its configuration, as it predicts them."""
    same = {"match_input_resolution": False, "generator": torch.Generator().manual_seed(7), "output_type": "pt"}
    found = pipeline(parts)(image, processing_resolution=size, **same, **options).prediction
    names = [name for name in TARGETS["material"]["sub_target_names"] if name]
    return {"albedo": found[:1], **{name: found[1:2, [index]] for index, name in enumerate(names)}}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [48, 56])
@pytest.mark.parametrize(("steps", "ensemble"), [(1, 1), (4, 1), (2, 3)])
def test_equals_the_pipeline_of_diffusers(annotator, parts, steps, ensemble, size):
    found = annotator.estimate_materials(IMAGES[:1], size, options=MarigoldOptions(7, steps=steps, ensemble_size=ensemble))
    expected = expected_targets(parts, IMAGES[:1], size, num_inference_steps=steps, ensemble_size=ensemble)
    near = {"atol": 1e-6 if size == 56 else 3e-5, "rtol": 0}  # at 48 the rounding of a resize (1e-7) grows in the network
    assert all(value.std() > 0.1 for value in expected.values())  # flat maps would equal anything
    assert torch.allclose(found.albedo, expected["albedo"], **near)
    # the authors code what they train with by x ** (1 / 2.2), and evaluate by x ** 2.2
    assert torch.allclose(found.roughness, expected["roughness"] ** 2.2, **near)
    assert torch.allclose(found.metallic, expected["metallicity"] ** 2.2, **near)


def test_a_model_gives_maps_of_the_images_size_and_no_depth(annotator):
    model = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path("unet.safetensors")))
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


def test_the_table_says_what_it_is():
    assert (SPEC.quantity, SPEC.axes, SPEC.gives) == (None, None, "albedo, roughness, metallic")
    assert all(file.sha256 and file.revision != "main" for file in SPEC.files)
    for name in ("tiny", "marigold-depth"):
        with pytest.raises(ValueError, match="is no model of materials; accepted: marigold-iid-appearance"):
            find_material_spec(name)
    with pytest.raises(ValueError, match=r"neither depth nor normals: .*`depth-normal texture pbr --materials marigold-iid-appearance`"):
        find_spec("marigold-iid-appearance")
