"""Another look of the same images does not run the network again."""

from types import SimpleNamespace

import pytest
import torch

from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference import recent
from depth_normal.nodes import NODE_CLASS_MAPPINGS

DEPTH_AND_NORMALS = "DepthNormal_DepthAndNormals"
SMALL = {"resolution": 64}
LOOKS = {
    DEPTH_AND_NORMALS: [
        {**SMALL, "depth_look": "depth, far white"},
        {**SMALL, "coding": "directx"},
        {**SMALL, "normalisation": "per_clip"},
    ],
    "MiDaS-NormalMapPreprocessor": [{"model": "tiny", **SMALL, "coding": "opengl"}, {"model": "tiny", **SMALL, "a": 1.0}],
    # Over a clip tiny makes its plain map, as sharp edges flicker: both looks are of one.
    "MiDaS-DepthMapPreprocessor": [{"model": "tiny", **SMALL, "normalisation": each} for each in ("per_clip", "running")],
    "Zoe-DepthMapPreprocessor": [
        {"model": "tiny", "normalisation": "per_clip", "network_size": 64, "resolution": each} for each in (64, 128)
    ],
    "LeReS-DepthMapPreprocessor": [{"model": "tiny", **SMALL, "network_size": 64, **more} for more in ({}, {"rm_nearest": 20.0})],
    "DepthNormal_DepthOfVideo": [SMALL, {**SMALL, "near": "black"}, {**SMALL, "normalisation": "per_image"}],
    "DepthNormal_NormalsOfVideo": [SMALL, {**SMALL, "coding": "directx"}],
}


@pytest.fixture
def forwards(monkeypatch):
    """Counts the images that go through the network."""
    counted, infer = [], TinyAnnotator.infer
    monkeypatch.setattr(TinyAnnotator, "infer", lambda self, request: (counted.extend(request.images), infer(self, request))[1])
    recent.forget_estimates()
    yield counted
    recent.forget_estimates()


@pytest.fixture
def photos():
    return torch.rand(2, 30, 40, 3, generator=torch.Generator().manual_seed(0))


class Video:
    """Core's VIDEO of a batch."""

    def __init__(self, parts):
        self.parts = parts

    def get_components(self):
        return self.parts


def inputs(node, images):
    if "video" not in node.INPUT_TYPES()["required"]:
        return {"image": images}
    return {"model": load_model("tiny"), "video": Video(SimpleNamespace(images=images, audio=None, frame_rate=12))}


def image_of(result):
    first = result[0] if isinstance(result, tuple) else result["result"][0]
    return first.parts.images if isinstance(first, Video) else first


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("node_id", LOOKS)
def test_the_network_runs_once_for_all_looks(forwards, photos, node_id):
    node = NODE_CLASS_MAPPINGS[node_id]()
    shown = [image_of(node.execute(**inputs(node, photos.clone()), **look)) for look in LOOKS[node_id]]
    assert len(forwards) == len(photos)
    for look, image in zip(LOOKS[node_id], shown, strict=True):
        recent.forget_estimates()
        torch.testing.assert_close(image, image_of(node.execute(**inputs(node, photos), **look)))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "more", [{"resolution": 128}, {"fov": 40.0}, {"refine": True}, {"film": True}, {"image": torch.full((2, 30, 40, 3), 0.5)}]
)
def test_what_reaches_the_network_runs_it(forwards, photos, more):
    node = NODE_CLASS_MAPPINGS[DEPTH_AND_NORMALS]()
    node.execute(photos, **SMALL)
    node.execute(**{"image": photos, **SMALL, **more})
    assert len(forwards) == 2 * len(photos)


def test_a_run_that_does_not_end_is_not_kept(forwards, photos, monkeypatch):
    node = NODE_CLASS_MAPPINGS["MiDaS-DepthMapPreprocessor"]()
    monkeypatch.setattr("depth_normal.nodes.legacy.to_output", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        node.execute(photos, model="tiny", **SMALL)
    monkeypatch.undo()
    assert not any(recent._runs.values())


def test_estimates_go_with_the_node_and_with_the_model(forwards, photos):
    node = NODE_CLASS_MAPPINGS[DEPTH_AND_NORMALS]()
    node.execute(photos, **SMALL)
    other = NODE_CLASS_MAPPINGS[DEPTH_AND_NORMALS]()
    other.execute(photos, **SMALL)
    assert len(forwards) == len(photos), "another node of the graph uses them, too"
    del node, other
    assert not recent._runs, "ComfyUI has dropped its objects: by /free, or as they left the graph"
    load_model("tiny").estimate(photos.movedim(-1, 1), 64)
    assert not recent._runs, "outside of nodes nothing is kept"


def test_memory_is_bounded(forwards, photos, monkeypatch):
    node = NODE_CLASS_MAPPINGS[DEPTH_AND_NORMALS]()
    monkeypatch.setattr(recent, "RUNS_OF_A_NODE", 3)
    for shade in range(5):
        node.execute(photos * shade / 10, **SMALL)
    assert len(recent._runs[node]) == 3
    each = recent._runs[node][0].bytes
    monkeypatch.setattr(recent, "MOST_BYTES", 2 * each)
    node.execute(photos, **SMALL)
    assert len(recent._runs[node]) == 2
    monkeypatch.setattr(recent, "MOST_BYTES", each - 1)
    before = len(forwards)
    for _ in range(2):
        node.execute(photos.flip(0), **SMALL)
    assert len(forwards) == before + 2 * len(photos), "too large to be kept"
