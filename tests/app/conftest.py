"""Fixtures of several tests of the command line."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import main

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def quickly_loaded(tiny_at_hand):
    """The command loads the pack's own model in most tests."""


@pytest.fixture(autouse=True)
def small_by_default(request, monkeypatch):
    """The pack's own model sees images small where no size is asked for; `verify` and `bench` are about it as it is."""
    if request.path.parent.name not in ("verify", "bench"):
        monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], default_size=64))


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """The folder in which the command line remembers named results and measurements: one for each test."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory):
    """The bundled model's ONNX file, alone in its folder; writing it takes the exporter half a minute."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    old = runpy.run_path(str(TESTS / "graph_families.py"))["OLD_EXPORTER"]
    if old["condition"]:
        pytest.skip(old["reason"])
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    assert main(["export", "tiny", "-o", str(path), "--json"]) == 0
    return path
