"""What lies in people's folders: odd images that must come out right, and broken ones that must not stop the rest."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_normal.app import cli
from depth_normal.app.batch import engines
from depth_normal.app.batch.sources import find_images

SIDES = (48, 32)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def estimate(*words):
    return cli.main(["estimate", "photos", "--out", "maps", "--model", "tiny", "--size", "64", *words])


def scene():
    """Noise below a bright sky, so that up is not down."""
    levels = np.random.default_rng(0).integers(0, 120, (SIDES[1], SIDES[0], 3), np.uint8)
    levels[:12] = 230
    return Image.fromarray(levels)


def made(name):
    return [cv2.imread(str(Path("maps", f"{name}_{kind}.png")), cv2.IMREAD_UNCHANGED) for kind in ("depth", "normals")]


def test_however_an_image_is_stored_its_maps_are_the_same(photos, caplog):
    """In 16 bits, with alpha, as the first of several, and turned; tests/geometry/files/test_image_files.py has the other kinds."""
    caplog.set_level(logging.INFO)
    plain, exif = scene(), Image.Exif()
    plain.save(photos / "plain.png")
    cv2.imwrite(str(photos / "deep.png"), np.asarray(plain)[..., ::-1].astype(np.uint16) * 257)
    plain.convert("RGBA").save(photos / "alpha.webp", lossless=True)
    plain.save(photos / "animated.webp", lossless=True, save_all=True, append_images=[plain.rotate(180)])
    exif[0x0112] = 6
    plain.transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    Image.new("RGB", (1, 1), (200, 100, 50)).save(photos / "point.png")
    Image.new("RGB", (60, 1), (200, 100, 50)).save(photos / "line.png")
    assert estimate() == 0
    assert made("point")[1].shape == (1, 1, 3) and made("line")[0].shape == (1, 60)
    depth, normals = made("plain")
    assert depth.shape == (32, 48) and depth.dtype == np.uint16 and normals.shape == (32, 48, 3)
    for name in ("deep", "alpha", "animated", "turned"):
        other_depth, other_normals = made(name)
        assert np.abs(other_depth.astype(int) - depth).max() <= 2 and np.abs(other_normals.astype(int) - normals).max() <= 1, name
    (said,) = (message for message in caplog.messages if "the first is taken" in message)
    assert said.startswith(f"{Path('photos', 'animated.webp')}:")


def test_broken_images_are_named_and_the_rest_is_done(photos, capsys):
    plain = scene()
    plain.save(photos / "good.png")
    for name in ("cut.jpg", "cut.png", "cut.tif", "cut.gif"):
        path = photos / name.replace("cut", f"cut_{name[4:]}")
        plain.save(path)
        path.write_bytes(path.read_bytes()[:-40])
    (photos / "empty.jpg").touch()
    (photos / "page.jpg").write_text("<!DOCTYPE html>")
    Image.new("RGB", (9000, 2)).save(photos / "a_thread.png")  # the first
    assert estimate("--json-lines") == 1
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    failed = {Path(row["image"]).name: json.dumps(row) for row in rows if "good" not in row.get("image", "good")}
    reasons = {"empty.jpg": "the file is empty", "page.jpg": "not an image", "a_thread.png": "more than 1000 times as long"}
    reasons |= {f"cut_{each}.{each}": "cut off" for each in ("jpg", "png", "tif", "gif")}
    assert failed.keys() == reasons.keys()
    assert all(reason in failed[name] for name, reason in reasons.items())
    assert made("good")[0] is not None and not list(Path("maps").glob("cut*"))


def test_what_vanishes_or_changes_after_it_was_found_loses_nothing_else(photos, monkeypatch, capsys):
    for name in ("a.png", "gone.png", "other.png"):
        scene().save(photos / name)

    def then(*words, **options):
        found = find_images(*words, **options)
        (photos / "gone.png").unlink()
        Image.new("RGB", (20, 60)).save(photos / "other.png")
        return found

    monkeypatch.setattr(engines, "find_images", then)
    assert estimate() == 1 and capsys.readouterr().err.count(f"{Path('photos', 'gone.png')}: there is no such file") == 1
    assert [made(name)[0].shape for name in ("a", "other")] == [(32, 48), (60, 20)], "as it is when it is read"


def test_an_only_image_that_is_cut_off_leaves_nothing_but_what_was_there(photos, tmp_path, capsys):
    scene().save(photos / "cut.jpg", quality=95)
    whole = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    words = ["photos/cut.jpg", "--out", "maps", "--model", "tiny", "--size", "64"]
    assert cli.main(words) == 2 and "damaged or cut off" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    scene().save(photos / "good.png")
    listed = Path("maps", ".depth-normal", "failures.jsonl")
    assert (estimate(), cli.main(words)) == (1, 2) and len(listed.read_text().splitlines()) == 1, "not twice"
    (photos / "cut.jpg").write_bytes(whole)
    assert cli.main(words) == 0 and not listed.exists()
