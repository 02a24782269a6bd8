"""Metric3D v2: depth and normals by DINOv2's transformer with registers, then corrected iteratively by recurrent units.

Parameter names are the authors', without their first component.

Source:
    As `annotators/metric3d.py`; the recurrent units: Lipson et al., "RAFT-Stereo" (2021).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import Metric3dConfig
from .dpt import ResidualUnit, resized
from .layers import Linear, conv3x3, enlarged, with_certainty
from .published import PublishedNetwork, StateDict, rename
from .vit import PATCH, VisionTransformer

LEAST_DEPTH, MOST_DEPTH = 0.1, 200.0
"""Range of predicted depth, in metres of the canonical camera."""
_BINS = 256
_METRES_PER_UNIT = 100.0  # of the corrected state
_STATE = 6  # depth, its confidence, the normal and its concentration
_FINEST = 4  # input pixels per cell of the finest level


class Metric3dOutput(NamedTuple):
    """The network's outputs for B images, float32, at the input's size."""

    depth: Tensor  # (B, 1, H, W) metres of the canonical camera, from `LEAST_DEPTH` to `MOST_DEPTH`
    confidence: Tensor  # (B, 1, H, W): of the depth, trained to be 1 minus its relative error; may leave [0, 1]
    normals: Tensor  # (B, 3, H, W) unit vectors in OPENCV axes
    concentration: Tensor  # (B, 1, H, W): of the normals, at least 0.01, larger = more certain


class _Rectified(ResidualUnit):
    """A residual block whose shortcut is rectified too, as trained: the authors' ReLU works in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.relu(x))


class _Fusion(nn.Module):
    """Adds a finer level to the path, refines and enlarges it."""

    def __init__(self, inputs: int, outputs: int, joins: bool) -> None:
        super().__init__()
        self.way_trunk = _Rectified(inputs)
        if joins:
            self.way_branch = _Rectified(inputs)
        self.out_conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, path: Tensor, finer: Tensor | None, scale: float) -> Tensor:
        if finer is not None:
            path = path + self.way_branch(finer)
        # The authors enlarge first. A 1x1 convolution gives the same either way, here over fewer pixels.
        path = self.out_conv(self.way_trunk(path))
        return path if scale == 1 else enlarged(path, scale)


class _Path(nn.Module):
    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        finest, fine, coarse, coarsest = config.path
        self.upconv_3 = _Fusion(coarsest, coarse, joins=False)
        self.upconv_2 = _Fusion(coarse, fine, joins=True)
        self.upconv_1 = _Fusion(fine, finest + 2, joins=True)

    def forward(self, levels: list[Tensor]) -> Tensor:
        _, fine, coarse, coarsest = levels
        path = self.upconv_3(coarsest, None, 1)
        return self.upconv_1(self.upconv_2(path, coarse, 2), fine, 7 / 4)


class _Readout(nn.Module):
    """A map of the patch tokens, each combined with the special tokens."""

    def __init__(self, width: int, special: int) -> None:
        super().__init__()
        self.project_patch = Linear(width, width)
        self.project_learn = Linear(special * width, width, bias=False)

    def forward(self, tokens: Tensor, special: int, rows: int) -> Tensor:
        learnt = self.project_learn(tokens[:, None, :special].flatten(2))
        patches = F.gelu(self.project_patch(tokens[:, special:]) + learnt)
        return patches.transpose(1, 2).unflatten(2, (rows, -1))


class _Level(nn.Module):
    def __init__(self, width: int, special: int, sample: nn.Module, nearest: float) -> None:
        super().__init__()
        self.special, self.nearest = special, nearest
        self.readoper = _Readout(width, special)
        self.sample = sample

    def forward(self, tokens: Tensor, rows: int) -> Tensor:
        x = self.readoper(tokens, self.special, rows)
        return self.sample(F.interpolate(x, scale_factor=self.nearest, mode="nearest") if self.nearest != 1 else x)


class _Levels(nn.Module):
    """Four maps, from the finest: 1/4, 1/7, 1/14 and 1/14 of the input."""

    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        width, special = config.vit.width, 1 + config.vit.registers
        finest, fine = config.levels[:2]
        samples = (nn.Sequential(nn.Conv2d(width, finest, 1)), nn.ConvTranspose2d(width, fine, 2, 2), nn.Identity(), nn.Identity())
        for level, sample in enumerate(samples):
            self.add_module(f"read_{level}", _Level(width, special, sample, nearest=1 if level else PATCH / _FINEST))

    def forward(self, tokens: list[Tensor], rows: int) -> list[Tensor]:
        return [self.get_submodule(f"read_{level}")(each, rows) for level, each in enumerate(tokens)]


class _ChannelNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs)
        self.norm1 = _ChannelNorm(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.norm2 = _ChannelNorm(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1), _ChannelNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.downsample(x) + F.relu(self.norm2(self.conv2(y))))


class _Context(nn.Module):
    """The recurrent units' initial states of the three finer levels, and their context input at each step."""

    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        finest, fine, coarse, _ = config.levels
        self.outputs04, self.outputs08, self.outputs16 = (_context_pair(each, config.hidden) for each in (finest, fine, coarse))

    def forward(self, levels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        finest, fine, coarse, _ = levels
        # at this point, the authors' path has rectified the last two in place
        inputs = ((self.outputs04, finest), (self.outputs08, F.relu(fine)), (self.outputs16, F.relu(coarse)))
        return [(hidden(x).tanh(), F.relu(context(x))) for (hidden, context), x in inputs]


def _context_pair(inputs: int, hidden: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(_Residual(inputs, hidden), conv3x3(hidden, hidden)) for _ in range(2))


class _Gru(nn.Module):
    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (conv3x3(hidden + inputs, hidden) for _ in range(3))

    def forward(self, hidden: Tensor, context: list[Tensor], *inputs: Tensor) -> Tensor:
        update, reset, new = context
        everything = torch.cat((hidden, *inputs), 1)
        z = torch.sigmoid(self.convz(everything) + update)
        r = torch.sigmoid(self.convr(everything) + reset)
        return (1 - z) * hidden + z * torch.tanh(self.convq(torch.cat((r * hidden, *inputs), 1)) + new)


class _Correction(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv1d, self.conv2d = conv3x3(hidden, hidden), conv3x3(hidden, 2)
        self.conv1n, self.conv2n = conv3x3(hidden, hidden), conv3x3(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.conv2d(F.relu(self.conv1d(x))), self.conv2n(F.relu(self.conv1n(x)))), 1)


class _Update(nn.Module):
    """Recurrent units at three levels; the coarser ones run more often."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru08 = _Gru(hidden, _STATE + hidden)
        self.gru16 = _Gru(hidden, 2 * hidden)
        self.gru32 = _Gru(hidden, hidden)
        self.flow_head = _Correction(hidden)
        self.mask = nn.Sequential(conv3x3(hidden, hidden), nn.ReLU(), nn.Conv2d(hidden, 9 * _FINEST**2, 1))

    def forward(self, hidden: list[Tensor], context: list[list[Tensor]], state: Tensor) -> list[Tensor]:
        """The hidden states after one step, finest first."""
        finest, fine, coarse = hidden
        coarse = self.gru32(coarse, context[2], _halved(fine))
        for _ in range(2):
            coarse = self.gru32(coarse, context[2], _halved(fine))
            fine = self.gru16(fine, context[1], resized(_halved(finest), fine.shape[2:]), resized(coarse, fine.shape[2:]))
        return [self.gru08(finest, context[0], state, resized(fine, finest.shape[2:])), fine, coarse]


class _Decoder(nn.Module):
    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        features, hidden = config.path[0], config.hidden
        self.iterations = config.iterations
        self.token2feature = _Levels(config)
        self.decoder_mono = _Path(config)
        self.depth_regressor = nn.Sequential(conv3x3(features, _BINS), nn.ReLU(), nn.Conv2d(_BINS, _BINS, 1))
        self.normal_predictor = nn.Sequential(
            conv3x3(features, 128), nn.ReLU(), nn.Conv2d(128, 128, 1), nn.ReLU(), nn.Conv2d(128, 128, 1), nn.ReLU(), nn.Conv2d(128, 3, 1)
        )
        self.context_feature_encoder = _Context(config)
        self.context_zqr_convs = nn.ModuleList(conv3x3(hidden, 3 * hidden) for _ in range(3))
        self.update_block = _Update(hidden)

    def forward(self, tokens: list[Tensor], rows: int) -> Metric3dOutput:
        levels = self.token2feature(tokens, rows)
        state = self._first_state(self.decoder_mono(levels))
        begun, contexts = zip(*self.context_feature_encoder(levels), strict=True)
        context = [list(conv(each).chunk(3, 1)) for conv, each in zip(self.context_zqr_convs, contexts, strict=True)]
        hidden = list(begun)
        for _ in range(self.iterations):
            hidden = self.update_block(hidden, context, state)
            state = state + self.update_block.flow_head(hidden[0])
        state = _enlarged(state, 0.25 * self.update_block.mask(hidden[0]))
        depth = (state[:, :1] * _METRES_PER_UNIT + MOST_DEPTH).clamp(LEAST_DEPTH, MOST_DEPTH)
        return Metric3dOutput(depth, state[:, 1:2], *with_certainty(state[:, 2:5], state[:, 5:]))

    def _first_state(self, path: Tensor) -> Tensor:
        features, depth_confidence, normal_confidence = path[:, :-2], path[:, -2:-1], path[:, -1:]
        ends = (math.log(LEAST_DEPTH), math.log(MOST_DEPTH))
        bins = torch.linspace(*ends, _BINS, dtype=torch.float32, device=path.device).exp()
        depth = (self.depth_regressor(features).softmax(1) * bins[:, None, None]).sum(1, keepdim=True)
        scaled = (depth.clamp(LEAST_DEPTH, MOST_DEPTH) - MOST_DEPTH) / _METRES_PER_UNIT
        return torch.cat((scaled, depth_confidence, *with_certainty(self.normal_predictor(features), normal_confidence)), 1)


class Metric3d(PublishedNetwork):
    """Version 2.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 28.
    """

    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        self.encoder = VisionTransformer(config.vit)
        self.decoder = _Decoder(config)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Converts the transformer only. In half precision, a state in units of 100 m would be rounded to 0.1 m."""
        self.float()
        self.encoder.to(dtype)

    def forward(self, x: Tensor) -> Metric3dOutput:
        tokens = self.encoder.tokens(x)
        if len(tokens) == 1:
            tokens = [self.encoder.norm(tokens[0])] * 4
        return self.decoder([each.float() for each in tokens], x.shape[-2] // PATCH)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        named = {rename(key, _NAMES): value for key, value in state.items()}
        return {key: value for key, value in named.items() if key != "encoder.mask_token" and ".norm3." not in key}


# the authors' files contain one normalisation under two names: norm3 and downsample.1
_NAMES = ((r"^depth_model\.", ""), (r"^encoder\.blocks\.0\.(\d+\.)", r"encoder.blocks.\1"))


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=2, padding=1)


def _enlarged(state: Tensor, mask: Tensor) -> Tensor:
    """Upsamples by 4: each value is a mean of its nine neighbours, weighted by the softmax of `mask` (B, 9 * 16, h, w)."""
    weights = mask.unflatten(1, (1, 9, _FINEST, _FINEST)).softmax(2)
    around = F.unfold(state, 3, padding=1).view(state.shape[0], _STATE, 9, 1, 1, *state.shape[-2:])
    # (B, state, sub-row, sub-column, row, column) to (B, state, row, sub-row, column, sub-column)
    return (weights * around).sum(2).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
