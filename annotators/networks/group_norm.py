"""Group normalisation that is exact in channels-last memory.

torch's CPU kernel for that order adds up values and squares in one go, and is far less exact than that for contiguous
memory; to copy maps into the other order and back takes longer than the network's convolutions gain by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .grids import is_traced


class GroupNorm(nn.GroupNorm):
    """As torch's, with means and deviations that are exact to rounding."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, affine: bool = True, device: str | None = None) -> None:
        super().__init__(groups, channels, eps, affine, device)
        self.activation = nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, C, ...) normalised by groups of channels."""
        return self.activation(self._normalised(input) if _loses_digits(input) else super().forward(input))

    def _normalised(self, maps: Tensor) -> Tensor:
        batch, channels = maps.shape[:2]
        groups = (batch, self.num_groups, channels // self.num_groups)
        means = _means(maps)
        centred = maps - means[..., None, None]
        means = means.view(groups)
        means = means - means.mean(2, keepdim=True)
        squares = centred.square()
        variance = (_means(squares).view(groups) + means.square()).mean(2, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight.view(1, *groups[1:])
        scale, shift = scale.expand(groups).reshape(batch, channels), (means * scale).reshape(batch, channels)
        if self.affine:
            shift = shift + self.bias
        # New memory costs a CPU as much time as all these sums.
        memory = None if torch.is_grad_enabled() else squares
        return torch.addcmul(shift[..., None, None], centred, scale[..., None, None], out=memory)


def exact_group_norms(network: nn.Module) -> None:
    """Replaces the group normalisations of a library's network, with their activations, by `GroupNorm`; their parameters stay."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.GroupNorm) and not isinstance(layer, GroupNorm):
                setattr(parent, name, _exact(layer))


def _exact(layer: nn.GroupNorm) -> GroupNorm:
    found = GroupNorm(layer.num_groups, layer.num_channels, layer.eps, layer.affine, device="meta")
    found.weight, found.bias, found.activation = layer.weight, layer.bias, getattr(layer, "activation", found.activation)
    return found.train(layer.training)


def _loses_digits(maps: Tensor) -> bool:
    """Whether torch would take its less exact way; what compilers and exporters make of the layer has its own."""
    if is_traced() or maps.device.type != "cpu" or maps.dtype != torch.float32:
        return False
    return maps.ndim == 4 and not maps.is_contiguous() and maps.is_contiguous(memory_format=torch.channels_last)


def _means(maps: Tensor) -> Tensor:
    """(B, C): means of maps (B, C, H, W) in channels-last memory, over columns and then over rows: short sums are exact."""
    batch, channels, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(batch, height, width * channels).mean(1).view(batch, width, channels).mean(1)
