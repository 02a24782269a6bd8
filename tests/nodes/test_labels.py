"""Widgets say what they do: names that explain nothing have labels, and tooltips begin with the effect, not with a choice."""

import pytest

from depth_normal import NODE_CLASS_MAPPINGS

# One line for each format, in the order of the list.
LINES_OF_CHOICES = {("DepthNormal_SaveGeometry", "format")}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
UNCLEAR = {"a", "bg_threshold", "coding", "film", "refine"}


def widgets_of(node):
    inputs = node.INPUT_TYPES()
    return {name: widget for group in ("required", "optional") for name, widget in inputs.get(group, {}).items()}


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_a_tooltip_begins_with_what_the_widget_does(node_id):
    widgets = widgets_of(NODE_CLASS_MAPPINGS[node_id])
    found = {}
    for name, (kind, options) in widgets.items():
        choices = [*map(str, kind)] if isinstance(kind, list) else []
        begins = [f"{word}:" for word in ("On", "Off", *choices)]
        if (node_id, name) not in LINES_OF_CHOICES and options["tooltip"].startswith(tuple(begins)):
            found[name] = options["tooltip"]
    assert found == {}


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_a_name_that_explains_nothing_has_a_label(node_id):
    widgets = widgets_of(NODE_CLASS_MAPPINGS[node_id])
    labels = {name: options.get("display_name", name) for name, (_, options) in widgets.items()}
    assert [name for name in UNCLEAR & set(labels) if labels[name] == name] == []
    assert len(set(labels.values())) == len(labels), "two widgets with one label"


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_only_widgets_have_labels(node_id):
    """On a socket without a widget the page would prefer the English label to its translation."""
    sockets = [
        options for kind, options in widgets_of(NODE_CLASS_MAPPINGS[node_id]).values() if isinstance(kind, str) and kind not in WIDGETS
    ]
    assert [options for options in sockets if "display_name" in options] == []
