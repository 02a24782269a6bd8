"""A model folder of no use, and engines in it that do not load: torch runs the model, or the engine is built anew."""

import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.model_loader import free
from depth_normal.model_loader.runtimes import build as build_job
from depth_normal.model_loader.runtimes import engine_store, onnx_runtime, openvino
from depth_normal.model_loader.runtimes.engine_store import RECORD

RUNTIMES = pytest.mark.parametrize("runtime", ["onnx", "openvino"])
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def left_to_torch(model, image, expected):
    return model.runtime == "torch" and torch.equal(model.estimate(image).depth, expected)


@RUNTIMES
def test_a_disk_that_is_full_in_the_middle_of_the_graph_leaves_the_model_to_torch(runtime, convolved, image, expected, monkeypatch, told):

    def half(_graph, path, _sides):
        path.write_bytes(b"half")
        raise FULL

    monkeypatch.setattr(build_job, "export_graph", half)
    assert left_to_torch(convolved.load(runtime), image, expected)
    (line,) = told()
    assert "cannot hold it: the disk is full: torch runs it" in line
    assert not [path for path in convolved.store.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_disk_that_is_full_in_the_middle_of_the_engine_leaves_the_model_to_torch_until_there_is_room(
    convolved, image, expected, monkeypatch, told
):
    write = Path.write_bytes

    def full(path, data):
        if path.name != openvino._BLOB:
            return write(path, data)
        write(path, bytes(data)[: len(data) // 2])
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert left_to_torch(convolved.load("openvino"), image, expected)
    assert "the disk is full" in told()[0] and not list(convolved.store.rglob(openvino._BLOB))
    free()
    assert convolved.load("openvino").runtime.startswith("OpenVINO") and convolved.exports == [None], "the graph was whole"


@pytest.fixture(params=["a file in its place", "refused by the system", "read-only"])
def closed(request, convolved, monkeypatch):
    """A model folder in which nothing can be made."""
    home = convolved.store.parent
    if request.param == "a file in its place":
        home.parent.mkdir(parents=True, exist_ok=True)
        home.write_text("?")
    elif request.param == "read-only":
        if not hasattr(os, "geteuid") or os.geteuid() == 0:
            pytest.skip("this user may write everywhere")
        home.mkdir(parents=True)
        home.chmod(0o500)
    else:
        if not Path("/proc/self").is_dir():
            pytest.skip("needs /proc")
        monkeypatch.setenv("DEPTH_NORMAL_HOME", "/proc/self/none")
    yield
    if request.param == "read-only":
        home.chmod(0o700)


@RUNTIMES
def test_a_folder_that_cannot_be_written_to_leaves_the_model_to_torch(runtime, convolved, image, expected, closed, told):
    assert left_to_torch(convolved.load(runtime), image, expected)
    (line,) = told()
    assert "runtimes" in line and "cannot hold it: " in line and line.endswith("torch runs it") and not convolved.exports


@RUNTIMES
def test_an_engine_in_a_folder_that_is_read_only_is_used(runtime, convolved, image, expected, monkeypatch, told):
    """As models lie in an image of a container: nothing is written, not even a lock."""
    convolved.load(runtime)
    free()

    refused = Mock(side_effect=PermissionError(errno.EROFS, os.strerror(errno.EROFS)))
    for name in ("mkdir", "write_bytes", "unlink", "touch"):
        monkeypatch.setattr(Path, name, refused)
    monkeypatch.setattr(engine_store, "locked", refused)
    model = convolved.load(runtime)
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-5) and model.runtime != "torch" and not told()


@pytest.mark.parametrize("again", [True, False], ids=["once", "for good"])
def test_an_engine_that_is_whole_and_does_not_load_is_built_anew(again, convolved, image, expected, monkeypatch, told):
    """As after an update of a driver that has the same name: its record holds, and the library refuses it."""
    convolved.load("openvino")
    (blob,) = convolved.store.rglob(openvino._BLOB)
    written = blob.stat().st_mtime_ns
    free()
    taken = openvino._imported

    def refused(core, folder, *more):
        if not again or (folder / openvino._BLOB).stat().st_mtime_ns == written:
            raise RuntimeError("Check 'version == 7' failed")
        return taken(core, folder, *more)

    monkeypatch.setattr(openvino, "_imported", refused)
    model = convolved.load("openvino")
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-5)
    assert (model.runtime != "torch") == again and "'version == 7' failed" in told()[0] and "built anew" in told()[0]
    assert convolved.exports == [None] and (blob.parent / RECORD).is_file()


def test_numbers_beyond_float16_are_computed_by_the_engine_in_float32(convolved, image, monkeypatch, told):
    """Then also its trial overflows, as torch itself does."""
    save_file({"weight": torch.ones(1, 3, 1, 1), "bias": torch.tensor([70000.0])}, convolved.weights)
    expected = convolved.load("torch").estimate(image).depth
    run, first = onnx_runtime._OnnxRunner.run, []

    def narrow(self, *given):
        first[:] = first or [self]
        found = run(self, *given)
        return tuple(each.half().float() for each in found) if self is first[0] else found

    monkeypatch.setattr(onnx_runtime._OnnxRunner, "run", narrow)
    model = convolved.load("onnx", "float16")
    assert torch.allclose(model.estimate(image).depth, expected)
    assert model.dtype == torch.float32 and "ONNX" in model.runtime
    assert any("Computed again in float32" in line for line in told())
