"""The wheel: complete, built without a trace in the source tree, and able to run."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("annotators", "app", "geometry", "media", "model_loader", "nodes", "options")
pytestmark = pytest.mark.slow("builds and installs wheels")


def tracked(*places: str) -> list[str]:
    """Files that git knows, or would if they were added."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files, and this folder is no checkout")
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *places]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in {*names} if name and (ROOT / name).is_file())


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the source in which an earlier setuptools built a module that is gone since."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked():
        if not name.startswith(("tests/", "benchmarks/", "training/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    stale = folder / "build" / "lib" / "depth_normal" / "annotators" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    return folder


def run(*words: object, **options) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pip(*words: object, **options) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words, **options)


def as_installed() -> tuple[str, ...]:
    """pip's option for a build with this Python's own setuptools, which need not be fetched once more."""
    # not imported: setuptools changes the process that imports it
    if int(importlib.metadata.version("setuptools").partition(".")[0]) < 77:
        pytest.skip("the build backend needs setuptools 77 or newer")
    return ("--no-build-isolation",)


@pytest.fixture(scope="module")
def wheel(source, registry, tmp_path_factory) -> Path:
    """As `pip install .` builds it, which takes setuptools from the registry."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "-q", "--no-deps", "-w", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def content(wheel) -> set[str]:
    """The files of the package in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name.removeprefix("depth_normal/") for name in archive.namelist() if name.startswith("depth_normal/")}


def test_building_leaves_nothing_in_the_source(source, wheel):
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert files == {name for name in tracked() if not name.startswith(("tests/", "benchmarks/", "training/"))} | {
        "build/lib/depth_normal/annotators/gone.py"
    }


def test_the_wheel_holds_every_file_of_the_product_and_nothing_of_an_earlier_build(content):
    roots = {"__init__.py", "__main__.py", "_version.py", "utils.py"}
    code = {*tracked(*PRODUCT), *roots}
    assert {name for name in content if not name.startswith(("web/", "docs/"))} == code
    assert {name for name in content if name.startswith("web/")} == {
        name for name in tracked("web") if name.count("/") == 1 or name.startswith("web/languages/")
    }


def test_the_wheel_holds_the_pages_that_messages_name(content):
    named = {
        page for name in tracked(*PRODUCT) if name.endswith(".py") for page in re.findall(r"\bdocs/[\w.-]+\.\w+", (ROOT / name).read_text())
    }
    assert {"docs/scale.md", "docs/folders.md", "docs/use_onnx.py"} <= named
    assert not named - content
    linked = {
        page for name in content if name.endswith(".md") for page in re.findall(r"\]\(([\w-]+\.(?:md|py))\b", (ROOT / name).read_text())
    }
    assert not {f"docs/{page}" for page in linked} - content


def test_the_module_runs_and_says_where_the_pages_are(wheel, tmp_path):
    pip("install", "-q", "--no-deps", "--target", tmp_path, wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    help_text = run(sys.executable, "-m", "depth_normal", "--help", cwd=tmp_path, env=environment)
    assert help_text.startswith("usage: depth-normal ")
    assert str(tmp_path / "depth_normal" / "docs") in help_text.split() and (tmp_path / "depth_normal" / "docs" / "scale.md").is_file()


def test_an_editable_install_leaves_nothing_either_and_its_module_runs(source, wheel, tmp_path):
    before = {path for path in source.rglob("*") if "__pycache__" not in path.parts}
    pip("install", "-q", "--no-deps", *as_installed(), "--target", tmp_path, "-e", source)
    assert {path for path in source.rglob("*") if "__pycache__" not in path.parts} == before
    code = f"import runpy, site, sys; site.addsitedir({str(tmp_path)!r}); sys.argv = ['', '--version']; "
    code += "runpy.run_module('depth_normal', None, '__main__')"
    assert run(sys.executable, "-S", "-c", code, cwd=tmp_path).startswith("depth-normal ")


def test_the_wheel_can_be_built_from_the_source_archive(source, content, tmp_path):
    """Of which git's list decides nothing: it must hold the build backend."""
    code = "import sys; sys.path.insert(0, 'packaging'); import backend; print(backend.build_sdist(sys.argv[1]))"
    own_setuptools = as_installed()
    name = run(sys.executable, "-c", code, tmp_path, cwd=source).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    pip("wheel", "-q", "--no-deps", *own_setuptools, "-w", tmp_path, folder)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert {name.removeprefix("depth_normal/") for name in archive.namelist() if name.startswith("depth_normal/")} == content
