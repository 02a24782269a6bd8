"""`depth-normal view`: which image a page shows, and which files it takes and leaves alone."""

import json
import re

import pytest
import torch
from PIL import Image

from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import html_page, save_estimate
from depth_normal.geometry.surfaces import derive
from depth_normal.geometry.surfaces.derive import with_normals


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
