"""Loading once, at the same time as others, and forgetting where main memory is short."""

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators import registry
from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.model_loader import free, load_model
from depth_normal.model_loader import load as load_module
from depth_normal.model_loader.comfy import devices, interrupt
from depth_normal.model_loader.load import parse_device, replacements
from depth_normal.model_loader.weights import checkpoint
from depth_normal.model_loader.weights.find import download_folder
from depth_normal.model_loader.weights.integrity import bundled_path
from depth_normal.options.estimate import DTYPE_CHOICES
from tests.forked import needs_fork
from tests.refusals import refuses
from tests.whole_files import Stop, stop_after

TIMEOUT = 60


def test_a_model_is_loaded_once_in_each_dtype(load, family):
    assert load() is load() is load(device=torch.device("cpu"))
    assert len({id(load()), id(load(dtype="bfloat16")), id(load("other"))}) == 3
    assert load(dtype="bfloat16").dtype == torch.bfloat16
    assert family.built == 3


def test_another_file_is_another_model_also_in_the_place_of_one(load, family, weights, tmp_path):
    mine, new = tmp_path / "mine.pt", tmp_path / "new.pt"
    counts = []
    for bias in (torch.zeros(1), torch.ones(1)):
        torch.save({"weight": torch.zeros(1, 3, 1, 1), "bias": bias}, new)
        new.replace(mine)
        counts.append(replacements(None, mine))
        model = load_model("weighted", "float32", "cpu", str(mine))
        counts.append(replacements("weighted", mine))
        assert model.weights_path == mine and load().weights_path == weights
        assert model.estimate(torch.rand(1, 3, 32, 64)).depth.max() == bias
    assert counts == [0, 0, 1, 1]
    mine.unlink()
    assert load_model("weighted", "float32", "cpu", mine) is model is not load()
    assert family.built == 3


def test_the_id_alone_finds_the_users_file(family, weights, caches):
    download_folder().mkdir(parents=True, exist_ok=True)
    torch.save({"weight": torch.zeros(1, 3, 1, 1), "bias": torch.ones(1)}, download_folder() / "weighted.pt")
    assert load_model("weighted", "float32", "cpu").weights_path == download_folder() / "weighted.pt"


def test_free_gives_the_memory_back_and_by_id_leaves_the_others(load, family):
    model, other = load(), load("other")
    network = weakref.ref(model.network)
    free("weighted")
    del model
    gc.collect()
    assert network() is None
    assert load("other") is other
    load()
    assert family.built == 3
    free()
    load()
    assert load("other") is not other and family.built == 5


@pytest.fixture
def gate(monkeypatch):
    """Holds up whoever builds a network of MiDaS, the real way, until it is opened; then raises its `error`, once."""
    gate, build = SimpleNamespace(reached=threading.Event(), opened=threading.Event(), built=0, error=None), MidasAnnotator.build

    def held(spec, states, dtype):
        gate.built += 1
        gate.reached.set()
        assert gate.opened.wait(TIMEOUT)
        if error := gate.error:
            gate.error = None
            raise error
        return build(spec, states, dtype)

    monkeypatch.setattr(MidasAnnotator, "build", held)
    yield gate
    gate.opened.set()


@pytest.fixture
def pool(gate):
    with ThreadPoolExecutor(4) as pool:
        yield pool
        gate.opened.set()


@pytest.fixture(scope="module")
def midas(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(MidasSmall().state_dict(), path)
    return lambda: load_model("midas-v2.1-small", "float32", "cpu", path)


def test_four_threads_load_once(gate, pool, midas):
    found = [pool.submit(midas) for _ in range(4)]
    assert gate.reached.wait(TIMEOUT)
    gate.opened.set()
    assert len({id(each.result(TIMEOUT)) for each in found}) == 1
    assert gate.built == 1


def test_a_model_waits_for_no_other_to_be_loaded(gate, pool, midas):
    loading = pool.submit(midas)
    assert gate.reached.wait(TIMEOUT)
    tiny = pool.submit(load_model, "tiny", "float32", "cpu").result(TIMEOUT)
    assert pool.submit(load_model, "tiny", "float32", "cpu").result(TIMEOUT) is tiny and tiny.spec.id == "tiny"
    assert not loading.done()
    gate.opened.set()
    assert loading.result(TIMEOUT).spec.id == "midas-v2.1-small"


def test_a_download_is_announced_with_its_terms(server, family, monkeypatch, weights, caplog):
    spec = registry.MODELS["weighted"]
    server.serve("/weighted.pt", weights.read_bytes())
    files = (replace(spec.file, url=f"{server.url}/weighted.pt"),)
    monkeypatch.setitem(registry.MODELS, "weighted", replace(spec, files=files, licence="BSD-2-Clause", commercial="unclear"))
    with caplog.at_level(logging.INFO):
        load_model("weighted", "float32", "cpu")
    assert "licence: BSD-2-Clause, commercial use unclear" in caplog.text


def test_a_model_runs_while_another_is_downloaded(server, load, pool, weights, monkeypatch):
    model, spec = load(), registry.MODELS["other"]
    served = server.serve("/other.pt", weights.read_bytes(), stalls=True)
    monkeypatch.setitem(registry.MODELS, "other", replace(spec, files=(replace(spec.file, url=f"{server.url}/other.pt"),)))
    other = pool.submit(load_model, "other", "float32", "cpu")
    while not server.gets():
        time.sleep(0.01)
    assert pool.submit(lambda: load().estimate(torch.rand(1, 3, 32, 32))).result(TIMEOUT).batch == 1
    assert load() is model and not other.done()
    served.stalls = False
    server.closed.set()
    assert other.result(TIMEOUT).spec.id == "other"


def test_whoever_waited_for_a_load_that_failed_tries_it(gate, pool, midas):
    gate.error = OSError("the disk is gone")
    first = pool.submit(midas)
    assert gate.reached.wait(TIMEOUT)
    second = pool.submit(midas)
    gate.opened.set()
    with pytest.raises(OSError, match="the disk is gone"):
        first.result(TIMEOUT)
    assert second.result(TIMEOUT) is midas()
    assert gate.built == 2


def test_waiting_for_another_threads_load_can_be_cancelled(gate, pool, midas, monkeypatch):
    loading = pool.submit(midas)
    assert gate.reached.wait(TIMEOUT)
    monkeypatch.setattr(interrupt, "throw_if_interrupted", lambda: stop_after(0)(0, 0))
    with pytest.raises(Stop):
        midas()
    gate.opened.set()
    assert loading.result(TIMEOUT).spec.id == "midas-v2.1-small"


@pytest.mark.slow("takes most of a second")
def test_models_are_forgotten_while_another_is_loaded(gate, pool, midas, monkeypatch):
    tiny = load_model("tiny", "float32", "cpu")
    loading = pool.submit(midas)
    assert gate.reached.wait(TIMEOUT)
    monkeypatch.setattr(devices, "available_main_memory", lambda: 0)
    other = pool.submit(load_model, "tiny", "bfloat16", "cpu").result(TIMEOUT)
    monkeypatch.setattr(devices, "available_main_memory", lambda: float("inf"))
    assert pool.submit(load_model, "tiny", "float32", "cpu").result(TIMEOUT) is not tiny
    pool.submit(free).result(TIMEOUT)
    gate.opened.set()
    assert loading.result(TIMEOUT) is midas()
    assert load_model("tiny", "bfloat16", "cpu") is not other


def test_the_model_used_longest_ago_makes_room_where_main_memory_is_short(load, family, weights, monkeypatch):
    oldest, newest = load("weighted"), load("weighted", "bfloat16")
    assert load("weighted") is oldest, "used again, it is no longer the oldest"
    assert all(file.size is None for file in registry.MODELS["other"].files), "the file on the disk has a size"
    twice = 2 * weights.stat().st_size
    monkeypatch.setattr(devices, "available_main_memory", lambda: twice - (len(load_module._cache) > 1))
    third = load("other")
    monkeypatch.setattr(devices, "available_main_memory", lambda: float("inf"))
    assert load("weighted") is oldest
    assert load("other") is third
    assert load("weighted", "bfloat16") is not newest


def test_a_forgotten_model_gives_its_memory_back_before_the_next_is_read(load, family, monkeypatch):
    network = weakref.ref(load().network)
    alive = []
    monkeypatch.setattr(devices, "available_main_memory", lambda: alive.append(network() is not None) or 0)
    load("other")
    assert alive == [True, True, False], "before kept estimates are forgotten, before the model is, and after"


test_what_is_no_model_no_dtype_or_no_file_is_refused = refuses(
    load_model,
    ("no model is named",),
    *((asked, f"{asked!r}.*`depth-normal models --all` lists all") for asked in ("", "midas", "MIDAS-DPT-HYBRID", "Intel/dpt-large")),
    ("tiny", "float8", "unknown dtype 'float8'; accepted: " + ", ".join(DTYPE_CHOICES)),
    ("tiny", "float32", "cpu", "nowhere.pt", r"nowhere\.pt does not exist"),
)


@pytest.mark.parametrize(
    ("gpus", "devices", "words"),
    [
        (0, ["tpu", "meta", "cuda:-1", "cuda:x", "cuda:", ""], "unknown device '{}'; accepted: auto, cpu, cuda, xpu, mps, and cuda:N"),
        (0, ["cuda", "cuda:1", torch.device("cuda"), torch.device("cuda", 0)], "'{}' is not available to this .*accepted: auto and cpu"),
        (1, [torch.device("cuda", 5)], "device '{}'.*has one such device, cuda:0"),
        (2, ["cuda:2"], "device '{}'.*this machine has 2 such devices, cuda:0 to cuda:1"),
    ],
)
def test_an_unknown_device_and_one_that_is_not_there(load, gpus, devices, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for device in devices:
        with pytest.raises(ValueError, match=words.format(device)):
            load(device=device)


def test_a_device_has_one_name_by_which_models_are_loaded_once(monkeypatch):
    for name, there in (("is_available", True), ("is_initialized", False), ("device_count", 2), ("current_device", 1)):
        monkeypatch.setattr(torch.cuda, name, lambda there=there: there)
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cuda"))
    assert parse_device("cuda:0") == parse_device("cuda") == parse_device(torch.device("cuda")) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert parse_device("auto") == parse_device("cuda") == torch.device("cuda", 1), "the current one"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert parse_device("mps:0") == parse_device("mps") == torch.device("mps")


def test_a_gpu_of_intel_is_found_and_named_as_cudas_are(monkeypatch):
    with pytest.raises(ValueError, match="device 'xpu' is not available to this torch"):
        parse_device("xpu")
    for name, there in (("is_available", True), ("is_initialized", False), ("device_count", 1)):
        monkeypatch.setattr(torch.xpu, name, lambda there=there: there)
    assert parse_device("xpu") == parse_device("xpu:0") == torch.device("xpu", 0)
    with pytest.raises(ValueError, match="this machine has one such device, xpu:0"):
        parse_device("xpu:1")


def test_dtype_auto_on_a_gpu_and_on_a_cpu(monkeypatch):
    """The best dtype by the entry, else by the family, where the device is fast in it: of transformers half precision."""
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    best = {"midas-dpt-large": "float16", **dict.fromkeys(("midas-v2.1-small", "zipdepth-base", "midas-dpt-hybrid", "tiny"), "float32")}
    for spec in registry.MODELS.values():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 9))
        first, *_ = (*(spec.auto_dtypes or registry.FAMILIES[spec.family].auto_dtypes), "float32")
        assert load_module.default_dtype(spec, cuda) == first == best.get(spec.id, first)
        assert load_module.default_dtype(spec, torch.device("mps")) == "float32"
        if first == "float16":
            assert load_module.default_dtype(spec, cpu) == "float32"
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (6, 1))
            assert load_module.default_dtype(spec, cuda) == "float32", "Pascal is 64 times slower in float16"


def test_a_dtype_that_is_slow_here_is_taken_with_a_warning(load, monkeypatch, caplog):
    monkeypatch.setattr(devices, "is_fast", lambda dtype, _device: dtype == torch.float32)
    with caplog.at_level(logging.WARNING):
        assert load(dtype="float16").dtype == torch.float16
    assert "slower than float32" in caplog.text


@pytest.mark.slow("takes most of a second")
def test_another_models_file_is_refused_and_named_and_the_next_run_works(load, tmp_path):
    other = tmp_path / "midas_small.safetensors"
    save_file({"scratch.layer1_rn.weight": torch.zeros(64, 32, 3, 3)}, other)
    with pytest.raises(CheckpointError, match=r"midas_small\.safetensors is not a checkpoint of weighted: 1 unexpected keys") as refused:
        load_model("weighted", "float32", "cpu", other)
    assert str(other) in str(refused.value)
    assert "Give the file of weighted" in str(refused.value)
    assert load().estimate(torch.rand(1, 3, 32, 64)).batch == 1


def test_a_siblings_file_is_told_by_the_model_it_is_of_and_read_once(monkeypatch):
    begin, begun = checkpoint._begin, []
    monkeypatch.setattr(checkpoint, "_begin", lambda path: begun.append(path) or begin(path))
    with pytest.raises(CheckpointError, match=r'It has the tensors of tiny: choose load_model\("tiny"\), or remove it'):
        load_model("midas-v2.1-small", weights=bundled_path(find_spec("tiny").file))
    assert len(begun) == 1


def test_a_node_shows_the_progress_of_a_download():
    spec = find_spec("midas-dpt-hybrid")
    words = load_module._download_message(spec.file, spec)
    size = spec.file.size
    assert words(0, 0) == words(0, size) == "", "still connecting"
    assert words(size * 38 // 100 + 1, size) == "downloading 38 % of 493 MB (MIT)"
    assert words(size, size) == f"checking {spec.file.name}"
    resumed = load_module._download_message(spec.file, spec)
    assert resumed(size // 2, size) == "", "what an earlier attempt left is no progress"
    assert resumed(size * 3 // 4, size) == "downloading 74 % of 493 MB (MIT)"


@needs_fork
@pytest.mark.slow("imports torch in a process of its own")
def test_a_model_computes_in_a_forked_process():
    """With more than one thread, torch would wait there for ever."""
    code = """
import multiprocessing, torch, depth_normal
torch.set_num_threads(2)
model, image = depth_normal.load_model("tiny", "float32", "cpu"), torch.rand(1, 3, 64, 64)
mean = float(model.estimate(image).depth.mean())
def depth(_):
    return torch.get_num_threads(), float(model.estimate(image).depth.mean())
with multiprocessing.get_context("fork").Pool(1) as pool:
    ((threads, found),) = pool.map_async(depth, [0]).get(60)
    assert threads == 1 and abs(found / mean - 1) < 1e-4, (threads, found, mean)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
