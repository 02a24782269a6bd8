"""Preview Geometry, what nodes give the page, outside ComfyUI nothing, and what it asks of earlier runs."""

import json
import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files.packed_maps import LONG_SIDE
from depth_normal.nodes import live
from depth_normal.nodes.live import KEY, NOTES, image_payload, last_runs
from depth_normal.nodes.preview import PreviewGeometry, describe
from depth_normal.nodes.relight import Relight

HEIGHT, WIDTH = 12, 16


def estimate(batch=1, height=HEIGHT, width=WIDTH):
    depth = torch.linspace(0.8, 6.2, height * width).view(1, 1, height, width).expand(batch, -1, -1, -1).clone()
    normals = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(batch, 3, height, width)
    mask = torch.ones(batch, 1, height, width, dtype=torch.bool)
    mask[:, :, : height // 4, : width // 4] = False
    return Estimate(depth, Quantity.METRIC_DEPTH, normals, Axes.OPENGL, mask, intrinsics_from_fov(60, height, width, batch=batch))


@pytest.fixture
def temp(comfyui):
    return comfyui / "temp"


def test_the_line_says_what_there_is():
    assert describe(estimate()) == "metric depth 0.913 to 6.2 m, fov 60°, normals OpenGL, mask 94 %"
    bare = Estimate(torch.rand(1, 1, 4, 4), Quantity.DISPARITY)
    assert describe(bare) == "relative, 0 far to 100 near, no mask", "numbers without a unit say nothing"
    assert describe(bare, in_file=True).startswith("disparity 0") and describe(bare, in_file=True).endswith("no mask")
    nothing = Estimate(torch.full((1, 1, 4, 4), torch.nan), Quantity.METRIC_DEPTH)
    assert describe(nothing) == "depth nowhere, mask 0 %"
    assert describe(Estimate(normals=estimate().normals, axes=Axes.SCANNET)) == "normals ScanNet, no mask"


def test_a_mask_of_almost_all_is_not_called_all():
    mask = torch.ones(1, 1, 100, 100, dtype=torch.bool)
    mask[..., 0, 0] = False
    assert describe(Estimate(torch.ones(1, 1, 100, 100), Quantity.METRIC_DEPTH, mask=mask)) == "metric depth 1 to 1 m, mask 99 %"


def test_outside_comfyui_there_are_maps_and_words_alone():
    maps, text = PreviewGeometry().execute(estimate(2))
    assert maps.shape == (2, HEIGHT, 3 * WIDTH, 3) and len(text.splitlines()) == 2
    assert maps.isfinite().all() and maps[0, 0, 0].sum() == 0 and maps[0, -1, -1].sum() == 3


def test_the_page_gets_small_files_in_the_temp_folder(temp):
    large = estimate(3, 600, 1200)
    answer = PreviewGeometry().execute(large, torch.rand(1, 30, 60, 3))
    payloads = json.loads(json.dumps(answer["ui"][live.KEY]))
    assert len(payloads) == len(answer["ui"]["images"]) == len(answer["ui"]["text"]) == 3 and len(answer["result"]) == 2
    for payload in payloads:
        assert (payload["width"], payload["height"], payload["full"]) == (512, 256, [1200, 600])
        assert payload["depth"]["quantity"] == "metric_depth" and payload["normals"]
        assert payload["intrinsics"][0] == pytest.approx(float(large.intrinsics[0, 0, 0]) * 512 / 1200)
        for file in (payload["image"], payload["maps"]):
            assert file["type"] == "temp" and file["subfolder"] == "" and (temp / file["filename"]).stat().st_size < 1e6


def test_payloads_name_their_node_and_prompt(temp, monkeypatch):
    """The page finds nodes by their numbers, which another graph's nodes have too."""
    module = ModuleType("server")
    module.PromptServer = SimpleNamespace(instance=SimpleNamespace(last_prompt_id="a prompt"))
    monkeypatch.setitem(sys.modules, "server", module)
    for node in (PreviewGeometry, Relight):
        inputs = {"image": torch.rand(2, 12, 16, 3), "geometry": estimate(2)}
        payloads = node().execute(**inputs)["ui"][KEY]
        assert payloads and {(each["type"], each["prompt"]) for each in payloads} == {(node.NODE_ID, "a prompt")}


def test_a_long_batch_shows_its_first_images(temp):
    answer = PreviewGeometry().execute(estimate(20, 2, 2))
    assert len(answer["ui"][live.KEY]) == live.MAX_IMAGES


def test_relight_gives_the_page_the_first_images_surfaces(temp):
    image = torch.rand(2, 24, 32, 3)
    answer = Relight().execute(image, geometry=estimate(2))
    (payload,) = answer["ui"][live.KEY]
    assert answer["result"][0].shape == image.shape and payload["lamps"] == [] and payload["full"] == [32, 24]
    assert len(list(temp.iterdir())) == 2
    assert isinstance(Relight().execute(image, normal_map=torch.rand(2, 8, 8, 3))["ui"][live.KEY][0]["depth"], dict), "a wall"


def test_the_page_gets_no_highlights_at_soft_edges_and_near_things_thin_at_their_rims(temp):
    """A ramp of depth of six pixels, whose normals lead from one thing to the other: they are half as long."""
    inverse = 0.3 + 0.5 * ((torch.arange(320.0) - 157) / 6).clamp(0, 1)
    normals = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 120, 320)
    scene = Estimate((1 / inverse).expand(1, 1, 120, 320).contiguous(), Quantity.METRIC_DEPTH, normals, Axes.OPENGL)
    (payload,) = Relight().execute(torch.full((1, 120, 320, 3), 0.4), geometry=scene)["ui"][live.KEY]
    with Image.open(temp / payload["maps"]["filename"]) as maps:
        of_normals, of_depth = np.asarray(maps)[[60, 120 + 60]]
    length = torch.from_numpy(of_normals / 127.5 - 1).norm(dim=-1)
    assert length[:140].min() > 0.98 and length[180:].min() > 0.98 and length[158:163].max() < 0.65
    thickness = of_depth[:, 2] >> 2
    assert thickness[:155].min() > 60 and thickness[220:].min() > 60 and thickness[165] < 15


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 3)])
def test_images_of_any_shape_are_shown(temp, shape):
    payload = live.image_payload(torch.rand(1, 3, *shape), estimate(1, *shape))
    assert max(payload["width"], payload["height"]) <= LONG_SIDE and min(payload["width"], payload["height"]) >= 1


def test_samples_are_values_of_the_map():
    values = torch.arange(35.0).view(1, 1, 5, 7)
    assert set(live.nearest(values, 3, 4).flatten().tolist()) <= set(values.flatten().tolist())
    assert torch.equal(live.nearest(values, 5, 7), values)
    assert torch.equal(live.nearest(values, 10, 14)[..., ::2, ::2], values)


@pytest.fixture
def history(comfyui, monkeypatch):
    """The history of a server."""
    found, module = {}, ModuleType("server")
    queue = SimpleNamespace(history=found, mutex=threading.Lock())
    module.PromptServer = SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue))
    monkeypatch.setitem(sys.modules, "server", module)
    return found


def ran(graph, outputs, nodes=None):
    nodes = {node_id: {"class_type": "DepthNormal_Relight"} for node_id in nodes or outputs}
    return {"prompt": (0, f"of {graph}", nodes, {"extra_pnginfo": {"workflow": {"id": graph}}}, []), "outputs": outputs}


def test_the_last_run_of_each_node_of_a_graph(history):
    first, second = (image_payload(torch.rand(1, 3, 4, 6)) for _ in range(2))
    history["1"] = ran("graph", {"7": {KEY: [first]}, "5:3": {KEY: [first, {}], NOTES: ["a", "a", "b"]}})
    history["2"] = ran("graph", {"7": {KEY: [second]}}, nodes=["7", "8"])
    history["3"] = ran("another", {"7": {KEY: [first]}})
    history["4"] = {"prompt": (0, "script", {"7": {}}, {}, []), "outputs": {"7": {KEY: [first]}}}
    runs, made_by = last_runs({"graph": "graph"}), {"type": "DepthNormal_Relight", "prompt": "of graph"}
    assert runs["7"] == {**made_by, "shown": [second], "notes": []}
    assert runs["5:3"] == {**made_by, "shown": [first], "notes": ["a", "b"]}
    assert runs["8"] == {**made_by, "shown": [], "notes": []}
    assert last_runs({"graph": "new"}) == last_runs({}) == {}


def test_what_is_no_longer_on_the_disk_is_not_shown(history, comfyui):
    payload = image_payload(torch.rand(1, 3, 4, 6))
    history["1"] = ran("graph", {"7": {KEY: [payload]}})
    (comfyui / "temp" / payload["image"]["filename"]).unlink()
    assert last_runs({"graph": "graph"})["7"]["shown"] == []
