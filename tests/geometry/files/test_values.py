import itertools
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import FileFormatError, load_estimate, read_image, save_estimate
from depth_normal.geometry.files.image_files import is_still_image, read_colours
from depth_normal.geometry.files.values import NORMALS, read_clip, read_values
from tests.geometry.files.samples import write_channels, write_parts, write_tiff
from tests.heic_files import heic_with_depth

DEPTH = (np.arange(6 * 8, dtype=np.float32).reshape(6, 8) + 2) / 4


def save_metres(path, depth):
    save_estimate(path, Estimate(torch.from_numpy(depth)[None, None], Quantity.METRIC_DEPTH))


WRITERS = {
    "f.tif": lambda path, depth: Image.fromarray(depth).save(path),
    "f.npy": np.save,
    "d.npy": lambda path, depth: np.save(path, depth.astype(np.float64)[None, :, :, None]),
    "key.npz": lambda path, depth: np.savez(path, depth=depth, focal=np.eye(3)),
    "other.npz": lambda path, depth: np.savez(path, prediction=depth[None, None], camera=np.eye(4), note=np.array("x")),
    "z.exr": lambda path, depth: write_channels(path, Z=depth, A=np.ones(depth.shape, np.float32)),
    "rgb.exr": lambda path, depth: write_channels(path, **dict.fromkeys("RGB", depth)),
    **dict.fromkeys(("f.pfm", "ours.exr", "ours.npz", "ours.png"), save_metres),
}


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_of_any_file_are_what_they_are(tmp_path, name):
    WRITERS[name](tmp_path / name, DEPTH)
    values = read_values(tmp_path / name)
    assert not values.coded and values.known is None
    np.testing.assert_allclose(values.planes[0, 0], DEPTH, atol=2e-4)
    assert values.quantity is (Quantity.METRIC_DEPTH if name.startswith("ours") else None)
    named = None if name.startswith("ours") else Quantity.DISPARITY
    estimate = load_estimate(tmp_path / name, named)
    assert estimate.quantity is (named or Quantity.METRIC_DEPTH)
    np.testing.assert_allclose(estimate.depth[0, 0], DEPTH, atol=2e-4)


def test_grey_levels_are_read_as_one_plane(tmp_path):
    """Three would take as much memory as a colour image, and more to compare them."""
    Image.fromarray(np.arange(512 * 512).astype(np.uint16).reshape(512, 512)).save(tmp_path / "d.png")
    read_values(tmp_path / "d.png")
    tracemalloc.start()
    planes, (_, most) = read_values(tmp_path / "d.png").planes, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planes.shape == (1, 1, 512, 512) and most < 8 * 512 * 512


def test_levels_are_shares_and_transparency_is_unknown(tmp_path):
    levels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    Image.fromarray(levels).save(tmp_path / "d.png")
    values = read_values(tmp_path / "d.png")
    assert values.coded and values.quantity is None
    for shares in (values.planes, load_estimate(tmp_path / "d.png", Quantity.DISPARITY).depth):
        np.testing.assert_allclose(shares[0, 0], levels / 65535, atol=1e-6)
    grey = np.dstack((levels % 256, np.where(levels < 9000, 127, 128))).astype(np.uint8)
    Image.fromarray(grey, "LA").save(tmp_path / "a.png")
    for known in (read_values(tmp_path / "a.png").known, load_estimate(tmp_path / "a.png", "disparity").mask):
        np.testing.assert_array_equal(known[0, 0], levels >= 9000)
    for name in ("d.png", "a.png"):
        with pytest.raises(FileFormatError, match="grey levels of an image are no metres"):
            load_estimate(tmp_path / name, Quantity.METRIC_DEPTH)


@pytest.mark.parametrize("ending", ["png", "exr"])
def test_the_alpha_of_normals_is_read_with_them(tmp_path, ending):
    """It may be height, or x."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    if ending == "png":
        Image.fromarray(colours).save(tmp_path / "n.png")
    else:
        write_channels(tmp_path / "n.exr", **{name: colours[..., i] / np.float32(255) for i, name in enumerate("RGBA")})
    values = read_values(tmp_path / f"n.{ending}", NORMALS)
    np.testing.assert_allclose(values.planes[0].movedim(0, -1), colours / 255, atol=1e-6)
    assert values.known is None


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32])
@pytest.mark.parametrize("suffix", [".tif", ".npy", ".exr"])
def test_whole_numbers_are_never_metres_unasked(tmp_path, dtype, suffix):
    depth = (DEPTH * 1000).astype(dtype)
    path = tmp_path / f"d{suffix}"
    if suffix == ".exr":
        write_channels(path, Depth__Z=depth.astype(np.uint32))
    else:
        np.save(path, depth) if suffix == ".npy" else write_tiff(path, depth)
    with pytest.raises(FileFormatError, match="--quantity"):
        load_estimate(path)
    assert load_estimate(path, Quantity.RELATIVE_DEPTH).depth.max() > load_estimate(path, Quantity.RELATIVE_DEPTH).depth.min()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("order", "<>")
def test_compressed_tiff_of_numbers_has_them_in_either_byte_order(tmp_path, dtype, order):
    numbers = (DEPTH * 1000).astype(dtype)
    write_tiff(tmp_path / "d.tif", numbers, byteorder=order, compression="zlib")
    np.testing.assert_array_equal(read_values(tmp_path / "d.tif").planes[0, 0], numbers)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1e10])  # the last is Blender's where nothing was hit
@pytest.mark.parametrize("name", ["f.npy", "key.npz", "f.tif", "z.exr", "rgb.exr"])
def test_a_map_without_any_depth_is_refused(tmp_path, name, value):
    WRITERS[name](tmp_path / name, np.full((6, 8), value, np.float32))
    with pytest.raises(FileFormatError, match=rf"{name}: no pixel has a depth: all are NaN, .*, or 1e\+09 or more"):
        load_estimate(tmp_path / name, Quantity.METRIC_DEPTH)


@pytest.mark.parametrize("name", ["key.npz", "ours.exr", "z.exr", "f.pfm"])
def test_metres_without_a_mask_get_one_where_there_is_no_value(tmp_path, name):
    holes = np.array([[2.0, np.nan, np.inf], [-2.0, 0.0, 1e10]], np.float32)
    WRITERS[name](tmp_path / name, holes)
    back = load_estimate(tmp_path / name, Quantity.METRIC_DEPTH if name == "key.npz" else None)
    assert back.quantity is Quantity.METRIC_DEPTH and back.mask.flatten().tolist() == [True] + [False] * 5
    assert np.array_equal(back.depth[0, 0].numpy(), holes, equal_nan=True)


@pytest.mark.parametrize("name", ["f.npy", "f.tif", "z.exr"])
def test_depth_of_the_other_sign_is_refused_for_its_sign(tmp_path, name):
    """As position passes have it."""
    WRITERS[name](tmp_path / name, np.where(np.arange(8) < 2, np.nan, -np.linspace(1, 4, 48, dtype=np.float32).reshape(6, 8)))
    with pytest.raises(FileFormatError, match=rf"{name}: no depth is above 0, .* looks along -Z are; save them with the sign turned"):
        load_estimate(tmp_path / name, Quantity.METRIC_DEPTH)


@pytest.mark.parametrize(("tint", "is_grey"), [(3, True), (30, False)])
def test_a_slight_tint_is_grey(tmp_path, tint, is_grey):
    grey = np.arange(20, 220, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(np.dstack((grey, grey + tint, grey))).save(tmp_path / "d.png")
    if is_grey:
        depth = load_estimate(tmp_path / "d.png", Quantity.DISPARITY).depth[0, 0]
        np.testing.assert_allclose(depth * 255, grey + tint / 3, atol=1e-4)
    else:
        with pytest.raises(FileFormatError, match=r"d.png: a coloured image; depth is grey"):
            load_estimate(tmp_path / "d.png", Quantity.DISPARITY)


@pytest.mark.parametrize("name", ["sky.npz", "sky.exr"])
def test_normals_beside_a_depth_of_sky_alone_are_read(tmp_path, name):
    sky, flat = np.full((6, 8), 1e10, np.float32), np.zeros((6, 8), np.float32)
    if name.endswith("exr"):
        write_channels(tmp_path / name, **{"Z": sky, "N.X": flat, "N.Y": flat, "N.Z": flat + 1})
    else:
        np.savez(tmp_path / name, depth=sky * np.inf, normals=np.stack((flat, flat, flat + 1), -1))
    estimate = load_estimate(tmp_path / name, Quantity.METRIC_DEPTH)
    assert bool((estimate.normals[:, 2] == 1).all()) and not bool(estimate.mask.any())


@pytest.mark.parametrize("word", ["-9999", "-9999.0 ", "nan", "none"])
def test_pixels_without_data_in_gdals_tiff_are_masked(tmp_path, word):
    numbers = DEPTH.copy()
    numbers[0, :2] = np.nan if word == "nan" else -9999
    Image.fromarray(numbers).save(tmp_path / "d.tif", tiffinfo={42113: word})
    mask = load_estimate(tmp_path / "d.tif", Quantity.DISPARITY).mask
    expected = np.isfinite(numbers) & ((numbers != -9999) | (word == "none"))
    np.testing.assert_array_equal(np.ones_like(expected) if mask is None else mask[0, 0], expected)


LAYERS = {"View.Depth.Z": 1, "View.Mist.Z": 1 / 50, "View.Combined.R": 1, "View.Combined.green": 2, "V": 3}


@pytest.mark.parametrize(
    ("parts", "factors"),
    [
        ({"": LAYERS}, {"View.Depth.Z": 1, "View.Depth": 1, "Depth": 1, "View.Mist": 1 / 50, "V": 3, "View.Combined.green": 2}),
        ({"left": {"Y": 1}, "right": {"Y": 2}}, {"right.Y": 2, "right": 2, "left": 1, "Y": 1}),
    ],
    ids=["layers", "parts"],
)
def test_channels_of_an_exr_are_named(tmp_path, parts, factors):
    path = tmp_path / "m.exr"
    planes = [({"name": part} if part else {}, {name: DEPTH * by for name, by in layers.items()}) for part, layers in parts.items()]
    write_parts(path, *planes)
    for name, factor in factors.items():
        for found in (read_values(path, channel=name).planes, load_estimate(path, Quantity.DISPARITY, channel=name).depth):
            np.testing.assert_allclose(found[0, 0], DEPTH * factor, rtol=1e-6)
    with pytest.raises(FileFormatError, match=r"no channel or layer 'Z'; the file has V, View\.Comb|left\.Y.*right\.Y.*--channel"):
        load_estimate(path, channel="Z" if "" in parts else None)


def test_arrays_of_an_archive_are_named(tmp_path):
    np.savez(tmp_path / "m.npz", near=DEPTH, far=DEPTH * 2)
    np.testing.assert_array_equal(load_estimate(tmp_path / "m.npz", Quantity.DISPARITY, channel="far").depth[0, 0], DEPTH * 2)
    np.save(tmp_path / "m.npy", DEPTH)
    for name, channel, words in (
        ("m.npz", None, r"name one of its arrays with --channel, .*: 'far' \(6, 8\), 'near'"),
        ("m.npz", "depth", "no array 'depth'; the file has far, near"),
        ("m.npy", "depth", "leave it out"),
    ):
        with pytest.raises(FileFormatError, match=words):
            load_estimate(tmp_path / name, channel=channel)
    with pytest.raises(FileFormatError, match="leave it out"):
        read_values(tmp_path / "m.npy", channel="depth")


def test_a_mask_in_an_archive_says_what_is_known(tmp_path):
    mask = np.eye(4, 5, dtype=bool)
    for name, known in (("own", mask), ("another", mask[1:])):
        np.savez(tmp_path / f"{name}.npz", depth=np.ones((4, 5), np.float32), mask=known)
    assert torch.equal(read_values(tmp_path / "own.npz").known[0, 0], torch.from_numpy(mask))
    assert read_values(tmp_path / "another.npz").known is None


def test_the_tutorials_maps_are_what_their_keys_say(tmp_path):
    """`dmap` is large = far, unlike a depth image; `nmap` is z, y, x."""
    wall = np.float32([0, 0, 1]) * np.ones((6, 8, 3), np.float32)
    np.savez(tmp_path / "d.npz", dmap=DEPTH / 20, nmap=(wall[..., ::-1] + 1) / 2)
    assert read_values(tmp_path / "d.npz").likely is Quantity.RELATIVE_DEPTH
    np.savez(tmp_path / "clip.npz", dmap=np.stack((DEPTH / 20, DEPTH)))
    assert {each.likely for each in read_clip(tmp_path / "clip.npz")} == {Quantity.METRIC_DEPTH}
    normals = read_values(tmp_path / "d.npz", NORMALS)
    np.testing.assert_allclose(normals.planes[0].movedim(0, -1), wall, atol=1e-6)
    assert normals.axes is Axes.OPENGL
    np.savez(tmp_path / "w.npz", dmap=DEPTH, nmap=-wall)
    with pytest.raises(FileFormatError, match="world axes"):
        read_values(tmp_path / "w.npz", NORMALS)


@pytest.mark.parametrize("axis", [0, 2])
def test_vectors_of_other_tools_are_normals(tmp_path, axis):
    vectors = np.moveaxis(np.random.default_rng(0).standard_normal((5, 7, 3)).astype(np.float32), -1, 0)
    vectors /= np.linalg.norm(vectors, axis=0)
    np.save(tmp_path / "n.npy", np.moveaxis(vectors, 0, axis))
    np.testing.assert_array_equal(load_estimate(tmp_path / "n.npy").normals[0], vectors)
    np.save(tmp_path / "c.npy", np.moveaxis(vectors, 0, -1) * 200)
    with pytest.raises(FileFormatError, match="no unit vectors"):
        load_estimate(tmp_path / "c.npy")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*itertools.product(["f.npy"], [np.float16, np.uint16]), *itertools.product(["z.exr", "rgb.exr"], [np.float16, np.float32, np.uint32])],
)
def test_the_largest_number_of_a_format_is_infinitely_far(tmp_path, name, dtype):
    depth = np.full((4, 6), 5, dtype)
    depth[:2] = (np.finfo if np.issubdtype(dtype, np.floating) else np.iinfo)(dtype).max
    WRITERS[name](tmp_path / name, depth)
    np.testing.assert_array_equal(load_estimate(tmp_path / name, Quantity.METRIC_DEPTH).mask[0, 0], depth == 5)
    if name.endswith("exr"):
        assert load_estimate(tmp_path / name, Quantity.RELATIVE_DEPTH).mask.sum() == 12


def test_a_phones_photograph_has_depth(tmp_path):
    pytest.importorskip("pillow_heif", reason="HEIC files need the package pillow-heif (extra 'heic')")
    levels = np.tile(np.arange(48, dtype=np.uint8) * 5, (32, 1))
    (tmp_path / "p.heic").write_bytes(heic_with_depth(np.full((64, 96, 3), (90, 120, 30), np.uint8), levels))
    np.testing.assert_allclose(read_image(tmp_path / "p.heic"), np.broadcast_to(np.array((90, 120, 30)) / 255, (64, 96, 3)), atol=0.02)
    estimate = load_estimate(tmp_path / "p.heic")
    assert estimate.quantity is Quantity.DISPARITY
    np.testing.assert_allclose(estimate.depth[0, 0], levels / 255, atol=0.01)
    import pillow_heif

    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(tmp_path / "plain.heic")
    with pytest.raises(FileFormatError, match="without depth"):
        load_estimate(tmp_path / "plain.heic")


def test_white_of_a_10_bit_photograph_is_white_and_opaque(tmp_path):
    library = pytest.importorskip("pillow_heif", reason="HEIC files need the package pillow-heif (extra 'heic')")
    white = np.full((64, 64, 4), 65535, np.uint16)
    library.from_bytes("RGBA;16", (64, 64), white.tobytes()).save(tmp_path / "w.heic", quality=-1)
    values, (colours, alpha) = read_values(tmp_path / "w.heic", "normals"), read_colours(tmp_path / "w.heic")
    assert values.known is None and alpha is None and min(float(values.planes.min()), float(colours.min())) > 0.9995


def test_what_a_missing_package_would_read_is_said(tmp_path, monkeypatch):
    (tmp_path / "p.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    for read in (read_image, load_estimate):
        with pytest.raises(ImportError, match='pip install "pillow-heif"'):
            read(tmp_path / "p.heic")


DEEP_AVIF = """
import sys, av, numpy as np
with av.open(sys.argv[1], "w", format="avif") as file:
    stream = file.add_stream("libsvtav1", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 120, np.uint8), format="rgb24").reformat(format="yuv420p10le")
    file.mux([*stream.encode(frame), *stream.encode(None)])
"""


def test_avif_is_read(tmp_path, caplog):
    from PIL import features

    if not ("avif" in features.modules and features.check("avif")):
        pytest.skip("this Pillow reads no AVIF")
    image = Image.new("RGB", (32, 24), (200, 30, 90))
    image.save(tmp_path / "a.avif", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.avif") * 255, np.broadcast_to((200, 30, 90), (24, 32, 3)), atol=4)
    image.save(tmp_path / "moving.avif", save_all=True, append_images=[Image.new("RGB", (32, 24))])
    assert is_still_image(tmp_path / "a.avif") and not is_still_image(tmp_path / "moving.avif")
    av = pytest.importorskip("av", reason="writes AVIF of 10 bits")
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV writes no AVIF of 10 bits")
    # SVT-AV1 gives the thread that starts it real-time priority, where it may (by root): all else would wait for what follows.
    subprocess.run([sys.executable, "-c", DEEP_AVIF, tmp_path / "deep.avif"], check=True)
    caplog.set_level("INFO")
    for name in ("a", "deep"):
        read_image(tmp_path / f"{name}.avif")
    assert [message.partition(",")[0] for message in caplog.messages] == [f"{tmp_path / 'deep.avif'}: an AVIF of 10 or 12 bits"]


@pytest.mark.parametrize("channels", [1, 3])
def test_of_several_images_in_a_tiff_of_floats_the_first_is_taken_and_said(tmp_path, caplog, channels):
    caplog.set_level("INFO")
    pages = [np.full((6, 8, channels), value, np.float32) for value in (2, 5)]
    for name, each in (("one.tif", pages[:1]), ("two.tif", pages)):
        assert cv2.imwritemulti(str(tmp_path / name), each)
    read_values(tmp_path / "one.tif")
    assert not caplog.text
    assert float(read_values(tmp_path / "two.tif").planes.max()) == pytest.approx(2, abs=0.1)  # LogLuv rounds
    assert "two.tif: of several images in the file the first is taken" in caplog.text


def test_a_grey_normal_map_keeps_its_alpha(tmp_path):
    """As those with y in red, green and blue, and x in alpha."""
    grey, alpha = np.full((6, 8), 90, np.uint8), np.full((6, 8), 200, np.uint8)
    Image.fromarray(np.dstack((grey, grey, grey, alpha))).save(tmp_path / "a.png")
    read = read_values(tmp_path / "a.png", NORMALS)
    assert read.planes.shape[1] == 4 and read.known is None
    assert read_values(tmp_path / "a.png").planes.shape[1] == 1
