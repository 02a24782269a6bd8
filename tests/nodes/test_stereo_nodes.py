"""Stereo 3D as ComfyUI calls it: contract, plain images of any pack, raw geometry, videos, errors."""

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes import effect_inputs
from depth_normal.nodes import views as stereo_node
from depth_normal.nodes.views import Stereo
from depth_normal.options.views import FLAT_LAYOUTS, LAYOUTS, VR_LAYOUTS
from tests.nodes.scenes import depth_image, make_image

SIZE = 48


@pytest.mark.parametrize("layout", FLAT_LAYOUTS)
def test_every_layout_with_its_mask(layout):
    stereo, holes = Stereo().execute(make_image(2), layout, 6.0, depth=depth_image())
    assert stereo.shape[0] == 2 and stereo.shape[:3] == holes.shape and stereo.shape[3] == 3
    assert stereo.min() >= 0 and stereo.max() <= 1 and 0 < holes.mean() < 0.2 and holes.max() == 1


def panorama():
    distance = torch.rand(1, 1, 32, 64, generator=torch.Generator().manual_seed(1)) + 1
    return torch.rand(2, 32, 64, 3), Estimate(distance, Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR)


def test_photos_in_half_spheres_have_one_size_and_their_field_of_view():
    """Each frame of the geometry has another field of view; a clip has that of the first."""
    frames = torch.ones(2, SIZE, SIZE, 3)
    cameras = torch.cat([intrinsics_from_fov(fov, SIZE, SIZE) for fov in (60.0, 90.0)])
    wall = Estimate(torch.full((2, 1, SIZE, SIZE), 2.0), Quantity.METRIC_DEPTH, intrinsics=cameras)
    for words, spans in (({}, (60, 90)), ({"normalisation": "per_clip"}, (60, 60)), ({"fov": 45.0}, (45, 45))):
        stereo, holes = Stereo().execute(frames, "vr180", geometry=wall, eye_size=180, **words)
        assert stereo.shape == (2, 180, 360, 3) and holes.shape == (2, 180, 360)
        for frame, span in zip(stereo, spans, strict=True):
            assert int((frame[90, :180, 0] > 0).sum()) == pytest.approx(span, abs=2)
    assert Stereo().execute(frames, "vr180", geometry=wall)[0].shape == (2, 130, 260, 3), "pi times the focal length of the first"
    stereo, _ = Stereo().execute(make_image(), "vr180", depth=depth_image(), eye_size=128, eye_distance=200.0)
    assert stereo.shape == (1, 128, 256, 3) and not torch.equal(stereo[:, :, :128], stereo[:, :, 128:])


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("eye_size", [0, 80])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_beyond_the_memory_is_refused_before_it_is_made(layout, eye_size, monkeypatch):
    image, geometry = panorama() if layout in VR_LAYOUTS else (make_image(2), Estimate(torch.rand(1, 1, SIZE, SIZE), Quantity.DISPARITY))
    checked = []
    monkeypatch.setattr(stereo_node, "check_result_fits", lambda *size: checked.append(size))
    stereo, _ = Stereo().execute(image, layout, geometry=geometry, eye_size=eye_size)
    assert checked == [tuple(stereo.shape[:3])]
    monkeypatch.undo()
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: 5e4)
    monkeypatch.setattr(effect_inputs, "check_effect_fits", lambda *_: None)
    monkeypatch.setattr(stereo_node, "pair_for", lambda *_: pytest.fail("a pair was made"))
    with pytest.raises(MemoryError, match="a result of 2 images"):
        Stereo().execute(image, layout, geometry=geometry, eye_size=eye_size)


def test_geometry_goes_before_the_depth_image_and_depth_0_is_the_image():
    wall = Estimate(torch.ones(1, 1, 9, 9), Quantity.METRIC_DEPTH)
    stereo, holes = Stereo().execute(make_image(), depth=depth_image(), geometry=wall)
    assert (stereo - torch.cat((make_image(), make_image()), 2)).abs().max() < 1e-3 and not holes.any()
    stereo, _ = Stereo().execute(make_image(), divergence=0.0, depth=depth_image())
    assert torch.equal(stereo, torch.cat((make_image(), make_image()), 2))


def test_one_range_for_a_clip_holds_the_wall_still():
    frames, depth = make_image().expand(2, -1, -1, -1), torch.cat((0.5 * depth_image(), depth_image()))
    for normalisation, still in (("per_clip", True), ("per_image", False)):
        stereo, _ = Stereo().execute(frames, "anaglyph", 6.0, 0.5, normalisation=normalisation, depth=depth)
        assert torch.allclose(stereo[0, 22:26, 22:26], stereo[1, 22:26, 22:26], atol=1e-4) != still
