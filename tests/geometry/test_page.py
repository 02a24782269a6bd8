"""The page for callers from Python: what it names exists, and no function that only they need is missing."""

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "geometry.md").read_text()
ROOMS = ("nodes", "app", "model_loader", "annotators", "media", "geometry")


def words(path):
    """How often every name occurs in a module's code, its own definitions left out."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return Counter(node.id if isinstance(node, ast.Name) else node.attr for node in nodes if isinstance(node, (ast.Name, ast.Attribute)))


def functions_without_a_caller():
    used = sum((words(path) for room in ROOMS for path in (ROOT / room).rglob("*.py")), Counter())
    for path in sorted((ROOT / "geometry").rglob("*.py")):
        module = path.relative_to(ROOT / "geometry").with_suffix("").parts
        if module[0] in ("effects", "files", "textures") or path.stem.endswith("_kernel"):  # `ByKernel` calls these by name
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not used[node.name]:
                yield ".".join((*module, node.name))


@pytest.mark.slow("takes most of a second")
def test_a_public_function_has_a_caller_or_is_on_the_page():
    assert {name for name in functions_without_a_caller() if f"`{name}`" not in PAGE} == set()


@pytest.mark.parametrize("name", re.findall(r"`((?:\w+\.)+\w+)`", PAGE.replace("`depth_normal.geometry`", "")))
def test_what_the_page_names_exists(name):
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(f"depth_normal.geometry.{module}"), function))
