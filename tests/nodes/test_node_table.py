"""benchmarks/nodes.md is what `python benchmarks/node_table.py` writes; docs/nodes.md has every node under its group of the menu."""

import importlib.util
import re
from pathlib import Path

from depth_normal import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from depth_normal.nodes.old_ids import OWN_IDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_nodes_is_up_to_date():
    spec = importlib.util.spec_from_file_location("node_table", ROOT / "benchmarks" / "node_table.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "benchmarks" / "nodes.md").read_text(encoding="utf-8") == script.page(), "python benchmarks/node_table.py"


def test_the_page_of_nodes_has_each_node_once_under_its_group():
    page = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
    groups = re.findall(r"^### (.+)\n((?:(?!^#).*\n)*)", page, re.MULTILINE)
    named = [
        (group, name)
        for group, text in groups
        for cell in re.findall(r"^\| ([A-Z][^|]*) \|", text, re.MULTILINE)
        for name in cell.split(", ")
    ]
    expected = [
        (kind.CATEGORY.rpartition("/")[2], NODE_DISPLAY_NAME_MAPPINGS[node])
        for node, kind in NODE_CLASS_MAPPINGS.items()
        if node not in OWN_IDS and not hasattr(kind, "DEPRECATED")
    ]
    assert sorted(named) == sorted(expected)
