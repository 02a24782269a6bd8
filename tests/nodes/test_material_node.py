"""Material from Photo (Marigold), with a tiny random network in files of the published layout."""

import pytest
import torch

from depth_normal.annotators.marigold import MarigoldOptions
from depth_normal.annotators.registry import MATERIAL_MODELS
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.textures.height import height_to_normals
from depth_normal.geometry.textures.materials import pack_orm
from depth_normal.geometry.textures.pbr import PHOTO, PbrOptions, material_normals, pbr_maps, relief_of_photo
from depth_normal.geometry.textures.seamless import margins, wrap
from depth_normal.geometry.textures.simple_materials import remove_light
from depth_normal.model_loader import load_model
from depth_normal.model_loader.weights import download
from depth_normal.nodes import material_from_photo
from depth_normal.nodes.loading import PREVIEW_SETTING
from depth_normal.nodes.material_from_photo import MaterialFromPhoto
from tests import tiny_diffusion as TINY

MODEL = "marigold-iid-appearance"
HEIGHT, WIDTH, SIDE = 37, 52, 48
QUICK = {"steps": 1, "resolution": SIDE, "precision": "float32"}
NAMES = MaterialFromPhoto.RETURN_NAMES


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    folder = tmp_path_factory.mktemp("materials")
    TINY.write_files(TINY.shrunk(MATERIAL_MODELS[MODEL]), folder)
    return folder


@pytest.fixture
def tiny(weights, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(weights))
    monkeypatch.setitem(MATERIAL_MODELS, MODEL, TINY.shrunk(MATERIAL_MODELS[MODEL]))


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def no_model(monkeypatch):
    """Whoever loads a model fails the test."""
    monkeypatch.setattr(material_from_photo, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))


def planar(image):
    return image.movedim(-1, 1).contiguous()


def run(image, **widgets):
    return dict(zip(NAMES, MaterialFromPhoto().execute(image, **{**QUICK, **widgets}), strict=True))


def bumps(batch=1):
    """Normals of waves across the image."""
    waves = 2 * torch.sin(torch.arange(WIDTH) / 2).expand(batch, 1, HEIGHT, WIDTH)
    return Estimate(normals=height_to_normals(waves))


def test_a_photograph_becomes_the_maps_of_model_and_relief(tiny, image):
    found = run(image, seed=5, coding="directx")
    model = load_model(MODEL, "float32").estimate_materials(planar(image), SIDE, options=MarigoldOptions(5, steps=1))
    for name in ("albedo", "roughness", "metallic"):
        expected = model.maps[name].expand(-1, 3, -1, -1)
        assert found[name].shape == (2, HEIGHT, WIDTH, 3) and expected.std() > 0.02
        assert torch.allclose(planar(found[name]), expected, atol=1e-6), name
    options = PbrOptions(source=PHOTO)
    relief = [pbr_maps(material_normals(None, relief_of_photo(each, options), options), options) for each in planar(image).split(1)]
    normals = torch.cat([each.normals for each in relief]) * torch.tensor([0.5, -0.5, 0.5])[:, None, None] + 0.5
    assert torch.allclose(planar(found["normal_map"]), normals, atol=1e-5)
    occlusion = torch.cat([each.occlusion for each in relief])
    assert torch.allclose(planar(found["occlusion"])[:, :1], occlusion, atol=1e-6)
    assert torch.allclose(planar(found["orm"]), pack_orm(occlusion, model.roughness, model.metallic), atol=1e-6)
    # one range for both: heights of each are what they are alone
    span = found["height_range"]
    assert span >= max(each.height_range for each in relief) > 0
    assert (found["height"].min(), found["height"].max()) == (0, 1)
    for height, each in zip(planar(found["height"])[:, :1].split(1), relief, strict=True):
        alone = each.height * each.height_range
        assert torch.allclose(height * span - (height * span).mean(), alone - alone.mean(), atol=1e-4)


def test_simple_loads_no_model(no_model, image):
    found = run(image, model="simple", geometry=bumps(), roughness=0.35)
    options = PbrOptions()
    relief = [pbr_maps(material_normals(bumps(), relief_of_photo(each, options), options), options) for each in planar(image).split(1)]
    albedo = [remove_light(photo, each.normals, each.occlusion) for photo, each in zip(planar(image).split(1), relief, strict=True)]
    assert torch.allclose(planar(found["albedo"]), torch.cat(albedo), atol=1e-5)
    assert bool((found["roughness"] == torch.tensor(0.35)).all()) and not found["metallic"].any()
    assert torch.equal(found["orm"][..., 0], found["occlusion"][..., 0]) and bool((found["orm"][..., 1] == torch.tensor(0.35)).all())


def test_geometry_adds_its_relief_at_the_photographs_size(tiny, image):
    known = bumps()
    found = run(image[:1], geometry=known, relief=0.0)
    larger = run(image[:1], geometry=known.resized(2 * HEIGHT, 2 * WIDTH), relief=0.0)
    flat = run(image[:1], relief=0.0)
    assert flat["normal_map"].std((0, 1, 2)).max() < 1e-3 < 0.02 < found["normal_map"][..., 0].std()
    assert larger["normal_map"].shape == found["normal_map"].shape
    assert torch.allclose(larger["normal_map"], found["normal_map"], atol=0.05)
    assert torch.equal(found["albedo"], flat["albedo"])
    twice = run(image, geometry=known)
    assert torch.equal(twice["normal_map"], run(image, geometry=bumps(2))["normal_map"])


def test_a_photograph_that_tiles_gives_maps_that_tile(tiny):
    tile = torch.rand(1, 6, 8, 3, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(planar(tile), scale_factor=8, mode="nearest").movedim(1, -1)
    found = run(image, borders="seamless")
    beyond = margins(48, 64, 0.25)
    model = load_model(MODEL, "float32").estimate_materials(wrap(planar(image), beyond), SIDE, options=MarigoldOptions(steps=1))
    assert torch.allclose(planar(found["albedo"]), model.folded(beyond).albedo, atol=1e-6)


def test_progress_moves_with_each_step(tiny, image, monkeypatch):
    seen = []
    monkeypatch.setattr(material_from_photo, "progress_bar", lambda total: lambda done, of: seen.append((done, of)))
    run(image[:1], steps=2, ensemble_size=2)
    assert seen[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.slow("it tries to download")
@pytest.mark.parametrize("preview", ["0", "1"])
def test_without_weights_the_error_says_what_works(tmp_path, image, monkeypatch, preview):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    monkeypatch.setenv(PREVIEW_SETTING, preview)  # the bundled model gives no materials
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(download.DownloadError, match=r"^Choose the model simple, .* makes everything equally rough\. "):
        run(image)


@pytest.mark.parametrize(
    ("widgets", "message"),
    [
        ({"geometry": 3}, "geometry"),
        ({"geometry": bumps(3)}, "geometry holds 3 images, image 2"),
        ({"geometry": bumps().resized(WIDTH, HEIGHT)}, "the geometry"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(no_model, image, widgets, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(image, **widgets)
