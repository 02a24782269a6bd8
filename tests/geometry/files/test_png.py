import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from depth_normal.geometry.conventions import NormalMapCoding, convert_normals, unit_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import (
    FileFormatError,
    png,
    read_values_png,
    write_depth_png,
    write_depth_values_png,
    write_normal_png,
    write_normal_values_png,
    write_normals_png,
)
from depth_normal.geometry.images.render import normals_to_image

INTRINSICS = torch.tensor([[[500.1, 0, 31.5], [0, 499.9, 23.5], [0, 0, 1]]])


def metres(height=48, width=64):
    return 0.3 + 79.7 * torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))


def test_depth_images_have_16_bits_rounded_and_clamped(tmp_path):
    image = torch.tensor([[[0.0, 1.0, 0.5, 1 / 65535, 1.4 / 65535, 1.6 / 65535, -3.0, 7.0, float("nan")]]])
    write_depth_png(tmp_path / "d.png", image)
    pixels = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    assert pixels.tolist() == [[0, 65535, 32768, 1, 1, 2, 0, 65535, 0]]


@pytest.mark.parametrize("bits", [8, 16])
def test_levels_are_rounded_exactly_in_every_band(tmp_path, bits, monkeypatch):
    monkeypatch.setattr(png, "_BAND_PIXELS", 50)
    top = 2**bits - 1
    # Halves of a level and the numbers beside them: float32 arithmetic would take some for the halves.
    halves = ((torch.arange(3 * 23 * 16) * 977 % top).double() + 0.5) / top
    image = torch.stack([halves.float().nextafter(torch.tensor(end)) for end in (0.0, 1.0)], -1).reshape(3, 23, 32)
    write_normal_png(tmp_path / "n.png", image, bits)
    expected = np.rint(image.double().numpy() * top)
    assert np.array_equal(np.moveaxis(cv2.imread(str(tmp_path / "n.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], -1, 0), expected)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (9, 1), (33, 70)])
@pytest.mark.parametrize("bits", [8, 16])
def test_other_readers_find_the_same_pixels_with_and_without_isal(tmp_path, monkeypatch, bits, sides, absent):
    if absent:
        monkeypatch.setitem(sys.modules, "isal", None)
    levels = np.random.default_rng(0).integers(0, 2**bits, (3, *sides))
    write_normal_png(tmp_path / "n.png", torch.from_numpy(levels / (2**bits - 1)).float(), bits)
    write_depth_png(tmp_path / "d.png", torch.from_numpy(levels[:1] / (2**bits - 1)).double())
    found = [cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("n.png", "d.png")]
    assert np.array_equal(np.moveaxis(found[0][..., ::-1], -1, 0), levels)
    assert np.array_equal(found[1], np.rint(levels[0] / (2**bits - 1) * 65535))
    with Image.open(tmp_path / "d.png") as opened:
        opened.load()
        assert np.array_equal(np.asarray(opened), found[1])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("axes", "coding"), [*((axes, "opengl") for axes in Axes), *((Axes.OPENGL, coding) for coding in NormalMapCoding)])
def test_normals_are_written_as_their_image_is(tmp_path, axes, coding, masked):
    normals = unit_normals(torch.randn(1, 3, 60, 70, generator=torch.Generator().manual_seed(0)))
    normals[..., 0, :5] = torch.tensor([0.0, torch.nan, torch.inf, -torch.inf, 1e-30])
    mask = torch.rand(1, 1, 60, 70, generator=torch.Generator().manual_seed(1)) > 0.5 if masked else None
    for sound in (normals, normals[..., 1:, :].contiguous()):
        where = None if mask is None else mask[..., -sound.shape[2] :, :]
        for bits in (8, 16):
            write_normals_png(tmp_path / "n.png", sound, axes, where, coding, bits)
            found = cv2.imread(str(tmp_path / "n.png"), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(int)
            wanted = normals_to_image(sound, coding, axes, where)[0].movedim(0, -1).double().mul(2**bits - 1).round().numpy()
            apart = np.abs(found - wanted)
            assert apart.max() <= 1 and (bits == 16 or np.count_nonzero(apart) < 4)
    with pytest.raises(ValueError, match="one image"):
        write_normals_png(tmp_path / "n.png", normals[0])


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 1, 5, 7), (1, 1, 1, 5, 7)])
def test_wrong_shapes_write_nothing(tmp_path, shape):
    with pytest.raises(ValueError, match=r"expected|one image"):
        write_depth_png(tmp_path / "d.png", torch.zeros(shape))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantity", list(Quantity))
@pytest.mark.parametrize("masked", [False, True])
def test_depth_comes_back_within_half_a_step(tmp_path, quantity, masked):
    depth = metres()
    mask = torch.rand(depth.shape, generator=torch.Generator().manual_seed(1)) > 0.2 if masked else None
    known = Estimate(depth=depth, quantity=quantity, mask=mask, intrinsics=INTRINSICS)
    write_depth_values_png(tmp_path / "d.png", known)
    back = read_values_png(tmp_path / "d.png")
    half_step = (depth[known.valid].max() - depth[known.valid].min()).item() / (65534 if masked else 65535) / 2
    assert (back.depth - depth)[known.valid].abs().max() <= half_step + 80 * 2**-24
    assert back.quantity is quantity and torch.equal(back.intrinsics, INTRINSICS)
    assert (back.mask is None) if mask is None else torch.equal(back.mask, mask)
    constant = Estimate(torch.full((1, 1, 3, 3), 1.2345678), quantity)
    write_depth_values_png(tmp_path / "c.png", constant)
    assert torch.equal(read_values_png(tmp_path / "c.png").depth, constant.depth)


@pytest.mark.parametrize("quantity", list(Quantity))
def test_other_programs_see_the_range_and_near_is_white(tmp_path, quantity):
    depth = torch.tensor([[[[0.5, 20.0, float("nan")]]]])
    write_depth_values_png(tmp_path / "d.png", Estimate(depth=depth, quantity=quantity))
    white, black = ("20.0", "0.5") if quantity is Quantity.DISPARITY else ("0.5", "20.0")
    notes = {"quantity": quantity.value, "white": white, "black": black, "invalid": "0"}
    with Image.open(tmp_path / "d.png") as image:
        assert image.text == {f"depth_normal.{name}": value for name, value in notes.items()}
        assert np.asarray(image).tolist() == [[1, 65535, 0] if quantity is Quantity.DISPARITY else [65535, 1, 0]]


@pytest.mark.parametrize("axes", list(Axes))
def test_normals_come_back_within_half_a_step_in_opengl_axes(tmp_path, axes):
    """Half a step in each of three channels turns a unit vector by at most sqrt(3) / 2 steps of 2 / 65535."""
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)), dim=1)
    mask = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(1)) > 0.2
    write_normal_values_png(tmp_path / "n.png", Estimate(normals=normals, axes=axes, mask=mask))
    back = read_values_png(tmp_path / "n.png")
    assert back.axes is Axes.OPENGL and torch.equal(back.mask, mask)
    chord = (back.normals - convert_normals(normals, axes, Axes.OPENGL)).norm(dim=1, keepdim=True)[mask].max()
    assert chord <= 3**0.5 / 65535 * 1.01 + 1e-6


METRES = {"quantity": "metric_depth", "white": "1", "black": "2"}
DAMAGED = [
    {"quantity": "metric_depth"},
    *(METRES | {name: value} for name, value in (("quantity", "furlongs"), ("white", "nan"), ("black", "inf"), ("white", "one"))),
    *(METRES | {"intrinsics": numbers} for numbers in ("1 2 3", "0 0 0 0 0 0 0 0 0")),
    {"axes": "opengl"},
    {},
]


@pytest.mark.parametrize("text", DAMAGED, ids=str)
def test_damaged_and_missing_notes_are_refused(tmp_path, text):
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(f"depth_normal.{key}", value)
    Image.new("I;16", (4, 4)).save(tmp_path / "bad.png", pnginfo=info)
    with pytest.raises(FileFormatError, match="notes in the file are damaged" if text else "without the range"):
        read_values_png(tmp_path / "bad.png")


def test_what_has_no_value_is_marked_in_the_file_whatever_the_mask(tmp_path):
    """A renderer's background of 1e10 does not stretch the range either."""
    depth = torch.tensor([[[[1.0, 3.0, float("nan"), 0.0, 1e10]]]])
    write_depth_values_png(tmp_path / "d.png", Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH))
    back = read_values_png(tmp_path / "d.png")
    assert back.mask.flatten().tolist() == [True, True, False, False, False]
    assert back.depth.flatten().tolist() == [1, 3, 0, 0, 0]
    normals = torch.tensor([[0.0, 0.6, 0.8], [float("nan")] * 3, [0.0] * 3]).T.view(1, 3, 1, 3)
    write_normal_values_png(tmp_path / "n.png", Estimate(normals=normals))
    assert read_values_png(tmp_path / "n.png").mask.flatten().tolist() == [True, False, False]
