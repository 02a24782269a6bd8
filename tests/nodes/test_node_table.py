"""docs/nodes.md is what `python docs/make_node_table.py` writes."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_nodes_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_node_table", DOCS / "make_node_table.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (DOCS / "nodes.md").read_text(encoding="utf-8") == script.page(), "python docs/make_node_table.py"
