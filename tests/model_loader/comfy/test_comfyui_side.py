"""The door to ComfyUI, with a stand-in behind it, and the way without ComfyUI."""

import gc
import importlib
import logging
import shutil
import sys
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from depth_normal import NODE_CLASS_MAPPINGS, geometry, load_model
from depth_normal.annotators.base import other_size
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.model_loader import free, load
from depth_normal.model_loader.comfy import devices, feedback, interrupt
from depth_normal.model_loader.comfy.placement import Placement, WeightsTooLargeError, make_room
from depth_normal.model_loader.weights import identify
from depth_normal.model_loader.weights.integrity import bundled_path
from tests.whole_files import Stop

META, CPU = torch.device("meta"), torch.device("cpu")


class Loaded:
    """An entry of ComfyUI's list of loaded models: it only refers weakly to its patcher."""

    def __init__(self, patcher):
        self._patcher, self.device = weakref.ref(patcher), patcher.load_device

    @property
    def model(self) -> Any:
        return self._patcher()

    def model_unload(self):
        self.model.unloaded += 1
        self.model.model.to(self.model.offload_device)


class Patcher:
    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.unloaded = 0


class NewerPatcher(Patcher):
    """What ComfyUI rebinds CoreModelPatcher to."""


@pytest.fixture
def comfy(monkeypatch):
    """ComfyUI's memory manager, in small. `leaves`: weights stay where they were, as with --novram."""
    manager = SimpleNamespace(calls=[], current_loaded_models=[], emptied=[], leaves=False, interrupted=False, device=CPU)

    def load_models_gpu(models, memory_required=0, force_full_load=False):
        manager.calls.append(SimpleNamespace(models=models, memory_required=memory_required, force_full_load=force_full_load))
        for patcher in models:
            if all(entry.model is not patcher for entry in manager.current_loaded_models):
                manager.current_loaded_models.insert(0, Loaded(patcher))
            patcher.model.device = patcher.load_device
            if not manager.leaves:
                patcher.model.to(patcher.load_device)

    def throw_exception_if_processing_interrupted():
        if manager.interrupted:
            raise Stop

    manager.load_models_gpu = load_models_gpu
    manager.throw_exception_if_processing_interrupted = throw_exception_if_processing_interrupted
    manager.soft_empty_cache = lambda: manager.emptied.append(1)
    manager.get_torch_device = lambda: manager.device
    manager.unet_offload_device = manager.intermediate_device = lambda: CPU
    manager.get_free_memory = lambda _device: 12345
    manager.should_use_bf16, manager.should_use_fp16 = (lambda _device: True), (lambda _device: False)
    manager.patchers = SimpleNamespace(ModelPatcher=Patcher, CoreModelPatcher=Patcher)
    monkeypatch.setitem(sys.modules, "comfy.model_management", manager)
    monkeypatch.setitem(sys.modules, "comfy.model_patcher", manager.patchers)
    return manager


class DynamicPatcher(NewerPatcher):
    """As ComfyUI's dynamic VRAM does with plain torch modules: a load puts new tensors in the place of the weights, and for other models
    the old ones come back; what was on the device is overwritten."""

    def load(self):
        self.give_back()
        self.own = []
        for module in self.model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        self.own.append((tensors, name, tensor))
                        tensors[name] = tensor.clone() if tensors is module._buffers else nn.Parameter(tensor.clone(), False)

    @torch.inference_mode()
    def give_back(self):
        for tensors, name, tensor in getattr(self, "own", ()):
            tensors[name].zero_()
            tensors[name] = tensor
        self.own = []


@pytest.fixture
def alone(monkeypatch):
    """No ComfyUI, whatever ran before."""
    for name in [name for name in sys.modules if name.split(".")[0] == "comfy"]:
        monkeypatch.delitem(sys.modules, name)


def test_comfyui_makes_room_on_a_gpu_alone(comfy):
    asked = []
    comfy.free_memory = lambda needed, device: asked.append((needed, device))
    make_room(CPU, 5)
    make_room(META, 7)
    assert asked == [(7, META)]


def place(network, device=CPU):
    return Placement(network, device, "tiny")


def test_outside_comfyui_nothing_of_it_is_imported(alone):
    devices.default_device()
    assert devices.image_placement() == (CPU, torch.float32)
    assert devices.is_fast(torch.float32, CPU) and not devices.is_fast(torch.float16, CPU)
    assert devices.available_memory(CPU) == devices.CPU_WORKING_BYTES
    interrupt.throw_if_interrupted()
    feedback.show_message("loading tiny")
    feedback.note("PREVIEW")
    assert feedback.progress_bar(3) is None and devices.memory_manager() is None
    assert not [name for name in sys.modules if name.split(".")[0] == "comfy"]


@pytest.mark.parametrize("expected", ["cuda", "xpu", "mps", "cpu"])
def test_the_default_device_outside_comfyui(alone, monkeypatch, expected):
    names = ("cuda", "xpu", "mps", "cpu")
    for name, backend in zip(names, (torch.cuda, torch.xpu, torch.backends.mps), strict=False):
        there = names.index(name) >= names.index(expected)
        monkeypatch.setattr(backend, "is_available", lambda there=there: there)
    assert devices.default_device() == torch.device(expected)


def test_what_torch_keeps_idle_on_a_gpu_is_free_memory(alone, monkeypatch):
    for name, size in {"mem_get_info": (1000, 80000), "memory_reserved": 70000, "memory_allocated": 20000}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, size=size: size)
    assert devices.available_memory(torch.device("cuda")) == 51000


@pytest.mark.parametrize(("capability", "fast"), [((6, 1), False), ((7, 0), True), ((7, 5), True), ((12, 0), True)])
def test_float16_is_fast_since_volta(alone, monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert devices.is_fast(torch.float16, torch.device("cuda")) is fast
    assert not devices.is_fast(torch.float16, torch.device("mps"))


def test_comfyuis_devices_and_dtypes(comfy):
    comfy.device = torch.device("cuda:1")
    assert devices.default_device() == torch.device("cuda:1")
    assert devices.image_placement() == (CPU, torch.float32)  # a ComfyUI from before intermediate_dtype
    comfy.intermediate_dtype = lambda: torch.float16
    assert devices.image_placement() == (CPU, torch.float16)
    cuda = torch.device("cuda")
    assert devices.is_fast(torch.bfloat16, cuda)
    assert not devices.is_fast(torch.float16, cuda)
    assert devices.available_memory(cuda) == 12345
    devices.empty_cache()
    assert comfy.emptied == [1]


class Fixed(nn.Linear):
    """Does not let its device be set, as the models of transformers; ComfyUI's manager sets it on whatever it is given."""

    device = property(lambda self: self.weight.device)


def test_the_memory_manager_is_asked_for_room(comfy):
    network = Fixed(2, 2)
    placement = place(network)
    assert placement.ready(777) == placement.ready(2) == CPU
    assert [call.memory_required for call in comfy.calls] == [777, 2] and all(call.force_full_load for call in comfy.calls)
    (patcher,) = comfy.calls[0].models
    assert comfy.calls[1].models == [patcher] and len(comfy.current_loaded_models) == 1, "one patcher serves all runs"
    assert type(patcher) is Patcher and patcher.load_device == CPU
    assert list(patcher.model.children()) == [network]


def test_the_patchers_class_is_read_when_it_is_needed(comfy):
    comfy.patchers.CoreModelPatcher = NewerPatcher
    place(nn.Linear(2, 2)).ready(1)
    del comfy.patchers.CoreModelPatcher
    place(nn.Linear(2, 2)).ready(1)
    assert [type(call.models[0]) for call in comfy.calls] == [NewerPatcher, Patcher], "an older ComfyUI has only the old one"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("unloaded", ["before", "after", "in a prompt", "never"])
def test_models_go_with_the_last_node_object_and_the_device(comfy, monkeypatch, unloaded):
    """As ComfyUI's "Free model and node cache" does, whatever graphs came before; if only the graph changes, they stay."""
    free()
    monkeypatch.setattr(load, "_uses", weakref.WeakKeyDictionary())
    queue = SimpleNamespace(currently_running={0: "prompt"} if unloaded == "in a prompt" else {})
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue))))
    nodes = [NODE_CLASS_MAPPINGS["DepthNormal_LoadModel"]() for _ in range(2)]
    for index in range(2):
        nodes[index].execute(model="tiny", precision="float32")[0].estimate(torch.zeros(1, 3, 32, 32))
    if unloaded in ("before", "in a prompt"):
        comfy.current_loaded_models.clear()
    nodes.pop()
    assert load._cache
    nodes.pop()
    assert bool(load._cache) is (unloaded != "before")
    if unloaded == "after":
        comfy.current_loaded_models.clear()
        assert not load._cache


@pytest.mark.parametrize("half_way", [False, True])
def test_weights_that_the_manager_left_behind_are_fetched(comfy, half_way):
    comfy.leaves = True
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    if half_way:
        network[0].to(META)
    assert place(network, META).ready(1) == META
    assert {tensor.device for tensor in (*network.parameters(), *network.buffers())} == {META}


@pytest.mark.slow("runs a network three times")
def test_a_manager_that_replaces_weights_between_calls_changes_no_result(comfy):
    photo = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = load_model("tiny", "float32", "cpu").estimate(photo)
    free()
    comfy.patchers.CoreModelPatcher, load = DynamicPatcher, comfy.load_models_gpu
    comfy.load_models_gpu = lambda models, **more: (load(models, **more), [patcher.load() for patcher in models])
    model = load_model("tiny", "float32", "cpu")
    for _ in range(2):
        with torch.inference_mode():
            found = model.estimate(photo)
        torch.testing.assert_close((found.depth, found.normals), (expected.depth, expected.normals))
        assert comfy.calls and comfy.calls[-1].models[0].own, "through the manager"
        comfy.calls[-1].models[0].give_back()


class TooLarge(nn.Linear):
    """Does not fit on any device but the CPU: there is memory for its weight, and none for its bias."""

    def to(self, *args, **options):
        if torch.device(args[0]) == CPU:
            self.weight = nn.Parameter(self.own)
            return super().to(*args, **options)
        self.own, self.weight = self.weight.data, nn.Parameter(self.weight.to(*args))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_a_network_that_does_not_fit_runs_on_the_cpu_and_says_so(comfy, caplog):
    comfy.leaves = True
    network = TooLarge(2, 2)
    with caplog.at_level(logging.WARNING):
        assert place(network, META).ready(1) == CPU
    assert network.weight.device == CPU
    assert "tiny does not fit on meta: running on the CPU" in caplog.text


def test_outside_comfyui_a_network_goes_to_its_device_or_is_refused_by_name_and_leaves_it(alone, monkeypatch):
    fits = nn.Linear(2, 2)
    assert place(fits, META).ready(10) == fits.weight.device == META
    monkeypatch.setattr(devices, "available_memory", lambda _device: 10**7)
    network = TooLarge(2, 2)
    said = r'^tiny does not fit in the memory of meta: its weights take 0 MB; .*device="cpu"'
    with pytest.raises(WeightsTooLargeError, match=said) as raised:
        place(network, META).ready(1)
    assert {tensor.device for tensor in network.parameters()} == {CPU}
    assert raised.value.__cause__ is raised.value.__context__ is None, "whose traceback would keep what was moved alive"


def test_another_error_while_moving_is_not_hidden(comfy):
    comfy.leaves, network = True, nn.Linear(2, 2)
    network.to = Mock(side_effect=RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        place(network, META).ready(1)


def test_an_unloaded_model_leaves_comfyuis_list_and_runs_again_under_the_manager(comfy):
    first, second = place(nn.Linear(2, 2)), place(nn.Linear(2, 2))
    first.unload()  # which never ran
    first.ready(1)
    second.ready(1)
    comfy.emptied.clear()
    (patcher,), (other,) = (call.models for call in comfy.calls)
    first.unload()
    assert patcher.unloaded == 1 and comfy.emptied == [1]
    assert [entry.model for entry in comfy.current_loaded_models] == [other]
    assert first.ready(2) == CPU
    assert comfy.calls[-1].models == [patcher] and comfy.calls[-1].memory_required == 2
    assert [entry.model for entry in comfy.current_loaded_models] == [patcher, other]
    first.unload()
    assert patcher.unloaded == 2 and [entry.model for entry in comfy.current_loaded_models] == [other]


def test_an_unloaded_network_is_free_to_die(comfy):
    network = nn.Sequential(nn.Linear(2, 2))
    placement = place(network)
    placement.ready(1)
    alive = weakref.ref(network)
    placement.unload()
    comfy.calls.clear()
    del network, placement
    gc.collect()
    assert alive() is None


def computing(network, seconds=10.0):
    """Runs a network again and again; how often."""
    runs, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        network(torch.zeros(1, 2))
        runs += 1
    return runs


def cancelled_after(comfy, seconds):
    threading.Timer(seconds, setattr, (comfy, "interrupted", True)).start()
    return time.monotonic()


def test_a_nodes_work_ends_between_two_steps_where_it_is_cancelled(comfy):
    begin = cancelled_after(comfy, 0.1)
    with pytest.raises(Stop):
        interrupt.interruptible(computing)(nn.Linear(2, 2))
    assert time.monotonic() - begin < 5
    comfy.interrupted = False
    assert interrupt.interruptible(computing)(nn.Linear(2, 2), 0.2) > 1, "nothing is left that would end the next"
    assert interrupt.interruptible(computing).__doc__ == computing.__doc__


def in_an_operation(seconds, called_from):
    """A function in the file `called_from` that spends its time in Python with which torch wraps an operation."""
    names = {"time": time, "end": time.monotonic() + seconds}
    for file, source in (
        (torch.functional.__file__, "def operation():\n    while time.monotonic() < end:\n        pass"),
        (called_from, "def work():\n    operation()\n    return 'done'"),
    ):
        exec(compile(source, str(file), "exec"), names)
    return names["work"]


def test_a_nodes_work_ends_after_an_operation_that_torch_wraps_in_python(comfy):
    comfy.interrupted = True
    with pytest.raises(Stop):
        interrupt.interruptible(in_an_operation(10, Path(geometry.__file__)))()


def test_another_librarys_work_is_not_ended_in_an_operation(comfy):
    cancelled_after(comfy, 0.1)
    work = in_an_operation(0.4, "another_library.py")
    ended = []
    with pytest.raises(Stop):
        interrupt.interruptible(lambda: (ended.append(work()), computing(nn.Linear(2, 2))))()
    assert ended == ["done"]


def test_a_nodes_work_is_not_looked_after_outside_comfyui(comfy, monkeypatch):
    comfy.interrupted = True
    monkeypatch.delitem(sys.modules, "comfy.model_management")
    assert interrupt.interruptible(computing)(nn.Linear(2, 2), 0.2) > 1


def test_looking_for_a_cancel_costs_each_step_nothing(comfy):
    def inside():
        return torch.overrides._get_current_function_mode_stack()  # a mode is asked before each of torch's functions: twice the time

    assert interrupt.interruptible(inside)() == []


def test_a_cancel_that_comes_too_late_for_the_computation_still_ends_the_node(comfy, monkeypatch):
    monkeypatch.setattr(interrupt, "_send", lambda thread, kind: None)  # it never arrives
    cancelled_after(comfy, 0.1)
    with pytest.raises(Stop):
        interrupt.interruptible(computing)(nn.Linear(2, 2), 0.5)


def test_a_computation_that_fails_says_so(comfy):
    with pytest.raises(ValueError, match="found"):
        interrupt.interruptible(Mock(side_effect=ValueError("found")))()


def test_the_memory_manager_is_not_interrupted_while_it_moves_models(comfy):
    network = nn.Linear(2, 2)
    placement = place(network)
    moved = comfy.load_models_gpu

    def move(*models, **more):
        comfy.interrupted = True
        computing(network, 0.3)
        moved(*models, **more)
        comfy.interrupted = False

    comfy.load_models_gpu = move
    assert interrupt.interruptible(placement.ready)(1000) == CPU and len(comfy.current_loaded_models) == 1


def test_an_import_is_not_left_half_done(comfy, tmp_path, monkeypatch):
    (tmp_path / "slow_library.py").write_text(
        "import time, torch\nlayer, end = torch.nn.Linear(2, 2), time.monotonic() + 0.3\n"
        "while time.monotonic() < end:\n    layer(torch.zeros(1, 2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    comfy.interrupted = True
    interrupt.interruptible(lambda: importlib.import_module("slow_library"))()
    assert sys.modules.pop("slow_library").layer is not None


@pytest.fixture
def page(comfy, monkeypatch):
    """ComfyUI's server with a page that listens; gives what was sent to it, its progress bar and the clock."""
    page = SimpleNamespace(client_id="page", last_node_id="7", last_prompt_id="first", sent=[], bar=[], clock=SimpleNamespace(now=100.0))
    page.send_progress_text = lambda *words: page.sent.append(words)
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=page)))
    monkeypatch.setattr(feedback, "_spoken", feedback._Spoken())
    monkeypatch.setattr(feedback.time, "monotonic", lambda: page.clock.now)
    progress = SimpleNamespace(ProgressBar=lambda total: SimpleNamespace(update_absolute=lambda *done: page.bar.append((total, *done))))
    monkeypatch.setitem(sys.modules, "comfy.utils", progress)
    return page


def test_words_go_to_the_node_that_runs_in_the_page_that_asked(page, monkeypatch):
    feedback.show_message("loading tiny")
    context = SimpleNamespace(prompt_id="second", node_id="5:3")
    monkeypatch.setitem(sys.modules, "comfy_execution.utils", SimpleNamespace(get_executing_context=lambda: context))
    feedback.show_message("loading tiny")
    assert page.sent == [("loading tiny", "7", "page"), ("loading tiny", "5:3", "page")], "ComfyUI's executing one where it tells"


@pytest.mark.parametrize("missing", ["client_id", "send_progress_text"])
def test_nobody_listens(page, missing):
    """A prompt of a script, and an old ComfyUI."""
    page.client_id = None if missing == "client_id" else "page"
    if missing == "send_progress_text":
        del page.send_progress_text
    feedback.show_message("loading tiny")
    feedback.note("PREVIEW")
    assert page.sent == []


def test_of_many_words_four_a_second_are_sent_and_what_matters_always(page):
    for _ in range(100):
        feedback.show_message("much", often=True)
        page.clock.now += 0.02
    assert 7 <= len(page.sent) <= 9
    feedback.show_message("loading")
    feedback.show_message("running")
    assert [words for words, *_ in page.sent[-2:]] == ["loading", "running"]


@pytest.mark.parametrize(("seconds", "words"), [(0.1, []), (2, ["running 1 of 3", "running 2 of 3", "done in 6.0 s"])])
def test_a_node_that_takes_long_says_how_far_it_is_and_how_long_it_took(page, seconds, words):
    move = feedback.progress_bar(100)
    for done in (1, 2, 3, 3):
        page.clock.now += seconds
        move(done, 3)
    assert [said for said, *_ in page.sent] == words
    assert page.bar == [(100, 1, 3), (100, 2, 3), (100, 3, 3), (100, 3, 3)]


def test_a_note_stands_before_all_that_the_node_says_and_not_before_the_next_nodes(page):
    feedback.note("PREVIEW by tiny, not leres")
    feedback.show_message("running tiny")
    feedback.progress_bar(1)(1, 1)
    page.last_node_id = "8"
    feedback.progress_bar(1)(1, 1)  # in no time, and this node has said nothing yet
    feedback.show_message("running leres")
    assert [words for words, *_ in page.sent] == [
        "PREVIEW by tiny, not leres",
        "PREVIEW by tiny, not leres: running tiny",
        "PREVIEW by tiny, not leres: done in 0.0 s",
        "running leres",
    ]


def test_what_the_log_warns_of_stands_on_the_node_that_runs(page):
    """A photograph for a normal map, a model that takes another size: the log says the latter once, the node each time."""
    photo = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    NODE_CLASS_MAPPINGS["DepthNormal_ConvertNormalMap"]().execute(photo)
    assert "the normal map does not look like a normal map" in page.sent[-1][0]
    model = load_model("tiny", "float32", "cpu")
    estimator = NODE_CLASS_MAPPINGS["DepthNormal_EstimateGeometry"]()
    for node in "89":
        page.last_node_id = node
        result = estimator.execute(model, photo, resolution=768)
        assert result["ui"] == {"depth_normal_notes": [other_size(model.spec, 768)]}, "for the page, after the run"
        done = ": done in 0.0 s" if node == "8" else ""  # the second time the network does not run again
        assert page.sent[-1][:2] == (other_size(model.spec, 768) + done, node)


def test_what_was_said_of_a_models_file_stands_on_every_node_that_uses_it(page, monkeypatch, tmp_path):
    path = shutil.copy(bundled_path(MODELS["tiny"].file), tmp_path / "mine.safetensors")
    monkeypatch.setattr(FAMILIES["tiny"], "name_contradicts", lambda spec, path: "its name says otherwise")
    monkeypatch.setattr(identify, "_recognise", lambda path: (identify.logger.warning("it could be two"), MODELS["tiny"])[1])
    said = []
    for page.last_node_id in "89":
        feedback.noting_warnings(load_model)(None, "float32", "cpu", path)
        said.append(feedback.notes_of_run())
    free("tiny")
    assert said == [["it could be two", "its name says otherwise"]] * 2


def test_an_error_has_a_short_name_in_the_page(page, monkeypatch):
    """There, the pack's name is a path, which would stand before the message."""
    home = "C:/ComfyUI/custom_nodes/depth normal"
    errors = [type("Error", (ValueError,), {"__module__": module}) for module in (f"{home}.options.checks", "of.others")]
    monkeypatch.setattr(feedback, "_PACK", home)
    for error in errors:
        with pytest.raises(error, match="what to do"):
            feedback.noting_warnings(Mock(side_effect=error("what to do")))()
    assert [error.__module__ for error in errors] == ["depth_normal", "of.others"]


def test_every_node_notes_what_the_log_warns_of():
    for node_id, node in NODE_CLASS_MAPPINGS.items():
        chain = [node.execute]
        while inner := getattr(chain[-1], "__wrapped__", None):
            chain.append(inner)
        assert [getattr(each, "__code__", None) for each in chain].count(feedback.noting_warnings(print).__code__) == 1, node_id
