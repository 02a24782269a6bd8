"""Large images through the model that comes with the pack."""

import pytest
import torch

from depth_normal.annotators.base import Annotator
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import load_model
from depth_normal.model_loader.comfy import interrupt


@pytest.fixture
def tiny():
    return load_model("tiny", "float32", "cpu")


@pytest.mark.parametrize("tiles", ["off", "auto"])
def test_without_tiles_and_at_no_more_than_the_networks_size_nothing_changes(tiny, tiles):
    images = torch.rand(1, 3, 40, 48)
    assert torch.equal(tiny.estimate(images, 64, tiles=tiles).depth, tiny.estimate(images, 64).depth)


def test_progress_counts_the_tiles_of_all_images(tiny):
    seen = []
    tiny.estimate(torch.rand(2, 3, 90, 90), 32, lambda done, total: seen.append((done, total)), tiles=2)
    assert seen[0] == (1, 10) and seen[-1] == (10, 10) and seen == sorted(seen)


def test_cancelling_stops_between_tiles(tiny, monkeypatch):
    calls = []

    class Interrupted(BaseException):
        pass

    def throw():
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted

    monkeypatch.setattr(interrupt, "throw_if_interrupted", throw)
    with pytest.raises(Interrupted):
        tiny.estimate(torch.rand(1, 3, 200, 200), 32, tiles=4)


def test_normals_follow_from_the_depth_of_all_tiles(tiny, monkeypatch):
    sizes = []

    def derive(estimate):
        sizes.append((estimate.height, estimate.width))
        return with_normals(estimate)

    found = tiny.estimate(torch.rand(1, 3, 300, 400), 32, derive=derive, tiles=2)
    assert found.normals.shape == (1, 3, 300, 400)
    ((height, width),) = sizes
    assert height < 300 and width < 400, "before they are enlarged"


def test_want_of_memory_makes_fewer_tiles_at_once(tiny, monkeypatch):
    most, run = [], Annotator._finished

    def finished(self, estimate, *more):
        most.append(estimate.batch)
        if estimate.batch > 1:
            raise torch.OutOfMemoryError("no room")
        return run(self, estimate, *more)

    images = torch.rand(1, 3, 90, 131)
    expected = tiny.estimate(images, 32, tiles=2)
    monkeypatch.setattr(Annotator, "_finished", finished)
    found = tiny.estimate(images, 32, tiles=2)
    assert max(most) > 1
    torch.testing.assert_close(found.depth, expected.depth, atol=1e-2, rtol=1e-4)
    tiny.unload()
