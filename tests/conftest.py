"""Which tests are slow, what no test may leave behind, and fixtures for all of them."""

import copy
import ctypes
import functools
import gc
import importlib.util
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

# Threads that wait for others would spin meanwhile, and on a machine that has other things to do take several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Sums depend on the number of threads in their last bits: the same on every machine. What is about threads sets their number itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# ONNX Runtime would send its makers what is run here, through the proxies that tests set too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Inductor would start processes to compile in, each of which imports torch.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# Python's own words are looked up forty times for each command: in a language of the system's, in folders of the disk.
os.environ["LANGUAGE"] = "C"
# Without a card, Triton interprets its kernels; it has to know before it is imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
import torch

from tests import (
    mend_torchvision,  # noqa: F401
    process_state,
    random_weights,
    ray_traced_scenes,
)

ROOT = Path(__file__).resolve().parent.parent
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_SLOW = pytest.StashKey[int]()  # how many are left out
_NEW_OBJECTS = 5000  # between two collections: with Python's 700 these take a twentieth of the time
_MUCH_MEMORY = 3 * 2**28  # bytes: to look for what nobody needs takes thirty milliseconds
_TINY = {}  # the networks that `tiny_at_hand` copies, by their types

# pytest gives each logger that does not propagate its handlers, three times for each test. torch has fifty of them. The tracer makes
# thousands of records for each export once it has any handler.
for _logger in [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]:
    _logger.propagate = True

# Each thread would keep what it frees for itself: networks that threads load lie beside those of all others.
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None
if _HAS_GLIBC := hasattr(_LIBRARY, "malloc_trim"):
    _LIBRARY.mallopt(_M_ARENA_MAX, 1)

# What a script runs in the background ignores Ctrl-C, what `nohup` runs a closed terminal, and so would every program that tests stop.
_STOPS = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
for _stop, _handler in ((getattr(signal, name), handler) for name, handler in _STOPS.items() if hasattr(signal, name)):
    if signal.getsignal(_stop) is signal.SIG_IGN:
        signal.signal(_stop, _handler)


# A test that uses one of these fixtures is slow, for this reason.
SLOW_FIXTURES = {
    "comfyui_python": "starts a ComfyUI server",
    "bpy_python": "starts Blender",
    "cluster": "starts a Ray cluster",
    "foreign": "reads files of other projects",
    "validator": "runs other projects' programs",
    "exported_tiny": "exports a network to ONNX",
    "run_driver": "starts Chromium",
    "run_benchmark": "runs a benchmark to its end",
    "shared": "reads weights and renders beside the checkout, which are not part of the project",
}


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too: ComfyUI, Chromium, Ray, Blender, exports, large images")
    parser.addoption("--cases", type=int, metavar="N", help="run only the first N cases of each parametrized test")


def pytest_collection(session):
    gc.disable()  # until all is imported: little of it is garbage, and each collection would look at everything


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks as slow what uses a slow fixture or is beyond `quick_cases`, so that `-m slow` and `-m "not slow"` choose all such tests."""
    if most := config.getoption("--cases"):
        _keep_first_cases(most, config, items)
    seen = Counter()
    for item in items:
        if quick := item.get_closest_marker("quick_cases"):
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > quick.args[0]:
                item.add_marker(pytest.mark.slow("more cases"))
        for name in SLOW_FIXTURES.keys() & set(item.fixturenames):
            item.add_marker(pytest.mark.slow(SLOW_FIXTURES[name]))
    if not config.getoption("--all"):
        named = [word for word in config.args if "::" in word]  # who names a slow test is told why it is skipped
        slow = [item for item in items if item.get_closest_marker("slow") and not any(word in item.nodeid for word in named)]
        config.stash[_SLOW] = len(slow)
        _leave_out(slow, config, items)


def _keep_first_cases(most, config, items):
    seen, beyond = Counter(), []
    for item in items:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        if seen[test] > most:
            beyond.append(item)
    _leave_out(beyond, config, items)


def _leave_out(those, config, items):
    left_out = {item.nodeid for item in those}
    items[:] = [item for item in items if item.nodeid not in left_out]
    config.hook.pytest_deselected(items=those)


def pytest_terminal_summary(terminalreporter, config):
    if count := config.stash.get(_SLOW, 0):
        terminalreporter.write_line(f"slow tests left out: {count}; --all runs them")


def pytest_collection_finish(session):
    """Leaves the million objects of imported libraries out of every later garbage collection, which would take a third of a second."""
    gc.enable()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    slow = item.get_closest_marker("slow")
    if slow and not item.config.getoption("--all"):
        (reason,) = slow.args
        pytest.skip(f"slow: {reason}; --all runs it")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    _seed()


def _seed():
    """What a test or a fixture draws without a generator of its own does not depend on what ran before it."""
    random.seed(0)
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` asks every kind of device, which takes a millisecond


@contextmanager
def _left_as_found(who):
    logger = logging.getLogger("depth_normal")
    with process_state.unchanged(who):
        level = logger.level
        yield
        if logger.level != level:  # the command line sets it for its process
            logger.setLevel(level)


@pytest.fixture
def torchs_own_bfloat16():
    """torch's own attention in bfloat16."""
    if "ATEN_CPU_CAPABILITY" in os.environ:
        pytest.skip("torch asks the processor, and not this variable, whether its attention can pack bfloat16, and then fails")


@pytest.fixture(autouse=True, scope="module")
def module_leaves_no_trace(request):
    """Of a module's fixtures: settings are restored, and the memory of those before is freed where there is much of it."""
    if _resident_bytes() > _MUCH_MEMORY:
        _free_memory()
        gc.freeze()  # what is left is libraries: the next collection need not look at them once more
    with _left_as_found(request.node.nodeid):
        yield


def _resident_bytes():
    """The memory of this process; more than any has where the system does not say it."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else sys.maxsize


def _free_memory():
    gc.collect()  # networks in reference cycles
    if _HAS_GLIBC:
        for threshold in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            _LIBRARY.mallopt(threshold, 2**25)  # a command that ran in this process has it keep whatever is freed
        _LIBRARY.malloc_trim(0)  # what was freed between blocks in use; else the process only grows


@pytest.fixture
def memory_freed():
    """For a test that builds a network of a gigabyte: nothing of it is left for the next."""
    _free_memory()
    yield
    _free_memory()


@pytest.fixture(autouse=True)
def test_leaves_no_trace(request, module_leaves_no_trace):
    with _left_as_found(request.node.nodeid):
        yield
        import depth_normal
        from depth_normal.model_loader.weights import find as installed

        depth_normal.free()
        installed.forget()


@pytest.fixture(scope="module")
def tiny_at_hand():
    """Whoever loads the pack's own model gets a copy of the network that was built first: a third of the time, hundreds of times."""
    from depth_normal.annotators.registry import MODELS
    from depth_normal.model_loader import load
    from depth_normal.model_loader.weights.integrity import bundled_path

    build, tiny = load._build, MODELS["tiny"]
    published = {file.role: bundled_path(file) for file in tiny.files}

    def copied(spec, paths, dtype):
        if spec.files != tiny.files or paths != published:
            return build(spec, paths, dtype)
        if dtype not in _TINY:
            _TINY[dtype] = build(spec, paths, dtype)
        return type(_TINY[dtype])(spec, _same_weights(_TINY[dtype].network))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_build", copied)
        patch.setattr(load, "bundled_weights", functools.cache(load.bundled_weights))
        yield
    changed = [name for each in _TINY.values() for name, weight in each.network.named_parameters() if weight._version]
    assert not changed, f"what copies share was written to: {changed}"


def _same_weights(module):
    """Another network whose weights lie in the same memory: a sixth of the time of `copy.deepcopy`."""
    copied = copy.copy(module)
    vars(copied).update({name: value.copy() for name, value in vars(module).items() if isinstance(value, dict)})
    for name, weight in module._parameters.items():
        copied._parameters[name] = None if weight is None else torch.nn.Parameter(weight.detach(), weight.requires_grad)
    for name, each in module._modules.items():
        copied._modules[name] = None if each is None else _same_weights(each)
    return copied


@pytest.fixture
def small_tiny(monkeypatch):
    """The pack's own model sees images small where no size is asked for."""
    from depth_normal.annotators.registry import MODELS

    monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], default_size=64))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of other people's weights beside the checkout; not part of the project."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"looks at what real weights see, and {folder} is not there; the comparisons with the authors' code take random ones")
    return folder


@pytest.fixture(scope="session")
def seam_step():
    """The mean change of maps (B, C, H, W) from pixel to pixel: over their seams, and inside."""

    def measured(maps):
        over = torch.cat([(maps[..., 0, :] - maps[..., -1, :]).flatten(), (maps[..., :, 0] - maps[..., :, -1]).flatten()])
        inside = torch.cat([maps.diff(dim=axis).flatten() for axis in (-1, -2)])
        return over.abs().mean().item(), inside.abs().mean().item()

    return measured


@pytest.fixture(scope="session")
def traced_scenes(tmp_path_factory) -> Path:
    """A folder of ray-traced images with true depth and normals (.npz)."""
    return ray_traced_scenes.write(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def rendered_scenes(shared) -> Path:
    """As `traced_scenes`, rendered by Blender."""
    return shared / "groundtruth" / "public"


@pytest.fixture(scope="module", params=["traced", pytest.param("rendered", marks=pytest.mark.slow(SLOW_FIXTURES["shared"]))])
def true_scenes(request) -> Path:
    """`traced_scenes`, then `rendered_scenes`."""
    return request.getfixturevalue(f"{request.param}_scenes")


@pytest.fixture(scope="session")
def partial_midas_small(shared, tmp_path_factory) -> Path:
    """MiDaS v2.1 small with its 1/32 branch zero: real weights, but not the whole of the authors' checkpoint."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(shared / "weights" / "midas_v21_small_256_partial.safetensors")
    assert not random_weights.ABSENT_FROM_PARTIAL.keys() & tensors.keys()
    tensors.update({key: torch.zeros(shape) for key, shape in random_weights.ABSENT_FROM_PARTIAL.items()})
    path = tmp_path_factory.mktemp("weights") / "midas_v21_small_256_partial.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def teacher_weights(tmp_path_factory) -> Path:
    """A folder of the teacher's two networks, as training/ wants it, with random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    random_weights.write_teacher(folder)
    return folder


@pytest.fixture(scope="session")
def midas_small(tmp_path_factory) -> Path:
    """MiDaS v2.1 small with random weights, for tests of everything around it."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "midas_v21_small_256_random.safetensors"
    save_file(random_weights.random_midas_small().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def photo():
    """(512, 512, 3) uint8: a person in front of a rocket, public domain (NASA)."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photograph")
    return data.astronaut()


@pytest.fixture(scope="session")
def bpy_python():
    """Path of a Python that has bpy: an interpreter of its own, named by DEPTH_NORMAL_BPY_PYTHON."""
    named = os.environ.get("DEPTH_NORMAL_BPY_PYTHON")
    if named:
        assert Path(named).is_file(), f"DEPTH_NORMAL_BPY_PYTHON={named}: no such file"
        return named
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs bpy: set DEPTH_NORMAL_BPY_PYTHON to a Python 3.11 with 'bpy==4.5.*' and tqdm installed")
    return sys.executable


@pytest.fixture(scope="session")
def run_driver():
    """Runs a script of Node (path, its words) in a real Chromium and gives what it prints; skips the test where one of them is missing."""
    if not Path(os.environ.get("PW", "")).is_file():
        pytest.skip("needs playwright-core (npm); set PW to its index.mjs")
    if not shutil.which("chromium"):
        pytest.skip("needs Chromium (apt-get install chromium)")

    def run(script, *words, timeout=300):
        done = subprocess.run(["node", *map(str, (script, *words))], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run
