"""The command line's list of models, and its end by SIGTERM."""

import re
import subprocess
import sys

import pytest

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli


def test_models_shows_a_size_for_every_model(capsys):
    cli.main(["models"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == len(MODELS)
    assert all(re.search(r"  (about )?\d+(\.\d+)? [MG]B  ", line) for line in lines)
    assert "unknown" not in "".join(lines)


TERMINATED = """
import sys, time
from pathlib import Path
from depth_normal.app import cli
from depth_normal.geometry.files import atomic_path

def write(_):
    with atomic_path(Path(sys.argv[1]) / "maps.npz") as temporary:
        temporary.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)

cli._models = write
sys.exit(cli.main(["models"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_terminated_command_leaves_no_half_written_file(tmp_path):
    with subprocess.Popen([sys.executable, "-c", TERMINATED, str(tmp_path)], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        assert list(tmp_path.iterdir())
        process.terminate()
        assert "depth-normal: stopped" in process.communicate(timeout=60)[1]
        assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []
