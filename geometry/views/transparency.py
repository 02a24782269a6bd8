"""Transparent images: composited for networks, split into colours and alpha, and processed by effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import check_levels, on_white, resize_map, split_alpha
from ..estimate import Estimate
from ..filters.coarse import enlarged, shrunk
from ..images.srgb import linear_to_srgb, srgb_to_linear

_TINY = 1e-12


class Layers(NamedTuple):
    """Images with and without their transparency.

    Attributes:
        shown: (B, 3, H, W) in [0, 1], composited over white: the input of networks.
        colours: (B, 3, H, W), not composited.
        alpha: (B, 1, H, W) in [0, 1]; None for opaque images.
    """

    shown: Tensor
    colours: Tensor
    alpha: Tensor | None

    def split(self) -> Iterator[Layers]:
        """The layers of each image."""
        alphas = [None] * len(self.shown) if self.alpha is None else self.alpha.split(1)
        return (Layers(*each) for each in zip(self.shown.split(1), self.colours.split(1), alphas, strict=True))

    def to(self, device: torch.device | str) -> Layers:
        """The same layers on another device."""
        return Layers(self.shown.to(device), self.colours.to(device), None if self.alpha is None else self.alpha.to(device))

    @property
    def continued(self) -> Tensor:
        """The colours, filled from nearby pixels where fully transparent, so that blurs and warped edges have no rim of another colour."""
        return self.colours if self.alpha is None else _continued(self.colours, self.alpha)

    def seen(self, estimate: Estimate) -> Estimate:
        """The estimate at the images' size, without values in fully transparent pixels; unchanged for opaque images."""
        if self.alpha is None:
            return estimate
        return estimate.resized(self.alpha.shape[-2], self.alpha.shape[-1]).where_known(self.alpha > 0)

    def with_alpha(self, effect: Tensor, alpha: Tensor | None = None) -> Tensor:
        """Appends alpha, or another alpha, to an effect of the colours (B, 3, H, W); opaque images stay unchanged."""
        if self.alpha is None:
            return effect
        return torch.cat((effect, (self.alpha if alpha is None else alpha).to(effect)), 1)

    def through(self, effect: Callable[[Tensor], Tensor], of_alpha: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Applies an effect of sRGB images that warps or mixes pixels in linear light; transparent images get alpha as fourth channel.

        `of_alpha` is the effect without parts for photographs only; None = `effect`.
        """
        return next(self.each_through(lambda image: iter((effect(image),)), of_alpha and (lambda alpha: iter((of_alpha(alpha),)))))

    def each_through(
        self, effect: Callable[[Tensor], Iterator[Tensor]], of_alpha: Callable[[Tensor], Iterator[Tensor]] | None = None
    ) -> Iterator[Tensor]:
        """`through` for an effect that yields several images."""
        if self.alpha is None:
            yield from effect(self.continued)
            return
        alphas = (of_alpha or effect)(linear_to_srgb(self.alpha).expand(-1, 3, -1, -1).contiguous())
        for made, moved in zip(effect(self.continued), alphas, strict=True):
            yield self.with_alpha(made, srgb_to_linear(moved[:, :1]).clamp(0, 1))


def split_layers(images: Tensor, *, checked: bool = False) -> Layers:
    """Splits images (B, 3 or 4, H, W) in [0, 1] with straight alpha into layers.

    `checked` skips the check of the levels, which synchronises a GPU: a ValueError of `check_levels` for HDR images.
    """
    if not checked:
        check_levels(images, hdr=True)
    colours, alpha = split_alpha(images)
    if alpha is None:
        return Layers(images, images, None)
    return Layers(on_white(images), colours, alpha)


def opaque_part(estimate: Estimate, image: Tensor | None) -> tuple[Estimate, Tensor | None]:
    """The estimate without values where the image (B, 3 or 4, h, w) is less than half opaque, and the image's colours, for meshes."""
    if image is None or image.shape[1] < 4:
        return estimate, image
    layers = split_layers(image)
    assert layers.alpha is not None
    return estimate.where_known(resize_map(layers.alpha, estimate.height, estimate.width) >= 0.5), layers.continued


def _continued(colours: Tensor, alpha: Tensor) -> Tensor:
    """Fills colours (B, 3, H, W) with alpha 0 by the mean of the smallest power-of-two square that has visible pixels."""
    levels = [torch.cat((colours * alpha, alpha), 1)]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(shrunk(levels[-1], 2))
    colours_below = colours.new_zeros(len(colours), 3, 1, 1)
    for level in reversed(levels):
        beyond = enlarged(colours_below, 2, level.shape[-2:]) if level is not levels[-1] else colours_below
        colours_below = torch.where(level[:, 3:] > 0, level[:, :3] / level[:, 3:].clamp(min=_TINY), beyond)
    return torch.where(alpha > 0, colours, colours_below)
