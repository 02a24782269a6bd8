"""The help pages: each node has one, with a row for each of its inputs."""

import re
import runpy
from pathlib import Path

import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.legacy import LEGACY_CATEGORY

PAGES = Path(__file__).resolve().parents[2] / "web" / "docs"


NODES = [node_id for node_id, node in NODE_CLASS_MAPPINGS.items() if not getattr(node, "DEPRECATED", False)]


@pytest.mark.parametrize("node", NODES)
def test_a_page_names_every_input_and_its_images_are_there(node):
    page, inputs = (PAGES / f"{node}.md").read_text(encoding="utf-8"), NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    rows_by = f"no row in web/docs/{node}.md; `python docs/make_help_rows.py` writes those of nodes with options"
    assert page.startswith(f"# {NODE_CLASS_MAPPINGS[node].DISPLAY_NAME}\n")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    names = [*inputs.get("required", {}), *inputs.get("optional", {})]
    assert [name for name in names if not re.search(rf"\b{name}\b", rows)] == [], rows_by
    assert [image for image in re.findall(r"!\[.*?\]\((.*?)\)", page) if not (PAGES / image).is_file()] == [], (
        "no such file in web/docs; `python docs/make_effect_images.py EFFECT` makes an effect's"
    )
    assert not re.search(r"(?<!\]\()https?://", page), "an address that is no link is cut off by the narrow panel"
    assert "control_" not in rows, "in a table the panel cuts off the names of ControlNet's files"


@pytest.mark.parametrize("node", [name for name in NODES if NODE_CLASS_MAPPINGS[name].CATEGORY == LEGACY_CATEGORY])
def test_a_page_of_an_old_node_names_every_choice(node):
    page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
    for name, (kind, _) in NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["optional"].items():
        choices = kind if isinstance(kind, list) and name != "precision" else ()
        assert [choice for choice in choices if not re.search(rf"(?<![\w-]){re.escape(choice)}(?![\w-])", page)] == []


@pytest.mark.parametrize(
    ("begins", "words"),
    [
        ("LeReS-", "not for commercial use"),
        ("DSINE-", "not for commercial use"),
        ("Metric3D-", "unclear"),
        ("BAE-", "unclear"),
        ("DepthAnythingV2Preprocessor", "not for commercial use"),
        ("DepthNormal_LBM", "not for commercial use"),
    ],
)
def test_node_and_page_say_that_the_weights_are_restricted(begins, words):
    restricted = [node for node in NODES if node.startswith(begins)]
    assert restricted
    for node in restricted:
        assert words in (PAGES / f"{node}.md").read_text(encoding="utf-8").replace("CC BY-NC 4.0", "not for commercial use")
        assert words in NODE_CLASS_MAPPINGS[node].DESCRIPTION.replace("CC BY-NC 4.0", "not for commercial use")


def test_every_page_is_a_nodes():
    assert {path.stem for path in PAGES.glob("*.md")} == set(NODES)


def test_the_first_nodes_page_says_what_its_tooltips_say():
    """Page and node are changed apart, and this page is read first. A row may say more than the tooltip."""
    text = (PAGES / "DepthNormal_DepthAndNormals.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE))
    node = NODE_CLASS_MAPPINGS["DepthNormal_DepthAndNormals"]
    inputs = {name: options["tooltip"] for group in node.INPUT_TYPES().values() for name, (_, options) in group.items()}
    for name, tooltip in (*inputs.items(), *zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)):
        said = re.sub(r"[*`]", "", rows[name])
        for model, file in (("1.1 (normalbae)", "control_v11p_sd15_normalbae"), ("1.0 (normal)", "control_sd15_normal")):
            said = said.replace(f"ControlNet {model}", file)  # the panel is too narrow for the files' names
        assert [sentence for sentence in re.split(r"(?<=\.) ", tooltip) if sentence not in said] == [], name


@pytest.mark.parametrize("node", [name for name in NODES if hasattr(NODE_CLASS_MAPPINGS[name], "OPTIONS")])
def test_rows_of_options_are_the_tooltips(node):
    """`python docs/make_help_rows.py` writes them."""
    page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
    with_rows = runpy.run_path(str(PAGES.parents[1] / "docs" / "make_help_rows.py"))["with_rows"]
    assert with_rows(page, NODE_CLASS_MAPPINGS[node]) == page, "python docs/make_help_rows.py"
    old = page.replace("| input | meaning |\n| --- | --- |\n", "| input | meaning |\n| --- | --- |\n| renamed_since | What it did. |\n")
    assert with_rows(old, NODE_CLASS_MAPPINGS[node]) == page, "the row of an input that is no more goes"
