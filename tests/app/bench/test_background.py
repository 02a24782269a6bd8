"""The measuring of runtimes beside a run: when it begins, that it leaves nothing behind, and that it keeps what `auto` then takes."""

import io
import json
import os
import runpy
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch.options import Options
from depth_normal.app.bench import background, timing
from depth_normal.app.bench.background import Measuring
from depth_normal.app.ui import jobs
from depth_normal.geometry.files.file_lock import FileLock
from depth_normal.model_loader.runtimes import measured
from depth_normal.model_loader.runtimes.engine_store import store_folder
from depth_normal.model_loader.runtimes.measured import Measurement

CPU = torch.device("cpu")
EXACT = Measurement("onnx", "float32", 1.4, 0.02, 0.01, 1.0, 0.0)
CHANGED = Measurement("openvino", "bfloat16", 3.5, 2.5, 1.0, 0.99996, 0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    write = timing.write_image
    monkeypatch.setattr(timing, "write_image", lambda path, _image_size: write(path, (96, 64)))
    monkeypatch.setattr(background, "_SECONDS_EACH", 0.01)


@pytest.fixture
def options(convolved):
    return Options(model="convolved", weights=convolved.weights, runtime="auto")


@pytest.fixture
def task():
    return {"model": "convolved", "device": "cpu", "threads": torch.get_num_threads()}


@pytest.fixture
def engines(monkeypatch):
    """Engines count as installed."""
    monkeypatch.setattr(background, "is_installed", lambda _runtime: True)


def may_time():
    event = threading.Event()
    event.set()
    return event


def test_real_engines_are_measured_and_auto_takes_the_fastest(options, task, convolved):
    """Engines of this machine, in this process; which is faster does not matter here."""
    for package in ("openvino", "onnxruntime"):
        pytest.importorskip(package)
    said = []
    background.measure(convolved.weights, task, may_time(), said.append)
    assert said == ["ready", "kept"]
    found = measured.kept(MODELS["convolved"], convolved.weights, CPU)
    assert {"onnx", "openvino"} <= {each.runtime for each in found}
    assert all(each.times > 0 for each in found) and all(each.is_exact for each in found if each.dtype == "float32")
    assert background.outcome(options, "cpu").startswith("convolved: later runs use ")
    assert not options.is_unmeasured("cpu") and not background.may_measure(options, "cpu")
    assert convolved.load("auto", "auto").runtime == convolved.load(options.choice("cpu").runtime, options.choice("cpu").dtype).runtime
    assert not list(store_folder().rglob("*.part"))


def test_what_changes_the_maps_is_not_timed(options, task, convolved, monkeypatch):
    wrong = (5.0, 3.0, 0.9, 0.5)
    monkeypatch.setattr("depth_normal.app.bench.runtimes.faithfulness", lambda *_: wrong)
    background.measure(convolved.weights, task, may_time(), lambda _: None)
    assert measured.kept(MODELS["convolved"], convolved.weights, CPU) == []
    assert "later runs use torch" in background.outcome(options, "cpu")


def test_of_two_processes_one_measures(options, task, convolved):
    folder = store_folder() / "measured"
    folder.mkdir(parents=True)
    said = []
    with FileLock(folder / "measuring.lock"):
        background.measure(convolved.weights, task, may_time(), said.append)
    assert said == [] == convolved.exports and options.is_unmeasured("cpu")
    measured.keep(MODELS["convolved"], convolved.weights, CPU, [EXACT])
    background.measure(convolved.weights, task, may_time(), said.append)
    assert said == [] == convolved.exports, "it was measured meanwhile"


def test_it_ends_where_memory_is_short(options, task, convolved, monkeypatch, engines):
    monkeypatch.setattr(background, "free_main_memory", lambda: 2**29)
    with pytest.raises(MemoryError):
        background.measure(convolved.weights, task, may_time(), lambda _: None)
    monkeypatch.setattr(background, "_started", lambda _task: pytest.fail("no process is started"))
    told = []
    with Measuring(options, "cpu", told.append) as measuring:
        assert measuring.is_wanted
        measuring.begin()
        measuring.finish()
    assert not told


@pytest.mark.parametrize("reason", ["setting", "torch", "fast", "measured", "light", "no engine", "gpu", "no graph", "bundled"])
def test_nothing_is_measured_unasked_where_it_is_not_wanted_or_of_no_use(reason, options, convolved, monkeypatch, engines):
    assert background.may_measure(options, "cpu")
    if reason == "setting":
        monkeypatch.setenv(background.SETTING, "0")
    elif reason in ("torch", "fast"):
        options = replace(options, runtime=reason)
    elif reason == "measured":
        measured.keep(MODELS["convolved"], convolved.weights, CPU, [])
    elif reason == "light":
        options = Options(model="tiny", runtime="auto")
    elif reason == "no engine":
        monkeypatch.setattr(background, "is_installed", lambda _runtime: False)
    elif reason == "bundled":
        monkeypatch.setattr(background, "_PYTHON", "")
    elif reason == "gpu":
        monkeypatch.setattr(background, "parse_device", lambda _name: torch.device("mps"))
    else:
        monkeypatch.setattr(convolved.family, "why_no_graph", classmethod(lambda *_: "it is no graph"))
    assert not background.may_measure(options, "cpu")


@pytest.mark.parametrize(
    ("seconds_each", "total", "begins_behind"),
    [(1.0, 100, 10), (1.0, 69, None), (20.0, 4, 1), (0.125, 10**6, 80), (0.001, 5000, None), (1.0, None, None)],
)
def test_it_begins_once_a_run_has_taken_and_will_take_long(seconds_each, total, begins_behind, options, engines, monkeypatch):
    """10 seconds so far, and a minute still, by the speed so far."""
    clock = [100.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: clock[0])
    begun = []
    measuring = Measuring(options, "cpu", lambda _: None)
    tick, done = measuring.watch(total), 0

    def begin():
        measuring.is_wanted = False
        begun.append(done)

    monkeypatch.setattr(measuring, "begin", begin)
    for _ in range(min(total or 200, 200)):
        done += 1
        clock[0] += seconds_each
        tick(1)
    assert begun == ([] if begins_behind is None else [begins_behind])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([EXACT, CHANGED], "later runs use onnx float32, 1.40 times as fast.*; with --runtime fast openvino bfloat16, 3.50 times"),
        ([EXACT, replace(CHANGED, times=1.5)], "later runs use onnx float32, 1.40 times as fast[^;]*$"),
        ([replace(EXACT, times=0.8)], r"later runs use torch: .*5 % faster \(times torch: onnx float32 0.80\)$"),
        ([], r"\(times torch: none\)"),
    ],
)
def test_a_line_says_what_was_chosen_and_why(found, expected, options, convolved):
    import re

    measured.keep(MODELS["convolved"], convolved.weights, CPU, found)
    assert re.search(expected, background.outcome(options, "cpu"))


class Script:
    """In place of the process that measures: Python code of our own."""

    def __init__(self, monkeypatch, code):
        self.processes = []
        started = background.subprocess.Popen

        def start(command, **settings):
            self.processes.append(started([sys.executable, "-c", code], **settings))
            return self.processes[-1]

        monkeypatch.setattr(background.subprocess, "Popen", start)


@pytest.mark.parametrize("error", [OSError("no process"), RuntimeError("can't start new thread"), FileNotFoundError("weights")])
def test_a_run_goes_on_where_nothing_can_be_begun(error, options, engines, monkeypatch):
    def fail(*_, **__):
        raise error

    started = SimpleNamespace(stdin=io.StringIO(), stdout=io.StringIO())
    if isinstance(error, RuntimeError):
        monkeypatch.setattr(background, "_started", lambda _task: started)
        monkeypatch.setattr(background.threading, "Thread", fail)
    else:
        monkeypatch.setattr(background, "_size_of_weights" if error.args == ("weights",) else "_started", fail)
    told = []
    with Measuring(options, "cpu", told.append) as measuring:
        measuring.begin()
        assert not measuring.is_wanted
        measuring.finish()
    assert not told and started.stdin.closed is isinstance(error, RuntimeError)


@pytest.mark.slow("starts another process")
def test_the_process_has_the_packages_of_the_run(tmp_path, monkeypatch, options, caches):
    """Also those found by a path that holds in the run's folder alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only_of_the_run.py").write_text("WORD = 'found'")
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.syspath_prepend(tmp_path)
    script = Script(monkeypatch, "import sys, only_of_the_run; sys.stdin.readline(); print(only_of_the_run.WORD)")
    background._started({"model": options.model})
    assert script.processes[0].communicate(timeout=30)[0] == "found\n"


SAYS_WHERE = """
from depth_normal.app.bench import background
background.measure = lambda _weights, _task, _may_time, say: say(str(background.store_folder().absolute()))
background.main()
"""


@pytest.mark.slow("starts another process")
def test_the_process_keeps_what_it_measures_where_the_run_looks(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTH_NORMAL_HOME", "a folder")
    Script(monkeypatch, SAYS_WHERE)
    process = background._started(Measuring(options, "cpu", print)._task())
    assert process.stdout.readline() == f"{store_folder().absolute()}\n"
    process.communicate(timeout=30)


@pytest.mark.slow("starts another process")
def test_a_run_that_ends_early_ends_the_measuring_and_says_nothing(options, engines, monkeypatch):
    script = Script(monkeypatch, "import sys; sys.stdin.readline(); sys.stdin.read()")
    told = []
    with pytest.raises(KeyboardInterrupt), Measuring(options, "cpu", told.append) as measuring:
        measuring.begin()
        raise KeyboardInterrupt
    assert script.processes[0].wait(10) == 0 and len(told) == 1
    with Measuring(options, "cpu", told.append) as measuring:
        measuring.begin()
        measuring.finish()  # not all is built: nobody waits
    assert script.processes[1].wait(10) == 0 and len(told) == 2


@pytest.mark.slow("starts another process")
@pytest.mark.parametrize("is_idle", [False, True])
def test_what_is_kept_is_said_at_the_end(is_idle, options, engines, monkeypatch, convolved):
    code = "import sys; task = sys.stdin.readline(); print('ready', flush=True); print(sys.stdin.readline() and 'kept', flush=True)"
    Script(monkeypatch, code)
    measured.keep(MODELS["convolved"], convolved.weights, CPU, [EXACT])
    monkeypatch.setattr(background, "may_measure", lambda *_: True)
    told, end = [], time.monotonic() + 20
    with Measuring(options, "cpu", told.append) as measuring:
        measuring.begin(is_idle)
        while not (told and is_idle) and "ready" not in measuring._said and time.monotonic() < end:
            time.sleep(0.01)
        if not is_idle:
            measuring.finish()
        while is_idle and not told and time.monotonic() < end:
            time.sleep(0.01)
    assert "later runs use onnx float32" in told[-1] and len(told) == (1 if is_idle else 3)


@pytest.mark.slow("starts another process")
def test_timing_that_takes_too_long_is_left(options, engines, monkeypatch):
    script = Script(monkeypatch, "import sys; sys.stdin.readline(); print('ready', flush=True); sys.stdin.read()")
    monkeypatch.setattr(background, "_SHORTEST", 0.2)
    told = []
    with Measuring(options, "cpu", told.append) as measuring:
        measuring.begin()
        while "ready" not in measuring._said:
            time.sleep(0.01)
        started = time.monotonic()
        measuring.finish()
    assert time.monotonic() - started < 5 and len(told) == 2
    assert script.processes[0].wait(10) == 0 and options.is_unmeasured("cpu")


@pytest.fixture(scope="module")
def midas(tmp_path_factory):
    """Random weights of the smallest model that is run by an engine."""
    families = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "families.py"))
    path = tmp_path_factory.mktemp("weights") / "midas.safetensors"
    families["mend_torchvision"]()
    save_file(families["random_state"](MODELS["midas-v2.1-small"]), path)
    return path


@pytest.mark.slow("exports a network in another process")
def test_the_process_builds_real_engines_and_keeps_their_times(midas, caches, monkeypatch):
    for package in ("openvino", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.setattr(background, "_LONGEST", 600.0)
    monkeypatch.setattr(background, "_SHORTEST", 600.0)
    monkeypatch.setattr(background, "_NICE", 0)  # other tests run beside this one
    options, told, end = Options(model="midas-v2.1-small", weights=midas, runtime="auto"), [], time.monotonic() + 900
    with Measuring(options, "cpu", told.append) as measuring:
        measuring.begin()
        while "ready" not in measuring._said:
            assert "ended" not in measuring._said and time.monotonic() < end
            time.sleep(0.1)
        assert options.is_unmeasured("cpu"), "while the run goes on nothing is timed"
        measuring.finish()
    assert {each.runtime for each in measured.kept(MODELS[options.model], midas, CPU)} >= {"onnx", "openvino"}
    assert told[-1] == background.outcome(options, "cpu") and not list(store_folder().rglob("*.part"))


ENDS_LATE = """
import sys, time
from depth_normal.app.bench import background
from depth_normal.model_loader.runtimes import engine_store
background._END_SECONDS = 0.1
def build(folder):
    (folder / "half").write_bytes(b"half")
    end = time.monotonic() + 60
    while time.monotonic() < end:  # as in a library's code, which takes an interruption for nothing
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            pass
background.measure = lambda *_: engine_store.kept({"model": "a", "weights": "b", "engine": "c"}, build, print)
background.main()
"""


@pytest.mark.slow("starts another process")
def test_a_process_that_cannot_end_well_leaves_nothing_half_written(caches, options, engines, monkeypatch):
    script = Script(monkeypatch, ENDS_LATE)
    end = time.monotonic() + 60
    with Measuring(options, "cpu", lambda _: None) as measuring:
        measuring.begin()
        while not list(store_folder().rglob("half")):
            assert script.processes[0].poll() is None and time.monotonic() < end
            time.sleep(0.02)
    assert script.processes[0].wait(30) == 1
    assert not list(store_folder().rglob("*.part"))


@pytest.mark.slow("exports a network in another process")
def test_a_process_that_is_stopped_leaves_nothing_half_written(midas, caches):
    pytest.importorskip("onnxscript")
    options = Options(model="midas-v2.1-small", weights=midas, runtime="auto")
    process = background._started(
        {"model": options.model, "weights": str(midas), "device": "cpu", "threads": 1, "nice": 0, "folder": str(Path.cwd())}
    )
    end = time.monotonic() + 300
    while not list(store_folder().rglob("*.part")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.stdin.close()
    process.wait(60)
    process.stdout.close()
    assert not list(store_folder().rglob("*.part")) and not list((store_folder() / "measured").glob("*.json"))


@pytest.mark.slow("starts another process")
def test_the_process_gives_way_to_the_run():
    code = (
        "import os, sys; from depth_normal.app.bench import background; background._give_way(10); print(os.nice(0)); "
        "group = '/proc/self/autogroup'; print(open(group).read() if os.path.exists(group) else 'nice 10')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    own, group = done.stdout.splitlines()[:2]
    assert int(own) >= 10 and group.endswith("nice 10"), done.stderr


def test_the_process_prints_only_its_own_lines(capfd):
    with background._results() as say:
        os.write(1, b"of a library")
        say("ready")
    assert capfd.readouterr().out == "ready\n"


def test_the_task_is_one_line(options, engines):
    assert "\n" not in json.dumps(Measuring(options, "cpu", print)._task())


def test_the_document_says_when_it_measures():
    page = " ".join((Path(background.__file__).parents[2] / "docs" / "runtimes.md").read_text(encoding="utf-8").split())
    assert (background._LONG_SO_FAR, background._LONG_STILL) == (10, 60) and "has taken 10 seconds and needs another minute" in page
    assert (background._SHARE, background._SHORTEST, background._LONGEST) == (0.05, 5, 60)
    assert "for 5 % of the time that the run took, at least 5 and at most 60 seconds" in page
    assert (background._FREE_PER_WEIGHT, background._FREE) == (10, 2 * 2**30) and "ten times the weights and 2 GiB" in page
    assert (jobs._MANY_IMAGES, jobs._IDLE_SECONDS) == (4, 10)
    assert "after four images by one model, once nothing was asked of it for ten seconds" in page
