"""What the benchmarks say to somebody who has not what they need."""

import subprocess
import sys
from pathlib import Path

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


def commands() -> list[list[str]]:
    """What benchmarks/ and training/ offer on the command line."""
    training = [path for path in sorted((ROOT / "training").glob("*.py")) if "__main__" in path.read_text()]
    return [*([str(path)] for path in sorted(BENCHMARKS.glob("*.py"))), *(["-m", f"training.{path.stem}"] for path in training)]


@pytest.mark.parametrize("command", commands(), ids=lambda command: Path(command[-1]).name)
def test_a_command_says_what_it_does(command):
    run = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0 and run.stdout.startswith("usage: "), run.stderr


def test_an_unknown_measurement_is_answered_with_those_there_are():
    run = subprocess.run([sys.executable, BENCHMARKS / "memory.py", "nothing"], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "'nothing' is not known; known are 16384x64 to 8192x32" in run.stderr


def test_the_old_way_needs_controlnet_aux():
    code = f"import runpy, sys; sys.modules['controlnet_aux'] = None; runpy.run_path({str(BENCHMARKS / 'midas.py')!r}, run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "pip install controlnet-aux" in run.stderr
