"""The pack in ComfyUI's own page, in headless Chromium: templates open, nodes are known, help shows."""

import json
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
HELPED, IMAGE = "DepthNormal_MiDaSNormalMap", "MiDaS-NormalMapPreprocessor/example.jpg"
EXAMPLE = ROOT / "workflows" / "MiDaS Depth and Normal Map.json"
PAGE = ROOT / "web" / "docs" / f"{HELPED}.md"
BLUEPRINTS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "subgraphs").glob("*.json")}
RUN = ("Relight", "Depth and Normals", "Compare Models")
OLD = {
    "MiDaS-NormalMapPreprocessor": {"a": 3, "bg_threshold": 0.25, "resolution": 768},
    "BAE-NormalMapPreprocessor": {"resolution": 768},
    "DSINE-NormalMapPreprocessor": {"fov": 75, "iterations": 7, "resolution": 768},
    "LeReS-DepthMapPreprocessor": {"rm_nearest": 5, "rm_background": 10, "boost": "enable", "resolution": 1024},
    "Metric3D-DepthMapPreprocessor": {"backbone": "vit-large", "fx": 500, "fy": 600, "resolution": 768},
    "Metric3D-NormalMapPreprocessor": {"backbone": "vit-giant2", "fx": 500, "fy": 600, "resolution": 768},
    "Metric_DepthAnythingV2Preprocessor": {"environment": "outdoor", "max_depth": 80, "resolution": 768},
    "AIO_Preprocessor": {"preprocessor": "CannyEdgePreprocessor", "resolution": 1024},
}
OLD_CASES = [(name, values, shorter) for name, values in OLD.items() for shorter in (False, True)]
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


def old_graph():
    """A graph of the old pack's nodes, whose widgets are saved by position."""
    image = [{"name": "image", "type": "IMAGE", "link": None}]
    nodes = [
        {"id": number, "type": name, "inputs": image, "widgets_values": list(values.values())[: -1 if shorter else None]}
        for number, (name, values, shorter) in enumerate(OLD_CASES, 1)
    ]
    return {"nodes": nodes, "links": [], "version": 0.4}


@pytest.fixture(scope="module")
def seen(request, bare_server, tmp_path_factory, run_driver):
    """What became of every workflow in the page: the driver's report. Templates and layouts are opened where a test asks for them."""
    tests = [item for item in request.session.items if item.module is request.module]
    asked = {item.originalname for item in tests}
    opened = [
        item.callspec.params["workflow"].stem
        for item in tests
        if item.originalname == test_templates_open_from_the_template_browser.__name__
    ]
    runs = RUN if test_a_run_makes_no_node_larger.__name__ in asked else ()
    all_sizes = test_templates_open_at_a_size_at_which_the_classic_canvas_writes_words.__name__ in asked
    layouts = [path.stem for path in WORKFLOWS] if all_sizes else runs
    templates = tmp_path_factory.mktemp("browser") / "templates.json"
    blueprints = list(BLUEPRINTS) if test_blueprints_have_their_widgets_in_any_graph.__name__ in asked else ()
    templates.write_text(json.dumps({"templates": opened, "layouts": layouts, "runs": runs, "blueprints": blueprints}))
    old = templates.with_name("old.json")
    old.write_text(json.dumps(old_graph()))
    words = [bare_server.address, "ComfyUI-Depth-Normal", HELPED, EXAMPLE, templates, old, *WORKFLOWS]
    return json.loads(run_driver(Path(__file__).with_name("browser.mjs"), *words, timeout=600))


def test_every_workflow_has_a_thumbnail():
    assert WORKFLOWS and all(path.with_suffix(".jpg").is_file() for path in WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_templates_open_from_the_template_browser(seen, workflow):
    wanted = sorted(node["type"] for node in json.loads(workflow.read_text())["nodes"])
    assert sorted(node["type"] for node in seen["templates"][workflow.stem]) == wanted
    assert not [bad for bad in seen["bad"] if (workflow.stem in bad or "Depth-Normal" in bad) and "/en.md" not in bad]


def test_templates_open_at_a_size_at_which_the_classic_canvas_writes_words(seen):
    """On a laptop, on the canvas and in Nodes 2.0, and on a large screen; no node covers another, titles included."""
    assert len(seen["layouts"]) == 3 * len(WORKFLOWS)
    assert [(each["name"], each["scale"]) for each in seen["layouts"] if each["scale"] <= 0.5715] == []
    assert [each["name"] for each in seen["layouts"] if covers(each["boxes"]) or covers(each.get("after", []))] == []
    assert [each["name"] for each in seen["layouts"] if height(each["boxes"]) > 800] == []


def test_a_run_makes_no_node_larger(seen):
    """Three templates, on the canvas and in Nodes 2.0: the room for messages and images is there from the start."""
    ran = [each for each in seen["layouts"] if "after" in each]
    assert len(ran) == 2 * len(RUN)
    for each in ran:
        assert each["after"] == [pytest.approx(box, abs=2) for box in each["boxes"]], (each["name"], each["nodes2"])


def height(boxes):
    return max(top + tall for _, top, _, tall in boxes) - min(top for _, top, _, _ in boxes)


def covers(boxes):
    """Pairs of overlapping rectangles: left, top, width, height."""
    return [(a, b) for a, b in combinations(boxes, 2) if all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_saved_widget_values_stay_what_they_were(seen, workflow):
    opened = seen["files"][workflow.stem]
    assert all(node["known"] for node in opened["nodes"]) and not opened["dialogs"]
    shown = {str(node["id"]): node["widgets"] for node in opened["nodes"]}
    for node in json.loads(workflow.read_text())["nodes"]:
        if isinstance(node.get("widgets_values"), list) and node["type"] != "MarkdownNote":
            values = [value for name, value in shown[str(node["id"])].items() if not name.startswith("$$")]
            assert values[: len(node["widgets_values"])] == node["widgets_values"], node["type"]


def test_graphs_saved_with_the_old_pack_keep_their_values(seen):
    """Saved by position, with the old widgets alone, and from before there was `resolution`."""
    assert all(node["known"] for node in seen["old"]["nodes"]) and not seen["old"]["dialogs"]
    shown = {int(node["id"]): node["widgets"] for node in seen["old"]["nodes"]}
    for number, (name, values, shorter) in enumerate(OLD_CASES, 1):
        expected = values | ({"resolution": 512} if shorter else {})
        assert {key: shown[number][key] for key in values} == expected, name


def test_blueprints_have_their_widgets_in_any_graph(seen):
    """Dragged from the list of nodes beside nodes of the same ids, of which newer pages renumber those inside."""
    for name, graph in BLUEPRINTS.items():
        wanted = [each["name"] for each in graph["nodes"][0]["inputs"] if "widget" in each]
        assert wanted and [widget for widget in seen["blueprints"][name] if not widget.startswith("$$")] == wanted, name


def test_the_help_of_a_node_shows_its_page(seen):
    assert PAGE.read_text().splitlines()[2].split(" (")[0] in seen["help"]
    assert not [bad for bad in seen["bad"] if (HELPED in bad or IMAGE in bad) and "/en.md" not in bad], "the page or its image is missing"


def test_the_page_speaks_chinese(seen):
    locale = ROOT / "locales" / "zh"
    node = json.loads((locale / "nodeDefs.json").read_text(encoding="utf-8"))[HELPED]
    folders = json.loads((locale / "main.json").read_text(encoding="utf-8"))["nodeCategories"]
    chinese = seen["chinese"]
    category = "/".join(folders[name] for name in ("Depth & Normals", "Estimate", "By model"))
    assert (chinese["title"], chinese["category"]) == (node["display_name"], category)
    assert {name: chinese["labels"][name] for name in node["inputs"]} == {name: words["name"] for name, words in node["inputs"].items()}
    assert (ROOT / "web" / "docs" / HELPED / "zh.md").read_text(encoding="utf-8").splitlines()[2].split(" (")[0] in chinese["help"]


def test_words_of_other_languages_find_nodes_and_scripts_speak_them(seen):
    chinese = seen["chinese"]
    assert "上传文件" in chinese["said"]
    assert chinese["found"]["霧"] == ["DepthNormal_Fog"] and "DepthNormal_DepthOfField" in chinese["found"]["虚化"]
    assert "DepthNormal_EstimateGeometry" in chinese["found"]["デプス"]
