"""Python's messages that ComfyUI's page translates by locales/messages.json: Python says each, and the page finds each."""

import ast
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS, Estimate, Quantity, load_model
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


def said_in_the_code():
    """Every text in the code, with {} for each value."""
    found = set()
    folders = ("nodes", "model_loader", "geometry", "annotators")
    for path in (ROOT / "utils.py", *(each for name in folders for each in (ROOT / name).rglob("*.py"))):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in each.values))
            elif isinstance(each, ast.Constant) and isinstance(each.value, str):
                found.add(each.value)
    return found


@pytest.mark.slow("takes most of a second")
def test_python_says_every_message():
    code = said_in_the_code()
    parts = [begin for _, begin in of_several_parts()]
    assert [each for each in TEMPLATES if with_gaps(each) not in code and not any(each.startswith(begin) for begin in parts)] == []


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
        "console.log(JSON.stringify(JSON.parse(texts).map(translatedMessage)))\n"
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
