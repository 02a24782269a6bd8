"""Video Depth Anything: Depth Anything V2 with motion modules in its head. `annotators/video_depth_anything.py` names the source."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .depth_anything import DepthAnything, without_unused
from .dpt import COARSEST, DptConfig
from .grids import aspect_of
from .motion import MotionModule
from .published import Rule, StateDict, rename
from .vit import PATCH, VitConfig

Features = tuple[Tensor, Tensor, Tensor, Tensor]
"""The features of frames before the network compares them, from the finest level to the coarsest: the transformer's first two maps as
they are, which is four times less than reassembled, and the other two reassembled. Each is (frames, channels, h, w)."""


class VideoDepthAnything(DepthAnything):
    """Depth Anything with motion modules between the head's coarse levels; the fine ones process each frame by itself.

    A video goes through it in three steps. `encode` and `finish` take as many frames at once as the memory holds; `through_time` takes
    all frames of a video, at most `motion.MAX_FRAMES`.

    Convention:
        Input and output as `DepthAnything`.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__(vit, dpt)
        self.motion_modules = nn.ModuleList(
            MotionModule(channels) for channels in (*dpt.channels[COARSEST - 1 :], dpt.features, dpt.features)
        )

    def set_dtype(self, dtype: torch.dtype) -> None:
        super().set_dtype(dtype)
        self.motion_modules.to(dtype)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """The head's output for normalised images, or for videos of equal length; see the class.

        Args:
            x: (videos * frames, 3, H, W), a video's frames one after the other.
            frames: Of each video; 1 = images that are independent.
        """
        features = self.encode(x)
        return self.finish(self.through_time(features, frames), features)

    def encode(self, x: Tensor) -> Features:
        """The features of normalised frames (B, 3, H, W), each processed by itself."""
        maps, _ = self.pretrained(x)
        aspect = aspect_of(x.shape[-2], x.shape[-1], x.device)
        third, fourth = (self.depth_head.reassembled(level, maps[level], aspect) for level in (2, 3))
        return maps[0], maps[1], third, fourth

    def through_time(self, features: Sequence[Tensor], frames: int) -> Tensor:
        """The fusion path of videos down to its second level.

        Args:
            features: Of videos * frames images.
            frames: Of each video.

        Returns:
            (videos * frames, dpt.features, 2 * rows, 2 * columns).
        """
        head, grid = self.depth_head, features[0].shape[-2:]
        third, fourth = (
            head.narrowed(level, motion(features[level], frames)) for level, motion in zip((2, 3), self.motion_modules, strict=False)
        )
        path = self.motion_modules[2](head.fused(3, fourth, None, grid), frames)
        return self.motion_modules[3](head.fused(2, path, third, grid), frames)

    def finish(self, path: Tensor, features: Sequence[Tensor]) -> Tensor:
        """The head's output for frames, of what `through_time` made of them and of the first two of their features."""
        head, grid = self.depth_head, features[0].shape[-2:]
        height, width = (side * PATCH for side in grid)
        for level in (1, 0):
            finer = head.narrowed(level, head.reassembled(level, features[level], width / height))
            path = head.fused(level, path, finer, grid)
        return head.scratch.output_conv2(head.full_size(path, height, width))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. The table of positions in time, which the files hold, follows from a formula."""
        named = {rename(key, _PARTS): value for key, value in state.items() if not _POSITION_TABLE.search(key)}
        return without_unused(named)


_POSITION_TABLE = re.compile(r"\.pos_encoder\.pe$")
_PARTS: tuple[Rule, ...] = (
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
