"""The page docs/effects.md: what it shows of masks and lenses runs, and its commands are those there are."""

import re
from pathlib import Path

import pytest
import torch

from depth_normal.app.cli import _parsed
from depth_normal.geometry.estimate import Estimate, Quantity

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "effects.md").read_text()
SECTIONS = ("Mask", "Cut-out", "Fog", "Depth of field")
MINE = "".join(PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0] for section in SECTIONS)


def test_what_the_page_shows_runs():
    depth = torch.linspace(0.5, 6, 24).view(1, 1, 24, 1).expand(1, 1, 24, 32)
    found = {"estimate": Estimate(depth, Quantity.METRIC_DEPTH), "picture": torch.rand(1, 3, 24, 32)}
    exec("\n".join(re.findall(r"```python\n(.*?)```", MINE, re.S)), found)
    assert found["mask"].shape == (1, 1, 24, 32) and found["soft"].shape == (1, 3, 24, 32)
    assert found["words"].startswith("focus 2.3 m, sharp from ")


@pytest.mark.parametrize("command", re.findall(r"^depth-normal (.*)$", MINE, re.M))
def test_the_commands_of_the_page_are_understood(command):
    assert callable(_parsed(command.split()).make)
