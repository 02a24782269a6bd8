"""`depth-normal texture`: files in, files out."""

import re
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.annotators.registry import MATERIAL_MODELS
from depth_normal.app.cli import main
from depth_normal.app.commands import texture as texture_command
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, read_image, save_estimate, write_image_png, write_npz
from depth_normal.geometry.files.exr import write_depth_channel, write_image_exr
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.textures import height, materials, pbr
from depth_normal.model_loader import load_model

pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")


@pytest.fixture
def normals(tmp_path):
    bumps = 40 * blurred(torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(0)), 2.0, True)
    write_image_png(tmp_path / "normals.png", encode_normal_map(height.height_to_normals(bumps, borders="seamless"))[0], 16)
    return tmp_path / "normals.png"


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return tmp_path / "wall.png"


def texture(*words):
    return main(["texture", *map(str, words)])


def maps_in(folder):
    """Of the photo, by their names."""
    return {path.stem.removeprefix("wall_"): path for path in folder.glob("*.png")}


@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_there_and_back_through_files(normals, tmp_path, suffix):
    way = ("--borders", "seamless")
    assert texture("height", normals, "--out", tmp_path / f"h{suffix}", *way) == 0
    assert texture("normals", tmp_path / f"h{suffix}", "--out", tmp_path / "again.png", *way) == 0
    assert np.abs(read_image(normals) - read_image(tmp_path / "again.png")).max() < 3e-3
    assert cv2.imread(str(tmp_path / "again.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16


@pytest.mark.parametrize("stored", ["vectors", "colours"])
def test_a_normal_map_in_an_exr_has_the_coding_that_is_named(normals, tmp_path, stored):
    colours = torch.from_numpy(read_image(normals)).movedim(-1, 0)
    colours[1] = 1 - colours[1]  # opengl to directx
    write_image_exr(tmp_path / "n.exr", 2 * colours - 1 if stored == "vectors" else colours)
    assert texture("height", normals, "-o", tmp_path / "h.png") == 0
    assert texture("height", tmp_path / "n.exr", "--coding", "directx", "-o", tmp_path / "again.png") == 0
    assert np.abs(read_image(tmp_path / "h.png") - read_image(tmp_path / "again.png")).max() < 1e-3


def test_curvature_and_occlusion(normals, tmp_path, capsys, caplog):
    texture("height", normals, "--out", tmp_path / "h.png")
    assert re.search(r"h.png \(white is \d{1,4}\.?\d{0,3} pixels higher than black\)", capsys.readouterr().out) and not caplog.text
    assert texture("curvature", normals, "--out", tmp_path / "c.png", "--show", "edges") == 0
    assert texture("occlusion", tmp_path / "h.png", "--out", tmp_path / "ao.png", "--radius", "8") == 0
    assert read_image(tmp_path / "ao.png").min() < 0.95
    write_npz(tmp_path / "d.npz", Estimate(torch.rand(1, 1, 24, 24) + 2, Quantity.METRIC_DEPTH))
    assert texture("occlusion", tmp_path / "d.npz", "--from-depth", "--radius", "8", "--out", tmp_path / "view.png") == 0
    np.save(tmp_path / "d.npy", np.random.default_rng(0).random((24, 24), np.float32) + 2)
    raw = ("occlusion", tmp_path / "d.npy", "--out", tmp_path / "raw.png", "--radius", "8")
    assert texture(*raw, "--from-depth", "--quantity", "metric-depth") == 0
    assert texture(*raw, "--quantity", "metric-depth") == 2 and "add --from-depth" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["curvature", "height"])
def test_raw_heights_are_no_depth(normals, tmp_path, capsys, command):
    assert texture("height", normals, "-o", tmp_path / "h.exr") == 0
    assert texture(command, tmp_path / "h.exr", "-o", tmp_path / "c.png") == 2
    assert "`texture normals` makes normals of heights" in capsys.readouterr().err


@pytest.mark.parametrize("stated", [False, True])
def test_holes_below_zero_are_no_heights(tmp_path, stated):
    depth = np.tile(np.linspace(1, 2, 24, dtype=np.float32), (24, 1))
    depth[:9] = np.linspace(-2, -1, 24) if stated else -1
    file = tmp_path / ("d.npz" if stated else "d.exr")
    if stated:
        np.savez(file, depth=depth, quantity="metric_depth", mask=depth > 0)
    else:
        write_depth_channel(file, depth)
    assert texture("curvature", file, "-o", tmp_path / "c.png") == 0


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".png", ".tif"])
def test_heights_of_files_of_numbers(tmp_path, capsys, caplog, suffix):
    """A slope of one pixel to the right faces left: of raw heights, and of the geometry of Normal to Height, which is large = far."""
    slope, file = np.tile(np.arange(24, dtype=np.float32), (24, 1)), tmp_path / f"h{suffix}"
    if suffix == ".npy":
        np.save(file, slope)
    elif suffix == ".tif":
        Image.fromarray(slope).save(file)
        assert texture("normals", file, "-o", tmp_path / "n.png") == 2 and "go from 0 to 23" in capsys.readouterr().err
        return
    else:
        raw = torch.from_numpy(slope.max() - slope)[None, None]
        save_estimate(file, Estimate(raw, Quantity.RELATIVE_DEPTH))
        save_estimate(tmp_path / f"d{suffix}", Estimate(raw + 1, Quantity.METRIC_DEPTH))
        for kind in ("normals", "occlusion"):
            assert (
                texture(kind, tmp_path / f"d{suffix}", "-o", tmp_path / "n.png") == 2
                and "holds depth and no heights" in capsys.readouterr().err
            )
    assert texture("normals", file, "-o", tmp_path / "n.png") == 0
    assert np.allclose(read_image(tmp_path / "n.png")[8:16, 8:16], (0.5 - 0.5**1.5, 0.5, 0.5 + 0.5**1.5), atol=2e-3)
    assert not caplog.text
    if suffix == ".npy":
        np.save(file, slope / 23)
        assert texture("normals", file, "-o", tmp_path / "n.png") == 0 and "are taken for pixels: almost flat" in caplog.text


@pytest.mark.parametrize("words", [("texture", "height"), ("texture", "curvature"), ("relight", "--normal-map")])
def test_a_photograph_taken_for_a_normal_map_is_named(photo, tmp_path, caplog, words):
    words = (*words, photo) if words[0] == "texture" else (words[0], photo, words[1], photo)
    assert main([*map(str, words), "--out", str(tmp_path / "out.png")]) == 0
    assert f"{photo} does not look like a normal map: " in caplog.text


def test_a_photograph_becomes_a_material(photo, tmp_path, capsys):
    words = (photo, "--directions", "4", "--bright", "high", "--out", tmp_path / "maps")
    assert texture("pbr", *words, "--borders", "seamless", "--coding", "directx", "--model", "tiny", "--size", "64") == 0
    assert set(maps_in(tmp_path / "maps")) == {*texture_command.PBR_NAMES}
    said = capsys.readouterr().out
    assert "height, normal, ao, curvature; white is" in said and "no albedo, roughness and metallic" in said and "--materials" in said
    (tmp_path / "maps" / "wall_ao.png").write_bytes(b"mine")
    assert texture("pbr", *words) == 2 and "wall_ao.png is there already" in capsys.readouterr().err
    assert texture("pbr", *words, "--overwrite", "--source", "photo") == 0


def test_in_doubt_both_heights_are_shown(photo, tmp_path, caplog):
    words = ("--source", "photo", "--directions", "4")
    with caplog.at_level("INFO"):
        assert texture("pbr", photo, *words, "-o", tmp_path / "maps") == 0
    choice = tmp_path / "maps" / "wall_choice.png"
    assert "dark parts are treated as recessed; --bright low is the opposite" in caplog.text
    assert f"; {choice} shows from left to right: the photo, the height as written, and that of --bright low" in caplog.text
    shown = read_image(choice)
    assert shown.shape == (48, 192, 3)
    for bright, part in (("high", shown[:, 64:128]), ("low", shown[:, 128:])):
        assert texture("pbr", photo, *words, "--bright", bright, "-o", tmp_path / bright) == 0
        assert np.abs(part[..., 0] - read_image(tmp_path / bright / "wall_height.png")[..., 0]).max() < 1e-4
        assert not (tmp_path / bright / "wall_choice.png").exists(), "there is no doubt where it is said"
    choice.write_bytes(b"mine")
    assert texture("pbr", photo, *words, "-o", tmp_path / "maps") == 2 and choice.read_bytes() == b"mine"


def test_a_choice_of_an_earlier_run_goes_with_its_heights(photo, tmp_path):
    words, choice = ("--source", "photo", "--directions", "4", "-o", tmp_path / "maps"), tmp_path / "maps" / "wall_choice.png"
    other = photo.with_suffix(".jpg")
    shutil.copy(photo, other)
    for again in (photo, other):
        assert texture("pbr", photo, *words, "--overwrite") == 0 and choice.exists()
        assert texture("pbr", again, *words, "--bright", "low", "--overwrite") == 0 and not choice.exists()
        assert texture("pbr", other, *words, "--overwrite") == 0 and choice.exists()
        assert texture("pbr", again, *words, "--bright", "low", "--overwrite") == 0 and not choice.exists()
    choice.write_bytes(b"mine")
    assert texture("pbr", photo, *words, "--bright", "low", "--overwrite") == 0
    assert choice.read_bytes() == b"mine", "no result of this run has its name"


def test_a_missing_library_of_a_model_of_materials_is_named_before_anything_is_downloaded(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model of depth was asked for"))
    assert texture("pbr", photo, "--materials", next(iter(MATERIAL_MODELS)), "-o", tmp_path / "maps") == 2
    assert "diffusers" in capsys.readouterr().err and not (tmp_path / "maps").exists()


def test_a_model_sees_a_photo_go_on_beyond_its_borders(photo, tmp_path, monkeypatch):
    from depth_normal.app.batch import per_image

    sizes, estimate = [], per_image.estimate
    monkeypatch.setattr(per_image, "estimate", lambda model, image, *rest: sizes.append(image.shape[-2:]) or estimate(model, image, *rest))
    words = ("--source", "normals", "--model", "tiny", "--size", "64")
    assert texture("detail", photo, *words, "-o", tmp_path / "n.png") == 0
    assert sizes == [(48 + 2 * 6, 64 + 2 * 8)] and read_image(tmp_path / "n.png").shape == (48, 64, 3)


@pytest.mark.parametrize("borders", ["free", "seamless"])
def test_a_material_without_a_model(photo, tmp_path, borders):
    words = f"--source photo --bright high --directions 4 --borders {borders} --materials simple --roughness 0.4 --orm"
    assert texture("pbr", photo, *words.split(), "-o", tmp_path / "maps") == 0
    files = maps_in(tmp_path / "maps")
    assert set(files) == {*texture_command.PBR_NAMES, *texture_command.MATERIAL_NAMES, texture_command.ORM_NAME}
    image = torch.from_numpy(read_image(photo)).movedim(-1, 0)[None]
    options = pbr.PbrOptions(source="photo", borders=borders, directions=4, bright="high")
    maps = pbr.pbr_maps(pbr.material_normals(None, pbr.relief_of_photo(image, options), options), options)
    albedo = materials.remove_light(image, maps.normals, maps.occlusion, borders=borders)
    assert np.abs(read_image(files["albedo"]) - albedo[0].movedim(0, -1).numpy()).max() < 1e-4
    assert np.abs(read_image(files["orm"])[..., 1:] - (0.4, 0)).max() < 1e-4
    assert np.abs(read_image(files["roughness"]) - 0.4).max() < 1e-4 and read_image(files["metallic"]).max() == 0


@pytest.fixture
def tiny_materials(tmp_path_factory, monkeypatch):
    """A tiny random network in the files of the one model of materials."""
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tiny_diffusion.py")))
    (model,) = MATERIAL_MODELS
    spec, home = tiny.shrunk(MATERIAL_MODELS[model]), tmp_path_factory.mktemp("weights")
    tiny.write_files(spec, home)
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(home))
    monkeypatch.setitem(MATERIAL_MODELS, model, spec)
    return model


@pytest.mark.slow("builds a diffusion model")
def test_a_photograph_becomes_a_whole_material(tiny_materials, photo, tmp_path):
    words = (photo, "--directions", "4", "--source", "photo", "--bright", "high", "--materials", tiny_materials)
    assert texture("pbr", *words, "--materials-size", "48", "--orm", "--dtype", "auto", "--out", tmp_path / "maps") == 0
    files = maps_in(tmp_path / "maps")
    assert set(files) == {*texture_command.PBR_NAMES, *texture_command.MATERIAL_NAMES, texture_command.ORM_NAME}
    maps = {name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for name, path in files.items()}
    assert all(each.dtype == np.uint16 and each.shape[:2] == (48, 64) for each in maps.values())
    assert maps["albedo"].shape[2] == 3 and maps["roughness"].ndim == maps["metallic"].ndim == 2
    blue, green, red = np.moveaxis(maps["orm"], 2, 0)
    for packed, name in ((red, "ao"), (green, "roughness"), (blue, "metallic")):
        assert np.array_equal(packed, maps[name]) and packed.std() > 0, name
    image = torch.from_numpy(read_image(photo)).movedim(-1, 0)[None]
    for name, expected in load_model(tiny_materials).estimate_materials(image, 48).maps.items():
        assert np.abs(read_image(files[name]) - expected[0].movedim(0, -1).numpy()).max() < 1e-4, name


def test_detail_and_seamless(photo, tmp_path):
    assert texture("detail", photo, "--source", "photo", "--out", tmp_path / "d.png") == 0
    assert texture("seamless", photo, "--model", "tiny", "--size", "64", "--out", tmp_path / "s.npz") == 0
    assert load_estimate(tmp_path / "s.npz").normals.shape == (1, 3, 48, 64)
    assert texture("detail", photo, "--source", "normals", "--geometry", tmp_path / "s.npz", "--out", tmp_path / "n.png") == 0
    (tmp_path / "t_normals.pfm").write_bytes(b"mine")
    assert texture("seamless", photo, "--model", "tiny", "--size", "64", "--out", tmp_path / "t.pfm") == 2, "its second file is there"
    assert (tmp_path / "t_normals.pfm").read_bytes() == b"mine"


def test_a_coloured_image_is_no_height(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "normals.png"), np.full((16, 16, 3), (255, 128, 128), np.uint8))
    assert texture("occlusion", tmp_path / "normals.png", "-o", tmp_path / "ao.png") == 0
    assert "is coloured, and a height map is grey" in caplog.text and "texture height" in caplog.text
