"""Every benchmark runs to its end, at tiny sizes, and tells somebody who has not what it needs what that is."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


def commands() -> list[str]:
    """What benchmarks/ and training/ offer on the command line: files, and modules."""
    benchmarks, training = (
        [path for path in sorted(folder.glob("*.py")) if "__main__" in path.read_text()] for folder in (BENCHMARKS, ROOT / "training")
    )
    return [*map(str, benchmarks), *(f"training.{path.stem}" for path in training)]


MODELS = ("tiny", "moge-2-vits-normal", "moge-3-vitl", "da2", "depth-pro", "leres-boost", "dsine")
"""With weights of its own, inputs beside the image, a sparse network, for panoramas, of several networks (two), without depth."""
SMALL = ("--width", "96", "--height", "64")
ONCE = ("--size", "56", "--rounds", "1", *SMALL)
RUNS = {
    "families.py": (["--narrow", "--models", *MODELS, "--no-memory", "--batches", "2", *ONCE], "outside\n[^$]*dsine +float16"),
    "families.py memory": (
        ["--narrow", "--models", "moge-2-vits-normal", "--batches", "1", *ONCE],
        r"moge-2-vits-normal +1 +\d+x\d+ +[\d.]+ +[\d.]+ +[\d.]+% +\d+ +[\d.]+\n",
    ),
    "relight.py": (
        ["SCENES/relight", "--width", "96"],
        r"land ahead( +[01]\.\d{3}){4}\n(?s:.*)scene_1 sun +0\.00 +0\.00(?s:.*)relief_1 sun +0\.00 +\d+\.\d\d\n",
    ),
    "diffusion.py": (["--size", "64", "--repeats", "1", "--device", "cpu"], "lbm-normals +float32 +4"),
    "normals.py": (["SCENES/scenes", "--repeats", "1", *SMALL], "this pack, noise 2 %"),
    "refine.py": (["SCENES/scenes", *SMALL], "96x64 on cpu, 1 thread"),
    "edges.py": (["SCENES/scenes", "--traced", "0"], "refine, in tiles"),
    "meshes.py": (["SCENES/scenes", "--tiny"], "tiny +ball"),
    "mesh_views.py": (["--width", "96"], "wide ramps, noise, 30"),
    "mesh_views.py rims": (["--width", "32", "--rims"], "mean +foliage +25"),
    "mesh_views.py behind": (["--width", "64", "--behind"], "mean +soft +25"),
    "tiles.py": (["SCENES/scenes", "--tiles", "2", "--plane", "320", "240"], "2 tiles, ours"),
    "stereo.py": (["SCENES/stereo", "--seeds", "1", "--width", "64", "--blur", "1"], "posts_1 dolly[^$]*pair[^$]*soft depth[^$]*mean"),
    "stereo.py sharpen": (["--seeds", "1", "--width", "64", "--sharpen", "1", "--shift", "3"], "ghosts[^$]*heads_1 dolly[^$]*mean"),
    "stereo.py raised": (["--seeds", "1", "--width", "64", "--raised", "1.12"], "posts_1 orbit[^$]*soft depth[^$]*mean"),
    "depth_of_field.py": (["SCENES/lens"], "mean +"),
    "objects.py": (["--side", "64", "--points", "1", "--scenes", "1"], "network   box, 2 points"),
    **{
        f"objects.py {kind}": (["--kind", kind, "--side", "128", "--scenes", "1", "--select", "box 15 %"], "network   box 15 % +0")
        for kind in ("standing", "cup", "stand", "touching")
    },
    "panorama.py": (["--width", "128", "--side", "48"], r"\| street \| tiny"),
    "sky.py": (["--side", "64"], "all rooms"),
    "simple_materials.py": (["--side", "32", "--seeds", "1", "--lights", "flash"], "all, spots +0"),
    "textures.py": (["--rounds", "1", "--rays", "4", "--side", "48", *SMALL], "occlusion of depth"),
    "videos.py": (["--frames", "3", "--shots", "pan", *SMALL], "align . smooth 1, running"),
    "video_rate.py": (["--frames", "3", "--rounds", "1", *SMALL], r"ratio [0-9]"),
    "video_rate.py narrow": (["--frames", "2", "--rounds", "1", "--narrow", "--model", "depth-anything-v2-small", *SMALL], r"ratio [0-9]"),
    "walker.py": (["--frames", "3", *SMALL], "0.4 px, pan +[0-9]"),
    "video_memory.py": (["--frames", "20"], "times as much after all"),
    "export_parity.py": (["--models", "zipdepth-base", "--size", "64"], "zipdepth-base +float32 +random"),
    "runtime_parity.py": (["--models", "zipdepth", "--runtime", "onnx"], r"\| zipdepth \| ONNX"),
    "gpu_model.py networks": (["networks", "tiny", "bae-normal", "--narrow", "--size", "96", "64"], r"bae-normal +[0-9.]+[^$]*waits: "),
    "gpu_model.py effects": (["effects", "depth", "--size", "96", "64"], r"depth of field +[0-9.]+[^$]*waits: "),
    "effects.py": (["--rounds", "1", "--only", "relight", "cast_shadow", *SMALL], r"cast_shadow, soft +[\d.]+[^$]*the rest"),
    "runtimes.py": (["--models", "zipdepth-base", "--seconds", "0.01", "--runtime", "onnx"], r"\| ONNX Runtime .*\|"),
}
"""The arguments of each, and a pattern that its last lines match."""
RENDERING = [path.name for path in sorted(BENCHMARKS.glob("*.py")) if "from blender_scene import" in path.read_text()]
OTHERWISE = {
    "overhead.py": "below",
    "folder.py": "below",
    "speed.py": "below",
    "node_table.py": "tests/nodes/test_help_pages.py",
    "soak.py": "tests/comfyui/test_benchmarks_server.py: needs a ComfyUI",
    "first_minute.mjs": "tests/comfyui/test_benchmarks_server.py: needs a ComfyUI and Chromium",
    "first_map.mjs": "tests/app/ui/test_page.py: needs Chromium",
    **dict.fromkeys(RENDERING, "tests/blender/test_benchmark_scenes.py: needs bpy"),
}
"""Benchmarks that run in another test, and in which."""
RUN = """
import contextlib, io, json, os, runpy, sys, traceback
from dataclasses import replace
from depth_normal.annotators.registry import MODELS
from depth_normal.app import onnx_export
from depth_normal.model_loader.runtimes import build
written = {}
def export_once(graph, path, input_size=None, *rest, export=build.export_graph):
    key = (input_size, *(each.double().sum().item() for each in graph.module.parameters()))
    if key not in written:
        export(graph, path, input_size, *rest)
        written[key] = path.read_bytes()
    path.write_bytes(written[key])
onnx_export.export_graph = build.export_graph = export_once  # two benchmarks take seconds for the same file
MODELS["tiny"] = replace(MODELS["tiny"], default_size=64)
mains = {}  # constants of a modelled device are kept, of the module that ran first
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what is printed past Python is no answer
for line in sys.stdin:
    (script, *words), output, code = json.loads(line), io.StringIO(), 0
    sys.argv = [script, *words]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            if script in mains:
                code = mains[script]() or 0
            else:
                run = runpy.run_path if script.endswith(".py") else runpy.run_module
                mains[script] = run(script, run_name="__main__")["main"]
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    print(json.dumps([code, output.getvalue()]), file=answers, flush=True)
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A folder with small scenes of each kind that benchmarks read: a ball before a wall."""
    folder, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for name in ("scenes", "stereo", "lens", "relight"):
        (folder / name).mkdir()
    v, u = np.mgrid[:96, :128].astype(np.float32)
    ball = (u - 64) ** 2 + (v - 50) ** 2 < 28**2
    depth, mask = np.where(ball, 2, 5 - 0.01 * v).astype(np.float32), np.ones((96, 128), bool)
    mask[:6] = False
    normals = np.tile(np.float32((0, 0, 1)), (96, 128, 1))
    image = (np.where(ball[..., None], (200, 120, 80), (80, 120, 160)) + random.integers(0, 20, (96, 128, 3))).astype(np.uint8)
    maps = {"depth": depth, "mask": mask, "normals": normals, "normal": (normals * 32767).astype(np.int16), "rgb": image}
    np.savez(folder / "scenes" / "ball.npz", K=np.float32((100, 100, 63.5, 47.5)), **maps)
    camera = np.float32([[100, 0, 63.5], [0, 100, 47.5], [0, 0, 1]])
    views = {"left": image, "right": np.roll(image, -2, 1), "depth_left": depth, "depth_right": np.roll(depth, -2, 1)}
    np.savez(folder / "stereo" / "pair.npz", intrinsics=camera, baseline=0.1, **views)
    lens = {"pinhole": image, "lens_0": np.roll(image, 1, 0), "node_0": np.roll(image, 1, 1)}
    np.savez(folder / "lens" / "view.npz", depth=depth, settings_0=np.float32((2, 2, 50, 36, 5, 0)), **lens)
    flat, towards = np.full((24, 32, 3), 0.3, np.float32), np.tile(np.float32((0, 0, 1)), (24, 32, 1))
    lit = {
        "lamps": json.dumps({"sun": {"position": (0, 0, 1), "is_point": False, "size": 0.0}}),
        "intrinsics": np.float32([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]),
        **{"sun": flat, "normals": towards, "depth": np.full((24, 32), 2, np.float32)},
    }
    np.savez(folder / "relight" / "scene_1.npz", even=flat, sun_bare=flat, **lit)
    np.savez(folder / "relight" / "relief_1.npz", photo=flat, looks=json.dumps({"specular": 0.0, "shininess": 32.0}), **lit)
    return folder


@pytest.fixture(scope="module")
def run_benchmark(tmp_path_factory):
    """Runs a script or a module with words; its exit code and what it prints. All run in one interpreter, since each would import torch."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(BENCHMARKS), os.environ.get("PYTHONPATH", "")))}
    environment["DEPTH_NORMAL_HOME"] = str(tmp_path_factory.mktemp("home"))
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def run(script, *words):
            process.stdin.write(json.dumps([str(BENCHMARKS / script) if script.endswith(".py") else script, *words]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.mark.parametrize("command", commands(), ids=lambda command: Path(command).name)
def test_a_command_says_what_it_does(command, run_benchmark):
    code, output = run_benchmark(command, "--help")
    assert code == 0 and re.search("^usage: ", output, re.MULTILINE), output


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_runs_to_its_end(name, run_benchmark, scenes):
    asked, last = RUNS[name]
    code, output = run_benchmark(name.split()[0], *(word.replace("SCENES", str(scenes)) for word in asked))
    assert code == 0 and "Traceback" not in output and "Error" not in output, output
    assert re.search(last, output), output


def test_every_benchmark_runs_somewhere():
    """The tables of benchmarks/README.md, and all that benchmarks/ offers."""
    known = {name.split()[0] for name in RUNS} | set(OTHERWISE)
    offered = {
        path.name for path in BENCHMARKS.iterdir() if path.suffix == ".mjs" or (path.suffix == ".py" and "__main__" in path.read_text())
    }
    table = set(re.findall(r"^\| `(?:python|node) benchmarks/(\w+\.\w+)", (BENCHMARKS / "README.md").read_text(), re.MULTILINE))
    assert known == offered and table <= known
    assert all((ROOT / place.split(":")[0]).is_file() for place in OTHERWISE.values() if place.startswith("tests/"))


def test_every_family_of_diffusion_is_measured():
    """Of the others test_gpu_model.py loads one of each."""
    from depth_normal.annotators.diffusion import DiffusionAnnotator
    from depth_normal.annotators.registry import FAMILIES, all_specs

    named = re.findall(r'^    \("([\w.-]+)", \w+Annotator,', (BENCHMARKS / "diffusion.py").read_text(), re.MULTILINE)
    table = {spec.id: spec.family for spec in all_specs()}
    assert {table[name] for name in named} == {name for name in table.values() if issubclass(FAMILIES[name], DiffusionAnnotator)}


@pytest.mark.parametrize("model", ["leres-boost", "bae-normal", "moge-2-vits-normal"])
def test_several_networks_normals_alone_and_further_inputs_are_measured(model, run_benchmark, tmp_path):
    image = tmp_path / "small.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    words = ["--model", model, "--narrow", "--device", "cpu", "--rounds", "1"]
    code, output = run_benchmark("folder.py", "--pictures", "2", *SMALL, *words)
    assert code == 0 and "they leave the network" in output, output
    code, output = run_benchmark("overhead.py", str(image), *words)
    assert code == 0 and output.count("the network's forward ") == 1 and "estimate, file to file" in output, output


@pytest.mark.quick_cases(1)
@pytest.mark.skipif(importlib.util.find_spec("bpy") is not None, reason="here is bpy, and they run")
@pytest.mark.parametrize("name", RENDERING)
def test_scripts_for_blender_name_the_missing_bpy(name, tmp_path):
    run = subprocess.run([sys.executable, BENCHMARKS / name, "--out", tmp_path / "scenes"], capture_output=True, text=True)
    assert run.returncode == 2 and "this Python has no bpy; install it" in run.stderr and not list(tmp_path.iterdir())


PAGE_OF_TWO = (
    "# Speed\n\n## On an old card, 2026-01-01\n\nold\n\n## On my machine, 2026-01-02\n\nof before\n\n## Figures of others\n\ntheirs\n"
)


@pytest.mark.slow("starts another process")
def test_a_machine_writes_its_own_figures_of_speed_alone(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("speed", BENCHMARKS / "speed.py")
    speed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(speed)
    page = tmp_path / "speed.md"
    page.write_text(PAGE_OF_TWO)
    monkeypatch.setattr(speed, "device_name", lambda with_gpu: "my machine")
    monkeypatch.setitem(speed.PARTS, "folder", speed.Part("Folder", "folder.py --no-such-option"))
    monkeypatch.setattr(sys, "argv", ["speed.py", "--only", "folder", "--output", str(page)])
    speed.main()
    written = page.read_text()
    assert speed.with_section(written, "my machine", 0.5, ["again"]).count("## On my machine") == 1, "written again, it stands there once"
    assert re.findall(r"^## (.*?)(?:, .*)?$", written, re.MULTILINE) == ["On an old card", "On my machine", "Figures of others"]
    assert "of before" not in written and "\nold\n" in written and written.endswith("theirs\n")
    assert "`python benchmarks/folder.py --no-such-option`" in written and "failed: folder.py: error: unrecognized" in written
