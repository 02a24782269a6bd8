"""The effects on a device that this machine need not have: no op mixes devices, and who asks it says how often."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from depth_normal.geometry.edges import matting
from depth_normal.geometry.effects import depth_mask, depth_of_field, depths, focus, fog
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.lens import LensOptions

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "lazy:0")


class Answers(TorchDispatchMode):
    """Says 0.25 or yes to what fake tensors cannot answer, and counts it."""

    asked = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.asked += args[0].device == DEVICE
            return True if args[0].dtype is torch.bool else 0.25 if args[0].dtype.is_floating_point else 1
        return func(*args, **(kwargs or {}))


def maps(channels=1):
    return torch.rand(1, channels, 24, 32, device=DEVICE)


def estimate():
    return Estimate(maps(), Quantity.METRIC_DEPTH, mask=maps() > 0.5, intrinsics=torch.eye(3, device=DEVICE)[None])


CASES = {
    "depths": (lambda: depths.known_depths(estimate()).share(), 1),
    "mask": (lambda: depth_mask.range_mask(depths.known_depths(estimate()), 0.1, 0.5, unit="metres", feather=0.1), 1),
    # The image's levels once; a cut-out also asks whether something is brighter than white.
    "cut-out": (lambda: matting.cut_out(maps(3), maps(), 5.0).colour, 2),
    "fog": (lambda: fog.add_fog(maps(3), fog.fog_transmittance(maps(), torch.eye(3, device=DEVICE)[None], 0.1, falloff=0.1), (1, 1, 1)), 2),
    "focus": (lambda: focus.focused(estimate(), maps(3), LensOptions(point=(0.5, 0.5))).circle, 4),  # once for the sky
    "depth of field": (lambda: depth_of_field.depth_of_field(maps(3), maps(), blades=5, highlights=1.0), 4),
}


@pytest.mark.slow("follows an effect without its device")
@pytest.mark.parametrize("name", CASES)
def test_it_runs_on_a_device_and_asks_it_seldom(name, monkeypatch):
    call, questions = CASES[name]
    with FakeTensorMode(), Answers() as answers:

        def listed(values):
            answers.asked += values.device == DEVICE
            return np.full(values.shape, 0.25 if values.dtype.is_floating_point else 1).tolist()

        monkeypatch.setattr(FakeTensor, "tolist", listed)
        assert call().device == DEVICE
    assert answers.asked == questions
