"""The published workflows, read as files: what they save fits the nodes as they are now."""

import json
import re
import sys
from pathlib import Path

import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.annotators.registry import all_specs

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SIMPLE = ("INT", "FLOAT", "STRING", "BOOLEAN", "COLOR")
NAMES = {"depth_anything_v2_vits.pth": "depth-anything-v2-small", "DepthNormal_BAENormalMap": "bae-normal"}
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def widgets(node_type: str) -> dict[str, tuple]:
    """The widgets of a node in the page's order."""
    inputs = NODE_CLASS_MAPPINGS[node_type].INPUT_TYPES()
    both = {**inputs["required"], **inputs.get("optional", {})}
    return {name: (kind, options) for name, (kind, options) in both.items() if isinstance(kind, list) or kind in SIMPLE}


def saved_nodes() -> list:
    nodes = [(path.stem, node) for path in WORKFLOWS for node in json.loads(path.read_text())["nodes"]]
    return [pytest.param(node, id=f"{name}-{node['id']}") for name, node in nodes if node["type"] in NODE_CLASS_MAPPINGS]


@pytest.mark.parametrize("node", saved_nodes())
def test_a_value_is_saved_for_every_widget_and_its_sockets_are_the_nodes(node):
    """A widget that came later would show its default, and a default may change."""
    expected = widgets(node["type"])
    assert len(node["widgets_values"]) == len(expected), list(expected)
    for (name, (kind, options)), value in zip(expected.items(), node["widgets_values"], strict=True):
        if isinstance(kind, list):
            assert value in kind, name
        else:
            assert type(value) is type(options["default"]) or kind == "FLOAT", name
            assert options.get("min", value) <= value <= options.get("max", value), name
    assert {each["name"] for each in node["inputs"] if "widget" in each} <= set(expected)
    inputs = NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()
    assert {each["name"] for each in node["inputs"]} <= {*inputs.get("required", {}), *inputs.get("optional", {})}


@each_workflow
def test_a_note_says_size_and_licence_of_every_model(path):
    text = note(path)
    values = (value for node in json.loads(path.read_text())["nodes"] for value in [node["type"], *(node.get("widgets_values") or [])])
    specs = {spec.id: spec for spec in all_specs()}
    models = {NAMES.get(value, value) for value in values if isinstance(value, str)} & set(specs)
    for model in models:
        spec = specs[model]
        assert model in text and spec.size_in_words in text, model
        licence = spec.licence.replace("CC-BY", "CC BY").replace("-NC-4", " NC 4")
        assert any(word in text.replace("-NC", " NC") for word in (licence, "code MIT, trained on ScanNet")), spec.licence
    assert ("**No download" in text) == (models <= {"tiny"} or path.stem == "Compare Models")


def test_the_page_orders_every_workflow():
    listed = re.findall(r"'([^']+)'", (ROOT / "web" / "templates.js").read_text().partition("ORDER = [")[2].partition("]")[0])
    assert sorted(listed) == sorted(path.stem for path in WORKFLOWS) and listed[0] == "Depth and Normals"


@each_workflow
def test_app_mode_has_the_image_first_and_shows_results(path):
    graph = json.loads(path.read_text())
    nodes = {node["id"]: node for node in graph["nodes"]}
    shown = graph["extra"]["linearData"]
    assert nodes[shown["inputs"][0][0]]["type"].startswith("DepthNormal_Demo")
    for number, widget in shown["inputs"]:
        assert widget in {each["name"] for each in nodes[number]["inputs"] if "widget" in each}, (nodes[number]["type"], widget)
        assert nodes[number]["mode"] == 0
    assert shown["outputs"] and all(nodes[number]["mode"] == 0 for number in shown["outputs"])


@pytest.fixture(scope="module")
def descriptions():
    """docs/make_workflows.py, which the pack does not contain."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        yield pytest.importorskip("make_workflows")
    finally:
        sys.path.remove(str(ROOT / "docs"))
        for name in ("make_workflows", "workflow_graphs", "workflow_layout"):
            sys.modules.pop(name, None)


@pytest.mark.slow("takes most of a second")
def test_every_workflow_is_what_its_description_says(descriptions):
    """`python docs/make_workflows.py` writes the files; nobody edits them by hand."""
    made = {graph.name: descriptions.as_json(graph) for graph in descriptions.GRAPHS}
    assert sorted(made) == sorted(path.stem for path in WORKFLOWS)
    assert [path.stem for path in WORKFLOWS if made[path.stem] != path.read_text(encoding="utf-8")] == []


def test_every_blueprint_is_what_its_description_says(descriptions):
    files = sorted((ROOT / "subgraphs").glob("*.json"))
    assert [path.stem for path in files] == sorted(each.name for each in descriptions.BLUEPRINTS)
    for blueprint in descriptions.BLUEPRINTS:
        assert (ROOT / "subgraphs" / f"{blueprint.name}.json").read_text(encoding="utf-8") == descriptions.blueprint_json(blueprint)


def note(path: Path) -> str:
    (text,) = (node["widgets_values"][0] for node in json.loads(path.read_text())["nodes"] if "Note" in node["type"])
    return text
