"""`depth-normal convert` and `refine`: files of geometry in, files of geometry out."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.cli import main
from depth_normal.geometry import files
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.render import default_depth_image

pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")


@pytest.fixture
def estimate():
    depth = (torch.arange(30 * 40).view(1, 1, 30, 40) + 100) / 100
    return Estimate(depth, Quantity.METRIC_DEPTH, normals=torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).repeat(1, 1, 30, 40))


@pytest.mark.parametrize(
    ("target", "lost"),
    [(".npz", ""), (".exr", "extrinsics"), (".png", "extrinsics, confidence"), (".pfm", "quantity, intrinsics, extrinsics, confidence")],
)
def test_what_a_format_does_not_keep_is_said(tmp_path, estimate, target, lost, capsys):
    camera = {"intrinsics": torch.tensor([[[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]]), "extrinsics": torch.eye(4)[None, :3]}
    files.save_estimate(tmp_path / "a.npz", replace(estimate, confidence=estimate.depth, **camera))
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / f"b{target}")]) == 0
    assert capsys.readouterr().out.endswith(f"; {target} does not keep {lost}\n" if lost else "40x30)\n")


def test_normals_beside_are_of_the_same_image_if_they_fit(tmp_path, estimate):
    both = files.save_estimate(tmp_path / "y.png", estimate)
    assert files.read_paths(tmp_path / "y.png") == both
    cv2.imwrite(str(both[1]), np.full((30, 40, 3), 128, np.uint8))  # of another program
    assert files.load_estimate(both[0]).normals is None and files.read_paths(both[0]) == both[:1]
    files.save_estimate(both[1], Estimate(normals=estimate.normals[..., :20]))
    assert files.load_estimate(both[0]).normals is None


@pytest.mark.parametrize(
    ("words", "made"),
    [("-o new/b.exr", "new/b.exr"), ("-o new/", "new/a.png"), ("new/", "new/a.png"), (".", "a.png"), ("", "depth-normal/a.png")],
)
def test_a_folder_or_o_is_a_place_for_the_result(tmp_path, estimate, monkeypatch, words, made, capsys):
    monkeypatch.chdir(tmp_path)
    files.save_estimate("a.npz", Estimate(estimate.depth, estimate.quantity))
    assert main(["convert", "a.npz", *words.split()]) == 0 and (tmp_path / made).is_file(), capsys.readouterr().err
    if made == "a.png":
        assert main(["convert", made, "new/"]) == 0 and (tmp_path / "new" / "a.npz").is_file()


@pytest.mark.parametrize("near", ["white", "black"])
def test_a_depth_image_is_the_one_that_estimate_writes(tmp_path, estimate, near):
    files.save_estimate(tmp_path / "a.npz", estimate)
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.png"), "--as-image", "--near", near]) == 0
    levels = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(levels / 65535, default_depth_image(estimate, near=near)[0, 0], atol=1e-4)
    assert cv2.imread(str(tmp_path / "b_normals.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint8


def test_a_file_without_any_value_is_said_to_be_one(tmp_path, capsys):
    depth = np.ones((6, 8), np.float32)
    for name, maps in (("nan", {"depth": depth * math.nan}), ("masked", {"depth": depth, "mask": depth < 0}), ("good", {"depth": depth})):
        np.savez(tmp_path / f"{name}.npz", **maps)
        words = ["convert", str(tmp_path / f"{name}.npz"), str(tmp_path / f"{name}.pfm"), "--quantity", "metric-depth"]
        assert main(words) == (2 if name == "nan" else 0)
        said = capsys.readouterr()
        assert ("no pixel has a " in said.out + said.err) == (name != "good")


def test_only_what_it_made_is_replaced(tmp_path, estimate, capsys):
    files.save_estimate(tmp_path / "a.npz", estimate)
    words = ["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.png")]
    assert main(words) == 0 and main(words) == 0, "its own result"
    (tmp_path / "b_normals.png").write_bytes(b"mine")
    before = (tmp_path / "b.png").read_bytes()
    assert main(words) == 2 and "--overwrite" in capsys.readouterr().err
    assert ((tmp_path / "b_normals.png").read_bytes(), (tmp_path / "b.png").read_bytes()) == (b"mine", before)
    assert main([*words, "--overwrite"]) == 0
    assert main(["convert", words[1], words[1], "--overwrite"]) == 2, "an input is never replaced"


@pytest.mark.parametrize("place", ["b.png", "new/"])
def test_normals_of_an_earlier_run_do_not_stay_beside_depth_alone(tmp_path, estimate, place):
    words = ["convert", str(tmp_path / "a.npz"), f"{tmp_path}/{place}"]
    for normals in (estimate.normals, None):
        files.save_estimate(words[1], replace(estimate, normals=normals))
        assert main(words) == 0
        (made,) = (path for path in tmp_path.rglob("[ab].png"))
        assert (files.load_estimate(made).normals is None) == (normals is None)
    (others := tmp_path / "others" / "a.npz").parent.mkdir()
    for source, normals in ((others, estimate.normals), (tmp_path / "a.npz", None)):
        files.save_estimate(source, replace(estimate, normals=normals))
        assert main(["convert", str(source), words[2], "--overwrite"]) == 0
    assert made.with_name(f"{made.stem}_normals.png").exists(), "they are of another file"


@pytest.mark.parametrize("command", ["convert", "view", "refine", "compare"])
def test_every_reader_takes_the_word_that_its_errors_ask_for(tmp_path, command, capsys):
    array, image = tmp_path / "d.npz", tmp_path / "i.png"
    np.savez(array, near=np.linspace(0.1, 0.9, 48 * 32, dtype=np.float32).reshape(32, 48), far=np.ones((32, 48), np.float32))
    cv2.imwrite(str(image), np.full((32, 48, 3), 90, np.uint8))
    words = {
        "convert": [array, tmp_path / "new" / "out.npz"],
        "view": [array, "--no-open", "--out", tmp_path],
        "refine": [image, "--geometry", array, "--out", tmp_path / "out.npz"],
        "compare": [array, array, "--channel-b", "near"],
    }[command]
    words = [command, *map(str, words)]
    assert main(words) == 2 and "--channel" in capsys.readouterr().err
    words += ["--channel", "near"]
    assert main(words) == 2 and "metric_depth (metres)" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path not in (array, image)]
    assert main([*words, "--quantity", "disparity"]) == 0, capsys.readouterr().err


def test_each_of_two_files_has_its_own_quantity(tmp_path, capsys, caplog):
    depth = np.linspace(1, 4, 48 * 32, dtype=np.float32).reshape(32, 48)
    np.save(tmp_path / "a.npy", 3 / depth + 0.2)
    files.save_estimate(tmp_path / "b.pfm", Estimate(torch.from_numpy(depth)[None, None], Quantity.METRIC_DEPTH))
    words = ["compare", str(tmp_path / "a.npy"), str(tmp_path / "b.pfm"), "--json", "--quantity", "disparity"]
    assert main(words) == 0 and "exchanged" in caplog.text and json.loads(capsys.readouterr().out)["depth"]["correlation"] < -0.8
    caplog.clear()
    assert main([*words, "--quantity-b", "metric_depth"]) == 0 and "exchanged" not in caplog.text
    errors = json.loads(capsys.readouterr().out)["depth"]
    assert errors["AbsRel"] < 1e-5 and errors["delta1 %"] == 100


def test_a_file_is_refined_to_the_images_size(tmp_path, capsys):
    image, depth = np.full((48, 64, 3), 40, np.uint8), np.full((24, 32), 5.0, np.float32)
    image[:, :33], depth[:, :16], depth[:, 16] = 200, 2.0, 1 / 0.35
    photo, known, out = tmp_path / "photo.png", tmp_path / "photo.npz", tmp_path / "new" / "refined.npz"
    cv2.imwrite(str(photo), image)
    files.save_estimate(known, Estimate(torch.from_numpy(depth)[None, None], Quantity.METRIC_DEPTH))
    assert main(["refine", str(photo), "--geometry", str(known), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{photo}: {out}"
    refined = files.load_estimate(out)
    assert torch.allclose(refined.depth[..., :33], torch.tensor(2.0), rtol=0.02)
    assert torch.allclose(refined.depth[..., 33:], torch.tensor(5.0), rtol=0.02)
    assert refined.normals is not None
