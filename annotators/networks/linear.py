"""Linear layers that multiply by oneDNN on AMD's CPUs: torch's own call MKL in float32, which is slower there."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grids import is_traced

_ROWS, _PRODUCTS = 128, 2**24
"""With fewer tokens, or fewer products in all, oneDNN's reordering of the weights takes longer than it saves."""


class Linear(nn.Linear):
    """As `nn.Linear`; on AMD's CPUs large layers in float32 are computed as a convolution, whose results differ in the last bits."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., in_features) to (..., out_features)."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`."""
    return by_convolution(input, weight, bias) if _is_faster_by_convolution(input, weight) else F.linear(input, weight, bias)


def _is_faster_by_convolution(x: Tensor, weight: Tensor) -> bool:
    # is_traced: graphs have linear layers; the weight's type: other classes of tensors, such as quantised ones, multiply by themselves
    if x.device.type != "cpu" or x.dtype != torch.float32 or is_traced() or type(weight) is not nn.Parameter:
        return False
    if x.numel() < _ROWS * x.shape[-1] or x.numel() * weight.shape[0] < _PRODUCTS:
        return False
    return convolutions_are_faster()


def convolutions_are_faster() -> bool:
    """Whether float32 is multiplied faster by `by_convolution` than by torch's own matrix products, on this machine's CPU."""
    return _is_amd() and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


@functools.cache
def _is_amd() -> bool:
    """Whether the processor is AMD's; Linux has its maker in a file, Windows in its name."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "AuthenticAMD" in platform.processor()


def by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """As `F.linear`, a 1x1 convolution of one row of pixels, which are the tokens, without a copy of them.

    The stride skips rows, and there is one only: it changes nothing, but without it torch on one thread calls MKL here, too.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features / groups).
        bias: (out_features,).
        groups: Of features: each part of the results follows from one part of x.
    """
    pixels = x.flatten(0, -2).contiguous()[None].mT[:, :, None]  # (1, in_features, 1, tokens)
    found = F.conv2d(pixels, weight[..., None, None], bias, stride=(2, 1), groups=groups)
    return found[0, :, 0].T.reshape(*x.shape[:-1], -1)
