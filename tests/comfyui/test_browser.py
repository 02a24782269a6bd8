"""The pack in ComfyUI's own page, in headless Chromium: templates open, nodes are known, help shows."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module")
def browse(server, shared, tmp_path_factory):
    """Runs the browser driver and returns its report."""
    playwright = os.environ.get("PW", "")
    if not Path(playwright).is_file():
        pytest.skip("needs playwright-core (npm); set PW to its index.mjs")
    if not shutil.which("chromium"):
        pytest.skip("needs Chromium (apt-get install chromium)")
    shot = tmp_path_factory.mktemp("browser") / "shot.png"

    def run(*words: object) -> dict:
        command = ["node", shared / "comfyui" / "browser.mjs", words[0], shot, "--server", server.address, *words[1:]]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
        assert done.stdout.startswith("{"), done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


def test_every_workflow_has_a_thumbnail():
    assert WORKFLOWS and all(path.with_suffix(".jpg").is_file() for path in WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_templates_open_from_the_template_browser(browse, workflow):
    report = browse("-", "--templates", "ComfyUI-Depth-Normal", "--open", workflow.stem)
    wanted = sorted(node["type"] for node in json.loads(workflow.read_text())["nodes"])
    assert sorted(report["nodes"]) == wanted
    assert not [bad for bad in report["badResponses"] if workflow.stem in bad or "Depth-Normal" in bad]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_saved_widget_values_stay_what_they_were(browse, workflow):
    report = browse(workflow)
    assert not report["missing"] and not any(report["dialogs"])
    shown = {node["id"]: node["widgets"] for node in report["nodes"]}
    for node in json.loads(workflow.read_text())["nodes"]:
        if isinstance(node.get("widgets_values"), list) and node["type"] not in ("LoadImage", "MarkdownNote"):
            values = [value for name, value in shown[str(node["id"])].items() if not name.startswith("$$")]
            assert values[: len(node["widgets_values"])] == node["widgets_values"], node["type"]


def test_graphs_saved_with_the_old_pack_keep_their_values(browse, tmp_path):
    """Saved by position, with the old widgets alone, and from before there was `resolution`."""
    old = {
        "BAE-NormalMapPreprocessor": {"resolution": 768},
        "DSINE-NormalMapPreprocessor": {"fov": 75, "iterations": 7, "resolution": 768},
        "LeReS-DepthMapPreprocessor": {"rm_nearest": 5, "rm_background": 10, "boost": "enable", "resolution": 1024},
        "Metric3D-DepthMapPreprocessor": {"backbone": "vit-large", "fx": 500, "fy": 600, "resolution": 768},
        "Metric3D-NormalMapPreprocessor": {"backbone": "vit-giant2", "fx": 500, "fy": 600, "resolution": 768},
        "Metric_DepthAnythingV2Preprocessor": {"environment": "outdoor", "max_depth": 80, "resolution": 768},
        "AIO_Preprocessor": {"preprocessor": "CannyEdgePreprocessor", "resolution": 1024},
    }
    cases = [(name, values, shorter) for name, values in old.items() for shorter in (False, True)]
    image = [{"name": "image", "type": "IMAGE", "link": None}]
    nodes = [
        {"id": number, "type": name, "inputs": image, "widgets_values": list(values.values())[: -1 if shorter else None]}
        for number, (name, values, shorter) in enumerate(cases, 1)
    ]
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"nodes": nodes, "links": [], "version": 0.4}))
    report = browse(path)
    assert not report["missing"] and not any(report["dialogs"])
    shown = {int(node["id"]): node["widgets"] for node in report["nodes"]}
    for number, (name, values, shorter) in enumerate(cases, 1):
        expected = values | ({"resolution": 512} if shorter else {})
        assert {key: shown[number][key] for key in values} == expected, name


def test_the_help_of_a_node_shows_its_page(browse):
    node = "MiDaS-NormalMapPreprocessor"
    report = browse(ROOT / "workflows" / "MiDaS_Depth-Normal_Map.json", "--help-node", node)
    assert "helpErr" not in report
    assert not [bad for bad in report["badResponses"] if node in bad and "/en.md" not in bad], "the page or its picture is missing"


def test_every_node_has_a_help_page_and_every_page_a_node():
    import depth_normal

    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == set(depth_normal.NODE_CLASS_MAPPINGS)
