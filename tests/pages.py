"""The documents as their readers use them: the blocks and commands of a page in order, and the files of a reader that they name."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "blender/README.md", "benchmarks/README.md", "training/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
_PROGRAMS = r"(?:depth-normal|python|pip|ray|node|ssh|blender|\.venv/bin/\w+)"
_SHOWN = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<block>[\s\S]*?)^ *```"
    rf"|^\|(?: [^`|\n]+ \|)? `(?P<cell>{_PROGRAMS} [^`\n]+)`"
    rf"|<code>(?P<code>{_PROGRAMS} [^<]+)<"
    rf"|^    (?P<line>{_PROGRAMS} .+)$",
    re.MULTILINE,
)
_SHELLS = ("sh", "bash", "bat")


class Step(NamedTuple):
    """What a page shows at one place: a line of a "shell", or a block of "python"."""

    kind: str
    text: str


def steps_of(page: Path) -> list[Step]:
    """The steps of a page. Blocks without a language are output, but for those that begin with a program."""
    steps = []
    for found in _SHOWN.finditer(page.read_text(encoding="utf-8")):
        block, language = found["block"], found["language"]
        if block is None:
            line = found["cell"] or found["code"] or found["line"]
            steps.append(Step("shell", line.replace("\\|", "|").replace("&quot;", '"')))
        elif language == "python":
            steps.append(Step("python", textwrap.dedent(block)))
        elif language in _SHELLS or (not language and re.match(_PROGRAMS, block)):
            lines = textwrap.dedent(block).replace("\\\n", " ").splitlines()
            steps += [Step("shell", " ".join(line.split()) if "'" not in line and '"' not in line else line) for line in lines if line]
    return steps


NOT_RUN = {
    r"pip install|pip uninstall|git clone|-m venv": "installs, as tests/install and .ci/run do",
    r"pytest|ruff check": "runs the tests",
    r"^depth-normal ui|^ssh -L": "serves until it is stopped: tests/app/ui",
    r"^depth-normal bench": "measures for minutes: tests/app/bench",
    r"^depth-normal (verify|download)|^\.venv/bin/depth-normal": "published weights: tests/app/verify, tests/model_loader/weights",
    r"^depth-normal export |docs/use_onnx.py|onnxruntime": "exports networks: tests/app/test_use_onnx.py, by these lines",
    r"--runtime openvino": "builds an engine: tests/model_loader/runtimes",
    r"marigold-iid-appearance": "a network of 2.6 GB: tests/app/commands/test_texture.py takes a small one",
    r"estimate s3://|FIRST|^ray |auth_token|RAY_AUTH|--engine ray": "needs a cluster or a store: tests/app/cluster",
    r"^blender ": "Blender itself; tests/blender runs the same scripts by its Python module",
    r"^export GOMP": "a setting of the shell",
    r"benchmarks/": "a benchmark: tests/test_benchmarks.py runs each at a tiny size",
    r"-m training\.": "training: tests/training/test_training_commands.py",
    r"python (docs/make_|docs/demo_scene|tests/comfyui/install)": "writes files of the repository, or installs ComfyUI",
    r"torch\.cuda\.is_available": "prints a fact of the machine",
}
"""Steps that cannot run here, by a pattern of their text, and why. Blocks of docs/contributing are code for files: test_contributing.py."""


def why_not_run(step: Step) -> str | None:
    """The reason of `NOT_RUN`; None = the step runs."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, step.text, re.DOTALL)), None)


def _photo(height: int = 48, width: int = 64) -> Image.Image:
    """Part of a photograph: smaller, its objects would be too small to be found."""
    return Image.open(ROOT / "app" / "coffee.jpg").resize((width, height))


def _images(folder: Path, *names: str, height: int = 48, width: int = 64) -> None:
    """A JPEG lies on its side, as phones store them."""
    photo, on_its_side = _photo(height, width), Image.Exif()
    on_its_side[274] = 6  # Orientation
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        if name.endswith(".jpg"):
            photo.rotate(90, expand=True).save(folder / name, exif=on_its_side, quality=95)
        else:
            photo.save(folder / name)


def _video(path: Path) -> None:
    from tests.videos import moving_ball, write_video

    path.parent.mkdir(exist_ok=True, parents=True)
    write_video(path, moving_ball(6, 48, 64), codec="libx264", rate=Fraction(1, 4))


def _render(path: Path) -> None:
    import OpenEXR

    depth = np.linspace(1, 4, 48 * 64, dtype=np.float32).reshape(48, 64)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"ViewLayer.Depth.Z": depth}).write(str(path))


def _heic(path: Path) -> None:
    from tests.heic_files import heic_with_depth

    photo = np.asarray(_photo())
    path.write_bytes(heic_with_depth(photo, photo[..., 0]))


def write_true(path: Path) -> None:
    from depth_normal.geometry.camera import intrinsics_from_fov
    from depth_normal.geometry.estimate import Estimate, Quantity
    from depth_normal.geometry.files import save_estimate
    from depth_normal.geometry.surfaces.derive import with_normals
    from tests.random_weights import smooth_images

    depth = 2 + smooth_images(48, 64)[:, :1]
    save_estimate(path, with_normals(Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(60, 48, 64))))


FILES = {
    **dict.fromkeys(("photo.jpg", "a.jpg", "b.png", "more.jpg", "wall.jpg"), _images),
    "large.jpg": lambda folder, name: _images(folder, name, height=120, width=160),
    "room360.jpg": lambda folder, name: _images(folder, name, height=64, width=128),
    "panoramas": lambda folder, name: _images(folder, f"{name}/hall.jpg", height=64, width=128),
    "photos": lambda folder, name: _images(folder, f"{name}/one.png", f"{name}/trip/room.jpg"),
    "walls": lambda folder, name: _images(folder, f"{name}/brick.jpg"),
    "frames_%05d.png": lambda folder, name: _images(folder, *(name % number for number in range(1, 6)), height=256, width=256),
    **{name: lambda folder, name: _video(folder / name) for name in ("clip.mp4", "a.mp4", "b.mov")},
    "clips": lambda folder, name: [_video(folder / name / each) for each in ("a.mp4", "b.mp4")],
    "more/*.mkv": lambda folder, name: _video(folder / "more" / "c.mkv"),
    "@list.txt": lambda folder, name: (folder / "list.txt").write_text("clips/a.mp4\n"),
    "photo.heic": lambda folder, name: _heic(folder / name),
    "render.exr": lambda folder, name: _render(folder / name),
    "depthpro.npz": lambda folder, name: np.savez(folder / name, depth=np.full((48, 64), 2, np.float32)),
    "true.exr": lambda folder, name: write_true(folder / name),
    "scene.npz": lambda folder, name: write_true(folder / name),
    "pred.npy": lambda folder, name: np.save(folder / name, np.random.default_rng(0).random((48, 64), np.float32)),
    "mine.safetensors": lambda folder, name: shutil.copy(ROOT / "annotators" / "tiny.safetensors", folder / name),
}
"""Makers of a reader's own files, by their names in a page; what the pack writes is not among them: an earlier step has to make it."""


def lay_out(page: Path, folder: Path) -> None:
    """Puts the files of a reader that a page names into a folder, and the pack's own folders that its steps read."""
    text = "\n".join(re.sub(r"(-o|--out) \S+", "", step.text) for step in steps_of(page) if why_not_run(step) is None)
    for name, make in FILES.items():
        if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w.-])", text):
            make(folder, name)


def use_small_networks(file: Path, replace_attribute: Callable[..., None]) -> None:
    """Puts a small network with random weights in the place of any model but the pack's own; `file` stands for their weights."""
    from depth_normal.model_loader import load
    from tests import graph_families

    named = {"moge-2-vits-normal": "moge"}
    file.touch()
    build, find = load._build, load._weights_of
    replace_attribute(load, "_weights_of", lambda spec, weights: find(spec, weights) if weights.bundled else file)

    def built(spec, paths, dtype):
        if file not in paths.values():
            return build(spec, paths, dtype)
        if spec.family == "da2":
            annotator = graph_families._module("test_da2.py")["annotator"](dtype)
        else:
            annotator = graph_families.annotator(named.get(spec.id, spec.id), dtype)
        return annotator._with(spec=replace(annotator.spec, default_size=98))

    replace_attribute(load, "_build", built)


def run_steps(page: Path, folder: Path, python: str = sys.executable) -> dict[str, Any]:
    """Runs the steps of a page in a folder, which is the working directory, all but those of `NOT_RUN`; returns what its Python defines.

    A command of the pack runs in this process; what needs a shell, in one whose `python` is the one that is given.
    """
    from depth_normal.app import cli

    programs = folder / ".programs"
    programs.mkdir()
    for name, words in (("depth-normal", f"{sys.executable} -m depth_normal"), ("python", python)):
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    defined: dict[str, Any] = {}
    for step in steps_of(page):
        if why_not_run(step):
            continue
        if step.kind == "python":
            exec(compile(step.text, str(page), "exec"), defined)
        elif step.text.startswith("depth-normal ") and not re.search(r"[|<>&;$~]", step.text):
            words = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in shlex.split(step.text)[1:]]
            assert cli.main(list(itertools.chain(*words))) == 0, step.text
        else:
            subprocess.run(["bash", "-ec", step.text], cwd=folder, env=environment, check=True)
    return defined
