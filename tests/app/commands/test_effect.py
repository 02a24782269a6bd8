"""`depth-normal effect`: each effect from an image and a depth file to a file; what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.app.cli import main
from depth_normal.app.commands import effect as command
from depth_normal.app.outcomes import DONE, SOME_FAILED
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_image, save_estimate, write_image_png


@pytest.fixture
def scene(tmp_path):
    """An image of 16 bits, and metres: a square at 2 m before a wall at 6 m."""
    depth = torch.full((1, 1, 40, 60), 6.0)
    depth[..., 10:30, 20:40] = 2.0
    write_image_png(tmp_path / "a.png", torch.rand(3, 40, 60), 16)
    save_estimate(tmp_path / "a.npz", Estimate(depth, Quantity.METRIC_DEPTH))
    return tmp_path


def effect(scene, name, *options, out="out.png"):
    return main(["effect", name, str(scene / "a.png"), "--geometry", str(scene / "a.npz"), "--out", str(scene / out), *options])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("words", "said", "wall"),
    [
        ("--unit metres --near 1 --far 3 --feather 0", "mask 1 to 3 m, 17 % of the image", False),
        ("--point 0.5,0.5 --point 0.1,0.1", "surface at 0.5,0.5 + 0.1,0.1", True),
        ("--select object --point 0.5,0.5 --not-point 0.1,0.1 --not-point 0.9,0.9", "without the points 0.1,0.1 + 0.9,0.9, 1", False),
        ("--select object --box 0.2,0.1,0.8,0.9", "object in the box, ", False),
    ],
)
def test_a_mask_and_a_cutout_of_what_is_selected(scene, capsys, words, said, wall):
    assert effect(scene, "mask", *words.split()) == DONE and said in capsys.readouterr().out
    mask = np.asarray(Image.open(scene / "out.png")) > 127
    assert mask.shape == (40, 60) and mask[12:28, 22:38].all()
    assert all((part if wall else ~part).all() for part in (mask[:4], mask[:, 52:]))
    assert effect(scene, "cutout", *words.split(), out="cut.png") == DONE and Image.open(scene / "cut.png").mode == "RGBA"


def test_a_mask_of_the_sky_is_taken_in_place_of_what_looks_like_it(scene, capsys):
    assert effect(scene, "sky") == DONE and "no sky found" in capsys.readouterr().out
    assert np.asarray(Image.open(scene / "out.png")).max() == 0
    mask = np.zeros((80, 120), np.uint8)
    mask[:, :60] = 255
    words = ("--density", "100", "--colour", "#fff", "--start", "50", "--sky-mask", str(scene / "sky.png"))
    layer = Image.new("RGBA", (120, 80), "white")
    layer.putalpha(Image.fromarray(mask))
    for sky in (Image.fromarray(mask), layer):
        sky.save(scene / "sky.png")
        assert effect(scene, "fog", *words, out="fog.png") == DONE and "sky: 50 % of the image" in capsys.readouterr().out
        fogged, image = (read_image(scene / name) for name in ("fog.png", "a.png"))
        assert fogged[:, :29].min() == fogged.max() and np.array_equal(fogged[:, 31:], image[:, 31:])


def test_fog_and_lens_keep_sixteen_bits(scene, capsys):
    assert effect(scene, "fog", "--density", "0.2", "--no-sky") == DONE
    assert (scene / "out.png").read_bytes()[24] == 16
    assert effect(scene, "depth-of-field", "--point", "0.5,0.5", "--f-number", "0.5", out="soft.png") == DONE
    assert "focus 2 m, sharp from" in capsys.readouterr().out
    sharp, soft = (read_image(scene / name) for name in ("a.png", "soft.png"))
    assert np.array_equal(sharp[12:28, 22:38], soft[12:28, 22:38]) and not np.array_equal(sharp, soft)


def test_images_of_one_name_are_told_apart_by_their_extension(tmp_path, capsys, monkeypatch):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)).save(tmp_path / name)
    words = ["effect", "mask", str(tmp_path), "--model", "tiny", "--size", "32", "--out", str(tmp_path / "out")]
    assert main(words) == SOME_FAILED and [path.name for path in (tmp_path / "out").glob("*.png")] == ["a_mask.png"]
    assert f"would write the same files ({tmp_path / 'out' / 'a_mask.png'}); add --keep-extension, or run" in capsys.readouterr().err
    checked, check_model = [], command.check_model
    monkeypatch.setattr(command, "check_model", lambda *words, **options: checked.append(check_model(*words, **options)))
    for _ in range(2):
        assert main([*words, "--keep-extension"]) == DONE
        assert {path.name for path in (tmp_path / "out").glob("*.*_mask.png")} == {"a.jpg_mask.png", "a.png_mask.png"}
    assert len(checked) == 2, "once for all images of a run"


def test_a_cutout_keeps_what_the_file_shows_through(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 4), np.uint8)
    pixels[..., 3] = np.where(np.arange(60) < 30, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "half.png")
    words = ["effect", "cutout", str(tmp_path / "half.png"), "--model", "tiny", "--far", "100", "-o", str(tmp_path / "cut.png")]
    assert main(words) == DONE
    cut = np.asarray(Image.open(tmp_path / "cut.png"))[..., 3]
    assert not cut[:, :30].any() and cut[:, 30:].mean() > 250
