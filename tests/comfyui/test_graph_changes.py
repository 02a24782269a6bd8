"""Live images in ComfyUI's page, in headless Chromium, while the graph around them changes: each still follows the hand afterwards."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "workflows" / "Relight Live.json"
STEPS = [
    "run",
    "again",
    "undo",
    "redo",
    "back in view",
    "paste",
    "subgraph",
    "subgraph again",
    "undo in subgraph",
    "subgraph entered again",
    "unpacked",
    "tab",
    "reload",
    "run after reload",
]
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes2"])
def seen(request, server, run_driver):
    """What became of the light after each change: the driver's report. Shots are kept in $LIVE_SHOTS, where that is set."""
    with Image.open(ROOT / "app" / "coffee.jpg") as image:
        image.resize((240, 160)).save(server.base / "input" / "small.png")
    shots = os.environ.get("LIVE_SHOTS", "")
    driver = Path(__file__).with_name("graph_changes.mjs")
    return json.loads(run_driver(driver, server.address, WORKFLOW, "small.png", str(request.param).lower(), shots, timeout=400))


def test_every_change_was_made_without_an_error(seen):
    assert list(seen["steps"]) == STEPS and seen["tabs"] and seen["errors"] == []


@pytest.mark.parametrize("step", STEPS)
def test_the_light_follows_the_mouse_after(seen, step):
    after = seen["steps"][step]
    assert after.get("image"), f"the image is gone: {after}"
    assert after["hit"] and after["on"], "what is on the page is not the node's image"
    assert [after["x"], after["y"]] == pytest.approx(after["wanted"], abs=0.02), "the node's widgets"
    assert after["lit"], "the image on the page"


def test_each_drag_is_one_step_of_undo(seen):
    assert seen["undone"] == pytest.approx([0.3, 0.3], abs=0.02), "the drag before the last"
    assert seen["redone"] == pytest.approx([0.2, 0.6], abs=0.02)
    assert seen["undoneInside"] == pytest.approx([0.4, 0.6], abs=0.02), "inside a subgraph"


def test_what_was_run_is_shown_again(seen):
    assert len(seen["copies"]) == 6 and {name: shown for name, shown in seen["copies"].items() if shown is not True} == {}
    assert len(seen["again"]) == 4 and all(shown is True for shown in seen["again"].values()), (
        f"after the page was loaded again: {seen['again']}"
    )


def test_a_run_of_another_tab_is_not_shown_in_nodes_of_the_same_numbers(seen):
    assert seen["foreign"] == {"count": 3, "arrived": True, "restored": True}


def test_the_panel_of_parameters_leaves_the_width(seen):
    width, node = seen["width"]
    assert node - 40 < width <= node


def test_a_blueprint_shows_the_light_of_the_node_in_it(seen):
    blueprint = seen["blueprint"]
    assert blueprint.get("image") and blueprint["hit"] and blueprint["on"] and blueprint["lit"], blueprint
    assert seen["below"], "the image covers no widget"
    assert seen["turned"], "the angles on the blueprint follow the mouse"
