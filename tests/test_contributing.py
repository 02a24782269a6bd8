"""CONTRIBUTING.md and its pages name files, functions and imports that are there."""

import __future__

import ast
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import SaveOptions

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


WITHIN = {"haze: float": "options/effects.py", "def in_bands": "geometry/effects/makers.py", "EffectSpec(": "options/effects.py"}
"""The files of blocks that do not name theirs, by how they begin."""


def module_of(place: str) -> ModuleType:
    """A copy of a module of the pack, or a new one, which other new ones can import."""
    place = next((file for begin, file in WITHIN.items() if place.startswith(begin)), place)
    name = ".".join(("depth_normal", *Path(place).with_suffix("").parts))
    module = ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    if (ROOT / place).exists():
        copied = {key: value.copy() if isinstance(value, dict) else value for key, value in vars(import_module(name)).items()}
        vars(module).update(copied)
    return module


def shown_on(page: Path, monkeypatch) -> dict[str, Any]:
    """What the blocks of a page define, each run in its module; those within a function are compiled."""
    defined: dict[str, Any] = {}
    for place, source in blocks(page):
        module = module_of(place)
        vars(module).update(defined)
        before = dict(vars(module))
        if re.search(r"^return ", source, re.MULTILINE):
            source = "def within():\n" + textwrap.indent(source, "    ")
        flags = __future__.annotations.compiler_flag if "annotations" in before else 0  # as the file has them
        exec(compile(source, place, "exec", flags), vars(module))
        defined |= {key: value for key, value in vars(module).items() if key not in before}
        if not (ROOT / place).exists() and place.endswith(".py"):
            monkeypatch.setitem(sys.modules, module.__name__, module)
    return defined


def check_effect(shown, tmp_path):
    depth = Estimate(torch.arange(1.0, 5).view(1, 1, 1, 4), Quantity.METRIC_DEPTH)
    made = shown["in_bands"](None, depth, shown["BandsOptions"](bands=2), False)
    assert made.words == "2 bands" and made.result.flatten().tolist() == [0, 0, 1, 1]


def check_format(shown, tmp_path):
    depth = Estimate(torch.rand(1, 1, 4, 6) + 1, Quantity.METRIC_DEPTH)
    shown["_write_fmap"](tmp_path / "a.fmap", depth, SaveOptions())
    assert torch.equal(shown["_read_fmap"](tmp_path / "a.fmap", None, None, None).depth, depth.depth)


def check_stage(shown, tmp_path):
    depth = Estimate(torch.rand(1, 1, 4, 6) + 1, Quantity.METRIC_DEPTH)
    assert torch.equal(shown["sharpen_depth"](depth, 0.0).depth, depth.depth)
    assert shown["sharpen_depth"](depth, 1.0).depth.var() > depth.depth.var()


CHECKS = {"new-effect-or-node": check_effect, "new-output-format": check_format, "new-inference-stage": check_stage}


@every_question
def test_the_code_that_is_shown_runs(page, tmp_path, monkeypatch):
    shown = shown_on(page, monkeypatch)
    CHECKS.get(page.stem, lambda *_: None)(shown, tmp_path)


def test_the_page_of_benchmarks_names_every_one():
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").glob("*.py")} <= named_files(BENCHMARKS)
