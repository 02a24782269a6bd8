"""The pack's JavaScript: it parses, and computes what Python computes. Needs Node alone; tests/comfyui/test_live.py has a page."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes.files import NOTHING
from depth_normal.nodes.live import SCRIPT, image_payload, joined_script
from depth_normal.nodes.loading import FROM_FILE, _describe

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS, PAGE = (sorted((ROOT / folder).rglob("*.*js")) for folder in ("web", "app/ui/page"))
DEPTH = torch.tensor([[0.8, 1.5, 6.2, 3.0], [float("nan"), 2.0, 2.5, 1.0]]).view(1, 1, 2, 4)
NORMALS = torch.nn.functional.normalize(torch.tensor([0.2, 0.4, 0.8]), dim=0).view(1, 3, 1, 1).expand(1, 3, 2, 4)
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGE], ids=lambda path: path.name)
def test_a_script_is_short_and_sets_no_html(path):
    text = path.read_text()
    assert len(text.splitlines()) < 400 and not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert all((path.parent / name).is_file() for name in re.findall(r"from '\./([^']+)'", text))
    assert not re.findall(r"from '(?!\.)", text), "modules of others would need a build"
    assert path not in PAGE or not re.search("https?://", text)


PARSE = """
const fs = require('fs'), vm = require('vm')
for (const path of process.argv.slice(1)) new vm.SourceTextModule(fs.readFileSync(path, 'utf8'), { identifier: path })
"""


@needs_node
def test_every_script_parses():
    words = ["node", "--experimental-vm-modules", "--no-warnings", "-e", PARSE, *map(str, SCRIPTS + PAGE)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_node
def test_the_page_of_comfyui_gets_all_its_scripts_as_one(tmp_path):
    """ComfyUI has its page ask for every .js file, which takes long from far away; and of others browsers keep old versions for days."""
    assert [path.name for path in SCRIPTS if path.suffix == ".js"] == [SCRIPT]
    joined = tmp_path / "joined.mjs"
    joined.write_text(joined_script())
    done = subprocess.run(["node", "--check", str(joined)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    apart = {path.stem for path in SCRIPTS if f"const ${path.stem} = " not in joined.read_text()}
    assert apart == {"viewer", "viewer_lamp", "viewer_modes"}, "what is left out is of other pages"


@needs_node
def test_the_page_reads_the_numbers_that_python_wrote(tmp_path, monkeypatch):
    read = read_by_the_page(tmp_path, monkeypatch)
    assert read["depth"][4] is None
    values = torch.tensor([value for value in read["depth"] if value is not None])
    assert torch.allclose(values, DEPTH[~DEPTH.isnan()], rtol=2e-5)
    assert torch.allclose(torch.tensor(read["normal"]), NORMALS[0, :, 0, 0], atol=0.006)
    assert read["image"] == [128, 128, 128, 255] and read["bits"] == [1, 1, 1, 3, 0, 1, 1, 1]
    assert read["words"] == ["3 m, faces 14° right, 26° up, sky", "0.8 m, faces 14° right, 26° up"]
    assert read["chinese"] == "3 m, 朝向右 14°、上 26°, 天空"


@needs_node
def test_what_the_scripts_say_is_said_in_every_language(tmp_path, monkeypatch):
    words = read_by_the_page(tmp_path, monkeypatch)["translations"]
    languages = set(runpy.run_path(str(ROOT / "docs" / "make_locales.py"))["QUOTES"])
    assert {english: set(own) for english, own in words.items() if set(own) != languages or not all(own.values())} == {}
    places = {english: [sorted(re.findall(r"\{\d\}", each)) for each in (english, *own.values())] for english, own in words.items()}
    assert [english for english, found in places.items() if any(each != found[0] for each in found)] == []
    said = {found for path in SCRIPTS for found in re.findall(r"translated\(\s*'([^']+)'", path.read_text())}
    sent = said_by_the_server()
    assert said | sent == set(words), "web/words.mjs lacks what a script says, or has what nobody says"


def said_by_the_server():
    """What the scripts translate of that which Python sends: parts of the models' labels, quantities, and the choice of no file."""
    models = [part for spec in MODELS.values() for part in re.split(r" · |, | \+ ", _describe(spec, frozenset({spec.id})))]
    named = {part for part in models if not re.search(r"\d|[A-Z]", part) and part != "trained on ScanNet)"}
    return {
        *named,
        "to download",
        "not published",
        NOTHING,
        FROM_FILE,
        *(quantity.value.replace("_", " ") for quantity in Quantity if quantity != Quantity.METRIC_DEPTH),
        "depth",
    }


def read_by_the_page(tmp_path, monkeypatch):
    """What tests/web.mjs reads of an image with a normal, a hole in its depth and a sky."""
    folders = SimpleNamespace(get_folder_paths=lambda _: [], get_temp_directory=lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    sky = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
    sky[..., 0, 3] = True
    payload = image_payload(torch.full((1, 3, 2, 4), 0.5), Estimate(DEPTH, Quantity.METRIC_DEPTH, NORMALS), sky=sky)
    (tmp_path / "payload.json").write_text(json.dumps(payload))
    words = ["node", str(ROOT / "tests" / "web.mjs"), str(ROOT / "web"), str(tmp_path / "payload.json"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_a_template_is_translated_line_by_line_in_every_part(tmp_path):
    note = {"type": "MarkdownNote", "title": "Read me", "widgets_values": ["## Depth\n\n1. Press **Run**.\n- unknown"]}
    kept = {"type": "PreviewImage", "title": "Mine", "widgets_values": ["Depth"]}
    graph = {
        "nodes": [note, kept],
        "groups": [{"title": "Depth"}],
        "definitions": {"subgraphs": [{"name": "Depth", "nodes": [{"type": "Any", "title": "Depth"}]}]},
    }
    script = tmp_path / "translate.mjs"
    script.write_text(
        "const [language, texts, graph] = process.argv.slice(2)\n"
        "const { setTable } = await import(language)\n"
        "const { translatedGraph } = await import(texts)\n"
        "setTable({ messages: {}, notes: { Depth: 'DEPTH', 'Press **Run**.': 'RUN', 'Read me': 'READ' } })\n"
        "console.log(JSON.stringify(translatedGraph(JSON.parse(graph))))\n"
    )
    modules = [(ROOT / "web" / name).as_uri() for name in ("language.mjs", "template_texts.mjs")]
    done = subprocess.run(["node", str(script), *modules, json.dumps(graph)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "nodes": [{"type": "MarkdownNote", "title": "READ", "widgets_values": ["## DEPTH\n\n1. RUN\n- unknown"]}, kept],
        "groups": [{"title": "DEPTH"}],
        "definitions": {"subgraphs": [{"name": "DEPTH", "nodes": [{"type": "Any", "title": "DEPTH"}]}]},
    }
