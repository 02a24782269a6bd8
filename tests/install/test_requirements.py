"""Installing the pack into ComfyUI's Python changes none of the packages that are there.

pip decides by the records of what is installed (`*.dist-info/METADATA`) and never looks at a package's code. So an environment is a
virtual one that holds records alone: those of environments/*.json, which `make_environments.py` wrote.
"""

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from depth_normal.annotators.building import how_to_install_diffusion

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted(Path(__file__).with_name("environments").glob("*.json"))
OPENCV = {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
ADDED = {"isal", "openexr", "huggingface-hub"}
"""What ComfyUI does not ask for by itself. transformers brings the last."""


def packages(path: Path) -> dict[str, dict]:
    return {canonicalize_name(name): package for name, package in json.loads(path.read_text()).items()}


def requirements() -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_every_bound_allows_what_is_there(path):
    there = packages(path)
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in there or name in ADDED, f"{name} is new in every ComfyUI: is it needed?"
        if name in there:
            assert requirement.specifier.contains(there[name]["version"]), f"{requirement}: pip would replace {there[name]['version']}"
    assert not OPENCV & {canonicalize_name(each.name) for each in requirements()}, "it would be written over another wheel of OpenCV"


def make_environment(folder: Path, there: dict[str, dict]) -> Path:
    """A virtual environment that has the records of packages, and its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    for name, package in there.items():
        record = site / f"{name.replace('-', '_')}-{package['version']}.dist-info"
        record.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {package['version']}"]
        (record / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {each}" for each in package["requires"]]) + "\n")
        (record / "INSTALLER").write_text("pip\n")
    return python


def would_install(python: Path, *words: object) -> dict[str, str]:
    """What `pip install` would put into an environment, by name."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--dry-run", "--report", "-", *words]
    unbounded = {**os.environ, "PIP_CONSTRAINT": os.devnull}  # bounds in this machine's pip.conf are not those of users
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=unbounded)
    assert run.returncode == 0, run.stderr
    found = [package["metadata"] for package in json.loads(run.stdout)["install"]]
    return {canonicalize_name(each["name"]): each["version"] for each in found}


def changes(there: dict[str, dict], added: dict[str, str]) -> dict[str, str]:
    return {name: f"{there[name]['version']} -> {version}" for name, version in added.items() if name in there}


@pytest.mark.slow("asks the package registry")
@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_installing_changes_no_package_that_is_there(path, tmp_path, registry, monkeypatch):
    there = packages(path)
    python = make_environment(tmp_path / "venv", there)
    if path == ENVIRONMENTS[0]:
        assert "numpy" in would_install(python, "numpy!=" + there["numpy"]["version"]), "pip would replace packages of which it has records"

    added = would_install(python, "torch", "-r", ROOT / "requirements.txt")
    assert not changes(there, added)
    assert added.keys() <= ADDED

    # Adding diffusers: without the versions that the command names, huggingface_hub would leave the range of the installed transformers.
    monkeypatch.setattr(importlib.metadata, "version", lambda name: there[canonicalize_name(name)]["version"])
    added = would_install(python, *shlex.split(how_to_install_diffusion().partition(" -m pip install ")[2]))
    assert "diffusers" in added and not changes(there, added)
