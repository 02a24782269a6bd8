"""The nodes of Marigold, Lotus and LBM, with tiny random networks in files of the published layouts; and Material from Photo."""

import inspect
import logging
import sys

import pytest
import torch

from depth_normal.annotators.diffusion import DiffusionOptions, LbmOptions
from depth_normal.annotators.marigold import MarigoldOptions
from depth_normal.annotators.registry import MATERIAL_MODELS, MODELS
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.textures.height import height_to_normals
from depth_normal.geometry.textures.materials import pack_orm, remove_light
from depth_normal.geometry.textures.pbr import PHOTO, PbrOptions, material_normals, pbr_maps, relief_of_photo
from depth_normal.geometry.textures.seamless import margins, wrap
from depth_normal.model_loader import load, load_model
from depth_normal.model_loader.weights import download
from depth_normal.nodes import diffusion, materials
from depth_normal.nodes.diffusion import Lbm, LbmNormals, Lotus, LotusNormals, Marigold, MarigoldNormals
from depth_normal.nodes.loading import PREVIEW_SETTING
from depth_normal.nodes.materials import MaterialFromPhoto
from tests import tiny_diffusion as TINY

DEPTH = (Marigold, Lotus, Lbm)
NORMALS = (MarigoldNormals, LotusNormals, LbmNormals)
HEIGHT, WIDTH, SIDE = 37, 52, 48
MATERIALS = "marigold-iid-appearance"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with the files of all models, tiny."""
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    folder = tmp_path_factory.mktemp("diffusion")
    for spec in (*diffusion_specs(), MATERIAL_MODELS[MATERIALS]):
        TINY.write_files(TINY.shrunk(spec), folder)
    return folder


@pytest.fixture
def tiny(weights, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(weights))
    monkeypatch.setitem(MATERIAL_MODELS, MATERIALS, TINY.shrunk(MATERIAL_MODELS[MATERIALS]))
    for spec in diffusion_specs():
        monkeypatch.setitem(MODELS, spec.id, TINY.shrunk(spec))


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2))


def diffusion_specs():
    return [spec for spec in MODELS.values() if spec.family in TINY.FAMILIES]


def planar(image):
    return image.movedim(-1, 1)


def test_each_node_lists_the_models_of_its_family_and_the_nodes_of_old_graphs_those_of_normals():
    listed = {node: node.INPUT_TYPES()["optional"]["model"][0] for node in diffusion.NODES}
    for node, models in listed.items():
        assert {MODELS[model].family for model in models} == {node.FAMILY}
        assert models[0] == inspect.signature(node.execute).parameters["model"].default
    assert [sorted(listed[node]) for node in NORMALS] == [
        sorted(model for model in listed[node] if MODELS[model].axes is not None) for node in DEPTH
    ]
    assert sorted(model for node in DEPTH for model in listed[node]) == sorted(spec.id for spec in diffusion_specs())


@pytest.mark.slow("takes most of a second")
def test_one_node_has_both_outputs_and_the_node_of_old_graphs_gives_the_same(tiny, image):
    widgets = {"model": "marigold-normals", "coding": "directx", "steps": 1, "resolution": SIDE, "precision": "float32"}
    (rendered, geometry), (old, _) = Marigold().execute(image, **widgets), MarigoldNormals().execute(image, **widgets)
    assert torch.equal(rendered, old) and geometry.normals is not None and geometry.depth is None
    assert MarigoldNormals.DEPRECATED and not hasattr(Marigold, "DEPRECATED")


def test_seeds_stay_as_they_are():
    for node in diffusion.NODES:
        assert node.INPUT_TYPES()["optional"]["seed"][1]["control_after_generate"] is False


@pytest.mark.parametrize("node", [Lbm, LbmNormals])
def test_the_licence_of_lbm_is_shown_in_the_node_and_before_the_download(node, tmp_path, monkeypatch, caplog):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    assert "CC BY-NC 4.0" in node.DESCRIPTION and "not for commercial use" in node.DESCRIPTION
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    seen = []

    def fetch(_file, _root, _meter):
        seen.extend(caplog.messages)
        raise RuntimeError("the download would begin here")

    monkeypatch.setattr(download, "_fetch", fetch)
    with caplog.at_level(logging.INFO), pytest.raises(RuntimeError, match="would begin here"):
        node().execute(torch.rand(1, 8, 8, 3))
    assert any("licence: CC-BY-NC-4.0, not for commercial use (https://github.com/gojasper/LBM" in message for message in seen), seen


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model", [spec.id for spec in diffusion_specs() if spec.quantity])
def test_depth_near_is_white_and_the_geometry_is_raw(tiny, image, model):
    node = next(node for node in DEPTH if MODELS[model].family == node.FAMILY)
    rendered, geometry = node().execute(image, model, resolution=SIDE, precision="float32")
    expected = load_model(model, "float32").estimate(planar(image), SIDE)
    assert torch.equal(geometry.depth, expected.depth)
    assert geometry.quantity is (Quantity.DISPARITY if "disparity" in model else Quantity.RELATIVE_DEPTH)
    assert rendered.shape == (2, HEIGHT, WIDTH, 3) and geometry.depth.shape == (2, 1, HEIGHT, WIDTH)
    assert geometry.depth.std() > 0.01, "a flat map would pass anything"
    sign = 1 if "disparity" in model else -1
    for grey, depth in zip(rendered, geometry.depth[:, 0], strict=True):
        assert grey.amin() == 0 and grey.amax() == 1
        assert torch.corrcoef(torch.stack([grey[..., 0].flatten(), depth.flatten()]))[0, 1] == pytest.approx(sign, abs=1e-4)


def test_a_clip_can_have_one_range(tiny, image):
    two = torch.stack([image[0], image[0] * 0.2])
    clip, geometry = Lbm().execute(two, normalisation="per_clip", resolution=SIDE, precision="float32")
    low, high = geometry.depth.amin(), geometry.depth.amax()
    assert torch.allclose(planar(clip)[:, :1], (high - geometry.depth) / (high - low), atol=1e-5)
    assert clip[0].amax() < 1 or clip[1].amax() < 1, "one range for both images"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("node", NORMALS)
def test_normals_are_opengl_and_the_image_is_coded_as_chosen(tiny, image, node):
    rendered, geometry = node().execute(image, resolution=SIDE, precision="float32")
    model = inspect.signature(node.execute).parameters["model"].default
    expected = load_model(model, "float32").estimate(planar(image), SIDE)
    assert torch.equal(geometry.normals, expected.normals) and geometry.axes is Axes.OPENGL and geometry.depth is None
    assert torch.allclose(geometry.normals.norm(dim=1), torch.ones(2, HEIGHT, WIDTH), atol=1e-4)
    assert torch.allclose(planar(rendered), geometry.normals / 2 + 0.5, atol=1e-6)
    coded, _ = node().execute(image, coding="controlnet-1.0-normal", resolution=SIDE, precision="float32")
    x, y, z = rendered.unbind(-1)
    assert torch.allclose(coded, torch.stack((z, y, 1 - x), -1), atol=1e-5)


CHOICES = [
    (Marigold, {"steps": 2, "ensemble_size": 3, "seed": 5, "tiled": True}, MarigoldOptions(5, True, 2, 3)),
    (MarigoldNormals, {"steps": 0, "seed": 2**64 - 1}, MarigoldOptions(2**64 - 1)),
    (Lotus, {"seed": 5, "tiled": True}, DiffusionOptions(5, True)),
    (LotusNormals, {"seed": 5}, DiffusionOptions(5)),
    (Lbm, {"steps": 4, "seed": 5, "tiled": True}, LbmOptions(5, True, 4)),
    (LbmNormals, {"steps": 3}, LbmOptions(0, False, 3)),
]


@pytest.mark.parametrize(("node", "widgets", "options"), CHOICES)
def test_the_widgets_reach_the_model(node, widgets, options, pretend):
    ones = torch.ones(1, 1, 8, 8)
    model = pretend(Estimate(ones, Quantity.RELATIVE_DEPTH) if node in DEPTH else Estimate(normals=ones.expand(1, 3, 8, 8) / 3**0.5))
    node().execute(torch.rand(1, 8, 8, 1))
    node().execute(torch.rand(1, 8, 8, 4), resolution=512, precision="float16", **widgets)
    assert model.sizes == [None, 512] and model.options == options
    assert [precision for _, precision in model.asked] == ["auto", "float16"]


def test_the_progress_bar_moves_with_each_step_and_stops_the_work_there(tiny, image, monkeypatch):
    shares = []
    monkeypatch.setattr(diffusion, "progress_bar", lambda _total: lambda done, total: shares.append(done / total))
    widgets = {"steps": 4, "resolution": SIDE, "precision": "float32"}
    MarigoldNormals().execute(image, **widgets)
    assert shares[:4] == [0.25, 0.5, 0.75, 1]
    shares.clear()

    def cancelled(done, total):
        shares.append(done / total)
        if len(shares) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(diffusion, "progress_bar", lambda _total: cancelled)
    with pytest.raises(KeyboardInterrupt):
        MarigoldNormals().execute(image, **widgets)
    assert shares == [0.25, 0.5]


def ball():
    """Normals, OPENGL, and depth of the front of a ball."""
    x, y = torch.meshgrid(torch.linspace(-0.7, 0.7, 32), torch.linspace(0.7, -0.7, 32), indexing="xy")
    z = (1 - x**2 - y**2).sqrt()
    return torch.stack([x, y, z])[None], Estimate((3 - z)[None, None], Quantity.METRIC_DEPTH)


def test_lbm_normals_that_a_depth_contradicts_are_warned_of(pretend, caplog):
    vectors, depth = ball()
    mirrored = vectors * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1)
    for normals, warnings in ((vectors, 0), (mirrored, 1)):
        caplog.clear()
        pretend(Estimate(normals=normals))
        _, geometry = LbmNormals().execute(torch.rand(1, 32, 32, 3), geometry=depth)
        assert torch.equal(geometry.normals, normals), "warned of, not changed"
        assert len([record for record in caplog.records if "disagree with the depth about X" in record.message]) == warnings


@pytest.mark.parametrize("node", diffusion.NODES)
def test_without_diffusers_the_error_says_what_to_install_before_anything_is_downloaded(node, image, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setattr(load, "find_weights", lambda file: pytest.fail(f"{file.name} was looked for"))
    with pytest.raises(ImportError) as error:
        node().execute(image)
    assert 'pip install "diffusers>=0.33" "scipy>=1.11" "huggingface_hub==' in str(error.value)


# --- Material from Photo ---


QUICK = {"steps": 1, "resolution": SIDE, "precision": "float32"}
OUTPUTS = MaterialFromPhoto.RETURN_NAMES


@pytest.fixture
def no_model(monkeypatch):
    """Whoever loads a model fails the test."""
    monkeypatch.setattr(materials, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))


def run(image, **widgets):
    return dict(zip(OUTPUTS, MaterialFromPhoto().execute(image, **{**QUICK, **widgets}), strict=True))


def bumps(batch=1):
    """Normals of waves across the image."""
    waves = 2 * torch.sin(torch.arange(WIDTH) / 2).expand(batch, 1, HEIGHT, WIDTH)
    return Estimate(normals=height_to_normals(waves))


@pytest.mark.slow("takes a second")
def test_a_photograph_becomes_the_maps_of_model_and_relief(tiny, image):
    found = run(image, seed=5, coding="directx")
    model = load_model(MATERIALS, "float32").estimate_materials(planar(image).contiguous(), SIDE, options=MarigoldOptions(5, steps=1))
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


@pytest.mark.slow("takes a second")
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
    model = load_model(MATERIALS, "float32").estimate_materials(wrap(planar(image), beyond), SIDE, options=MarigoldOptions(steps=1))
    assert torch.allclose(planar(found["albedo"]), model.folded(beyond).albedo, atol=1e-6)


def test_progress_moves_with_each_step(tiny, image, monkeypatch):
    seen = []
    monkeypatch.setattr(materials, "progress_bar", lambda total: lambda done, of: seen.append((done, of)))
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
