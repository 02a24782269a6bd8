"""Models that see several frames at once: placed, divided for memory, widened and stopped as all others are."""

import logging
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal.annotators import registry
from depth_normal.annotators.film import FilmState
from depth_normal.geometry.derive import with_normals
from depth_normal.geometry.temporal import FilmOptions
from depth_normal.model_loader import chunks as chunks_module
from depth_normal.model_loader import free, host, load_model
from depth_normal.model_loader.chunks import Beginning, Chunks, steady_number
from depth_normal.model_loader.film import estimate_film

TINY = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "tiny_depth.py")))
MODEL = "video-depth-anything-small"
SIZE = 56


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    spec = TINY.shrunk(registry.MODELS[MODEL])
    path = tmp_path_factory.mktemp("film") / spec.file.name
    TINY.write_file(spec, path)
    return path


@pytest.fixture
def load(weights, monkeypatch):
    spec = TINY.shrunk(registry.MODELS[MODEL])
    monkeypatch.setitem(registry.MODELS, MODEL, replace(spec, default_size=SIZE))
    yield lambda dtype="float32": load_model(MODEL, dtype, "cpu", weights)
    free()


def film(total, height=60, width=90, chunk=6, seed=0):
    """Chunks of a pan over a soft picture."""
    coarse = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))
    picture = torch.nn.functional.interpolate(coarse, size=(height, width + total), mode="bicubic")[0].clamp(0, 1)
    frames = torch.stack([picture[:, :, i : i + width] for i in range(total)])
    return frames.split(chunk)


def depth(parts):
    return torch.cat([part.depth for part in parts])


def near(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.slow("takes most of a second")
def test_a_film_comes_at_its_own_size_with_normals_of_the_networks(load):
    model, told = load(), []
    parts = list(estimate_film(model, film(40), derive=with_normals, progress=lambda *each: told.append(each)))
    assert model.is_film_model and [part.batch for part in parts] == [24, 16]
    assert all((part.height, part.width) == (60, 90) and part.normals is not None for part in parts)
    assert told == [(24, 36), (40, 40)]
    near(depth(parts), depth([part.resized(60, 90) for part in model.film(film(40))]))


def test_cuts_are_looked_for_where_they_are_asked_for(load):
    model = load()
    first, second = film(15), film(15, seed=3)
    both = [*first, *(1 - chunk for chunk in second)]
    apart = torch.cat((depth(model.film(both[:3])), depth(model.film(both[3:]))))
    run = lambda cuts: depth(estimate_film(model, both, FilmOptions(cuts=cuts)))  # noqa: E731
    apart = torch.nn.functional.interpolate(apart, (60, 90), mode="bilinear")
    near(run(cuts=True), apart)
    assert (run(cuts=False) - apart).abs().max() > 1e-2 * apart.max()


def test_a_film_is_run_by_torch_which_is_said_where_pictures_have_an_engine(load, monkeypatch, caplog):
    model = load()
    expected = depth(model.film(film(8)))

    def engine(*_):
        raise AssertionError("films are not run by it")

    engine.words = "ONNX Runtime 1, CPU"
    monkeypatch.setattr(model, "_variant", model._variant.varied(lambda annotator: annotator.with_engine(engine)))
    near(depth(model.film(film(8))), expected)
    assert f"{MODEL}: its films are run by torch, its pictures by ONNX Runtime 1, CPU" in caplog.text


def test_a_model_for_pictures_refuses_a_film_and_names_the_way():
    with pytest.raises(TypeError, match=r"tiny sees one picture at a time; .*estimate_film"):
        next(load_model("tiny").film(film(2)))


@pytest.fixture
def short_of_memory(monkeypatch):
    """Lets parts of the network hold at most so many frames."""

    def limit(model, name, frames):
        network = model._annotator.network
        real = getattr(network, name)

        def guarded(x, *more):
            if len(x) > frames:
                raise torch.OutOfMemoryError("out of memory")
            return real(x, *more)

        monkeypatch.setattr(network, name, guarded)

    return limit


@pytest.mark.parametrize("step", ["encode", "finish"])
def test_chunks_become_smaller_where_memory_is_short(load, short_of_memory, monkeypatch, caplog, step):
    model = load()
    expected = depth(model.film(film(33, chunk=33)))
    short_of_memory(model, step, 3)
    monkeypatch.setattr(host, "available_memory", lambda _device: 2**40)
    with caplog.at_level(logging.WARNING):
        near(depth(model.film(film(33, chunk=33))), expected)
    assert "out of memory, going on with 4 frames at once" in caplog.text and "with 2 frames at once" in caplog.text


def test_a_window_that_does_not_fit_is_an_error_that_says_what_to_do(load, monkeypatch):
    model = load()

    def full(*_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(model._annotator.network, "through_time", full)
    with pytest.raises(MemoryError, match=rf"{MODEL} at 84x56 on cpu: the memory is too small; lower size"):
        list(model.film(film(3)))


def test_frames_go_to_the_device_as_memory_allows(load, monkeypatch):
    model, seen = load(), []
    real = model._annotator.network.encode
    monkeypatch.setattr(model._annotator.network, "encode", lambda x: seen.append(len(x)) or real(x))
    each = model._bytes_each(60, 90, 56, 84)
    for room, expected in ((-9, [1] * 5), (2.5, [2, 2, 1]), (3.9, [2, 2, 1]), (40, [5])):
        seen.clear()
        monkeypatch.setattr(host, "available_memory", lambda _, room=room: model._annotator.film_bytes(56, 84) + int(room * each))
        list(model.film(film(5, chunk=5)))
        assert seen == expected
        list(model.film(film(5, chunk=1)))
        assert seen == 2 * expected, "the chunks in which they come do not matter"


def test_half_precision_that_is_too_small_becomes_float32_for_the_whole_film(load, monkeypatch, caplog):
    expected = depth(load().film(film(30)))
    model = load("bfloat16")
    real = model._annotator.network.finish
    monkeypatch.setattr(model._annotator.network, "finish", lambda *each: real(*each) / 0 * 0)
    with caplog.at_level(logging.WARNING):
        found = depth(model.film(iter(film(30))))
    assert model.dtype == torch.float32 and "Computed again in float32" in caplog.text
    near(found, expected)


def test_half_precision_that_fails_after_estimates_were_given_out_says_so(load, monkeypatch):
    model, calls = load("bfloat16"), []
    real = model._annotator.network.through_time
    monkeypatch.setattr(
        model._annotator.network, "through_time", lambda *each: real(*each) * (float("nan") if calls else 1) + (calls.append(1) or 0)
    )
    parts = model.film(film(60))
    next(parts)
    with pytest.raises(ArithmeticError, match="not finite: use float32"):
        list(parts)


def test_it_can_be_stopped_between_chunks(load, monkeypatch):
    model, asked = load(), []

    def pressed():
        asked.append(1)
        if len(asked) > 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(chunks_module.host, "throw_if_interrupted", pressed)
    with pytest.raises(KeyboardInterrupt):
        list(model.film(film(60)))


def test_what_the_caller_did_to_gradients_stays(load):
    parts = load().film(film(40))
    part = next(parts)
    assert torch.is_grad_enabled() and not part.depth.requires_grad
    parts.close()


def test_chunks_cover_all_once_and_in_order():
    done = []

    def step(start, stop):
        if stop - start > 3:
            raise MemoryError
        done.append((start, stop))

    Chunks(FilmState(at_once=8), "a film")(step, 10)
    assert done == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    with pytest.raises(ZeroDivisionError):
        Chunks(FilmState(at_once=8), "a film")(lambda *_: 1 / 0, 10)


def test_a_little_more_memory_changes_nothing():
    assert [steady_number(room, 8) for room in (-1, 0, 1, 3, 4, 7, 8, 99)] == [1, 1, 1, 2, 4, 4, 8, 8]
    assert steady_number(9, 6) == 6 and steady_number(5, 6) == 4


def test_a_film_begins_anew_until_its_beginning_is_forgotten():
    beginning = Beginning(iter("abcd"))
    first = iter(beginning)
    assert next(first) + next(first) == "ab" and not beginning.is_over
    again = iter(beginning)
    assert "".join(next(again) for _ in range(3)) == "abc"
    beginning.forget()
    assert beginning.is_over and list(again) == ["d"]
