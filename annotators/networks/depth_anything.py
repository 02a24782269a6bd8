"""Depth Anything, versions 1 to 3 and for videos: transformer and head in one module. `annotators/depth_anything.py` names the sources.

Source:
    The motion modules of AnimateDiff (Guo et al., 2023), as Chen et al., "Video Depth Anything" (2025), use them; code
    DepthAnything/Video-Depth-Anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dpt import COARSEST, DptConfig, DptHead
from .layers import GroupNorm, Linear, aspect_of, is_traced
from .published import PublishedNetwork, Rule, StateDict, rename
from .vit import PATCH, VisionTransformer, VitConfig, hub_to_official


class DinoNetwork(PublishedNetwork):
    """DINOv2's transformer and a DPT head, as in all versions of Depth Anything."""

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(vit)
        self.depth_head = DptHead(vit.channels, dpt)


class DepthAnything(DinoNetwork):
    """Transformer and head with the official checkpoints' parameter names.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 14. Output (B, 1, H, W) float32, before
        any activation.
    """

    def forward(self, x: Tensor) -> Tensor:
        maps, _ = self.pretrained(x)
        return self.depth_head(maps, x.shape[-2], x.shape[-1])

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Accepts the authors' and transformers' names, and Distill Any Depth's large file."""
        return without_unused({rename(key, _HUB_NECK): value for key, value in hub_to_official(state).items()})


_HUB_NECK: tuple[Rule, ...] = (
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
    (r"^neck\.convs\.(\d)\.", lambda match: f"depth_head.scratch.layer{int(match[1]) + 1}_rn."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.", lambda match: f"depth_head.scratch.refinenet{4 - int(match[1])}."),
    (r"(refinenet\d)\.projection\.", r"\1.out_conv."),
    (r"(refinenet\d)\.residual_layer(\d)\.convolution(\d)\.", r"\1.resConfUnit\2.conv\3."),
    (r"^head\.conv1\.", "depth_head.scratch.output_conv1."),
    (r"^head\.conv2\.", "depth_head.scratch.output_conv2.0."),
    (r"^head\.conv3\.", "depth_head.scratch.output_conv2.2."),
    # Distill Any Depth's large network, whose blocks are in one chunk
    (r"^backbone\.blocks\.0\.(?=\d)", "pretrained.blocks."),
    (r"^backbone\.", "pretrained."),
)
# Parameters that training or an unused path left in the files
_UNUSED = re.compile(r"(^|\.)pretrained\.mask_token$|\.scratch\.refinenet4\.resConfUnit1\.")


def without_unused(state: StateDict) -> dict[str, Tensor]:
    """Drops parameters of official files that no network of the family uses."""
    return {key: value for key, value in state.items() if not _UNUSED.search(key)}


class Prediction(NamedTuple):
    """The network's outputs for B images, float32."""

    depth: Tensor  # (B, 1, H, W), large = far, positive
    sky: Tensor | None  # (B, 1, H, W), at least 0; None from networks that accept scenes (`small`, `base`, `large`)
    confidence: Tensor | None  # (B, 1, H, W), at least 1; this and the rest are None from the others (`mono`, `metric`)
    fov: Tensor | None  # (B, 2) radians, vertical and horizontal
    # (B, 7), camera to world in OPENCV axes: position in the unit of depth, and rotation as an unnormalised quaternion x, y, z, w
    pose: Tensor | None = None


class _CameraDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, token: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(token)
        return self.fc_fov(features), torch.cat((self.fc_t(features), self.fc_qvec(features)), -1)


class DepthAnything3(DinoNetwork):
    """Depth Anything 3 without rays and without known cameras as inputs.

    Convention:
        Input as `DepthAnything`.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__(vit, dpt)
        self.cam_dec = _CameraDecoder(vit.channels) if vit.alternating_from is not None else None

    def exact_modules(self) -> Iterable[nn.Module]:
        return (*super().exact_modules(), *([] if self.cam_dec is None else [self.cam_dec]))

    def forward(self, x: Tensor, one_scene: bool = False) -> Prediction:
        """The prediction for normalised images, see the class; for `one_scene`, as views of it, by networks that accept that."""
        maps, camera = self.pretrained(x, one_scene)
        height, width = x.shape[-2:]
        head = self.depth_head
        features = head.full_size(head.pyramid(maps, height, width)[-1], height, width)
        logits = head.scratch.output_conv2(features)
        sky = confidence = None
        if head.config.sky:
            sky = F.relu(head.scratch.sky_output_conv2(features))
        if logits.shape[1] == 2:
            confidence = logits[:, 1:].exp() + 1
        fov, pose = (None, None) if self.cam_dec is None else self.cam_dec(camera.float())
        return Prediction(logits[:, :1].exp(), sky, confidence, fov, pose)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Accepts the authors' names and those of files repackaged for ComfyUI."""
        official = hub_to_official({key.removeprefix("model."): value for key, value in state.items()})
        return {name: value for key, value in official.items() if not _V3_UNUSED.search(name := rename(key, _V3_PARTS))}


_V3_PARTS = ((r"^backbone\.", ""), (r"^head\.", "depth_head."))
# Cameras given from outside, and rays
_V3_UNUSED = re.compile(r"^cam_enc\.|_aux\.")


MAX_FRAMES = 32
"""Frames per window, as in the published networks' training."""
_GROUPS, _HEADS = 32, 8
_POSITION_BASE = 10_000.0
VALUES_AT_ONCE = 2**21
"""Maximum number of values in motion attention at once. Pixels are independent, and the MLP is eight times as wide as its input: all pixels
at once would need more memory than the rest of the network."""


class _FrameAttention(nn.Module):
    """Attention between frames with temporal positions, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.to_q, self.to_k, self.to_v = (Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = Linear(channels, channels)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        placed = self.norm(x) + positions
        query, key, value = (project(placed).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v))
        return x + self.to_out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _GatedPerceptron(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = Linear(channels, 8 * channels)
        self.contract = Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(self.norm(x)).chunk(2, -1)
        return x + self.contract(value * F.gelu(gate))


class MotionModule(nn.Module):
    """Attention of each pixel to the same pixel in other frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(_GROUPS, channels, eps=1e-6)
        self.proj_in = Linear(channels, channels)
        self.attention = nn.ModuleList(_FrameAttention(channels) for _ in range(2))
        self.perceptron = _GatedPerceptron(channels)
        self.proj_out = Linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Adds information from other frames to maps (videos * frames, channels, h, w), each video's, at most `MAX_FRAMES`, consecutive."""
        channels, height, width = x.shape[1:]
        videos = x.shape[0] // frames
        pixels = self.norm(x).unflatten(0, (videos, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)
        positions = _positions(frames, channels, x.device).to(x.dtype)
        parts = [pixels] if is_traced() else pixels.split(max(1, VALUES_AT_ONCE // (frames * channels)))
        change = torch.cat([self._change(part, positions) for part in parts])
        return x + change.unflatten(0, (videos, height, width)).permute(0, 3, 4, 1, 2).flatten(0, 1)

    def _change(self, pixels: Tensor, positions: Tensor) -> Tensor:
        """The residual for pixels (N, frames, channels)."""
        tokens = self.proj_in(pixels)
        for attention in self.attention:
            tokens = attention(tokens, positions)
        return self.proj_out(self.perceptron(tokens))


def _positions(frames: int, channels: int, device: torch.device) -> Tensor:
    """Sines (even channels) and cosines (odd) of frame indices, (frames, channels) float32."""
    frequencies = _POSITION_BASE ** -(torch.arange(0, channels, 2, dtype=torch.float32, device=device) / channels)
    phases = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * frequencies
    return torch.stack((phases.sin(), phases.cos()), -1).flatten(1)


Features = tuple[Tensor, Tensor, Tensor, Tensor]
"""Per-frame features, from the finest level to the coarsest: the transformer's first two maps unchanged, four times smaller than
reassembled, and the other two reassembled. Each is (frames, channels, h, w)."""


class VideoDepthAnything(DepthAnything):
    """Depth Anything with motion modules between the head's coarse levels; the fine levels process frames independently.

    Videos are processed in three steps. `encode` and `finish` take as many frames as fit in memory; `through_time` takes all frames of a
    video, at most `MAX_FRAMES`.

    Convention:
        Input and output as `DepthAnything`.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__(vit, dpt)
        self.motion_modules = nn.ModuleList(
            MotionModule(channels) for channels in (*dpt.channels[COARSEST - 1 :], dpt.features, dpt.features)
        )

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """The head's output for normalised videos (videos * frames, 3, H, W), frames consecutive; 1 = independent images. See the class."""
        features = self.encode(x)
        return self.finish(self.through_time(features, frames), features)

    def encode(self, x: Tensor) -> Features:
        """The features of normalised frames (B, 3, H, W), each independent."""
        maps, _ = self.pretrained(x)
        aspect = aspect_of(x.shape[-2], x.shape[-1], x.device)
        third, fourth = (self.depth_head.reassembled(level, maps[level], aspect) for level in (2, 3))
        return maps[0], maps[1], third, fourth

    def through_time(self, features: Sequence[Tensor], frames: int) -> Tensor:
        """The fusion path of videos, down to its second level: (videos * frames, dpt.features, 2 * rows, 2 * columns)."""
        head, grid = self.depth_head, features[0].shape[-2:]
        third, fourth = (
            head.narrowed(level, motion(features[level], frames)) for level, motion in zip((2, 3), self.motion_modules, strict=False)
        )
        path = self.motion_modules[2](head.fused(3, fourth, None, grid), frames)
        return self.motion_modules[3](head.fused(2, path, third, grid), frames)

    def finish(self, path: Tensor, features: Sequence[Tensor]) -> Tensor:
        """The head's output for frames, from the result of `through_time` and the first two of their features."""
        head, grid = self.depth_head, features[0].shape[-2:]
        height, width = (side * PATCH for side in grid)
        for level in (1, 0):
            finer = head.narrowed(level, head.reassembled(level, features[level], width / height))
            path = head.fused(level, path, finer, grid)
        return head.scratch.output_conv2(head.full_size(path, height, width))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Drops the files' table of temporal positions, which is computed instead."""
        named = {rename(key, _VIDEO_PARTS): value for key, value in state.items() if not _POSITION_TABLE.search(key)}
        return without_unused(named)


_POSITION_TABLE = re.compile(r"\.pos_encoder\.pe$")
_VIDEO_PARTS: tuple[Rule, ...] = (
    (r"^head\.motion_modules\.(\d)\.temporal_transformer\.", r"motion_modules.\1."),
    (r"^(motion_modules\.\d)\.transformer_blocks\.0\.", r"\1."),
    (r"^(motion_modules\.\d)\.norms\.(\d)\.", r"\1.attention.\2.norm."),
    (r"^(motion_modules\.\d)\.attention_blocks\.(\d)\.", r"\1.attention.\2."),
    (r"^(motion_modules\.\d\.attention\.\d\.to_out)\.0\.", r"\1."),
    (r"^(motion_modules\.\d)\.ff_norm\.", r"\1.perceptron.norm."),
    (r"^(motion_modules\.\d)\.ff\.net\.0\.proj\.", r"\1.perceptron.expand."),
    (r"^(motion_modules\.\d)\.ff\.net\.2\.", r"\1.perceptron.contract."),
    (r"^head\.", "depth_head."),
)
