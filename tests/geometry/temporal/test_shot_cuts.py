"""Cuts are found where they are, and nowhere else."""

import cv2
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from depth_normal.geometry.temporal.shot_cuts import CutDetector

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")


def photograph(name):
    """(1, 3, 90, 120)."""
    small = cv2.resize(getattr(data, name)(), (120, 90), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).movedim(-1, 0)[None].float() / 255


def found(frames):
    return CutDetector().push(frames).tolist()


def test_every_cut_between_photographs_is_found():
    random = torch.Generator().manual_seed(0)
    frames = torch.cat([photograph(name).repeat(3, 1, 1, 1) for name in PHOTOGRAPHS])
    noisy = (frames + 0.03 * torch.randn(frames.shape, generator=random)).clamp(0, 1)
    assert found(noisy) == [t % 3 == 0 and t > 0 for t in range(12)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_pan_a_zoom_and_a_flash_are_no_cuts(name):
    """4 % of the image a frame, 5 % of zoom, and a frame twice as bright."""
    whole = F.interpolate(photograph(name), scale_factor=2, mode="bilinear")
    pan = torch.cat([whole[..., :90, 5 * t : 5 * t + 120] for t in range(20)])
    zoom = torch.cat([F.interpolate(whole[..., 4 * t : 180 - 4 * t, 5 * t : 240 - 5 * t], size=(90, 120)) for t in range(10)])
    flash = torch.cat((photograph(name) / 2, photograph(name), photograph(name) / 2))
    assert not any(found(pan) + found(zoom) + found(flash))


def test_black_between_is_a_shot_of_its_own_and_black_stays_black():
    shot, black = photograph("coffee").repeat(2, 1, 1, 1), torch.zeros(2, 3, 90, 120)
    assert found(torch.cat((shot, black, shot))) == [False, False, True, False, True, False]


def test_frame_by_frame_and_at_once_are_the_same():
    frames = torch.cat([photograph(name) for name in PHOTOGRAPHS])
    one_by_one = CutDetector()
    assert [one_by_one.push(frame[None]).item() for frame in frames] == found(frames) == [False, True, True, True]
