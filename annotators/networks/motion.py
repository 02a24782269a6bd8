"""Motion modules: attention among the frames of a video, pixel by pixel.

Source:
    The motion modules of AnimateDiff (Guo et al., 2023), as Chen et al., "Video Depth Anything" (2025), use them; code
    DepthAnything/Video-Depth-Anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grids import is_traced
from .group_norm import GroupNorm
from .linear import Linear

MAX_FRAMES = 32
"""The most frames in one window: as many as the published networks were trained on."""
_GROUPS, _HEADS = 32, 8
_POSITION_BASE = 10_000.0
VALUES_AT_ONCE = 2**21
"""Values of a map that are attended to at once. Each pixel is processed by itself, and the perceptron is eight times as wide as its input:
all pixels at once would take more memory than everything else in a network."""


class _FrameAttention(nn.Module):
    """Attention of each frame to all frames, with their places in time, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.to_q = Linear(channels, channels, bias=False)
        self.to_k = Linear(channels, channels, bias=False)
        self.to_v = Linear(channels, channels, bias=False)
        self.to_out = Linear(channels, channels)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        placed = self.norm(x) + positions
        query, key, value = (project(placed).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v))
        return x + self.to_out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _GatedPerceptron(nn.Module):
    """A perceptron one half of which opens the other, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = Linear(channels, 8 * channels)
        self.contract = Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(self.norm(x)).chunk(2, -1)
        return x + self.contract(value * F.gelu(gate))


class MotionModule(nn.Module):
    """Attention of each pixel of a map to the same pixel of the other frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(_GROUPS, channels, eps=1e-6)
        self.proj_in = Linear(channels, channels)
        self.attention = nn.ModuleList(_FrameAttention(channels) for _ in range(2))
        self.perceptron = _GatedPerceptron(channels)
        self.proj_out = Linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """The maps of videos of equal length, each map with what its video shows before and after added.

        Args:
            x: (videos * frames, channels, h, w), a video's frames one after the other.
            frames: Of each video, at most `MAX_FRAMES`.

        Returns:
            The same shape.
        """
        channels, height, width = x.shape[1:]
        videos = x.shape[0] // frames
        pixels = self.norm(x).unflatten(0, (videos, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)
        positions = _positions(frames, channels, x.device).to(x.dtype)
        parts = [pixels] if is_traced() else pixels.split(max(1, VALUES_AT_ONCE // (frames * channels)))
        change = torch.cat([self._change(part, positions) for part in parts])
        return x + change.unflatten(0, (videos, height, width)).permute(0, 3, 4, 1, 2).flatten(0, 1)

    def _change(self, pixels: Tensor, positions: Tensor) -> Tensor:
        """The change that is added to pixels (N, frames, channels)."""
        tokens = self.proj_in(pixels)
        for attention in self.attention:
            tokens = attention(tokens, positions)
        return self.proj_out(self.perceptron(tokens))


def _positions(frames: int, channels: int, device: torch.device) -> Tensor:
    """Sines (even channels) and cosines (odd) of the frames' places in time, (frames, channels) float32."""
    frequencies = _POSITION_BASE ** -(torch.arange(0, channels, 2, device=device) / channels)
    phases = torch.arange(frames, device=device)[:, None] * frequencies
    return torch.stack((phases.sin(), phases.cos()), -1).flatten(1)
