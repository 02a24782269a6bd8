"""Names of widgets that explain nothing have labels."""

import pytest

from depth_normal import NODE_CLASS_MAPPINGS

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
UNCLEAR = {"a", "bg_threshold", "coding", "film", "refine"}


def widgets_of(node):
    inputs = node.INPUT_TYPES()
    return {name: widget for group in ("required", "optional") for name, widget in inputs.get(group, {}).items()}


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
