"""Large images on the command line."""

import json

import cv2
import numpy as np
import pytest

from depth_normal import estimate_folder, load_model
from depth_normal.app import cli
from depth_normal.app.batch.records import RECORDS


@pytest.fixture
def image(tmp_path, photo):
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), cv2.resize(photo, (120, 90))[..., ::-1])
    return path


def run(image, *words):
    words = [str(image), "--out", str(image.parent / "out"), "--model", "tiny", "--size", "32", "--write", "npz", *words]
    return cli.main(["estimate", *words])


def test_what_is_written_is_what_the_model_gives_in_tiles(image):
    assert run(image, "--tiles", "2") == 0
    found = np.load(image.parent / "out" / "astronaut.npz")
    rgb = cv2.imread(str(image))[None, ..., ::-1].copy()
    expected = load_model("tiny").estimate(rgb, 32, tiles=2)
    np.testing.assert_allclose(found["depth"], expected.depth[0, 0], atol=1e-2, rtol=1e-4)


def test_tiles_are_an_option_of_the_run(image):
    """Results of other tiles are made again, those without any are as they were before there were tiles."""
    record = image.parent / "out" / RECORDS / "astronaut.json"

    def written():
        return (image.parent / "out" / "astronaut.npz").stat().st_mtime_ns

    assert run(image) == 0
    assert not {"tiles", "refine"} & set(json.loads(record.read_text())["settings"])
    first = written()
    assert run(image, "--resume") == 0 and written() == first
    assert run(image, "--resume", "--tiles", "auto") == 0 and written() != first
    assert json.loads(record.read_text())["settings"]["tiles"] == "auto"
    second = written()
    assert run(image, "--resume", "--tiles", "auto") == 0 and written() == second


def test_a_folder_from_python_in_tiles(image):
    ((_, found),) = estimate_folder(image, model="tiny", size=32, tiles=2)
    ((_, whole),) = estimate_folder(image, model="tiny", size=32, tiles="off")
    assert found.depth.shape == whole.depth.shape and not np.array_equal(found.depth, whole.depth)
    with pytest.raises(ValueError, match="tiles is 'some'; accepted"):
        estimate_folder(image, model="tiny", tiles="some")
