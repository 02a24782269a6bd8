import math
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import (
    FileFormatError,
    SaveOptions,
    load_estimate,
    read_exr,
    read_image,
    save_estimate,
    write_compositing_exr,
    write_exr,
)
from depth_normal.geometry.files.exr import read_planes, read_plate
from depth_normal.geometry.files.image_files import read_colours
from depth_normal.geometry.files.values import read_values
from tests.geometry.files.samples import assert_same_bits, full_estimate, read_channels, write_channels, write_parts

OpenEXR = pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")


@pytest.mark.parametrize("size", [(20, 64), (1, 1), (37, 5)])
def test_round_trip_in_32_bits_is_bit_exact(tmp_path, size):
    estimate = full_estimate(*size)
    estimate.depth.view(-1)[:3] = torch.tensor([float("nan"), float("inf"), -0.0])[: estimate.depth.numel()]
    write_exr(tmp_path / "e.exr", estimate)
    assert_same_bits(read_exr(tmp_path / "e.exr"), replace(estimate, extrinsics=None))
    assert list(tmp_path.iterdir()) == [tmp_path / "e.exr"]


def test_half_is_the_nearest_half_and_refuses_what_it_cannot_hold(tmp_path):
    estimate = full_estimate()
    with pytest.raises(ValueError, match="16 bits hold up to 65504"):
        write_exr(tmp_path / "e.exr", replace(estimate, depth=1e5 * estimate.depth), half=True)
    assert list(tmp_path.iterdir()) == []
    estimate.depth[~estimate.mask] = 1e10
    write_exr(tmp_path / "e.exr", estimate, half=True)
    back = read_exr(tmp_path / "e.exr")
    assert torch.equal(back.mask, estimate.mask) and torch.equal(back.depth[back.mask], estimate.depth[back.mask].half().float())
    assert torch.equal(back.normals, estimate.normals.half().float())
    assert read_channels(tmp_path / "e.exr")[1]["Z"].dtype == np.float16


def test_channels_are_the_documented_ones(tmp_path):
    estimate = full_estimate()
    write_exr(tmp_path / "e.exr", estimate)
    header, channels = read_channels(tmp_path / "e.exr")
    assert set(channels) == {"R", "G", "B", "Z", "N.X", "N.Y", "N.Z", "mask", "confidence"}
    for name in "RGBZ":
        np.testing.assert_array_equal(channels[name], estimate.depth[0, 0])
    np.testing.assert_array_equal([channels[f"N.{axis}"] for axis in "XYZ"], estimate.normals[0])
    assert (header["depthNormalQuantity"], header["depthNormalAxes"]) == ("metric_depth", "scannet")
    np.testing.assert_array_equal(header["depthNormalIntrinsics"], estimate.intrinsics[0])


@pytest.fixture(scope="module")
def for_viewers(tmp_path_factory):
    """Files by what they hold, and the R, G and B that each must have; ffmpeg, too, shows the numbers of widths of 32."""
    folder, full, files = tmp_path_factory.mktemp("viewers"), full_estimate(20, 64), {}
    for name, estimate in {"both": replace(full, mask=None), "normals": Estimate(normals=full.normals)}.items():
        for half in (False, True):
            path = folder / f"{name}{'_half' * half}.exr"
            write_exr(path, estimate, half)
            values = estimate.normals if estimate.depth is None else estimate.depth.expand(-1, 3, -1, -1)
            files[path] = (values.half().float() if half else values)[0].movedim(0, -1).numpy()
    return files


def test_ffmpeg_reads_the_same_numbers_as_comfyui_does(for_viewers):
    av = pytest.importorskip("av", reason="ComfyUI reads images with PyAV (pip install av)")
    for path, expected in for_viewers.items():
        with av.open(str(path)) as container:
            np.testing.assert_array_equal(next(container.decode(video=0)).to_ndarray(format="gbrpf32le"), expected)


def plane(*shape, seed=0):
    return np.random.default_rng(seed).random(shape or (4, 6), np.float32) * 9 + 1


LONE_NAMES = ["depth", "Y", "V", "depth__Z"]
NAMES_BESIDE_COLOURS = ["Z", "ViewLayer__Depth__Z", "RenderLayer__Depth__V", "Z__Z", "zDepth__Z"]


@pytest.mark.parametrize("name", LONE_NAMES + NAMES_BESIDE_COLOURS)
def test_depth_is_found_under_the_names_that_others_use(tmp_path, name):
    depth = plane()
    depth[0, 0] = 1e10
    colours = dict.fromkeys("RGB", plane(seed=1)) if name in NAMES_BESIDE_COLOURS else {}
    for beside in ({}, colours):
        write_channels(tmp_path / "e.exr", **{name: depth}, **beside)
        estimate = read_exr(tmp_path / "e.exr")
        np.testing.assert_array_equal(estimate.depth[0, 0], depth)
        assert estimate.quantity is Quantity.METRIC_DEPTH and estimate.mask[0, 0].sum() == 23
    assert read_exr(tmp_path / "e.exr", quantity=Quantity.DISPARITY).quantity is Quantity.DISPARITY


@pytest.mark.parametrize("letters", ["XYZ", "RGB"])
@pytest.mark.parametrize("layer", ["N", "Normal", "View__Normal", "normals"])
def test_normals_are_found_under_the_names_that_others_use(tmp_path, layer, letters):
    vectors = plane(3, 4, 6)
    vectors /= np.linalg.norm(vectors, axis=0)
    colours = dict.fromkeys("RGB", plane())
    write_channels(tmp_path / "e.exr", **{f"{layer}__{axis}": each for axis, each in zip(letters, vectors, strict=True)}, **colours)
    estimate = read_exr(tmp_path / "e.exr", axes=Axes.OPENCV)
    np.testing.assert_array_equal(estimate.normals[0], vectors)
    assert estimate.axes is Axes.OPENCV and estimate.depth is None


def test_blenders_world_normals_are_left_out_unless_they_are_said_to_be_the_cameras(tmp_path):
    names, header = ("Combined.R", "Depth.Z", "Normal.X", "Normal.Y", "Normal.Z"), {"BlenderMultiChannel": "Blender V2.55.1 and newer"}
    write_parts(tmp_path / "e.exr", (header, {f"ViewLayer.{name}": plane() for name in names}))
    assert read_exr(tmp_path / "e.exr").normals is None
    assert read_exr(tmp_path / "e.exr", axes=Axes.OPENGL).normals is not None
    write_parts(tmp_path / "n.exr", (header, {f"ViewLayer.{name}": plane() for name in names if "Depth" not in name}))
    for read in (lambda: read_exr(tmp_path / "n.exr"), lambda: read_planes(tmp_path / "e.exr", "normals")):
        with pytest.raises(FileFormatError, match="world axes"):
            read()


ARNOLD = [({"name": "rgba"}, {"R": 2, "G": 2, "B": 2}), ({"name": "Z"}, {"Z": 3}), ({"name": "N"}, {"X": 0, "Y": 1, "Z": 2})]
BLENDER_5 = [({}, {"V.Combined.R": 2}), ({}, {"V.Depth.Z": 3}), ({}, {"V.Normal.X": 0, "V.Normal.Y": 1, "V.Normal.Z": 2})]


@pytest.mark.parametrize("parts", [ARNOLD, BLENDER_5], ids=["parts named after their maps", "channels with their layers"])
def test_files_of_several_parts_are_read(tmp_path, parts):
    planes = [plane(seed=i) for i in range(4)]
    write_parts(tmp_path / "e.exr", *((header, {name: planes[i] for name, i in channels.items()}) for header, channels in parts))
    estimate = read_exr(tmp_path / "e.exr")
    np.testing.assert_array_equal(estimate.depth[0, 0], planes[3])
    np.testing.assert_array_equal(estimate.normals[0], planes[:3])


def box(left, top, right, bottom):
    return np.array((left, top), np.int32), np.array((right, bottom), np.int32)


@pytest.mark.parametrize(
    ("display", "data"),
    [
        ((0, 0, 9, 7), (3, 2, 6, 5)),
        ((0, 0, 9, 7), (-4, -3, 12, 9)),  # overscan
        ((0, 0, 9, 7), (-4, 2, 6, 9)),
        ((-5, -6, 4, 1), (-3, -9, 10, 0)),
    ],
)
@pytest.mark.parametrize("quantity", [None, Quantity.RELATIVE_DEPTH])
def test_data_is_placed_in_the_display_window(tmp_path, display, data, quantity):
    def numbers(window):
        rows, columns = np.mgrid[window[1] : window[3] + 1, window[0] : window[2] + 1]
        return rows, columns, (300 + 20 * rows + columns).astype(np.float32)

    windows, (*_, values) = {"dataWindow": box(*data), "displayWindow": box(*display)}, numbers(data)
    write_channels(tmp_path / "d.exr", windows, Z=values)
    write_channels(tmp_path / "c.exr", windows, **dict.fromkeys("RGB", values))
    write_channels(tmp_path / "n.exr", windows, N__X=0 * values, N__Y=0 * values, N__Z=0 * values + 1)
    rows, columns, expected = numbers(display)
    inside = (columns >= data[0]) & (columns <= data[2]) & (rows >= data[1]) & (rows <= data[3])
    depth, image = read_exr(tmp_path / "d.exr", quantity), read_image(tmp_path / "c.exr")
    for mask in (depth.mask, read_exr(tmp_path / "n.exr").mask):
        np.testing.assert_array_equal(np.ones(inside.shape, bool) if mask is None else mask[0, 0], inside)
    np.testing.assert_array_equal(depth.depth[0, 0][inside], expected[inside])
    assert image.shape == (*inside.shape, 3) and (image[~inside] == 1).all() and (image[inside] < 1).all()
    alpha = read_colours(tmp_path / "c.exr")[1]
    np.testing.assert_array_equal(np.ones(inside.shape) if alpha is None else alpha, inside)


def test_parts_of_different_windows_are_aligned(tmp_path):
    depth, mask = plane(4, 6), plane(8, 10) / 20
    windows = [{"displayWindow": box(0, 0, 9, 7), "dataWindow": box(*sides)} for sides in ((2, 3, 7, 6), (0, 0, 9, 7))]
    write_parts(tmp_path / "e.exr", (windows[0], {"Z": depth}), (windows[1], {"confidence": mask}))
    estimate = read_exr(tmp_path / "e.exr")
    np.testing.assert_array_equal(estimate.depth[0, 0, 3:7, 2:8], depth)
    np.testing.assert_array_equal(estimate.confidence[0, 0], mask)
    assert estimate.mask.sum() == depth.size


def test_rgb_is_told_apart_by_its_values(tmp_path):
    vectors = torch.nn.functional.normalize(torch.randn(3, 4, 6), dim=0).numpy()
    for names in ("RGB", "XYZ"):
        write_channels(tmp_path / "n.exr", **dict(zip(names, vectors, strict=True)), A=np.ones((4, 6), np.float32))
        np.testing.assert_array_equal(read_exr(tmp_path / "n.exr").normals[0], vectors)
        np.testing.assert_array_equal(read_planes(tmp_path / "n.exr", "normals")[0], vectors)
    for names in ("RGB", "XYZ", ("Depth.X", "Depth.Y", "Depth.Z")):  # colours; positions, whose Z is no depth by itself
        write_channels(tmp_path / "c.exr", **{name: plane(seed=seed) for seed, name in enumerate(names)})
        with pytest.raises(FileFormatError, match="no depth or normals among the channels"):
            read_exr(tmp_path / "c.exr")
        if names != "RGB":
            with pytest.raises(FileFormatError, match=f"{', '.join(names)} are a vector, .* name one "):
                read_planes(tmp_path / "c.exr", "depth")
            np.testing.assert_array_equal(read_exr(tmp_path / "c.exr", channel=names[2]).depth[0, 0], plane(seed=2))


def test_one_of_several_layers_is_not_taken_for_depth(tmp_path):
    layers = {f"{layer}.{name}": plane() for layer in ("AO", "beauty") for name in "RGB"}
    for others in ({}, {"shadow.Y": plane()}):
        write_parts(tmp_path / "e.exr", ({}, layers | others))
        with pytest.raises(FileFormatError, match=r"several layers with them; the file has AO\.B, .*--channel"):
            read_planes(tmp_path / "e.exr", "depth")
    write_parts(tmp_path / "e.exr", ({}, layers | dict.fromkeys("RGB", plane(seed=1))))
    np.testing.assert_array_equal(read_planes(tmp_path / "e.exr", "depth")[0], [plane(seed=1)] * 3)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"depthNormalQuantity": "furlongs"}, "furlongs"),
        ({"depthNormalAxes": "sideways"}, "sideways"),
        ({"depthNormalIntrinsics": np.zeros((3, 3), np.float32)}, "not a camera's"),
        ({"depthNormalIntrinsics": "none"}, "none"),
        ({"dataWindow": box(20, 0, 25, 3), "displayWindow": box(0, 0, 9, 7)}, "outside the display window"),
    ],
)
def test_wrong_headers_are_refused(tmp_path, header, message):
    write_channels(tmp_path / "e.exr", header, Z=plane())
    with pytest.raises(FileFormatError, match=message):
        read_exr(tmp_path / "e.exr")


def test_absurd_sizes_are_refused_by_the_header(tmp_path):
    write_channels(tmp_path / "e.exr", Z=plane(4, 6))
    content, window = (tmp_path / "e.exr").read_bytes(), struct.pack("<4i", 0, 0, 5, 3)
    assert content.count(window) == 2
    (tmp_path / "huge.exr").write_bytes(content.replace(window, struct.pack("<4i", 0, 0, 99_999, 99_999)))
    with pytest.raises(FileFormatError, match="megapixels"):
        read_exr(tmp_path / "huge.exr")


def test_an_image_is_not_taken_for_metres(tmp_path):
    write_channels(tmp_path / "p.exr", Y=plane() / 10)
    with pytest.raises(FileFormatError, match=r"within 0\.\.1"):
        read_exr(tmp_path / "p.exr")
    assert read_exr(tmp_path / "p.exr", quantity=Quantity.METRIC_DEPTH).depth is not None


def test_without_openexr_the_error_says_what_to_install(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "OpenEXR", None)
        with pytest.raises(ImportError, match="pip install"):
            write_exr(tmp_path / "e.exr", full_estimate())
    monkeypatch.setattr(OpenEXR, "__version__", "3.3.14")
    with pytest.raises(ImportError, match=r"OpenEXR 3\.3\.14 is installed, 3\.4 is needed"):
        write_exr(tmp_path / "e.exr", full_estimate())


def damaged(content):
    def write(path):
        write_channels(path, Z=np.ones((8, 9), np.float32))
        path.write_bytes(content(path.read_bytes()))

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (damaged(lambda data: data[:40]), "the EXR is damaged or cut off, or of a kind that OpenEXR does not read; copy it again"),
        (damaged(lambda data: data[:-40]), "the EXR is damaged or cut off"),
        (damaged(lambda data: data.replace(b"dataWindow", b"dataWindoo")), "the EXR is damaged or cut off"),
        (damaged(lambda data: data[:5] + b"\x08" + data[6:]), "a deep EXR; flatten it first"),
        (damaged(lambda data: b"no EXR"), "not an OpenEXR file"),
    ],
)
def test_what_openexr_does_not_read_is_refused_in_words(tmp_path, write, words):
    """Without its own, "Unable to open", and what it says of the attributes of deep files."""
    write(tmp_path / "a.exr")
    with pytest.raises(FileFormatError, match=words) as caught:
        read_exr(tmp_path / "a.exr")
    assert "Unable" not in str(caught.value) and "attribute" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, 100, 4096])
def test_a_file_that_does_not_fit_on_the_disk_is_an_error(tmp_path, limit):
    """The library says nothing where all of it, or its end, is written when the file is closed."""
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of a file")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = torch.rand(1, 1, 60, 30, generator=torch.Generator().manual_seed(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.exr") as caught:
            write_exr(tmp_path / "a.exr", Estimate(depth=noise, quantity=Quantity.METRIC_DEPTH))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ".depth-normal" not in str(caught.value) and not list(tmp_path.iterdir())


def masked_estimate():
    """For compositing programs; tests/blender/test_compositing_exr.py opens such a file in Blender."""
    mask = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    mask[..., 0, :] = False
    intrinsics = torch.tensor([[[50.0, 0, 3], [0, 60, 2], [0, 0, 1]]])
    return replace(full_estimate(), axes=Axes.OPENCV, mask=mask, intrinsics=intrinsics, confidence=None, extrinsics=None)


def test_compositing_channels_have_the_names_and_types_that_were_asked_for(tmp_path):
    image = torch.rand(1, 3, 10, 14)
    for half in (False, True):
        write_compositing_exr(tmp_path / "a.exr", masked_estimate(), image, half)
        _, channels = read_channels(tmp_path / "a.exr")
        full = {name for name, pixels in channels.items() if pixels.dtype == np.float32}
        assert set(channels) == {*"RGBZ", "P.X", "P.Y", "P.Z", "N.X", "N.Y", "N.Z", "mask.A", "sky.A"}
        assert full == ({"Z", "P.X", "P.Y", "P.Z"} if half else set(channels))
    write_compositing_exr(tmp_path / "a.exr", replace(masked_estimate(), depth=None, quantity=None))
    assert set(read_channels(tmp_path / "a.exr")[1]) == {"N.X", "N.Y", "N.Z", "mask.A"}


def test_a_compositing_file_is_read_back_by_name(tmp_path):
    known = replace(masked_estimate(), confidence=torch.rand(1, 1, 5, 7))
    files = save_estimate(tmp_path / "a.exr", known, SaveOptions(compositing=True))
    assert files == (tmp_path / "a.exr", tmp_path / "a.chan") and sorted(tmp_path.iterdir()) == sorted(files)
    back = load_estimate(files[0])
    inside = known.mask[0, 0]
    assert back.quantity is Quantity.METRIC_DEPTH and back.axes is Axes.OPENGL and torch.equal(back.mask, known.mask)
    torch.testing.assert_close(back.intrinsics, known.intrinsics)
    torch.testing.assert_close(back.confidence, known.confidence)
    torch.testing.assert_close(back.depth[..., inside], known.depth[..., inside], rtol=0, atol=0)
    torch.testing.assert_close(back.normals[..., inside], (known.normals * torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1))[..., inside])
    _, channels = read_channels(files[0])
    assert (channels["Z"][0] == np.float32(1e10)).all() and all((channels[name][0] == 0).all() for name in ("P.X", "P.Z", "N.Y", "mask.A"))


def test_a_compositing_header_maps_positions_to_their_pixels(tmp_path):
    write_compositing_exr(tmp_path / "a.exr", masked_estimate())
    header, channels = read_channels(tmp_path / "a.exr")
    inside = masked_estimate().mask[0, 0].numpy()
    points = np.stack([*(channels[f"P.{axis}"][inside] for axis in "XYZ"), np.ones(inside.sum(), np.float32)], 1)
    assert ((points @ header["worldToCamera"])[:, 2] > 0).all(), "in front of a camera that looks along +Z"
    seen = points @ header["worldToNDC"]
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(seen[:, 0] / seen[:, 3], (columns + 0.5) / 7, atol=1e-5)
    np.testing.assert_allclose(seen[:, 1] / seen[:, 3], (rows + 0.5) / 5, atol=1e-5)
    width, height = header["sensorOverallDimensions"]
    assert width / 2 / header["pinholeFocalLength"] == pytest.approx(7 / 2 / 50) and height / width == pytest.approx(5 / 60 / (7 / 50))


@pytest.mark.parametrize(("name", "number"), [("a", 1), ("shot.1002_comp", 1002), ("f_-002", -2), ("shot_00003", 3), ("4k", 1)])
def test_the_camera_is_a_line_that_nuke_imports(tmp_path, name, number):
    write_compositing_exr(tmp_path / f"{name}.exr", masked_estimate())
    (line,) = (tmp_path / f"{name}.chan").read_text().splitlines()
    frame, *place, fov = map(float, line.split())
    assert frame == number and place == [0] * 6 and fov == pytest.approx(math.degrees(2 * math.atan(2.5 / 60)))


def test_a_plate_keeps_its_light_alpha_windows_pixels_and_primaries(tmp_path):
    """Columns -1 to 6 of which 0 to 3 are shown, twice as wide as high; the first two are empty, others brighter than white."""
    light = np.random.default_rng(0).random((6, 8, 3), np.float32) * 9
    alpha = np.ones((6, 8), np.float32)
    alpha[:, :2], alpha[:, 2] = 0, 0.25
    light *= alpha[..., None]
    primaries = (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)
    header = {"dataWindow": box(-1, 0, 6, 5), "displayWindow": box(0, 0, 3, 5), "pixelAspectRatio": 2.0, "chromaticities": primaries}
    write_channels(tmp_path / "plate.exr", header, **dict(zip("RGB", np.moveaxis(light, -1, 0), strict=True)), A=alpha)
    assert read_image(tmp_path / "plate.exr").shape == (6, 8, 3), "the display window in square pixels"
    facing = torch.zeros(1, 3, 6, 8)
    facing[:, 2] = 1
    square = Estimate(torch.full((1, 1, 6, 8), 3.0), Quantity.METRIC_DEPTH, facing, intrinsics=intrinsics_from_fov(50.0, 6, 8))
    write_compositing_exr(tmp_path / "a.exr", square, torch.ones(1, 3, 6, 8), plate=read_plate(tmp_path / "plate.exr"))
    found, channels = read_channels(tmp_path / "a.exr")
    for name, expected in header.items():
        np.testing.assert_allclose(found[name], expected, err_msg=name)
    np.testing.assert_array_equal(np.dstack([channels[name] for name in "RGB"]), light)
    np.testing.assert_array_equal(channels["A"], alpha)
    known = np.zeros((6, 8), bool)
    known[:, 2:5] = True
    for name, beyond in {"Z": 1e10, "P.Z": 0, "N.Z": 0, "mask.A": 0, "sky.A": 0}.items():
        assert (channels[name][~known] == beyond).all() and (name == "sky.A" or (channels[name][known] != beyond).all()), name
    assert found["sensorOverallDimensions"][0] / found["sensorOverallDimensions"][1] == pytest.approx(8 / 6)
    back = read_exr(tmp_path / "a.exr")
    assert back.mask[0, 0].tolist() == known[:, 1:5].tolist()
    assert (back.intrinsics[0, 1, 1] / back.intrinsics[0, 0, 0]).item() == pytest.approx(2)
    np.testing.assert_allclose(channels["P.X"][3, 2:5], (np.arange(1, 4) - 1.5) * 3 / back.intrinsics[0, 0, 0].item(), rtol=1e-5)


def test_an_images_alpha_is_written_and_nothing_is_known_where_it_is_0(tmp_path):
    image = torch.full((1, 4, 5, 7), 0.5)
    image[..., 0] = 0
    write_compositing_exr(tmp_path / "a.exr", replace(masked_estimate(), mask=None), image)
    _, channels = read_channels(tmp_path / "a.exr")
    assert (channels["A"][:, 0] == 0).all() and (channels["Z"][:, 0] == 1e10).all() and (channels["mask.A"][:, 0] == 0).all()
    np.testing.assert_allclose(channels["R"][:, 1:], 0.5 * 0.21404114, rtol=1e-5)
    assert (channels["Z"][:, 1:] < 1e10).all()


def test_a_plate_beyond_16_bits_is_not_rounded_to_infinity(tmp_path):
    write_channels(tmp_path / "plate.exr", **dict.fromkeys("RGB", np.full((5, 7), 1e5, np.float32)))
    with pytest.raises(ValueError, match="channel R reaches 100000, 16 bits hold up to 65504"):
        write_compositing_exr(tmp_path / "a.exr", masked_estimate(), half=True, plate=read_plate(tmp_path / "plate.exr"))


def test_maps_of_pixels_that_are_not_square_are_read_in_square_ones(tmp_path):
    plane = np.tile(np.float32([2, 2, 4, 1e10]), (3, 1))
    write_channels(tmp_path / "z.exr", {"pixelAspectRatio": 2.0}, Z=plane)
    write_channels(tmp_path / "n.exr", {"pixelAspectRatio": 0.5}, N__X=0 * plane, N__Y=0 * plane, N__Z=plane / plane)
    back = read_exr(tmp_path / "z.exr")
    assert back.depth[0, 0, 1, :6].tolist() == [2, 2, 2, 2.5, 3.5, 4] and back.mask[0, 0, 1].tolist() == [True] * 6 + [False] * 2
    assert read_exr(tmp_path / "n.exr").normals.shape == (1, 3, 3, 2)
    assert read_values(tmp_path / "z.exr").square_width == 8
    known = masked_estimate()  # fx = 50, fy = 60
    write_exr(tmp_path / "own.exr", known)
    assert read_channels(tmp_path / "own.exr")[0]["pixelAspectRatio"] == pytest.approx(1.2)
    assert torch.equal(read_exr(tmp_path / "own.exr").depth, known.depth), "its camera knows the pixels' shape"


def test_compositing_depth_without_metres_keeps_its_kind(tmp_path):
    disparity = Estimate(torch.linspace(1, 5, 35).view(1, 1, 5, 7), Quantity.DISPARITY)
    write_compositing_exr(tmp_path / "a.exr", disparity)
    back = load_estimate(tmp_path / "a.exr")
    assert back.quantity is Quantity.RELATIVE_DEPTH
    assert back.depth.flatten()[0] > 2 * back.depth.flatten()[-1] > 0.9, "the smallest disparity is farthest, the near end about 1"


def test_neither_exr_nor_camera_appears_unless_both_can(tmp_path):
    (tmp_path / "a.chan").mkdir()
    with pytest.raises(OSError):
        write_compositing_exr(tmp_path / "a.exr", masked_estimate())
    assert [path.name for path in tmp_path.iterdir()] == ["a.chan"]
