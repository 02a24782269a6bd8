"""An image gives the same bytes by itself, in a folder and in a resumed run, on a busy machine too; and so does an output without others.

For Ray see test_ray.py.
"""

import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import per_image
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import plan_outputs
from depth_normal.app.batch.sources import find_images
from depth_normal.geometry.estimate import Estimate, Quantity

WRITES = "npz,depth,normals"


@pytest.fixture
def busy_machine():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as program:
        yield
        program.kill()


@pytest.fixture
def photos(tmp_path):
    (folder := tmp_path / "photos").mkdir()
    for number, (height, width) in enumerate(((96, 128), (120, 90), (75, 131), (96, 128))):
        noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(params=["tiny, on one thread", "MiDaS, on all"])
def model(request):
    """The words of the command line, and as options: a network that one thread runs, and one that all threads of the machine run."""
    if request.param.startswith("tiny"):
        return ("--model", "tiny", "--size", "64"), Options(MODELS["tiny"], size=64)
    weights = request.getfixturevalue("midas_small")
    return ("--model", "midas-v2.1-small", "--weights", str(weights), "--size", "64"), Options(MODELS["midas-v2.1-small"], weights, size=64)


@pytest.mark.slow("estimates 32 images beside a program that keeps a core busy")
def test_an_image_gives_the_same_bytes_whichever_way_it_goes(photos, model, tmp_path, two_threads, busy_machine):
    words, options = model

    def estimate(sources, out, *more):
        assert cli.main(["estimate", *map(str, sources), "--out", str(out), "--write", WRITES, "--device", "cpu", *words, *more]) == 0

    folder, alone, resumed, without_engine = outs = [tmp_path / way for way in "abcd"]
    estimate([photos], folder)
    for image in photos.iterdir():
        estimate([image], alone)
    estimate([photos / "1.png"], resumed)
    estimate([photos], resumed, "--resume")
    loaded = options.load("cpu")
    for outputs in plan_outputs(find_images([photos])[0], without_engine, WRITES.split(",")).todo:
        per_image.run(loaded, outputs, options)
    found = [{path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} for out in outs]
    assert len(found[0]) == 12 and all(each == found[0] for each in found)


@pytest.mark.parametrize("refine", [(), ("--refine",)], ids=["plain", "refined"])
@pytest.mark.slow("takes most of a second")
def test_an_output_alone_has_the_bytes_that_it_has_beside_all_maps(photos, model, refine, tmp_path):
    words, _ = model

    def made(writes):
        asked = ("--out", str(tmp_path / writes), "--write", writes, "--device", "cpu", *refine)
        assert cli.main(["estimate", str(photos / "1.png"), *asked, *words]) == 0
        return {path.name: path.read_bytes() for path in (tmp_path / writes).iterdir() if path.is_file()}

    whole = made("npz,depth,normals,full-sbs")
    for writes in ("depth", "normals", "full-sbs"):
        assert made(writes).items() < whole.items()


DEPTH = {"depth": torch.rand(1, 1, 5, 7), "quantity": Quantity.DISPARITY, "confidence": torch.rand(1, 1, 5, 7)}
NORMALS = {"normals": torch.rand(1, 3, 5, 7), "mask": torch.ones(1, 1, 5, 7, dtype=torch.bool)}


@pytest.mark.parametrize(
    ("writes", "predicted", "kept"),
    [
        (("depth",), {**DEPTH, **NORMALS}, {"depth", "mask"}),
        (("depth",), DEPTH, {"depth"}),
        (("full-sbs", "vr180-holes"), {**DEPTH, **NORMALS}, {"depth", "mask"}),
        (("normals",), {**DEPTH, **NORMALS}, {"normals", "mask"}),
        (("normals",), DEPTH, {"normals"}),
        (("normals", "anaglyph"), DEPTH, {"depth", "normals"}),
        (("depth", "exr"), DEPTH, {"depth", "normals", "confidence"}),
        (("parquet",), DEPTH, {"depth", "normals", "confidence"}),
        (("depth", "normals"), NORMALS, {"normals", "mask"}),
        ((), {**DEPTH, **NORMALS}, {"depth", "normals", "mask", "confidence"}),
    ],
)
@pytest.mark.parametrize("refine", [False, True])
def test_maps_that_no_file_shows_are_left_out(writes, predicted, kept, refine):
    model = SimpleNamespace(estimate=lambda images, size, *, derive, **_: derive(Estimate(**predicted)))
    assert set(per_image.estimate(model, torch.rand(1, 3, 5, 7), Options(refine=refine), writes).maps) == kept
