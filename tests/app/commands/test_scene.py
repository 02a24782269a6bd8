"""An image, what is known of it, and where one result goes: what the commands of effects have in common."""

import argparse
import errno
import os
import re

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators.choices import COMMAND_LINE, worded
from depth_normal.app.batch.staging import folder_beside
from depth_normal.app.cli import main
from depth_normal.app.commands import result_paths, scene
from depth_normal.app.console.parser import Parser
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_image, save_estimate, write_npz
from depth_normal.options.effects import IMAGE
from tests.geometry.files.samples import write_channels


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 2**16, (48, 64, 3), dtype=np.uint16))
    return path


def parsed(*words):
    parser = Parser()
    scene.add_scene(parser)
    result_paths.add_result(parser, "_made.png", IMAGE.extensions)
    parser.set_defaults(parser=parser)
    return parser.parse_args([str(word) for word in words])


def test_a_model_says_what_is_known(image, tmp_path):
    found = scene.read_scene(parsed(image, "--out", tmp_path / "x.png", "--model", "tiny", "--size", "64"))
    assert found.bits == 16 and found.image.shape == (1, 3, 48, 64)
    assert found.known.depth is not None and found.known.normals is not None and found.known.height == 48


def test_a_depth_image_may_be_in_millimetres(image, tmp_path):
    cv2.imwrite(str(tmp_path / "d.png"), np.full((48, 64), 1500, np.uint16))
    found = scene.read_scene(parsed(image, "--out", tmp_path / "x.png", "--depth", tmp_path / "d.png", "--quantity", "millimetres"))
    assert found.known.quantity is Quantity.METRIC_DEPTH and torch.equal(found.known.depth, torch.full((1, 1, 48, 64), 1.5))


@pytest.mark.parametrize(("option", "metres"), [("--geometry", 2.0), ("--depth", 0.5)])
def test_a_file_says_what_is_known_at_the_images_size(image, tmp_path, option, metres):
    write_npz(tmp_path / "maps.npz", Estimate(torch.full((1, 1, 24, 32), metres), Quantity.METRIC_DEPTH))
    found = scene.read_scene(parsed(image, "--out", tmp_path / "x.png", option, tmp_path / "maps.npz", "--fov", "60"))
    assert torch.equal(found.known.depth, torch.full((1, 1, 48, 64), metres))
    assert found.known.intrinsics[0, 0, 0].item() == pytest.approx(32 / np.tan(np.deg2rad(30)))


@pytest.mark.parametrize("option", ["--geometry", "--depth"])
def test_maps_of_an_anamorphic_plate_fit_it(tmp_path, option):
    """Pixels twice as wide as high: in the file of the maps the camera says so, in a depth map the header."""
    wide, planes = {"pixelAspectRatio": 2.0}, np.full((24, 16), 0.5, np.float32)
    write_channels(tmp_path / "plate.exr", wide, **dict.fromkeys("RGB", planes))
    write_channels(tmp_path / "depth.exr", wide, Z=planes)
    camera = torch.tensor([[[20.0, 0, 7.5], [0, 40, 11.5], [0, 0, 1]]])
    save_estimate(tmp_path / "geometry.exr", Estimate(torch.ones(1, 1, 24, 16), Quantity.METRIC_DEPTH, intrinsics=camera))
    found = scene.read_scene(parsed(tmp_path / "plate.exr", "--out", tmp_path / "x.png", option, tmp_path / f"{option[2:]}.exr"))
    assert found.image.shape[-2:] == found.known.depth.shape[-2:] == (24, 32)
    assert option == "--depth" or found.known.intrinsics[0].diagonal().tolist() == pytest.approx([40, 40, 1])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("ending", ["png", "glb"])
def test_a_command_says_how_much_sky_it_found(ending, tmp_path, capsys):
    """Blue above a meadow, and noise: fog, relit image and mesh treat a sky differently, so a missed one is worth a word."""
    sky = np.arange(96)[:, None, None] < 40
    cv2.imwrite(str(tmp_path / "meadow.png"), np.where(sky, (242, 191, 153), (64, 89, 89)).repeat(128, 1).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "room.png"), np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    ramp = torch.linspace(-0.5, 1, 96).clamp(min=0.01).view(1, 1, 96, 1).expand(1, 1, 96, 128).contiguous()
    write_npz(tmp_path / "meadow.npz", Estimate(ramp, Quantity.DISPARITY))
    write_npz(tmp_path / "room.npz", Estimate(torch.full((1, 1, 96, 128), 2.0), Quantity.METRIC_DEPTH))
    left_out = ", left out" if ending == "glb" else ""
    for command in (["mesh"],) if ending == "glb" else (["effect", "fog"], ["relight"]):
        for name, expected in (("meadow", rf"sky: 4\d % of the image{left_out})"), ("room", "")):
            words = [*command, tmp_path / f"{name}.png", "--geometry", tmp_path / f"{name}.npz", "--out", tmp_path / f"out.{ending}"]
            assert main([*map(str, words), "--overwrite"]) == 0
            said = capsys.readouterr().out
            assert re.search(expected.replace(")", r"\)"), said) if expected else "sky" not in said, (command, name)
            keep = "--sky" if ending == "glb" else "--no-sky"
            assert main([*map(str, words), "--overwrite", keep]) == 0 and not re.search("sky: |no sky", capsys.readouterr().out)


def read_map(image, tmp_path, *words):
    return scene.read_scene(parsed(image, "--out", tmp_path / "x.png", *words)).known


def test_images_of_depth_and_normals_say_what_is_known_but_where_they_are_transparent(image, tmp_path):
    normal = np.full((48, 64, 4), (255, 128, 128, 255), np.uint8)
    normal[:, :20, 3] = 0
    cv2.imwrite(str(tmp_path / "n.png"), normal)
    cv2.imwrite(str(tmp_path / "d.png"), np.dstack([np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))] * 3 + [normal[..., 3]]))
    found = read_map(image, tmp_path, "--normal-map", tmp_path / "n.png", "--depth", tmp_path / "d.png")
    assert found.quantity is Quantity.DISPARITY and bool((found.depth[..., -1] > found.depth[..., 20]).all())
    assert (found.normals[0, :, 24, 32] - torch.tensor([0.0, 0, 1])).abs().max() < 0.01
    for valid in (found.depth_valid, found.normals_valid):
        assert not valid[..., :20].any() and valid[..., 20:].all()


SPRITE = np.zeros((48, 64, 4), np.uint16)
SPRITE[12:36, 16:48] = (6000, 9000, 40000, 65535)


@pytest.mark.parametrize(
    "words",
    [
        ("effect", "fog", "--no-sky"),
        ("effect", "depth-of-field"),
        ("effect", "cutout", "--far", "100"),
        ("relight", "--no-sky"),
        ("stereo", "--layout", "half-sbs"),
    ],
    ids=" ".join,
)
def test_a_sprite_stays_one_with_16_bits(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("sprite.png", SPRITE)
    cv2.imwrite("depth.png", np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1)))
    assert main([*words, "sprite.png", "--depth", "depth.png", "-o", "made.png"]) == 0
    made = cv2.imread("made.png", cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16 and made.shape == (48, 64, 4)
    assert made[2, 2, 3] == 0 and made[..., 3].mean() == pytest.approx(SPRITE[..., 3].mean(), rel=0.3)
    if words[0] == "effect" and words[1] != "cutout":
        assert main([*words, "sprite.png", "--depth", "depth.png", "-o", "made.jpg"]) == 0
        assert cv2.imread("made.jpg")[2, 2].min() > 250, "a JPEG has it on white"


def test_a_sprites_wall_is_no_mesh(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("sprite.png", SPRITE)
    write_npz("maps.npz", Estimate(torch.full((1, 1, 48, 64), 2.0), Quantity.METRIC_DEPTH))
    assert main(["mesh", "sprite.png", "--geometry", "maps.npz", "-o", "m.ply"]) == 0
    assert f"{24 * 32} points" in capsys.readouterr().out


def test_an_image_has_its_bits_and_a_jpeg_no_alpha(tmp_path):
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        scene.write_image(tmp_path / "x.png", torch.full((1, 4, 5, 7), 0.5), bits)
        assert cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED).dtype == dtype
        assert abs(read_image(tmp_path / "x.png") - 0.75).max() < 0.01, "laid on white"
    scene.write_image(tmp_path / "x.jpg", torch.full((1, 3, 8, 8), 0.5))
    assert abs(read_image(tmp_path / "x.jpg") - 0.5).max() < 0.01
    with pytest.raises(ValueError, match="no alpha"):
        scene.write_image(tmp_path / "x.jpg", torch.rand(4, 8, 8))


def test_a_full_disk_names_the_result(tmp_path):
    out = tmp_path / "new" / "folder" / "a.png"
    arguments = argparse.Namespace(out=out, overwrite=False, image="a", place=result_paths.Place(out))
    with pytest.raises(OSError, match="No space left") as error, result_paths.result_path(arguments) as path:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.filename == str(out) and not list(tmp_path.iterdir()), "nor are folders that were made for it"
    with pytest.raises(OSError, match="No space left") as error, result_paths.result_path(arguments) as path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"file:{path}")  # as PyAV
    with worded(COMMAND_LINE):
        assert Parser("x").message_of(error.value).startswith(f"{out}: No space left on device; free room there, ")
    with pytest.raises(OSError, match="No space left") as error, folder_beside(tmp_path / "a.png") as folder:
        raise OSError(f"cannot write to {folder}: No space left on device")
    assert str(error.value) == f"cannot write to {tmp_path}: No space left on device" and not list(tmp_path.iterdir())
