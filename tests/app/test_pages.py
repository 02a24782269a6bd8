"""What README.md and docs/ show of the command line is understood, what they show of Python runs, and every page can be found."""

import functools
import re
import shlex
from pathlib import Path

import pytest
import torch

import depth_normal
from depth_normal.annotators.registry import all_specs
from depth_normal.app.cli import EXAMPLES, _parsed, _parser
from depth_normal.geometry.camera import pixel_rays
from depth_normal.model_loader.weights.https import CONNECT_VARIABLES, READ_VARIABLES
from depth_normal.nodes import old_ids
from depth_normal.nodes.loading import PREVIEW_SETTING
from tests import pages

MODELS = {spec.id: spec for spec in all_specs()}
ROOT = Path(__file__).resolve().parents[2]


def text_of(place):
    return (ROOT / place).read_text(encoding="utf-8")


def section_of(place, heading):
    return text_of(place).partition(f"## {heading}\n")[2].partition("\n## ")[0]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INDEX = ROOT / "docs" / "README.md"


def shown_commands():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.S)
        lines = [line for block in blocks for line in re.findall(r"^depth-normal ([a-z].*)$", block, re.M)]
        lines += re.findall(r"(?:<code>|^\|(?: [^`|]+ \|)? `)depth-normal ([a-z][^`<]*)[`<]", text, re.M)
        for line in lines:
            yield path.stem, line.replace("[", "").replace("]", "")
    for name, lines in EXAMPLES.items():
        for line in lines:
            yield f"--help of {name}", line.removeprefix("depth-normal ")


def test_a_command_that_is_shown_is_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for place, line in shown_commands():
        words = shlex.split(line, comments=True)
        if (first := Path(words[0])).suffix:  # an image in the place of a command is looked for
            first.touch()
        try:
            parsed = _parsed(words)
        except SystemExit:
            pytest.fail(f"{place}: {line}: {capsys.readouterr().err}")
        assert callable(parsed.run)
        if command := place.partition("--help of ")[2]:
            assert parsed.parser.prog.split()[1] == command
    for command, lines in EXAMPLES.items():
        assert " ".join(lines[-1].split()) in " ".join(_parser().commands[command].format_help().split()), command


def test_commands_can_be_pasted():
    """The shell of macOS takes a comment for words, and so for files, and the apostrophe in it for the beginning of a name."""
    pages = [*ROOT.glob("[RC][EO]*.md"), *(page for name in ("docs", "web", "blender") for page in (ROOT / name).rglob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)]
    assert len(blocks) > 30 and [block for block in blocks if re.search(r"^#|\s#", block)] == []


@pytest.mark.parametrize(("page", "most"), [("README.md", 125), ("CHANGELOG.md", 80)])
def test_the_first_pages_stay_short(page, most):
    assert len(text_of(page).splitlines()) <= most


def test_the_page_of_nodes_names_every_workflow_once():
    lists = [text.partition(":\n")[2] for text in section_of("docs/nodes.md", "Workflows").split("\n\n") if ":\n" in text]
    named = [name for text in lists for name in " ".join(text.split()).removesuffix(".").split(", ")]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def test_the_index_has_every_page_once():
    links = re.findall(r"\]\(([\w-]+\.md)\)", INDEX.read_text(encoding="utf-8"))
    assert sorted(links) == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page != INDEX)


def links():
    for path in (*PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "contributing").glob("*.md"), ROOT / "benchmarks" / "README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
            yield path, target


def anchors(page):
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), re.M)
    # GitHub counts a superscript as no part of a word, Python does.
    return {re.sub(r"[^\w -]|[²³]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_leads_somewhere():
    anchors_of = functools.cache(anchors)
    for path, target in links():
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists() and (not anchor or anchor in anchors_of(found)), f"{path.name}: {target}"


def test_the_page_of_weights_has_every_variable():
    page = text_of("docs/weights.md")
    source = "".join(path.read_text(encoding="utf-8") for room in ("app", "model_loader", "nodes") for path in (ROOT / room).rglob("*.py"))
    read = {*re.findall(r"(?:environ\.get|environment)\(\"([A-Z_]+)\"", source), *CONNECT_VARIABLES, *READ_VARIABLES}
    read |= {old_ids.VARIABLE, PREVIEW_SETTING}
    assert len(read) > 8 and {name for name in read if f"`{name}`" not in page} == set()


def test_nothing_says_to_install_diffusers_by_its_bare_name():
    """It replaces huggingface_hub 0.x, without which transformers 4 cannot be imported: docs/dependencies.md."""
    places = ("*.md", "docs/**/*", "web/**/*", "workflows/*", "subgraphs/*", "locales/**/*", "app/**/*", "nodes/*")
    texts = {
        path
        for place in places
        for path in ROOT.glob(place)
        if path.suffix in (".md", ".py", ".js", ".mjs", ".json", ".html") and path.is_file()
    }
    assert len(texts) > 400
    bare = re.compile(r"pip install(?: -[\w-]+)*(?: ['\"\w.,>=\[\]-]+)*? ['\"]?diffusers")
    assert bare.search("`python -m pip install diffusers scipy`") and bare.search('pip install -U "av>=12" "diffusers>=0.33"')
    assert sorted(path.name for path in texts if bare.search(path.read_text(encoding="utf-8"))) == []


@pytest.fixture
def small_networks(tmp_path_factory, monkeypatch):
    """Any model but the pack's own is there, small and with random weights."""
    pages.use_small_networks(tmp_path_factory.mktemp("weights") / "random.pt", monkeypatch.setattr)


def check_textures(found, folder, printed):
    assert torch.allclose(found["again"], found["height"] - found["height"].mean(), atol=1e-3)
    assert found["occlusion"].min() < 0.9 and found["edges"].shape == (1, 1, 64, 64)


def check_python(found, folder, printed):
    assert found["depth"].shape == found["depth_image"].shape == (1, 1, 48, 64)
    assert found["normals"].shape == found["normal_map"].shape == (1, 3, 48, 64)
    assert found["cloud"].shape == found["colours"].shape == (48 * 64, 3) and found["cloud"][:, 2].min() > 0
    assert ((found["cloud_normals"] * found["cloud"]).sum(1) < 0).float().mean() > 0.9, "they face the camera"
    assert torch.equal(found["again"].normals, found["model"].estimate("photo.jpg").normals)
    assert printed == f"disparity\n{Path('photos/one.png')} (1, 1, 48, 64)\n"
    assert (folder / "photo.npz").is_file() and (folder / "maps" / "one_depth.png").is_file()


def check_geometry(found, folder, printed):
    estimate = found["estimate"]
    assert torch.allclose(estimate.normals[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0])), "the floor faces up"
    assert estimate.depth.max() == pytest.approx(5, abs=1e-3) and estimate.depth[0, 0, 0, 0] < 4.8
    assert torch.equal(pixel_rays(found["right_half"], 90, 80), pixel_rays(estimate.intrinsics, 90, 160)[..., 80:])
    columns = torch.arange(160).expand(90, 160) - 0.5 * estimate.intrinsics[0, 0, 0] / estimate.depth[0, 0]
    assert torch.allclose(found["pixels"][0, :, 0].view(90, 160), columns, atol=1e-3), "near things move more"
    error = (found["inverse_depth"] - found["inverse"]).square().mean((1, 2, 3))
    assert (error <= found["inverse"].var((1, 2, 3), correction=0) * (1 + 1e-6)).all()
    assert (folder / "scene.glb").stat().st_size > 14400 * (12 + 8), "half of the points of two images, with place and colour"


def check_effects(found, folder, printed):
    assert found["lens"].result.shape == found["lit"].shape == found["foggy"].shape == (1, 3, 48, 64)
    assert found["cutout"].shape == (1, 4, 48, 64)
    assert found["lens"].words.startswith("focus 30 %, sharp from ")


def check_readme(found, folder, printed):
    assert found["estimate"].depth.shape == (1, 1, 48, 64)


CHECKS = {
    "README.md": check_readme,
    "docs/effects.md": check_effects,
    "docs/geometry.md": check_geometry,
    "docs/python.md": check_python,
    "docs/textures.md": check_textures,
}
"""What a page's steps have to give besides ending well."""
QUICK = ("docs/geometry.md", "docs/python.md", "docs/weights.md")


def with_steps():
    for page in pages.DOCUMENTS:
        name = page.relative_to(ROOT).as_posix()
        if not name.startswith(("docs/contributing/", "blender/")) and not all(map(pages.why_not_run, pages.steps_of(page))):
            yield pytest.param(name, marks=() if name in QUICK else pytest.mark.slow("runs each command of a page"))


@pytest.mark.parametrize("name", list(with_steps()))
def test_what_a_page_shows_runs_in_order(name, small_networks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)  # --open
    pages.lay_out(ROOT / name, tmp_path)
    found = pages.run_steps(ROOT / name, tmp_path)
    CHECKS.get(name, lambda *_: None)(found, tmp_path, capsys.readouterr().out)


def test_every_reason_not_to_run_is_of_a_step():
    reasons = [pages.why_not_run(step) for page in pages.DOCUMENTS for step in pages.steps_of(page)]
    assert len(reasons) > 250 and set(pages.NOT_RUN.values()) == {*reasons} - {None}


def test_the_page_of_python_names_the_public_errors():
    named = re.findall(r"`depth_normal\.(\w+Error)`", text_of("docs/python.md"))
    assert set(named) == {name for name in depth_normal.__all__ if name.endswith("Error")}


def test_the_page_that_decides_knows_the_models():
    page = text_of("docs/which-model.md")
    for model, size in re.findall(r"`([\w.-]+)`,? \((?:about )?([\d.]+ [MG]B)", page):
        assert MODELS[model].size_in_words.removeprefix("about ") == size, model
    control = page.partition("## Control models")[2].partition("### Sources")[0]
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", control.partition("| control model for normals")[0], re.M)
    ours = re.findall(r"`([^`]+)`", " ".join(rows))
    assert len(ours) > 15 and set(ours) <= set(MODELS)
    assert set(re.findall(r"\[([a-z])\]", control)) == set(re.findall(r"^- \[([a-z])\]", page, re.M))
    free = page.partition("- **Yes**: ")[2].partition("- **No**")[0]
    assert "`tiny`" in free
    assert all(MODELS[model].commercial_use == "yes" for model in re.findall(r"`([^`]+)`", free) if model in MODELS)


def expanded(pattern):
    """`a-{b,c}` as a shell expands it."""
    found = re.match(r"(.*?)\{(.*?)\}(.*)", pattern)
    return [pattern] if found is None else [each for part in found[2].split(",") for each in expanded(found[1] + part + found[3])]


def test_the_page_that_decides_has_every_model_under_its_family():
    cells = re.findall(r"^\| [^|]+ \| ([^|]+) \|", section_of("docs/which-model.md", "All families"), re.M)[2:]
    named = [model for cell in cells for pattern in re.findall(r"`([^`]+)`", cell) for model in expanded(pattern)]
    advice = "name it in docs/which-model.md, below `All families`, in the row of its family; or add the row"
    assert (sorted(MODELS.keys() - set(named)), sorted(set(named) - MODELS.keys())) == ([], []), advice
    assert len(named) == len(set(named))


def test_the_readmes_images_are_made_by_the_commands_below_them():
    shown = re.findall(r"<code>depth-normal (?:effect )?((?:relight|depth-of-field|stereo) photo\.jpg[^<]*)<", text_of("README.md"))
    overview = text_of("docs/make_overview.py")
    assert len(shown) == 3 and [words for words in shown if words.replace("photo.jpg", "{PHOTO}") not in overview] == []
