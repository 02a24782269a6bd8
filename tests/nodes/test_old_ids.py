"""Ids of other packs: each node has one of this pack's own; others may serve them; the node for all preprocessors runs them."""

import asyncio
import importlib
import inspect
import json
import logging
import re
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import depth_normal
from depth_normal import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader.comfy import host as folders
from depth_normal.model_loader.comfy import host as server
from depth_normal.nodes import NODES, aio, depth_anything_v2, old_ids
from depth_normal.nodes.depth_maps import V1_FILES, V2_FILES
from depth_normal.nodes.legacy import LEGACY_CATEGORY
from depth_normal.nodes.old_ids import OWN_IDS, SMALL_DEFAULTS, WITHOUT_TWIN
from tests.forked import forked, needs_fork

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
    inputs["optional"][widget][1]["default"] = inputs["optional"][widget][1].pop(old_ids.AS_BEFORE)
    assert inputs == before and list(inputs["optional"]) == list(before["optional"])
    now, then = (inspect.signature(node.execute).parameters for node in (own, old))
    assert now[widget].default == small and {**now, widget: then[widget]} == dict(then)
    sizes = {"small": "depth-anything-v2-metric-indoor-small", "large": "depth-anything-v2-metric-indoor-large"}
    ids = {**sizes, **V1_FILES, **V2_FILES, **depth_anything_v2.FILES}
    labels = {choice: MODELS[ids.get(choice, choice)].size for choice in (small, large)}
    assert labels[small] < labels[large] / 4 and MODELS[ids.get(small, small)].commercial_use == "yes"


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
    ("", [], True), ("0", [], False), ("off", [True], False), ("", [True, False], False), ("", [True], True), ("1", [False], True),
])  # fmt: skip
def test_the_variable_goes_before_the_setting(monkeypatch, said, setting, served):
    monkeypatch.setenv(old_ids.VARIABLE, said)
    monkeypatch.setattr(old_ids, "user_settings", {old_ids.SETTING: setting}.get)
    assert old_ids.are_served() is served


def test_ids_that_are_left_to_others_are_not_there():
    left = old_ids.with_twins(NODES, old=False)
    assert not {*OWN_IDS, *WITHOUT_TWIN} & set(left) and set(OWN_IDS.values()) <= set(left)


def comfyui_with(monkeypatch, **nodes):
    """ComfyUI's table of nodes: a pack's name by id."""
    mappings = {
        node_id: SimpleNamespace(
            RELATIVE_PYTHON_MODULE=f"custom_nodes.{pack}", INPUT_TYPES=lambda node_id=node_id: NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
        )
        for node_id, pack in nodes.items()
    }
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
    ("text", "found"), [('{"a": false}', [False]), ("{}", []), ("[1]", []), ("{", []), ("[" * 100_000, []), (None, [])]
)
def test_a_setting_that_cannot_be_read_was_not_made(monkeypatch, tmp_path, text, found):
    for user in ("default", "anna_1"):
        (tmp_path / user).mkdir()
        if text is not None:
            (tmp_path / user / "comfy.settings.json").write_text(text)
    monkeypatch.setattr(folders, "folder_paths", lambda: SimpleNamespace(get_user_directory=lambda: str(tmp_path)))
    assert folders.user_settings("a") == found
    monkeypatch.setitem(sys.modules, "comfy.cli_args", SimpleNamespace(args=SimpleNamespace(multi_user=True)))
    assert folders.user_settings("a") == 2 * found
    monkeypatch.setattr(folders, "folder_paths", lambda: None)
    assert folders.user_settings("a") == []


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


@pytest.mark.parametrize(("name", "said"), [("ComfyUI-Depth-Normal-main_1.2(3)+", 0), ("Depth Normal", 1), ("Tiefe-ü", 1)])
def test_a_folder_whose_scripts_comfyui_does_not_serve_is_named(monkeypatch, caplog, name, said):
    routes = [SimpleNamespace(path=f"/extensions/{name}/a.js")]
    monkeypatch.setattr(server, "prompt_server", lambda: SimpleNamespace(routes=routes))
    monkeypatch.setattr(server, "__file__", f"/custom_nodes/{name}/model_loader/comfy/host.py")
    server.answer_script("a.js", str)
    assert sum(f"from a folder named {name!r}; rename it" in line for line in caplog.messages) == said


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


def test_an_old_prompts_unknown_inputs_do_not_reach_the_own_node(monkeypatch):
    comfyui_with(monkeypatch, DepthNormal_MiDaSDepthMap="ours")
    inputs = {"image": ["1", 0], "a": 6.28, "mask": ["1", 1]}
    posted = {"prompt": {"2": {"class_type": "MiDaS-DepthMapPreprocessor", "inputs": inputs}}}
    assert set(old_ids.with_own_ids(posted)["prompt"]["2"]["inputs"]) == {"image", "a", "model"}


@pytest.mark.parametrize("node_id", [*OWN_IDS, *WITHOUT_TWIN, *OWN_IDS.values()])
def test_an_old_id_ignores_inputs_that_it_does_not_have_and_an_own_id_refuses_them(node_id, caplog):
    """The old packs' nodes take **kwargs, and ComfyUI passes every linked input on."""
    node = NODE_CLASS_MAPPINGS[node_id]
    required = node.INPUT_TYPES()["required"]
    if node_id in OWN_IDS.values():
        with pytest.raises(TypeError, match="unexpected keyword argument 'mask'"):
            node().execute(**dict.fromkeys(required), mask=1)
        return
    with pytest.raises(TypeError, match="missing a required argument") if required else nullcontext():
        node().execute(mask=1)
    assert "ignored, as this node has no such input: mask" in caplog.text
    assert not hasattr(node, "IS_CHANGED") or isinstance(node.IS_CHANGED(mask=None), str)


def test_an_old_graph_with_one_input_more_gives_its_image():
    image = torch.rand(1, 48, 64, 3)
    inputs = {"image": image, "resolution": 64, "model": "tiny"}
    alone, beside = (
        NODE_CLASS_MAPPINGS["MiDaS-NormalMapPreprocessor"]().execute(**inputs, **more) for more in ({}, {"mask": image[..., 0]})
    )
    assert torch.equal(alone[0], beside[0])


@pytest.mark.parametrize(("old_id", "name"), old_ids.METHODS.items())
def test_scripts_call_an_old_id_by_the_old_packs_name(old_id, name):
    node = NODE_CLASS_MAPPINGS[old_id]
    assert getattr(node, name) is node.execute and old_id in OWN_IDS


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


# --- AIO_Preprocessor ---


MAPPINGS = depth_normal.NODE_CLASS_MAPPINGS
OWN = [name for name, node in MAPPINGS.items() if node.CATEGORY == LEGACY_CATEGORY]
AIO = aio.AioPreprocessor


def test_the_list_has_all_that_a_saved_graph_may_have_the_packs_own_first():
    listed = AIO.INPUT_TYPES()["optional"]["preprocessor"][0]
    assert listed[: len(OWN) + 1] == ["none", *OWN] and len(listed) == len(set(listed))
    assert set(aio.OTHERS) | {"none"} <= set(listed)
    assert {"MiDaS-NormalMapPreprocessor", "Zoe-DepthMapPreprocessor", "DepthAnythingV2Preprocessor"} <= set(OWN)


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_an_empty_choice_is_told_as_such(empty):
    """The old pack refuses it too; an old graph has it where the page did not know the node."""
    said = "choose a node in the widget preprocessor, which is empty, e.g. MiDaS-NormalMapPreprocessor; none gives the image unchanged"
    assert empty is None or AIO.VALIDATE_INPUTS(empty).startswith(said)
    with pytest.raises(ValueError, match=said):
        AIO().execute(torch.rand(1, 8, 8, 3), empty)


def test_none_gives_the_image_back():
    image = torch.rand(2, 24, 32, 3)
    assert AIO().execute(image)[0] is image and AIO().execute(image, "none", 64)[0] is image


@pytest.mark.parametrize("name", OWN)
def test_a_node_runs_with_its_widgets_at_their_defaults(name, monkeypatch):
    node, asked = MAPPINGS[name], []
    signature = inspect.signature(node.execute)

    def execute(self, *positional, **named):
        bound = signature.bind(self, *positional, **named)
        bound.apply_defaults()
        asked.append(bound.arguments)
        return ("the map",)

    monkeypatch.setattr(node, "execute", execute)
    image = torch.rand(1, 8, 8, 3)
    assert AIO().execute(image, name, 128) == ("the map",)
    (arguments,) = asked
    assert arguments.pop("image") is image and arguments.pop("resolution") == 128
    optional = node.INPUT_TYPES()["optional"]
    assert {key: value for key, value in arguments.items() if key != "self"} == {
        key: widget[1]["default"] for key, widget in optional.items() if key != "resolution"
    }


@pytest.mark.parametrize("name", ["CannyEdgePreprocessor", "OpenposePreprocessor", "SomethingNewPreprocessor", 5, ["none"]])
def test_another_packs_preprocessor_is_named_with_the_pack_to_install(name):
    said = AIO.VALIDATE_INPUTS(name)
    assert said.startswith(f"install the pack comfyui_controlnet_aux (by ComfyUI Manager) for {name!r}")
    assert all(own in said for own in OWN)
    with pytest.raises(ValueError, match="install the pack comfyui_controlnet_aux"):
        AIO().execute(torch.rand(1, 8, 8, 3), name)


def test_what_can_run_is_accepted():
    assert all(AIO.VALIDATE_INPUTS(name) is True for name in ("none", *OWN, None)), "None: another node gives the choice"


@needs_fork
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("before", "own"), [("AIO_Preprocessor", False), ("KSampler", True)])
def test_where_the_old_pack_was_loaded_before_its_node_stays(before, own):
    """Where it is loaded later, ComfyUI itself gives it the id."""

    def load():
        for name in [name for name in sys.modules if name.partition(".")[0] == "depth_normal"]:
            del sys.modules[name]
        sys.modules["nodes"] = SimpleNamespace(NODE_CLASS_MAPPINGS={before: object})
        pack = importlib.import_module("depth_normal")
        assert ("AIO_Preprocessor" in pack.NODE_CLASS_MAPPINGS) is ("AIO_Preprocessor" in pack.NODE_DISPLAY_NAME_MAPPINGS) is own
        assert "MiDaS-NormalMapPreprocessor" in pack.NODE_CLASS_MAPPINGS

    with forked((load,)) as (process,):
        process.join(60)
    assert process.exitcode == 0
