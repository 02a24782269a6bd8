"""Two models loaded one after the other, in a process of their own with ComfyUI's memory manager: nothing but their weights stays."""

import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from depth_normal.annotators.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
TINY = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "tiny_depth.py")))
FIRST, SECOND = "depth-anything-v2-large", "zoedepth-nyu"
pytestmark = pytest.mark.comfyui

SCRIPT = """
import gc, importlib.util, runpy, sys, weakref
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.utils, comfy.model_management as mm, comfy.model_patcher, folder_paths, torch
pack, folder, first, second = {pack!r}, {folder!r}, {first!r}, {second!r}
spec = importlib.util.spec_from_file_location("pack_under_test", pack + "/__init__.py", submodule_search_locations=[pack])
module = sys.modules["pack_under_test"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pack_under_test.annotators.registry import MODELS
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


def test_two_models_leave_only_what_the_manager_keeps(comfyui_python, tmp_path):
    for model_id in (FIRST, SECOND):
        spec = TINY.shrunk(MODELS[model_id])
        TINY.write_file(spec, tmp_path / spec.file.name)
    script = SCRIPT.format(pack=str(ROOT), folder=str(tmp_path), first=FIRST, second=SECOND)
    comfyui = comfyui_python.parents[2] / "ComfyUI"
    run = subprocess.run([comfyui_python, "-c", script], cwd=comfyui, capture_output=True, text=True)
    assert run.stdout.endswith("all good\n"), run.stderr[-3000:]
