"""What the help page of Depth & Normals (advanced) says `resolution` means, of every family, against what the families do."""

import math
import re
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from depth_normal.annotators.registry import FAMILIES, MODELS

PAGE = Path(__file__).resolve().parents[2] / "web" / "docs" / "DepthNormal_EstimateGeometry.md"
WORDS = {
    "midas": "Other MiDaS networks",
    "zoedepth": "ZoeDepth",
    "depth-anything": "Depth Anything V1 and V2, Distill Any Depth",
    "zoe-depth-anything": "Zoe Depth Anything",
    "depth-anything-3": "Depth Anything 3",
    "video-depth-anything": "Video Depth Anything",
    "moge": "MoGe:",
    "metric3d": "Metric3D:",
    "leres": "LeReS:",
    "leres-boost": "leres-boost",
    "marigold": "Marigold",
    "lotus": "Lotus",
    "lbm": "LBM",
    "bae": "BAE",
    "dsine": "DSINE",
    "da2": "DA²",
    "depth-pro": "Depth Pro",
    "zipdepth": "ZipDepth",
    "tiny": ", tiny",
}
"""How the page calls them."""

FRAMES = {"depth-pro", "midas", "zoedepth", "zoe-depth-anything", "metric3d", "leres"}
"""Families that fit or stretch images to a frame, which the page describes one by one."""


def clause(family):
    assert family in WORDS, f"add what the page calls {family}"
    (told,) = [each for each in PAGE.read_text().split("\n\n") if each.startswith("**resolution**")]
    (found,) = [each for each in told.replace("\n", " ").split(". ") if WORDS[family] in each]
    return found


@pytest.mark.parametrize("family", dict.fromkeys(spec.family for spec in MODELS.values()))
def test_the_page_says_which_side_a_family_counts(family):
    said = [words for words in ("shorter side", "longer side", "pixel count") if words in clause(family)]
    if family in FRAMES or family == "leres-boost":  # the latter's networks see squares, cut from an image with this shorter side
        assert said == ([] if family in FRAMES else ["shorter side"])
        return
    spec = next(each for each in MODELS.values() if each.family == family)
    annotator, near = FAMILIES[family](spec, nn.Identity()), partial(pytest.approx, rel=0.03)
    for sides in ((960, 1280), (1280, 960), (900, 1600)):
        seen = annotator.network_size(*sides, spec.default_size)
        meaning = {"shorter side": min(seen), "longer side": max(seen), "pixel count": math.prod(seen) ** 0.5}
        assert [words for words, side in meaning.items() if side == near(spec.default_size)] == said


def test_the_page_says_it_of_both_kinds_of_midas_and_moge():
    (small,) = [each for each in PAGE.read_text().replace("\n", " ").split(". ") if "midas-v2.1-small" in each]
    assert "longer side" in small
    ((level_9, level_0),) = re.findall(r"MoGe-2: (\d+) is its authors' resolution level 9, (\d+) level 0", PAGE.read_text())
    assert int(level_9) == MODELS["moge-2-vits-normal"].default_size == 840 and int(level_0) == 485
