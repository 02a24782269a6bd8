"""`depth-normal bench`: that its figures are of what they say, with a small image."""

import json
import runpy
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import per_image
from depth_normal.app.batch.options import Options
from depth_normal.app.bench import command as bench
from depth_normal.app.bench import runtimes, timing
from depth_normal.app.bench.command import as_json, table
from depth_normal.app.bench.runtimes import Row
from depth_normal.model_loader import load_model
from depth_normal.model_loader.runtimes import measured

OPTIONS = Options(MODELS["tiny"], size=32)
quick = partial(timing.measure, OPTIONS, "cpu", seconds=0.02, image_size=(80, 48))
WAYS = ["network", "network, 4 at once", "single", "batch", "folder"]


@pytest.fixture(scope="module")
def found():
    return quick()


@pytest.mark.slow("takes most of a second")
def test_what_is_slow_outside_the_network_is_told_so(monkeypatch):
    write = per_image.write

    def slow(*arguments):
        time.sleep(0.1)
        return write(*arguments)

    monkeypatch.setattr(per_image, "write", slow)
    figures = quick().figures
    for name in ("single", "batch"):
        assert figures[name].seconds - figures[name].network > 0.05, "the network itself is no slower"
        assert figures[name].of_network == figures[name].network / figures[name].seconds < 1


def test_a_family_with_an_estimate_of_its_own_is_measured_too(tmp_path, monkeypatch):
    """MoGe resizes and enlarges by itself; the network's time was 0 there."""
    known = runpy.run_path(str(Path(__file__).parents[2] / "annotators" / "test_moge.py"))
    spec = MODELS["moge-2-vits-normal"]
    tiny = replace(spec, config=known["CONFIG"], default_size=70, files=(replace(spec.file, sha256=None, size=None),))
    monkeypatch.setitem(MODELS, spec.id, tiny)
    torch.save({"model": known["tiny_state"]()}, tmp_path / "model.pt")
    timing.write_image(tmp_path / "a.jpg", (160, 96))
    model = load_model(spec.id, "float32", "cpu", tmp_path / "model.pt")
    (call,) = timing.network_calls(model, tmp_path / "a.jpg", Options(spec), 2)
    assert call.args[0].shape == (2, 3, 56, 84) and len(call()[0]) == 2


@pytest.mark.slow("takes most of a second")
def test_the_table_can_be_pasted_and_the_json_read(found, monkeypatch, capsys):
    monkeypatch.setattr(timing, "measure", lambda *_: found)
    assert list(found.figures) == WAYS
    assert cli.main(["bench", "--model", "tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == table(found).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(WAYS) and len({len(row) for row in rows}) == 1
    said = "\n".join(lines)
    assert "tiny, float32" in said and torch.__version__ in said and f"{torch.get_num_threads()} threads" in said
    assert cli.main(["bench", "--model", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_json(found)
    assert 0 < found.memory.get("process", 1) < 2**36


@pytest.mark.slow("takes most of a second")
def test_files_quicker_than_the_network_alone_were_measured_beside_other_work(found):
    figures = {name: replace(figure, seconds=figure.network) for name, figure in found.figures.items()}
    assert "measure again when it is idle" not in table(replace(found, figures=figures))
    figures["folder"] = replace(figures["folder"], seconds=figures["folder"].network / 6)
    assert "- files took less time than the network alone: " in table(replace(found, figures=figures))


@pytest.mark.gpu
def test_on_a_gpu_the_clock_waits_for_it():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found = timing.measure(Options(MODELS["tiny"]), "cuda", 0.5, (640, 384))
    assert found.memory["cuda"] > 2**20 and all(figure.seconds > 0 for figure in found.figures.values())
    assert torch.cuda.get_device_name() == found.machine["device"]


@pytest.mark.slow("takes most of a second")
def test_all_runtimes_are_printed_beside_torch(small_tiny, monkeypatch, capsys, tmp_path):
    """The engines are tested where they are built; here one is as torch, one is changed, and one is not there."""
    from depth_normal.model_loader.runtimes import choose

    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    changed = SimpleNamespace(onnx=1.0, openvino=1.02)

    class Running:
        def __init__(self, words, factor, graph):
            self.words, self._factor, self._graph = words, factor, graph
            if words.startswith("openvino"):  # as an engine of one size, which is built for the first image
                self.words, self._begun = "torch", words

        def __call__(self, *given):
            self.words = vars(self).get("_begun", self.words)
            return tuple(self._factor * each for each in self._graph.module(*given))

    def with_runtime(annotator, runtime, *_):
        if runtime == "torch":
            return annotator
        if runtime == "compile":
            choose.tell("tiny: no compiler is there: torch runs it")
            return annotator
        return annotator.with_engine(Running(f"{runtime} 1.0", getattr(changed, runtime), annotator.graph()))

    monkeypatch.setattr("depth_normal.model_loader.load.with_runtime", with_runtime)
    monkeypatch.setattr(choose, "_missing", lambda _runtime: None)
    monkeypatch.setattr("depth_normal.model_loader.comfy.devices.is_fast", lambda dtype, _device: dtype == torch.float32)
    assert cli.main(["bench", "--model", "tiny", "--device", "cpu", "--runtime", "all", "--seconds", "0.02", "--json"]) == 0
    rows = {row["runtime"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["torch float32", "onnx", "openvino", "compile"]
    assert rows["compile"]["seconds_per_image"] is None and "no compiler is there" in rows["compile"]["words"]
    assert rows["onnx"]["most_of_255"] == rows["torch float32"]["most_of_255"] == 0
    assert rows["openvino"]["words"] == "openvino 1.0"
    assert rows["onnx"]["words"] == "onnx 1.0" and rows["onnx"]["seconds_per_image"] > 0
    assert rows["torch float32"]["ready_seconds"] > 0 and rows["torch float32"]["times_torch"] == 1
    onnx, torch_beside = rows["onnx"], rows["onnx"]["torch_seconds_per_image"]
    assert onnx["times_torch"] == torch_beside / onnx["seconds_per_image"] > 0 and rows["compile"]["times_torch"] is None


@pytest.mark.slow("takes most of a second")
def test_what_is_kept_is_what_auto_takes(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))

    def turns(methods, *_):
        return dict(zip(methods, (4.0, 1.0), strict=False))  # seconds of torch in float32, and of the other

    monkeypatch.setattr(timing, "take_turns", turns)
    monkeypatch.setattr("depth_normal.model_loader.comfy.devices.is_fast", lambda dtype, _device: dtype != torch.float16)
    assert cli.main(["bench", "--model", "tiny", "--device", "cpu", "--runtime", "torch", "--keep"]) == 0
    said = capsys.readouterr().out
    assert "--runtime auto: torch, as without it" in said, "bfloat16 changes tiny's maps"
    (kept,) = measured.kept(MODELS["tiny"], None, torch.device("cpu"))
    assert (kept.runtime, kept.dtype, kept.times) == ("torch", "bfloat16", 4.0) and kept.levels > 0 and 0.99 < kept.correlation < 1
    assert ("--runtime fast: torch bfloat16, 4.00 times" in said) == kept.is_faithful


@pytest.mark.parametrize("words", [["auto", "--keep"], ["fast", "--keep"], ["auto,fast"]])
def test_what_auto_stands_for_is_found_by_measuring_each(words, monkeypatch):
    def measured(*_, asked, **__):
        assert tuple(asked) == runtimes.EACH
        yield from ()

    monkeypatch.setattr(runtimes, "measure_runtimes", measured)
    monkeypatch.setattr(bench, "_keep", lambda *_: None)
    assert cli.main(["bench", "--model", "tiny", "--device", "cpu", "--runtime", *words]) == 0


ROWS = (Row("torch float32", "torch 2", 0.5, 0.2), Row("onnx", "ONNX Runtime 1", 1.5, 0.1, 0.2))


@pytest.mark.parametrize(
    ("words", "rows", "end", "code"),
    [
        (["onnx", "openvino"], ROWS, KeyboardInterrupt, 130),
        (["onnx,openvino", "--json"], ROWS, KeyboardInterrupt, 130),
        (["onnx,openvino", "--json"], (), ValueError, 2),
    ],
)
def test_what_was_measured_before_an_end_is_printed(words, rows, end, code, monkeypatch, capsys):
    printed = []

    def measured(*_, asked, **__):
        assert asked == ["onnx", "openvino"], "compile can be left out"
        yield from rows
        printed.extend(capsys.readouterr().out.splitlines())
        raise end

    monkeypatch.setattr(runtimes, "measure_runtimes", measured)
    assert cli.main(["bench", "--model", "tiny", "--runtime", *words]) == code
    if "--json" in words:
        assert [row["runtime"] for row in json.loads(capsys.readouterr().out or "[]")] == ["torch float32", "onnx"][: len(rows)]
    else:
        assert [line.split("|")[1].strip() for line in printed] == ["runtime", "---", "torch float32", "onnx"]


@pytest.mark.parametrize(
    ("asked", "fast", "expected"),
    [
        (["torch"], ["bfloat16"], ["torch bfloat16"]),
        (["openvino", "onnx"], ["bfloat16"], ["openvino", "openvino bfloat16", "onnx"]),
        (runtimes.EACH, [], ["onnx", "openvino", "compile"]),
    ],
)
def test_half_precision_is_measured_beside_what_was_asked_for(asked, fast, expected, monkeypatch):
    monkeypatch.setattr("depth_normal.model_loader.comfy.devices.is_fast", lambda dtype, _: str(dtype).removeprefix("torch.") in fast)
    found = [name for name, _ in runtimes._others(Options(MODELS["tiny"]), torch.device("cpu"), asked)]
    assert found == expected


def test_the_table_of_runtimes_says_why_one_is_not_run():
    absent, measured = Row("onnx", "onnxruntime is not installed", 0.0), Row("x", "X 1", 9, 0.1, 0.2, 2.5, 0.125)
    assert runtimes.line(absent) == "| onnx | | | | | 0.0 | not run: onnxruntime is not installed |"
    assert runtimes.line(measured) == "| x | 100 | 200 | 2.00 | 2.50, 0.125 | 9.0 | X 1 |"
    assert runtimes.line(Row("torch float32", "torch 2", 1, 0.2)) == "| torch float32 | 200 |  | 1.00 | 0.00, 0.000 | 1.0 | torch 2 |"


@pytest.mark.slow("takes most of a second")
def test_what_a_runtime_leaves_running_does_not_slow_the_one_in_turn():
    last = ""

    def method(name):
        nonlocal last
        if name != last:  # as beside threads that spin on for a while
            time.sleep(0.05)
        last = name

    times = timing.take_turns({name: partial(method, name) for name in "ab"}, lambda: None, 0.3)
    assert max(times.values()) < 0.05


def test_a_folder_goes_on_with_auto_whatever_was_measured_meanwhile():
    """Records of images say nothing of auto: its maps are torch's as far as 8 bits can say. Those of fast say it."""
    plain, auto, fast = (replace(OPTIONS, runtime=runtime).settings(("depth",)) for runtime in ("torch", "auto", "fast"))
    assert plain == auto != fast and fast["runtime"] == "fast"


def test_images_of_a_light_model_are_computed_side_by_side_with_auto():
    assert replace(OPTIONS, runtime="auto").threads_per_image("cpu", 8) == 1
    assert Options(MODELS["depth-anything-v2-small"], runtime="auto").threads_per_image("cpu", 8) == 8


def test_long_runs_hear_of_what_may_be_faster(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    many = Options(MODELS["depth-anything-v2-small"], runtime="auto")
    assert "bench --model depth-anything-v2-small --keep" in many.advice(100, "cpu")
    assert many.advice(99, "cpu") is None is replace(many, runtime="torch").advice(1000, "cpu") is OPTIONS.advice(1000, "cpu")
    measured.keep(many.spec, None, torch.device("cpu"), [])
    assert many.advice(100, "cpu") is None
