"""What `bench --keep` keeps of the runtimes, and what `auto` and `fast` make of it."""

from dataclasses import replace
from functools import partial
from unittest.mock import Mock

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
HALF = Measurement("torch", "float16", 3.0, 3.0, 2.0, 0.999, 0.1)
ALL = [TORCH, EXACT, CHANGED, TURNED, WRONG]


@pytest.fixture
def keep(convolved):
    """Keeps measurements of the family's model; gives the file."""
    return partial(measured.keep, MODELS["convolved"], convolved.weights, CPU)


@pytest.fixture
def kept(convolved):
    """What is kept of the family's model."""
    return partial(measured.kept, MODELS["convolved"], convolved.weights, CPU)


@pytest.fixture
def shown(monkeypatch):
    """The messages of the node."""
    messages = []
    monkeypatch.setattr(feedback, "show_message", lambda words, **_: messages.append(words))
    return messages


@pytest.mark.parametrize(
    ("found", "runtime", "dtype", "of_torch", "expected"),
    [
        (ALL, "auto", "auto", "float32", EXACT),
        (ALL, "fast", "auto", "float32", CHANGED),
        (ALL, "fast", "float32", "float32", TURNED),
        (ALL, "auto", "bfloat16", "float32", None),
        ([TORCH, WRONG], "fast", "auto", "float32", None),
        ([TORCH, replace(EXACT, times=1.04)], "auto", "auto", "float32", None),
        ([TORCH, replace(EXACT, times=0.8)], "fast", "auto", "float32", None),
        ([], "auto", "auto", "float32", None),
        # on GPUs torch runs most models in half precision
        ([TORCH, HALF, EXACT], "auto", "auto", "float16", None),
        ([TORCH, HALF, replace(EXACT, times=3.5)], "auto", "auto", "float16", replace(EXACT, times=3.5)),
    ],
)
def test_the_fastest_of_those_that_keep_the_maps_is_chosen(found, runtime, dtype, of_torch, expected):
    assert measured.choose(found, runtime, dtype, of_torch) == expected


def test_auto_takes_what_was_measured_and_says_so_on_the_node_each_time(convolved, keep, image, told, shown):
    assert convolved.load("auto", "auto").runtime == "torch" and not told(), "nothing was measured"
    assert convolved.load("fast", "auto").runtime == "torch"
    (line,) = told()
    assert "no runtime was measured" in line and f"bench --model convolved --weights {convolved.weights} --keep" in line
    keep(ALL[:2])
    model = convolved.load("auto", "auto")
    assert model.runtime.startswith("ONNX Runtime")
    shown.clear()
    assert convolved.load("auto", "auto") is model is convolved.load("onnx")
    assert "onnx float32, 1.40 times as fast" in shown[0]
    assert sum("onnx float32, 1.40 times as fast" in line for line in told()) == 1
    model.estimate(image)


def test_the_last_message_of_a_node_is_what_runs_the_model_and_why(convolved, keep, monkeypatch, told, shown):
    convolved.load("torch")
    assert shown.pop() == "convolved is loaded"
    free("convolved")
    convolved.load("auto")
    assert f"bench --model convolved --weights {convolved.weights} --keep" in shown.pop() and not told(), "a node's user chose auto"
    with monkeypatch.context() as patch:
        patch.setattr(convolved.family, "why_no_graph", classmethod(lambda cls, spec: "it has none"))
        free("convolved")
        convolved.load("auto")
        assert shown.pop() == "convolved is loaded", "only torch runs it"
    keep([TORCH, Measurement("torch", "bfloat16", 2.0, 0.1, 0.0, 1.0, 0.0)])
    convolved.load("auto", "auto")
    assert "torch bfloat16, 2.00 times as fast" in shown.pop()


def test_fast_may_take_half_precision_of_torch(convolved, keep):
    keep([TORCH, Measurement("torch", "bfloat16", 2.0, 2.0, 1.0, 0.99999, 0.0)])
    assert convolved.load("fast", "auto").dtype == torch.bfloat16
    assert convolved.load("auto", "auto").dtype == torch.float32 == convolved.load("fast", "float32").dtype


def test_what_the_command_kept_counts_in_comfyui(keep, kept, monkeypatch, tmp_path):
    """ComfyUI has a store of its own, in its folder of models; what is kept there is asked for first."""
    keep(ALL)
    monkeypatch.setattr(measured, "store_folder", lambda: tmp_path / "comfyui" / "runtimes")
    assert kept() == ALL
    path = keep(ALL[:2])
    assert kept() == ALL[:2]
    monkeypatch.setattr("pathlib.Path.replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        keep(ALL[:1])
    assert kept() == ALL[:2] and list(path.parent.iterdir()) == [path], "what cannot be kept leaves what was there"


@pytest.mark.parametrize("other", ["threads", "version", "weights", "file", "SPEED_VERSION", "GRAPH_VERSION"])
def test_measurements_hold_for_what_they_were_made_of(other, convolved, keep, kept, monkeypatch):
    path = keep(ALL)
    assert kept() == ALL
    if other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif other == "version":
        monkeypatch.setattr(measured, "version", lambda _name: "0.0.1")
    elif other == "weights":
        kept = partial(measured.kept, MODELS["convolved"], None, CPU)
    elif other.isupper():
        monkeypatch.setattr(measured, other, "0")
    else:
        convolved.weights.write_bytes(convolved.weights.read_bytes() + b" ")
    assert kept() is None and path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1}', "half", "another runtime"])
def test_a_damaged_file_counts_as_none_and_says_so(text, convolved, keep, kept, told):
    path = keep(ALL)
    whole = path.read_text(encoding="utf-8")
    changed = {"half": whole[: len(whole) // 2], "another runtime": whole.replace('"runtime": "torch"', '"runtime": "tensorflow"')}
    path.write_text(changed.get(text, text), encoding="utf-8")
    assert convolved.load("auto", "auto").runtime == "torch"
    (line,) = told()
    assert str(path) in line and "--keep" in line
    keep(ALL)
    assert kept() == ALL


def test_a_loaded_model_is_found_again_under_what_auto_stands_for(caches):
    model = load_model("tiny", device="cpu")
    assert load_model("tiny", device="cpu", runtime="auto") is model
    measured.keep(MODELS["tiny"], None, CPU, [TORCH, replace(EXACT, runtime="compile", times=0.5)])
    assert load_model("tiny", device="cpu", runtime="auto") is model
