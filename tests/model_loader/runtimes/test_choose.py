"""Which runtime runs a model, and that torch takes over wherever one fails, with a line that says why."""

import errno
import gc
import os
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file

import depth_normal
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.model_loader import free
from depth_normal.model_loader.comfy import devices, interrupt
from depth_normal.model_loader.runtimes import build as build_job
from depth_normal.model_loader.runtimes import choose, engine, engine_store, onnx_runtime, openvino
from depth_normal.model_loader.runtimes.engine import UnusableError
from depth_normal.options.estimate import RUNTIME_CHOICES
from tests import graph_families

PACKAGES = ("onnx", "openvino")


@pytest.mark.parametrize(("runtime", "words"), [("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_an_engine_gives_what_torch_gives(runtime, words, convolved, image, expected):
    model = convolved.load(runtime)
    runs = convolved.family.runs
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-5)
    assert torch.allclose(model.estimate(image[:1, :, :, :32]).depth, expected[:1, :, :, :32], atol=1e-5), "of another size"
    assert convolved.family.runs == runs, "torch has nothing to do"
    assert words in model.runtime and "CPU" in model.runtime


def test_torch_compile_gives_what_torch_gives(convolved, image, expected, monkeypatch):
    """Convolutions of few numbers (above 20480 oneDNN does them) are compiled in another way: the first image would be compiled again."""
    seen = []
    # the compiler takes a minute, and is torch's own
    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda given: (seen.append(given.shape), module(given))[1])
    model = convolved.load("compile")
    assert seen == [(1, 3, 1, 32, 2, 32)], "in cells of 32; and not square: height and width would be taken for one number"
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-6) and model.runtime.startswith("torch.compile")


@pytest.mark.slow("takes most of a second")
def test_torch_compile_compiles_no_more_for_another_size(convolved, image, monkeypatch):
    """Each time takes a minute. torch 2.7 compiles a graph in two parts."""
    torch._dynamo.reset()  # of what other tests compiled
    monkeypatch.setattr(
        build_job.Job, "default_input_size", (96, 128)
    )  # one multiple alone would be compiled by itself, and so would few numbers
    compile_, made = torch.compile, []

    def backend(module, _inputs):
        made.append(module)
        return module.forward

    monkeypatch.setattr(torch, "compile", lambda module, **options: compile_(module, backend=backend, **options))
    monkeypatch.setattr(convolved.family, "predict", lambda self, inputs, _=(): (self.network(inputs),))  # a count would be a guard
    model = convolved.load("compile")
    large = image.repeat(1, 1, 3, 3)
    model.estimate(large[:1], 96)
    before = len(made)
    model.estimate(large[:1, :, :, :96], 96)
    together = model.estimate(large, 96).depth
    assert len(made) == before, "neither for another size nor for several images"
    torch.testing.assert_close(together[1:], model.estimate(large[1:], 96).depth)


def test_a_family_without_a_graph_is_run_by_torch(told):
    spec = MODELS["lotus-depth-g"]
    pytest.importorskip("onnxruntime")
    assert choose.usable_runtime("onnx", spec) == "torch"
    (line,) = told()
    assert "cannot be used" in line and FAMILIES[spec.family].why_no_graph(spec) in line and "torch runs it" in line


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match="'tensorflow'; accepted: torch, compile, onnx, openvino, auto, fast"):
        depth_normal.load_model("tiny", runtime="tensorflow")


def another_result(patch, _weights):
    run = onnx_runtime._OnnxRunner.run
    patch.setattr(onnx_runtime._OnnxRunner, "run", lambda *given: tuple(1.2 * each for each in run(*given)))


def full_disk(patch, name):
    """It takes half of the file of this name."""

    def half(path, data):
        if path.name != name:
            return write(path, data)
        write(path, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write = Path.write_bytes
    patch.setattr(Path, "write_bytes", half)
    if name == build_job.GRAPH_FILE:
        patch.setattr(build_job, "export_graph", lambda _graph, path, _sides: path.write_bytes(b"a graph"))


@pytest.mark.parametrize(
    ("runtime", "trouble", "words"),
    [
        ("openvino", lambda patch, _: patch.setattr(choose, "find_spec", lambda _: None), 'pip install "openvino" "onnx" "onnxscript"'),
        ("onnx", another_result, "computes something else than torch"),
        ("openvino", lambda patch, _: patch.setitem(openvino._CAPABILITIES, torch.float32, "FP4711"), "does not compute in float32"),
        ("onnx", lambda patch, _: full_disk(patch, build_job.GRAPH_FILE), "cannot hold it: the disk is full"),
        ("openvino", lambda patch, _: full_disk(patch, openvino._BLOB), "cannot hold it: the disk is full"),
        *(
            (runtime, lambda patch, weights: patch.setenv("DEPTH_NORMAL_HOME", str(weights)), "runtimes/convolved cannot hold it: ")
            for runtime in PACKAGES
        ),
    ],
)
def test_torch_runs_the_model_and_a_line_says_why_until_it_is_mended(runtime, trouble, words, convolved, image, expected, told):
    with pytest.MonkeyPatch.context() as patch:
        trouble(patch, convolved.weights)
        model = convolved.load(runtime)
    assert model.runtime == "torch" and torch.equal(model.estimate(image).depth, expected)
    assert words in "\n".join(told()) and told()[-1].endswith("torch runs it")
    free()
    assert convolved.load(runtime).runtime != "torch" and convolved.exports == [None]


@pytest.mark.parametrize("runtime", PACKAGES)
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
    assert convolved.exports == [None] and (blob.parent / engine_store.RECORD).is_file()


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
    assert any("computed again in float32" in line for line in told())


def test_what_fails_while_it_runs_is_left_to_torch_for_good(convolved, image, expected, monkeypatch, told):
    model = convolved.load("onnx")
    assert model.engine.runtime == "onnx"

    monkeypatch.setattr(onnx_runtime._OnnxRunner, "run", Mock(side_effect=RuntimeError("the driver\nis gone")))
    for _ in range(2):
        assert torch.allclose(model.estimate(image).depth, expected, atol=1e-6)
    assert model.runtime == model.engine.runtime == "torch"
    (line,) = told()
    assert "the driver is gone" in line and "torch runs it from now on" in line


def test_want_of_memory_makes_fewer_images_at_once_not_torch(convolved, image, expected, monkeypatch):
    model = convolved.load("onnx")
    run = onnx_runtime._OnnxRunner.run

    def small(self, pixels, scalar_inputs):
        if len(pixels) > 1:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1")
        return run(self, pixels, scalar_inputs)

    monkeypatch.setattr(onnx_runtime._OnnxRunner, "run", small)
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-5)
    assert "ONNX" in model.runtime


def test_a_graph_of_one_size_has_an_engine_for_each_of_the_first_sizes(convolved, image, monkeypatch, told):
    monkeypatch.setattr(convolved.family, "dynamic_size", False)
    model = convolved.load("onnx")
    assert not convolved.exports, "it depends on the images"
    for width in (32, 64, 96, 128, 128):
        assert model.estimate(image[:1, :, :, :32].repeat(1, 1, 1, width // 32)).depth.shape[-1] == width
    assert convolved.exports == [(32, 32), (32, 64), (32, 96)]
    (line,) = told()
    assert "engines for 3 sizes" in line


def test_an_engine_is_given_back_and_started_again_from_the_store(convolved, image, expected):
    model = convolved.load("onnx")
    engine = model.annotator.engine
    runner = weakref.ref(engine._runners[None])
    assert engine.size > 0 and engine.placed.state_dict()["engine"].nbytes == engine.size
    model.unload()
    gc.collect()
    assert runner() is None and engine.size == 0
    assert torch.allclose(model.estimate(image).depth, expected, atol=1e-5)
    assert convolved.exports == [None], "the graph was kept"


class CancelledError(Exception):
    """ComfyUI's, in older versions."""


def test_cancel_while_building_is_no_failure(convolved, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(devices, "memory_manager", lambda: None)

    def cancelled():
        monkeypatch.setattr(devices, "memory_manager", lambda: SimpleNamespace(InterruptProcessingException=CancelledError))
        raise CancelledError

    def slow_export(*_):
        time.sleep(0.4)
        raise UnusableError("nobody waits for it")

    monkeypatch.setattr(interrupt, "throw_if_interrupted", cancelled)
    monkeypatch.setattr(build_job, "export_graph", slow_export)
    annotator = convolved.family(MODELS["convolved"], torch.nn.Conv2d(3, 1, 1))
    with pytest.raises(CancelledError):
        choose.with_runtime(annotator, "onnx", "digest", torch.float32, torch.device("cpu"))


def test_cancel_while_an_engine_runs_is_no_failure_of_the_engine(convolved, image, monkeypatch):
    model = convolved.load("onnx")
    words = model.runtime
    with monkeypatch.context() as patch, pytest.raises(CancelledError):
        patch.setattr(onnx_runtime._OnnxRunner, "run", Mock(side_effect=CancelledError))
        patch.setattr(engine, "interrupt", SimpleNamespace(is_interruption=lambda error: isinstance(error, CancelledError)))
        model.annotator.estimate(image)
    assert model.runtime == words != "torch"


def test_the_choices_are_the_modules():
    assert set(choose._MODULES) == set(RUNTIME_CHOICES) - {"torch", "auto", "fast"}


@pytest.mark.skipif(**graph_families.OLD_EXPORTER)
@pytest.mark.slow("exports a network to ONNX")
def test_an_engine_gives_the_image_the_normals_and_the_camera_that_torch_gives(caches, tmp_path):
    """MoGe-2: depth, normals, mask and camera, told the image's aspect beside it; both engines take the one graph."""
    for package in ("onnxruntime", "openvino", "onnxscript"):
        pytest.importorskip(package)
    with graph_families.loaded("moge", tmp_path) as load:
        by_torch = load("torch")
        for runtime, words in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
            model = load(runtime)
            largest, mean, degrees = graph_families.end_to_end(by_torch, model, "moge")
            assert largest <= 1 and mean < 0.1 and degrees < 0.1
            assert model.runtime.startswith(words), "and torch has not taken over"
