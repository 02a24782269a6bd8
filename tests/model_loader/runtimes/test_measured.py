"""What `bench --keep` keeps of the runtimes, and what `auto` and `fast` make of it."""

import json
from dataclasses import replace

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader import load_model
from depth_normal.model_loader.comfy import feedback
from depth_normal.model_loader.load import free
from depth_normal.model_loader.runtimes import measured
from depth_normal.model_loader.runtimes.measured import Measurement

CPU = torch.device("cpu")
TORCH = Measurement("torch", "float32", 1.0, 0.0, 0.0, 1.0, 0.0)
EXACT = Measurement("onnx", "float32", 1.4, 0.02, 0.01, 1.0, 0.0)
CHANGED = Measurement("openvino", "bfloat16", 3.5, 2.5, 1.0, 0.99996, 0.001)
TURNED = replace(CHANGED, runtime="compile", dtype="float32", levels=0.1)
WRONG = Measurement("torch", "bfloat16", 9.0, 40.0, 20.0, 0.99, 0.2)
ALL = [TORCH, EXACT, CHANGED, TURNED, WRONG]


@pytest.mark.parametrize(
    ("found", "runtime", "dtype", "expected"),
    [
        (ALL, "auto", "auto", EXACT),
        (ALL, "fast", "auto", CHANGED),
        (ALL, "fast", "float32", TURNED),
        (ALL, "auto", "bfloat16", None),
        ([TORCH, WRONG], "fast", "auto", None),
        ([TORCH, replace(EXACT, times=1.04)], "auto", "auto", None),
        ([TORCH, replace(EXACT, times=0.8)], "fast", "auto", None),
        ([], "auto", "auto", None),
    ],
)
def test_the_fastest_of_those_that_keep_the_maps_is_chosen(found, runtime, dtype, expected):
    assert measured.choose(found, runtime, dtype, "float32") == expected


def test_an_engine_must_beat_torch_in_its_own_dtype():
    """On GPUs torch runs most models in half precision."""
    half = Measurement("torch", "float16", 3.0, 3.0, 2.0, 0.999, 0.1)
    assert measured.choose([TORCH, half, EXACT], "auto", "auto", "float16") is None
    assert measured.choose([TORCH, half, replace(EXACT, times=3.5)], "auto", "auto", "float16").runtime == "onnx"


def test_auto_takes_what_was_measured_and_says_so(convolved, image, told):
    spec = MODELS["convolved"]
    assert convolved.load("auto", "auto").runtime == "torch" and not told(), "nothing was measured"
    assert convolved.load("fast", "auto").runtime == "torch"
    (line,) = told()
    assert "no runtime was measured" in line and f"bench --model convolved --weights {convolved.weights} --keep" in line
    measured.keep(spec, convolved.weights, CPU, ALL[:2])
    model = convolved.load("auto", "auto")
    assert model.runtime.startswith("ONNX Runtime")
    assert any("onnx float32, 1.40 times as fast" in line for line in told())
    assert convolved.load("auto", "auto") is model is convolved.load("onnx")
    model.estimate(image)


def test_the_last_message_of_a_node_is_what_runs_the_model_and_why(convolved, monkeypatch, told):
    said = []
    monkeypatch.setattr(feedback, "show_message", lambda words, often=False: said.append(words))
    convolved.load("torch")
    assert said.pop() == "convolved is loaded"
    free("convolved")
    convolved.load("auto")
    assert f"bench --model convolved --weights {convolved.weights} --keep" in said.pop() and not told(), "a node's user chose auto"
    measured.keep(MODELS["convolved"], convolved.weights, CPU, [TORCH, Measurement("torch", "bfloat16", 2.0, 0.1, 0.0, 1.0, 0.0)])
    convolved.load("auto", "auto")
    assert "torch bfloat16, 2.00 times as fast" in said.pop()


def test_no_measurement_is_advised_for_a_model_that_only_torch_runs(convolved, monkeypatch):
    said = []
    monkeypatch.setattr(feedback, "show_message", lambda words, often=False: said.append(words))
    monkeypatch.setattr(convolved.family, "why_no_graph", classmethod(lambda cls, spec: "it has none"))
    convolved.load("auto")
    assert said[-1] == "convolved is loaded"


def test_fast_may_take_half_precision_of_torch(convolved):
    rounded = Measurement("torch", "bfloat16", 2.0, 2.0, 1.0, 0.99999, 0.0)
    measured.keep(MODELS["convolved"], convolved.weights, CPU, [TORCH, rounded])
    assert convolved.load("fast", "auto").dtype == torch.bfloat16
    assert convolved.load("auto", "auto").dtype == torch.float32 == convolved.load("fast", "float32").dtype


def test_what_the_command_kept_counts_in_comfyui(convolved, monkeypatch, tmp_path):
    """ComfyUI has a store of its own, in its folder of models; what is kept there is asked for first."""
    spec = MODELS["convolved"]
    measured.keep(spec, convolved.weights, CPU, ALL)
    monkeypatch.setattr(measured, "store_folder", lambda: tmp_path / "comfyui" / "runtimes")
    assert measured.kept(spec, convolved.weights, CPU) == ALL
    measured.keep(spec, convolved.weights, CPU, ALL[:2])
    assert measured.kept(spec, convolved.weights, CPU) == ALL[:2]


def test_a_node_says_each_time_what_was_chosen(convolved, monkeypatch, told):
    measured.keep(MODELS["convolved"], convolved.weights, CPU, ALL[:2])
    shown = []
    monkeypatch.setattr("depth_normal.model_loader.comfy.feedback.show_message", lambda words, **_: shown.append(words))
    for _ in range(2):
        shown.clear()
        convolved.load("auto", "auto")
        assert any("onnx float32, 1.40 times as fast" in words for words in shown)
    assert sum("1.40 times" in line for line in told()) <= 1


@pytest.mark.parametrize("other", ["threads", "version", "weights", "file", "SPEED_VERSION", "GRAPH_VERSION"])
def test_measurements_hold_for_what_they_were_made_of(other, convolved, monkeypatch):
    spec = MODELS["convolved"]
    path = measured.keep(spec, convolved.weights, CPU, ALL)
    assert measured.kept(spec, convolved.weights, CPU) == ALL
    weights = convolved.weights
    if other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif other == "version":
        monkeypatch.setattr(measured, "version", lambda _name: "0.0.1")
    elif other == "weights":
        weights = None
    elif other.isupper():
        monkeypatch.setattr(measured, other, "0")
    else:
        weights.write_bytes(weights.read_bytes() + b" ")
    assert measured.kept(spec, weights, CPU) is None and path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1}', "half"])
def test_a_damaged_file_counts_as_none_and_says_so(text, convolved, told):
    spec = MODELS["convolved"]
    path = measured.keep(spec, convolved.weights, CPU, ALL)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2] if text == "half" else text, encoding="utf-8")
    assert convolved.load("auto", "auto").runtime == "torch"
    (line,) = told()
    assert str(path) in line and "--keep" in line
    measured.keep(spec, convolved.weights, CPU, ALL)
    assert measured.kept(spec, convolved.weights, CPU) == ALL


def test_a_measurement_of_what_does_not_exist_is_none(convolved):
    spec = MODELS["convolved"]
    path = measured.keep(spec, convolved.weights, CPU, ALL)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["measurements"][0]["runtime"] = "tensorflow"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert measured.kept(spec, convolved.weights, CPU) is None


def test_what_cannot_be_kept_leaves_what_was_there(convolved, monkeypatch):
    spec = MODELS["convolved"]
    path = measured.keep(spec, convolved.weights, CPU, ALL)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        measured.keep(spec, convolved.weights, CPU, ALL[:1])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_loaded_model_is_found_again_under_what_auto_stands_for(caches):
    spec = MODELS["tiny"]
    model = load_model("tiny", device="cpu")
    assert load_model("tiny", device="cpu", runtime="auto") is model
    measured.keep(spec, None, CPU, [TORCH, replace(EXACT, runtime="compile", times=0.5)])
    assert load_model("tiny", device="cpu", runtime="auto") is model
