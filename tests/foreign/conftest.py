"""Files and programs of other projects, in the folder that `DEPTH_NORMAL_FOREIGN` names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOW = "set DEPTH_NORMAL_FOREIGN to a folder of `python tests/foreign/install.py HOME`"

_HOME = os.environ.get("DEPTH_NORMAL_FOREIGN")
if _HOME:
    sys.path.append(str(Path(_HOME) / "modules"))


@pytest.fixture(scope="session")
def foreign():
    """The folder of files and programs."""
    if not _HOME:
        pytest.skip(HOW)
    return Path(_HOME)


@pytest.fixture(scope="session")
def validator(foreign):
    """A function that runs a program, of Debian, npm or the second readers' environment, and returns what it says; it has to succeed."""

    def run(name, *words, succeeds=True, cwd=foreign):
        places = [foreign / "node_modules" / ".bin", foreign / "venv" / "bin", *os.environ["PATH"].split(os.pathsep)]
        program = shutil.which(name, path=os.pathsep.join(map(str, places)))
        if program is None:
            pytest.skip(f"{name} is not installed; tests/foreign/install.py says where from")
        run = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd)
        assert (run.returncode == 0) or not succeeds, f"{name}: {run.stdout}{run.stderr}"
        return run.stdout + run.stderr

    return run
