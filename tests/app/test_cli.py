"""The command line, as a person uses it: real files in, real files out, exit codes and messages."""

import json
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import depth_normal
from depth_normal.app import cli
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.differences import write_heat_maps
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_image, save_estimate
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import load_model
from depth_normal.utils import check_images, images_to_rgb
from tests.forked import COMMAND, python

ROOT = Path(__file__).resolve().parents[2]
COMMANDS_PAGE = ROOT / "docs" / "command-line.md"
MODEL = ("--model", "midas-v2.1-small")  # whose file is not on a test machine


def results(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORDS)


@pytest.fixture
def image(tmp_path, photo):
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), photo[::4, ::4, ::-1])
    return path


@pytest.fixture
def estimate(tmp_path):
    def run(*words):
        return cli.main(["estimate", *map(str, words), "--out", str(tmp_path / "out"), "--model", "tiny", "--also", "npz"])

    return run


def test_three_files_that_hold_what_they_say(estimate, image, tmp_path, capsys):
    assert estimate(image) == 0
    assert "the depth in .npz is disparity, no unit, larger is nearer" in capsys.readouterr().err
    depth = cv2.imread(str(tmp_path / "out" / "astronaut_depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and depth.shape == (128, 128) and depth.min() == 0 and depth.max() == 65535
    raw = np.load(tmp_path / "out" / "astronaut.npz")
    assert raw["quantity"] == "disparity" and raw["depth"].dtype == np.float32 and raw["depth"].shape == (128, 128)
    assert raw["normals"].shape == (128, 128, 3)
    assert np.abs(np.linalg.norm(raw["normals"], axis=-1) - 1).max() < 1e-4
    image_of_disparity = (raw["depth"] - raw["depth"].min()) / np.ptp(raw["depth"])
    assert np.abs(depth / 65535 - image_of_disparity).max() < 1e-4, "near = white is large disparity"
    normal_map = cv2.imread(str(tmp_path / "out" / "astronaut_normals.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert normal_map.dtype == np.uint8
    assert np.abs(normal_map - np.rint(raw["normals"] * 127.5 + 127.5)).max() <= 1, "OpenGL colours, rounded"


def test_near_is_white_or_black(estimate, image, tmp_path):
    levels = []
    for near in ("white", "black"):
        assert estimate(image, "--size", "64", "--near", near, "--overwrite") == 0
        levels.append(cv2.imread(str(tmp_path / "out" / "astronaut_depth.png"), cv2.IMREAD_UNCHANGED).astype(int))
    assert np.abs(levels[0] + levels[1] - 65535).max() <= 1 and levels[0].std() > 1000


@pytest.mark.slow("starts other processes")
def test_a_name_that_the_console_cannot_show_stops_nothing(image, tmp_path):
    """Beside letters of another script a name that is not even Unicode, as old disks have them."""
    Image.new("RGB", (48, 32), "teal").save(image)
    names = ["深度.png", *(["\udcff.png"] if os.fsencode("\udcff") == b"\xff" else [])]
    try:
        for name in names:
            (tmp_path / name).write_bytes(image.read_bytes())
    except OSError as error:
        pytest.skip(f"this file system does not keep such names: {error}")
    words = ("estimate", *(tmp_path / name for name in names), image, "--out", tmp_path / "out", "--model", "tiny", "--size", "64")
    program = f"import sys\nfor each in (sys.stdout, sys.stderr): each.reconfigure(encoding='cp1252')\n{COMMAND}"
    with python(program, *words, "--also", "npz", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        printed, complaints = run.communicate()
    assert run.returncode == 0, complaints
    assert len(results(tmp_path / "out")) == 3 * (len(names) + 1)
    assert b"\\u6df1\\u5ea6" in printed


def test_a_known_field_of_view_is_written(estimate, image, tmp_path):
    estimate(image, "--size", "64", "--fov", "40")
    raw = np.load(tmp_path / "out" / "astronaut.npz")
    focal_length = 64 / np.tan(np.radians(20))
    assert np.abs(raw["intrinsics"] - [[focal_length, 0, 63.5], [0, focal_length, 63.5], [0, 0, 1]]).max() < 1e-2


@pytest.mark.slow("takes most of a second")
def test_how_deep_a_scene_is_decides_its_normals(image, tmp_path, midas_small):
    words = ["estimate", str(image), "--out", str(tmp_path), *MODEL, "--weights", str(midas_small), "--dtype", "float32", "--write", "npz"]
    assert cli.main([*words, "--near-far-ratio", "30"]) == 0
    found = np.load(tmp_path / "astronaut.npz")["normals"]
    model = load_model(MODEL[1], "float32", weights=midas_small)
    expected = model.estimate(images_to_rgb(check_images(read_image(image))), derive=partial(with_normals, near_far_ratio=30))
    assert np.array_equal(found, expected.normals[0].movedim(0, -1).numpy())
    assert json.loads((tmp_path / RECORDS / "astronaut.json").read_text())["settings"]["near_far_ratio"] == 30
    assert cli.main(words) == 0
    assert np.abs(np.load(tmp_path / "astronaut.npz")["normals"] - found).mean() > 0.05, "a landscape is deeper than a room"


def test_no_file_and_no_network_says_what_to_do(tmp_path, image, monkeypatch, capsys):
    for name in ("HF_HOME", "DEPTH_NORMAL_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.is_offline", lambda: True)
    assert cli.main(["estimate", str(image), "--out", str(tmp_path / "out"), *MODEL]) == 2 and not (tmp_path / "out").exists()
    said = capsys.readouterr().err
    advice = "Choose --model tiny to go on without a download", "or --model moge-2-vits-normal for metres and normals"
    wanted = ("midas_v21_small_256.pt", "isl-org/MiDaS", str(tmp_path / "DEPTH_NORMAL_HOME"), *advice)
    assert [words for words in wanted if words not in said] == []


def test_from_python_the_same_is_taken(image, monkeypatch):
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda model, *_: pytest.fail(model))
    with pytest.raises(pytest.fail.Exception, match=r"^moge-2-vits-normal$"):
        next(depth_normal.estimate_folder(image))


def test_the_page_of_commands_has_the_exit_codes():
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    said = dict(re.findall(r"(\d+) (.+?)(?=[;:]|, \d|$)", " ".join(cli.EXIT_CODES.split())))
    assert rows.keys() == said.keys() and len(said) == 5
    assert [code for code, meaning in said.items() if meaning not in rows[code]] == []


def write_plane(path, with_normals=True):
    """A plane 2 m away that faces the camera, in the pack's own file."""
    camera = np.array([[9, 0, 3.5], [0, 9, 3.5], [0, 0, 1.0]])
    normals = {"normals": np.broadcast_to(np.float32([0, 0, 1]), (8, 8, 3)), "axes": "opengl"} if with_normals else {}
    np.savez(path, depth=np.full((8, 8), 2.0, np.float32), quantity="metric_depth", intrinsics=camera, **normals)
    return str(path)


@pytest.fixture
def plane(tmp_path):
    return write_plane(tmp_path / "plane.npz")


def test_compare_prints_both_tables(plane, capsys):
    assert cli.main(["compare", plane, plane, "--normals-from-depth"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["depth", "normals (degrees)"]
    assert cli.main(["compare", plane, plane, "--normals-from-depth", "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)
    assert errors["depth"]["AbsRel"] == 0 and errors["normals"]["mean"] < 0.01


def test_compare_says_that_depth_is_up_to_scale(plane, tmp_path, caplog):
    np.savez(tmp_path / "scaled.npz", **{**np.load(plane), "depth": np.full((8, 8), 0.7, np.float32)})
    for other, warned in ((plane, False), (tmp_path / "scaled.npz", True)):
        assert cli.main(["compare", str(other), plane]) == 0
        assert ("the depth of A is 0.35 times that of B" in caplog.text) is warned


def test_compare_writes_heat_maps(plane, tmp_path, capsys):
    maps = dict(np.load(plane))
    maps["depth"] = np.full((8, 8), 2.2, np.float32)
    maps["depth"][0, 0] = np.nan
    np.savez(tmp_path / "other.npz", **maps)
    for name in ("diff.png", "sub/diff.html"):
        assert cli.main(["compare", str(tmp_path / "other.npz"), plane, "--out", str(tmp_path / name)]) == 0
        said = capsys.readouterr().out
        assert said.startswith("depth: ") and said.splitlines()[-1] == f"heat maps: {tmp_path / name}"
    with Image.open(tmp_path / "diff.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**16)}
    assert {(128, 128, 128), (178, 24, 43)} <= colours, "unknown is grey, 10 percent farther is red"
    page = (tmp_path / "sub" / "diff.html").read_text()
    assert "10 % farther" in page and "angle between the normals" in page and "<td>AbsRel</td><td>0.1</td>" in page
    (tmp_path / "again").mkdir()
    again = shutil.copy(plane, tmp_path / "again")
    assert cli.main(["compare", plane, str(again), "--out", str(tmp_path / "names.html")]) == 0
    page = (tmp_path / "names.html").read_text()
    assert str(plane) in page and str(again) in page, "two files of one name"
    write_heat_maps(tmp_path / "names.html", [], {}, ("caf\udce9.npz", "b.npz"))  # a file name that is no UTF-8, on Linux
    assert " / b.npz" in (tmp_path / "names.html").read_text()
    capsys.readouterr()
    assert cli.main(["compare", plane, plane, "--out", str(tmp_path / "diff.png")]) == 2
    assert "diff.png is there already" in capsys.readouterr().err


def test_compare_says_what_a_pfm_is_taken_for(tmp_path, caplog):
    depth = torch.rand(1, 1, 8, 8) + 1
    kinds = {"d.npz": Quantity.DISPARITY, "d.pfm": Quantity.DISPARITY, "m.npz": Quantity.METRIC_DEPTH, "r.npz": Quantity.RELATIVE_DEPTH}
    for name, quantity in kinds.items():
        save_estimate(tmp_path / name, Estimate(depth=depth, quantity=quantity))
    assert cli.main(["compare", str(tmp_path / "d.npz"), str(tmp_path / "d.pfm")]) == 0
    assert "d.pfm: not said what the depth is, taken for metres; disparity is compared with metric_depth" in caplog.text
    assert "fitted to B's by a scale and a shift in disparity (1 / depth) and limited to B's largest depth" in caplog.text
    for names, fitted in (("r.npz", "m.npz"), "in depth; "), (("m.npz", "d.npz"), "in disparity (1 / depth); "):
        assert cli.main(["compare", *(str(tmp_path / name) for name in names)]) == 0
        assert f"by a scale and a shift {fitted}" in caplog.text
    assert cli.main(["compare", str(tmp_path / "d.pfm"), str(tmp_path / "d.pfm")]) == 0
    assert "d.pfm and" in caplog.text
    caplog.clear()
    assert cli.main(["compare", str(tmp_path / "d.pfm"), str(tmp_path / "m.npz")]) == 0
    assert not caplog.text


def test_compare_of_what_has_nothing_in_common(tmp_path, capsys):
    np.savez(tmp_path / "normals.npz", normals=np.broadcast_to(np.float32([0, 0, 1]), (8, 8, 3)), axes="opengl")
    assert cli.main(["compare", write_plane(tmp_path / "depth.npz", with_normals=False), str(tmp_path / "normals.npz")]) == 2
    assert "nothing of the same kind" in capsys.readouterr().err


def stand_in(monkeypatch, found):
    """A model that gives this of every image; the bundled one has no metres, and no other is on a test machine."""
    model = SimpleNamespace(
        estimate=lambda images, size, fov, derive, refine: derive(found),
        device=torch.device("cpu"),
        batch_limit=lambda *_: None,
        working_bytes=lambda *_: 1,
    )
    model.for_another_thread = lambda: model
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: model)


def test_the_image_of_metres_shows_disparity_and_the_numbers_are_metres(estimate, image, tmp_path, monkeypatch):
    metres = torch.linspace(1, 1000, 128).flip(0).view(1, 1, -1, 1).repeat(1, 1, 1, 128)
    stand_in(monkeypatch, Estimate(depth=metres, quantity=Quantity.METRIC_DEPTH, mask=metres < 999))
    assert estimate(image) == 0
    shown = cv2.imread(str(tmp_path / "out" / "astronaut_depth.png"), cv2.IMREAD_UNCHANGED)[:, 0] / 65535
    assert shown[0] == 0 and shown[-1] == 1 and shown[64] < 0.01, "500 m away is nearly black"
    assert (np.load(tmp_path / "out" / "astronaut.npz")["depth"] == metres[0, 0].numpy()).all()


def test_normal_maps_in_the_coding_that_is_asked_for_are_made_anew(estimate, image, tmp_path, capsys):
    maps = {}
    for coding in ("opengl", "directx", "controlnet-1.0-normal"):
        assert estimate(image, "--size", "64", "--coding", coding, "--resume") == 0
        assert "astronaut_normals.png" in capsys.readouterr().out, "it is not left out"
        maps[coding] = cv2.imread(str(tmp_path / "out" / "astronaut_normals.png")).astype(int)[..., ::-1]
    flipped, reversed_ = (maps["opengl"] * sign + (sign < 0) * 255 for sign in (np.array([1, -1, 1]), np.array([-1, 1, 1])))
    assert maps["opengl"].any(2).all(), "no pixel of it is left out"
    assert np.abs(maps["directx"] - flipped).max() <= 1
    assert np.abs(maps["controlnet-1.0-normal"] - reversed_[..., ::-1]).max() <= 1


@pytest.mark.parametrize("words", [(), ("--up", "z")])
def test_what_points_up_in_a_ply_is_a_choice(estimate, image, tmp_path, monkeypatch, words):
    plane = Estimate(depth=torch.full((1, 1, 64, 64), 2.0), quantity=Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(50.0, 64, 64))
    stand_in(monkeypatch, plane)
    monkeypatch.setattr("depth_normal.app.batch.outputs.check_writes", lambda *_: None)
    assert estimate(image, "--also", "ply", *words) == 0
    data = (tmp_path / "out" / "astronaut.ply").read_bytes()
    first = np.frombuffer(data, "<f4", 3, data.index(b"end_header\n") + len(b"end_header\n"))
    depth_axis, up_axis = (1, 2) if words else (2, 1)
    assert abs(first[depth_axis]) == 2 and first[up_axis] > 0.9
