"""From a photograph to its maps by an engine in torch's place: `benchmarks/runtime_parity.py` has all families, here is the fullest."""

import pytest

from tests import graph_families


@pytest.mark.skipif(**graph_families.OLD_EXPORTER)
@pytest.mark.slow("exports a network to ONNX")
def test_an_engine_gives_the_image_the_normals_and_the_camera_that_torch_gives(caches, tmp_path):
    """MoGe-2: depth, normals, mask and camera, told the image's aspect beside it; both engines take the one graph."""
    for package in ("onnxruntime", "openvino", "onnxscript"):
        pytest.importorskip(package)
    with graph_families.loaded("moge", tmp_path) as load:
        by_torch = load("torch")
        for runtime, words in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
            model = load(runtime)
            largest, mean, degrees = graph_families.end_to_end(by_torch, model, "moge")
            assert largest <= 1 and mean < 0.1 and degrees < 0.1
            assert model.runtime.startswith(words), "and torch has not taken over"
