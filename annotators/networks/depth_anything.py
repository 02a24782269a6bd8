"""Depth Anything, versions 1 and 2: transformer and head in one module. `annotators/depth_anything.py` names the source."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from .dpt import DptConfig, DptHead
from .published import PublishedNetwork, Rule, StateDict, rename
from .vit import VisionTransformer, VitConfig, hub_to_official


class DinoNetwork(PublishedNetwork):
    """DINOv2's transformer and a dense prediction head, which all versions of Depth Anything have."""

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(vit)
        self.depth_head = DptHead(vit.channels, dpt)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for what `DptHead.set_dtype` leaves in float32."""
        self.pretrained.to(dtype)
        self.depth_head.set_dtype(dtype)


class DepthAnything(DinoNetwork):
    """Transformer and head under the names of the official checkpoints.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 14. Output (B, 1, H, W) float32, before
        any activation.
    """

    def forward(self, x: Tensor) -> Tensor:
        maps, _ = self.pretrained(x)
        return self.depth_head(maps, x.shape[-2], x.shape[-1])

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Takes the authors' names, transformers', and those of Distill Any Depth's large file."""
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
    """The state dict without the parameters that official files hold and no network of the family uses."""
    return {key: value for key, value in state.items() if not _UNUSED.search(key)}
