"""What ComfyUI's page holds of live images, in headless Chromium: deleted nodes leave nothing."""

import json
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "workflows" / "Relight Live.json"
NODES = 30
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module")
def report(server, run_driver):
    """Megabytes in the page before and after thirty nodes were added and deleted, twice, in each renderer."""
    photo = cv2.imread(str(ROOT / "app" / "coffee.jpg"))
    cv2.imwrite(str(server.base / "input" / "small.png"), cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA))
    words = [server.address, WORKFLOW, "small.png"]
    return json.loads(run_driver(Path(__file__).with_name("page_memory.mjs"), *words, timeout=900))


@pytest.fixture(scope="module", params=[0, 1], ids=["canvas", "nodes2"])
def seen(request, report):
    return {"errors": report["errors"], **report["renderers"][request.param]}


def test_the_measure_sees_live_images(seen):
    """Else nothing below could fail: each node has an image, maps and canvases of 320x240 pixels."""
    assert [each["loaded"] for each in (*seen["rounds"], seen["subgraph"])] == [NODES] * 3 and seen["errors"] == []
    assert seen["full"]["numbers"] > seen["before"]["numbers"] + 0.5 * NODES
    assert seen["full"]["canvases"] > seen["before"]["canvases"] + 0.5 * NODES


@pytest.mark.parametrize("kind", ["numbers", "canvases"])
def test_deleted_nodes_leave_nothing(seen, kind):
    left = [round(each[kind] - seen["before"][kind], 1) for each in seen["rounds"]]
    before, full = seen["before"][kind], seen["full"][kind]
    print(f"\n{kind}: {before:.1f} MB before, {full:.1f} MB with {NODES} nodes, then {left} MB more than before")
    assert max(left) < 4, "megabytes more than before"
    assert left[1] - left[0] < 1, "it grows from time to time"


@pytest.mark.parametrize("kind", ["numbers", "canvases"])
def test_nodes_of_a_dropped_subgraph_leave_nothing(seen, kind):
    assert seen["subgraph"][kind] - seen["before"][kind] < 4


def test_all_nodes_share_one_graphics_context(seen):
    assert {each["contexts"] for each in (seen["full"], *seen["rounds"], seen["subgraph"])} == {seen["before"]["contexts"]}
