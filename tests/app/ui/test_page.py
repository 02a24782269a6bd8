"""The page of `depth-normal ui` in a real Chromium, with the model that is in the package."""

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.geometry.files.image_files import IMAGE_KINDS

pytest.importorskip("aiohttp", reason="the extra `ui`")


DRIVER = Path(__file__).with_name("page.mjs")
ROOT = Path(__file__).resolve().parents[3]
COFFEE = ROOT / "app" / "coffee.jpg"
VIEWS = ["Side by side", "Slider", "3D", "Light", "Stereo", "Parallax"]


@pytest.fixture
def use(serve, run_driver, tmp_path):
    """Runs a scenario of the driver against a server of its own, and gives what was seen."""

    def run(scenario, *files):
        (tmp_path / "saved").mkdir()
        with serve() as client:
            seen = json.loads(run_driver(DRIVER, client.ui.gate.address, scenario, tmp_path / "saved", *files))
        assert seen["errors"] == [] and seen["foreign"] == []
        return seen

    return run


def test_an_image_is_dropped_seen_and_saved(use, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    seen = use("drop", COFFEE, notes)
    assert seen["title"] == "Depth & Normals" and "token" not in seen["address"]
    assert seen["overlay"] and seen["modes"] == VIEWS and seen["empty"]
    assert seen["notices"] == [
        f"notes.txt is no image or video that this page reads; use {IMAGE_KINDS}, MP4, MOV, MKV, WebM "
        "(the command line reads HDR and EXR too)"
    ]
    assert seen["under"].startswith("relative ") and "faces" in seen["under"]
    assert len(set(seen["sums"])) == len(VIEWS), "each view draws something else"
    assert seen["saved"] == {
        "depth": "coffee_depth.png",
        "normals": "coffee_normals.png",
        **{kind: f"coffee.{kind}" for kind in ("npz", "exr", "glb", "html")},
    }
    for kind, name in seen["saved"].items():
        assert (tmp_path / "saved" / f"saved.{kind}").read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert shlex.split(seen["command"])[1:4] == ["coffee.jpg", "--model", "tiny"]
    assert "--also npz,exr,glb,html" in seen["command"]
    assert seen["places"] == [f"saved: {tmp_path / 'out' / name}" for name in seen["saved"].values()], "each save says where its file is"
    assert len({tuple(order) for order in seen["orders"]}) == 1, "no button moves away from under the pointer"
    assert seen["rows"] > 0.9, "a message does not hide the list"


def test_what_cannot_be_read_is_named_and_the_rest_is_taken(use, photo, tmp_path):
    removed, large = tmp_path / "removed.png", tmp_path / "large.psd"
    dropped, locked, empty = tmp_path / "dropped", tmp_path / "dropped" / "a locked one", tmp_path / "empty"
    locked.mkdir(parents=True)
    empty.mkdir()
    for path in (removed, large, dropped / "other.png"):
        path.write_bytes(photo.read_bytes())
    locked.chmod(0)
    named = [removed.name] if os.access(locked, os.R_OK) else [locked.name, removed.name]  # root opens any folder
    words = " cannot be read: it was moved, removed or changed meanwhile, or you may not open it; add it again once it can be opened"
    notices = use("unread", photo, removed, large, dropped, empty)["notices"]
    assert [notice for notice in notices if notice.endswith(words)] == [f"{name}{words}" for name in named]
    assert [notice[:40] for notice in notices if not notice.endswith(words)] == [
        "there is no image and no video in this f",
        "large.psd is no image or video that this",
    ]


def test_the_first_map_is_measured(run_driver, tmp_path):
    command = tmp_path / "depth-normal"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m depth_normal "$@"\n')
    command.chmod(0o755)
    table = run_driver(ROOT / "benchmarks" / "first_map.mjs", command, COFFEE)
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:6]] == ["0", "0", "1", "2"], table


def test_a_folder_of_a_hundred_images(use, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], default_size=64))  # it is the page that is looked at
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    for number in range(100):
        Image.new("RGB", (48, 32), (number, 120, 40)).save((folder / "inside" if number > 90 else folder) / f"{number:03}.png")
    for name in ("notes.txt", "one.PSD", "inside/other.psd", "README"):
        (folder / name).write_text("left out")
    (folder / ".hidden.png").write_text("left out, and not a word about it")
    seen = use("many", folder)
    assert seen["rows"] == 100 and seen["heading"] == "100 done"
    assert seen["notices"] == [
        f"4 of 104 files are left out (.psd 2, .txt 1, without an extension 1): this page reads {IMAGE_KINDS}, MP4, MOV, MKV, WebM"
    ]
    assert not seen["overflow"] and seen["answer"] < 5, "the page answers while it works"
    assert len(list((tmp_path / "out").glob("*_depth.png"))) == 100


def test_two_tabs_and_a_reload_in_the_middle_show_the_same(use, large, photo):
    seen = use("tabs", large, large, photo)
    assert seen["actions"] == ["Try again", "Remove"]
    assert seen["reloaded"] == ["cancelled"] * 3 and seen["kept"], "settings stay too"
    assert seen["names"][0] == seen["names"][1] == ["large.bmp", "large.bmp", "photo.png", "large.bmp"]
    assert seen["chosen"] == ["large.bmp"], "a reload keeps what is looked at"


def test_the_keyboard_is_enough(use, photo):
    seen = use("keyboard", photo)
    assert seen["options"] == [["coffee.jpg"], ["photo.png"]], "an option says its name, and holds nothing that can be pressed"
    assert seen["named"] == ["application", "drag the line"], "what takes the arrow keys has a name"
    assert seen["described"] == "Arrow keys choose, Delete cancels or removes"
    assert seen["rings"] == ["solid", "solid", "none"], "the list and the image show that they have the keys, and not after a click"
    assert all(seen["reached"]) and seen["slid"] and seen["left"] == ["coffee.jpg"]


def test_a_narrow_window_in_other_languages(use, photo, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(COFFEE.read_bytes()[:20000])
    seen = use("narrow", photo, cut, notes)
    for locale, language in (("ja-JP", "ja"), ("zh-CN", "zh")):
        page = seen[locale]
        assert page["language"] == language and page["overflow"] == [False] * 3 and page["pressed"] == "true"
        assert not [words for words in (*page["layouts"], *page["labels"]) if any("a" <= letter <= "z" for letter in words)]
        assert page["english"] == [] and page["notice"].startswith("notes.txt") and "image" not in page["notice"]
        assert page["failed"].startswith({"ja": "画像が途中で切れています", "zh": "图像不完整"}[language]) and page["broken"] == []
    assert seen["ja-JP"]["hero"] == "ここに画像をドロップ" and seen["ja-JP"]["modes"][0] == "並べて表示"
    assert seen["ja-JP"]["state"].startswith("tiny · ") and seen["ja-JP"]["state"].endswith(" 秒")


def test_stereo_parallax_and_light_are_seen_and_saved(use, tmp_path):
    """Made by the commands' own functions, so that the command that the page names makes the same bytes."""
    from tests.videos import frames_of

    small, other = tmp_path / "small.png", tmp_path / "other.png"
    with Image.open(COFFEE) as image:
        image.resize((240, 160)).save(small)
        image.crop((0, 0, 200, 200)).resize((96, 96)).save(other)
    seen = use("previews", small, other)
    assert seen["layouts"][:3] == ["wiggle", "red-cyan", "side by side"] and len(seen["layouts"]) == 7
    assert seen["sizes"] == {
        "wiggle": [240, 160],
        "anaglyph": [240, 160],
        "full-sbs": [480, 160],
        "half-tb": [240, 160],
        "parallax": [240, 160],
    }
    assert seen["eyes"] == 2 and seen["frames"] > 2 and seen["stands"] and seen["deeper"]
    assert len(set(seen["sums"].values())) == 3 and seen["pressed"] == ["Stereo"]
    assert seen["saved"] == ["small_anaglyph.png", "small_parallax.mp4", "small_relit.png"]
    assert seen["stayed"], "a lamp that was left somewhere stays there"
    result, stereo, parallax, light, again = map(shlex.split, seen["command"])
    assert again == result and result[1:] == ["small.png", *result[2:]]
    for words, name in ((stereo, "small_anaglyph.png"), (parallax, "small_parallax.mp4"), (light, "small_relit.png")):
        by_hand = tmp_path / "by hand" / words[1]
        words[words.index("small.png")], words[words.index("-o") + 1] = str(small), f"{by_hand}/"
        assert cli.main(words[1:]) == 0
        kept = (tmp_path / "out" / name).read_bytes()
        assert (tmp_path / "saved" / f"{words[1]}{Path(name).suffix}").read_bytes() == kept
        assert frames_of(by_hand / name) == frames_of(tmp_path / "out" / name)


def test_a_move_is_cancelled_and_made_again(use, large):
    with Image.open(large) as image:
        image.crop((0, 400, 2400, 800)).save(large)
    assert "cancelled" in use("halted", large)["said"]


def test_a_video_is_played(use, tmp_path):
    pytest.importorskip("av", reason="reads videos")
    from tests import videos

    seen = use("film", videos.write_video(tmp_path / "ball.mp4", videos.moving_ball(6), rate=6))
    assert seen["films"] == ["Depth", "Normals"] and seen["saves"] == ["Depth MP4", "Normals MP4"]


def test_a_server_that_ended_is_said_until_it_is_back(use):
    assert use("gone")["said"].startswith("the server does not answer; start `depth-normal ui` again")
