"""`depth-normal mesh`: one image in, one surface out."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.app.cli import main
from depth_normal.app.commands import mesh as mesh_command
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import write_npz


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 2**8, (48, 64, 3), dtype=np.uint8))
    return path


@pytest.fixture
def maps(tmp_path):
    """Depth of half the image's size with a step, which enlarging would soften."""
    depth = torch.full((1, 1, 24, 32), 2.0)
    depth[..., 16:] = 4.0
    write_npz(tmp_path / "maps.npz", Estimate(depth, Quantity.METRIC_DEPTH))
    return tmp_path / "maps.npz"


def run(*words):
    return main(["mesh", *(str(word) for word in words)])


def test_a_model_makes_a_mesh_and_the_command_says_of_what(image, tmp_path, capsys):
    assert run(image, "--out", tmp_path / "new" / "x.glb", "--model", "tiny", "--size", "64") == 0
    said = capsys.readouterr().out
    assert (
        said.startswith(f"{image}: {tmp_path / 'new' / 'x.glb'} (")
        and "triangles" in said
        and "disparity: no metres, depth range guessed as 1:" in said
    )
    assert (tmp_path / "new" / "x.glb").read_bytes()[:4] == b"glTF"


def test_a_file_makes_a_mesh_at_its_own_size(image, maps, tmp_path, capsys):
    assert run(image, "--out", tmp_path / "x.ply", "--geometry", maps, "--fov", "60", "--up", "z") == 0
    assert "768 points, 1,380 triangles" in capsys.readouterr().out, "the step parts two halves of 24x16 points"
    assert run(image, "--out", tmp_path / "y.ply", "--geometry", maps, "--max-points", "200") == 0
    assert "192 points" in capsys.readouterr().out
    assert run(image, "--out", tmp_path / "z.glb", "--geometry", maps, "--fill-behind", "15", "--max-points", "0") == 0
    points = int(capsys.readouterr().out.split("(")[1].split(" points")[0].replace(",", ""))
    assert points > 768, "behind the step the far half goes on"


def test_a_guessed_range_is_said_beside_what_changes_it(image, maps, tmp_path, capsys):
    disparity = torch.linspace(-1, 1, 48).clamp(min=0).view(1, 1, 48, 1).expand(1, 1, 48, 64).contiguous()
    write_npz(tmp_path / "sky.npz", Estimate(disparity, Quantity.DISPARITY))
    for words, said in (
        (["sky.npz"], "guessed as 1:10; another near-far ratio changes it"),
        (["sky.npz", "--near-far-ratio", "30"], "depth range 1:30;"),
        (["maps.npz"], "metric depth, "),
    ):
        known, *options = words
        assert run(image, "--out", tmp_path / "x.glb", "--geometry", tmp_path / known, "--overwrite", *options) == 0
        assert said in capsys.readouterr().out, words


def test_what_makes_a_large_file_smaller_is_said(image, maps, tmp_path, monkeypatch, capsys):
    words = (image, "--out", tmp_path / "x.ply", "--geometry", maps, "--overwrite")
    assert run(*words) == 0 and "--max-points" not in capsys.readouterr().err
    size = (tmp_path / "x.ply").stat().st_size
    monkeypatch.setattr(mesh_command, "_LARGE_FILE", size // 3)
    assert run(*words) == 0
    found = re.search(r"x\.ply has 0 MB; --max-points (\d+) makes it smaller", capsys.readouterr().err)
    assert found and run(*words, "--max-points", found[1]) == 0
    assert (tmp_path / "x.ply").stat().st_size < size // 2


def test_a_relief(image, maps, tmp_path, capsys):
    assert run(image, "--out", tmp_path / "x.stl", "--geometry", maps, "--width", "6cm", "--relief", "4mm", "--base", "1", "--sky") == 0
    assert "60 x 45 x 5 mm, of metric depth" in capsys.readouterr().out


def test_splats_are_a_ply_without_being_told(image, maps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(image, "--geometry", maps, "--splats") == 0
    assert "depth-normal/photo.ply (768 splats" in capsys.readouterr().out
    assert b"property float rot_3" in (tmp_path / "depth-normal/photo.ply").read_bytes()[:2000]


@pytest.mark.slow("makes a mesh of 960x640 pixels")
def test_the_mesh_of_a_photograph_is_no_large_file(tmp_path):
    photo = Path(__file__).resolve().parents[3] / "app" / "coffee.jpg"
    with Image.open(photo) as image:
        image.resize((960, 640)).save(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", "--out", tmp_path / "x.glb", "--model", "tiny", "--size", "224") == 0
    assert 1e6 < (tmp_path / "x.glb").stat().st_size <= 9e6
