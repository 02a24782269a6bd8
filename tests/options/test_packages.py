import subprocess
import sys
import venv
from pathlib import Path

import pytest

from depth_normal.options import checks


@pytest.mark.slow("starts other processes")
def test_an_environment_without_pip_is_told_uvs_command(tmp_path):
    if any(Path(folder, "pip").is_dir() for folder in sys.path):
        assert checks.how_to_install("av") == f'run  "{sys.executable}" -m pip install "av"'
    venv.create(tmp_path, symlinks=True)  # as `uv venv` and `uv tool install` make them
    python = tmp_path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    code = f"import runpy; print(runpy.run_path({checks.__file__!r})['how_to_install']('av>=12', newer=True))"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith('run  uv pip install -U "av>=12" --python "')
