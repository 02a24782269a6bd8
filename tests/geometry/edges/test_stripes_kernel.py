"""The Triton kernel of the stripes gives what the eager way gives, by Triton's interpreter, and compiles for the cards that take it."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from depth_normal.geometry.filters import kernels

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


COMPILED = f"""
import sys, triton
from triton.backends.compiler import GPUTarget
from depth_normal.geometry.edges.stripes_kernel import _votes
kinds = {{"maps": "*fp32", "edge": "*u8", "place": "*i64", "grid": "*fp32", "lines": "*fp32", "size": "constexpr", "block": "constexpr"}}
signature = {{name: kinds.get(name, "i32") for name in _votes.arg_names}}
source = triton.compiler.ASTSource(_votes, signature, constexprs={{"size": 32, "block": 64}})
for generation in ({kernels._OLDEST[0] * 10 + kernels._OLDEST[1]}, 120):
    options = {{"num_warps": 1, "enable_fp_fusion": False}}
    print(len(triton.compile(source, target=GPUTarget("cuda", generation, 32), options=options).asm["cubin"]))
"""


def run(script, **environment):
    """The numbers that a script prints, in a process of its own: whether kernels are interpreted is decided at Triton's import."""
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return [int(word) for word in ended.stdout.split()]


@pytest.mark.slow("interprets a kernel")
def test_the_kernel_gives_what_the_eager_way_gives():
    assert min(run(BOTH, TRITON_INTERPRET="1")) > 3


@pytest.mark.slow("compiles a kernel")
def test_the_kernel_compiles_for_old_and_new_cards(tmp_path):
    assert min(run(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))) > 1000
