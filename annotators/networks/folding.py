"""Chains of linear layers computed as one convolution, and maps padded in place: what makes stacks of convolutions faster.

The results are those of the layers one after the other but for the order in which float32 sums are taken.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .layers import is_traced

# Row -1, 0, 1 and 2 of a map enlarged to twice its size by bilinear interpolation, by the rows -1, 0 and 1 of the map.
_BILINEAR = ((0.75, 0.25, 0.0), (0.25, 0.75, 0.0), (0.0, 0.75, 0.25), (0.0, 0.25, 0.75))
# (tap of a 3x3 convolution, row of the 2x2 transposed convolution's kernel) that make an (even row, odd row) of the result,
# by the (first, second) of the two rows that it depends on.
_TRANSPOSED = ((((0, 1),), ((1, 0), (2, 1))), (((0, 0), (1, 1)), ((2, 0),)))


def folds(x: Tensor) -> bool:
    """True where folding pays and is possible: on CPUs, without gradients and not while an exporter or a compiler traces."""
    return x.device.type == "cpu" and not x.requires_grad and not is_traced()


def fold_norms(network: nn.Module) -> None:
    """Makes batch normalisations part of the convolutions before them in a network's `nn.Sequential`s, in place.

    Args:
        network: In float32, and in eval mode.
    """
    for layers in [*network.modules()]:
        if isinstance(layers, nn.Sequential):
            for (name, conv), (norm_name, norm) in itertools.pairwise(layers.named_children()):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(layers, name, fuse_conv_bn_eval(conv, norm))
                    setattr(layers, norm_name, nn.Identity())


class RepeatedBorder:
    """Memory for maps with a border of one pixel that repeats the pixel beside it, used again and again.

    New memory for each of a stack of large maps costs more time than what is computed in it.

    Args:
        like: (B, C, h, w), of the maps' shape.
        dtype: Of the maps; None = that of `like`.
    """

    def __init__(self, like: Tensor, dtype: torch.dtype | None = None) -> None:
        batch, channels, height, width = like.shape
        shape = (batch, channels, height + 2, width + 2)
        self._whole = torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)
        self._inside = self._whole[..., 1:-1, 1:-1]

    def around(self, x: Tensor) -> Tensor:
        """A map (B, C, h, w) with its border, (B, C, h + 2, w + 2). It is valid until the next call."""
        self._inside.copy_(x)
        return self._repeated()

    def around_positive(self, x: Tensor) -> Tensor:
        """As `around`, of the map after a ReLU."""
        torch.clamp_min(x, 0, out=self._inside)
        return self._repeated()

    def _repeated(self) -> Tensor:
        whole = self._whole
        whole[..., 0, :], whole[..., -1, :] = whole[..., 1, :], whole[..., -2, :]
        whole[..., 0], whole[..., -1] = whole[..., 1], whole[..., -2]
        return whole


def then_pointwise(conv: nn.Conv2d, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias, float32, of the one convolution that is another and then one of 1x1.

    Args:
        conv: The first, of c outputs.
        weight: (outputs, c, 1, 1) of the second; its own bias is not added.
    """
    weight = weight.flatten(1).float()
    return torch.einsum("oc,cihw->oihw", weight, conv.weight.float()), weight @ _bias(conv)


def bilinear_then_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A map at twice the size by bilinear interpolation, then a 3x3 convolution that repeats the border.

    Both are one 3x3 convolution of the smaller map that gives the four pixels of the larger one at once.

    Args:
        x: (B, C, h + 2, w + 2), with a repeated border. What interpolation has beyond the border is the border too.
        weight: (outputs, C, 3, 3).
        bias: (outputs,).

    Returns:
        (B, outputs, 2 * h, 2 * w).
    """
    rows = torch.tensor(_BILINEAR, dtype=weight.dtype, device=weight.device).unfold(0, 3, 1)  # (row of two, row of the map, tap)
    folded = torch.einsum("pkt,qlu,octu->opqckl", rows, rows, weight).flatten(0, 2)
    return F.pixel_shuffle(F.conv2d(x, folded, bias.repeat_interleave(4)), 2)


def add_transposed_then_conv(total: Tensor, x: Tensor, transposed: nn.ConvTranspose2d, conv: nn.Conv2d) -> None:
    """Adds a transposed 2x2 convolution of stride 2, followed by a 3x3 convolution that repeats the border, to a map in place.

    Both are one 2x2 convolution of the smaller map that gives four pixels of the larger one at once, but at the border.

    Args:
        total: (B, outputs, 2 * h, 2 * w); it is changed.
        x: (B, C, h, w).
        transposed, conv: The layers.
    """
    height, width = x.shape[-2:]
    folded, bias = _folded(transposed, conv)
    corners = F.conv2d(x, folded, bias, padding=1).unflatten(1, (2, 2, -1))
    # One strip of the map is enough for the border's pixels: they depend on no others.
    top, bottom = (conv(transposed(row)) for row in (x[..., :1, :], x[..., -1:, :]))
    left, right = (conv(transposed(column)) for column in (x[..., :1], x[..., -1:]))
    for odd_row in range(2):
        for odd_column in range(2):
            part = corners[:, odd_row, odd_column, :, odd_row : odd_row + height, odd_column : odd_column + width]
            part[..., -odd_row, :] = (bottom if odd_row else top)[..., odd_row, odd_column::2]
            part[..., -odd_column] = (right if odd_column else left)[..., odd_row::2, odd_column]
            total[..., odd_row::2, odd_column::2].add_(part)


def _folded(transposed: nn.ConvTranspose2d, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight (4 * outputs, C, 2, 2), by odd row, odd column and output, and bias of the one convolution."""
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
