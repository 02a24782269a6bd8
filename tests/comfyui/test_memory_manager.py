"""ComfyUI's own memory manager, in a process of its own: models are registered with it, freed by it and by us, and leave nothing else."""

import subprocess
from pathlib import Path

import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_depth as TINY

ROOT = Path(__file__).resolve().parents[2]
PAIR = "depth-anything-v2-large", "zoedepth-nyu"

pytestmark = pytest.mark.comfyui

SCRIPT = """
import gc, importlib.util, runpy, sys, weakref
pack, midas, folder, first, second = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.utils, comfy.model_management as mm, comfy.model_patcher, folder_paths, torch
spec = importlib.util.spec_from_file_location("pack_under_test", pack + "/__init__.py", submodule_search_locations=[pack])
module = sys.modules["pack_under_test"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pack_under_test.annotators.registry import MODELS

def estimate(model):
    with torch.inference_mode():
        return next(model.estimates(torch.rand(2, 3, 64, 64), 64)).depth

model = module.load_model("midas-v2.1-small", weights=midas)
assert module.load_model("midas-v2.1-small", weights=midas) is model
assert not mm.current_loaded_models, "nothing is placed before it is asked to run"
estimate(model)
(loaded,) = mm.current_loaded_models
assert isinstance(loaded.model, comfy.model_patcher.CoreModelPatcher)
estimate(model)
assert len(mm.current_loaded_models) == 1
mm.unload_all_models()
assert not mm.current_loaded_models
assert torch.isfinite(estimate(model)).all(), "runs again after ComfyUI unloaded it"
assert len(mm.current_loaded_models) == 1
# a node's output that ComfyUI keeps, while this pack forgets the model to make room for another
host = sys.modules["pack_under_test.model_loader.comfy.devices"]
patcher, enough = loaded.model or mm.current_loaded_models[0].model, host.available_main_memory
host.available_main_memory = lambda: 0
other = module.load_model("tiny")
host.available_main_memory = enough
assert not mm.current_loaded_models, "what is forgotten is unloaded by the manager"
loads = []
load_models_gpu = mm.load_models_gpu
mm.load_models_gpu = lambda models, **more: loads.append((models, more)) or load_models_gpu(models, **more)
assert torch.isfinite(estimate(model)).all(), "it still runs"
assert loads[0][0] == [patcher] and loads[0][1]["memory_required"] > 0, "but not behind the manager's back"
assert [entry.model for entry in mm.current_loaded_models] == [patcher]
mm.load_models_gpu = load_models_gpu
mm.unload_all_models()
estimate(other), estimate(model)
assert len(mm.current_loaded_models) == 2
mm.free_memory(1e30, patcher.load_device)
assert not mm.current_loaded_models, "the manager may take it off as any other"
estimate(model)
(loaded,) = mm.current_loaded_models
del other, patcher, loads
network = weakref.ref(loaded.model.model if loaded.model else model.network)
del loaded, model
module.free()
gc.collect()
assert not mm.current_loaded_models and network() is None, "free() really frees"

# two models, one after the other: nothing but their weights stays
tiny = runpy.run_path(pack + "/tests/tiny_depth.py")

def load_and_run(name):
    model = module.load_model(name, "float32", weights=folder + "/" + MODELS[name].file.name)
    with torch.inference_mode():
        for part in model.estimates(torch.rand(3, 3, 56, 70), 56):
            assert torch.isfinite(part.depth).all()
    return model

def bytes_of(tensors):
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"]
    return sum(dict((storage.data_ptr(), storage.nbytes()) for storage in storages).values())

def alive():
    gc.collect()
    return bytes_of([each for each in gc.get_objects() if isinstance(each, torch.Tensor)])

def weights_of(model):
    network = model.network
    return bytes_of([*network.parameters(), *network.buffers()])

for name in (first, second):
    MODELS[name] = tiny["shrunk"](MODELS[name])
    load_and_run(name)  # what the libraries keep for good
module.free()
before = alive()
a = load_and_run(first)
b = load_and_run(second)
expected = weights_of(a) + weights_of(b)
assert expected > 2e6
assert alive() - before == expected, (alive() - before, expected, "only the weights stay: no state dict, no image, no feature map")
kept, other = mm.current_loaded_models
ours, theirs = (each._network.current.placement._patcher for each in (a, b))
assert kept.model is theirs and other.model is ours, "the manager knows both, once each"
del other, ours, theirs
mm.free_memory(1e30, kept.device, keep_loaded=[kept])
assert mm.current_loaded_models == [kept], "under pressure the manager takes the first off and keeps the second"
assert alive() - before == expected, "taken off the device is not read from disk again"
load_and_run(first)
assert len(mm.current_loaded_models) == 2 and alive() - before == expected, "and it comes back"

network, weight = weakref.ref(a.network), weights_of(b)
del a
module.free(first)
assert network() is None and mm.current_loaded_models == [kept], "forgetting one leaves the other"
assert alive() - before == weight
del b, kept
module.free()
assert alive() == before and not mm.current_loaded_models
print("all good")
"""


def test_models_live_under_comfyuis_memory_manager(midas_small, comfyui_python, tmp_path):
    for model_id in PAIR:
        spec = TINY.shrunk(MODELS[model_id])
        TINY.write_file(spec, tmp_path / spec.file.name)
    words = [comfyui_python, "-c", SCRIPT, ROOT, midas_small, tmp_path, *PAIR]
    run = subprocess.run(words, cwd=comfyui_python.parents[2] / "ComfyUI", capture_output=True, text=True)
    assert run.stdout.endswith("all good\n"), run.stderr[-3000:]
