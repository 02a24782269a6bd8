"""Runs code inside Blender, in the interpreter that has bpy."""

import json
import subprocess
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "blender"
INSIDE = Path(__file__).with_name("inside_blender.py")


@pytest.fixture(scope="session")
def run_python(bpy_python):
    """Runs a file of this room's, or of the tests', in Blender's Python; returns the finished process."""

    def run(script, *arguments):
        return subprocess.run([bpy_python, str(script), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def inside_blender(run_python):
    """Runs one job of inside_blender.py; returns what it wrote to `result.json`."""

    def run(job, folder):
        done = run_python(INSIDE, job, folder)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads((Path(folder) / "result.json").read_text())

    return run
