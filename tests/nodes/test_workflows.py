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


@each_workflow
def test_the_model_a_note_names_first_is_chosen(path):
    """A default depends on what is on the disk where the template was written."""
    first = re.search(r"^\*\*Models?\*\*: (.*?), downloaded", note(path), re.M)
    named = re.findall(r"\*\*([a-z0-9.-]+)\*\*", first[1]) if first else []
    values = [value for node in json.loads(path.read_text())["nodes"] for value in [node["type"], *(node.get("widgets_values") or [])]]
    assert set(named) <= {NAMES.get(value, value) for value in values if isinstance(value, str)}


@each_workflow
def test_a_note_names_widgets_as_the_page_shows_them(path):
    types = {node["type"] for node in json.loads(path.read_text())["nodes"]} & set(NODE_CLASS_MAPPINGS)
    labels = {name: options.get("display_name", name) for each in types for name, (_, options) in widgets(each).items()}
    named = re.findall(r"(?<!\*)\*{1,2}(\w+)\*{1,2}(?!\*)", note(path))
    assert [name for name in named if labels.get(name, name) != name] == []


def test_the_page_orders_every_workflow():
    listed = re.findall(r"'([^']+)'", (ROOT / "web" / "templates.mjs").read_text().partition("ORDER = [")[2].partition("]")[0])
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


@each_workflow
def test_the_pages_map_hides_no_result(path):
    """In a window of 1366 x 650, of which the page fits a graph into three quarters, with 10 pixels around it."""
    if path.stem == "ZoeDepth in Metres":
        pytest.skip("its tall nodes leave no other place")
    graph = json.loads(path.read_text())
    boxes = {node["id"]: (x, y - 30, x + w, y + h) for node in graph["nodes"] for (x, y), (w, h) in [(node["pos"], node["size"])]}
    (left, right), (top, bottom) = ((min(box[i] for box in boxes.values()), max(box[i + 2] for box in boxes.values())) for i in (0, 1))
    scale = 0.75 * min(1366 / (right - left + 20), 650 / (bottom - top + 20))
    corner = (left + right) / 2 + 427 / scale, (top + bottom) / 2 + 68 / scale
    for x, y, end, low in (boxes[number] for number in graph["extra"]["linearData"]["outputs"]):
        hidden = max(0, end - max(x, corner[0])) * max(0, low - max(y, corner[1]))
        assert hidden < 0.2 * (end - x) * (low - y)


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


@pytest.mark.parametrize("path", sorted((ROOT / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_a_blueprint_fits_the_nodes(path):
    graph = json.loads(path.read_text(encoding="utf-8"))
    (outside,), (inside,) = graph["nodes"], graph["definitions"]["subgraphs"]
    assert outside["type"] == inside["id"]
    nodes = {node["id"]: node for node in inside["nodes"]}
    for node in nodes.values():
        expected = widgets(node["type"])
        assert len(node["widgets_values"]) == len(expected)
        for value, (kind, options) in zip(node["widgets_values"], expected.values(), strict=True):
            assert value in kind if isinstance(kind, list) else options.get("min", value) <= value <= options.get("max", value)
    assert [each["name"] for each in outside["inputs"]] == [each["name"] for each in inside["inputs"]]
    assert "model" in [each["widget"]["name"] for each in outside["inputs"] if "widget" in each]
    for link in inside["links"]:
        if link["origin_id"] > 0:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] > 0:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    required = [name for node in nodes.values() for name in NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()["required"]]
    linked = [each["name"] for node in nodes.values() for each in node["inputs"] if each["link"]]
    assert set(required) <= set(linked)


def test_a_template_that_does_not_fit_or_hides_a_link_is_refused(descriptions):
    place = descriptions.place
    sizes = dict.fromkeys((1, 2, 3), (350, 300))
    assert place([(1,), (2,)], sizes, [(1, 0, 2, 0)])[2][0] == 40 + 350 + 80
    with pytest.raises(ValueError, match="more than 1740 x 800"):
        place([(1, 2, 3)], {**sizes, 3: (350, 500)}, [])
    with pytest.raises(ValueError, match="leads to the left"):
        place([(1, 2)], sizes, [(1, 0, 2, 0)])
    with pytest.raises(ValueError, match="behind"):
        place([(1,), (2,), (3,)], {**sizes, 2: (350, 770)}, [(1, 0, 3, 0)])


def note(path: Path) -> str:
    (text,) = (node["widgets_values"][0] for node in json.loads(path.read_text())["nodes"] if "Note" in node["type"])
    return text
