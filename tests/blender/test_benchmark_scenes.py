import runpy
import sys
from pathlib import Path

import pytest

from tests.forked import needs_fork, printed_by

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SIZE = ("--width", "48", "--height", "32", "--samples", "1")
# What each renders, call by call, and which benchmark is asked to read it all, with which words ("DIR": what was rendered).
RENDERED = {
    "tiles_scenes.py": ([["--scenes", "things", *SIZE]], ["tiles.py", "DIR", "--tiles", "2", "--plane", "64", "48"]),
    "stereo_scenes.py": ([["--scenes", "things", "--seeds", "1", *SIZE]], ["stereo.py", "DIR", "--seeds"]),
    "occlusion_scenes.py": ([["--seeds", "1", "--side", "16", *SIZE]], ["textures.py", "--scenes", "DIR"]),
    "depth_of_field_scenes.py": ([["--scenes", "posts", "street", *SIZE]], ["depth_of_field.py", "DIR"]),
    "relight_scenes.py": ([["--seeds", "1", *SIZE], ["--relief", "--seeds", "1", *SIZE]], ["relight.py", "DIR", "--width", "48"]),
}


@needs_fork
@pytest.mark.parametrize("script", RENDERED)
def test_what_is_rendered_can_be_measured(script, run_python, tmp_path):
    calls, (benchmark, *asked) = RENDERED[script]
    for words in calls:
        there = len(list(tmp_path.glob("*.npz")))
        rendered = run_python(BENCHMARKS / script, *words, "--out", tmp_path)
        assert rendered.returncode == 0, rendered.stdout[-2000:] + rendered.stderr[-4000:]
        assert len(list(tmp_path.glob("*.npz"))) > there, "nothing was rendered"

    def measure():
        sys.path.insert(0, str(BENCHMARKS))
        sys.argv = [benchmark, *(word.replace("DIR", str(tmp_path)) for word in asked)]
        runpy.run_path(str(BENCHMARKS / benchmark), run_name="__main__")

    code, printed = printed_by(measure)
    assert code == 0 and printed, printed
