"""Networks as one function of one tensor: what it gives, what an engine in its place changes (nothing), and ONNX files of it."""

import sys
from dataclasses import replace
from unittest import mock

import pytest
import torch

from depth_normal.annotators import graphs as exporting
from depth_normal.annotators.graphs import export_graph, traced_graph
from depth_normal.annotators.networks.layers import resized_positions, shrunk
from depth_normal.annotators.registry import FAMILIES, MODELS
from tests import graph_families as SHRUNK

annotator = SHRUNK.annotator
EACH = pytest.mark.parametrize("name", [*SHRUNK.DINO, *SHRUNK.OTHERS])
NEW = pytest.mark.skipif(**SHRUNK.OLD_EXPORTER)
TRACED = mock.patch("torch.compiler.is_compiling", lambda: True)


def example(graph, batch=2, rows=5, columns=7):
    multiple = graph.multiple_of if graph.multiple_of > 1 else 15
    return graph.example(batch, rows * multiple, columns * multiple)


def make_images(batch=1):
    return torch.rand(batch, 3, 61, 90, generator=torch.Generator().manual_seed(3))


@pytest.mark.quick_cases(2)
@EACH
@torch.no_grad()
def test_what_exporters_trace_gives_what_torch_gives(name):
    graph = annotator(name).graph()
    given = example(graph)
    direct = graph.module(*given)
    with TRACED:
        traced = graph.module(*given)
    assert len(direct) == len(graph.outputs)
    for found, expected in zip(traced, direct, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=2e-5 * expected.abs().max().item(), rtol=2e-5)


@pytest.mark.quick_cases(1)
@EACH
@torch.no_grad()
def test_an_engine_in_the_networks_place_changes_no_estimate(name):
    by_torch = annotator(name)
    seen = []

    def engine(*given):
        seen.append([(each.dtype, each.is_contiguous()) for each in given])
        return by_torch.graph().module(*given)

    size = 64 if by_torch.spec.default_size > 64 else None
    expected, found = (each.estimate(make_images(2), size) for each in (by_torch, by_torch.with_engine(engine)))
    assert all(each == (torch.float32, True) for given in seen for each in given)
    assert {len(given) for given in seen} == {len(by_torch.graph().inputs)}
    for map_name, value in expected.maps.items():
        limit = 1e-4 * value.float().abs().clamp(max=1e4).max().item() + 1e-6
        torch.testing.assert_close(found.maps[map_name].float(), value.float(), atol=limit, rtol=1e-4)


def test_torch_runs_the_network_again_without_the_engine():
    tiny = annotator("tiny")
    assert tiny.with_engine(lambda _: pytest.fail("asked")).with_engine(None).estimate(make_images()).depth is not None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("marigold-depth", "VAE"),
        ("lotus-depth-d", "VAE"),
        ("lbm-depth", "VAE"),
        ("leres-boost", "many times"),
        ("zoedepth-nyu-kitti", "chooses"),
        ("moge-3-vitl", "voxels"),
    ],
)
def test_a_model_of_several_steps_says_why_it_has_no_graph(model, words):
    assert words in FAMILIES[MODELS[model].family].why_no_graph(MODELS[model])


@pytest.mark.parametrize(("size", "offset"), [((37, 37), 0.1), ((37, 40), 0.1), ((9, 4), 0.1), ((1, 12), 0.1), ((39, 78), 0.0)])
def test_positions_resized_by_products_are_those_that_torch_interpolates(size, offset):
    """DA2's have no offset; by a factor, torch gives its 39 rows as 38."""
    patches = torch.randn(1, 6, 37, 37, generator=torch.Generator().manual_seed(0))
    expected = resized_positions(patches, *size, offset)
    with TRACED:
        found = resized_positions(patches, *size, offset)
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)


def test_images_shrunk_by_products_are_those_that_torch_shrinks():
    images = torch.rand(2, 3, 40, 53, generator=torch.Generator().manual_seed(0))
    expected = shrunk(images, 28, 42)
    with TRACED:
        found = shrunk(images, 28, 42)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def close(found, expected):
    return torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5)


@NEW
@pytest.mark.slow("traces a network")
@torch.no_grad()
def test_one_trace_holds_for_any_batch_and_sides():
    """Where a size gets fixed, it is here. Of MoGe-2 runtimes/test_choose.py writes ONNX, which takes three times as long.

    That has it all: positions that are resized, several outputs and a number beside the images.
    """
    graph = annotator("depth-anything-v2-small").graph()
    traced = traced_graph(graph, graph.example(2, 140, 168)).module()
    for given in (example(graph, 1, 5, 5), example(graph, 3, 7, 4)):
        for found, expected in zip(traced(*given), graph.module(*given), strict=True):
            close(found, expected)


@NEW
@pytest.mark.slow("exports a network to ONNX")
@torch.no_grad()
def test_one_onnx_file_holds_for_any_batch_at_sides_that_are_no_multiples(tmp_path):
    """MoGe-1; and weights beside the file, which are found wherever both lie."""
    graph = annotator("moge-1").graph()
    with mock.patch.object(exporting, "MOST_INSIDE", 1000):
        export_graph(graph, tmp_path / "graph.onnx", (53, 75), notes={"model": "moge-1"})
    (tmp_path / "elsewhere").mkdir()
    moved = [each.rename(tmp_path / "elsewhere" / each.name) for each in tmp_path.glob("graph.onnx*")]
    assert sorted(each.name for each in moved) == ["graph.onnx", "graph.onnx.data"]
    path = str(tmp_path / "elsewhere" / "graph.onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["model"] == "moge-1"
    assert [each.name for each in session.get_outputs()] == list(graph.outputs)
    for batch in (1, 3):
        given = graph.example(batch, 53, 75)
        found = session.run(None, dict(zip(graph.inputs, (each.numpy() for each in given), strict=True)))
        for output, expected in zip(found, graph.module(*given), strict=True):
            close(torch.from_numpy(output), expected)


@pytest.mark.slow("takes most of a second")
def test_sides_that_are_no_multiples_are_refused(tmp_path):
    graph = replace(annotator("depth-anything-v2-small").graph(), dynamic_size=False)
    with pytest.raises(ValueError, match="multiples of 14"):
        export_graph(graph, tmp_path / "graph.onnx", (100, 140))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    # Not by patch.dict: that takes out what was imported meanwhile, and onnx cannot be imported twice.
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match='pip install "onnx" "onnxscript"'):
        export_graph(annotator("tiny").graph(), tmp_path / "graph.onnx")
