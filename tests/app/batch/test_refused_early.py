"""What the options and the model's entry in the table already say is refused before an image is read or weights are looked for."""

import sys

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import save_estimate

METRES = (
    "tiny gives disparity, normals, and {} needs depth in metres: {}, or choose a model of metric depth, such as --model moge-2-vits-normal"
)
UNIT = METRES.format("--unit metres", "give all distances in percent (0 the near end, 100 the far end) without --unit")
NO_DEPTH = "bae-normal gives normals, and depth is needed"


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8))
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("effect mask --unit metres --model tiny", UNIT),
        ("effect cutout --far 2 --unit metres --model tiny", UNIT),
        ("effect depth-of-field --unit metres --model tiny", UNIT),
        ("effect depth-of-field --f-number 2 --model tiny", METRES.format("--f-number", "give --blur in its place")),
        ("effect mask --model bae-normal", NO_DEPTH),
        ("effect fog --model bae-normal", NO_DEPTH),
        ("effect mask --near 50 --far 40 --model tiny", "the mask begins at 50 and ends at 40 percent"),
        ("effect mask --feather=-1 --model tiny", "--feather is -1"),
        ("effect mask --point 2,0.5 --model tiny", "the point is at (2, 0.5)"),
        ("effect cutout --edge 400 --model tiny", "--edge is 400"),
        ("effect fog --density -1 --model tiny", "--density is -1"),
        ("effect fog --colour blueish --model tiny", "--colour"),
        ("effect depth-of-field --focus 120 --model tiny", "--focus is 120"),
        ("effect depth-of-field --blades 99 --model tiny", "--blades is 99"),
        ("effect depth-of-field --highlights 99 --model tiny", "--highlights is 99"),
        ("relight --ambient -1 --model tiny", "--ambient is -1"),
        ("relight --shininess 0 --model tiny", "--shininess is 0"),
        ("relight --light 0,100 --model tiny", "--light: the elevation is 100"),
        ("relight --light-size -1 --model tiny", "--light-size is -1"),
        ("relight --model xyzzy", "unknown model 'xyzzy'"),
        ("relight --weights nope.pth --model tiny", "nope.pth does not exist; give the path"),
        ("mesh --model bae-normal", NO_DEPTH),
        ("texture detail --relief 1000 --model tiny", "--relief is 1000"),
        ("texture detail --shape 0.5 --model tiny", "--shape is 0.5"),
        ("texture detail --model leres", "leres gives relative_depth, whose slopes are not known, and normals are needed"),
        ("texture pbr --directions 1000 --model tiny", "--directions is 1000"),
        ("texture seamless --margin 7 --model tiny", "margin is 7"),
        ("video --what depth,normals --model bae-normal", "bae-normal gives normals, and --what depth needs depth"),
        ("video --what normals --model leres", "leres gives relative_depth, whose slopes are not known"),
        ("stereo --model bae-normal", "bae-normal gives normals; images for both eyes (full-sbs) need depth"),
        ("estimate --write glb --model bae-normal", "bae-normal gives normals; a mesh (glb) needs depth"),
    ],
)
def test_what_is_known_to_be_in_vain_is_refused_at_once(words, message, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model was asked for"))
    monkeypatch.setattr("depth_normal.model_loader.load_model", lambda *_: pytest.fail("a model was asked for"))
    command, *options = words.split()
    out = tmp_path / "out"
    if command == "video":
        place = [str(photo.parent), "--out", str(out / "film.mp4")]
    else:
        named = {"mesh": "a.glb", "texture": "a.npz" if options[0] == "seamless" else "a.png"}.get(command, "a.png")
        folder = command in ("stereo", "estimate") or options[0] == "pbr"
        place = [str(photo), "--out", str(out if folder else out / named)]
    if command in ("effect", "texture"):
        command, options = f"{command} {options[0]}", options[1:]
    assert main([*command.split(), *place, *options]) == 2
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize(
    "command", ["", "stereo", "effect fog", "relight", "mesh", "texture detail", "texture pbr", "texture seamless", "video", "export"]
)
def test_a_folder_that_takes_no_files_is_refused_before_a_model_is_loaded(command, photo, monkeypatch, capsys):
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model was asked for"))
    monkeypatch.setattr("depth_normal.model_loader.load_model", lambda *_: pytest.fail("a model was asked for"))
    source = {"export": [], "video": [str(photo.parent)]}.get(command, [str(photo)])
    words = [*command.split(), *source]
    assert main([*words, "--model", "tiny", "-o", "/proc/maps/"]) == 2
    said = capsys.readouterr().err
    assert "/proc takes no files (" in said or "this user may not write to /proc" in said


def test_weights_that_are_not_there_are_refused_before_a_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model was asked for"))
    assert main(["bench", "tiny", "--weights", "nope.pth", "--runtime", "all"]) == 2
    assert "nope.pth does not exist; give the path of a weights file" in capsys.readouterr().err


def test_several_images_are_refused_once(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model was asked for"))
    words = ["effect", "mask", str(photo), str(photo.parent), "--out", str(tmp_path / "out"), "--unit", "metres", "--model", "tiny"]
    assert main(words) == 2
    assert capsys.readouterr().err.count("needs depth in metres") == 1


def test_metres_of_a_file_are_its_own(photo, tmp_path):
    save_estimate(tmp_path / "photo.npz", Estimate(torch.rand(1, 1, 32, 48) + 1, Quantity.METRIC_DEPTH))
    words = ["effect", "mask", str(photo), "--geometry", str(tmp_path / "photo.npz"), "--unit", "metres", "--far", "1.5"]
    assert main([*words, "--out", str(tmp_path / "out.png")]) == 0
