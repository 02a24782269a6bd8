"""Fixtures of several tests of the command line."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli


@pytest.fixture(autouse=True, scope="module")
def quickly_begun(tiny_at_hand):
    """Runs of the command share a built model."""


@pytest.fixture(autouse=True)
def small_by_default(request):
    """But for `verify` and `bench`, which are about the model as it is."""
    if request.path.parent.name not in ("verify", "bench"):
        request.getfixturevalue("small_tiny")


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """A folder of their own: pytest looks through all that lie beside `tmp_path` whenever a test asks for it."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def home(homes, monkeypatch):
    """The folder in which the command line remembers named results and measurements: one for each test."""
    path = Path(tempfile.mkdtemp(dir=homes))
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(path))
    return path


@pytest.fixture
def out(tmp_path):
    """A folder for results, which is not there yet."""
    return tmp_path / "out"


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory):
    """The bundled model's ONNX file, alone in its folder; writing it takes the exporter half a minute."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.graph_families import OLD_EXPORTER

    if OLD_EXPORTER["condition"]:
        pytest.skip(OLD_EXPORTER["reason"])
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", replace(MODELS["tiny"], default_size=64))  # as `small_by_default`, which is not yet there
        assert cli.main(["export", "tiny", "-o", str(path), "--json"]) == 0
    return path


@pytest.fixture
def small_disk(request, tmp_path):
    """A folder on a disk of its own, of the module's `DISK_SIZE`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or not mount:
        pytest.skip("needs a disk in memory, as Linux has them")
    run = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={request.module.DISK_SIZE}", "tmpfs", folder], capture_output=True, text=True)
    if run.returncode:
        pytest.skip(f"this user may not mount a disk: {run.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def forbidden():
    """Takes rights to a folder from this user, even where the tests run as root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has other rights")

    @contextmanager
    def forbid(folder, mode, right):
        folder.chmod(mode)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            if os.access(folder, right, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("this system lets everybody read and write everywhere")
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)

    return forbid
