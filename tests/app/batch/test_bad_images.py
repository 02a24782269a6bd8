"""What lies in people's folders: broken images must not stop the rest, nor must those that vanish."""

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
