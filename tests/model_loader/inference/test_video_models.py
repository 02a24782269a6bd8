"""Models for videos: placed, divided for memory, falling back to float32 and stopped as all others are."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from depth_normal.annotators import registry
from depth_normal.annotators.clips import WindowState
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import load_model
from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.comfy.placement import WeightsTooLargeError
from depth_normal.model_loader.inference.memory_budget import in_batches
from depth_normal.model_loader.inference.network import Prepared
from depth_normal.model_loader.inference.stages import InferenceOptions
from depth_normal.model_loader.inference.video import ReplayableFrames, VideoState, window_estimates
from depth_normal.options.video import VideoOptions
from tests import tiny_depth as TINY

MODEL = "video-depth-anything-small"
SIZE = 56


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    spec = TINY.shrunk(registry.MODELS[MODEL])
    path = tmp_path_factory.mktemp("video") / spec.file.name
    TINY.write_file(spec, path)
    return path


@pytest.fixture
def load(weights, monkeypatch):
    spec = TINY.shrunk(registry.MODELS[MODEL])
    monkeypatch.setitem(registry.MODELS, MODEL, replace(spec, default_size=SIZE))
    return lambda dtype="float32": load_model(MODEL, dtype, "cpu", weights)


def video(total, height=60, width=90, chunk=6, seed=0):
    """Chunks of a pan over a soft image."""
    coarse = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(coarse, size=(height, width + total), mode="bicubic")[0].clamp(0, 1)
    frames = torch.stack([image[:, :, i : i + width] for i in range(total)])
    return frames.split(chunk)


def windows(model, frames):
    """The estimates of a video's windows at the network's size, as one shot."""
    return window_estimates(model._network, frames, InferenceOptions(), None, WindowState())


def depth(parts):
    return torch.cat([part.depth for part in parts])


def near(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.slow("takes most of a second")
def test_a_video_comes_at_its_own_size_with_normals_of_the_networks(load):
    model, steps = load(), []
    parts = list(model.estimate_video(video(40), derive=with_normals, progress=lambda *each: steps.append(each)))
    assert model.is_video_model and [part.batch for part in parts] == [24, 16]
    assert all((part.height, part.width) == (60, 90) and part.normals is not None for part in parts)
    assert steps == [(24, 36), (40, 40)]
    near(depth(parts), depth([part.resized(60, 90) for part in windows(model, video(40))]))


@pytest.mark.slow("takes a second")
def test_cuts_are_looked_for_where_they_are_asked_for(load):
    model = load()
    first, second = video(15), video(15, seed=3)
    both = [*first, *(1 - chunk for chunk in second)]
    apart = torch.cat((depth(windows(model, both[:3])), depth(windows(model, both[3:]))))
    run = lambda cuts: depth(model.estimate_video(both, VideoOptions(cuts=cuts)))  # noqa: E731
    apart = torch.nn.functional.interpolate(apart, (60, 90), mode="bilinear")
    near(run(cuts=True), apart)
    assert (run(cuts=False) - apart).abs().max() > 1e-2 * apart.max()


def test_a_video_is_run_by_torch_which_is_said_where_images_have_an_engine(load, monkeypatch, caplog):
    model = load()
    expected = depth(windows(model, video(8)))

    engine = Mock(side_effect=AssertionError("videos are not run by it"), words="ONNX Runtime 1, CPU")
    other = model.varied(lambda annotator: annotator.with_engine(engine))
    near(depth(windows(other, video(8))), expected)
    assert f"{MODEL}: its videos are run by torch, its images by ONNX Runtime 1, CPU" in caplog.text


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("step", ["encode", "finish"])
def test_chunks_become_smaller_where_memory_is_short(load, monkeypatch, caplog, step):
    model = load()
    expected = depth(windows(model, video(33, chunk=33)))
    real = getattr(model.network, step)

    def guarded(x, *more):
        if len(x) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return real(x, *more)

    monkeypatch.setattr(model.network, step, guarded)
    monkeypatch.setattr(devices, "available_memory", lambda _device: 2**40)
    with caplog.at_level(logging.WARNING):
        near(depth(windows(model, video(33, chunk=33))), expected)
    assert "out of memory: continuing with batches of 4" in caplog.text and "batches of 2" in caplog.text


def test_a_window_that_does_not_fit_is_an_error_that_says_what_to_do(load, monkeypatch):
    model = load()

    monkeypatch.setattr(model.network, "through_time", Mock(side_effect=RuntimeError("CUDA error: out of memory")))
    with pytest.raises(MemoryError, match=rf"{MODEL} at 84x56 does not fit in the memory of cpu: lower "):
        list(windows(model, video(3)))


@pytest.mark.slow("takes a second")
def test_frames_go_to_the_device_as_memory_allows(load, monkeypatch):
    model, batches = load(), []
    real = model.network.encode
    monkeypatch.setattr(model.network, "encode", lambda x: batches.append(len(x)) or real(x))
    each = model.working_bytes(60, 90)
    for room, expected in ((-9, [1] * 5), (2.5, [2, 2, 1]), (3.9, [2, 2, 1]), (40, [5])):
        batches.clear()
        monkeypatch.setattr(devices, "available_memory", lambda _, room=room: model.annotator.video_bytes(56, 84) + int(room * each))
        list(windows(model, video(5, chunk=5)))
        assert batches == expected
        list(windows(model, video(5, chunk=1)))
        assert batches == 2 * expected, "the chunks in which they come do not matter"


@pytest.mark.slow("takes a second")
def test_half_precision_that_is_too_small_becomes_float32_for_the_whole_video(load, monkeypatch, caplog):
    expected = depth(windows(load(), video(30)))
    model = load("bfloat16")
    real = model.network.finish
    monkeypatch.setattr(model.network, "finish", lambda *each: real(*each) / 0 * 0)
    with caplog.at_level(logging.WARNING):
        found = depth(windows(model, iter(video(30))))
    assert model.dtype == torch.float32 and "computed again in float32" in caplog.text
    near(found, expected)


@pytest.mark.slow("takes a second")
def test_half_precision_that_fails_after_estimates_were_given_out_says_so(load, monkeypatch):
    model, calls = load("bfloat16"), []
    real = model.network.through_time
    monkeypatch.setattr(model.network, "through_time", lambda *each: real(*each) * (float("nan") if calls else 1) + (calls.append(1) or 0))
    parts = windows(model, video(60))
    next(parts)
    with pytest.raises(ArithmeticError, match="not finite: use float32"):
        list(parts)


@pytest.mark.slow("takes a second")
def test_half_precision_that_fails_in_a_video_that_continues_says_so(load, monkeypatch):
    """In float32 from here on, its frames would differ from those before."""
    model, frames = load("bfloat16"), torch.cat(video(60))
    before, after = VideoState(), VideoState()
    first = next(model.estimate_video(frames.split(6), state=before))
    after.load_state_dict(before.state_dict())
    real = model.network.finish
    monkeypatch.setattr(model.network, "finish", lambda *each: real(*each) * float("nan"))
    with pytest.raises(ArithmeticError, match="not finite: use float32"):
        list(model.estimate_video(frames[first.batch :].split(6), state=after))
    assert model.dtype == torch.bfloat16


def test_what_the_caller_did_to_gradients_stays(load):
    parts = windows(load(), video(40))
    part = next(parts)
    assert torch.is_grad_enabled() and not part.depth.requires_grad
    parts.close()


SMALLER = Prepared(SimpleNamespace(annotator=SimpleNamespace(spec=registry.MODELS[MODEL])), torch.device("cpu"), 32, 32, 8).halved


@pytest.mark.parametrize(
    ("fits", "tried"),
    [
        (lambda _, count: count <= 3, [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]),
        # a last batch has another size than the full ones, with which it would be tried again as it is
        (lambda start, count: start < 8 or count == 1, [(0, 8), (8, 10), (8, 9), (9, 10)]),
    ],
    ids=["all", "the last"],
)
def test_batches_that_do_not_fit_are_halved_and_cover_all_once_and_in_order(fits, tried):
    asked = []

    def step(start, stop):
        asked.append((start, stop))
        if not fits(start, stop - start):
            raise MemoryError
        return range(start, stop)

    done = list(in_batches(step, 10, 8, SMALLER))
    assert asked == tried and [each for part in done for each in part] == [*range(10)]


@pytest.mark.parametrize("error", [ZeroDivisionError(), WeightsTooLargeError("tiny does not fit")], ids=["a fault", "as after a fall-back"])
def test_what_smaller_batches_cannot_mend_is_not_tried_with_them(error):
    with pytest.raises(type(error)):
        list(in_batches(Mock(side_effect=error), 8, 8, pytest.fail))


@pytest.mark.parametrize(("size", "divisible"), [(1, True), (4, False)])
def test_what_cannot_be_divided_is_not(size, divisible):
    with pytest.raises(MemoryError, match="not fit in the memory of cpu"):
        SMALLER(MemoryError(), size, divisible=divisible)


def test_frames_are_read_again_until_they_are_forgotten():
    frames = ReplayableFrames(iter("abcd"))
    first = iter(frames)
    assert next(first) + next(first) == "ab"
    again = iter(frames)
    assert "".join(next(again) for _ in range(3)) == "abc"
    frames.forget()
    assert list(again) == ["d"] and list(frames) == [], "none is held any longer"
