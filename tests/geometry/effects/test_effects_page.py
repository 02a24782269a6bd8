"""The page docs/effects.md: what it shows runs; tests/app/test_pages.py reads its commands."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_normal.options.effects import EFFECTS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "effects.md").read_text(encoding="utf-8")


@pytest.mark.slow("takes most of a second")
def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_its_side = Image.Exif()
    on_its_side[274] = 6  # Orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)).save("a.jpg", exif=on_its_side)
    Path("page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)), encoding="utf-8")
    found = runpy.run_path("page.py")
    assert found["lens"].result.shape == found["lit"].shape == found["foggy"].shape == (1, 3, 48, 64)
    assert found["cutout"].shape == (1, 4, 48, 64)
    assert found["lens"].words.startswith("focus 30 %, sharp from ")


@pytest.mark.parametrize("spec", EFFECTS, ids=lambda spec: spec.name)
def test_the_page_shows_every_effect(spec):
    assert f"depth-normal effect {spec.name} " in PAGE, "python docs/make_help_rows.py"
