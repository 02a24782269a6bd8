"""Writes down which packages a ComfyUI's environment holds: environments/*.json, which `test_requirements.py` reads.

    pip install uv && python tests/install/make_environments.py [NAME ...]

uv chooses the packages as the Python registry had them on a day, and pip reports what each of them requires; nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("environments")

# requirements.txt at ComfyUI's tag v0.3.40, the oldest version that pyproject.toml allows
_OLDEST = """
comfyui-frontend-package==1.21.7 comfyui-workflow-templates==0.1.25 comfyui-embedded-docs==0.2.0 torch torchsde torchvision torchaudio
numpy>=1.25.0 einops transformers>=4.28.1 tokenizers>=0.13.3 sentencepiece safetensors>=0.4.2 aiohttp>=3.11.8 yarl>=1.18.0 pyyaml Pillow
scipy tqdm psutil kornia>=0.7.1 spandrel soundfile av>=14.2.0 pydantic~=2.0
"""
# and in November 2026
_NEWEST = """
comfyui-frontend-package==1.53.6 comfyui-workflow-templates==0.11.73 comfyui-embedded-docs==0.5.12 torch torchsde torchvision numpy>=1.25.0
einops transformers>=4.50.3 tokenizers>=0.13.3 sentencepiece safetensors>=0.4.2 aiohttp>=3.11.8 yarl>=1.18.0 pyyaml Pillow scipy tqdm psutil
alembic SQLAlchemy>=2.0.0 filelock av>=17.0.0 comfy-kitchen==0.2.36 comfy-aimdo==0.5.5 requests simpleeval>=1.0.0 blake3 kornia>=0.7.1
spandrel pydantic~=2.0 pydantic-settings~=2.0 PyOpenGL>=3.1.8 comfy-angle
"""


class Environment(NamedTuple):
    """What is asked for, on which day, with which Python."""

    requirements: str
    day: str
    python: str


ENVIRONMENTS = {
    # installed long ago and never upgraded: each package as old as ComfyUI allows, the others of that day
    "oldest-comfyui": Environment(_OLDEST.replace(">=", "=="), "2025-06-06", "3.11"),
    "headless-opencv": Environment(f"{_OLDEST} transformers==4.55.4 opencv-python-headless", "2025-09-01", "3.12"),
    "newest-comfyui": Environment(_NEWEST, "2026-11-20", "3.13"),
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", choices=[[], *ENVIRONMENTS], help="default: all of them")
    for name in parser.parse_args().names or ENVIRONMENTS:
        packages = resolve(ENVIRONMENTS[name])
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(packages, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {len(packages)} packages")


def resolve(environment: Environment) -> dict[str, dict[str, object]]:
    """The packages by name: each with its version and what it requires, extras left out."""
    with tempfile.TemporaryDirectory() as folder:
        asked, chosen, report = (Path(folder) / name for name in ("asked.txt", "chosen.txt", "report.json"))
        asked.write_text("\n".join(environment.requirements.split()))
        options = ("--python-version", environment.python, "--exclude-newer", environment.day)
        subprocess.run([sys.executable, "-m", "uv", "pip", "compile", "-q", *options, asked, "-o", chosen], check=True)
        # for this one Python wheels are wanted whose metadata is read without downloading them
        options = ("--python-version", environment.python, "--only-binary", ":all:", "--target", folder)
        pip = (sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--no-deps")
        subprocess.run([*pip, *options, "--report", report, "-r", chosen], check=True)
        found = [package["metadata"] for package in json.loads(report.read_text())["install"]]
    return {
        each["name"]: {
            "version": each["version"],
            "requires": [line for line in each.get("requires_dist", ()) if "extra ==" not in line.partition(";")[2]],
        }
        for each in found
    }


if __name__ == "__main__":
    main()
