import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import FORMATS, FileFormatError, SaveOptions, load_estimate, save_estimate
from depth_normal.geometry.files.image_files import image_bits, image_size, is_still_image
from depth_normal.options.outputs import READABLE, SURFACES, WRITTEN
from tests.geometry.files.samples import full_estimate


def unmasked(batch=1):
    return replace(full_estimate(batch=batch), mask=None, axes=Axes.OPENGL, extrinsics=None)


@pytest.fixture(params=list(WRITTEN))
def suffix(request):
    if request.param == ".exr":
        pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")
    return request.param


def test_each_extension_has_what_reads_and_writes_it():
    assert tuple(suffix for suffix, each in FORMATS.items() if each.read) == READABLE
    assert tuple(suffix for suffix, each in FORMATS.items() if each.write) == WRITTEN
    assert set(SURFACES) == {suffix for suffix, each in FORMATS.items() if each.surface}


def test_every_format_writes_and_the_readable_ones_read_back(tmp_path, suffix):
    estimate = unmasked()
    paths = save_estimate(tmp_path / f"map{suffix.upper()}", estimate, SaveOptions(image=torch.rand(1, 3, 5, 7)))
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(path.stat().st_size for path in paths)
    if FORMATS[suffix].read is None:
        with pytest.raises(FileFormatError, match="not read from"):
            load_estimate(paths[0])
        return
    back = load_estimate(paths[0])
    assert back.quantity is Quantity.METRIC_DEPTH
    torch.testing.assert_close(back.depth, estimate.depth, atol=1e-5, rtol=0)
    assert back.normals is not None or len(paths) == 2, "normals are written, too: in the file, or in a second one (`one_map`)"
    normals = back.normals if back.normals is not None else load_estimate(paths[1]).normals
    torch.testing.assert_close(normals, estimate.normals, atol=5e-5, rtol=0)


@pytest.mark.parametrize("suffix", [suffix for suffix, each in FORMATS.items() if each.one_map and each.write])
def test_normals_alone_take_the_name_itself(tmp_path, suffix):
    estimate = Estimate(normals=unmasked().normals)
    assert save_estimate(tmp_path / f"n{suffix}", estimate) == (tmp_path / f"n{suffix}",)
    torch.testing.assert_close(load_estimate(tmp_path / f"n{suffix}").normals, estimate.normals, atol=5e-5, rtol=0)


def test_of_two_files_both_appear_or_none(tmp_path):
    (tmp_path / "map_normals.png").mkdir()
    with pytest.raises(OSError):
        save_estimate(tmp_path / "map.png", unmasked())
    assert list(tmp_path.iterdir()) == [tmp_path / "map_normals.png"]


def test_batches_go_to_one_npz_only(tmp_path, suffix):
    estimate = unmasked(batch=2)
    if FORMATS[suffix].batches:
        assert load_estimate(save_estimate(tmp_path / f"map{suffix}", estimate)[0]).batch == 2
    else:
        with pytest.raises(ValueError, match=f"a {suffix} file holds one image, the batch has 2"):
            save_estimate(tmp_path / f"map{suffix}", estimate)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".ply", ".glb"])
def test_what_a_format_cannot_hold_writes_nothing(tmp_path, suffix):
    masked = replace(unmasked(), mask=torch.zeros(1, 1, 5, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="no pixel has a"):
        save_estimate(tmp_path / f"map{suffix}", masked)
    assert list(tmp_path.iterdir()) == []


def test_zero_is_a_value_of_a_pfms_disparity(tmp_path):
    save_estimate(tmp_path / "d.pfm", Estimate(torch.tensor([[[[2.0, 0.0, float("inf")]]]]), Quantity.METRIC_DEPTH))
    disparity = load_estimate(tmp_path / "d.pfm", quantity=Quantity.DISPARITY)
    assert disparity.quantity is Quantity.DISPARITY and disparity.mask.flatten().tolist() == [True, True, False]


def test_a_pfm_has_opengl_axes_the_mask_and_no_unit(tmp_path):
    normals = unmasked().normals
    mask = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    mask[..., 0] = False
    save_estimate(tmp_path / "n.pfm", Estimate(normals=convert_normals(normals, "opengl", "opencv"), axes=Axes.OPENCV, mask=mask))
    back = load_estimate(tmp_path / "n.pfm")
    assert back.axes is Axes.OPENGL
    torch.testing.assert_close(back.normals, normals * mask)
    disparity = torch.rand(1, 1, 5, 7)
    save_estimate(tmp_path / "d.pfm", Estimate(disparity, Quantity.DISPARITY, mask=mask))
    with pytest.raises(FileFormatError, match="values lie within 0"):
        load_estimate(tmp_path / "d.pfm")
    back = load_estimate(tmp_path / "d.pfm", Quantity.DISPARITY)
    assert back.quantity is Quantity.DISPARITY and torch.equal(back.mask, mask) and torch.equal(back.depth[mask], disparity[mask])


def test_unknown_extensions_are_named_with_the_known_ones(tmp_path):
    for function, words in ((lambda path: save_estimate(path, unmasked()), WRITTEN), (load_estimate, READABLE)):
        for name, kind in (("map.xyz", "'.xyz' files"), ("map", "files without an extension"), ("", "folders")):
            with pytest.raises(FileFormatError, match=rf"{kind}; accepted: {', '.join(words)}$"):
                function(tmp_path / name)


def test_what_is_no_file_of_the_format_is_refused(tmp_path, suffix):
    if FORMATS[suffix].read is None:
        return
    with pytest.raises(FileNotFoundError):
        load_estimate(tmp_path / f"none{suffix}")
    (tmp_path / f"html{suffix}").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(FileFormatError, match="html"):
        load_estimate(tmp_path / f"html{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", READABLE)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, suffix):
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for read in (load_estimate, image_size, image_bits):
        with pytest.raises(FileFormatError, match="not a file"):
            read(pipe)
    assert not FORMATS[suffix].is_likely(pipe) and not is_still_image(pipe)


@pytest.mark.parametrize(
    ("name", "unit", "metre"), [*((f"d.{kind}", "millimetres", 1000) for kind in ("png", "tif", "npy")), ("d.png", "kitti", 256)]
)
def test_whole_numbers_are_read_in_the_named_unit(tmp_path, name, unit, metre):
    levels, path = np.array([[0, 1, 1500], [2000, 40000, 65535]], np.uint16), tmp_path / name
    np.save(path, levels) if name == "d.npy" else Image.fromarray(levels).save(path)
    estimate = load_estimate(path, unit)
    np.testing.assert_allclose(estimate.depth[0, 0], levels / metre, rtol=1e-6)
    assert estimate.quantity is Quantity.METRIC_DEPTH and estimate.mask[0, 0].tolist() == (levels > 0).tolist()
    accepted = "metric_depth, scale_invariant_depth, relative_depth, disparity, millimetres, kitti"
    with pytest.raises(ValueError, match=f"quantity is 'feet'; accepted: {accepted}$"):
        load_estimate(path, "feet")


def test_millimetres_are_of_depth_that_states_no_unit(tmp_path):
    """Whatever else is in the file stays."""
    own = Estimate(torch.rand(2, 1, 5, 7) + 1, Quantity.METRIC_DEPTH, intrinsics=50 * torch.eye(3)[None].repeat(2, 1, 1))
    save_estimate(tmp_path / "own.npz", own)
    found = load_estimate(tmp_path / "own.npz", "millimetres")
    assert torch.equal(found.depth, own.depth) and torch.equal(found.intrinsics, own.intrinsics)
    np.savez(tmp_path / "other.npz", depth=np.full((4, 5), 1500.0, np.float32), normals=np.full((4, 5, 3), 3**-0.5, np.float32))
    found = load_estimate(tmp_path / "other.npz", "millimetres")
    assert found.normals is not None and found.depth.unique().tolist() == pytest.approx([1.5])


def test_millimetres_of_8_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.uint8)).save(tmp_path / "d.png")
    with pytest.raises(FileFormatError, match="8 bits are too few for millimetres"):
        load_estimate(tmp_path / "d.png", "millimetres")
