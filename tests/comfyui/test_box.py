"""Points and boxes on an image of a node in ComfyUI's page, in headless Chromium: by mouse, finger and keys."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NO_POINT, NO_BOX = [-1, -1], [-1] * 4
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes2"])
def seen(request, server, run_driver):
    """What the node held after each step: the driver's report. Shots are kept in $LIVE_SHOTS, where that is set."""
    with Image.open(ROOT / "app" / "coffee.jpg") as image:
        image.resize((240, 160)).convert("L").save(server.base / "input" / "small.png")  # a depth map has no colours
    shots = os.environ.get("LIVE_SHOTS", "")
    driver = Path(__file__).with_name("box.mjs")
    return json.loads(run_driver(driver, server.address, "small.png", str(request.param).lower(), shots, timeout=600))


def near(values):
    return pytest.approx(values, abs=0.012)


def test_a_node_says_what_can_be_set_before_its_first_run(seen):
    assert "click a point or drag a box" in seen["before"] and seen["errors"] == []


def test_a_drag_is_a_box_in_any_direction_and_takes_the_points_place(seen):
    assert seen["clicked"]["point"] == near([0.3, 0.4]) and seen["clicked"]["box"] == NO_BOX
    dragged = seen["dragged"]
    assert dragged["box"] == near([0.2, 0.3, 0.8, 0.9]) and dragged["point"] == NO_POINT
    assert dragged["sides"] == [True] * 4 and not dragged["inside"] and dragged["button"]
    assert dragged["line"].startswith("box from 0.") and "run to see" in dragged["line"]


def test_the_server_masks_what_is_in_the_drawn_box(seen):
    assert [each[0] for each in (seen["first"], seen["boxed"])] == ["execution_success"] * 2
    assert seen["boxed"][1] != seen["first"][1] and seen["after"]["line"] == seen["boxed"][1], "the line is the run's again"


def test_a_box_ends_at_the_images_border_and_is_one_step_of_undo(seen):
    assert seen["beyond"]["box"] == near([0.5, 0.5, 0.9, 1])
    assert seen["undone"]["box"] == seen["dragged"]["box"] and seen["undone"]["sides"] == [True] * 4


def test_a_click_takes_the_boxs_place(seen):
    again, thin = seen["again"], seen["thin"]
    assert again["point"] == near([0.6, 0.5]) and again["box"] == NO_BOX and again["marks"]
    assert thin["point"] == near([0.4, 0.4]) and thin["box"] == NO_BOX, "a line is no box"


def test_clicks_with_keys_add_points_until_one_without(seen):
    further = seen["further"]
    more, excluded = ([[float(each) for each in word.split(",")] for word in text.split()] for text in further["further"])
    assert further["point"] == seen["again"]["point"] and more == [near([0.7, 0.6]), near([0.2, 0.3])]
    assert excluded == [near([0.9, 0.9])] and seen["thin"]["further"] == ["", ""]


def test_keys_make_enlarge_and_move_a_box(seen):
    assert seen["keyed"]["box"] == near([0.3, 0.3, 0.51, 0.5]) and seen["keyed"]["point"] == NO_POINT
    assert seen["moved"]["box"] == near([0.29, 0.3, 0.5, 0.55])
    assert seen["stopped"]["box"] == near([0.29, 0, 0.5, 0.25]), "whole, at the image's border"
    assert seen["point"]["point"] == near([0.51, 0.5]) and seen["point"]["box"] == NO_BOX


@pytest.mark.parametrize("way", ["escaped", "given_up", "doubled"])
def test_escape_and_a_double_click_clear_both(seen, way):
    held = seen[way]
    assert (held["point"], held["box"], held["marks"], held["button"]) == (NO_POINT, NO_BOX, False, False)


def test_a_finger_does_the_same(seen):
    assert seen["touched"]["box"] == near([0.1, 0.2, 0.7, 0.8]) and seen["touched"]["point"] == NO_POINT
    assert seen["tapped"]["point"] == near([0.5, 0.5]) and seen["tapped"]["box"] == NO_BOX


def test_a_second_finger_gives_a_drag_up(seen):
    assert seen["pinched"]["box"] == near([0.1, 0.2, 0.7, 0.8]) and seen["pinched"]["point"] == NO_POINT


@pytest.mark.parametrize("way", ["linked", "pressed"])
def test_a_side_that_another_node_gives_is_said_and_kept(seen, way):
    assert seen[way]["line"].endswith("comes from another node")
    assert seen[way]["box"] == near([0.2, 0.2, 0.7, 0.7])


def test_a_node_with_a_point_alone_keeps_to_it(seen):
    *points, line = seen["alone"]
    assert points == [[0.2, 0.3], [0.6, 1], NO_POINT] and line == "point_x comes from another node"
