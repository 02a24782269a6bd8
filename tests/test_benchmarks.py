"""What the benchmarks say to somebody who has not what they need."""

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


def test_a_scene_without_its_arrays_is_told_what_it_must_hold(tmp_path):
    np.savez(tmp_path / "scene.npz", depth=np.ones((4, 4), np.float32))
    run = subprocess.run([sys.executable, BENCHMARKS / "normals.py", tmp_path], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    for words in ("scene.npz has no K, mask, normal; found depth", "`normal` (H, W, 3) int16", "[fx, fy, cx, cy]"):
        assert words in run.stderr


def commands() -> list[str]:
    """What benchmarks/ and training/ offer on the command line: files, and modules."""
    benchmarks, training = (
        [path for path in sorted(folder.glob("*.py")) if "__main__" in path.read_text()] for folder in (BENCHMARKS, ROOT / "training")
    )
    return [*map(str, benchmarks), *(f"training.{path.stem}" for path in training)]


HELP = """
import contextlib, io, json, runpy, sys
answers = {}
for command in json.load(sys.stdin):
    sys.argv, told = [command, "--help"], io.StringIO()
    with contextlib.redirect_stdout(told):
        try:
            (runpy.run_path if command.endswith(".py") else runpy.run_module)(command, run_name="__main__")
        except SystemExit as end:
            answers[command] = [end.code, told.getvalue()]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict:
    """What each command says of itself, and its exit code; asked in one interpreter, since each would import torch."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(BENCHMARKS), os.environ.get("PYTHONPATH", "")))}
    run = subprocess.run([sys.executable, "-c", HELP], input=json.dumps(commands()), capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("command", commands(), ids=lambda command: Path(command).name)
def test_a_command_says_what_it_does(command, answers):
    code, told = answers[command]
    assert code == 0 and told.startswith("usage: ")


def test_the_steps_of_a_picture_are_told_with_their_shares(tmp_path):
    picture = tmp_path / "small.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    run = subprocess.run([sys.executable, BENCHMARKS / "overhead.py", picture, "--rounds", "1"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    shares = re.findall(r"^(\w.*?) +([\d.]+) +(\d+)%$", run.stdout, re.MULTILINE)
    steps, rest = [each for each in shares if each[0] != "outside the forward"], shares[-1]
    assert rest[0] == "outside the forward" and {"the network's forward", "enlarge", "normals as PNG"} <= {name for name, *_ in steps}
    assert abs(sum(int(share) for *_, share in steps) - 100) <= len(steps)
    assert "plain way" in run.stdout and "Convert Normal Map" in run.stdout


def test_a_folder_is_told_beside_what_the_cores_allow():
    words = ["--device", "cpu", "--pictures", "2", "--width", "96", "--height", "64", "--size", "64", "--rounds", "1"]
    run = subprocess.run([sys.executable, BENCHMARKS / "folder.py", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    taken = dict(re.findall(r"^(\w+) +([\d.]+) ms a picture", run.stdout, re.MULTILINE))
    assert set(taken) == {"folder", "plain", "network", "files", "bound"}
    assert "they leave the network" in run.stdout
    assert all(float(each) > 0 for each in taken.values())


def test_effects_are_told_in_seconds():
    words = ["--width", "96", "--height", "64", "--rounds", "1", "--only", "relight", "cast_shadow"]
    run = subprocess.run([sys.executable, BENCHMARKS / "effects.py", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    taken = dict(re.findall(r"^(\w.*?) +([\d.]+)$", run.stdout, re.MULTILINE))
    assert {"relight, sun (node)", "relight, three lamps (node)", "cast_shadow, soft"} <= set(taken)


def test_light_is_judged_by_a_scene(tmp_path):
    flat = np.full((24, 32, 3), 0.3, np.float32)
    towards = np.tile(np.float32((0, 0, 1)), (24, 32, 1))
    lamps = {"sun": {"position": (0, 0, 1), "is_point": False, "size": 0.0}}
    maps = {"even": flat, "sun": flat, "sun_bare": flat, "normals": towards, "depth": np.full((24, 32), 2, np.float32)}
    np.savez(tmp_path / "scene_1.npz", lamps=json.dumps(lamps), intrinsics=np.float32([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]), **maps)
    run = subprocess.run([sys.executable, BENCHMARKS / "relight.py", tmp_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^scene_1 sun +0\.00 +0\.00", run.stdout, re.MULTILINE)


def test_an_unknown_measurement_is_answered_with_those_there_are():
    run = subprocess.run([sys.executable, BENCHMARKS / "memory.py", "nothing"], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "'nothing' is not known; known are 16384x64 to 8192x32" in run.stderr


def test_the_old_way_needs_controlnet_aux():
    code = f"import runpy, sys; sys.modules['controlnet_aux'] = None; runpy.run_path({str(BENCHMARKS / 'midas.py')!r}, run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "pip install controlnet-aux" in run.stderr
