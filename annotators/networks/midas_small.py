"""The network of MiDaS v2.1 small: an EfficientNet-Lite3 encoder and a light RefineNet decoder.

Parameter names are those of the official checkpoint, so that it loads without a key map.

Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020), code isl-org/MiDaS v2.1.
"""

from __future__ import annotations

from torch import Tensor, nn

from .dpt import Fusion
from .efficientnet import LITE3, SameConv2d, batch_norm, encoder_stages
from .published import StateDict

# the stages whose outputs the decoder takes, at 1/4, 1/8, 1/16 and 1/32 of the image
ENCODER_LAYERS = (slice(0, 2), slice(2, 3), slice(3, 5), slice(5, 7))
DECODER_CHANNELS = (64, 128, 256, 512)


class DisparityHead(nn.Sequential):
    """MiDaS's last layers, from features at half size to disparity: all but the first convolution compute in float32.

    Disparity reaches thousands, beyond float16, and bfloat16's eight bits of mantissa would show as steps in normals.
    """

    def keep_float32(self, state: StateDict) -> None:
        """Brings those layers back to float32, after the network was moved to another dtype.

        Args:
            state: The head's `state_dict()` from before the move: what was rounded does not come back.
        """
        for layer in list(self)[1:]:
            layer.float()
        self.load_state_dict(dict(state))

    def forward(self, input: Tensor) -> Tensor:
        """Disparity (B, 1, H, W) float32 of features (B, C, H / 2, W / 2) of any float dtype."""
        first, *others = self
        values = first(input).float()
        for layer in others:
            values = layer(values)
        return values


class MidasSmall(nn.Module):
    """MiDaS v2.1 small.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 32. Output (B, 1, H, W): disparity,
        large = near, unknown scale and shift, never negative.
    """

    def __init__(self) -> None:
        super().__init__()
        stages = encoder_stages(LITE3)
        stem = [SameConv2d(3, LITE3.stem, 3, 2, bias=False), batch_norm(LITE3.stem), nn.ReLU6()]
        self.pretrained = nn.Module()
        self.scratch = nn.Module()
        fused = (DECODER_CHANNELS[0], *DECODER_CHANNELS[:-1])
        for level, layer in enumerate(ENCODER_LAYERS):
            modules = ([*stem] if level == 0 else []) + stages[layer]
            features, channels = LITE3.stages[layer.stop - 1][4], DECODER_CHANNELS[level]
            setattr(self.pretrained, f"layer{level + 1}", nn.Sequential(*modules))
            setattr(self.scratch, f"layer{level + 1}_rn", nn.Conv2d(features, channels, 3, padding=1, bias=False))
            setattr(self.scratch, f"refinenet{level + 1}", Fusion(channels, fused[level]))  # the coarsest joins no finer map
        half = DECODER_CHANNELS[0] // 2
        self.scratch.output_conv = DisparityHead(
            nn.Conv2d(2 * half, half, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(half, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for level in range(4):
            x = self.pretrained.get_submodule(f"layer{level + 1}")(x)
            features.append(self.scratch.get_submodule(f"layer{level + 1}_rn")(x))
        path = self.scratch.get_submodule("refinenet4")(features[3])
        for level in (2, 1, 0):
            path = self.scratch.get_submodule(f"refinenet{level + 1}")(path, features[level])
        return self.scratch.get_submodule("output_conv")(path)
