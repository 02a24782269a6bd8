"""DA²: distances of a panorama, by DINOv2's transformer with features that attend to their patches' directions.

`annotators/da2.py` names the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import Da2Config
from .layers import ExactConv2d, Linear, conv3x3
from .published import PublishedNetwork, StateDict, rename
from .vit import PATCH, VisionTransformer

# As trained: not quite a full turn.
_TURN, _HALF_TURN = 6.2832, 3.1416
_LEAST_Z = 1e-5
_LEVELS = 3
_RANGE = 8.0
_UNUSED = ("dino.mask_token", "dino.register_tokens", "head.to_confidence_")
_NAMES = ((r"^vit_w_esphere\.dim_aligner\.", ""), (r"^vit_w_esphere\._vit_w_esphere\.", "head."))


class _Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj1 = Linear(width, 4 * width)
        self.proj2 = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj2(F.gelu(self.proj1(self.norm(x))))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mlp = _Perceptron(width)
        self.kv = Linear(width, 2 * width, bias=False)
        self.q = Linear(width, width, bias=False)
        self.norm_attnx, self.norm_attnctx = nn.LayerNorm(width), nn.LayerNorm(width)
        self.out = Linear(width, width, bias=False)

    def forward(self, x: Tensor, directions: Tensor) -> Tensor:
        key, value = self.kv(self.norm_attnctx(directions)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query = self.q(self.norm_attnx(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        x = x + self.out(F.scaled_dot_product_attention(query, key.expand_as(query), value.expand_as(query)).transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class _Conditioning(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_CrossAttention(width, heads)])

    def forward(self, x: Tensor, directions: Tensor) -> Tensor:
        return self.layers[0](x, directions)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (conv3x3(channels, channels) for _ in range(2))
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x))))


class _Upsampler(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Residual(inputs) for _ in range(2))
        self.up = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode="bilinear"))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x)
        return self.up(x)


class _Head(nn.Module):
    def __init__(self, config: Da2Config) -> None:
        super().__init__()
        width = config.width
        self.width = width
        outputs = (width, width // 2, width // 4)
        inputs = (width, width, width // 2)
        self.to_latents = Linear(width, width)
        self.prompt_camera = nn.ModuleList(_Conditioning(width, config.heads) for _ in range(_LEVELS + 1))
        self.process_features = nn.ModuleList(nn.ConvTranspose2d(width, own, max(1, 2 * i), max(1, 2 * i)) for i, own in enumerate(inputs))
        self.up_sampler = nn.ModuleList(_Upsampler(*each) for each in zip(inputs, outputs, strict=True))
        last = outputs[-1]
        self.pred_head = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Sequential(nn.LayerNorm(last), Linear(last, last))])
        self.to_depth_lr = ExactConv2d(last, last // 2, 3, padding=1, padding_mode="reflect")
        self.to_depth_hr = nn.Sequential(
            ExactConv2d(last // 2, 32, 3, padding=1, padding_mode="reflect"), nn.LeakyReLU(), ExactConv2d(32, 1, 1)
        )

    def forward(self, features: Sequence[Tensor], height: int, width: int) -> Tensor:
        """The logarithm of distance, (B, 1, height, width) float32, from patch features (B, tokens, channels)."""
        rows, columns = height // PATCH, width // PATCH
        directions = direction_embedding(rows, columns, self.width, features[0].device).to(features[0].dtype)[None]
        maps = [condition(each, directions) for condition, each in zip(self.prompt_camera, features, strict=True)]
        latents, *finer = (each.transpose(1, 2).unflatten(2, (rows, columns)) for each in (self.to_latents(maps[0]), *maps[1:]))
        for process, each, up in zip(self.process_features, finer, self.up_sampler, strict=True):
            latents = up(latents + process(each))
        last = self.pred_head[-1](latents.movedim(1, -1)).movedim(-1, 1)
        enlarged = F.interpolate(self.to_depth_lr(last), (height, width), mode="bilinear", align_corners=True)
        return self.to_depth_hr(enlarged)


class Da2(PublishedNetwork):
    """The network.

    Convention:
        Input (B, 3, H, W): whole panoramas, normalised by ImageNet's mean and deviation, H and W = 2 * H multiples of 14.
        Output (B, 1, H, W) float32: distance, whose 98th percentile is 1 in each image.
    """

    def __init__(self, config: Da2Config) -> None:
        super().__init__()
        self.dino = VisionTransformer(config.vit)
        self.aligners = nn.ModuleList(Linear(config.vit.width, config.width) for _ in range(_LEVELS + 1))
        self.head = _Head(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """The distance; see the class."""
        maps = self.dino(pixels)[0]
        features = [align(each.flatten(2).transpose(1, 2)) for align, each in zip(self.aligners, maps, strict=True)]
        distance = (self.head(features, *pixels.shape[-2:]).clamp(-_RANGE, _RANGE) + 2).exp()
        return distance / _percentile(distance.flatten(1), 0.98).view(-1, 1, 1, 1)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        renamed = {rename(key, _NAMES): value for key, value in state.items()}
        return {key: value for key, value in renamed.items() if not key.startswith(_UNUSED)}


def _percentile(values: Tensor, share: float) -> Tensor:
    """`torch.quantile` along the last axis, which old versions' fake tensors do not support."""
    ordered = values.sort(-1).values
    place = share * (values.shape[-1] - 1)
    low = int(place)
    return torch.lerp(ordered[..., low], ordered[..., min(low + 1, values.shape[-1] - 1)], place - low)


def direction_embedding(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Sines of the direction of each patch's first pixel, (rows * columns, width) float32: half elevation, half azimuth."""
    across, down = (
        (torch.arange(count, dtype=torch.float32, device=device) * PATCH + 0.5) / (count * PATCH) - 0.5 for count in (columns, rows)
    )
    longitude, latitude = (across * _TURN)[None], (down * _HALF_TURN)[:, None]
    x, y, z = latitude.cos() * longitude.sin(), latitude.sin().expand(-1, columns), latitude.cos() * longitude.cos()
    away = torch.where(z >= 0, z.clamp(min=_LEAST_Z), z.clamp(max=-_LEAST_Z))
    angles = torch.stack((y.asin(), torch.atan2(x, away)), -1).flatten(0, 1)
    last = math.log2(max(rows, columns) // 2)
    frequencies = 2 ** torch.linspace(0, last, width // 2, dtype=torch.float32, device=device)
    return (angles[..., None] * frequencies * math.pi).sin().flatten(1)
