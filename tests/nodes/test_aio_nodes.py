"""The old pack's node for all preprocessors: its contract, what it runs, what it says of the others, and who owns the id."""

import importlib
import inspect
import sys
from types import SimpleNamespace

import pytest
import torch

import depth_normal
from depth_normal.nodes import aio
from depth_normal.nodes.legacy import LEGACY_CATEGORY
from tests.forked import forked, needs_fork

MAPPINGS = depth_normal.NODE_CLASS_MAPPINGS
OWN = [name for name, node in MAPPINGS.items() if node.CATEGORY == LEGACY_CATEGORY]
AIO = aio.AioPreprocessor


def test_the_list_has_all_that_a_saved_graph_may_have_the_packs_own_first():
    listed = AIO.INPUT_TYPES()["optional"]["preprocessor"][0]
    assert listed[: len(OWN) + 1] == ["none", *OWN] and len(listed) == len(set(listed))
    assert set(aio.OTHERS) | {"none"} <= set(listed)
    assert {"MiDaS-NormalMapPreprocessor", "Zoe-DepthMapPreprocessor", "DepthAnythingV2Preprocessor"} <= set(OWN)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_choice_is_told_as_such(empty):
    """The old pack refuses it too; an old graph has it where the page did not know the node."""
    said = "choose a node in the widget preprocessor, which is empty, e.g. MiDaS-NormalMapPreprocessor; none gives the image unchanged"
    assert AIO.VALIDATE_INPUTS(empty).startswith(said)
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
        asked.append(signature.bind(self, *positional, **named).arguments)
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


@pytest.mark.parametrize("name", ["CannyEdgePreprocessor", "OpenposePreprocessor", "SomethingNewPreprocessor"])
def test_another_packs_preprocessor_is_named_with_the_pack_to_install(name):
    said = AIO.VALIDATE_INPUTS(name)
    assert said.startswith(f"install the pack comfyui_controlnet_aux (by ComfyUI Manager) for '{name}'")
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
