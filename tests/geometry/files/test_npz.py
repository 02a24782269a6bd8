import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import FileFormatError, read_npz, write_npz
from tests.geometry.files.samples import assert_same_bits, full_estimate, refuses_content


@pytest.mark.parametrize("size", [(5, 7, 1), (1, 1, 1), (5, 1, 2), (1, 7, 3)])
def test_round_trip_is_bit_exact(tmp_path, size):
    estimate = full_estimate(*size)
    estimate.depth.view(-1)[:3] = torch.tensor([float("nan"), float("inf"), -0.0])[: estimate.depth.numel()]
    write_npz(tmp_path / "e.npz", estimate)
    assert_same_bits(read_npz(tmp_path / "e.npz"), estimate)
    assert list(tmp_path.iterdir()) == [tmp_path / "e.npz"]


FULL = full_estimate()


COLUMNS = full_estimate(5, 1, 2)
ALONE = {
    "depth": Estimate(FULL.depth, Quantity.DISPARITY),
    "normals": Estimate(normals=FULL.normals),
    "normals one pixel wide": Estimate(normals=COLUMNS.normals, mask=COLUMNS.mask),
}


@pytest.mark.parametrize("one", ALONE.values(), ids=ALONE)
def test_one_map_alone_is_enough(tmp_path, one):
    write_npz(tmp_path / "e.npz", one)
    assert_same_bits(read_npz(tmp_path / "e.npz"), one)


def test_numpy_sees_the_documented_keys_channel_last(tmp_path):
    estimate = full_estimate()
    write_npz(tmp_path / "e.npz", estimate)
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        maps = dict.fromkeys(("depth", "mask", "confidence"), (5, 7)) | {"normals": (5, 7, 3)}
        shapes = maps | {"quantity": (), "axes": (), "intrinsics": (3, 3), "extrinsics": (3, 4)}
        assert {key: value.shape for key, value in arrays.items()} == shapes
        assert (str(arrays["quantity"]), str(arrays["axes"]), arrays["mask"].dtype) == ("metric_depth", "scannet", bool)
        assert arrays["normals"][2, 4, 1] == estimate.normals[0, 1, 2, 4]


def test_the_tutorials_archive_is_read(tmp_path):
    # The tutorial stores ((-dz/dx, -dz/dy, 1) / length + 1) / 2 with y down the image, channels reversed.
    # Depth that grows to the right is a wall on the left: it faces right, which is minus in SCANNET's axes (+x left).
    # Depth that grows downwards is a ceiling: it faces down, which is minus where +y is up.
    depth = np.tile(np.linspace(0, 1, 9, dtype=np.float32), (6, 1))
    coded = np.zeros((6, 9, 3), np.float32)
    coded[:3] = (np.array([0.8, 0.0, -0.6]) + 1) / 2
    coded[3:] = (np.array([0.8, -0.6, 0.0]) + 1) / 2
    np.savez_compressed(tmp_path / "d.npz", dmap=depth, nmap=coded)
    estimate = read_npz(tmp_path / "d.npz")
    assert estimate.quantity is Quantity.RELATIVE_DEPTH
    assert estimate.mask is None
    np.testing.assert_array_equal(estimate.depth[0, 0], depth)
    opengl = convert_normals(estimate.normals, estimate.axes, Axes.OPENGL)
    torch.testing.assert_close(opengl[0, :, 0, 3], torch.tensor([0.6, 0.0, 0.8]))
    torch.testing.assert_close(opengl[0, :, 5, 3], torch.tensor([0.0, -0.6, 0.8]))


def test_a_metric_dmap_masks_the_background(tmp_path):
    np.savez(tmp_path / "d.npz", dmap=np.array([[2.5, 1e10], [0.0, np.nan]]))
    estimate = read_npz(tmp_path / "d.npz")
    assert estimate.quantity is Quantity.METRIC_DEPTH
    assert estimate.mask[0, 0].tolist() == [[True, False], [False, False]]
    assert estimate.depth.dtype == torch.float32


RAMP = np.tile(np.linspace(0.2, 0.8, 9, dtype=np.float32), (6, 1))
HOLED = np.where(np.arange(6)[:, None] > 1, RAMP, np.nan)
MASK = np.isfinite(HOLED)


@pytest.mark.parametrize(
    "arrays",
    [{"dmap": HOLED}, {"dmap": np.where(MASK, RAMP, -1), "mask": MASK}, {"dmap": np.dstack([HOLED] * 3 + [np.ones_like(RAMP)])}],
    ids=["NaN", "mask", "the viewer's four channels"],
)
def test_a_scaled_dmap_with_a_background_is_relative(tmp_path, arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    estimate = read_npz(tmp_path / "d.npz")
    assert estimate.quantity is Quantity.RELATIVE_DEPTH
    np.testing.assert_array_equal(estimate.depth[0, 0].numpy()[MASK], RAMP[MASK])
    np.testing.assert_array_equal(estimate.mask[0, 0], MASK)


def test_a_dmap_of_whole_numbers_needs_its_quantity(tmp_path):
    np.savez(tmp_path / "d.npz", dmap=(RAMP * 255).astype(np.uint8))
    with pytest.raises(FileFormatError, match="'dmap' holds whole numbers, whose unit is not stated"):
        read_npz(tmp_path / "d.npz")
    assert read_npz(tmp_path / "d.npz", "millimetres").depth.max() < 0.3


# A wall that faces the viewer and a floor, in x right, y up, z to the viewer, as the tutorial's colours z, y, x with x left.
WALLS = np.where(np.arange(6)[:, None, None] < 3, np.float32([0, 0, 1]), np.float32([0, 1, 0])) * np.ones((6, 9, 1), np.float32)
COLOURS = ((WALLS * (-1, 1, 1))[..., ::-1] + 1) / 2


@pytest.mark.parametrize("colours", [COLOURS, np.round(COLOURS * 255).astype(np.uint8), np.where(MASK[..., None], COLOURS, np.nan)])
def test_an_nmap_of_colours_is_decoded_whatever_its_type(tmp_path, colours):
    np.savez(tmp_path / "d.npz", dmap=RAMP, nmap=colours)
    estimate = read_npz(tmp_path / "d.npz")
    normals = convert_normals(estimate.normals, estimate.axes, Axes.OPENGL)[0].movedim(0, -1)
    seen = np.isfinite(np.asarray(colours, np.float32)).all(-1)
    np.testing.assert_allclose(normals[seen], WALLS[seen], atol=5e-3)
    assert not normals[~seen].any()


def test_an_nmap_of_vectors_is_of_the_world_unless_its_axes_are_named(tmp_path, caplog):
    """Of walls that face the viewer no number is negative."""
    for vectors in (WALLS, -WALLS):
        np.savez(tmp_path / "d.npz", dmap=RAMP, nmap=vectors)
        assert read_npz(tmp_path / "d.npz").normals is None and "world axes" in caplog.text
        np.testing.assert_array_equal(read_npz(tmp_path / "d.npz", axes=Axes.OPENCV).normals[0].movedim(0, -1), vectors)
        np.savez(tmp_path / "n.npz", nmap=vectors)
        with pytest.raises(FileFormatError, match="world axes"):
            read_npz(tmp_path / "n.npz")
        caplog.clear()


def test_depth_without_a_quantity_needs_to_be_told(tmp_path):
    np.savez(tmp_path / "e.npz", depth=np.ones((2, 2), np.float32))
    with pytest.raises(FileFormatError, match=r"'depth' without 'quantity'; name the quantity.*of `depth-normal convert` too"):
        read_npz(tmp_path / "e.npz")
    assert read_npz(tmp_path / "e.npz", quantity=Quantity.DISPARITY).quantity is Quantity.DISPARITY


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch exploded",))


def npy_header(shape, kind="<f4", version=(1, 0)):
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


ONES = np.ones((2, 3), np.float32)


test_damaged_and_hostile_archives_are_refused = refuses_content(
    "bad.npz",
    read_npz,
    (b"", "empty"),
    (b"PK\x03\x04 not a zip", "not a whole NumPy archive"),
    (npz(depth=ONES, quantity="disparity")[:-30], "not a whole NumPy archive"),
    (pickle.dumps(Bomb()), "not a whole NumPy archive"),
    (npz(depth=np.array([[Bomb()]], dtype=object), quantity="disparity"), "Python objects, which are never loaded"),
    (npz(depth=ONES, quantity=np.array(Bomb(), dtype=object)), "Python objects, which are never loaded"),
    (archive(depth=npy_header((2**20, 2**20))), "megapixels"),
    (archive(depth=npy_header((2**62, 2**62))), "megapixels"),
    (archive(normals=npy_header((20_000, 20_000, 3))), "megapixels"),
    (archive(**{key: npy_header((2**13, 2**13), "<f8") for key in ("depth", "confidence", "dmap", "intrinsics", "nmap")}), "in all maps"),
    (archive(depth=npy_header((2**12, 2**15)), normals=npy_header((2**12, 2**15, 3)), dmap=npy_header((1, 1))), "in all maps"),
    (archive(depth=npy_header("(4, 4")), "not a whole NumPy archive"),
    (b"PK\x03\x04" + bytes(6), "not a whole NumPy archive"),
    (archive(depth=npy_header((0, 5))), "empty: shape"),
    (archive(depth=npy_header((-1, 5))), "empty: shape"),
    (archive(depth=npy_header((4, 4)) + b"\0" * 10), "not a whole NumPy archive"),
    (archive(depth=npy_header("().__class__")), "not a whole NumPy archive"),
    (archive(depth=npy_header((4, 4), version=(9, 9))), "not a whole NumPy archive|version"),
    (npz(other=ONES), "neither depth nor normals"),
    (npz(dmap=np.random.default_rng(0).random((6, 8, 4))), r"'dmap' has shape \(6, 8, 4\); expected depth \(H, W\); of the channels"),
    (npz(dmap=ONES * 0, nmap=np.ones((2, 3, 3))), "'dmap' holds no depth: all values are 0"),
    (npz(dmap=ONES, nmap=ONES[..., None] * np.float32([128, 128, 255])), r"go from 128 to 255; a normal map stores colours in 0..1"),
    (
        npz(depth=ONES, quantity="furlongs"),
        r"bad.npz: quantity is 'furlongs'; accepted: metric_depth, scale_invariant_depth, relative_depth, disparity$",
    ),
    (npz(normals=np.ones((2, 3, 3), np.float32), axes="y"), r"bad.npz: axes is 'y'; accepted: opengl, directx"),
    (npz(depth=ONES, quantity=np.zeros(3)), "expected one short string"),
    (npz(depth=ONES.astype(complex), quantity="disparity"), "expected a float32 map"),
    (npz(depth=ONES[None, None], quantity="disparity"), r"expected \(H, W\)"),
    (npz(normals=ONES, axes="opengl"), r"expected \(H, W, 3\)"),
    (npz(normals=np.ones((2, 3, 4), np.float32)), r"expected \(H, W, 3\)"),
    (npz(depth=ONES, quantity="disparity", mask=ONES * 0.5), "expected a bool map"),
    (npz(depth=ONES, quantity="disparity", mask=np.ones((3, 3), bool)), r"bad.npz: Estimate.mask has shape"),
    (npz(depth=ONES, quantity="disparity", intrinsics=np.ones((2, 2))), r"bad.npz: intrinsics have shape"),
    (npz(depth=ONES, quantity="disparity", intrinsics=np.zeros((3, 3))), r"bad.npz: intrinsics are not a camera's"),
    (npz(depth=ONES, quantity="disparity", extrinsics=2 * np.eye(4)), r"bad.npz: extrinsics have shape"),
    (npz(depth=ONES, quantity="disparity", extrinsics=np.zeros((3, 4))), r"bad.npz: extrinsics do not place a camera"),
)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_holes_without_a_word(tmp_path):
    np.savez(tmp_path / "d.npz", depth=np.array([[1.0, 1e300, -1e300, np.nan]]), quantity="metric_depth")
    back = read_npz(tmp_path / "d.npz")
    assert back.depth.flatten().tolist()[:3] == [1, np.inf, -np.inf] and back.mask.flatten().tolist() == [True, False, False, False]


def test_cameras_and_masks_of_other_tools(tmp_path):
    """One camera for all frames, and rigid motions with their last row; a mask of zeros and ones in any type."""
    poses, mask = np.stack([np.eye(4, dtype=np.float32)] * 2), np.tile(np.float32([0, 1]), (2, 4, 3))
    poses[1, :3, 3] = 1, 2, 3
    np.savez(tmp_path / "m.npz", depth=np.ones((2, 4, 6)), intrinsics=np.diag((5.0, 6.0, 1.0)), extrinsics=poses, mask=mask)
    read = read_npz(tmp_path / "m.npz", Quantity.METRIC_DEPTH)
    assert read.intrinsics.shape == (2, 3, 3) and read.intrinsics[1].diagonal().tolist() == [5, 6, 1]
    np.testing.assert_array_equal(read.extrinsics, poses[:, :3])
    np.testing.assert_array_equal(read.mask[:, 0], mask > 0)


def test_intrinsics_in_shares_of_the_image_become_pixels(tmp_path):
    depth = np.full((120, 200), 2, np.float32)
    shares = np.array([[0.8, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]], np.float32)
    pixels = np.array([[160, 0, 99.5], [0, 156, 59.5], [0, 0, 1]], np.float32)
    for matrix in (shares, pixels):
        np.savez(tmp_path / "m.npz", depth=depth, intrinsics=matrix)
        np.testing.assert_allclose(read_npz(tmp_path / "m.npz", Quantity.METRIC_DEPTH).intrinsics[0], pixels, rtol=1e-6)


def test_channels_last_are_no_batch(tmp_path):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).random((40, 60, 4), np.float32))
    with pytest.raises(FileFormatError, match=r"shape \(40, 60, 4\)"):
        read_npz(tmp_path / "c.npy", Quantity.DISPARITY)
