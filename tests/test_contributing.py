"""CONTRIBUTING.md and its pages name files, functions and imports that are there."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import torch

from depth_normal.geometry.effects import makers
from depth_normal.geometry.estimate import Estimate, Quantity

ROOT = Path(__file__).resolve().parents[1]
CONTRIBUTING, BENCHMARKS = ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"
QUESTIONS = sorted((ROOT / "docs" / "contributing").glob("*.md"))

every_page = pytest.mark.parametrize("page", [CONTRIBUTING, BENCHMARKS, *QUESTIONS], ids=lambda page: page.stem)
every_question = pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)


def prose(page: Path) -> str:
    """A page without its blocks of code, which name files that the reader is to make."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The blocks of Python of a page: the file that the first line names, and the source."""
    found = re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(source.partition("\n")[0].removeprefix("# "), source) for source in map(textwrap.dedent, found)]


def named_files(page: Path) -> set[str]:
    words = re.findall(r"`([\w./-]+)`", prose(page)) + re.findall(r"python ([\w/]+\.py)", prose(page))
    return {word for word in words if "/" in word or word.endswith((".py", ".md", ".toml", ".txt"))}


def words_of(source: str) -> set[str]:
    return set(re.findall(r"\w+", source))


@every_page
def test_every_file_that_is_named_exists(page):
    assert [name for name in sorted(named_files(page)) if not (ROOT / name).exists()] == []


def test_every_question_has_its_line():
    links = re.findall(r"\]\((docs/contributing/[^)]+)\)", CONTRIBUTING.read_text(encoding="utf-8"))
    assert sorted(links) == [page.relative_to(ROOT).as_posix() for page in QUESTIONS]


def named_functions() -> list[tuple[str, str]]:
    """Each pair of "`push` and `VideoAligner` in `geometry/temporal/stabilization.py`"."""
    lists = [
        found for page in QUESTIONS for found in re.findall(r"((?:`\w+`(?:, | and )?)+)(?:,? both)? (?:in|of) `([\w/]+\.py)`", prose(page))
    ]
    pairs = sorted({(name, file) for names, file in lists for name in re.findall(r"`(\w+)`", names)})
    assert len(pairs) > 25
    return pairs


@pytest.mark.parametrize(("name", "file"), named_functions())
def test_a_function_that_is_named_is_in_its_file(name, file):
    assert name in words_of((ROOT / file).read_text(encoding="utf-8"))


@every_question
def test_the_code_that_is_shown_finds_what_it_imports(page):
    shown = dict(blocks(page))
    for place, source in shown.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = (ROOT / place).parents[node.level - 1].joinpath(*(node.module or "").split("."))
                file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
                text = shown.get(file.relative_to(ROOT).as_posix()) or file.read_text(encoding="utf-8")
                names = words_of(text) | {path.stem for path in module.glob("*.py")}
                assert {alias.name for alias in node.names} <= names, f"{place}: {node.module}"


@every_question
def test_a_method_that_is_shown_overrides_one_of_its_base(page):
    """Else nothing calls it, and the code runs as before."""
    for place, source in ((ROOT / place, source) for place, source in blocks(page) if (ROOT / place).exists()):
        there = {node.name: node for node in ast.parse(place.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)}
        for shown in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name not in there):
            bases = [there[base.id] for base in shown.bases if isinstance(base, ast.Name) and base.id in there]
            known = {each.name: ast.dump(each.args) for base in bases for each in base.body if isinstance(each, ast.FunctionDef)}
            for method in (each for each in shown.body if isinstance(each, ast.FunctionDef) and bases):
                assert known.get(method.name) == ast.dump(method.args), f"{place}: {shown.name}.{method.name}"


def test_the_effect_that_is_shown_runs():
    shown = vars(makers).copy()
    for place, source in blocks(ROOT / "docs" / "contributing" / "new-effect-or-node.md"):
        if place.endswith("/bands.py") or place.startswith("def in_bands"):
            shown["__package__"] = ".".join(("depth_normal", *Path(place).parts[:-1])) if "/" in place else makers.__package__
            exec(source, shown)
    depth = Estimate(torch.arange(1.0, 5).view(1, 1, 1, 4), Quantity.METRIC_DEPTH)
    made = shown["in_bands"](None, depth, shown["BandsOptions"](bands=2), False)
    assert made.words == "2 bands" and made.result.flatten().tolist() == [0, 0, 1, 1]


def test_the_page_of_benchmarks_names_every_one():
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").glob("*.py")} <= named_files(BENCHMARKS)
