"""The effects on a device that this machine need not have: no op mixes devices, and who asks it says how often."""

import runpy
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.geometry.edges import matting
from depth_normal.geometry.effects import depth_mask, depth_of_field, depths, focus, fog
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.lens import LensOptions

OTHERS = runpy.run_path(str(Path(__file__).resolve().parents[1] / "test_devices.py"))
DEVICE, Questions = map(OTHERS.get, ("DEVICE", "Questions"))


def maps(channels=1):
    return torch.rand(1, channels, 24, 32, device=DEVICE)


def estimate():
    return Estimate(maps(), Quantity.METRIC_DEPTH, mask=maps() > 0.5, intrinsics=torch.eye(3, device=DEVICE)[None])


CASES = {
    "depths": (lambda: depths.known_depths(estimate()).share(), 1),
    "mask": (lambda: depth_mask.range_mask(depths.known_depths(estimate()), 0.1, 0.5, unit="metres", feather=0.1), 1),
    # The image's levels, and with them whether something is brighter than white.
    "cut-out": (lambda: matting.cut_out(maps(3), maps(), 5.0).colour, 1),
    "fog": (lambda: fog.add_fog(maps(3), fog.fog_transmittance(maps(), torch.eye(3, device=DEVICE)[None], 0.1, falloff=0.1), (1, 1, 1)), 2),
    "focus": (lambda: focus.focused(estimate(), maps(3), LensOptions(point=(0.5, 0.5))).circle, 6),  # most for what is near the edges
    "depth of field": (lambda: depth_of_field.depth_of_field(maps(3), maps(), blades=5, highlights=1.0), 4),
}


@pytest.mark.slow("follows an effect without its device")
@pytest.mark.parametrize("name", CASES)
def test_it_runs_on_a_device_and_asks_it_seldom(name):
    call, waits = CASES[name]
    with FakeTensorMode(), Questions() as questions:
        assert call().device == DEVICE
    assert questions.asked == waits
