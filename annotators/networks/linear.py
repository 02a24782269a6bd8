"""Linear layers that multiply by oneDNN on CPUs: torch's own go to MKL in float32, which uses no AVX-512 on AMD's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grids import is_traced

_ROWS, _PRODUCTS = 128, 2**24
"""Of fewer tokens, and of fewer products in all, what oneDNN does with the weights beforehand takes longer than it saves."""


class Linear(nn.Linear):
    """As `nn.Linear`; large layers in float32 on CPUs are computed as a convolution, whose results differ in the last bits."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., in_features) to (..., out_features)."""
        return _by_convolution(input, self.weight, self.bias) if self._multiplies_faster(input) else super().forward(input)

    def _multiplies_faster(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dtype != torch.float32 or is_traced() or type(self.weight) is not nn.Parameter:
            return False
        if x.numel() < _ROWS * self.in_features or x.numel() * self.out_features < _PRODUCTS:
            return False
        return torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


def _by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer as a convolution of the tokens, as one row of pixels in the same memory, with kernels of one pixel.

    The stride changes nothing, as there is one row; but without any torch takes MKL on one thread, here too.
    """
    pixels = x.flatten(0, -2).contiguous()[None].mT[:, :, None]  # (1, in_features, 1, tokens)
    found = F.conv2d(pixels, weight[..., None, None], bias, stride=(2, 1))
    return found[0, :, 0].T.reshape(*x.shape[:-1], -1)
