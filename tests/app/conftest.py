"""Fixtures of several tests of the command line."""

import runpy
from pathlib import Path

import pytest

from depth_normal.app.cli import main

TESTS = Path(__file__).resolve().parents[1]


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
