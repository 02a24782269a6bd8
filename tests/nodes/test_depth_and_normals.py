"""Depth & Normals: one node that does what four in a row do; and no node runs the network again for another look."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import depth_normal
from depth_normal.annotators.choices import BEST_FIRST
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference import recent
from depth_normal.nodes import depth_and_normals
from depth_normal.nodes.depth_and_normals import DepthAndNormals
from depth_normal.nodes.geometry import EstimateGeometry
from depth_normal.nodes.render import RenderDepth, RenderNormals
from tests.pretend import SameOfEach

run = DepthAndNormals().execute


@pytest.fixture
def photos():
    """Two smooth images, 40 pixels high and 56 wide."""
    torch.manual_seed(0)
    small = torch.rand(2, 3, 5, 7)
    return nn.functional.interpolate(small, (40, 56), mode="bicubic").clamp(0, 1).movedim(1, -1)


@pytest.fixture
def predicting(monkeypatch):
    """Puts a model in place of those of the list, whose network always predicts the same."""

    def put(depth, quantity, **more):
        monkeypatch.setattr(depth_and_normals, "load_model", lambda *_: SameOfEach(depth, quantity, **more))

    return put


def ramp(low=1.0, high=9.0):
    """Depth (1, 1, 40, 56) that grows to the right."""
    return torch.linspace(low, high, 56).expand(1, 1, 40, 56).contiguous()


def test_an_image_alone_gives_all_four(photos):
    depth, normals, mask, geometry = run(photos)
    assert depth.shape == normals.shape == (2, 40, 56, 3) and mask.shape == (2, 40, 56)
    assert geometry.depth.shape == (2, 1, 40, 56) and geometry.quantity is Quantity.DISPARITY, "tiny's"
    assert geometry.normals.shape == (2, 3, 40, 56)
    assert depth.amin((1, 2, 3)).tolist() == [0, 0] and depth.amax((1, 2, 3)).tolist() == [1, 1], "near = white, each its own range"
    assert bool((mask == 1).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_defaults_of_torch_that_other_packs_set_change_nothing(photos, dtype):
    depth, normals, *_ = run(photos)
    depth_normal.free()
    try:
        torch.set_default_dtype(dtype)
        with torch.device("meta"):
            again = run(photos)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(again[0], depth) and torch.equal(again[1], normals)


def test_it_does_what_the_nodes_in_a_row_do(photos):
    (row,) = EstimateGeometry().execute(load_model("tiny"), photos, resolution=96, fov=40.0, sharp=True)
    depth, normals, mask, geometry = run(photos, "tiny", 96, "disparity", "directx", fov=40.0)
    assert torch.equal(geometry.depth, row.depth) and torch.equal(geometry.normals, row.normals)
    expected, valid = RenderDepth().execute(row)
    assert torch.equal(depth, expected) and torch.equal(mask, valid)
    assert torch.equal(normals, RenderNormals().execute(row, "directx")[0])


@pytest.mark.parametrize(
    ("look", "widgets"),
    [
        ("controlnet", {"percentile_low": 0.1, "percentile_high": 99.9}),
        ("disparity", {}),
        ("depth, near white", {"metric_as_disparity": False}),
        ("depth, far white", {"metric_as_disparity": False, "near": "black"}),
    ],
)
def test_each_look_of_metres_is_render_depths(predicting, photos, look, widgets):
    metres = ramp()
    metres[..., 0, 0] = 0.1  # a speck
    predicting(metres, Quantity.METRIC_DEPTH)
    depth, _, mask, geometry = run(photos[:1], "zoedepth-nyu", depth_look=look)
    expected, valid = RenderDepth().execute(geometry, **widgets)
    assert torch.equal(depth, expected) and torch.equal(mask, valid)


@pytest.mark.parametrize("quantity", list(Quantity))
def test_a_model_without_normals_gets_those_of_its_depth(predicting, photos, quantity):
    """Depth & Normals (advanced) leaves relative depth without normals; here its far end is 3 times as far as its near end."""
    predicting(ramp(), quantity)
    _, normals, _, geometry = run(photos[:1], "zoedepth-nyu")
    expected = with_normals(Estimate(ramp(), quantity), near_far_ratio=3.0 if quantity is Quantity.RELATIVE_DEPTH else None)
    assert torch.allclose(geometry.normals, expected.normals, atol=1e-5)
    assert geometry.normals[0, 0].mean().abs() > 0.1, "it is tilted"
    assert torch.equal(normals, RenderNormals().execute(geometry)[0])


def test_a_models_own_normals_and_mask_are_kept(predicting, photos):
    own = torch.zeros(1, 3, 40, 56)
    own[:, 0] = 1
    mask = torch.ones(1, 1, 40, 56, dtype=torch.bool)
    mask[..., :10] = False
    predicting(ramp(), Quantity.METRIC_DEPTH, normals=own, axes=Axes.OPENGL, mask=mask)
    depth, normals, white, geometry = run(photos[:1], "zoedepth-nyu", depth_look="depth, far white")
    assert torch.equal(white, mask[:, 0].float()) and bool((depth[:, :, :10] == 0).all()) and bool((normals[:, :, :10] == 0).all())
    assert torch.allclose(normals[:, :, 10:], torch.tensor([1.0, 0.5, 0.5])) and torch.equal(geometry.mask, mask)


def test_film_is_estimate_geometrys_film_with_a_running_range(photos):
    clip = photos[:1].repeat(4, 1, 1, 1) * torch.linspace(1, 0.9, 4).view(4, 1, 1, 1)
    (row,) = EstimateGeometry().execute(load_model("tiny"), clip, film=True)
    depth, _, _, geometry = run(clip, film=True)
    assert torch.equal(geometry.depth, row.depth) and torch.equal(geometry.normals, row.normals)
    assert torch.equal(depth, RenderDepth().execute(row, normalisation="running")[0])
    assert torch.equal(run(clip, film=True, normalisation="per_clip")[0], RenderDepth().execute(row, normalisation="per_clip")[0])
    assert not torch.equal(geometry.depth, run(clip)[3].depth), "without it each image is by itself"


@pytest.mark.parametrize("model", [spec.id for spec in MODELS.values() if spec.quantity is None])
def test_a_model_of_normals_alone_is_refused_before_it_is_loaded(monkeypatch, photos, model):
    monkeypatch.setattr(depth_and_normals, "load_model", lambda *_: pytest.fail("loaded"))
    said = f"{model} predicts normals and no depth; choose another model here, e.g. tiny"
    with pytest.raises(ValueError, match=said):
        run(photos, model)
    assert DepthAndNormals.VALIDATE_INPUTS(model).startswith(said)
    assert model not in DepthAndNormals.INPUT_TYPES()["optional"]["model"][0]


def test_what_can_be_chosen_is_valid():
    choices = DepthAndNormals.INPUT_TYPES()["optional"]["model"][0]
    assert {DepthAndNormals.VALIDATE_INPUTS(model) for model in (*choices, None)} == {True}
    assert "moge-2-vits-normal" in DepthAndNormals.VALIDATE_INPUTS("moge-2-vits-norma")
    assert DepthAndNormals.VALIDATE_INPUTS("").startswith("unknown model ''")
    assert set(choices) == {spec.id for spec in MODELS.values() if spec.quantity and not spec.for_panoramas}


@pytest.mark.parametrize("model", [5, ["tiny"], {"id": "tiny"}, None])
def test_a_model_that_is_no_text_is_refused_in_words(model, photos):
    said = f"model is {model!r}; accepted: the id of a model, such as tiny"
    assert DepthAndNormals.VALIDATE_INPUTS(model) == (True if model is None else said), "what is linked is not known yet"
    with pytest.raises(TypeError) as refused:
        run(photos, model)
    assert str(refused.value) == said


def test_the_help_page_has_the_rank_of_the_default():
    page = (Path(__file__).resolve().parents[2] / "web" / "docs" / "DepthNormal_DepthAndNormals.md").read_text(encoding="utf-8")
    places = [page.index(f"`{model}`", page.index("The default model")) for model in BEST_FIRST]
    assert places == sorted(places)


def test_it_is_first_in_the_menu_and_shows_few_widgets():
    assert next(iter(depth_normal.NODE_CLASS_MAPPINGS)) == "DepthNormal_DepthAndNormals"
    inputs = DepthAndNormals.INPUT_TYPES()
    assert list(inputs["required"]) == ["image"]
    plain = [name for name, (_, options) in inputs["optional"].items() if not options.get("advanced")]
    assert plain == ["model", "resolution", "depth_look", "coding"] == list(inputs["optional"])[:4]
    assert inputs["optional"]["depth_look"][1]["display_name"] == "depth look"


@pytest.mark.parametrize("batch", [1, 6])
def test_both_maps_are_shown_on_the_node(comfyui, photos, batch):
    images = photos[:1].repeat(batch, 1, 1, 1)
    answer = run(images, resolution=64)
    depth, normals, _, _ = answer["result"]
    shown = answer["ui"]["images"]
    assert len(shown) == 2 * min(batch, depth_and_normals.MAX_SHOWN)
    read = partial(read_png, comfyui / "temp")
    for maps, entry in ((depth, shown[0]), (normals, shown[1])):
        assert entry["type"] == "temp" and (read(entry) - maps[0]).abs().max() <= 0.5 / 255 + 1e-6


def read_png(folder, entry):
    return torch.from_numpy(np.array(Image.open(folder / entry["filename"]))) / 255


# --- other looks of the same images ---


FIRST_NODE = "DepthNormal_DepthAndNormals"
SMALL = {"resolution": 64}
SAME_RUN = {
    FIRST_NODE: [{**SMALL, "depth_look": "depth, far white"}, {**SMALL, "coding": "directx"}, {**SMALL, "normalisation": "per_clip"}],
    "MiDaS-NormalMapPreprocessor": [{"model": "tiny", **SMALL, "coding": "opengl"}, {"model": "tiny", **SMALL, "a": 1.0}],
    # Over a clip tiny makes its plain map, as sharp edges flicker: both looks are of one.
    "MiDaS-DepthMapPreprocessor": [{"model": "tiny", **SMALL, "normalisation": each} for each in ("per_clip", "running")],
    "Zoe-DepthMapPreprocessor": [
        {"model": "tiny", "normalisation": "per_clip", "network_size": 64, "resolution": each} for each in (64, 128)
    ],
    "LeReS-DepthMapPreprocessor": [{"model": "tiny", **SMALL, "network_size": 64, **more} for more in ({}, {"rm_nearest": 20.0})],
    "DepthNormal_DepthOfVideo": [SMALL, {**SMALL, "near": "black"}, {**SMALL, "normalisation": "per_image"}],
    "DepthNormal_NormalsOfVideo": [SMALL, {**SMALL, "coding": "directx"}],
}


@pytest.fixture
def forwards(monkeypatch):
    """Counts the images that go through the network."""
    counted, infer = [], TinyAnnotator.infer
    monkeypatch.setattr(TinyAnnotator, "infer", lambda self, request: (counted.extend(request.images), infer(self, request))[1])
    recent.forget_estimates()
    yield counted
    recent.forget_estimates()


class Video:
    """Core's VIDEO of a batch."""

    def __init__(self, parts):
        self.parts = parts

    def get_components(self):
        return self.parts


def inputs(node, images):
    if "video" not in node.INPUT_TYPES()["required"]:
        return {"image": images}
    return {"model": load_model("tiny"), "video": Video(SimpleNamespace(images=images, audio=None, frame_rate=12))}


def image_of(result):
    first = result[0] if isinstance(result, tuple) else result["result"][0]
    return first.parts.images if isinstance(first, Video) else first


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("node_id", SAME_RUN)
def test_the_network_runs_once_for_all_looks(forwards, photos, node_id):
    node = depth_normal.NODE_CLASS_MAPPINGS[node_id]()
    shown = [image_of(node.execute(**inputs(node, photos.clone()), **look)) for look in SAME_RUN[node_id]]
    assert len(forwards) == len(photos)
    for look, image in zip(SAME_RUN[node_id], shown, strict=True):
        recent.forget_estimates()
        torch.testing.assert_close(image, image_of(node.execute(**inputs(node, photos), **look)))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "more", [{"resolution": 128}, {"fov": 40.0}, {"refine": True}, {"film": True}, {"image": torch.full((2, 40, 56, 3), 0.5)}]
)
def test_what_reaches_the_network_runs_it(forwards, photos, more):
    node = depth_normal.NODE_CLASS_MAPPINGS[FIRST_NODE]()
    node.execute(photos, **SMALL)
    node.execute(**{"image": photos, **SMALL, **more})
    assert len(forwards) == 2 * len(photos)


@pytest.mark.parametrize("node_id", [FIRST_NODE, "DepthNormal_EstimateGeometry"])
@pytest.mark.quick_cases(1)
def test_what_is_written_into_an_output_is_not_kept(forwards, photos, node_id):
    node = depth_normal.NODE_CLASS_MAPPINGS[node_id]()
    model = {} if node_id == FIRST_NODE else {"model": load_model("tiny")}
    runs = []
    for _ in range(3):
        result = node.execute(image=photos, **model, **SMALL)
        geometry = (result["result"] if isinstance(result, dict) else result)[3 if node_id == FIRST_NODE else 0]
        runs.append({name: value.clone() for name, value in geometry.maps.items()})
        for value in geometry.maps.values():
            value.zero_()
    assert len(forwards) == len(photos)
    assert all(torch.equal(value, each[name]) for each in runs[1:] for name, value in runs[0].items())


def test_a_run_that_does_not_end_is_not_kept(forwards, photos, monkeypatch):
    node = depth_normal.NODE_CLASS_MAPPINGS["MiDaS-DepthMapPreprocessor"]()
    monkeypatch.setattr("depth_normal.nodes.legacy.to_output", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        node.execute(photos, model="tiny", **SMALL)
    monkeypatch.undo()
    assert not any(recent._runs.values())


def test_estimates_go_with_the_node_and_with_the_model(forwards, photos):
    node = depth_normal.NODE_CLASS_MAPPINGS[FIRST_NODE]()
    node.execute(photos, **SMALL)
    other = depth_normal.NODE_CLASS_MAPPINGS[FIRST_NODE]()
    other.execute(photos, **SMALL)
    assert len(forwards) == len(photos), "another node of the graph uses them, too"
    del node, other
    assert not recent._runs, "ComfyUI has dropped its objects: by /free, or as they left the graph"
    load_model("tiny").estimate(photos.movedim(-1, 1), 64)
    assert not recent._runs, "outside of nodes nothing is kept"


def test_memory_is_bounded(forwards, photos, monkeypatch):
    node = depth_normal.NODE_CLASS_MAPPINGS[FIRST_NODE]()
    monkeypatch.setattr(recent, "RUNS_OF_A_NODE", 3)
    for shade in range(5):
        node.execute(photos * shade / 10, **SMALL)
    assert len(recent._runs[node]) == 3
    each = recent._runs[node][0].bytes
    monkeypatch.setattr(recent, "MOST_BYTES", 2 * each)
    node.execute(photos, **SMALL)
    assert len(recent._runs[node]) == 2
    monkeypatch.setattr(recent, "MOST_BYTES", each - 1)
    before = len(forwards)
    for _ in range(2):
        node.execute(photos.flip(0), **SMALL)
    assert len(forwards) == before + 2 * len(photos), "too large to be kept"
