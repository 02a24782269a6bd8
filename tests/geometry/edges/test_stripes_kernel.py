"""The Triton kernel of the stripes gives what the eager way gives, by Triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="torch for the CPU alone comes without Triton")

BOTH = """
import torch
from depth_normal.geometry.edges import depth_edges, stripes, stripes_kernel
row, column = torch.meshgrid(torch.arange(18.0), torch.arange(21.0), indexing="ij")
away = torch.stack((column - 10.3, (column - row) * 0.7 - 1))[:, None]
inverse = 0.4 + 0.6 * torch.special.ndtr(-away / 1.5)
colours = torch.where(away > 1.5, 0.5, torch.where(away > -1.5, 0.1, 0.6)).expand(-1, 3, -1, -1)
image = (colours + 0.02 * torch.randn(colours.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
eager = stripes._votes.eager
def both(*args):
    made, expected = stripes_kernel.votes(*args), eager(*args)
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    print(*(expected[0][:, 2] > 0.2).sum((1, 2)).tolist())
    return expected
stripes._votes = both
ramps = depth_edges.find_ramps(inverse, 2)
stripes.stripe_ends(inverse, image, ramps.wide_low, ramps.wide_high, ramps.edge, 2)
"""


@pytest.mark.slow("interprets a kernel")
def test_the_kernel_gives_what_the_eager_way_gives():
    """In a process of its own: whether kernels are interpreted is decided at Triton's import."""
    ended = subprocess.run([sys.executable, "-c", BOTH], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert min(int(word) for word in ended.stdout.split()) > 3
