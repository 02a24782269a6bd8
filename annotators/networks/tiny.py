"""The networks of the pack's own model. See docs/tiny.md and training/ for training and evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import TINY, TINY_2, TinyConfig
from .layers import ends, height_in_longer_side

COUNTER = "num_batches_tracked"
POSITIONS = 5
AGREES = 10.0
"""The neutral logit of `scene`."""


class TinyNetwork(nn.Module):
    """A residual encoder with position channels, transformer blocks at its end, and a top-down decoder.

    Attributes:
        sharp: The `SharpHead` for its maps, if any; `forward` does not run it.
        mirrored: Whether to average the maps at half size over images and their mirror images; off in training.

    Convention:
        Input (B, 3, H, W): RGB in [0, 1], H and W multiples of 32. Output float32. The first version's is (B, 4, H / 2, W / 2):
        disparity, large = near, unknown scale and shift (trained to median 0 and mean absolute deviation 1); then normals in OpenGL axes,
        not normalised. The second version (`TinyConfig.fine`) returns (B, 5, H, W); the last channel is the sky's logit.
    """

    def __init__(self, config: TinyConfig = TINY) -> None:
        super().__init__()
        widths = config.channels
        self.stem = _conv(3 + POSITIONS, widths[0], stride=2)
        self.stages = nn.ModuleList(nn.Sequential(_Residual(a, b, 2), _Residual(b, b, 1)) for a, b in itertools.pairwise(widths))
        self.place = nn.Conv2d(POSITIONS, widths[-1], 1)
        blocks = range(config.attention_blocks)
        self.attention = nn.ModuleList(_Attention(widths[-1], config.attention_heads, config.expansion) for _ in blocks)
        self.laterals = nn.ModuleList(nn.Conv2d(width, config.decoder, 1) for width in widths[1:])
        self.refine = nn.ModuleList(_Residual(config.decoder, config.decoder, 1) for _ in widths[1:])
        self.detail = nn.Conv2d(widths[0], config.head, 1)
        self.merge = nn.Conv2d(config.decoder, config.head, 1)
        self.blend = _conv(config.head, config.head)
        self.last = nn.Conv2d(config.head, 4, 3, padding=1)
        self.fine = _Fine(config.head, widths[-1], config.fine) if config.fine else None
        self.mirrored = False
        self.sharp: nn.Module | None = None

    def forward(self, images: Tensor, features: bool = False) -> Tensor | tuple[Tensor, ...]:
        """The maps; with `features`, the result of `with_features`."""
        if features:
            return self.with_features(images)
        if not self.mirrored:
            return self.decode(images, self.encode(images))
        return self.with_features(images)[0]

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps averaged over images and mirror images, and the decoder's features of the images at 1/2 and 1/4 of their size."""
        features = self.encode(torch.cat((images, images.flip(3))))
        finest, path = self._finest(features)
        maps, turned = self._maps(finest, features[-1]).unflatten(0, (2, -1)).unbind()
        finest, path = (each.unflatten(0, (2, -1))[0] for each in (finest, path))
        return self._finer(images, finest, (maps + _mirrored(turned)) / 2), finest, path

    def encode(self, images: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        positions = _positions(images).contiguous(memory_format=torch.channels_last)
        features = [self.stem(torch.cat((_normalised(images), positions), 1))]
        for stage in self.stages:
            features.append(stage(features[-1]))
        deepest = features[-1] + self.place(_positions(features[-1]))
        tokens = deepest.flatten(2).transpose(1, 2)
        for block in self.attention:
            tokens = block(tokens)
        features[-1] = tokens.transpose(1, 2).reshape(deepest.shape).contiguous(memory_format=torch.channels_last)
        return features

    def decode(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """Decodes the images' features to maps."""
        finest, _ = self._finest(features)
        return self._finer(images, finest, self._maps(finest, features[-1]))

    def _maps(self, finest: Tensor, deepest: Tensor) -> Tensor:
        """The maps at half the images' size."""
        if self.fine is None:
            return _exactly(finest, self.last)
        maps, sky = _exactly(finest, self.last, self.fine.sky).tensor_split((-1,), 1)
        scene = _exactly(deepest, self.fine.scene).mean((2, 3), keepdim=True)
        return torch.cat((maps, _both(sky, scene.expand_as(sky))), 1)

    def _finer(self, images: Tensor, finest: Tensor, maps: Tensor) -> Tensor:
        """The maps at the images' size; the first version's are unchanged."""
        return maps if self.fine is None else self.fine(images, finest, maps)

    def _finest(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The decoder's features at half and at a quarter of the images' size."""
        path = self.refine[3](self.laterals[3](features[4]))
        for level in (2, 1, 0):
            skip = self.laterals[level](features[level + 1])
            path = self.refine[level](skip.add_(_twice(path)))
        return self.blend(_sum_relu(self.detail(features[0]), _twice(self.merge(path)))), path


class _Fine(nn.Module):
    """Adds the sky, and image detail finer than half size, to maps of half size.

    A plain wall may look like sky locally, so the deepest features have to agree that the scene has one. Untrained, they do; the last
    convolution is initialised to zero, so that an untrained module only enlarges the maps and predicts no sky.
    """

    def __init__(self, inputs: int, deepest: int, width: int) -> None:
        super().__init__()
        self.sky = nn.Conv2d(inputs, 1, 3, padding=1)
        self.scene = nn.Conv2d(deepest, 1, 1)
        self.merge = nn.Conv2d(inputs, width, 1)
        self.look = nn.Conv2d(3, width, 3, padding=1)
        self.blend = _conv(width, width)
        self.last = nn.Conv2d(width, 5, 3, padding=1)
        for value in (self.sky.weight, self.scene.weight, *self.last.parameters()):
            nn.init.zeros_(value)  # pyright: ignore[reportArgumentType]
        nn.init.constant_(self.scene.bias, AGREES)  # pyright: ignore[reportArgumentType]
        nn.init.constant_(self.sky.bias, -3.0)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor, features: Tensor, maps: Tensor) -> Tensor:
        """(B, 5, H, W) from images (B, 3, H, W), features, and the same five maps at half size."""
        path = _sum_relu(self.look(_normalised(images)), _twice(self.merge(features)))
        # channels-first, as callers expect; torch is no faster at enlarging five interleaved channels
        return _twice(maps.contiguous()).add_(_exactly(self.blend(path), self.last))


def _both(first: Tensor, second: Tensor) -> Tensor:
    """The logit of the product of two probabilities."""
    return -torch.logsumexp(-torch.stack((first, second, first + second)), 0)


def _mirrored(maps: Tensor) -> Tensor:
    """Flips the maps (B, C, H, W) of mirror images back; the normals' x changes its sign."""
    disparity, right, rest = maps.flip(3).split((1, 1, maps.shape[1] - 2), 1)
    return torch.cat((disparity, -right, rest), 1)


def _exactly(values: Tensor, *layers: nn.Conv2d) -> Tensor:
    """Runs several convolutions of the same values as one, in float32 whatever the layers' dtype; concatenates their outputs."""
    weight, bias = (torch.cat([getattr(layer, name).float() for layer in layers]) for name in ("weight", "bias"))
    return F.conv2d(values.float(), weight, bias, padding=layers[0].kernel_size[0] // 2)


def _normalised(images: Tensor) -> Tensor:
    return (images - 0.45).div_(0.25)


def _sum_relu(convolved: Tensor, other: Tensor) -> Tensor:
    """In-place ReLU of the sum: the layer that made the first argument does not need it for its gradient."""
    return F.relu_(convolved.add_(other))


def config_of(names: Collection[str]) -> TinyConfig:
    """The network's version, from a checkpoint's keys."""
    return TINY_2 if any(name.startswith("fine.") for name in names) else TINY


def _positions(like: Tensor) -> Tensor:
    """x, y, x², y² in [-1, 1], and y in units of the longer side: tells the network where up and the middle are."""
    height, width = like.shape[-2:]
    y = ends(height, like.device)[:, None].expand(height, width)
    x = ends(width, like.device)[None].expand(height, width)
    stacked = torch.stack((x, y, x * x, y * y, y * height_in_longer_side(height, width, like.device)))
    return stacked.to(like.dtype)[None].expand(like.shape[0], -1, -1, -1)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else nn.Conv2d(inputs, outputs, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        around = self.shortcut(F.avg_pool2d(x, 2) if self.stride == 2 else x)
        return _sum_relu(self.second(self.first(x)), around)


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.shrink = nn.Linear(expansion * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        # (B, tokens, 3 * channels) to three of (B, heads, tokens, width of a head)
        query, key, value = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(attended.transpose(1, 2).flatten(2))
        return tokens + self.shrink(F.gelu(self.expand(self.norm2(tokens))))


def with_scene(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adds neutral `scene` weights to checkpoints of the second version that predate it."""
    if "fine.sky.weight" not in state or "fine.scene.weight" in state:
        return dict(state)
    sky, width = state["fine.sky.weight"], len(state["place.bias"])
    return {**state, "fine.scene.weight": sky.new_zeros(1, width, 1, 1), "fine.scene.bias": sky.new_full((1,), AGREES)}


def untrained_counters(network: nn.Module) -> dict[str, Tensor]:
    """Zero counters for a network's batch norms: only training needs them, and the published file omits them."""
    # not zeros_like: for a meta tensor, torch would import sympy, which takes a fifth of a second
    return {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in network.state_dict().items() if key.endswith(COUNTER)}


WIDTHS = (32, 48, 80, 112)
MAPS, RAMP, FINEST, PATH = 5, 3, 16, 56
_SKY_SCALE, _CLAMPED = 0.125, 8.0
# Radius, in pixels of the maps, in which nearest and farthest are the two surfaces of a ramp; and the steepness of the choice.
_REACH, STEEP = 4, 20.0
_LEAST = 1e-3
# In units of disparity's mean absolute deviation: surfaces closer than the first are one, farther apart than the second are two.
_SAME, _APART = 0.15, 0.4


class Surfaces(NamedTuple):
    """Two surfaces (B, C, h, w), and the logit (B, 1, 2 h, 2 w) of the first one being visible.

    Both are smooth and can be enlarged; the edge between them stays as sharp as the logit is steep, at any size.
    """

    first: Tensor
    second: Tensor
    logit: Tensor

    def seen(self, height: int, width: int, channels: slice = slice(None), steeper: float = 1.0) -> Tensor:
        """The visible maps (B, C, height, width)."""
        maps = (self.first[:, channels], self.second[:, channels], self.logit)
        first, second, logit = (F.interpolate(each, (height, width), mode="bilinear", align_corners=False) for each in maps)
        return torch.lerp(second, first, (logit if steeper == 1 else logit * steeper).sigmoid())


class SharpHead(nn.Module):
    """A U-Net over the image at twice the size of a network's maps, those maps, and the network's features.

    Untrained, the two surfaces are the local minimum and maximum, and they switch at a ramp's middle. On a slope, every pixel is half-way
    between both, so slopes are unchanged.

    Source:
        H. P. Kramer and J. B. Bruckner, "Iterations of a non-linear transformation for enhancement of digital images" (1975), for ramps.
        F. Tosi et al., "SMD-Nets: stereo mixture density networks" (2021): chooses one of two modes, never their mean.
    """

    def __init__(self, more: int = 0) -> None:
        """`more` extra outputs precede those that are used; only training has them."""
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.stem = _conv(12 + MAPS + RAMP, first)
        self.down = nn.ModuleList((_conv(first, second, 2), _conv(second, third, 2), _conv(third, fourth, 2)))
        self.finest = nn.Conv2d(FINEST, second, 1)
        self.path = nn.Conv2d(PATH, third, 1)
        self.encode = nn.ModuleList(_Residual(width, width, 1) for width in (second, third, fourth))
        self.up = nn.ModuleList((nn.Conv2d(second, first, 1), nn.Conv2d(third, second, 1), nn.Conv2d(fourth, third, 1)))
        self.decode = nn.ModuleList((_conv(first, first), _Residual(second, second, 1), _Residual(third, third, 1)))
        self.last = nn.Conv2d(first, more + 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor, maps: Tensor, finest: Tensor, path: Tensor) -> Surfaces:
        """Takes images (B, 3, 2 h, 2 w) in [0, 1], maps (B, 5, h, w), features (B, 16, h / 2, w / 2) and (B, 56, h / 4, w / 4)."""
        near, far, place = ramps(maps[:, :1])
        output = self.outputs(images, maps, (near, far, place), finest, path)
        # Where both surfaces nearly coincide there is texture but no edge: the map stays.
        share = ((near - far - _SAME) / (_APART - _SAME)).clamp(0, 1)
        here = maps[:, :1]
        near, far = here.lerp(near, share), here.lerp(far, share)
        return Surfaces(near, far, STEEP * _twice(place) + F.pixel_shuffle(output, 2))

    def outputs(self, images: Tensor, maps: Tensor, ramp: tuple[Tensor, Tensor, Tensor], finest: Tensor, path: Tensor) -> Tensor:
        """The last convolution's output."""
        near, far, place = ramp
        shown, clamped = F.pixel_unshuffle((images - 0.45) / 0.25, 2), maps.clamp(-_CLAMPED, _CLAMPED)
        disparity, sky = maps[:, :1], clamped[:, 4:] * _SKY_SCALE
        whole = torch.cat((shown, clamped[:, :4], sky, near - disparity, disparity - far, place), 1)
        levels = [self.stem(whole.contiguous(memory_format=torch.channels_last))]
        for down, encode, more in zip(self.down, self.encode, (self.finest(finest), self.path(path), None), strict=True):
            here = down(levels[-1])
            levels.append(encode(here if more is None else here + more))
        up = levels.pop()
        for index in (2, 1, 0):
            enlarged = _twice(self.up[index](up))
            up = self.decode[index](F.relu_(levels.pop().add(enlarged)))
        return self.last(up).contiguous().float()


def ramps(disparity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Local maximum and minimum of disparity, and each pixel's position between them, from -1 (the farthest) to 1."""
    both = torch.cat((disparity, -disparity), 1)
    largest = F.max_pool2d(F.max_pool2d(both, (2 * _REACH + 1, 1), 1, (_REACH, 0)), (1, 2 * _REACH + 1), 1, (0, _REACH))
    near, far = F.avg_pool2d(largest, 3, 1, 1, count_include_pad=False).split(1, 1)
    far = -far
    return near, far, (2 * (disparity - far) / (near - far).clamp(min=_LEAST) - 1).clamp(-1, 1)
