"""Marigold IID Appearance on tiny random networks against diffusers' own pipeline, and what its maps mean."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.marigold import MarigoldMaterialsAnnotator, MarigoldOptions
from depth_normal.annotators.networks.layers import exact_group_norms
from depth_normal.annotators.registry import find_material_spec, find_spec
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.diffusion import MARIGOLD_IID
from depth_normal.geometry.textures.materials import Materials
from depth_normal.model_loader.inference.model import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from tests import tiny_diffusion as TINY

diffusers = pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

# of the authors' config/train_marigold_iid_appearance.yaml
TARGETS = {
    "target_names": ["albedo", "material"],
    "albedo": {"prediction_space": "srgb"},
    "material": {"prediction_space": "stack", "sub_target_names": ["roughness", "metallicity", None]},
    "roughness": {"prediction_space": "linear", "up_to_scale": False},
    "metallicity": {"prediction_space": "linear", "up_to_scale": False},
}


@pytest.fixture(scope="module")
def spec():
    return TINY.shrunk(find_material_spec("marigold-iid-appearance"))


@pytest.fixture(scope="module")
def parts(spec):
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**spec.config.unet).eval()
    vae = TINY.random_vae(spec.config.vae).eval()
    for part in (unet, vae):  # torch's lose digits, which ensembles of random networks make visible
        exact_group_norms(part)
    return {"network": unet, "vae": vae, "text_encoder": CLIPTextModel(CLIPTextConfig(**TINY.TEXT)).eval()}


@pytest.fixture(scope="module")
def images():
    """As a file of 8 bits holds them."""
    return torch.randint(0, 256, (2, 3, 39, 56), generator=torch.Generator().manual_seed(1)) / 255


@pytest.fixture
def annotator(spec, parts):
    return MarigoldMaterialsAnnotator.build(spec, {role: dict(part.state_dict()) for role, part in parts.items()}, torch.float32)


def pipeline(parts, spec):
    scheduler = getattr(diffusers, spec.config.scheduler)(**spec.config.schedule)
    pipe = diffusers.MarigoldIntrinsicsPipeline(
        parts["network"], parts["vae"], scheduler, None, None, prediction_type="intrinsics", target_properties=TARGETS
    )
    with torch.no_grad():
        pipe.empty_text_embedding = parts["text_encoder"](torch.tensor([TINY.PROMPT]))[0]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected_targets(parts, spec, image, size, **options) -> dict[str, torch.Tensor]:
    """The pipeline's maps by the names of its configuration, as it predicts them."""
    same = {"match_input_resolution": False, "generator": torch.Generator().manual_seed(7), "output_type": "pt"}
    found = pipeline(parts, spec)(image, processing_resolution=size, **same, **options).prediction
    names = [name for name in TARGETS["material"]["sub_target_names"] if name]
    return {"albedo": found[:1], **{name: found[1:2, [index]] for index, name in enumerate(names)}}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [48, 56])
@pytest.mark.parametrize(("steps", "ensemble"), [(1, 1), (4, 1), (2, 3)])
def test_equals_the_pipeline_of_diffusers(annotator, parts, spec, images, steps, ensemble, size):
    found = annotator.estimate_materials(images[:1], size, options=MarigoldOptions(7, steps=steps, ensemble_size=ensemble))
    expected = expected_targets(parts, spec, images[:1], size, num_inference_steps=steps, ensemble_size=ensemble)
    near = {"atol": 1e-6 if size == 56 else 3e-5, "rtol": 0}  # at 48 the rounding of a resize (1e-7) grows in the network
    assert all(value.std() > 0.1 for value in expected.values())  # flat maps would equal anything
    assert torch.allclose(found.albedo, expected["albedo"], **near)
    # the authors code what they train with by x ** (1 / 2.2), and evaluate by x ** 2.2
    assert torch.allclose(found.roughness, expected["roughness"] ** 2.2, **near)
    assert torch.allclose(found.metallic, expected["metallicity"] ** 2.2, **near)


def test_the_authors_steps_are_the_default(annotator, images):
    seen = []
    default = annotator.estimate_materials(images[:1], 48, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    four = annotator.estimate_materials(images[:1], 48, options=MarigoldOptions(steps=4))
    assert torch.equal(default.albedo, four.albedo)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("ensemble", [1, 3])
def test_a_batch_equals_its_images_and_the_seed_decides(annotator, images, ensemble):
    options = MarigoldOptions(3, steps=2, ensemble_size=ensemble)
    batch = annotator.estimate_materials(images, 48, options=options)
    singles = [annotator.estimate_materials(image[None], 48, options=options) for image in images]
    other = annotator.estimate_materials(images, 48, options=replace(options, seed=4))
    for name, value in batch.maps.items():
        assert torch.allclose(value, torch.cat([each.maps[name] for each in singles]), atol=1e-5), name
        assert value.min() >= 0 and value.max() <= 1
    assert not torch.allclose(batch.albedo, other.albedo, atol=1e-2)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close(annotator, spec, parts, images, dtype):
    state = {role: dict(part.state_dict()) for role, part in parts.items()}
    half = MarigoldMaterialsAnnotator.build(spec, state, dtype).estimate_materials(images, 48, options=MarigoldOptions(3, steps=2))
    exact = annotator.estimate_materials(images, 48, options=MarigoldOptions(3, steps=2))
    for name, value in half.maps.items():
        assert value.dtype == torch.float32
        assert (value - exact.maps[name]).abs().mean() < (0.005 if dtype == torch.float16 else 0.03), name


def test_a_model_gives_maps_of_the_images_size_and_no_depth(annotator, images):
    model = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path("unet.safetensors")))
    found = model.estimate_materials(images, 48, options=MarigoldOptions(steps=1))
    assert isinstance(found, Materials)
    assert {name: tuple(value.shape) for name, value in found.maps.items()} == {
        "albedo": (2, 3, 39, 56),
        "roughness": (2, 1, 39, 56),
        "metallic": (2, 1, 39, 56),
    }
    with pytest.raises(ValueError, match="albedo, roughness, metallic, and neither depth nor normals: use the node Material from Photo"):
        model.estimate(images)
    tiny = find_spec("tiny")
    from depth_normal.model_loader import load_model

    with pytest.raises(ValueError, match=f"tiny gives {tiny.gives}, and no materials"):
        load_model("tiny", device="cpu").estimate_materials(images)


def test_progress_ends_the_work_where_it_raises(annotator, images):
    passes = []

    def interrupt(done, total):
        passes.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotator.estimate_materials(images, 48, options=MarigoldOptions(steps=2, ensemble_size=2), progress=interrupt)
    assert passes == [(1, 4)]


def test_nan_is_an_error(spec, parts, images):
    states = {role: {key: value.clone() for key, value in part.state_dict().items()} for role, part in parts.items()}
    states["vae"]["decoder.conv_out.bias"][0] = float("nan")
    broken = MarigoldMaterialsAnnotator.build(spec, states, torch.float32)
    with pytest.raises(ArithmeticError, match=r"marigold-iid-appearance in torch\.float32 gave materials that is not finite"):
        broken.estimate_materials(images, 48, options=MarigoldOptions(steps=1))


def test_the_full_size_unet_takes_three_latents_and_gives_two():
    unet = TINY.full_size_unet(**{key: value for key, value in MARIGOLD_IID.unet.items() if "channels" in key})
    assert unet["conv_in.weight"].shape == (320, 12, 3, 3)
    assert unet["conv_out.weight"].shape == (8, 320, 3, 3)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("channels", "of"), [((8, 4), "8 input channels"), ((16, 12), "16 input channels")])
def test_the_unets_of_siblings_are_named(channels, of):
    """Depth and normals: one image; IID lighting: three."""
    sibling = {"network": TINY.full_size_unet(in_channels=channels[0], out_channels=channels[1])}
    with pytest.raises(CheckpointError, match=f"found a UNet with {of}.*, expected a UNet with 12 input channels"):
        MarigoldMaterialsAnnotator.check_network(find_material_spec("marigold-iid-appearance"), sibling["network"])


def test_the_table_says_what_it_is():
    spec = find_material_spec("marigold-iid-appearance")
    assert (spec.quantity, spec.axes, spec.gives) == (None, None, "albedo, roughness, metallic")
    assert all(file.sha256 and file.revision != "main" for file in spec.files)
    for name in ("tiny", "marigold-depth"):
        with pytest.raises(ValueError, match="is no model of materials; accepted: marigold-iid-appearance"):
            find_material_spec(name)
    with pytest.raises(ValueError, match=r"neither depth nor normals: .*`depth-normal texture pbr --materials marigold-iid-appearance`"):
        find_spec("marigold-iid-appearance")
