"""A page of `depth-normal` in a real Chromium, opened from the disk and without a network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import write_html
from depth_normal.geometry.surfaces.derive import with_normals

DRIVER = Path(__file__).resolve().parents[2] / "viewer.mjs"
HEIGHT, WIDTH = 120, 160


def room() -> Estimate:
    """A wall 3 m away with a box 2 m away before its middle; the lowest rows are masked."""
    depth = torch.full((1, 1, HEIGHT, WIDTH), 3.0)
    depth[..., 30:90, 50:110] = 2.0
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., 110:, :] = False
    camera = intrinsics_from_fov(60.0, HEIGHT, WIDTH)
    return with_normals(Estimate(depth, Quantity.METRIC_DEPTH, mask=mask, intrinsics=camera))


@pytest.fixture(scope="module")
def seen(tmp_path_factory, run_driver):
    folder = tmp_path_factory.mktemp("page")
    write_html(folder / "room.html", room(), torch.full((1, 3, HEIGHT, WIDTH), 0.5))
    return json.loads(run_driver(DRIVER, folder / "room.html", folder))


def test_nothing_fails_and_nothing_is_asked_of_a_network(seen):
    assert seen["errors"] == [] and seen["requests"] == []
    assert seen["title"] == "room" and seen["facts"] == f"{WIDTH} \N{MULTIPLICATION SIGN} {HEIGHT} · 2 to 3 m"
    assert list(seen["modes"]) == ["Side by side", "Slider", "3D", "Light"]
    drawn = seen["modes"]["Side by side"]["before"]
    assert drawn["width"] * drawn["height"] == 4 * WIDTH * HEIGHT, "image, depth, normals and mask"


def test_the_slider_goes_where_it_is_dragged(seen):
    mode = seen["modes"]["Slider"]
    assert mode["controls"] == 2 and mode["before"]["sum"] != mode["dragged"]["sum"] == mode["wheeled"]["sum"]
    assert mode["under"].startswith("2 m, faces 0°"), "metres and direction under the pointer"


def test_the_surface_turns_and_comes_nearer_and_the_pointer_is_a_lamp(seen):
    for name in ("3D", "Light"):
        assert len({seen["modes"][name][step]["sum"] for step in ("before", "dragged", "wheeled")}) == 3
    mode = seen["modes"]["Light"]
    assert mode["controls"] == 5 and mode["under"].startswith("2 m")
    red, _, blue = mode["dragged"]["mean"]
    assert red > 1.1 * blue, "the lamp is warm, the image is grey"


def test_a_page_of_no_valid_pixel_states_no_depth(tmp_path, run_driver):
    write_html(tmp_path / "a.html", replace(room(), mask=torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)))
    seen = json.loads(run_driver(DRIVER, tmp_path / "a.html", tmp_path))
    assert seen["errors"] == [] and seen["facts"] == f"{WIDTH} \N{MULTIPLICATION SIGN} {HEIGHT}"


def test_a_narrow_dark_page_in_another_language(tmp_path, run_driver):
    write_html(tmp_path / "a.html", replace(room(), depth=None, quantity=None), torch.full((1, 3, HEIGHT, WIDTH), 0.5))
    seen = json.loads(run_driver(DRIVER, tmp_path / "a.html", tmp_path, "dark", 380, "ja-JP"))
    assert seen["errors"] == [] and not seen["overflow"]
    assert list(seen["modes"]) == ["並べて表示", "スライダー比較"], "no depth: no surface and no lamp"
