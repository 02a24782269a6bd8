"""Loading once, running in as few forwards as the memory allows, letting go."""

import gc
import logging
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import depth_normal
from depth_normal.annotators import registry
from depth_normal.annotators.base import Annotator, CheckpointError, ModelSpec, WeightFile, checkpoint_mismatch
from depth_normal.annotators.midas_small import MidasSmall
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader import free, host, load_model
from depth_normal.model_loader.find import download_folder
from depth_normal.model_loader.model import DTYPE_CHOICES


class Weighted(Annotator):
    """Stands in for a family: its disparity is a weighted sum of the channels. Counts what is asked of it."""

    bytes_per_pixel = 100
    built = 0
    batches: list[int]
    memory = 1000
    """How many pictures at once fit."""

    @classmethod
    def build(cls, spec, states, dtype):
        cls.built += 1
        time.sleep(0.05)  # long enough for another thread to come in between
        network = nn.Conv2d(3, 1, 1)
        if mismatch := checkpoint_mismatch(network.state_dict(), states["network"]):
            raise CheckpointError(f"not a checkpoint of {spec.id}: {mismatch}")
        network.load_state_dict(dict(states["network"]))
        return cls(spec, network.to(dtype))

    def predict(self, pixels):
        if len(pixels) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        self.batches.append(len(pixels))
        dtype = next(self.network.parameters()).dtype
        return Estimate(depth=self.network(pixels.to(dtype)).float(), quantity=Quantity.DISPARITY)


@pytest.fixture
def family(monkeypatch):
    """A family of two models, "weighted" and "other"; the class that counts."""
    monkeypatch.setattr(Weighted, "built", 0)
    monkeypatch.setattr(Weighted, "batches", [], raising=False)
    monkeypatch.setattr(Weighted, "memory", 1000)
    monkeypatch.setitem(registry.FAMILIES, "weighted", Weighted)
    for model_id in ("weighted", "other"):
        files = (WeightFile(f"{model_id}.pt", url=f"https://example.org/{model_id}.pt"),)
        spec = ModelSpec(id=model_id, family="weighted", files=files, licence="MIT", quantity=Quantity.DISPARITY, default_size=32)
        monkeypatch.setitem(registry.MODELS, model_id, spec)
    return Weighted


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weighted.safetensors"
    save_file({"weight": torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1), "bias": torch.tensor([1.0])}, path)
    return path


@pytest.fixture
def load(family, weights):
    def load(model_id="weighted", dtype="float32", device="cpu"):
        return load_model(model_id, dtype, device, weights)

    return load


def pictures(count, height=32, width=64):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))


def expected(images):
    return 1 + 0.5 * images[:, :1] + 0.25 * images[:, 1:2] + 0.25 * images[:, 2:]


def test_a_model_is_loaded_once(load, family):
    assert load() is load()
    assert family.built == 1


def test_another_dtype_or_id_is_another_model(load, family):
    models = {id(load()), id(load(dtype="bfloat16")), id(load("other"))}
    assert len(models) == 3
    assert load(dtype="bfloat16").dtype == torch.bfloat16
    assert family.built == 3


def test_another_file_is_another_model(load, family, weights, tmp_path):
    other = tmp_path / "mine.pt"
    torch.save({"weight": torch.zeros(1, 3, 1, 1), "bias": torch.zeros(1)}, other)
    model = load_model("weighted", "float32", "cpu", str(other))
    assert model is not load()
    assert model.weights == other
    assert load().weights == weights
    assert model.estimate(pictures(1)).depth.abs().max() == 0


def test_the_id_alone_finds_the_users_file(family, weights, caches):
    download_folder().mkdir(parents=True, exist_ok=True)
    torch.save({"weight": torch.zeros(1, 3, 1, 1), "bias": torch.ones(1)}, download_folder() / "weighted.pt")
    assert load_model("weighted", "float32", "cpu").weights == download_folder() / "weighted.pt"


def test_two_threads_load_once(load, family):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert family.built == 1
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_free_forgets_and_gives_the_memory_back(load, family):
    model = load()
    network = weakref.ref(model._annotator.network)
    free()
    del model
    gc.collect()
    assert network() is None
    load()
    assert family.built == 2


def test_the_model_used_longest_ago_makes_room_where_main_memory_is_short(load, family, monkeypatch):
    size = 1_000_000
    for model_id in ("weighted", "other"):
        files = (replace(registry.MODELS[model_id].file, size=size),)
        monkeypatch.setitem(registry.MODELS, model_id, replace(registry.MODELS[model_id], files=files))
    oldest, newest = load("weighted"), load("weighted", "bfloat16")
    assert load("weighted") is oldest, "used again, it is no longer the oldest"
    free_bytes = iter([size, 3 * size])  # too little for the third model, enough after one is gone
    monkeypatch.setattr(host, "free_main_memory", lambda: next(free_bytes))
    third = load("other")
    monkeypatch.setattr(host, "free_main_memory", lambda: float("inf"))
    assert load("weighted") is oldest
    assert load("other") is third
    assert load("weighted", "bfloat16") is not newest


def test_free_by_id_leaves_the_others(load, family):
    weighted, other = load(), load("other")
    free("weighted")
    assert load("other") is other
    assert load() is not weighted
    assert family.built == 3


def test_a_model_that_was_freed_still_runs(load):
    model, images = load(), pictures(1)
    free()
    assert torch.allclose(model.estimate(images, 32).depth, expected(images), atol=1e-5)


@pytest.mark.parametrize("asked", ["", "midas", "MIDAS-DPT-HYBRID", "Intel/dpt-large"])
def test_an_unknown_model(asked):
    with pytest.raises(ValueError, match="known models: midas-dpt-hybrid, midas-dpt-large") as refused:
        load_model(asked)
    assert repr(asked) in str(refused.value)


def test_an_unknown_dtype(load):
    with pytest.raises(ValueError, match="unknown dtype 'float8'; accepted: " + ", ".join(DTYPE_CHOICES)):
        load(dtype="float8")


def test_an_unknown_device(load):
    with pytest.raises(ValueError, match="unknown device 'tpu'; accepted: auto, cpu, cuda, mps"):
        load(device="tpu")


def test_a_device_that_is_not_there(load, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'cuda' is not available to this torch .*auto or cpu"):
        load(device="cuda")


def test_a_torch_device_is_taken_as_it_is(load):
    assert load(device=torch.device("cpu")) is load(device="cpu")


def test_dtype_auto_is_the_first_that_the_device_is_fast_in(load, monkeypatch):
    spec = registry.MODELS["weighted"]
    monkeypatch.setitem(registry.MODELS, "weighted", type(spec)(**{**vars(spec), "auto_dtypes": (torch.bfloat16,)}))
    monkeypatch.setattr(host, "supports_dtype", lambda dtype, _device: dtype == torch.float32)
    assert load(dtype="auto").dtype == torch.float32
    monkeypatch.setattr(host, "supports_dtype", lambda _dtype, _device: True)
    assert load(dtype="auto").dtype == torch.bfloat16
    assert load("other", dtype="auto").dtype == torch.float32


def test_a_dtype_that_is_slow_here_is_taken_with_a_warning(load, monkeypatch, caplog):
    monkeypatch.setattr(host, "supports_dtype", lambda dtype, _device: dtype == torch.float32)
    with caplog.at_level(logging.WARNING):
        assert load(dtype="float16").dtype == torch.float16
    assert "slower than float32" in caplog.text


def test_another_models_file_is_refused_and_named_and_the_next_run_works(load, tmp_path):
    other = tmp_path / "midas_small.safetensors"
    save_file({"scratch.layer1_rn.weight": torch.zeros(64, 32, 3, 3)}, other)
    with pytest.raises(CheckpointError, match=r"midas_small\.safetensors is not a checkpoint of weighted: 1 unexpected keys") as refused:
        load_model("weighted", "float32", "cpu", other)
    assert str(other) in str(refused.value)
    assert "Give the file of weighted" in str(refused.value)
    assert load().estimate(pictures(1)).batch == 1


def test_a_real_networks_file_for_another_real_network_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"pretrained.model.cls_token": torch.zeros(1, 1, 768)}, path)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is not a checkpoint of midas-v2\.1-small: .*cls_token"):
        load_model("midas-v2.1-small", weights=path)


def test_a_file_that_is_not_there(family, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt does not exist"):
        load_model("weighted", weights=tmp_path / "nowhere.pt")


def test_a_batch_is_one_forward(load, family):
    images = pictures(7)
    estimate = load().estimate(images, 32)
    assert family.batches == [7]
    assert torch.allclose(estimate.depth, expected(images), atol=1e-5)
    assert estimate.depth.dtype == torch.float32
    assert estimate.quantity is Quantity.DISPARITY


def test_a_batch_is_split_for_memory_alone(load, family, monkeypatch):
    images = pictures(7)
    whole = load().estimate(images, 32).depth
    family.batches.clear()
    monkeypatch.setattr(host, "free_memory", lambda _device: 3 * 32 * 64 * family.bytes_per_pixel + 99)
    split = load().estimate(images, 32).depth
    assert family.batches == [3, 3, 1]
    assert torch.equal(split, whole)


def test_out_of_memory_halves_the_batch(load, family, caplog):
    images = pictures(7)
    whole = load().estimate(images, 32).depth
    family.batches.clear()
    family.memory = 2
    with caplog.at_level(logging.WARNING):
        halved = load().estimate(images, 32).depth
    assert family.batches == [1] * 7  # 7 -> 3 -> 1
    assert "going on with 3 pictures at once" in caplog.text
    assert torch.equal(halved, whole)
    family.batches.clear()
    assert torch.equal(load().estimate(images[:4], 32).depth, whole[:4])
    assert family.batches == [2, 2]


def test_not_even_one_fits(load, family):
    family.memory = 0
    with pytest.raises(
        MemoryError, match="weighted at 64x32 does not fit in the memory of cpu: lower the resolution, or free other models"
    ):
        load().estimate(pictures(3), 32)
    family.memory = 3
    assert load().estimate(pictures(3), 32).batch == 3


def test_no_free_memory_at_all_is_one_picture_at_a_time(load, family, monkeypatch):
    monkeypatch.setattr(host, "free_memory", lambda _device: 0)
    load().estimate(pictures(2), 32)
    assert family.batches == [1, 1]


def test_another_error_is_not_taken_for_want_of_memory(load, family, monkeypatch):
    def broken(_self, _pixels):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model = load()
    monkeypatch.setattr(family, "predict", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        model.estimate(pictures(2), 32)


def test_progress_counts_pictures(load, family, monkeypatch):
    monkeypatch.setattr(host, "free_memory", lambda _device: 2 * 32 * 64 * family.bytes_per_pixel)
    steps = []
    load().estimate(pictures(5), 32, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(2, 5), (4, 5), (5, 5)]


def test_an_interruption_stops_between_parts(load, family, monkeypatch):
    class Stop(BaseException):
        pass

    def interrupt():
        if len(family.batches) == 2:
            raise Stop

    monkeypatch.setattr(host, "free_memory", lambda _device: 0)
    monkeypatch.setattr(host, "throw_if_interrupted", interrupt)
    model = load()
    with pytest.raises(Stop):
        model.estimate(pictures(5), 32)
    assert family.batches == [1, 1]
    family.batches.clear()
    monkeypatch.setattr(host, "throw_if_interrupted", lambda: None)
    assert model.estimate(pictures(5), 32).batch == 5


@pytest.mark.parametrize(("height", "width"), [(32, 64), (50, 70), (1, 1), (200, 31)])
def test_the_estimate_has_the_pictures_size(load, height, width):
    estimate = load().estimate(pictures(2, height, width), 32)
    assert estimate.depth.shape == (2, 1, height, width)
    assert torch.isfinite(estimate.depth).all()


def test_the_size_is_the_networks(load, family, monkeypatch):
    seen = []
    predict = family.predict
    monkeypatch.setattr(family, "predict", lambda self, pixels: seen.append(tuple(pixels.shape)) or predict(self, pixels))
    load().estimate(pictures(1, 100, 200))
    load().estimate(pictures(1, 100, 200), 96)
    assert seen == [(1, 3, 32, 64), (1, 3, 96, 192)]


GREY = torch.full((1, 3, 32, 32), 0.2)


@pytest.mark.parametrize(
    "images",
    [
        GREY,
        GREY.half(),
        GREY.double(),
        np.full((32, 32, 3), 51, np.uint8),
        np.full((1, 32, 32, 3), 13107, np.uint16),
        np.full((32, 32, 3), 0.2, np.float32),
        np.full((32, 32, 3), 0.2),
        np.full((32, 32, 1), 51, np.uint8),
        np.full((64, 32, 3), 51, np.uint8)[::2],
    ],
    ids=["tensor", "half", "double", "uint8", "uint16 batch", "float32", "float64", "grey", "strided"],
)
def test_pictures_in_any_form_are_the_same_picture(load, images):
    depth = load().estimate(images, 32).depth
    assert depth.shape == (1, 1, 32, 32)
    assert torch.allclose(depth, torch.tensor(1.2), atol=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 3, 8, 8), "batch is empty"),
        (torch.zeros(1, 3, 0, 8), "batch is empty"),
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); expected \(batch, channels, height, width\)"),
        (torch.zeros(1, 8, 8, 3), r"1, 3 or 4 channels"),
        (np.zeros((8, 8), np.uint8), r"shape"),
        (np.zeros((8, 8, 2), np.uint8), r"1, 3 or 4 channels"),
        (torch.full((1, 3, 2, 2), float("nan")), "12 NaN or infinite values of 12"),
        (np.full((2, 2, 3), np.inf, np.float32), "12 NaN or infinite values of 12"),
    ],
)
def test_pictures_that_are_none_are_refused(load, family, images, message):
    with pytest.raises(ValueError, match=message):
        load().estimate(images)
    assert family.batches == []


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8, dtype=torch.uint8), np.zeros((8, 8, 3), np.int32)])
def test_integers_without_a_range_are_refused(load, images):
    with pytest.raises(TypeError, match="expected floating point values"):
        load().estimate(images)


def test_a_strip_is_refused_before_anything_runs(load, family):
    with pytest.raises(ValueError, match="7x5000 at resolution 512"):
        load().estimate(torch.zeros(1, 3, 5000, 7), 512)
    assert family.batches == []


def test_a_model_loaded_in_inference_mode_runs_outside_and_the_other_way_round(load):
    images = pictures(2)
    with torch.inference_mode():
        inside = load().estimate(images, 32).depth.clone()
    outside = load().estimate(images, 32).depth
    assert torch.equal(inside, outside)
    assert not outside.requires_grad
    free()
    load()
    with torch.inference_mode():
        assert torch.equal(load().estimate(images, 32).depth, outside)


def test_the_package_gives_it_in_three_lines(tmp_path):
    torch.manual_seed(0)
    network = MidasSmall()
    nn.init.constant_(network.scratch.output_conv[4].bias, 100.0)
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    model = depth_normal.load_model("midas-v2.1-small", device="cpu", weights=tmp_path / "small.safetensors")
    estimate = model.estimate(np.zeros((40, 60, 3), np.uint8), 32)
    assert isinstance(estimate, depth_normal.Estimate)
    assert estimate.depth.shape == (1, 1, 40, 60)
    assert estimate.quantity is depth_normal.Quantity.DISPARITY
    assert model.resampling == "bicubic"
