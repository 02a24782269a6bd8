"""The page docs/effects.md; tests/app/test_pages.py runs what it shows."""

from pathlib import Path

import pytest

from depth_normal.options.effects import EFFECTS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "effects.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", EFFECTS, ids=lambda spec: spec.name)
def test_the_page_shows_every_effect(spec):
    assert f"depth-normal effect {spec.name} " in PAGE, "python docs/make_help_rows.py"
