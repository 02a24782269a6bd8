"""DSINE: normals from one image and its camera, refined iteratively by rotating neighbours' normals.

Written from the paper's equations. Parameter names are the authors'; `annotators/dsine.py` names the source.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import DsineConfig
from .efficientnet import B5_CHANNELS, EfficientNetB5, Upsampling
from .layers import GroupNorm, conv3x3, unit_vectors
from .published import PublishedNetwork, StateDict

MULTIPLE = 32
_COARSE = 8
"""Side, in pixels, of the cells in which the iterations work."""
_WINDOW = 5
_NEIGHBOURS = _WINDOW**2
_LEAST_COSINE = 0.01
_norm = partial(GroupNorm, 8)
_STANDARDISED = tuple(f"decoder.{block}._net.{layer}.weight" for block in ("up1", "up2") for layer in (0, 3))


class Pinhole(NamedTuple):
    """A camera, in pixels of the network's input; the centre of the first pixel is (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float


def cell_rays(camera: Pinhole, rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """(1, 3, rows, columns) float32: rays through the centres of cells of `stride` x `stride` pixels; OPENCV axes, Z = 1."""
    across, down = (torch.arange(count, dtype=torch.float32, device=device) for count in (columns, rows))
    x = ((across + 0.5) * stride - (camera.cx + 0.5)) / camera.fx
    y = ((down + 0.5) * stride - (camera.cy + 0.5)) / camera.fy
    return torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns), torch.ones_like(x).expand(rows, -1)))[None]


def neighbours(maps: Tensor, window: int) -> Tensor:
    """(B, C, window * window, h, w): each cell's neighbours, row by row, in maps (B, C, h, w) with replicate padding."""
    margin = window // 2
    patches = F.unfold(F.pad(maps, (margin,) * 4, mode="replicate"), window)
    return patches.view(maps.shape[0], maps.shape[1], window**2, *maps.shape[-2:])


def turn(normals: Tensor, rays: Tensor, steps: Tensor, angles: Tensor) -> Tensor:
    """Rotates normals about axes in their own surfaces.

    Args:
        normals: (B, 3, ...) unit vectors.
        rays: (B or 1, 3, ...) viewing rays, Z = 1.
        steps: (B, 2, ...): the axis' direction in the image, in units of the rays' X and Y.
        angles: (B, 1, ...) radians, anticlockwise seen from the axis' tip.

    Returns:
        (B, 3, ...) unit vectors. Where the axis is undefined, on a surface seen edge-on, the normal stays.
    """
    step = torch.cat((steps, torch.zeros_like(steps[:, :1])), 1)
    # the difference of two surface points, one step apart; written as cross products, because the underlying quotient has a pole on
    # surfaces seen edge-on
    along = torch.linalg.cross(normals, torch.linalg.cross(step, rays.expand_as(step), dim=1), dim=1)
    axis = unit_vectors(along) * (normals * (rays + step)).sum(1, keepdim=True).sign()
    cosine, sine = angles.cos(), angles.sin()
    undefined = 1 - axis.square().sum(1, keepdim=True)
    return unit_vectors(normals * (cosine + undefined * (1 - cosine)) + torch.linalg.cross(axis, normals, dim=1) * sine)


def make_visible(normals: Tensor, rays: Tensor) -> Tensor:
    """Rotates unit vectors (B, 3, ...) just enough for the surface to face the viewer along the unit `rays`."""
    cosine = (normals * rays).sum(1, keepdim=True)
    return unit_vectors(normals + rays * F.relu(_LEAST_COSINE - cosine))


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv3x3(inputs, hidden), nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


class _Decoder(nn.Module):
    def __init__(self, config: DsineConfig) -> None:
        super().__init__()
        features, width = config.features, config.features // 4 + 2
        _, _, eighth, sixteenth, coarsest = B5_CHANNELS
        self.conv2 = nn.Conv2d(coarsest + 2, features, 1)
        self.up1 = Upsampling(features + sixteenth + 2, features // 2, _norm)
        self.up2 = Upsampling(features // 2 + eighth + 2, features // 4, _norm)
        self.normal_head = _head(width, 128, 3)
        self.feature_head = _head(width, 128, config.state)
        self.hidden_head = _head(width, 128, config.state)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor], rays: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Unnormalised normals, features and the first state, at 1/8, from the encoder's maps and rays at 1/8, 1/16 and 1/32."""
        eighth, sixteenth, coarsest = (torch.cat((each, with_batch), 1) for each, with_batch in zip(maps, rays, strict=True))
        x = torch.cat((self.up2(self.up1(self.conv2(coarsest), sixteenth), eighth), rays[0]), 1)
        return self.normal_head(x), self.feature_head(x), self.hidden_head(x)


class _ConvGRU(nn.Module):
    def __init__(self, state: int, inputs: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (nn.Conv2d(state + inputs, state, _WINDOW, padding=_WINDOW // 2) for _ in range(3))

    def forward(self, state: Tensor, x: Tensor) -> Tensor:
        both = torch.cat((state, x), 1)
        kept = self.convr(both).sigmoid() * state
        proposed = self.convq(torch.cat((kept, x), 1)).tanh()
        return torch.lerp(state, proposed, self.convz(both).sigmoid())


class DSINE(PublishedNetwork):
    """The paper's version (the authors' "v02").

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of `MULTIPLE`, and the camera that took it.
        Output (B, 3, H, W): unit vectors in SCANNET axes, the negatives of those in the rays' OPENCV axes that face the viewer.
    """

    def __init__(self, config: DsineConfig) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"original_model": EfficientNetB5()})
        self.decoder = _Decoder(config)
        self.gru = _ConvGRU(config.state, config.state + 2)
        hidden = config.state + 2
        self.prob_head = _head(hidden, 64, _NEIGHBOURS)
        self.xy_head = _head(hidden, 64, 2 * _NEIGHBOURS)
        self.angle_head = _head(hidden, 64, _NEIGHBOURS)
        self.up_prob_head = _head(hidden, 64, 9 * _COARSE**2)

    def forward(self, pixels: Tensor, camera: Pinhole, iterations: int) -> Tensor:
        """Normals, float32, after `iterations` (at least one) iterations; see the class."""
        maps = self.encoder["original_model"](pixels)[2:]
        rays = [
            cell_rays(camera, each.shape[-2], each.shape[-1], _COARSE << level, pixels.device).expand(pixels.shape[0], -1, -1, -1)
            for level, each in enumerate(maps)
        ]
        eighth, sixteenth, coarsest = (each[:, :2].to(pixels.dtype) for each in rays)
        normals, features, state = self.decoder(maps, (eighth, sixteenth, coarsest))
        view = unit_vectors(rays[0])
        normals = make_visible(unit_vectors(normals.float()), view)
        x = torch.cat((features, eighth), 1)
        around, nearby = neighbours(rays[0][:1], _WINDOW), view[:, :, None]
        hidden = state
        for _ in range(iterations):
            state = self.gru(state, x)
            hidden = torch.cat((state, eighth), 1)
            turned = turn(neighbours(normals, _WINDOW), around, *self._rotations(hidden, camera))
            weights = self.prob_head(hidden).float().sigmoid()[:, None]
            normals = unit_vectors((weights * make_visible(turned, nearby)).sum(2))
        return self._enlarged(normals, hidden)

    def _rotations(self, hidden: Tensor, camera: Pinhole) -> tuple[Tensor, Tensor]:
        """One-cell steps (B, 2, neighbours, h, w) along each rotation's axis, and the angles (B, 1, neighbours, h, w)."""
        x, y = unit_vectors(self.xy_head(hidden).float().unflatten(1, (2, _NEIGHBOURS))).split(1, 1)
        angles = self.angle_head(hidden).float().sigmoid()[:, None] * math.pi
        return torch.cat((x * (_COARSE / camera.fx), y * (_COARSE / camera.fy)), 1), angles

    def _enlarged(self, normals: Tensor, hidden: Tensor) -> Tensor:
        """Convex upsampling to image size: each normal is a weighted mean of its nine neighbouring cells."""
        shares = self.up_prob_head(hidden).float().unflatten(1, (9, _COARSE**2)).softmax(1)
        mixed = sum(shares[:, None, each] * near[:, :, None] for each, near in enumerate(neighbours(normals, 3).unbind(2)))
        assert isinstance(mixed, Tensor)
        return unit_vectors(F.pixel_shuffle(mixed.flatten(1, 2), _COARSE))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`.

        Drops what follows the encoder's last convolution. Weights that the authors standardise in each pass (mean 0, deviation 1) are
        standardised once.
        """
        kept = EfficientNetB5.without_unused(state, "encoder.original_model.")
        return {key: _standardised(value) if key in _STANDARDISED else value for key, value in kept.items()}


def _standardised(weight: Tensor) -> Tensor:
    if weight.ndim != 4 or not weight.is_floating_point():  # the loader refuses it
        return weight
    deviation, mean = torch.std_mean(weight.float(), dim=(1, 2, 3), keepdim=True)
    return (weight - mean) / (deviation + 1e-5)
