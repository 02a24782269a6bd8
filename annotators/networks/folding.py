"""Folds chains of linear layers into one convolution, and pads maps in place, to speed up stacks of convolutions.

Results differ from those of the separate layers only by the order of float32 sums.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .layers import is_traced

# Rows -1, 0, 1 and 2 of a map enlarged twofold by bilinear interpolation, as weights of the map's rows -1, 0 and 1.
_BILINEAR = ((0.75, 0.25, 0.0), (0.25, 0.75, 0.0), (0.0, 0.75, 0.25), (0.0, 0.25, 0.75))
# (tap of a 3x3 convolution, row of the 2x2 transposed convolution's kernel) that contribute to an (even row, odd row) of the result,
# by the (first, second) of the two rows that it depends on.
_TRANSPOSED = ((((0, 1),), ((1, 0), (2, 1))), (((0, 0), (1, 1)), ((2, 0),)))


def folds(x: Tensor) -> bool:
    """Whether folding is possible and pays: on CPUs, without gradients, and not while tracing or compiling."""
    return x.device.type == "cpu" and not x.requires_grad and not is_traced()


def fold_norms(network: nn.Module) -> None:
    """Folds batch norms into the convolutions before them in the `nn.Sequential`s of a float32 network in eval mode, in place."""
    for layers in [*network.modules()]:
        if isinstance(layers, nn.Sequential):
            for (name, conv), (norm_name, norm) in itertools.pairwise(layers.named_children()):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(layers, name, fuse_conv_bn_eval(conv, norm))
                    setattr(layers, norm_name, nn.Identity())


class RepeatedBorder:
    """A reusable buffer for maps, of the shape (B, C, h, w) and by default the dtype of `like`, with a replicated border of one pixel.

    Allocating memory for each of a stack of large maps would take longer than the computation.
    """

    def __init__(self, like: Tensor, dtype: torch.dtype | None = None) -> None:
        batch, channels, height, width = like.shape
        shape = (batch, channels, height + 2, width + 2)
        self._whole = torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)
        self._inside = self._whole[..., 1:-1, 1:-1]

    def around(self, x: Tensor) -> Tensor:
        """Copies a map (B, C, h, w) and adds the border: (B, C, h + 2, w + 2), valid until the next call."""
        self._inside.copy_(x)
        return self._repeated()

    def around_positive(self, x: Tensor) -> Tensor:
        """`around` of the map after a ReLU."""
        torch.clamp_min(x, 0, out=self._inside)
        return self._repeated()

    def _repeated(self) -> Tensor:
        whole = self._whole
        whole[..., 0, :], whole[..., -1, :] = whole[..., 1, :], whole[..., -2, :]
        whole[..., 0], whole[..., -1] = whole[..., 1], whole[..., -2]
        return whole


def then_pointwise(conv: nn.Conv2d, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias, float32, of one convolution that equals `conv` and then a 1x1 convolution by a weight (outputs, inputs, 1, 1)."""
    weight = weight.flatten(1).float()
    return torch.einsum("oc,cihw->oihw", weight, conv.weight.float()), weight @ _bias(conv)


def bilinear_then_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Bilinear enlargement to twice the size, then a 3x3 convolution with replicate padding: (B, outputs, 2 * h, 2 * w).

    Both are folded into one 3x3 convolution of the smaller map, with four output pixels per input pixel.

    Args:
        x: (B, C, h + 2, w + 2), with a replicated border, from which interpolation at the edge continues.
        weight, bias: (outputs, C, 3, 3) and (outputs,).
    """
    rows = torch.tensor(_BILINEAR, dtype=weight.dtype, device=weight.device).unfold(0, 3, 1)  # (row of two, row of the map, tap)
    folded = torch.einsum("pkt,qlu,octu->opqckl", rows, rows, weight).flatten(0, 2)
    return F.pixel_shuffle(F.conv2d(x, folded, bias.repeat_interleave(4)), 2)


def add_transposed_then_conv(total: Tensor, x: Tensor, transposed: nn.ConvTranspose2d, conv: nn.Conv2d) -> None:
    """Adds a 2x2 transposed convolution of stride 2, followed by a 3x3 convolution with replicate padding, to a map in place.

    Away from the border, both are folded into one 2x2 convolution of the smaller map (B, C, h, w), with four output pixels per input pixel.
    `total` is (B, outputs, 2 * h, 2 * w).
    """
    height, width = x.shape[-2:]
    folded, bias = _folded(transposed, conv)
    corners = F.conv2d(x, folded, bias, padding=1).unflatten(1, (2, 2, -1))
    # Border pixels depend only on the outermost strip of the map.
    top, bottom = (conv(transposed(row)) for row in (x[..., :1, :], x[..., -1:, :]))
    left, right = (conv(transposed(column)) for column in (x[..., :1], x[..., -1:]))
    for odd_row in range(2):
        for odd_column in range(2):
            part = corners[:, odd_row, odd_column, :, odd_row : odd_row + height, odd_column : odd_column + width]
            part[..., -odd_row, :] = (bottom if odd_row else top)[..., odd_row, odd_column::2]
            part[..., -odd_column] = (right if odd_column else left)[..., odd_row::2, odd_column]
            total[..., odd_row::2, odd_column::2].add_(part)


def _folded(transposed: nn.ConvTranspose2d, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight (4 * outputs, C, 2, 2), by odd row, odd column and output, and bias of the folded convolution."""
    first, second = transposed.weight.float(), conv.weight.float()  # (C, inner, 2, 2) and (outputs, inner, 3, 3)
    select = first.new_zeros(3, 2, 2, 2)  # (tap, row of the transposed kernel, odd row, row of two)
    for odd, rows in enumerate(_TRANSPOSED):
        for row, pairs in enumerate(rows):
            for tap, inner in pairs:
                select[tap, inner, odd, row] = 1
    pairs = second.movedim(1, -1).flatten(0, 2) @ first.movedim(1, 0).flatten(1)
    pairs = pairs.view(len(second), 3, 3, len(first), 2, 2).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)  # (outputs, C, 6, 6)
    by_window = torch.einsum("ocab,apk,bql->pqockl", pairs, select.flatten(0, 1), select.flatten(0, 1))
    bias = second.sum((2, 3)) @ _bias(transposed) + _bias(conv)
    return by_window.flatten(0, 2).to(conv.weight.dtype), bias.repeat(4).to(conv.weight.dtype)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias.float()
