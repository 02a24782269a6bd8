"""Depth Pro: inverse depth of a canonical camera and the field of view, by three transformers on patches of one image.

Module names are the authors'; `annotators/depth_pro.py` names the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import DepthProConfig, VitConfig
from .layers import ExactConv2d, Linear, conv3x3
from .published import PublishedNetwork, StateDict, rename
from .vit import HUB_BLOCKS, VisionTransformer, with_joined_attention

PASSES = 37
"""Transformer passes per image: 35 of the patch encoder, one of the image encoder, one for the field of view."""
_STEPS = (5, 3, 1)
"""Patches along a side of the image at full, half and quarter size."""
_PATCHES_AT_ONCE = 5
"""Patches of each image per batch. They take less memory than the decoder, which determines `bytes_per_pixel`."""
_HEAD_CHANNELS = 32

Passed = Callable[[int], None]
"""Called with the number of passes since the last call, over all images of the batch."""


def _upsampling(inputs: int, inner: int, outputs: int, times: int) -> nn.Sequential:
    """A projection followed by `times` transposed convolutions that each double the size."""
    doubling = (nn.ConvTranspose2d(outputs if index else inner, outputs, 2, 2, bias=False) for index in range(times))
    return nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), *doubling)


class _Encoder(nn.Module):
    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        width, (first, second, third, last) = config.vit.width, config.channels
        self.patch_encoder = VisionTransformer(config.vit)
        self.image_encoder = VisionTransformer(_last_only(config.vit))
        self.upsample_latent0 = _upsampling(width, first, config.features, 3)
        self.upsample_latent1 = _upsampling(width, first, first, 2)
        self.upsample0 = _upsampling(width, second, second, 1)
        self.upsample1 = _upsampling(width, third, third, 1)
        self.upsample2 = _upsampling(width, last, last, 1)
        self.upsample_lowres = nn.ConvTranspose2d(width, last, 2, 2)
        self.fuse_lowres = nn.Conv2d(2 * last, last, 1)

    def patches(self, images: Sequence[Tensor], passed: Passed) -> list[Tensor]:
        """Merged features of the patches of images (B, 3, side, side) at full, half and quarter size.

        Of a shallow block, of a deeper one, and of the last at the three sizes; `passed` is called after each batch of patches.
        """
        batch, grid, window = len(images[0]), self.patch_encoder.config.grid, images[-1].shape[-1]
        patches = [patch for image, steps in zip(images, _STEPS, strict=True) for patch in _split(image, window, steps)]
        finest = _STEPS[0] ** 2
        shallow, deeper, last = [], [], []
        for start in range(0, len(patches), _PATCHES_AT_ONCE):
            part = patches[start : start + _PATCHES_AT_ONCE]
            tokens = self.patch_encoder.tokens(torch.cat(part))
            if start < finest:
                shallow += _maps(tokens[0], grid).split(batch)
                deeper += _maps(tokens[1], grid).split(batch)
            last += _maps(self.patch_encoder.norm(tokens[2]), grid).split(batch)
            passed(len(part) * batch)
        merged = [_merge(shallow, _STEPS[0]), _merge(deeper, _STEPS[0])]
        for steps in _STEPS:
            count = steps**2
            merged.append(_merge(last[:count], steps))
            del last[:count]
        return merged


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (conv3x3(channels, channels) for _ in range(2))
        self.residual = nn.Sequential(nn.ReLU(), first, nn.ReLU(inplace=True), second)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x).add_(x)


class _Fusion(nn.Module):
    """Adds a finer map to the path, refines it and doubles its size."""

    def __init__(self, channels: int, doubles: bool) -> None:
        super().__init__()
        self.resnet1 = _Residual(channels)
        self.resnet2 = _Residual(channels)
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, 2, bias=False) if doubles else nn.Identity()
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, path: Tensor, finer: Tensor | None = None) -> Tensor:
        if finer is not None:
            path = self.resnet1(finer).add_(path)
        return self.out_conv(self.deconv(self.resnet2(path)))


class _Decoder(nn.Module):
    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        features = config.features
        projections = [nn.Conv2d(each, features, 3, padding=1, bias=False) for each in config.channels]
        self.convs = nn.ModuleList([nn.Identity(), *projections])
        self.fusions = nn.ModuleList(_Fusion(features, doubles=level > 0) for level in range(len(self.convs)))


class _FieldOfView(nn.Module):
    """The horizontal field of view in degrees, from the image at quarter size and the decoder's coarsest map."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        features = config.features
        half, quarter, eighth = features // 2, features // 4, features // 8
        self.encoder = nn.ModuleList([VisionTransformer(_last_only(config.vit)), Linear(config.vit.width, half)])
        self.downsample = nn.Sequential(nn.Conv2d(features, half, 3, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Sequential(
            ExactConv2d(half, quarter, 3, 2, 1),
            nn.ReLU(inplace=True),
            ExactConv2d(quarter, eighth, 3, 2, 1),
            nn.ReLU(inplace=True),
            ExactConv2d(eighth, 1, config.vit.grid // 4),
        )

    def forward(self, image: Tensor, coarsest: Tensor) -> Tensor:
        transformer, project = self.encoder
        assert isinstance(transformer, VisionTransformer)
        projected = _maps(project(_last_tokens(transformer, image)), transformer.config.grid)
        return self.head(projected + self.downsample(coarsest)).flatten()


class DepthPro(PublishedNetwork):
    """The network.

    Convention:
        Input (B, 3, side, side): images in [-1, 1], stretched to the config's side.
        Output (B, 1, side, side) float32: non-negative inverse depth in 1 / m for a focal length of the image's width.
        And (B,) float32: the horizontal field of view in degrees.
    """

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        half = config.features // 2
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        self.head = nn.Sequential(
            conv3x3(config.features, half),
            nn.ConvTranspose2d(half, half, 2, 2),
            conv3x3(half, _HEAD_CHANNELS),
            nn.ReLU(inplace=True),
            ExactConv2d(_HEAD_CHANNELS, 1, 1),
            nn.ReLU(inplace=True),
        )
        self.fov = _FieldOfView(config)

    def forward(self, pixels: Tensor, passed: Passed | None = None) -> tuple[Tensor, Tensor]:
        """Inverse depth and field of view, see the class; `passed` is called after each batch of passes, `PASSES` per image in total."""
        passed = passed or (lambda _passes: None)
        encoder, decoder = self.encoder, self.decoder
        halved, quartered = (F.interpolate(pixels, scale_factor=scale, mode="bilinear") for scale in (0.5, 0.25))
        shallow, deeper, *maps, coarse = encoder.patches((pixels, halved, quartered), passed)
        whole = _maps(_last_tokens(encoder.image_encoder, quartered), encoder.image_encoder.config.grid)
        passed(len(pixels))
        coarse = encoder.fuse_lowres(torch.cat((encoder.upsample2(coarse), encoder.upsample_lowres(whole)), 1))
        coarse = decoder.convs[4](coarse)
        fov = self.fov(quartered, coarse)
        passed(len(pixels))
        path = decoder.fusions[4](coarse)
        # Maps are enlarged only when the path reaches them: the finest two take most of the memory.
        finer = (
            (3, encoder.upsample1, maps.pop()),
            (2, encoder.upsample0, maps.pop()),
            (1, encoder.upsample_latent1, deeper),
            (0, encoder.upsample_latent0, shallow),
        )
        for level, enlarge, features in finer:
            path = decoder.fusions[level](path, decoder.convs[level](enlarge(features)))
        for layer in self.head:
            path = layer(path)
        return path, fov

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Accepts the authors' and transformers' names."""
        if not any(key.startswith(_HUB_PREFIXES) for key in state):
            return dict(state)
        return with_joined_attention({rename(key, _HUB_NAMES): value for key, value in state.items() if not key.endswith(".mask_token")})


_HUB_PREFIXES = ("depth_pro.", "fusion_stage.", "fov_model.")
_HUB_NAMES = (
    (r"^depth_pro\.encoder\.(patch|image)_encoder\.model\.", r"encoder.\1_encoder."),
    (r"^fov_model\.fov_encoder\.model\.", "fov.encoder.0."),
    (r"^fov_model\.fov_encoder\.neck\.", "fov.encoder.1."),
    (r"^fov_model\.conv\.", "fov.downsample.0."),
    (r"^fov_model\.head\.layers\.", "fov.head."),
    (r"^depth_pro\.neck\.feature_upsample\.image_block\.layers\.0\.", "encoder.upsample_lowres."),
    (r"^depth_pro\.neck\.feature_upsample\.intermediate\.(\d)\.layers\.", lambda match: f"encoder.upsample_latent{1 - int(match[1])}."),
    (r"^depth_pro\.neck\.feature_upsample\.scaled_images\.(\d)\.layers\.", lambda match: f"encoder.upsample{2 - int(match[1])}."),
    (r"^depth_pro\.neck\.fuse_image_with_low_res\.", "encoder.fuse_lowres."),
    (r"^depth_pro\.neck\.feature_projection\.projections\.(\d)\.", lambda match: f"decoder.convs.{4 - int(match[1])}."),
    (r"^fusion_stage\.intermediate\.(\d)\.", lambda match: f"decoder.fusions.{4 - int(match[1])}."),
    (r"^fusion_stage\.final\.", "decoder.fusions.0."),
    (r"\.residual_layer([12])\.convolution1\.", r".resnet\1.residual.1."),
    (r"\.residual_layer([12])\.convolution2\.", r".resnet\1.residual.3."),
    (r"^(decoder\.fusions\.\d\.)projection\.", r"\1out_conv."),
    (r"^head\.layers\.", "head."),
    (r"\.embeddings\.patch_embeddings\.projection\.", ".patch_embed.proj."),
    (r"\.embeddings\.position_embeddings$", ".pos_embed"),
    (r"\.embeddings\.cls_token$", ".cls_token"),
    (r"\.layernorm\.", ".norm."),
    (r"\.encoder\.layer\.(\d+)\.", r".blocks.\1."),
    *HUB_BLOCKS,
)


def _last_only(vit: VitConfig) -> VitConfig:
    return replace(vit, taken=(vit.depth - 1,))


def _last_tokens(transformer: VisionTransformer, image: Tensor) -> Tensor:
    return transformer.norm(transformer.tokens(image)[-1])


def _maps(tokens: Tensor, grid: int) -> Tensor:
    """Tokens (B, 1 + patches, C) as (B, C, grid, grid), without the class token."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))


def _split(image: Tensor, window: int, steps: int) -> list[Tensor]:
    """`steps` x `steps` overlapping, evenly spaced squares of an image, row by row."""
    stride = (image.shape[-1] - window) // max(1, steps - 1)
    places = [index * stride for index in range(steps)]
    return [image[..., top : top + window, left : left + window] for top in places for left in places]


def _merge(maps: Sequence[Tensor], steps: int) -> Tensor:
    """Merges the maps of `_split`'s squares into one. Neighbours are each cropped by half of their overlap."""
    if steps == 1:
        return maps[0]
    grid = maps[0].shape[-1]
    lost = grid // (2 * (steps - 1))  # 5 squares span 4 widths, 3 span 2
    kept = [slice(lost if index else 0, grid - lost if index < steps - 1 else grid) for index in range(steps)]
    rows = [
        torch.cat([each[..., down, across] for each, across in zip(maps[row * steps : (row + 1) * steps], kept, strict=True)], -1)
        for row, down in enumerate(kept)
    ]
    return torch.cat(rows, -2)
