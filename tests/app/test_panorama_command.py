"""`depth-normal estimate --panorama`: files of panoramas, and what it refuses."""

import pytest
import torch

from depth_normal.app.batch.options import Options
from depth_normal.app.cli import main
from depth_normal.geometry.files import load_estimate, write_image_png
from depth_normal.geometry.kinds import Projection


@pytest.fixture
def panorama(tmp_path):
    image = torch.zeros(1, 3, 64, 128)
    image[:, 2, :32], image[:, 1, 32:] = 0.9, 0.5
    path = tmp_path / "street.png"
    write_image_png(path, image)
    return path


def run(panorama, *words):
    return main(["estimate", str(panorama), "--model", "tiny", "-o", str(panorama.parent / "out"), *words])


@pytest.mark.slow("takes most of a second")
def test_maps_and_numbers_of_a_panorama_are_written_and_resumed(panorama, capsys):
    pytest.importorskip("OpenEXR")
    assert run(panorama, "--panorama", "--also", "npz,exr") == 0
    out = panorama.parent / "out"
    assert {each.name for each in out.glob("street*")} == {"street_depth.png", "street_normals.png", "street.npz", "street.exr"}
    for name in ("street.npz", "street.exr"):
        found = load_estimate(out / name)
        assert found.projection is Projection.EQUIRECTANGULAR and (found.height, found.width) == (64, 128)
    before = (out / "street.npz").stat().st_mtime_ns
    assert run(panorama, "--panorama", "--also", "npz,exr", "--resume") == 0
    assert (out / "street.npz").stat().st_mtime_ns == before
    assert run(panorama, "--write", "npz", "--resume") == 0
    assert load_estimate(out / "street.npz").projection is Projection.PERSPECTIVE, "other options: made again"


def test_records_from_before_there_were_panoramas_stay_good():
    assert not {"panorama", "any_aspect"} & Options().settings(("depth",)).keys()
    assert Options(panorama=True).settings(("depth",))["panorama"] is True


@pytest.mark.slow("runs a panorama")
def test_a_photo_is_refused_and_taken_on_request(panorama, capsys):
    write_image_png(panorama, torch.rand(1, 3, 60, 80))
    assert run(panorama, "--panorama") != 0
    assert "80x60 pixels; a panorama of the whole sphere" in capsys.readouterr().err
    assert run(panorama, "--panorama", "--any-aspect") == 0
