"""`depth-normal view`: which image a page shows, which files it takes, and the page in a real Chromium, without a network."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from depth_normal.app.cli import main
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import html_page, save_estimate, write_html
from depth_normal.geometry.surfaces import derive
from depth_normal.geometry.surfaces.derive import with_normals

DRIVER = Path(__file__).resolve().parents[2] / "viewer.mjs"
HEIGHT, WIDTH = 120, 160


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (48, 32), (200, 120, 40)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def maps(tmp_path):
    save_estimate(tmp_path / "room.npz", Estimate(1 + torch.rand(1, 1, 32, 48), Quantity.METRIC_DEPTH))
    return tmp_path / "room.npz"


def view(*words):
    return main(["view", *map(str, words), "--no-open"])


def payload_of(path):
    return json.loads(re.search(r'id="result">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def test_a_result_is_shown_with_its_image(tmp_path, photo, capsys, out):
    assert main(["estimate", str(photo), "--out", str(out), "--model", "tiny", "--size", "64", "--write", "npz"]) == 0
    assert view(out / "photo.npz", "--out", out) == 0
    assert payload_of(out / "photo.html")["image"]
    assert f"{out / 'photo.npz'}: {out / 'photo.html'} (0" in capsys.readouterr().out
    assert view(out / "photo.npz", "--out", out) == 0, "its own page is replaced"
    assert main(["convert", str(out / "photo.npz"), "--out", str(out)]) == 0
    converted = next(out.glob("photo*.png"))
    assert view(converted, "--out", tmp_path / "converted", "--quantity", "relative-depth") == 0, "its record names an NPZ, not an image"
    Image.new("RGB", (40, 40)).save(photo)
    assert view(out / "photo.npz", "--out", tmp_path / "other") == 0
    assert payload_of(tmp_path / "other" / "photo.html")["image"] is None, "the image is another one now"


def test_depth_alone_gets_normals_for_the_light_at_the_pages_size_and_an_image_that_is_named(tmp_path, maps, photo, monkeypatch):
    widths = []
    monkeypatch.setattr(html_page, "LONG_SIDE", 24)
    monkeypatch.setattr(derive, "with_normals", lambda known, **_: widths.append(known.width) or with_normals(known))
    assert view(maps, "--out", tmp_path) == 0 and widths == [24]
    payload = payload_of(tmp_path / "room.html")
    assert payload["normals"] and payload["image"] is None and payload["depth"]["quantity"] == "metric_depth"
    assert view(maps, "--out", tmp_path / "named", "--image", photo) == 0 and payload_of(tmp_path / "named" / "room.html")["image"]
    for _ in range(2):
        assert view(maps, "--out", tmp_path / "own.html") == 0 and payload_of(tmp_path / "own.html")["depth"]
    assert view(maps, "--out", tmp_path / "room.html") == 2, "a named file replaces named ones alone"


def test_several_files_become_a_page_each_and_bad_ones_are_named_once(tmp_path, maps, capsys):
    (tmp_path / "bad.npz").write_text("no archive")
    save_estimate(tmp_path / "hall.exr", Estimate(torch.rand(1, 1, 8, 8), Quantity.DISPARITY))
    assert view(maps, tmp_path / "bad.npz", tmp_path / "hall.exr", "--out", tmp_path / "pages") == 1
    assert {path.name for path in (tmp_path / "pages").glob("*.html")} == {"room.html", "hall.html"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.count(str(tmp_path / "bad.npz")) == 1
    assert view(tmp_path / "[hr]*.*", "--out", tmp_path / "of a pattern") == 0, "the shells of Windows leave patterns to programs"
    assert {path.name for path in (tmp_path / "of a pattern").glob("*.html")} == {"room.html", "hall.html"}
    assert view(tmp_path / "*.tif", "--out", tmp_path) == 2 and "no such file" in capsys.readouterr().err


def test_the_page_is_opened(tmp_path, maps, monkeypatch):
    shown = []
    monkeypatch.setattr("depth_normal.app.commands.view.show", shown.append)
    assert main(["view", str(maps), "--out", str(tmp_path)]) == 0
    assert shown == [tmp_path / "room.html"]


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
        assert seen["modes"][name]["keys"]["+"]["sum"] != seen["modes"][name]["wheeled"]["sum"], "without a mouse, too"
    moved, reset = (seen["modes"]["3D"]["keys"][key]["sum"] for key in ("Shift+ArrowLeft", "Escape"))
    assert moved != reset == seen["modes"]["3D"]["before"]["sum"]
    assert seen["modes"]["3D"]["ring"], "the focus is seen, though the image covers all"
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
