"""ComfyUI's own memory manager, in a process of its own: models are registered with it, and freed by it and by us."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.comfyui

SCRIPT = """
import gc, importlib.util, sys, weakref
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.utils, comfy.model_management as mm, comfy.model_patcher, folder_paths, torch
pack, weights = {pack!r}, {weights!r}
spec = importlib.util.spec_from_file_location("pack_under_test", pack + "/__init__.py", submodule_search_locations=[pack])
module = sys.modules["pack_under_test"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

def estimate(model):
    with torch.inference_mode():
        return next(model.estimates(torch.rand(2, 3, 64, 64), 64)).depth

model = module.load_model("midas-v2.1-small", weights=weights)
assert module.load_model("midas-v2.1-small", weights=weights) is model
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
print("all good")
"""


def test_models_live_under_comfyuis_memory_manager(midas_small, comfyui_python):
    script = SCRIPT.format(pack=str(ROOT), weights=str(midas_small))
    comfyui = comfyui_python.parents[2] / "ComfyUI"
    run = subprocess.run([comfyui_python, "-c", script], cwd=comfyui, capture_output=True, text=True)
    assert run.stdout.endswith("all good\n"), run.stderr[-3000:]
