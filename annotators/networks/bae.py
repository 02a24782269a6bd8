"""BAE's network: EfficientNet-B5, a decoder, and normals with their certainty, refined from 1/8 to full size.

Parameter names are the authors'; `annotators/bae.py` names the source.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .efficientnet import B5_CHANNELS, EfficientNetB5, Upsampling
from .layers import ExactConv2d, enlarged, with_certainty
from .published import PublishedNetwork, StateDict

_CHANNELS = (1024, 512, 256, 128)
"""Channels of the decoder's maps, coarsest first."""
_GUESS = 4
_HIDDEN = 128


class _Refinement(nn.Sequential):
    """Refines features and a guess at their size to a guess at twice the size, pixel by pixel.

    The authors enlarge first. The first layer, a 1x1 convolution, gives the same either way, here over a quarter of the pixels.
    """

    def __init__(self, features: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(features + _GUESS, _HIDDEN, 1)]
        for _ in range(2):
            layers += [nn.ReLU(inplace=True), nn.Conv2d(_HIDDEN, _HIDDEN, 1)]
        super().__init__(*layers, nn.ReLU(inplace=True), ExactConv2d(_HIDDEN, _GUESS, 1))

    def forward(self, input: Tensor) -> Tensor:
        first, *others = self
        x = enlarged(first(input))
        for layer in others:
            x = layer(x)
        return x


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        coarsest = B5_CHANNELS[-1]
        self.conv2 = nn.Conv2d(coarsest, coarsest, 1)
        inputs = (coarsest, *_CHANNELS[:-1])
        self.up1, self.up2, self.up3, self.up4 = (
            Upsampling(channels + skip, outputs, nn.BatchNorm2d, align_corners=True)
            for channels, skip, outputs in zip(inputs, B5_CHANNELS[-2::-1], _CHANNELS, strict=True)
        )
        self.out_conv_res8 = ExactConv2d(_CHANNELS[1], _GUESS, 3, padding=1)
        self.out_conv_res4, self.out_conv_res2, self.out_conv_res1 = (_Refinement(channels) for channels in _CHANNELS[1:])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, x = features
        x = self.conv2(x)
        maps = []
        for up, skip in zip((self.up1, self.up2, self.up3, self.up4), reversed(skips), strict=True):
            x = up(x, skip)
            maps.append(x)
        _, eighth, quarter, half = maps
        guess = _normalised(self.out_conv_res8(eighth))
        for refine, x in ((self.out_conv_res4, eighth), (self.out_conv_res2, quarter), (self.out_conv_res1, half)):
            guess = _normalised(refine(torch.cat((x, guess.to(x.dtype)), 1)))
        return guess


class Bae(PublishedNetwork):
    """BAE, the version with batch normalisation.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 32. Output (B, 4, H, W) float32: unit
        vectors in SCANNET axes, and their certainty (the distribution's concentration "kappa"), above 0, large = certain.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"original_model": EfficientNetB5()})
        self.decoder = _Decoder()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decoder(self.encoder["original_model"](pixels))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. The authors' pixelwise layers are 1-dimensional, those here 2-dimensional."""
        used = EfficientNetB5.without_unused(state, "encoder.original_model.")
        return {key: value[..., None] if value.ndim == 3 else value for key, value in used.items()}


def _normalised(guess: Tensor) -> Tensor:
    """Unit vectors and a positive certainty from four values per pixel."""
    return torch.cat(with_certainty(*guess.split((3, 1), 1)), 1)
