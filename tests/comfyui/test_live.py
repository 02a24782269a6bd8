"""Images on nodes in ComfyUI's page, in headless Chromium: the light follows the hand, and is the server's light."""

import base64
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "workflows" / "Relight Live.json"
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes2"])
def seen(request, server, tmp_path_factory, run_driver):
    """What became of a drag: the driver's report. Shots are kept in $LIVE_SHOTS, where that is set."""
    shutil.copy(ROOT / "app" / "coffee.jpg", server.base / "input")
    shots = Path(os.environ.get("LIVE_SHOTS") or tmp_path_factory.mktemp("shots"))
    nodes2 = str(request.param).lower()
    files = tmp_path_factory.mktemp("files")
    np.savez(files / "depth.npz", depth=np.linspace(1, 2, 24 * 32, dtype=np.float32).reshape(24, 32), quantity="metric_depth")
    cv2.imwrite(str(files / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    words = [server.address, WORKFLOW, "coffee.jpg", nodes2, shots, files]
    return json.loads(run_driver(Path(__file__).with_name("live.mjs"), *words))


@pytest.fixture(scope="module")
def lit(server, tmp_path_factory):
    """The server's own image of the same light, by the plain API."""
    folder = tmp_path_factory.mktemp("lit")
    server.run_workflow(WORKFLOW, folder, image=ROOT / "app" / "coffee.jpg")
    (end,) = (node["id"] for node in json.loads(WORKFLOW.read_text())["nodes"] if node["type"] == "PreviewImage")
    (path,) = folder.glob(f"{end}_*.png")
    return cv2.imread(str(path))[:, :, ::-1]


def test_before_the_first_run_the_node_says_what_to_do(seen):
    assert "Run once" in seen["before"] and not seen["errors"]


def test_the_image_changes_with_the_pointer(seen):
    times = sorted(each["took"] for each in seen["milliseconds"])
    print(f"\nfrom the pointer to the image: median {times[len(times) // 2]:.0f} ms, longest {times[-1]:.0f} ms of {len(times)}")
    assert all(each["changed"] for each in seen["milliseconds"])


def test_the_preview_is_the_servers_light(seen, lit):
    preview = seen["preview"]
    shape = preview["height"], preview["width"]
    shown = np.frombuffer(base64.b64decode(preview["rgba"]), np.uint8).reshape(*shape, 4)[:, :, :3].astype(float)
    expected = cv2.resize(lit, shape[::-1], interpolation=cv2.INTER_AREA).astype(float)
    off = np.abs(shown - expected).mean()
    print(f"\nmean difference of the preview from the server's image: {off:.2f} of 255")
    assert off < 4, "beside tiny's sharp edges the server softens depth for its light; the page does not"


def test_the_pointer_sets_the_widgets_and_the_widgets_move_the_light(seen):
    dragged, moused, sun = seen["dragged"], seen["moused"], seen["sun"]
    assert (dragged["light_x"], dragged["light_y"]) == pytest.approx((0.74, 0.63), abs=0.01)
    assert (moused["light_x"], moused["light_y"]) == pytest.approx((0.25, 0.75), abs=0.02)
    assert seen["wheeled"]["light_depth"] > moused["light_depth"] == dragged["light_depth"]
    assert seen["typed"]
    assert sun["azimuth"] == 90 and sun["elevation"] == pytest.approx(45, abs=1)


def test_a_saved_graph_holds_no_more_than_the_nodes_widgets(seen):
    kept = seen["saved"]
    assert kept[: len(seen["values"])][7:] == seen["values"][7:], "by position, as before; the light was dragged"
    assert len(kept) == len(seen["sun"])
    assert not any(isinstance(value, dict) or (isinstance(value, str) and "png" in value) for value in kept)


def test_the_image_comes_back_without_a_run_and_after_the_context_was_lost(seen):
    assert seen["restored"] and seen["context"]


def test_preview_geometry_says_what_it_holds(seen):
    geometry = seen["geometry"]
    assert geometry["line"].startswith("relative, 0 far to 100 near, ") and "normals OpenGL" in geometry["line"]
    assert re.match(r"relative \d+ \(0 far, 100 near\), faces ", geometry["under"])
    assert geometry["tiles"] == 2, "depth and normals; the mask is fully valid"
    assert geometry["enlarged"] and geometry["same"] and not geometry["beside"], "the best grid; the same place on every tile"
    assert geometry["next"] == "Next image", "not the name of the sign on the button"
    assert geometry["turned"] and geometry["triangles"] > 10000 and geometry["empty"] < 0.9


def test_a_line_is_read_whole(seen):
    assert not seen["cut"], "of Preview Geometry, in the size of the workflow"


def test_an_effect_without_a_point_shows_its_image(seen):
    assert seen["plain"] == [[512, True]] * 2


def test_many_nodes_share_one_context(seen):
    scenes = seen["scenes"]
    assert scenes["made"] == scenes["before"] + 20 and scenes["left"] == scenes["before"] and scenes["lit"]


def test_a_file_is_uploaded_and_one_that_holds_nothing_is_not_chosen(seen):
    files = seen["files"]
    assert files["before"][:2] == ["(choose a file)"] * 2 and "coffee.jpg" not in files["before"]
    assert files["dropped"] and files["after"][0] == "depth.npz" and "photo.png" not in files["after"]


def test_a_new_node_says_whole_what_will_be_there(seen):
    words, height, needed = seen["files"]["empty"]
    assert words.startswith("Run to see") and 15 <= needed <= height


def test_what_was_saved_is_shown_with_its_place(seen):
    width, height, line = seen["files"]["saved"]
    assert (width, height) == (32, 24) and re.match(r"shown/32x24_auto_\d{5}\.exr: metric depth 1 to 2 m", line)


def test_a_lamp_shows_what_its_kind_has_and_keeps_the_rest(seen):
    lamp, angles, place = seen["files"]["lamp"], ["azimuth", "elevation"], ["light_x", "light_y", "light_depth"]
    others = ["intensity", "light_size", "shadows"]
    assert lamp["far"] == ["light", "colour", *angles, *others] and lamp["near"] == ["light", "colour", *place, *others]
    assert lamp["saved"] == ["point", "#ffffff", 135, 40, 0.7, 0.25, 0.6, 1, 0, 0.5]
    assert {name: lamp["sent"][name] for name in (*angles, *place)} == dict(zip((*angles, *place), lamp["saved"][2:7], strict=True))
    assert (lamp["kind"], lamp["at"]) == ("color", 1) and 0 <= lamp["taller"] < 60
    assert lamp["spare"] == 0, "a new node is no taller than it needs"
    rows = seen["files"]["rows"]
    assert not rows or ("light_x" in rows and "azimuth" not in rows), "Nodes 2.0"


SEARCH = {
    "DepthAndNormals": ["depth", "depth map", "normal", "normal map", "controlnet depth", "z depth"],
    "NormalToHeight": ["displacement", "height map", "heightmap", "pbr"],
    "RenderDepth": ["z pass"],
    "MiDaSDepthMap": ["controlnet preprocessor"],
    "DepthParallax": ["3d photo"],
    "SaveMesh": ["point cloud"],
    "NormalsFromDepth": ["depth to normal", "depth to normal map", "normals from depth"],
    "DepthOfVideo": ["video depth"],
    "SkyMask": ["sky"],
    "DepthMask": ["mask", "segment"],
    "ConvertNormalMap": ["flip green channel"],
    "DepthOfField": ["depth blur"],
}
AMONG_THREE = {
    "DepthAnythingV2": ["depth anything v2"],
    "Stereo": ["vr"],
    "SaveRelief": ["3d print"],
    "SaveGeometry": ["exr"],
    "DepthAndNormals": ["tiny", "moge", "深度推定", "単眼深度", "ノーマルマップ", "单目深度", "法线贴图"],
}


@pytest.mark.parametrize(("typed", "found"), [(word, node) for node, words in SEARCH.items() for word in words])
def test_search_finds_what_people_type(seen, typed, found):
    first = seen["files"]["search"][typed][: 1 if "normal" in typed or found in ("DepthAndNormals", "DepthOfVideo") else 5]
    assert f"DepthNormal_{found}" in first


@pytest.mark.parametrize(("typed", "found"), [(word, node) for node, words in AMONG_THREE.items() for word in words])
def test_search_shows_the_node_among_the_first_three(seen, typed, found):
    assert f"DepthNormal_{found}" in seen["files"]["search"][typed][:3]


def test_the_search_dialog_shows_the_node_for_all_maps_first(seen):
    assert seen["files"]["dialog"] == "Depth & Normals"
