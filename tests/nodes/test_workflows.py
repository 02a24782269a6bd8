"""The published workflows, read as files: what they save fits the nodes as they are now."""

import json
from pathlib import Path

import pytest

from depth_normal import NODE_CLASS_MAPPINGS

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
SIMPLE = ("INT", "FLOAT", "STRING", "BOOLEAN", "COLOR")


def widgets(node_type: str) -> dict[str, tuple]:
    """The widgets of a node in the page's order."""
    inputs = NODE_CLASS_MAPPINGS[node_type].INPUT_TYPES()
    both = {**inputs["required"], **inputs.get("optional", {})}
    return {name: (kind, options) for name, (kind, options) in both.items() if isinstance(kind, list) or kind in SIMPLE}


def saved_nodes() -> list:
    nodes = [(path.stem, node) for path in WORKFLOWS for node in json.loads(path.read_text())["nodes"]]
    return [pytest.param(node, id=f"{name}-{node['id']}") for name, node in nodes if node["type"] in NODE_CLASS_MAPPINGS]


@pytest.mark.parametrize("node", saved_nodes())
def test_a_value_is_saved_for_every_widget(node):
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


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_notes_are_read_on_their_colour(path):
    """Nodes 2.0 writes inline code in blue on the note's brown: words that matter are bold."""
    notes = [node["widgets_values"][0] for node in json.loads(path.read_text())["nodes"] if "Note" in node["type"]]
    assert notes and not any("`" in text for text in notes)
