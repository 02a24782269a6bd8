"""`depth-normal stereo`, and stereo among what `estimate` writes: files that players recognise, by the one engine."""

import json

import cv2
import numpy as np
import pytest

from depth_normal.app import cli
from depth_normal.app.batch.folders import estimate_folder
from depth_normal.options.views import StereoOptions


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (96, 72), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def run(tmp_path):
    common = ("--out", str(tmp_path / "out"), "--model", "tiny", "--size", "64")
    return lambda *words, command="stereo": cli.main([command, *map(str, words), *common])


def results(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_files_have_the_names_that_players_know(run, image, out, capsys):
    assert run(image, "--layout", "full-sbs", "--layout", "anaglyph", "--holes", "--original", "left", "--divergence", "6") == 0
    names = ["photo_LRF_Full_SBS.png", "photo_LRF_Full_SBS_holes.png", "photo_anaglyph.png", "photo_anaglyph_holes.png"]
    assert results(out) == names and all(name in capsys.readouterr().out for name in names[:1])
    pair, holes = (cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED) for name in names[:2])
    assert pair.shape == (72, 192, 3) and holes.shape[:2] == (72, 192)
    assert np.array_equal(pair[:, :96], cv2.imread(str(image))) and not np.array_equal(pair[:, 96:], pair[:, :96])
    assert not holes[:, :96].any() and holes[:, 96:].any()


def test_a_tree_is_kept_and_gone_on_with(run, image, tmp_path, capsys):
    below = tmp_path / "photos" / "trip" / "day.1"
    below.mkdir(parents=True)
    image = image.rename(below / "sea.view.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"not an image")
    words, out = (tmp_path / "photos", "--recursive", "--json-lines"), tmp_path / "out"
    assert run(*words) == 1
    assert {each["status"] for each in map(json.loads, capsys.readouterr().out.splitlines())} == {"done", "failed"}
    assert results(out) == ["trip/day.1/sea.view_LRF_Full_SBS.png"]
    assert "bad.png" in (out / ".depth-normal" / "failures.jsonl").read_text()
    assert run(*words, "--resume") == 1 and '"done"' not in capsys.readouterr().out, "whole: of the same image and options"
    assert run(*words, "--resume", "--divergence", "4") == 1 and '"done"' in capsys.readouterr().out, "another depth"
    record = json.loads((out / "trip/day.1/.depth-normal/sea.view.json").read_text())
    assert record["settings"]["stereo"] == {"divergence": 4.0, "convergence": 0.5, "original": "middle"}


def test_the_only_result_goes_to_the_file_that_is_named(run, image, tmp_path, capsys):
    common = ("--model", "tiny", "--size", "64")

    def to_file(*words):
        return cli.main([str(word) for word in (*words, *common)])

    assert run(image, "--layout", "anaglyph") == 0
    new = tmp_path / "new"
    for _ in range(2):
        assert to_file("stereo", image, "--layout", "anaglyph", "-o", new / "a.png") == 0
        assert f"{image}: {new / 'a.png'}" in capsys.readouterr().out
    assert (new / "a.png").read_bytes() == (tmp_path / "out" / "photo_anaglyph.png").read_bytes()
    assert to_file("estimate", image, "--write", "npz", "-o", new / "b.npz") == 0
    assert sorted(path.name for path in new.iterdir()) == ["a.png", "b.npz"]


def test_estimate_writes_it_beside_its_maps(run, image, tmp_path):
    words = (image, "--write", "depth,half-tb", "--also", "half-tb-holes", "--divergence", "6")
    assert run(*words, command="estimate") == 0
    assert results(tmp_path / "out") == ["photo_TB.png", "photo_TB_holes.png", "photo_depth.png"]
    deep = StereoOptions(6.0)
    list(estimate_folder(image, tmp_path / "python", model="tiny", size=64, writes=("half-tb",), stereo=deep))
    assert (tmp_path / "python" / "photo_TB.png").read_bytes() == (tmp_path / "out" / "photo_TB.png").read_bytes()


def test_half_spheres_for_headsets(run, image, out, caplog):
    """A photo of 60 degrees is a third of the half sphere wide; its eyes differ."""
    assert run(image, "--layout", "vr180,full-sbs", "--fov", "60", "--eye-size", "180", "--eye-distance", "200", "--holes") == 0
    names = [f"photo_{layout}{mask}.png" for layout in ("180x180_LR", "LRF_Full_SBS") for mask in ("", "_holes")]
    assert results(out) == names
    pair = cv2.imread(str(out / names[0]))
    assert pair.shape == (180, 360, 3) and cv2.imread(str(out / names[1])).shape == (180, 360, 3)
    left, right = pair[:, :180], pair[:, 180:]
    for eye in (left, right):
        assert abs(eye.any((0, 2)).sum() - 60) <= 2 and not eye[:20].any() and not eye[-20:].any()
    assert (left != right).any()
    record = json.loads((out / ".depth-normal" / "photo.json").read_text())
    assert record["settings"]["stereo"]["eye_distance"] == 200 and record["settings"]["stereo"]["eye_size"] == 180
    assert "55 degrees are assumed" not in caplog.text


@pytest.mark.slow("takes most of a second")
def test_panoramas_for_both_eyes(run, image, tmp_path, out):
    panorama = tmp_path / "hall.png"
    cv2.imwrite(str(panorama), cv2.resize(cv2.imread(str(image)), (128, 64)))
    assert run(panorama, "--panorama") == 0 and results(out) == ["hall_360_TB.png"]
    both = cv2.imread(str(out / "hall_360_TB.png"))
    assert both.shape == (128, 128, 3) and (both[:64] != both[64:]).any()
    assert run(panorama, "--panorama", "--layout", "vr180,360-sbs", "--resume") == 0
    assert cv2.imread(str(out / "hall_180x180_LR.png")).shape == (64, 128, 3)
    beside = cv2.imread(str(out / "hall_360_LR.png"))
    assert np.array_equal(beside, np.concatenate((both[:64], both[64:]), 1))


def test_own_depth_takes_the_place_of_a_model(run, image, tmp_path, out):
    assert run(image, "--write", "npz,full-sbs", command="estimate") == 0
    by_model = cv2.imread(str(out / "photo_LRF_Full_SBS.png"))
    own = ("stereo", str(image), "--geometry", str(out / "photo.npz"))
    assert cli.main([*own, "-o", str(tmp_path / "own.png")]) == 0
    np.testing.assert_allclose(cv2.imread(str(tmp_path / "own.png")).astype(int), by_model, atol=1)
    folder = tmp_path / "folder"
    assert cli.main([*own, "-o", str(folder)]) == 0
    np.testing.assert_array_equal(cv2.imread(str(folder / "photo_LRF_Full_SBS.png")), cv2.imread(str(tmp_path / "own.png")))
    grey = np.tile(np.linspace(0, 255, 96, dtype=np.uint8), (72, 1))
    cv2.imwrite(str(tmp_path / "d.png"), grey)
    pairs = []
    for near in ("white", "black"):
        name = str(tmp_path / f"{near}.png")
        assert cli.main(["stereo", str(image), "--depth", str(tmp_path / "d.png"), "--depth-near", near, "-o", name]) == 0
        pairs.append(cv2.imread(name).astype(int))
    assert np.abs(pairs[0] - pairs[1]).mean() > 1
