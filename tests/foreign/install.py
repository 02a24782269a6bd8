"""Fetches files and validators of other projects for the tests, from the registries alone; about two minutes.

    python tests/foreign/install.py HOME
    DEPTH_NORMAL_FOREIGN=HOME .venv/bin/python -m pytest --all tests/foreign

Sources are unpacked, never built. Debian's programs are named in docs/contributing/foreign-tests.md. A second call ends at once.
Nothing of it is part of the pack.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

SOURCES = ("pillow==13.0.0", "openexr==3.5.3", "pypng==0.20220715.0")
"""Packages of PyPI whose sources hold images."""

MODULES = (
    *("OpenImageIO==3.2.2.0", "trimesh==5.2.0", "plyfile==1.1.5", "numpy==2.4.6"),
    *("webdataset==1.0.2", "comfy-cli==1.23.0", "comfy-test==0.4.15"),
)
"""Second readers and validators, in an environment of their own."""

IMPORTED = ("hypothesis==6.170.17",)
"""What the tests import."""

NODE_PACKAGES = (
    *("gltf-validator@2.0.0-dev.3.10", "html-validate@10.17.0", "@playcanvas/splat-transform@2.7.1", "typescript@5.9.3"),
    *("@comfyorg/comfyui-frontend-types@1.45.6", "vue@3.5.42", "zod@3.25.76"),
)
"""The last published types of ComfyUI's page that have a file of types, and what they stand on."""

_DONE = "installed"


def install(home: Path) -> None:
    """Fills `home`."""
    stamp, wanted = home / _DONE, " ".join((*SOURCES, *MODULES, *IMPORTED, *NODE_PACKAGES))
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    home.mkdir(parents=True, exist_ok=True)
    binaries = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
    if not binaries.exists():
        _run(sys.executable, "-m", "venv", home / "venv")
    pip = (binaries / "python", "-m", "pip", "install", "-q")
    _run(*pip, "unearth", *MODULES)
    _run(*pip, "--target", home / "modules", "--upgrade", *IMPORTED)
    _run(
        "npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--legacy-peer-deps", "--prefix", home, *NODE_PACKAGES
    )
    for source in SOURCES:
        _run(binaries / "unearth", "--no-binary", source, "--download", home / "sources", stdout=subprocess.DEVNULL)
    for archive in (home / "sources").glob("*.tar.gz"):
        with tarfile.open(archive) as files:
            files.extractall(home / "sources", filter="data")
    stamp.write_text(wanted)


def _run(*words: str | Path, **options: int) -> None:
    subprocess.run([str(word) for word in words], check=True, **options)


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve())
