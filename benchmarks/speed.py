"""All figures of speed of this machine, in one command: runs the other benchmarks one after another and writes them into docs/speed.md.

    python benchmarks/speed.py [--only models effects] [--seconds 600] [--output docs/speed.md]

Takes about ten minutes on a GPU, where it also measures half precision, diffusion and torch.compile, and half an hour on two cores. Weights
are random, of each network's true size. The page has a section for each device: that of this one is written anew, and the others are kept.
A part that fails, or takes longer than --seconds, stands in its section with the reason.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
# the heading of a device's section, which names the device
_SECTION = re.compile(r"^## (?=On )", re.MULTILINE)
_END = "## Figures of others"


class Part(NamedTuple):
    """One benchmark of the page.

    Attributes:
        title: Its heading.
        command: The script and its arguments.
        gpu: Whether it needs a GPU (True), is left out where there is one (False), or runs everywhere (None).
    """

    title: str
    command: str
    gpu: bool | None = None


_SMALL = (
    "tiny zipdepth-base midas-v2.1-small depth-anything-v2-small depth-anything-3-small moge-2-vits-normal metric3d-vit-small bae-normal "
    "dsine video-depth-anything-metric-small"
)
_FOR_ENGINES = "depth-anything-v2-small depth-anything-v2-base midas-dpt-hybrid moge-2-vits-normal midas-v2.1-small tiny"
PARTS = {
    "models": Part("Models", f"families.py --batches 1 --rounds 2 --no-memory --models {_SMALL}", False),
    "models-gpu": Part("Models: batches, memory", f"families.py --dtype float16 --rounds 2 --models {_SMALL} moge-2-vitl-normal", True),
    "diffusion": Part("Diffusion models", "diffusion.py", True),
    "engines": Part("Engines beside torch", f"runtimes.py --runtime torch onnx openvino --models {_FOR_ENGINES}", False),
    "engines-gpu": Part("Engines beside torch", "runtimes.py --device cuda --runtime onnx compile --models depth-anything-v2-small", True),
    "folder": Part("A folder of 1080p photos by tiny", "folder.py"),
    "folder-small": Part("A folder of 1080p photos by Depth Anything V2 small", "folder.py --model depth-anything-v2-small --random"),
    "video": Part("A 1080p video by tiny", "video_rate.py"),
    "video-small": Part(
        "A 1080p video by Depth Anything V2 small", "video_rate.py --model depth-anything-v2-small --random --frames 24 --rounds 2"
    ),
    "effects": Part("Light, parallax, lens, cut-outs and heights at 1080p", "effects.py"),
}


def main() -> None:
    """Runs the parts and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=600, help="for each part (default: %(default)g)")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: %(default)s)")
    arguments = parser.parse_args()
    with_gpu = torch.cuda.is_available()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    names = arguments.only or [name for name, part in PARTS.items() if part.gpu in (None, with_gpu)]
    page, device, tables = arguments.output.read_text(encoding="utf-8"), device_name(with_gpu), []
    for name in names:
        print(f"{name} ...", flush=True)
        tables.append(table(PARTS[name], arguments.seconds))
        print(tables[-1], flush=True)
        arguments.output.write_text(with_section(page, device, load, tables), encoding="utf-8")  # keeps partial results if stopped


def device_name(with_gpu: bool) -> str:
    """The device's description for a heading."""
    if with_gpu:
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.is_file() and (found := re.search(r"^model name\s*: (.+)$", known.read_text(encoding="utf-8"), re.MULTILINE)):
        model = found[1].strip()
    return f"{torch.get_num_threads()} cores of {model}"


def table(part: Part, seconds: float) -> str:
    """A part's heading, command and output, or the reason for its failure."""
    script, *words = part.command.split()
    began = time.monotonic()
    try:
        command = [sys.executable, str(ROOT / "benchmarks" / script), *words]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # unbuffered, to keep output if a part is stopped
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)
        printed = (
            done.stdout.strip() if done.returncode == 0 else f"failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout or ""  # bytes, except on Windows
        printed = f"{(said if isinstance(said, str) else said.decode()).strip()}\nstopped after {seconds:g} s".strip()
    print(f"{time.monotonic() - began:.0f} s")
    # tables as they are, everything else as code
    shown = printed if re.search(r"^\| ", printed, re.MULTILINE) else f"```text\n{printed}\n```"
    return f"### {part.title}\n\n`python benchmarks/{part.command}`\n\n{shown}\n"


def with_section(page: str, device: str, load: float | None, tables: list[str]) -> str:
    """The page with a device's section rewritten and moved behind those of other devices, which stay.

    Args:
        page: The current page.
        device: Its description.
        load: Number of runnable programs before the first part; None = unknown.
        tables: The parts.
    """
    body, end, others = page.partition(_END)
    if not end:
        raise SystemExit(f"the page has no heading {_END!r}: nothing is written")
    first, *sections = _SECTION.split(body)
    kept = [section for section in sections if not section.startswith(f"On {device}, ")]
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    versions += "" if load is None else f"; load average before it began: {load:.1f}"
    own = f"On {device}, {date.today().isoformat()}\n\n{versions}.\n\n" + "\n".join(tables) + "\n"
    return first + "".join(f"## {section}" for section in [*kept, own]) + end + others


if __name__ == "__main__":
    main()
