"""The old DSINE node: its contract, what it tells the network, its colours, and a small network from a file in the authors' layout."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import depth_normal
from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.nodes import dsine as nodes

Pretend = runpy.run_path(str(Path(__file__).with_name("pretend.py")))["Pretend"]
ROOT = Path(__file__).resolve().parents[2]
TINY = runpy.run_path(str(ROOT / "tests" / "annotators" / "test_dsine.py"))
NODE = nodes.DsineNormalMap


@pytest.fixture
def pretend(monkeypatch):
    """A plane that faces left, up and the viewer: the authors' own `d2n` gives these three numbers for one."""
    model = Pretend(Estimate(normals=torch.tensor([0.5, 0.5, 0.5**0.5]).view(1, 3, 1, 1).expand(1, 3, 64, 96), axes=Axes.SCANNET))
    monkeypatch.setattr(nodes, "load_model", model)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the old pack keeps its file, saved as the authors save it, from a network on several GPUs."""
    path = tmp_path_factory.mktemp("ckpts") / "hr16" / "Diffusion-Edge" / "dsine.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model": {f"module.{name}": value for name, value in TINY["tiny_state"]().items()}, "iter": 5}, path)
    return path.parents[2]


@pytest.fixture
def tiny(folder, monkeypatch):
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(folder))
    spec = MODELS["dsine"]
    monkeypatch.setitem(MODELS, "dsine", replace(spec, config=TINY["CONFIG"]))


def make_image(height, width, batch=1):
    return TINY["make_images"](height, width, batch).movedim(1, -1)


def test_contract():
    assert depth_normal.NODE_CLASS_MAPPINGS["DSINE-NormalMapPreprocessor"] is NODE
    assert depth_normal.NODE_DISPLAY_NAME_MAPPINGS["DSINE-NormalMapPreprocessor"] == "DSINE Normal Map"
    assert NODE.CATEGORY == "ControlNet Preprocessors/Normal and Depth Estimators"
    assert NODE.FUNCTION == "execute" and NODE.RETURN_TYPES == ("IMAGE",)
    inputs = NODE.INPUT_TYPES()
    assert list(inputs["required"]) == ["image"] and inputs["required"]["image"][0] == "IMAGE"
    optional = inputs["optional"]
    assert list(optional)[:4] == ["fov", "iterations", "resolution", "camera"], "graphs store widgets by position"
    limits = {name: (kind, *(options.get(key) for key in ("default", "min", "max", "step"))) for name, (kind, options) in optional.items()}
    assert limits["fov"] == ("FLOAT", 60.0, 0.0, 365.0, 0.01)
    assert limits["iterations"] == ("INT", 5, 1, 20, None)
    assert limits["resolution"] == ("INT", 512, 64, 16384, 64)


def test_the_licence_is_said():
    page = (ROOT / "web" / "docs" / f"{NODE.NODE_ID}.md").read_text()
    for text in (NODE.DESCRIPTION, page):
        assert "Imperial College London" in text and "not for commercial use" in text
    assert MODELS["dsine"].licence_url in page


def test_the_widgets_reach_the_model(pretend):
    image = torch.rand(1, 64, 96, 3)
    NODE().execute(image)
    assert (pretend.fov, pretend.options) == (60.0, DsineOptions())
    NODE().execute(image, 35.5, 20, 64, "as the old node", 448, "float16")
    assert pretend.asked == [("dsine", "auto"), ("dsine", "float16")]
    assert (pretend.sizes, pretend.shapes) == ([512, 448], [(1, 3, 64, 96)] * 2)
    assert (pretend.fov, pretend.options) == (35.5, DsineOptions(20, old_camera=True))


@pytest.mark.parametrize(
    ("coding", "colour"),
    [
        ("controlnet-normalbae", (0.75, 0.75, 0.8536)),
        ("opengl", (0.25, 0.75, 0.8536)),
        ("directx", (0.25, 0.25, 0.8536)),
        ("opencv", (0.25, 0.25, 0.1464)),
        ("controlnet-1.0-normal", (0.8536, 0.75, 0.75)),
    ],
)
def test_a_plane_has_the_colours_of_its_direction(pretend, coding, colour):
    """The first are the authors' own: uint8 of (normal + 1) / 2 * 255, red where it faces left."""
    (shown,) = NODE().execute(torch.rand(1, 64, 96, 3), resolution=64, coding=coding)
    torch.testing.assert_close(shown[0, 0, 0], torch.tensor(colour), rtol=0, atol=1e-4)
    assert (shown == shown[:, :1, :1]).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"fov": 180.0}, r"fov is 180.0; accepted: 0 to 175"),
        ({"fov": 365.0}, r"fov is 365.0; accepted: 0 to 175"),
        ({"fov": -1.0}, r"fov is -1.0; accepted: 0 to 175"),
        ({"fov": math.nan}, r"fov is nan; accepted: 0 to 175"),
        ({"iterations": 0}, r"iterations is 0; accepted: 1 to 20"),
        ({"iterations": 21}, r"iterations is 21; accepted: 1 to 20"),
        ({"resolution": 63}, r"resolution is 63; accepted: 64 to 16384"),
        ({"resolution": None}, r"resolution is None; accepted: whole numbers from 64 to 16384"),
        ({"network_size": 4097}, r"network_size is 4097; accepted: 0 to 4096"),
        ({"camera": "new"}, r"camera is 'new'; accepted: correct, as the old node"),
        ({"coding": "rgb"}, r"coding is 'rgb'; accepted: opengl, "),
    ],
    ids=str,
)
def test_bad_widget_values_are_named_before_anything_is_loaded(pretend, bad, message):
    with pytest.raises(ValueError, match=message):
        NODE().execute(torch.rand(1, 64, 64, 3), **bad)
    assert not pretend.asked


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 40, 56, 3), (64, 90)), ((1, 90, 40, 4), (144, 64)), ((1, 1, 1, 1), (64, 64))], ids=str
)
def test_the_old_packs_file_gives_images_of_the_size_asked_for(tiny, shape, expected):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    (shown,) = NODE().execute(image, resolution=64, iterations=2)
    assert shown.shape == (shape[0], *expected, 3) and shown.dtype == torch.float32
    assert shown.amin() >= 0 and shown.amax() <= 1
    torch.testing.assert_close((2 * shown - 1).norm(dim=-1), torch.ones(shape[0], *expected))


def test_a_field_of_view_that_is_not_known_is_60_degrees(tiny):
    image = make_image(64, 80)
    unknown, sixty, other = (NODE().execute(image, fov, 1, 64)[0] for fov in (0.0, 60.0, 100.0))
    assert torch.equal(unknown, sixty) and (unknown - other).abs().max() > 1e-3


def test_the_old_camera_differs_where_the_image_is_resized(tiny):
    image = make_image(200, 256)
    right, old = (NODE().execute(image, 60.0, 1, 64, camera)[0] for camera in nodes.CAMERAS)
    assert right.shape == old.shape and (right - old).abs().max() > 1e-2


def test_an_hdr_image_is_that_of_its_clamped_values(tiny):
    hdr = 4 * torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2)) - 1
    (shown,) = NODE().execute(hdr, resolution=64, iterations=1)
    assert torch.equal(shown, NODE().execute(hdr.clamp(0, 1), resolution=64, iterations=1)[0])


@pytest.mark.slow("takes most of a second")
def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, tiny):
    state = TINY["tiny_state"]()
    del state["gru.convq.weight"]
    torch.save({"model": state}, tmp_path / "dsine.pt")
    with pytest.raises(ValueError, match=r"missing keys \(first: gru.convq.weight\)"):
        depth_normal.load_model("dsine", weights=tmp_path / "dsine.pt")


@pytest.mark.slow("takes most of a second")
def test_the_raw_socket_gets_the_normals_and_the_camera_that_was_given(tiny):
    from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel

    (model,) = LoadDepthNormalModel().execute("dsine", "float32")
    (found,) = EstimateGeometry().execute(model, make_image(50, 70), resolution=64, fov=40.0)
    assert found.axes is Axes.SCANNET and found.normals.shape == (1, 3, 50, 70) and found.depth is None
    assert depth_normal.geometry.camera.fov_from_intrinsics(found.intrinsics, 50, 70).item() == pytest.approx(40, rel=1e-4)
