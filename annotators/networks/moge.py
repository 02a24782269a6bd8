"""MoGe, versions 1 to 3: a point map, a mask, normals and a scale, by DINOv2's transformer and stacks of convolutions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import Moge1Config, MogeConfig
from .folding import RepeatedBorder, add_transposed_then_conv, bilinear_then_conv, folds, then_pointwise
from .layers import ExactConv2d, GroupNorm, aspect_of, middles, shrunk
from .moge_refiner import Refiner
from .published import PublishedNetwork, StateDict
from .vit import PATCH, VisionTransformer, hub_to_official

LEVELS = 5
_IMAGENET_BUFFERS = ("encoder.image_mean", "encoder.image_std")


class MogeOutput(NamedTuple):
    """The network's outputs for B images, float32, at 16 x 16 cells per token."""

    points: Tensor  # (B, 3, h, w): x / z, y / z and the logarithm of z, in OPENCV axes; z up to a shift and to `scale`
    mask: Tensor  # (B, 1, h, w): above 0 for valid points
    scale: Tensor  # (B,): metres per unit of the points
    normals: Tensor | None = None  # (B, 3, h, w), not normalised, in OPENCV axes; None without the head


def replicating_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution with replicate padding."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        # Placeholders for the normalisation layers of other variants keep the parameter names.
        unused = nn.Identity()
        self.layers = nn.Sequential(
            unused, nn.ReLU(), replicating_conv(channels, channels), unused, nn.ReLU(), replicating_conv(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        if not folds(x):
            return x + self.layers(x)
        border = RepeatedBorder(x)
        first, second = (layer for layer in self.layers if isinstance(layer, nn.Conv2d))
        inner = F.conv2d(border.around_positive(x), first.weight, first.bias)
        return F.conv2d(border.around_positive(inner), second.weight, second.bias).add_(x)


class _ConvStack(nn.Module):
    """Five levels of maps, each twice the size of the one before."""

    def __init__(self, inputs: Sequence[int], channels: Sequence[int], blocks: Sequence[int], outputs: int | None) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList(nn.Conv2d(each, own, 1) for each, own in zip(inputs, channels, strict=True))
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(_Residual(own) for _ in range(count))) for own, count in zip(channels, blocks, strict=True)
        )
        self.resamplers = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(own, finer, 2, 2), replicating_conv(finer, finer))
            for own, finer in itertools.pairwise(channels[:-1])
        )
        self.resamplers.append(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), replicating_conv(channels[-2], channels[-1])))
        nothing = [nn.Identity() for _ in channels[:-1]]
        self.output_blocks = nn.ModuleList([*nothing, nn.Identity() if outputs is None else ExactConv2d(channels[-1], outputs, 1)])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The five maps, coarsest first; fewer if only the first feature maps are given."""
        levels: list[Tensor] = []
        x = self.input_blocks[0](features[0])
        for level, each in enumerate(features):
            if level:
                x = self._joined(level, x, self.input_blocks[level](each))
            x = self.res_blocks[level](x)
            levels.append(x)
        return [*levels[:-1], self.output_blocks[-1](levels[-1])] if len(levels) == LEVELS else levels

    def _joined(self, level: int, coarser: Tensor, own: Tensor) -> Tensor:
        """The sum of the previous level at twice its size and a level's own map."""
        resampler = self.resamplers[level - 1]
        if not folds(coarser) or level == LEVELS - 1:
            return resampler(coarser) + own
        transposed, conv = resampler.children()
        assert isinstance(transposed, nn.ConvTranspose2d) and isinstance(conv, nn.Conv2d)
        add_transposed_then_conv(own, coarser, transposed, conv)
        return own

    @property
    def ends_linear(self) -> bool:
        """Whether the finest level is linear in its two inputs."""
        return not list(self.res_blocks[-1].children())

    @property
    def finest(self) -> tuple[Any, Any, Any]:
        """The finest level's convolutions: of the enlarged previous level, of its own features, and of the output."""
        resampler: Any = self.resamplers[-1]
        return resampler[1], self.input_blocks[-1], self.output_blocks[-1]


class _Encoder(nn.Module):
    def __init__(self, config: MogeConfig) -> None:
        super().__init__()
        self.backbone = VisionTransformer(config.vit)
        self.output_projections = nn.ModuleList(nn.Conv2d(config.vit.width, config.channels[0], 1) for _ in config.vit.taken)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the projected maps, and the class token."""
        maps, token = self.backbone(pixels)
        projected = torch.stack([project(each) for project, each in zip(self.output_projections, maps, strict=True)], 1)
        return projected.sum(1), self.backbone.norm(token)


class MoGe(PublishedNetwork):
    """Versions 2 and 3; version 3 adds a refiner, and without refinement steps equals version 2.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 14.
    """

    def __init__(self, config: MogeConfig) -> None:
        super().__init__()
        width, channels = config.vit.width, config.channels
        self.encoder = _Encoder(config)
        self.neck = _ConvStack((channels[0] + 2, 2, 2, 2, 2), channels, config.neck_blocks, None)
        self.points_head = _ConvStack(channels, channels, config.head_blocks, 3)
        self.mask_head = _ConvStack(channels, channels, config.head_blocks, 1)
        self.normal_head = _ConvStack(channels, channels, config.head_blocks, 3) if config.normals else None
        self.scale_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.refiner = None if config.refiner is None else Refiner(config.refiner, channels[0] + 2)

    def exact_modules(self) -> Iterable[nn.Module]:
        """See `PublishedNetwork.exact_modules`. Half precision is too coarse for the refiner's third input, the logarithm of z."""
        return (*super().exact_modules(), self.scale_head, *([] if self.refiner is None else [self.refiner]))

    def forward(
        self, pixels: Tensor, aspect: float | Tensor, refine_steps: int = 0, refined: Callable[[], None] | None = None
    ) -> MogeOutput:
        """The network's outputs.

        Args:
            aspect: Width by height of the image, which the input only approximates.
            refine_steps: Of version 3, per image; `refined` is called after each.
        """
        rows, columns = (side // PATCH for side in pixels.shape[-2:])
        features, token = self.encoder(pixels)
        places = [_places(features, rows * 2**level, columns * 2**level, aspect) for level in range(LEVELS)]
        features = torch.cat((features, places[0]), 1)
        scale = self.scale_head(token.float())[:, 0].exp()
        points, mask, *normals = self._heads([features, *places[1:]])
        output = MogeOutput(points, mask, scale, *normals)
        if not refine_steps or self.refiner is None:
            return output
        del places  # frees memory for the refiner
        return output._replace(points=_refined(self.refiner, output.points, features.float(), refine_steps, refined))

    def _heads(self, features: Sequence[Tensor]) -> list[Tensor]:
        heads = [head for head in (self.points_head, self.mask_head, self.normal_head) if head is not None]
        if not folds(features[0]) or not all(stack.ends_linear for stack in (self.neck, *heads)):
            levels = self.neck(features)
            return [head(levels)[-1] for head in heads]
        levels = self.neck(features[:-1])
        # The finest level is linear: its weights are multiplied, and its maps, the largest of all, never computed.
        enlarged, own, outputs = zip(*(head.finest for head in heads), strict=True)
        by_own = [then_pointwise(conv, output.weight) for conv, output in zip(own, outputs, strict=True)]
        weight, bias = (torch.cat(each) for each in zip(*by_own, strict=True))
        by_neck, by_place = (then_pointwise(conv, weight) for conv in self.neck.finest[:2])
        border = RepeatedBorder(levels[-1], torch.float32)
        shared = bilinear_then_conv(border.around(levels[-1]), by_neck[0], by_neck[1] + bias)
        shared += F.conv2d(features[-1].float(), *by_place)
        maps = []
        for head, conv, output, part in zip(
            heads, enlarged, outputs, shared.split([each.out_channels for each in outputs], 1), strict=True
        ):
            weight, bias = then_pointwise(conv, output.weight)
            maps.append(bilinear_then_conv(border.around(head(levels)[-1]), weight, bias + output.bias).add_(part))
        return maps

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Accepts the authors' names, and transformers' for the transformer."""
        inner = "encoder.backbone."
        hub = hub_to_official({key.replace(inner, "backbone.", 1): value for key, value in state.items() if key.startswith(inner)})
        backbone = {inner + key.removeprefix("pretrained.").removeprefix("backbone."): value for key, value in hub.items()}
        others = {key: value for key, value in state.items() if not key.startswith(inner) and key not in _IMAGENET_BUFFERS}
        backbone.pop(f"{inner}mask_token", None)
        # (outputs, 3, 3, 3, inputs) is flattened, as converting the memory format fails for 5-dimensional tensors
        sparse = {key: value.flatten(1, 3) for key, value in others.items() if value.ndim == 5}
        return {**others, **sparse, **backbone}


def _refined(refiner: Refiner, points: Tensor, features: Tensor, steps: int, refined: Callable[[], None] | None) -> Tensor:
    """The points (B, 3, h, w) after refinement, image by image: that bounds memory, and each image has its own voxels."""
    done = points.clone()
    if not torch.isfinite(points).all():
        return done  # non-finite points have no voxels; the annotator refuses such outputs
    for image, encoded in zip(done, features, strict=True):
        for _ in range(steps):
            image[2] += refiner(image, encoded)
            if refined is not None:
                refined()
    return done


def plane_of(across: Tensor, down: Tensor) -> Tensor:
    """(1, 2, H, W): the grid of column positions (W,) and row positions (H,)."""
    rows, columns = down.shape[0], across.shape[0]  # `len` of a tensor would become a constant in an exported graph
    return torch.stack((across[None, :].expand(rows, -1), down[:, None].expand(-1, columns)))[None]


def _places(like: Tensor, height: int, width: int, aspect: float | Tensor) -> Tensor:
    """(B, 2, height, width): pixel positions from the centre, rightwards and downwards, in half image diagonals."""
    diagonal = (1 + aspect**2) ** 0.5
    plane = plane_of(middles(width, aspect / diagonal, like.device), middles(height, 1 / diagonal, like.device))
    return plane.to(like.dtype).expand(like.shape[0], -1, -1, -1)


_LAST_CHANNELS = 32
_CHANNELS_OF_A_GROUP = 32
_MASK_FROM = 0.5
_V1_UNUSED = ("image_mean", "image_std", "backbone.mask_token")


class _NormedResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.layers = nn.Sequential(
            GroupNorm(1, channels),
            nn.ReLU(),
            replicating_conv(channels, inner),
            GroupNorm(max(1, inner // _CHANNELS_OF_A_GROUP), inner),
            nn.ReLU(),
            replicating_conv(inner, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Head(nn.Module):
    def __init__(self, config: Moge1Config) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(config.vit.width, config.projected, 1) for _ in config.vit.taken)
        coarser = (config.projected, *config.channels[:-1])
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(inputs + 2, own, 2, 2), replicating_conv(own, own)),
                _NormedResidual(own),
                _NormedResidual(own),
            )
            for inputs, own in zip(coarser, config.channels, strict=True)
        )
        self.output_block = nn.ModuleList(
            nn.Sequential(replicating_conv(config.channels[-1] + 2, _LAST_CHANNELS), nn.ReLU(), ExactConv2d(_LAST_CHANNELS, outputs, 1))
            for outputs in (3, 1)
        )

    def forward(self, maps: list[Tensor], height: int, width: int) -> list[Tensor]:
        """Points and mask at a size, float32; coordinates for an image of that size's aspect are concatenated to every map."""
        aspect = aspect_of(height, width, maps[0].device)
        x = torch.stack([project(each) for project, each in zip(self.projects, maps, strict=True)], 1).sum(1)
        for block in self.upsample_blocks:
            x = block(_with_places(x, aspect))
        x = _with_places(F.interpolate(x, (height, width), mode="bilinear"), aspect)
        return [output(x) for output in self.output_block]


class MoGe1(PublishedNetwork):
    """Version 1.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W at least 14. The transformer gets it reduced to
        multiples of 14; outputs have the input's size.
    """

    def __init__(self, config: Moge1Config) -> None:
        super().__init__()
        self.backbone = VisionTransformer(config.vit)
        self.head = _Head(config)

    def forward(self, pixels: Tensor, aspect: float | Tensor) -> MogeOutput:
        """The network's outputs; the points have no metric unit, and the scale is 1. Ignores `aspect`: uses the input's own."""
        height, width = pixels.shape[-2:]
        whole = (height // PATCH * PATCH, width // PATCH * PATCH)
        # in float32: torch has no antialiasing in float16 on a CPU
        whole_patches = shrunk(pixels.float(), *whole).to(pixels.dtype)
        maps, _ = self.backbone(whole_patches)
        points, mask = self.head(maps, height, width)
        return MogeOutput(points, mask - _MASK_FROM, points.new_ones(points.shape[0]), None)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        renamed = {key.replace("pretrained.", "backbone.", 1): value for key, value in hub_to_official(state).items()}
        return {key: value for key, value in renamed.items() if key not in _V1_UNUSED}


def _with_places(x: Tensor, aspect: float | Tensor) -> Tensor:
    return torch.cat((x, _places(x, x.shape[-2], x.shape[-1], aspect)), 1)
