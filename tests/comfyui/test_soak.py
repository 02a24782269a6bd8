"""The benchmark of random prompts, with few of them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_few_random_prompts_are_told(comfyui_python, tmp_path):
    words = [tmp_path, "--prompts", "3", "--comfyui", comfyui_python.parents[2]]
    run = subprocess.run([sys.executable, ROOT / "benchmarks" / "soak.py", *words], capture_output=True, text=True)
    assert run.stdout.startswith("3 of 3 prompts:"), run.stderr
    assert "| 0 to 2 |" in run.stdout and not {"FAILED", "LOST"} & set(run.stdout.replace("'", " ").split()), run.stdout
    assert len((tmp_path / "seed0.jsonl").read_text().splitlines()) == 3
