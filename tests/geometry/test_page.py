"""The page for callers from Python: what it names exists, what it shows runs, and no function that only they need is missing."""

import ast
import importlib
import re
import runpy
from collections import Counter
from pathlib import Path

import pytest
import torch

from depth_normal.geometry.camera import pixel_rays

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


def test_what_the_page_shows_runs_and_is_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)))
    found = runpy.run_path(str(tmp_path / "page.py"))
    estimate = found["estimate"]
    assert torch.allclose(estimate.normals[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0])), "the floor faces up"
    assert estimate.depth.max() == pytest.approx(5, abs=1e-3) and estimate.depth[0, 0, 0, 0] < 4.8
    assert torch.equal(pixel_rays(found["right_half"], 90, 80), pixel_rays(estimate.intrinsics, 90, 160)[..., 80:])
    columns = torch.arange(160).expand(90, 160) - 0.5 * estimate.intrinsics[0, 0, 0] / estimate.depth[0, 0]
    assert torch.allclose(found["pixels"][0, :, 0].view(90, 160), columns, atol=1e-3), "near things move more"
    error = (found["inverse_depth"] - found["inverse"]).square().mean((1, 2, 3))
    assert (error <= found["inverse"].var((1, 2, 3), correction=0) * (1 + 1e-6)).all()
    assert (tmp_path / "scene.glb").stat().st_size > 14400 * (12 + 8), "half of the points of two images, with place and colour"
