"""The contract with ComfyUI, short enough to be run on every version: nodes as described here, and one prompt over several sockets.

.ci/run runs it on the newest and the oldest ComfyUI that the registry has; docs/contributing/comfyui-versions.md says how on others.
"""

import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from tests import object_info as INFO
from tests.prompts import call, colour, ours

pytestmark = pytest.mark.comfyui


def test_every_node_is_served_as_it_is_described(bare_server):
    assert "IMPORT FAILED" not in bare_server.log
    info = bare_server.request("/object_info")
    ours = INFO.described(NODE_CLASS_MAPPINGS)
    assert not ours.keys() - info.keys()
    served = {name: served_node(info[name], ours[name]) for name in ours}
    assert not INFO.broken(ours, served)
    made = [path for folder in ("models", "cache", "hf") for path in bare_server.base.glob(f"{folder}/**/*") if path.is_file()]
    assert not made, "describing the nodes fetches nothing"
    assert all(info[name]["python_module"] == "custom_nodes.ComfyUI-Depth-Normal" for name in ours)


def served_node(node: dict, ours: dict) -> dict:
    """A node of /object_info as tests/object_info.py describes it; lists that depend on the machine have our choices."""
    known = {each["name"]: each for each in ours["inputs"]}
    inputs = []
    for group in ("required", "optional"):
        for name in node["input_order"].get(group, []):
            kind, settings = [*node["input"][group][name], {}][:2]
            # Newer versions write the choices of a list into its options
            choices = kind if isinstance(kind, list) else settings.get("options") if kind == "COMBO" else None
            entry = {"name": name, "type": kind if choices is None else "COMBO", "required": group == "required"}
            if entry["type"] in INFO.WIDGETS:
                entry["default"] = settings.get("default", choices[0] if choices else None)
            if choices is not None:
                machine = "remote" in settings or "image_upload" in settings or name == "file"
                entry["choices"] = known[name].get("choices", []) if machine else choices
            inputs.append(entry)
    return {"inputs": inputs, "outputs": node["output"]}


def test_a_prompt_runs_over_our_sockets_and_cores(bare_server):
    """The first node of the README, two renderers, a mesh for core's node, and one that shows its result on itself."""
    graph = {
        "1": colour(96, count=2, color=0x7090C0),
        "2": ours("DepthAndNormals", image=["1", 0], model="tiny", resolution=64),
        "3": ours("RenderDepth", geometry=["2", 3]),
        "4": ours("Relight", image=["1", 0], geometry=["2", 3]),
        "5": ours("GeometryToMesh", geometry=["2", 3], image=["1", 0]),
        "6": call("SaveGLB", mesh=["5", 0], filename_prefix="contract"),
        "7": ours("PreviewGeometry", geometry=["2", 3]),
        **{f"p{node}": call("PreviewImage", images=[node, 0]) for node in "234"},
    }
    outputs = bare_server.finished(graph)
    assert [len(outputs[f"p{node}"]["images"]) for node in "234"] == [2, 2, 2] and len(outputs["6"]["3d"]) == 2 and outputs["7"]
