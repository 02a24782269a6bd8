"""What README.md and docs/ show of the command line: every command is understood; what docs/textures.md shows of Python runs."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import EXAMPLES, _parsed

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown_commands():
    for path in PAGES:
        for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            for line in re.findall(r"^depth-normal ([a-z].*)$", block, re.M):
                yield pytest.param(line.replace("[", "").replace("]", ""), id=f"{path.stem}: {line.partition('#')[0].strip()[:60]}")
    for name, lines in EXAMPLES.items():
        for line in lines:
            yield pytest.param(line.removeprefix("depth-normal "), id=f"--help of {name}: {line[13:60]}")


@pytest.mark.parametrize("line", list(shown_commands()))
def test_a_command_that_is_shown_is_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    if (first := Path(words[0])).suffix:  # an image in the place of a command is looked for
        first.touch()
    elif first.name == "photos":
        first.mkdir()
    assert callable(_parsed(words).run)


def test_the_readme_names_every_workflow_once():
    line = PAGES[0].read_text(encoding="utf-8").partition("Workflows: ")[2].partition("\n\n")[0]
    named = " ".join(line.split()).removesuffix(".").split(", ")
    assert sorted(named) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def test_the_readme_leads_to_every_page():
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name}" not in text] == []


def test_no_page_keeps_both_sides_of_a_merge():
    pages = [
        path
        for folder in (".", "docs", "web/docs", "training", "blender")
        for path in (ROOT / folder).glob("**/*.md" if folder != "." else "*.md")
    ]
    assert [page.name for page in pages if re.search(r"^(<{7} |={7}$|>{7} )", page.read_text(encoding="utf-8"), re.M)] == []


def test_what_the_page_of_textures_shows_runs(tmp_path):
    page = (ROOT / "docs" / "textures.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), encoding="utf-8")
    found = runpy.run_path(str(tmp_path / "page.py"))
    assert torch.allclose(found["again"], found["height"] - found["height"].mean(), atol=1e-3)
    assert found["occlusion"].min() < 0.9 and found["edges"].shape == (1, 1, 64, 64)


def test_the_page_that_decides_knows_the_models():
    page = (ROOT / "docs" / "which-model.md").read_text(encoding="utf-8")
    for model, size in re.findall(r"`([\w.-]+)`,? \((?:about )?([\d.]+ [MG]B)", page):
        assert MODELS[model].size_in_words.removeprefix("about ") == size, model
    control = page.partition("## Control models")[2].partition("### Sources")[0]
    ours = [
        model
        for row in re.findall(r"^\|.*\| ([^|]*) \|$", control.partition("| control model for normals")[0], re.M)
        for model in re.findall(r"`([^`]+)`", row)
    ]
    assert len(ours) > 15 and set(ours) <= set(MODELS)
    assert set(re.findall(r"\[([a-z])\]", control)) == set(re.findall(r"^- \[([a-z])\]", page, re.M))
    free = page.partition("Yes: ")[2].partition("**No**")[0]
    assert all(MODELS[model].commercial_use == "yes" for model in re.findall(r"`([^`]+)`", free) if model in MODELS)
