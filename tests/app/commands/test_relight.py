"""`depth-normal relight`: what the options say of lamps, and the file that comes of it."""

import math

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.cli import _parsed, main
from depth_normal.app.commands.relight import DIRECTIONS, _light
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, read_image, write_npz
from depth_normal.geometry.images.srgb import colour_to_linear
from depth_normal.nodes.relight import Relight
from depth_normal.options.lights import LookOptions


@pytest.fixture
def files(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    depth = torch.full((1, 1, 48, 64), 2.0)
    depth[..., 16:32, 20:40] = 1.0
    write_npz(tmp_path / "a.npz", Estimate(depth, Quantity.METRIC_DEPTH))
    return tmp_path


def plans(*words):
    return _light(_parsed(["relight", "a.png", "--out", "b.png", *words]))[0]


def test_without_a_lamp_there_is_the_nodes_own():
    (lamp,) = plans()
    assert (lamp.kind, lamp.azimuth, lamp.elevation, lamp.shadow) == ("directional", 135, 40, 0.5)
    (lamp,) = plans("--colour", "#f00", "--intensity", "2")
    assert (lamp.azimuth, lamp.colour, lamp.intensity) == (135, (1, 0, 0), 2)


def test_lamps_are_named_as_photographers_name_them():
    left, back = plans("--light", "left", "--color", "candle", "--light", "behind")
    assert (left.azimuth, back.elevation < 0) == (180, True) and left.colour == colour_to_linear("#ffb46b")
    with pytest.raises(SystemExit):
        plans("--light", "south")
    for lamp in plans(*(word for name in DIRECTIONS if name != "behind" for word in ("--light", name))):
        facing = LookOptions().ambient + lamp.intensity * math.sin(math.radians(lamp.elevation))
        assert facing > 1.1, "what faces the viewer makes up for what lies in shadow"


def test_what_follows_a_lamp_is_said_of_it_and_what_precedes_all_is_said_of_all():
    sun, lamp = plans(
        *("--shadows", "0.7", "--light=-30,10", "--intensity", "0.4"),
        *("--point", "0.3,0.4,0.7", "--colour", "#ffffff", "--light-size", "0.2", "--size", "64"),
    )
    assert (sun.kind, sun.azimuth, sun.elevation, sun.intensity, sun.size, sun.shadow) == ("directional", -30, 10, 0.4, 0, 0.7)
    assert (lamp.kind, lamp.x, lamp.y, lamp.depth, lamp.intensity, lamp.size, lamp.shadow) == ("point", 0.3, 0.4, 0.7, 1, 0.2, 0.7)


def test_the_file_is_what_the_node_makes(files):
    words = ["--light", "180,20", "--colour", "#ffb46b", "--exposure", "0.5", "--light-size", "0.2"]
    assert main(["relight", str(files / "a.png"), "--out", str(files / "b.png"), "--geometry", str(files / "a.npz"), *words]) == 0
    image, found = (torch.from_numpy(read_image(files / name)) for name in ("a.png", "b.png"))
    lamp = {"azimuth": 180, "elevation": 20, "colour": "#ffb46b", "exposure": 0.5, "light_size": 0.2}
    (expected,) = Relight().execute(image[None], geometry=load_estimate(files / "a.npz"), **lamp)
    assert (found - expected[0]).abs().max() < 1 / 255


def test_weights_that_do_not_fit_end_a_run_over_several_images(files, monkeypatch, capsys):
    (files / "b.png").write_bytes((files / "a.png").read_bytes())
    monkeypatch.setattr("depth_normal.model_loader.comfy.placement.Placement._move_to", lambda *_: False)
    assert main(["relight", str(files), "--model", "tiny", "--size", "32", "--out", str(files / "lit")]) == 2
    said = capsys.readouterr().err
    assert said.count("does not fit in the memory of cpu") == 2 and "stopped with 1 image not begun: " in said, "the reason and the end"
