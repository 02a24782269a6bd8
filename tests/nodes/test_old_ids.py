"""Each node of another pack's id has an id of this pack's own; the old ids can be left to others; the log says who serves them."""

import asyncio
import inspect
import json
import logging
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader.comfy import host as folders
from depth_normal.model_loader.comfy import host as server
from depth_normal.nodes import NODES, depth_anything_v2, old_ids
from depth_normal.nodes.depth_maps import V1_FILES, V2_FILES
from depth_normal.nodes.old_ids import OWN_IDS, SMALL_DEFAULTS, WITHOUT_TWIN

ROOT = Path(__file__).resolve().parents[2]
PAGES = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make_twin_pages.py")))


@pytest.mark.parametrize(("old_id", "own_id"), OWN_IDS.items())
def test_the_twin_is_the_same_node(old_id, own_id):
    old, own = NODE_CLASS_MAPPINGS[old_id], NODE_CLASS_MAPPINGS[own_id]
    assert issubclass(own, old) and own_id == own.NODE_ID and own.RETURN_TYPES == old.RETURN_TYPES
    if own_id not in SMALL_DEFAULTS:
        assert own.execute is old.execute and own.INPUT_TYPES() == old.INPUT_TYPES()
    assert NODE_DISPLAY_NAME_MAPPINGS[own_id] == NODE_DISPLAY_NAME_MAPPINGS[old_id]
    assert own.CATEGORY == "Depth & Normals/Estimate/By model" and old_id in own.SEARCH_ALIASES and old_id not in old.SEARCH_ALIASES
    assert not hasattr(old, "DEPRECATED"), "it runs old graphs, and nothing is wrong with those"


@pytest.mark.parametrize(("own_id", "widget", "small", "large"), [(own_id, *each) for own_id, each in SMALL_DEFAULTS.items()])
def test_an_own_id_begins_with_the_smallest_model_and_differs_in_nothing_else(own_id, widget, small, large):
    own, old = NODE_CLASS_MAPPINGS[own_id], NODE_CLASS_MAPPINGS[{new: old for old, new in OWN_IDS.items()}[own_id]]
    inputs, before = own.INPUT_TYPES(), old.INPUT_TYPES()
    assert (before["optional"][widget][1]["default"], inputs["optional"][widget][1]["default"]) == (large, small)
    inputs["optional"][widget][1]["default"] = large
    assert inputs == before and list(inputs["optional"]) == list(before["optional"])
    now, then = (inspect.signature(node.execute).parameters for node in (own, old))
    assert now[widget].default == small and {**now, widget: then[widget]} == dict(then)
    sizes = {"small": "depth-anything-v2-metric-indoor-small", "large": "depth-anything-v2-metric-indoor-large"}
    ids = {**sizes, **V1_FILES, **V2_FILES, **depth_anything_v2.FILES}
    labels = {choice: MODELS[ids.get(choice, choice)].size for choice in (small, large)}
    assert labels[small] < labels[large] / 4 and MODELS[ids.get(small, small)].commercial_use == "yes"


def test_a_twin_without_its_widget_runs_the_small_model(pretend):
    model, image = pretend(torch.rand(1, 1, 64, 64)), torch.rand(1, 64, 64, 3)
    for node_id in ("DepthNormal_DepthAnythingV2", "DepthAnythingV2Preprocessor"):
        NODE_CLASS_MAPPINGS[node_id]().execute(image, resolution=64)
    NODE_CLASS_MAPPINGS["DepthNormal_DepthAnythingV2"]().execute(image, "depth_anything_v2_vitb.pth", 64)
    assert [asked for asked, _ in model.asked] == ["depth-anything-v2-small", "depth-anything-v2-large", "depth-anything-v2-base"]


def test_every_old_id_has_a_twin():
    assert {node.NODE_ID for node in NODES if old_ids.is_old(node.NODE_ID)} == {*OWN_IDS, *WITHOUT_TWIN}


def test_the_workflows_use_no_id_and_no_type_of_another_pack():
    for path in (ROOT / "workflows").glob("*.json"):
        assert '"GEOMETRY"' not in path.read_text(), path.name
        assert not {node["type"] for node in json.loads(path.read_text())["nodes"]} & {*OWN_IDS, *WITHOUT_TWIN}, path.name


@pytest.mark.parametrize(("old_id", "own_id"), OWN_IDS.items())
def test_both_have_the_same_help(old_id, own_id):
    assert (ROOT / "web" / "docs" / f"{own_id}.md").read_text() == PAGES.twin_page(old_id), "run `python docs/make_twin_pages.py`"


def test_the_table_in_the_docs_names_each_id_and_its_twin():
    page = (ROOT / "docs" / "old-ids.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert rows == OWN_IDS
    assert all(f"| `{node_id}` | none" in page for node_id in WITHOUT_TWIN)


@pytest.mark.parametrize(("said", "setting", "served"), [
    ("", None, True), ("0", None, False), ("off", True, False), ("", False, False), ("", True, True), ("1", False, True),
])  # fmt: skip
def test_the_variable_goes_before_the_setting(monkeypatch, said, setting, served):
    monkeypatch.setenv(old_ids.VARIABLE, said)
    monkeypatch.setattr(old_ids, "user_setting", {old_ids.SETTING: setting}.get)
    assert old_ids.are_served() is served


def test_ids_that_are_left_to_others_are_not_there():
    left = old_ids.with_twins(NODES, old=False)
    assert not {*OWN_IDS, *WITHOUT_TWIN} & set(left) and set(OWN_IDS.values()) <= set(left)


def comfyui_with(monkeypatch, **nodes):
    """ComfyUI's table of nodes: a pack's name by id."""
    mappings = {node_id: SimpleNamespace(RELATIVE_PYTHON_MODULE=f"custom_nodes.{pack}") for node_id, pack in nodes.items()}
    monkeypatch.setitem(sys.modules, "nodes", SimpleNamespace(NODE_CLASS_MAPPINGS=mappings))


def test_the_log_says_who_serves_which_ids(monkeypatch, caplog):
    ours = dict.fromkeys([*OWN_IDS, *OWN_IDS.values()], "ours")
    comfyui_with(monkeypatch, **{**ours, "BAE-NormalMapPreprocessor": "aux", "AIO_Preprocessor": "aux"})
    caplog.set_level(logging.INFO, old_ids.__name__)
    asyncio.run(old_ids.announce())
    (line,) = caplog.messages
    assert line.startswith("old node ids: this pack serves MiDaS-NormalMapPreprocessor, ")
    assert "; aux serves BAE-NormalMapPreprocessor, AIO_Preprocessor; this pack's own nodes are at DepthNormal_" in line


@pytest.mark.parametrize(
    ("text", "found"), [('{"a": false}', False), ("{}", None), ("[1]", None), ("{", None), ("[" * 100_000, None), (None, None)]
)
def test_a_setting_that_cannot_be_read_was_not_made(monkeypatch, tmp_path, text, found):
    (tmp_path / "default").mkdir()
    if text is not None:
        (tmp_path / "default" / "comfy.settings.json").write_text(text)
    monkeypatch.setattr(folders, "folder_paths", lambda: SimpleNamespace(get_user_directory=lambda: str(tmp_path)))
    assert folders.user_setting("a") is found
    monkeypatch.setattr(folders, "folder_paths", lambda: None)
    assert folders.user_setting("a") is None


def test_what_fails_at_the_start_does_not_stop_the_server(monkeypatch, caplog):
    class Hooks(list):
        frozen = False

    app = SimpleNamespace(on_startup=Hooks())
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(app=app))))

    async def broken():
        raise RuntimeError("of this test")

    server.when_started(broken)
    (started,) = app.on_startup
    asyncio.run(started(app))
    assert "of this test" in caplog.text
    app.on_startup.frozen = True
    server.when_started(broken)
    assert len(app.on_startup) == 1, "it is too late"


def test_a_second_copy_of_the_pack_leaves_the_address_to_the_first(monkeypatch, caplog):
    """ComfyUI does not start if an address is registered twice."""

    class Routes(list):
        def get(self, path):
            return lambda handler: self.append(SimpleNamespace(path=path, handler=handler))

    routes = Routes([SimpleNamespace(prefix="/a_folder_of_another_pack")])
    instance = SimpleNamespace(routes=routes)
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance)))
    for _ in range(2):
        server.answer_page("/depth_normal/test", dict)
    assert len(routes) == 2
    assert [f"this pack twice, and ComfyUI uses the copy loaded last, {ROOT}" in line for line in caplog.messages] == [True]


def test_a_script_that_names_what_nobody_serves_runs_with_the_own_node(monkeypatch):
    comfyui_with(monkeypatch, **{"BAE-NormalMapPreprocessor": "aux", "DepthNormal_ZoeDepthMap": "ours"})
    names = ["BAE-NormalMapPreprocessor", "Zoe-DepthMapPreprocessor", "LoadImage"]
    posted = {"prompt": {name: {"class_type": name, "inputs": {}} for name in names}, "client_id": "me"}
    given = [node["class_type"] for node in old_ids.with_own_ids(posted)["prompt"].values()]
    assert given == ["BAE-NormalMapPreprocessor", "DepthNormal_ZoeDepthMap", "LoadImage"]
    for odd in ({}, {"prompt": None}, {"prompt": {"1": None, "2": {}}}):
        assert old_ids.with_own_ids(odd) is odd


def test_an_old_prompt_keeps_the_old_default_with_the_own_node(monkeypatch):
    comfyui_with(monkeypatch, DepthNormal_DepthAnything="ours")
    prompts = [{"class_type": "DepthAnythingPreprocessor", "inputs": inputs} for inputs in ({}, {"ckpt_name": "tiny"})]
    posted = old_ids.with_own_ids({"prompt": dict(enumerate(prompts))})["prompt"]
    assert [node["class_type"] for node in posted.values()] == ["DepthNormal_DepthAnything"] * 2
    assert [node["inputs"]["ckpt_name"] for node in posted.values()] == ["depth_anything_vitl14.pth", "tiny"]


def test_nodes_of_the_pack_with_prefixed_ids_are_replaced_only_where_it_is_absent(monkeypatch):
    own = {"a", "resolution", "model"}
    for pack, expected in (("inference_core", "Inference_Core_MiDaS-DepthMapPreprocessor"), (None, "DepthNormal_MiDaSDepthMap")):
        comfyui_with(monkeypatch, **({expected: pack} if pack else {}))
        posted = {"prompt": {"1": {"class_type": "Inference_Core_MiDaS-DepthMapPreprocessor", "inputs": dict.fromkeys(own, 1)}}}
        node = old_ids.with_own_ids(posted)["prompt"]["1"]
        assert node["class_type"] == expected and set(node["inputs"]) == own
    for prefixed, own_id in old_ids.PREFIXED.items():
        assert own_id in NODE_CLASS_MAPPINGS and prefixed not in NODE_CLASS_MAPPINGS


def test_inputs_that_had_another_name_are_given_by_it():
    posted = {"prompt": {"3": {"class_type": "DepthNormal_LBMNormals", "inputs": {"image": ["1", 0], "depth": ["2", 1]}}}}
    assert old_ids.with_own_ids(posted)["prompt"]["3"]["inputs"] == {"image": ["1", 0], "geometry": ["2", 1]}
    for node, names in old_ids.OWN_INPUTS.items():
        known = {name for group in NODE_CLASS_MAPPINGS[node].INPUT_TYPES().values() for name in group}
        assert not known & set(names) and set(names.values()) <= known
