"""Estimate Panorama: its outputs, and what it refuses before a model is loaded."""

from unittest.mock import Mock

import pytest
import torch

from depth_normal.geometry.kinds import Projection
from depth_normal.nodes import panorama
from depth_normal.nodes.panorama import EstimatePanorama


def execute(*arguments, **widgets):
    made = EstimatePanorama().execute(*arguments, **widgets)
    return made["result"] if isinstance(made, dict) else made


def street(height=64):
    """A blue sky over a green ground, with a wall ahead."""
    image = torch.zeros(1, height, 2 * height, 3)
    image[:, : height // 2] = torch.tensor((0.4, 0.6, 0.95))
    image[:, height // 2 :] = torch.tensor((0.3, 0.5, 0.2))
    image[:, height // 3 : 2 * height // 3, height // 2 : height] = torch.tensor((0.6, 0.3, 0.2))
    return image


@pytest.mark.slow("takes two seconds")
def test_a_panorama_becomes_maps_of_its_size_and_geometry():
    depth, normals, mask, geometry = execute(torch.cat([street()] * 2), "tiny", coding="directx")
    assert depth.shape == normals.shape == (2, 64, 128, 3) and mask.shape == (2, 64, 128)
    assert geometry.projection is Projection.EQUIRECTANGULAR and geometry.batch == 2
    assert torch.equal(depth[0], depth[1]) and depth.min() >= 0 and depth.max() <= 1
    # Of a ground below the camera the normal is up: not green, in DirectX's colours.
    assert normals[0, -4:, :, 1].mean() < 0.2
    assert depth[0, -4:].mean() > depth[0, 34:38].mean(), "what is under the camera is nearer than the ground far away"


def test_other_sides_are_refused_before_a_model_is_loaded_and_taken_on_request(monkeypatch):
    photo = street()[:, :, :96]
    model = Mock(estimate_panorama=Mock(side_effect=ZeroDivisionError))
    monkeypatch.setattr(panorama, "load_model", lambda *_: model)
    with pytest.raises(ValueError, match=r"96x64 pixels; a panorama .* turn on any_aspect"):
        execute(photo, "tiny")
    assert not model.estimate_panorama.called
    with pytest.raises(ZeroDivisionError):
        execute(photo, "tiny", any_aspect=True)
    assert model.estimate_panorama.call_args.kwargs["any_aspect"] is True


def test_a_model_of_normals_alone_is_refused():
    with pytest.raises(ValueError, match="dsine predicts normals and no depth"):
        execute(street(), model="dsine")


def test_the_model_is_checked_in_the_page():
    assert EstimatePanorama.VALIDATE_INPUTS("tiny") is True
    assert "predicts normals and no depth" in str(EstimatePanorama.VALIDATE_INPUTS("dsine"))
