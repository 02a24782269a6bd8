"""The rows between a cluster's steps: pixels as bytes, and what fails alone."""

from threading import Event

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch import per_image
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import Outputs
from depth_normal.app.cluster import local_ray
from depth_normal.app.cluster.engine import RayEngine
from depth_normal.app.cluster.steps import Job, Worker, _packed, _pixels_of, _rows_of, _table
from depth_normal.options.runs import RayOptions

pyarrow = pytest.importorskip("pyarrow")


def test_a_worker_elsewhere_gets_every_package():
    assert {*local_ray._SHIPPED} == {path.parent.name for path in local_ray.PACKAGE.glob("*/__init__.py")} - {"blender", "training"}


def test_an_image_whose_name_is_no_utf8_fails_alone(tmp_path):
    outputs = Outputs(tmp_path / "caf\udce9.png", tmp_path)
    (outcome,) = RayEngine(RayOptions()).run([outputs], Options(), Event(), None, None)
    assert outcome.item is outputs and "the name is not UTF-8" in outcome.failure.reason and not outcome.failure.stops_run


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_pixels_are_packed_as_bytes_where_8_bits_hold_them(bits, channels):
    """Also beyond the part that is compared at a time."""
    levels = torch.arange(channels * 300 * 400) % 256
    pixels = (levels.float() / 255).view(1, channels, 300, 400)
    if bits == 16:
        pixels[0, 2, -1, -1] = 1 / 65535
    packed = _packed(pixels)
    assert len(packed) == pixels.numel() * (1 if bits == 8 else 4)
    assert torch.equal(_pixels_of({"pixels": packed, "height": 300, "width": 400}), pixels)


def test_a_batch_that_fails_is_halved_as_on_this_machine(monkeypatch):
    # a worker sets its process's threads
    job = Job(Options(MODELS["tiny"], size=32), ("depth",), device="cpu", threads=torch.get_num_threads())
    worker, estimate, sizes = Worker(job), per_image.estimate, []

    def watch(model, images, *words):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory")
        if images.amax((1, 2, 3)).min() == 0:
            raise KeyError("black")
        return estimate(model, images, *words)

    monkeypatch.setattr(per_image, "estimate", watch)
    pixels = {name: _packed(torch.full((1, 3, 32, 48), float(name != "b.png"))) for name in ("a.png", "b.png", "c.png", "d.png")}
    common = {"folder": "out", "source_mark": "{}", "failure": None, "height": 32, "width": 48}
    rows = [{**common, "index": number, "path": name, "pixels": pixels[name]} for number, name in enumerate(pixels)]
    failures = [found["failure"] for (found,) in map(_rows_of, worker(_table(rows)))]
    assert [failure is None for failure in failures] == [True, False, True, True] and sizes == [4, 2, 1, 1, 2]
    assert "b.png: this is a fault of depth-normal, please report it: KeyError" in failures[1]
