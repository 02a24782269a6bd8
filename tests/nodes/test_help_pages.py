"""The help pages: a row for each input, and what resolution means for each family; the tables of all nodes."""

import importlib.util
import math
import re
import runpy
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from depth_normal import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.nodes.legacy import LEGACY_CATEGORY
from depth_normal.nodes.old_ids import OWN_IDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "web" / "docs"
PAGE = PAGES / "DepthNormal_EstimateGeometry.md"
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
    assert {path.stem for path in PAGES.glob("*.md")} == set(NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize("node", sorted(set(NODE_CLASS_MAPPINGS) - {*NODES}))
def test_the_page_of_a_deprecated_node_names_its_successor(node):
    page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
    kind, (named,) = NODE_CLASS_MAPPINGS[node], re.findall(r"^\*(.+?)\* replaces this node", page, re.MULTILINE)
    (successor,) = [NODE_CLASS_MAPPINGS[each] for each in NODES if each not in OWN_IDS and NODE_DISPLAY_NAME_MAPPINGS[each] == named]
    assert page.startswith(f"# {kind.DISPLAY_NAME}\n") and set(kind.RETURN_TYPES) <= set(successor.RETURN_TYPES)
    used = re.findall(r"(?:input|output) \*(\w+)\*", page)
    assert set(used) <= {*successor.RETURN_NAMES, *(name for group in successor.INPUT_TYPES().values() for name in group)}


@pytest.mark.quick_cases(40)
@pytest.mark.parametrize("node", NODES)
def test_rows_of_options_are_the_tooltips(node):
    """`python docs/make_help_rows.py` writes them."""
    page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
    with_rows = runpy.run_path(str(ROOT / "docs" / "make_help_rows.py"))["with_rows"]
    assert with_rows(page, NODE_CLASS_MAPPINGS[node]) == page, "python docs/make_help_rows.py"
    old = page.replace("| input | meaning |\n| --- | --- |\n", "| input | meaning |\n| --- | --- |\n| renamed_since | What it did. |\n")
    assert with_rows(old, NODE_CLASS_MAPPINGS[node]) == page, "the row of an input that is no more goes"


# --- resolution ---


WORDS = {
    "midas": "Other MiDaS networks",
    "zoedepth": "ZoeDepth",
    "depth-anything": "Depth Anything V1 and V2, Distill Any Depth",
    "zoe-depth-anything": "Zoe Depth Anything",
    "depth-anything-3": "Depth Anything 3",
    "video-depth-anything": "Video Depth Anything",
    "moge": "MoGe:",
    "metric3d": "Metric3D:",
    "leres": "LeReS:",
    "leres-boost": "leres-boost",
    "marigold": "Marigold",
    "lotus": "Lotus",
    "lbm": "LBM",
    "bae": "BAE",
    "dsine": "DSINE",
    "da2": "DA²",
    "depth-pro": "Depth Pro",
    "zipdepth": "ZipDepth",
    "tiny": ", tiny",
}
"""How the page calls them."""

FRAMES = {"depth-pro", "midas", "zoedepth", "zoe-depth-anything", "metric3d", "leres"}
"""Families that fit or stretch images to a frame, which the page describes one by one."""


def clause(family):
    assert family in WORDS, f"add what the page calls {family}"
    (told,) = [each for each in PAGE.read_text().split("\n\n") if each.startswith("**resolution**")]
    (found,) = [each for each in told.replace("\n", " ").split(". ") if WORDS[family] in each]
    return found


@pytest.mark.parametrize("family", dict.fromkeys(spec.family for spec in MODELS.values()))
def test_the_page_says_which_side_a_family_counts(family):
    said = [words for words in ("shorter side", "longer side", "pixel count") if words in clause(family)]
    if family in FRAMES or family == "leres-boost":  # the latter's networks see squares, cut from an image with this shorter side
        assert said == ([] if family in FRAMES else ["shorter side"])
        return
    spec = next(each for each in MODELS.values() if each.family == family)
    annotator, near = FAMILIES[family](spec, nn.Identity()), partial(pytest.approx, rel=0.03)
    for sides in ((960, 1280), (1280, 960), (900, 1600)):
        seen = annotator.network_size(*sides, spec.default_size)
        meaning = {"shorter side": min(seen), "longer side": max(seen), "pixel count": math.prod(seen) ** 0.5}
        assert [words for words, side in meaning.items() if side == near(spec.default_size)] == said


def test_the_page_says_it_of_both_kinds_of_midas_and_moge():
    (small,) = [each for each in PAGE.read_text().replace("\n", " ").split(". ") if "midas-v2.1-small" in each]
    assert "longer side" in small
    ((level_9, level_0),) = re.findall(r"MoGe-2: (\d+) is its authors' resolution level 9, (\d+) level 0", PAGE.read_text())
    assert int(level_9) == MODELS["moge-2-vits-normal"].default_size == 840 and int(level_0) == 485


# --- tables of all nodes ---


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
