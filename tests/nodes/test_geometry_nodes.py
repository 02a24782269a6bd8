"""Numbers between the nodes: estimates of models, depth images, normals of planes whose tilt is known, refined depth."""

import math
import re
import runpy
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.registry import MODELS, models_of_scenes
from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.normals import dmap2norm, midas_normals
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.weights.integrity import bundled_path
from depth_normal.nodes import geometry
from depth_normal.nodes.geometry import DepthImageToGeometry, EstimateGeometry, LoadDepthNormalModel, NormalsFromDepth, RefineGeometry
from depth_normal.options.render import METHODS, MIDAS
from tests.pretend import SameOfEach

HEIGHT, WIDTH = 48, 64
HELP = Path(__file__).resolve().parents[2] / "web" / "docs"


def plane(normal, fov=60.0, distance=3.0):
    """Depth of a plane with this OPENGL normal, through the point (0, 0, -distance), and the camera."""
    intrinsics = intrinsics_from_fov(fov, HEIGHT, WIDTH)
    direction = torch.tensor(normal) * torch.tensor([1.0, -1.0, -1.0])
    direction = (direction / direction.norm()).view(1, 3, 1, 1)
    depth = distance * direction[:, 2:] / (pixel_rays(intrinsics, HEIGHT, WIDTH) * direction).sum(1, keepdim=True)
    return depth, intrinsics


def degrees(normals, expected):
    expected = torch.nn.functional.normalize(torch.tensor(expected), dim=0).view(1, 3, 1, 1)
    return torch.rad2deg(torch.linalg.vector_norm(torch.linalg.cross(normals, expected.expand_as(normals), dim=1), dim=1).asin()).max()


def test_the_model_node_lists_the_table_and_loads(midas_small):
    names, options = LoadDepthNormalModel.INPUT_TYPES()["optional"]["model"]
    assert sorted(names) == sorted([*MODELS, "(from file)"]) and options["default"] in options["tooltip"]
    (model,) = LoadDepthNormalModel().execute("midas-v2.1-small", weights=str(midas_small))
    (estimate,) = EstimateGeometry().execute(model, torch.rand(2, 40, 56, 3), resolution=64)
    assert estimate.depth.shape == (2, 1, 40, 56) and estimate.quantity is Quantity.DISPARITY
    assert estimate.normals.shape == (2, 3, 40, 56) and estimate.axes is Axes.OPENGL
    assert estimate.depth.dtype == torch.float32 and estimate.depth.amax() > 1, "raw numbers, not an image"


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    """The pack's own weights under another name in one of ComfyUI's model folders."""
    folders = SimpleNamespace(models_dir=str(tmp_path), get_folder_paths=lambda name: {}[name])
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    path = tmp_path / "geometry_estimation" / "Mine" / "Own.safetensors"
    path.parent.mkdir(parents=True)
    shutil.copy(bundled_path(MODELS["tiny"].file), path)
    return path


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", ["Own.safetensors", "mine/own.safetensors", " mine/Own.safetensors ", "whole", '"whole"'])
def test_a_file_in_a_model_folder_says_itself_which_model_it_is(own_file, name):
    (model,) = LoadDepthNormalModel().execute("(from file)", "float32", name.replace("whole", str(own_file)))
    assert model.spec.id == "tiny" and model.weights_path == own_file


def test_a_file_stands_in_for_the_published_one(own_file):
    (model,) = LoadDepthNormalModel().execute("tiny", weights="own.safetensors")
    assert model.spec.id == "tiny" and model.weights_path == own_file
    (published,) = LoadDepthNormalModel().execute("tiny")
    assert published.weights_path == bundled_path(MODELS["tiny"].file)


def test_another_runtime_is_another_model_and_the_first_comes_back(monkeypatch):
    from depth_normal.model_loader.runtimes import choose

    class Running:
        def __init__(self, words, graph):
            self.words, self.module = words, graph.module

        def __call__(self, *given):
            return self.module(*given)

    def with_runtime(annotator, runtime, *_):
        return annotator if runtime == "torch" else annotator.with_engine(Running(runtime, annotator.graph()))

    monkeypatch.setattr("depth_normal.model_loader.load.with_runtime", with_runtime)
    monkeypatch.setattr(choose, "_missing", lambda _runtime: None)
    node = LoadDepthNormalModel()
    models = {runtime: node.execute("tiny", "float32", runtime=runtime)[0] for runtime in ("torch", "onnx")}
    assert {runtime: model.runtime for runtime, model in models.items()} == dict(zip(models, models, strict=True))
    assert node.execute("tiny", "float32")[0] is models["torch"]


def test_a_server_takes_what_is_measured_while_it_runs(monkeypatch, tmp_path):
    """ComfyUI keeps what a node gave as long as `IS_CHANGED` says the same."""
    from depth_normal.model_loader.runtimes import measured

    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    device = torch.device("cpu")
    monkeypatch.setattr("depth_normal.model_loader.comfy.devices.default_device", lambda: device)
    ask = partial(LoadDepthNormalModel.IS_CHANGED, "tiny", "auto", "")
    before = {runtime: ask(runtime) for runtime in ("torch", "auto", "fast")}
    assert len(set(before.values())) == 1
    kept = measured.Measurement("onnx", "float32", 1.4, 0.02, 0.01, 1.0, 0.0)
    measured.keep(MODELS["tiny"], None, device, [kept])
    assert ask("torch") == before["torch"] and ask("auto") == ask("fast") == before["torch"] + ", for onnx float32"
    measured.keep(MODELS["tiny"], None, device, [])
    assert {runtime: ask(runtime) for runtime in before} == before


def test_a_file_that_is_not_named_or_not_there_is_told(own_file):
    with pytest.raises(ValueError, match="the widget weights is empty"):
        LoadDepthNormalModel().execute("(from file)")
    for name in ("other.pth", "~no one/other.pth"):
        with pytest.raises(FileNotFoundError, match=rf"no weights file is called '{name}' .*geometry_estimation.* give its whole path"):
            LoadDepthNormalModel().execute("(from file)", weights=name)


def test_estimate_joins_parts_at_the_images_size():
    depth, intrinsics = plane([0.0, 0.0, 1.0])
    model = SameOfEach(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics)
    (estimate,) = EstimateGeometry().execute(model, torch.rand(3, 2 * HEIGHT, 2 * WIDTH, 4))
    assert estimate.depth.shape == (3, 1, 2 * HEIGHT, 2 * WIDTH) and set(model.sizes) == {model.spec.default_size}
    assert torch.allclose(estimate.depth, torch.tensor(3.0)), "metres stay metres"
    assert estimate.intrinsics[0, 0, 0] == pytest.approx(2 * float(intrinsics[0, 0, 0]))
    assert degrees(estimate.normals, [0.0, 0.0, 1.0]) < 0.1
    (bare,) = EstimateGeometry().execute(model, torch.rand(1, HEIGHT, WIDTH, 3), normals="model only", resolution=300)
    assert bare.normals is None and model.sizes[-1] == 300


def test_a_known_field_of_view_is_the_camera():
    """The plane is tilted for a camera of 60 degrees; Depth Anything 3 assumed 90, and takes it to be tan(45) / tan(30) nearer."""
    normal = [0.5, 0.2, 0.8]
    depth, intrinsics = plane(normal)
    image = torch.rand(1, HEIGHT, WIDTH, 3)
    (of_zoe,) = EstimateGeometry().execute(SameOfEach(depth, Quantity.METRIC_DEPTH), image, fov=60.0)
    assert torch.equal(of_zoe.depth, depth) and torch.allclose(of_zoe.intrinsics, intrinsics)
    assert degrees(of_zoe.normals, normal) < 0.1
    camera = intrinsics_from_fov(90, HEIGHT, WIDTH)
    nearer = SameOfEach(depth / 3**0.5, Quantity.METRIC_DEPTH, "depth-anything-3-metric-large", intrinsics=camera)
    (of_da3,) = EstimateGeometry().execute(nearer, image, fov=60.0)
    assert torch.allclose(of_da3.depth, depth, rtol=1e-5) and torch.allclose(of_da3.intrinsics, intrinsics)
    assert degrees(of_da3.normals, normal) < 0.1
    (missing_libraries,) = EstimateGeometry().execute(nearer, image)
    assert torch.equal(missing_libraries.depth, nearer.depth) and degrees(missing_libraries.normals, normal) > 3


def scene_model():
    model = SameOfEach(1 + torch.rand(2, 1, HEIGHT, WIDTH), Quantity.METRIC_DEPTH, "depth-anything-3-small")
    poses = torch.eye(3, 4).repeat(2, 1, 1)
    model.estimate_scene = lambda images, size, progress, *, fov, derive: derive(
        Estimate(model.depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(fov or 50, HEIGHT, WIDTH, batch=2), extrinsics=poses)
    )
    return model


def test_a_batch_can_be_views_of_one_scene():
    model, image = scene_model(), torch.rand(2, HEIGHT, WIDTH, 3)
    (estimate,) = EstimateGeometry().execute(model, image, views="one_scene")
    assert estimate.extrinsics.shape == (2, 3, 4) and estimate.normals is not None, "its depth has a zero"
    with pytest.raises(ValueError, match="film is on and views is one_scene"):
        EstimateGeometry().execute(model, image, film=True, views="one_scene")


def test_the_widget_for_views_names_the_models_that_can():
    _, settings = EstimateGeometry.INPUT_TYPES()["optional"]["views"]
    for words in (settings["tooltip"], (HELP / f"{EstimateGeometry.NODE_ID}.md").read_text().replace("`", "")):
        named = re.search(r"Only (depth-anything-3)(-small), (-base) and (-large) can do that", words)
        assert named and [named[1] + size for size in named.groups()[1:]] == models_of_scenes()


@pytest.fixture
def third(monkeypatch):
    """A MoGe-3 of few channels."""
    tiny = runpy.run_path(str(Path(__file__).resolve().parents[1] / "annotators" / "test_moge_3.py"))
    annotator = tiny["built"]()
    monkeypatch.setattr(geometry, "REFINED", (annotator.spec,))
    return Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path()))


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("more", [{}, {"film": True}])
def test_refine_steps_are_moge_3s(third, more):
    image = torch.rand(1, 30, 40, 3)

    def depth(model, **widgets):
        return EstimateGeometry().execute(model, image, **more, **widgets)[0].depth

    assert torch.equal(depth(third), depth(third, refine_steps=3)) and not torch.equal(depth(third), depth(third, refine_steps=0))
    tiny = load_model("tiny", "float32", "cpu")
    assert torch.equal(depth(tiny), depth(tiny, refine_steps=0))


def test_edges_of_tiny_are_the_images_unless_told_otherwise():
    tiny, image = load_model("tiny", "float32", "cpu"), torch.rand(1, 70, 90, 3)

    def depth(**widgets):
        return EstimateGeometry().execute(tiny, image, resolution=64, **widgets)[0].depth

    for widgets, refine in (({"sharp": True}, None), ({"sharp": True, "refine": True}, True), ({}, False)):
        assert torch.equal(depth(**widgets), tiny.estimate(image.movedim(-1, 1), 64, refine=refine).depth), widgets
    assert not torch.equal(depth(), depth(sharp=True)) and not torch.equal(depth(refine=True), depth())
    assert torch.equal(depth(film=True), depth(film=True, sharp=True)), "edges would flicker"
    assert not torch.equal(depth(film=True, refine=True), depth(film=True))


def test_a_large_image_is_estimated_in_tiles():
    tiny, image = load_model("tiny", "float32", "cpu"), torch.rand(2, 80, 120, 3)
    (plain,), (tiled,) = (EstimateGeometry().execute(tiny, image, resolution=32, tiles=tiles) for tiles in ("off", "2"))
    assert tiled.depth.shape == plain.depth.shape and tiled.normals.shape == plain.normals.shape
    assert not torch.equal(tiled.depth, plain.depth)
    torch.testing.assert_close(tiled.normals.norm(dim=1), torch.ones(2, 80, 120), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("more", "words"), [({"film": True}, "film is on"), ({"views": "one_scene"}, "views is one_scene")])
def test_tiles_are_for_single_images(more, words):
    with pytest.raises(ValueError, match=f"tiles is auto and {words}"):
        EstimateGeometry().execute(load_model("tiny", "float32", "cpu"), torch.rand(2, 32, 32, 3), tiles="auto", **more)


@pytest.mark.parametrize("normal", [[0.0, 0.0, 1.0], [0.5, 0.2, 0.8], [-0.6, 0.5, 0.6]])
def test_normals_of_a_plane_with_its_camera(normal):
    depth, intrinsics = plane(normal)
    known = Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics)
    (estimate,) = NormalsFromDepth().execute(known, "plane fit")
    assert degrees(estimate.normals, normal) < 0.1 and estimate.intrinsics is intrinsics and estimate.depth is depth
    (told,) = NormalsFromDepth().execute(Estimate(depth, Quantity.METRIC_DEPTH), "plane fit", fov=60.0)
    assert degrees(told.normals, normal) < 0.1
    assert torch.equal(told.intrinsics, intrinsics), "the field of view asked for is kept as the camera"
    (guessed,) = NormalsFromDepth().execute(Estimate(depth, Quantity.METRIC_DEPTH), "plane fit")
    assert guessed.intrinsics is None, "what is only assumed is not handed on as known"


def test_the_old_methods():
    disparity = torch.rand(1, 1, 24, 32, generator=torch.Generator().manual_seed(0)) * 300
    (midas,) = NormalsFromDepth().execute(Estimate(disparity, Quantity.DISPARITY), "midas", a=3.0, bg_threshold=0.3)
    assert torch.equal(midas.normals, midas_normals(disparity, 3.0, 0.3)) and midas.axes is Axes.SCANNET
    (tutorial,) = NormalsFromDepth().execute(Estimate(disparity, Quantity.METRIC_DEPTH), "dmap2norm")
    assert torch.equal(tutorial.normals, dmap2norm(disparity)) and tutorial.axes is Axes.SCANNET


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("has_normals", [False, True])
def test_a_hole_has_no_normal(method, has_normals):
    depth = 1 + torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(0))
    quantity = Quantity.DISPARITY if method == MIDAS else Quantity.METRIC_DEPTH
    depth[1, 0, 5:8, 9] = math.nan if method == MIDAS else 0.0
    facing = unit_normals(torch.zeros(2, 3, 24, 32))
    (estimate,) = NormalsFromDepth().execute(Estimate(depth, quantity, normals=facing if has_normals else None), method)
    assert torch.equal(estimate.normals_valid, torch.isfinite(depth) & (depth > 0))


def grey(*levels):
    return torch.tensor(levels, dtype=torch.float32).view(1, 1, -1, 1).expand(-1, -1, -1, 3).contiguous()


@pytest.mark.parametrize(
    ("widgets", "expected", "quantity"),
    [
        ({"near": "white", "values": "depth"}, [1, 0.75, 0], Quantity.RELATIVE_DEPTH),
        ({"near": "black", "values": "depth", "far_metres": 65.535}, [0, 16.38375, 65.535], Quantity.METRIC_DEPTH),
        ({"near": "white", "values": "disparity", "near_metres": 2.0, "far_metres": 10.0}, [10, 5, 2], Quantity.METRIC_DEPTH),
    ],
)
def test_depth_images_become_numbers(widgets, expected, quantity):
    (estimate,) = DepthImageToGeometry().execute(grey(0, 0.25, 1), **widgets)
    assert estimate.quantity is quantity and estimate.intrinsics is None
    zeros_are_holes = quantity is Quantity.METRIC_DEPTH and 0 in expected
    assert (estimate.mask.flatten().tolist() == [False, True, True]) if zeros_are_holes else (estimate.mask is None)
    assert torch.allclose(estimate.depth.flatten(), torch.tensor(expected, dtype=torch.float32), atol=1e-5)


def test_metres_as_they_are():
    (estimate,) = DepthImageToGeometry().execute(grey(0.5, 7.25, math.inf, 1e10, 0), "white", "metres", fov=60.0)
    assert estimate.quantity is Quantity.METRIC_DEPTH and estimate.depth.flatten().tolist()[:2] == [0.5, 7.25]
    assert estimate.mask.flatten().tolist() == [True, True, False, False, False]
    assert torch.equal(estimate.intrinsics, intrinsics_from_fov(60, 1, 5))


def test_masks_and_alpha():
    image = torch.cat((grey(0, 0.25, 1), torch.tensor([1.0, 0.0, 1.0]).view(1, 1, 3, 1)), -1)
    (estimate,) = DepthImageToGeometry().execute(image, "white", "disparity", mask=torch.tensor([[[0.0, 1.0, 1.0]]]))
    assert estimate.mask.flatten().tolist() == [False, False, True]
    assert estimate.depth.flatten().tolist() == [0, 0.25, 1], "alpha does not tint the numbers"
    (estimate,) = DepthImageToGeometry().execute(grey(0.5, math.nan, math.inf, 1), "white", "disparity")
    assert estimate.mask.flatten().tolist() == [True, False, False, True]
    (estimate,) = DepthImageToGeometry().execute(grey(0.5, 0.5, 0.25, 1), "white", "disparity", mask=torch.tensor([[[0.0, 1.0]]]))
    assert estimate.mask.flatten().tolist() == [False, False, True, True], "a mask may have another size"


def test_an_hdr_image_is_that_of_its_clamped_values():
    tiny = load_model("tiny", "float32", "cpu")
    hdr = 4 * torch.rand(2, 48, 64, 4, generator=torch.Generator().manual_seed(2)) - 1
    (found,), (expected,) = (EstimateGeometry().execute(tiny, image, resolution=64) for image in (hdr, hdr.clamp(0, 1)))
    assert torch.equal(found.depth, expected.depth) and torch.equal(found.normals, expected.normals)


def test_a_batch_can_be_a_video():
    (model,) = LoadDepthNormalModel().execute("tiny")
    still = torch.rand(1, 60, 80, 3, generator=torch.Generator().manual_seed(0))
    film = (still + 0.01 * torch.randn(6, 60, 80, 3, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    alone, steady, scaled = (
        EstimateGeometry().execute(model, film, **more)[0].depth for more in ({}, {"film": True}, {"film": True, "smooth": 0.0})
    )
    assert steady.shape == alone.shape and torch.allclose(steady[0], alone[0])
    changes = [each[2:].diff(dim=0).abs().mean().item() for each in (steady, scaled, alone)]
    assert changes == sorted(changes) and changes[0] < changes[2] / 1.5


# --- Refine Geometry ---


def scene(batch=1):
    """A near left half before a far right one: an image of 64x48, and its depth of a half of that size."""
    image = torch.zeros(batch, 48, 64, 3)
    image[:, :, :33] = 0.8
    depth = torch.where(image[..., :1] > 0, 2.0, 5.0).movedim(-1, 1)
    return image, Estimate(1 / F.avg_pool2d(1 / depth, 2), Quantity.METRIC_DEPTH), depth


@pytest.mark.parametrize("batch", [1, 2])
def test_depth_ends_where_the_image_says(batch):
    image, geometry, depth = scene(batch)
    (refined,) = RefineGeometry().execute(image, geometry)
    assert torch.allclose(refined.depth, depth, rtol=0.02)
    assert refined.normals is not None and refined.normals[:, 2].min() > 0.9
    (linked,) = RefineGeometry().execute(image, geometry, radius=np.float32(8))  # as nodes for numbers give it
    assert torch.equal(linked.depth, RefineGeometry().execute(image, geometry, radius=8)[0].depth)
    (bare,) = RefineGeometry().execute(image, geometry, normals="as they are")
    assert bare.normals is None


def test_one_geometry_serves_a_batch():
    image, geometry, depth = scene()
    (refined,) = RefineGeometry().execute(image.expand(3, -1, -1, -1), geometry)
    assert refined.batch == 3 and torch.allclose(refined.depth, depth.expand(3, -1, -1, -1), rtol=0.02)
