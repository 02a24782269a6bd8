"""Python's messages that ComfyUI's page translates by locales/messages.json: Python says each, and the page finds each."""

import ast
import json
import re
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS, Estimate, Quantity, load_model
from depth_normal.model_loader.comfy import feedback
from depth_normal.model_loader.weights.download import NoNetworkError
from depth_normal.nodes.checks import check_count
from depth_normal.nodes.loading import OTHER_NODE, advised, choose_tiny

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = json.loads((ROOT / "locales" / "messages.json").read_text(encoding="utf-8"))
LANGUAGES = sorted(runpy.run_path(str(ROOT / "docs" / "make_locales.py"))["QUOTES"])
NO_NETWORK = NoNetworkError("no network")


def said_by(node_id, **inputs):
    with pytest.raises((ValueError, TypeError)) as error:
        NODE_CLASS_MAPPINGS[node_id]().execute(**inputs)
    return str(error.value)


def other_counts():
    with pytest.raises(ValueError, match="holds") as error:
        check_count("mask", 2, "image", 3, one_for_all=False)
    return str(error.value)


def of_several_parts():
    """Messages that Python puts together, as it does: the English, and the template that it follows."""
    image, model = torch.rand(2, 8, 8, 3), load_model("tiny", "float32", "cpu")
    depth = Estimate(torch.ones(2, 1, 8, 8), Quantity.DISPARITY)
    estimate = {"model": model, "image": image}
    return [
        (str(advised(NO_NETWORK, choose_tiny("ckpt_name"))), "Choose {0} in the widget {1}: it comes"),
        (str(advised(NO_NETWORK, OTHER_NODE)), "Use Depth & Normals with {0} in its widget model, in place of this node: it"),
        (said_by("DepthNormal_EstimateGeometry", **estimate, fov=900.0), "{0} is {1}; accepted: {2}"),
        (said_by("DepthNormal_EstimateGeometry", **estimate, tiles="auto", film=True), "tiles is {0} and film is on"),
        (
            said_by("DepthNormal_Fog", image=torch.rand(3, 8, 8, 3), geometry=depth),
            "{0} holds {1} images, {2} {3}; accepted: one for all, or one each",
        ),
        (said_by("DepthNormal_Fog", image=torch.rand(2, 8, 40, 3), geometry=depth), "{0} has {1} pixels, the image {2}"),
        (other_counts(), "{0} holds {1} images, {2} {3}; accepted: one each"),
        ("PREVIEW by tiny, not dsine: running 3 of 10", "PREVIEW by {0}, not {1}: {2}"),
    ]


def with_gaps(template):
    return re.sub(r"\{\d\}", "{}", template)


def trees(holding=""):
    """The code whose messages nodes may show, by path: of the files that hold this pattern."""
    folders = ("nodes", "model_loader", "geometry", "annotators", "media", "options")
    for path in (ROOT / "utils.py", *(each for name in folders for each in (ROOT / name).rglob("*.py"))):
        if re.search(holding, text := path.read_text(encoding="utf-8")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def text_of(node):
    """A text in the code, with {} for each value; None for anything else. What a log record is about comes last on nodes."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return None
    text = re.sub(r"%[-+.\d]*[a-z]", "{}", node.value).replace("%%", "%")
    return f"{text[4:]}: {{}}" if node.value.startswith("%s: ") else text


def said_in_the_code():
    """Every text in the code, one per line."""
    return "\n".join(filter(None, (text_of(each) for _, tree in trees() for each in ast.walk(tree))))


SAYS = ("warning", "note", "show_message", "tell", "step", "_log_once")
"""Calls whose argument a node shows, if it is a text; `logger.info` with a `note` is one too."""

NOT_ON_NODES = {
    *("media/join.py", "media/sequences.py", "media/sound.py"),  # only commands write videos and read numbered images
    "model_loader/comfy/host.py",  # before the first run
    "model_loader/weights/transfer.py",  # it counts attempts
}
PUT_TOGETHER = {"{}: {}, {} s", "{}: {}", "{} {}", "{}", "", "{}, --runtime {}: {}", "{} stands in for {}, as {} allows: {}"}
"""Of other messages; or with a note of its own."""


def lines_of_nodes():
    """Yields the texts that nodes show of a run, and where they are in the code."""
    for name, tree in trees(rf"\b({'|'.join(SAYS)})\(|\"note\""):
        for each in ast.walk(tree):
            if not isinstance(each, ast.Call) or name in NOT_ON_NODES or not each.args:
                continue
            called = getattr(each.func, "attr", getattr(each.func, "id", ""))
            extra = next((ast.unparse(more.value) for more in each.keywords if more.arg == "extra"), "")
            is_said = called in SAYS or (called == "info" and "note" in extra)
            if is_said and "None" not in extra and (text := text_of(each.args[0])) is not None:
                yield f"{name}:{each.lineno}", text


def test_every_line_of_a_node_has_a_translation():
    templates = {*map(with_gaps, TEMPLATES), *PUT_TOGETHER}
    lines = list(lines_of_nodes())
    assert len(lines) > 40
    assert [line for line in lines if line[1] not in templates] == [], "add it to locales/messages.json"


@pytest.mark.slow("takes most of a second")
def test_python_says_every_message():
    code = said_in_the_code()
    parts = [begin for _, begin in of_several_parts()]
    unsaid = [each for each in TEMPLATES if with_gaps(each).removeprefix("{} ") not in code]  # "%s %s": of what it is, then the problem
    assert [each for each in unsaid if not any(each.startswith(begin) for begin in parts)] == []


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_finds_every_message(language, tmp_path):
    """A template with a value in each place, and the messages of several parts."""
    said = {each: re.sub(r"\{(\d)\}", r"VALUE\1", each) for each in TEMPLATES}
    texts = [*said.values(), *(text for text, _ in of_several_parts()), "a message of another pack", "done in 2.5 s, says another"]
    script = tmp_path / "messages.mjs"
    script.write_text(
        "import fs from 'node:fs'\n"
        "const [module, table, texts] = process.argv.slice(2)\n"
        "const { setTable, translatedMessage } = await import(module)\n"
        "setTable(JSON.parse(fs.readFileSync(table, 'utf8')))\n"
        "console.log(JSON.stringify(JSON.parse(texts).map(text => translatedMessage(text))))\n"
    )
    table = ROOT / "web" / "languages" / f"{language}.json"
    words = ["node", str(script), (ROOT / "web" / "language.mjs").as_uri(), str(table), json.dumps(texts)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(zip(texts, json.loads(done.stdout), strict=True))
    translations = json.loads(table.read_text(encoding="utf-8"))["messages"]
    for template, text in said.items():
        assert found[text] == re.sub(r"\{(\d)\}", r"VALUE\1", translations[template])
    for text, begin in of_several_parts():
        (template,) = [each for each in TEMPLATES if each == begin or (each.startswith(begin) and begin not in TEMPLATES)]
        literal = max(re.split(r"\{\d\}", translations[template]), key=len)
        assert literal in found[text], text
    assert found["a message of another pack"] is None and found["done in 2.5 s, says another"] is None
    inner = translations["running {0} of {1}"].format("3", "10")
    assert found["PREVIEW by tiny, not dsine: running 3 of 10"].endswith(inner)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_keeps_the_values(language):
    own = json.loads((ROOT / "web" / "languages" / f"{language}.json").read_text(encoding="utf-8"))["messages"]
    places = {each: (sorted(re.findall(r"\{\d\}", each)), sorted(re.findall(r"\{\d\}", own[each]))) for each in TEMPLATES}
    lost = [each for each, (english, found) in places.items() if not set(found) <= set(english) or len(english) - len(found) > 1]
    assert lost == []


def results_in_words(comfyui):
    """What nodes say of their results, in every form."""
    image, ramp = torch.rand(1, 12, 16, 3), torch.linspace(1, 4, 12 * 16).view(1, 1, 12, 16)
    far, near = Estimate(ramp, Quantity.METRIC_DEPTH), Estimate(ramp, Quantity.DISPARITY)
    hole = Estimate(torch.full_like(ramp, torch.nan), Quantity.METRIC_DEPTH)
    point, box = {"point_x": 0.5, "point_y": 0.5}, {"box_left": 0.1, "box_top": 0.1, "box_right": 0.9, "box_bottom": 0.9}
    asked = {
        "DepthMask": [
            {"geometry": far},
            {"geometry": near},
            {"geometry": far, "unit": "metres", "near": 1.0, "far": 0.0},
            {"geometry": far, "unit": "metres", "near": 1.0, "far": 2.0, "invert": True},
            {"geometry": far, **point, "select": "surface"},
            {"geometry": near, **point, "select": "surface", "more_points": "0.1,0.1 0.2,0.2 0.3,0.3 0.4,0.4"},
            {"geometry": far, **point, "select": "object", "not_points": "0.1,0.1"},
            {"geometry": near, **box, "more_points": "0.5,0.5", "not_points": "0.2,0.2"},
        ],
        "ForegroundCutout": [{"image": image, "geometry": near}, {"image": image, "mask": torch.ones(1, 12, 16)}],
        "SkyMask": [{"image": image, "geometry": far}],
        "Fog": [{"image": image, "geometry": each, "sky": sky} for each in (far, near) for sky in ("auto", "none")],
        "DepthOfField": [
            {"image": image, "geometry": near},
            {"image": image, "geometry": far, "focus": 9.0, "unit": "metres", "f_number": 2.0},
            {"image": torch.cat((image, image)), "geometry": Estimate.cat([far, hole])},
        ],
        "PreviewGeometry": [
            *({"geometry": Estimate(ramp, each, -far_normals(ramp))} for each in Quantity),
            {"geometry": hole},
            {"geometry": replace(far, mask=ramp > 2, intrinsics=torch.eye(3)[None] * 16)},
        ],
    }
    for node, each in asked.items():
        for inputs in each:
            yield from NODE_CLASS_MAPPINGS[f"DepthNormal_{node}"]().execute(**inputs)["ui"]["text"]


def notes_on_images(monkeypatch):
    """What nodes note of images that are not of the kind that they take."""
    photo, grey, notes = torch.linspace(0, 1, 32).view(1, 1, 32, 1).repeat(2, 16, 1, 3), torch.full((1, 12, 16, 3), 0.5), []
    monkeypatch.setattr(feedback, "note", notes.append)
    monkeypatch.setattr(feedback._logger, "handlers", [feedback._notes])
    for node, inputs in {
        "ConvertNormalMap": {"image": photo},
        "DepthImageToGeometry": {"image": grey},
        "EstimatePanorama": {"image": photo, "model": "tiny", "resolution": 64},
    }.items():
        NODE_CLASS_MAPPINGS[f"DepthNormal_{node}"]().execute(**inputs)
    assert len(notes) > 3
    return notes


def far_normals(ramp):
    return torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, *ramp.shape[-2:])


NAMES = {"OpenGL", "tiny", "MB"}


@pytest.mark.slow("takes a second")
@pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
def test_lines_of_several_messages_are_translated_whole(comfyui, tmp_path, monkeypatch):
    size = "tiny runs at size 256, its largest, in place of 768"
    notes = [f"{size}: done in 0.6 s", f"{size}; ignored, as this node has no such input: a", *notes_on_images(monkeypatch)]
    lines = sorted({*results_in_words(comfyui), *notes})
    assert len(lines) > 20
    script = tmp_path / "lines.mjs"
    script.write_text(
        "import fs from 'node:fs'\n"
        "const [module, texts, ...tables] = process.argv.slice(2)\n"
        "const { setTable, translatedLine } = await import(module)\n"
        "const own = [JSON.parse(texts).map(translatedLine)]\n"
        "for (const table of tables) {\n"
        "  setTable(JSON.parse(fs.readFileSync(table, 'utf8')))\n"
        "  own.push(JSON.parse(texts).map(translatedLine))\n"
        "}\n"
        "console.log(JSON.stringify(own))\n"
    )
    tables = [str(ROOT / "web" / "languages" / f"{language}.json") for language in LANGUAGES]
    words = ["node", str(script), (ROOT / "web" / "language.mjs").as_uri(), json.dumps(lines), *tables]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    english, *own = json.loads(done.stdout)
    assert english == lines and len(own) > 1
    assert {line for translated in own for line in translated if {*re.findall(r"[A-Za-z]{2,}", line)} - NAMES} == set()
