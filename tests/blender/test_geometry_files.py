import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SPEC = importlib.util.spec_from_file_location("blender_geometry_files", Path(__file__).parents[2] / "blender" / "geometry_files.py")
files = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = files
SPEC.loader.exec_module(files)


INTRINSICS = np.array([[4.0, 0, 2], [0, 6, 3], [0, 0, 1]])


@pytest.fixture
def openexr():
    return pytest.importorskip("OpenEXR", reason="needs the package OpenEXR, the reference reader and writer")


def maps(height=37, width=53):
    numbers = np.random.default_rng(0).standard_normal((height, width, 2), np.float32)
    return {"Z": numbers[..., 0], "N.X": numbers[..., 1], "mask": np.zeros((height, width), np.float32)}


def write(path, height=37, width=53):
    files.write_exr(path, maps(height, width), "metric_depth", "opengl", INTRINSICS)
    return path


def test_openexr_reads_what_is_written(openexr, tmp_path):
    with openexr.File(str(write(tmp_path / "a.exr")), separate_channels=True) as file:
        header, channels = file.header(), file.channels()
        assert (header["depthNormalQuantity"], header["depthNormalAxes"]) == ("metric_depth", "opengl")
        np.testing.assert_array_equal(np.reshape(header["depthNormalIntrinsics"], (3, 3)), INTRINSICS)
        assert header["pixelAspectRatio"] == 1.5
        for name, values in maps().items():
            np.testing.assert_array_equal(channels[name].pixels, values, strict=True)


@pytest.mark.parametrize("compression", ["NO", "ZIPS", "ZIP"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_openexr_writes_is_read(openexr, tmp_path, compression, dtype):
    header = {"compression": getattr(openexr, f"{compression}_COMPRESSION"), "type": openexr.scanlineimage, "note": "here"}
    written = {name: values.astype(dtype if name == "Z" else np.float32) for name, values in maps().items()}
    openexr.File(header, dict(written)).write(str(tmp_path / "b.exr"))
    read, attributes = files.read_exr(tmp_path / "b.exr")
    assert read.keys() == written.keys()
    assert attributes["note"] == b"here"
    for name, values in written.items():
        np.testing.assert_array_equal(read[name], values.astype(np.float32))


@pytest.mark.parametrize("data", [(3, 2, 6, 5), (-4, -3, 12, 9), (-4, 2, 6, 9)])
def test_data_is_placed_in_the_display_window(openexr, tmp_path, data):
    left, top, right, bottom = data
    windows = {
        name: tuple(np.reshape(box, (2, 2)).astype(np.int32)) for name, box in (("dataWindow", data), ("displayWindow", (0, 0, 9, 7)))
    }
    rows, columns = np.mgrid[top : bottom + 1, left : right + 1]
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, **windows}
    openexr.File(header, {"Z": (20 * rows + columns).astype(np.float32)}).write(str(tmp_path / "e.exr"))
    rows, columns = np.mgrid[:8, :10]
    inside = (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)
    np.testing.assert_array_equal(files.read_exr(tmp_path / "e.exr")[0]["Z"], np.where(inside, 20 * rows + columns, np.nan))


def test_other_compressions_are_named(openexr, tmp_path):
    openexr.File({"compression": openexr.PIZ_COMPRESSION, "type": openexr.scanlineimage}, maps()).write(str(tmp_path / "c.exr"))
    with pytest.raises(files.MapFileError, match="PIZ"):
        files.read_exr(tmp_path / "c.exr")


def test_every_cut_of_an_exr_and_an_absurd_size_are_refused(tmp_path):
    path = write(tmp_path / "a.exr", 20, 7)
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(files.MapFileError):
            files.read_exr(path)
    path.write_bytes(data.replace(np.array([0, 0, 6, 19], "<i4").tobytes(), np.array([0, 0, 2**30, 2**30], "<i4").tobytes()))
    with pytest.raises(files.MapFileError, match="megapixels"):
        files.read_exr(path)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.npz"
    files.write_npz(path, {"depth": np.ones(3)})
    before = path.read_bytes()

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(files.MapFileError, match="No space left"):
        files.write_atomically(path, fail)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]
