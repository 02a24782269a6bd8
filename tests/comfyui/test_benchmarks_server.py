"""The benchmarks that need a ComfyUI server: few random prompts, and a newcomer's first minute in its page."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.comfyui


def test_a_few_random_prompts_are_measured(comfyui_python, tmp_path):
    words = [tmp_path, "--prompts", "3", "--comfyui", comfyui_python.parents[2]]
    run = subprocess.run([sys.executable, ROOT / "benchmarks" / "soak.py", *words], capture_output=True, text=True)
    assert run.stdout.startswith("3 of 3 prompts:"), run.stderr
    assert "| 0 to 2 |" in run.stdout and not {"FAILED", "LOST"} & set(run.stdout.replace("'", " ").split()), run.stdout
    assert len((tmp_path / "seed0.jsonl").read_text().splitlines()) == 3


@pytest.mark.browser
def test_the_first_minute_is_measured(bare_server, run_driver):
    shutil.copy(ROOT / "app" / "coffee.jpg", bare_server.base / "input" / "example.png")
    table = run_driver(ROOT / "benchmarks" / "first_minute.mjs", bare_server.address)
    assert table.count("| **together** |") == 3, table
