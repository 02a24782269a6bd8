"""Rooms that can be taken away: without one of them the package imports, lists the commands that are left, and makes its demo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "the page": (["app/ui"], {"ui"}),
    "clusters": (["app/cluster"], set()),
    "shards": (["app/batch/shards"], set()),
    "measurements": (["app/verify", "app/bench"], {"verify", "bench"}),
}
RUN = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import depth_normal
from depth_normal.app import cli
assert depth_normal.__file__.startswith(sys.argv[1]), depth_normal.__file__
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.fixture(params=ROOMS)
def run(request, tmp_path):
    """A function that runs the command without a room; commands that went with it."""
    taken, commands = ROOMS[request.param]
    link_without(ROOT, tmp_path / "depth_normal", [Path(each).parts for each in taken])

    def run(*words):
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "DEPTH_NORMAL_HOME": str(tmp_path / "models")}
        words = [sys.executable, "-c", RUN, str(tmp_path), *map(str, words)]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run, commands


def link_without(source, target, taken):
    """A folder of links to the parts of another, but for places of it."""
    target.mkdir()
    for path in source.iterdir():
        below = [each[1:] for each in taken if each[0] == path.name]
        if below and () not in below:
            link_without(path, target / path.name, below)
        elif not below and not path.name.startswith("."):
            (target / path.name).symlink_to(path)


def test_the_help_lists_the_commands_that_are_left(run):
    run, gone = run
    said = run("--help")
    assert said.returncode == 0, said.stderr
    listed = {line.split()[0] for line in said.stdout.splitlines() if line.startswith("  ")}
    assert {"demo", "estimate", "video", "clean"} <= listed and not gone & listed
    for command in gone:
        refused = run(command)
        assert refused.returncode == 2 and command in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow("imports torch in several processes")
def test_its_demo_and_a_folder_of_images_are_made(run, tmp_path):
    run, _ = run
    for words in (["demo"], ["estimate", ROOT / "app" / "coffee.jpg", "-o", "maps", "--model", "tiny", "--size", "64"]):
        made = run(*words)
        assert made.returncode == 0, made.stderr
    assert len([*(tmp_path / "maps").glob("*.png")]) == 2
