"""Running in as few forwards as the memory allows, converting and resizing part by part, letting go."""

import logging
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

import depth_normal
from depth_normal.annotators import registry
from depth_normal.annotators.preprocessing.resizing import Fit, Resizing
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader import Model, free, load_model
from depth_normal.model_loader.comfy import devices, interrupt
from depth_normal.model_loader.inference import network as network_module
from depth_normal.model_loader.inference.memory_budget import BytesPerPixel
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.utils import check_images, images_to_rgb
from tests import graph_families as SHRUNK
from tests.whole_files import Stop


def make_images(count, height=32, width=64):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))


@pytest.fixture
def room_for(family):
    """Bytes that as many images take whose network sees them as they are."""
    return lambda count: int(count * 32 * 64 * (family.bytes_per_pixel + BytesPerPixel.IMAGE_ON_DEVICE))


def expected(images):
    return 1 + 0.5 * images[:, :1] + 0.25 * images[:, 1:2] + 0.25 * images[:, 2:]


def test_autocast_of_the_caller_changes_no_estimate():
    model, images = load_model("tiny", device="cpu"), make_images(1)

    def estimates():
        return model.estimate(images, 64), *model.estimates(images, 64), *model.estimate_video([images], size=64)

    plain = estimates()
    with torch.autocast("cpu", torch.bfloat16):
        cast = estimates()
    for one, other in zip(plain, cast, strict=True):
        torch.testing.assert_close(other.maps, one.maps)


def test_a_model_says_why_it_is_not_pickled(load):
    with pytest.raises(TypeError, match=r"call depth_normal\.load_model"):
        pickle.dumps(load())


@pytest.mark.parametrize(("room", "batches"), [(99, [7]), (3.9, [3, 3, 1]), (0, [1] * 7)])
def test_a_batch_is_one_forward_or_split_for_memory_alone(load, room_for, family, monkeypatch, room, batches):
    images, steps = make_images(7), []
    monkeypatch.setattr(devices, "available_memory", lambda _device: room_for(room))
    estimate = load().estimate(images, 32, progress=lambda done, total: steps.append((done, total)))
    assert family.batches == batches
    assert steps == [(sum(batches[: i + 1]), 7) for i in range(len(batches))]
    assert torch.allclose(estimate.depth, expected(images), atol=1e-5) and estimate.depth.dtype == torch.float32
    assert estimate.quantity is Quantity.DISPARITY and isinstance(estimate, depth_normal.Estimate)


def test_large_images_count_not_only_the_networks_input(load, family, monkeypatch):
    images = make_images(8, 64, 128)  # four times what the network sees
    each = 32 * 64 * family.bytes_per_pixel + 64 * 128 * BytesPerPixel.IMAGE_ON_DEVICE
    monkeypatch.setattr(devices, "available_memory", lambda _device: 3 * each)
    load().estimate(images, 32)
    assert family.batches == [3, 3, 2]


def test_a_file_and_an_image_of_pil_are_the_array_in_them(load, tmp_path):
    pixels = (make_images(1)[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    turned = Image.fromarray(np.rot90(pixels).copy())
    turned.getexif()[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    turned.save(tmp_path / "a.png", exif=turned.getexif())
    depth = load().estimate(pixels, 32).depth
    for image in (str(tmp_path / "a.png"), tmp_path / "a.png", Image.open(tmp_path / "a.png"), Image.fromarray(pixels).convert("RGBA")):
        torch.testing.assert_close(load().estimate(image, 32).depth, depth, atol=1e-5, rtol=0)
    grey = pixels[..., 0] / np.float32(255)
    torch.testing.assert_close(load().estimate(Image.fromarray(grey), 32).depth, load().estimate(grey, 32).depth)
    for numbers, error, words in ((grey * 255, ValueError, "divide what is 0..255"), (grey.astype(np.int32), TypeError, "array of int32")):
        with pytest.raises(error, match=words):
            load().estimate(Image.fromarray(numbers), 32)
    with pytest.raises(TypeError, match=r"numpy\.stack"):
        load().estimate([pixels], 32)


def test_out_of_memory_halves_the_batch_and_what_fitted_is_remembered(load, family, caplog):
    model = load()

    def batches_of(images, size=32):
        family.batches.clear()
        caplog.clear()
        found = model.estimate(images, size).depth
        assert size != 32 or torch.allclose(found, expected(images), atol=1e-5)
        return family.batches

    family.memory = 3
    with caplog.at_level(logging.WARNING):
        assert batches_of(make_images(8)) == [2] * 4  # 8 -> 4 -> 2
        assert "continuing with batches of 4: weighted at 64x32 on cpu" in caplog.text
    assert batches_of(make_images(4)) == [2, 2]
    assert not caplog.text, "no second attempt at what did not fit"
    assert batches_of(make_images(3, 16, 32), 16) == [3], "smaller images may fit all the same"
    family.memory = 1000
    model.unload()
    assert batches_of(make_images(8)) == [8]


@pytest.mark.parametrize("fits", [1, 0])
def test_what_did_not_fit_is_gone_when_the_memory_is_emptied(load, family, monkeypatch, fits):
    held, alive = [], []

    def infer_resized(self, pixels, request=None):
        features = pixels * 2
        held[:] = [weakref.ref(pixels), weakref.ref(features)]
        try:
            return family.infer_resized(self, pixels, request)
        except torch.OutOfMemoryError as error:
            raise RuntimeError("CUDA error: out of memory") from error  # libraries dress it up

    monkeypatch.setattr(devices, "empty_cache", lambda: alive.append([each() for each in held]))
    monkeypatch.setattr(family, "memory", fits)
    model = load()
    model.annotator.__class__ = type("Holding", (family,), {"infer_resized": infer_resized})
    if fits:
        model.estimate(make_images(2), 32)
    else:
        with pytest.raises(MemoryError, match="weighted at 64x32 does not fit in the memory of cpu: lower size, or free"):
            model.estimate(make_images(1), 32)
    assert alive == [[None, None]]


def test_a_batch_is_converted_derived_and_resized_part_by_part(load, room_for, family, monkeypatch):
    converted, derived = [], []
    monkeypatch.setattr(network_module, "images_to_rgb", lambda part: converted.append(len(part)) or images_to_rgb(part))
    monkeypatch.setattr(devices, "available_memory", lambda _device: room_for(2))
    images = np.random.default_rng(0).integers(0, 255, (5, 32, 64, 3), np.uint8)
    estimate = load().estimate(images, 32, derive=lambda part: derived.append((part.batch, len(converted))) or part)
    assert converted == [2, 2, 1]
    assert derived == [(2, 1), (2, 2), (1, 3)], "each part is finished before the next begins"
    assert torch.allclose(estimate.depth, expected(images_to_rgb(check_images(images))), atol=1e-5)


@pytest.fixture
def too_large(family, monkeypatch):
    """Makes the family's numbers too large for half precision, as those of some checkpoints are."""

    class TooLarge(family):
        dtypes: ClassVar = []

        def infer_resized(self, pixels, request=None):
            dtype = next(self.network.parameters()).dtype
            self.dtypes.append(dtype)
            depth = (super().infer_resized(pixels, request).depth * 60000).to(dtype).float()
            return Estimate(depth=depth, quantity=Quantity.DISPARITY)

    monkeypatch.setitem(registry.FAMILIES, "weighted", TooLarge)
    return TooLarge


def test_what_half_precision_cannot_hold_is_computed_in_float32_from_then_on(load, room_for, too_large, monkeypatch, caplog):
    monkeypatch.setattr(devices, "available_memory", lambda _device: room_for(2))
    images = make_images(4)
    model = load(dtype="float16")
    built, unloaded = too_large.built, []
    monkeypatch.setattr(model._network.current.placement, "unload", lambda: unloaded.append(too_large.built))
    estimate = model.estimate(images, 32)
    assert unloaded == [built], "the half network leaves the device before the other is read"
    assert torch.equal(estimate.depth, load(dtype="float32").estimate(images, 32).depth), "the file's float32, not the rounded weights"
    assert too_large.dtypes[:3] == [torch.float16, torch.float32, torch.float32]
    assert model.dtype == torch.float32
    assert load(dtype="float16") is model
    model.estimate(images, 32)
    assert torch.float16 not in too_large.dtypes[1:]
    (warning,) = [record for record in caplog.records if "not finite" in record.message]
    assert "weighted in torch.float16 gave depth that is not finite" in warning.message
    assert "computed again in float32" in warning.message


def test_a_model_with_another_resizing_stays_in_float32_with_its_origin(load, too_large, caplog):
    images, resizing = make_images(2), Resizing(Fit.STRETCHED)
    origin = load(dtype="float16")
    for _ in range(2):  # as the old nodes do it at each run
        other = origin.with_resizing(resizing)
        assert torch.equal(other.estimate(images, 32).depth, load(dtype="float32").with_resizing(resizing).estimate(images, 32).depth)
        assert other.dtype == origin.dtype == torch.float32
    assert len([record for record in caplog.records if "not finite" in record.message]) == 1


@pytest.mark.parametrize("shareable", [True, False])
def test_threads_that_overflow_at_once_read_the_file_once(load, too_large, monkeypatch, caplog, shareable):
    """Each network of its own then has the same float32 weights again."""
    read, reads, met = read_checkpoint, [], threading.Barrier(4)
    monkeypatch.setattr("depth_normal.model_loader.load.read_checkpoint", lambda path: reads.append(path) or read(path))
    monkeypatch.setattr(too_large, "shareable", shareable)
    model, images = load(dtype="float16"), make_images(1)
    models = [model.for_another_thread() for _ in range(4)]
    models[3] = models[3].with_resizing(Resizing(Fit.STRETCHED))
    infer_resized, half = too_large.infer_resized, set()

    def all_at_once(annotator, pixels, request):
        if annotator.dtype == torch.float16:
            half.add(annotator.network)
            met.wait(timeout=60)
        return infer_resized(annotator, pixels, request)

    monkeypatch.setattr(too_large, "infer_resized", all_at_once)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: each.estimate(images, 32).depth, models))
    assert len(reads) == 2, "once in each dtype"
    assert len(half) == (1 if shareable else 4)
    assert len([record for record in caplog.records if "not finite" in record.message]) == 1
    assert {each.dtype for each in (model, *models)} == {torch.float32}
    networks = {each.network for each in models}
    assert len(networks) == (1 if shareable else 4)
    assert len({each.weight.data_ptr() for each in networks}) == 1, "no weight is held twice"
    expected = load(dtype="float32").estimate(images, 32).depth
    assert all(torch.equal(each, expected) for each in found[:3])


def test_what_float32_cannot_hold_either_is_an_error(load, too_large, monkeypatch):
    infinite = Estimate(depth=torch.full((1, 1, 32, 64), torch.inf), quantity=Quantity.DISPARITY)
    monkeypatch.setattr(too_large, "infer_resized", lambda *_: infinite)
    for dtype in ("float16", "float32"):
        with pytest.raises(ArithmeticError, match=r"weighted in torch\.float32 gave depth that is not finite: check the weights file"):
            load(dtype=dtype).estimate(make_images(1), 32)


@pytest.fixture
def of_scenes(family, monkeypatch):
    """Makes the family one that sees a batch as views of one scene."""

    class Scenes(registry.FAMILIES["weighted"]):
        @classmethod
        def sees_scenes(cls, spec):
            return True

        def estimate_scene(self, images, size=None, *, fov=0.0, progress=None):
            self.check_scene(len(images), *images.shape[-2:], size)
            found = self.estimate(images, size, fov=fov)
            return replace(found, extrinsics=torch.eye(3, 4).repeat(found.batch, 1, 1))

    monkeypatch.setitem(registry.FAMILIES, "weighted", Scenes)
    return Scenes


def test_views_of_one_scene_are_one_forward_whatever_the_memory(load, of_scenes, monkeypatch):
    monkeypatch.setattr(devices, "available_memory", lambda _device: 0)
    asked, steps, derived, images, model = [], [], [], make_images(5, 50, 70), load()
    ready = model._network.current.placement.ready
    monkeypatch.setattr(model._network.current.placement, "ready", lambda room: asked.append(room) or ready(room))
    scene = model.estimate_scene(
        images, 32, lambda done, total: steps.append((done, total)), fov=60.0, derive=lambda part: derived.append(part.height) or part
    )
    assert of_scenes.batches == [5] and len(derived) == 1 and derived[0] < 50 and steps == [(5, 5)]
    assert asked == [5 * model.working_bytes(50, 70, 32)], "room for all of them"
    assert scene.depth.shape == (5, 1, 50, 70) and scene.extrinsics.shape == (5, 3, 4) and scene.intrinsics.shape == (5, 3, 3)
    assert torch.allclose(scene.depth, model.estimate(images, 32).depth, atol=1e-5)


def test_views_of_one_scene_that_half_precision_cannot_hold_are_computed_in_float32(load, too_large, of_scenes):
    scenes = [load(dtype=dtype).estimate_scene(make_images(3), 32) for dtype in ("float16", "float32")]
    assert torch.equal(scenes[0].depth, scenes[1].depth) and too_large.dtypes == [torch.float16, torch.float32, torch.float32]


def test_views_of_one_scene_are_never_halved(load, of_scenes, caplog):
    of_scenes.memory = 3
    words = "4 views of one scene, which weighted processes in one batch, do not fit in the memory of cpu at 64x32 each: give fewer views"
    with pytest.raises(MemoryError, match=words):
        load().estimate_scene(make_images(4), 32)
    assert of_scenes.batches == [] and not [record for record in caplog.records if record.levelno > logging.INFO]
    assert load().estimate_scene(make_images(3), 32).batch == 3
    assert load().estimate(make_images(4), 32).batch == 4


def test_views_are_refused_before_anything_runs(load, family, of_scenes, monkeypatch):
    with pytest.raises(ValueError, match=r"views of one scene.*more than 64 megapixels"):
        load().estimate_scene(torch.rand(1, 3, 1, 1).expand(2000, 3, 1, 1), 256)
    monkeypatch.setattr(of_scenes, "sees_scenes", family.sees_scenes)
    with pytest.raises(ValueError, match=r"weighted estimates each image independently; .*: depth-anything-3-small"):
        load().estimate_scene(make_images(2), 32)
    assert family.batches == []


def test_another_error_is_not_taken_for_want_of_memory(load, family, monkeypatch):
    model = load()
    monkeypatch.setattr(family, "infer_resized", Mock(side_effect=RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        model.estimate(make_images(2), 32)


def test_an_interruption_stops_between_parts(load, family, monkeypatch):
    def stop():
        if len(family.batches) == 2:
            raise Stop

    monkeypatch.setattr(devices, "available_memory", lambda _device: 0)
    monkeypatch.setattr(interrupt, "throw_if_interrupted", stop)
    model = load()
    with pytest.raises(Stop):
        model.estimate(make_images(5), 32)
    assert family.batches == [1, 1]
    family.batches.clear()
    monkeypatch.setattr(interrupt, "throw_if_interrupted", lambda: None)
    assert model.estimate(make_images(5), 32).batch == 5


def test_the_size_is_the_networks(load):
    model, seen = load(), []
    with model.network.register_forward_pre_hook(lambda _network, inputs: seen.append(tuple(inputs[0].shape))):
        model.estimate(make_images(1, 100, 200))
        model.estimate(make_images(1, 100, 200), 96)
    assert seen == [(1, 3, 32, 64), (1, 3, 96, 192)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 3, 8, 8), "batch is empty"),
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); expected a tensor \(B, C, H, W\)"),
        (torch.full((1, 3, 2, 2), float("nan")), "12 NaN or infinite values of 12"),
        (torch.zeros(1, 3, 5000, 7), "7x5000 at resolution 512"),
    ],
)
def test_images_that_are_none_or_a_strip_are_refused_before_anything_runs(load, family, images, message):
    with pytest.raises(ValueError, match=message):
        load().estimate(images, 512)
    assert family.batches == []


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_the_range_is_judged_once_of_the_whole_batch(load, room_for, family, monkeypatch, kind):
    """A part that is dark, of a batch of 0..255, would pass by itself."""
    batch = np.zeros((3, 3, 32, 64), np.float32)
    batch[2] = 200
    images = torch.tensor(batch) if kind is torch.tensor else batch.transpose(0, 2, 3, 1)
    monkeypatch.setattr(devices, "available_memory", lambda _device: room_for(1))
    for run in (load().estimate, load().estimates):
        with pytest.raises(ValueError, match="from 0 to 200; expected"):
            run(images, 32)
    assert family.batches == []


def test_a_model_loaded_in_inference_mode_runs_outside_and_the_other_way_round(load):
    images = make_images(2)
    with torch.inference_mode():
        inside = load().estimate(images, 32).depth.clone()
    outside = load().estimate(images, 32).depth
    assert torch.equal(inside, outside)
    assert not outside.requires_grad
    free()
    load()
    with torch.inference_mode():
        assert torch.equal(load().estimate(images, 32).depth, outside)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["depth-anything-small", "depth-anything-3-small", "video-depth-anything-small", *SHRUNK.OTHERS])
def test_threads_share_a_model(name):
    """docs/python.md: at once, on images of several sizes, each gets what it gets alone."""
    annotator = SHRUNK.annotator(name)
    model = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path(name)))
    images = [make_images(1, *size) for size in ((60, 80), (80, 60), (64, 96))]
    size = 98 if annotator.spec.default_size > 200 and name != "metric3d" else None
    alone = [model.estimate(each, size) for each in images]

    def turned(by):
        return [model.for_another_thread().estimate(images[(by + index) % 3], size) for index in range(3)]

    with ThreadPoolExecutor(6) as threads:
        for by, estimates in enumerate(threads.map(turned, range(6))):
            for index, found in enumerate(estimates):
                torch.testing.assert_close(found.maps, alone[(by + index) % 3].maps, rtol=0, atol=0, equal_nan=True)
