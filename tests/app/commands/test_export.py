"""`depth-normal export`: the file, what it says of itself, its use without the pack, and what is refused without leaving anything."""

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from depth_normal.app import onnx_export as exporting
from depth_normal.app.cli import main
from depth_normal.model_loader import load_model
from tests.forked import COMMAND, exit_code_of, python
from tests.graph_families import OLD_EXPORTER

onnx = pytest.importorskip("onnx")
ROOT = Path(__file__).resolve().parents[3]
NEW = pytest.mark.skipif(**OLD_EXPORTER)


def test_the_file_says_what_it_is(exported_tiny):
    onnx.checker.check_model(exported_tiny, full_check=True)
    notes = {each.key: each.value for each in onnx.load(exported_tiny).metadata_props}
    spec = load_model("tiny").spec
    assert [notes[name] for name in ("model", "quantity", "axes", "multiple_of")] == ["tiny", "disparity", "opengl", "64"]
    assert notes["weights_sha256"] == exporting.sha256_of(ROOT / "annotators" / "tiny.safetensors")
    assert (notes["licence"], notes["licence_url"]) == (spec.terms, spec.licence_page)
    assert list(json.loads(notes["outputs"])) == ["disparity", "normals", "sky", "first", "second", "edge"]
    assert (json.loads(notes["mean"]), json.loads(notes["std"])) == ([0, 0, 0], [1, 1, 1])
    assert [each.name for each in exported_tiny.parent.iterdir()] == ["tiny.onnx"]


@pytest.fixture
def quick():
    """The exporter's seconds saved: what it would write is the bundled model's file."""

    def use(source):
        def copied(_graph, path, *_):
            shutil.copy(source, path)

        return mock.patch.object(exporting, "export_graph", copied)

    return use


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda maps: maps.flip(-1), "--overwrite", "more than 1: nothing was written\n"),
        (lambda maps: torch.full_like(maps, torch.inf), "--overwrite --dtype float16 --size 128x64", "float32"),
    ],
)
def test_a_file_whose_image_is_another_is_refused(exported_tiny, quick, tmp_path, capsys, change, words, said):
    target = tmp_path / "tiny.onnx"
    target.write_bytes(b"the old file")
    engine = exporting.onnx_runtime_engine

    def wrong(path, graph, batch):
        run = engine(path, graph, batch)
        return lambda *given: tuple(map(change, run(*given)))

    with quick(exported_tiny), mock.patch.object(exporting, "onnx_runtime_engine", wrong):
        assert main(["export", "tiny", "-o", str(target), *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"the old file"]


def test_an_interruption_leaves_nothing(tmp_path):
    with mock.patch.object(exporting, "export_graph", side_effect=KeyboardInterrupt):
        assert main(["export", "tiny", "-o", str(tmp_path / "tiny.onnx")]) == 130
    assert not list(tmp_path.iterdir())


@NEW
@pytest.mark.slow("exports a network to ONNX in another process")
def test_ctrl_c_in_the_exporter_leaves_nothing(tmp_path):
    words = ("export", "tiny", "-o", tmp_path / "tiny.onnx", "--size", "128x64")  # of all sizes it takes four times as long
    with python(COMMAND, *words, stderr=subprocess.PIPE, text=True) as command:
        lines = []
        for line in command.stderr:
            lines.append(line.rstrip("\n"))
            if "translating" in line:
                assert len(list(tmp_path.iterdir())) > 0, "what is written until then lies beside the file's place"
                time.sleep(1)
                command.send_signal(signal.SIGINT)
        assert command.wait() == 130
    assert lines[1:] == ["tiny: tracing the network", "tiny: translating it to ONNX", "depth-normal: stopped"]
    assert not list(tmp_path.iterdir())


@NEW
@pytest.mark.slow("takes most of a second")
def test_what_overflows_in_half_precision_is_refused_before_anything_is_written(tmp_path, capsys):
    """ONNX Runtime would not see it: on a CPU it computes float16 in float32."""
    state = load_file(ROOT / "annotators" / "tiny.safetensors")
    for name in ("attention.0.project.weight", "attention.0.project.bias"):
        state[name] = state[name].float() * 1e6
    save_file(state, tmp_path / "loud.safetensors")
    words = ["export", "tiny", "-o", str(tmp_path / "tiny.onnx"), "--dtype", "float16", "--weights", str(tmp_path / "loud.safetensors")]
    with mock.patch.object(exporting, "export_graph", side_effect=AssertionError("written")):
        assert main(words) == 2
    assert "use float32" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["loud.safetensors"]


@NEW
@pytest.mark.slow("takes most of a second")
def test_half_precision_that_shows_is_refused_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "MOST", 0.01)
    with mock.patch.object(exporting, "export_graph", side_effect=AssertionError("written")):
        assert main(["export", "tiny", "-o", str(tmp_path / "tiny.onnx"), "--dtype", "float16", "--size", "128x64"]) == 2
    said = capsys.readouterr().err
    assert "by torch in float16 differs" in said and "use --dtype float32" in said
    assert not list(tmp_path.iterdir())


def test_fixed_sides_are_those_of_the_comparison(exported_tiny, quick, tmp_path):
    with quick(exported_tiny):
        found = exporting.export("tiny", tmp_path / "tiny.onnx", input_size=(128, 192), batch=2)
    assert [each.what for each in found.checks] == ["the photograph, seen at 192x128"]
    assert found.checks[0].largest < 0.1


def test_weights_beside_the_file_come_and_go_with_it(tmp_path):
    made, target = tmp_path / "made", tmp_path / "target"
    made.mkdir(), target.mkdir()
    for name in ("a.onnx", "a.onnx.data"):
        (made / name).write_bytes(b"new")
    found = exporting._in_place(made / "a.onnx", target / "a.onnx", 0.0, ())
    assert [each.name for each in found.files] == ["a.onnx", "a.onnx.data"]
    (made / "a.onnx").write_bytes(b"newer")
    assert exporting._in_place(made / "a.onnx", target / "a.onnx", 0.0, ()).size == 5
    assert [each.name for each in target.iterdir()] == ["a.onnx"]


def test_what_a_killed_export_left_is_gone_with_the_next(exported_tiny, quick, tmp_path):
    script = f"""
import os
from pathlib import Path
from depth_normal.app import onnx_export as export
export.export_graph = lambda *_: os._exit(9)
export.export("tiny", Path({str(tmp_path / "tiny.onnx")!r}))"""
    assert exit_code_of(python(script)) == 9
    assert list(tmp_path.iterdir())
    with quick(exported_tiny):
        exporting.export("tiny", tmp_path / "tiny.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["tiny.onnx"]


def test_pixels_on_the_border_of_a_mask_do_not_count_and_without_any_nothing_is_proven():
    estimate = load_model("tiny").annotator.estimate(torch.rand(1, 3, 64, 64))
    mask = torch.ones(1, 1, *estimate.depth.shape[-2:], dtype=torch.bool)
    other = mask.clone()
    other[..., 0, :3] = False
    assert exporting._differences(replace(estimate, mask=mask), replace(estimate, mask=other)) == (0.0, 0.0)
    other[..., :30, :] = False
    with pytest.raises(ValueError, match="of the pixels are valid"):
        exporting._differences(replace(estimate, mask=mask), replace(estimate, mask=other))
    nothing = replace(estimate, mask=torch.zeros_like(mask))
    with pytest.raises(ValueError, match="no pixel of the photograph is valid"):
        exporting._differences(nothing, nothing)
