"""Cuts between the shots of a video."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map

# Side of the compared thumbnails, and the range of shifts in their pixels: 6 % of the image.
_SIDE = 32
_REACH = 2
# Minimum share of contrast that two frames of one shot have in common, and a negligible contrast (squared units of [0, 1]).
_ALIKE = 0.5
_NO_CONTRAST = 1e-4


class CutDetector:
    """Decides for each frame of a video whether it begins a new shot.

    A frame is a cut if its thumbnail, at any shift up to 6 % of the image, shares less than half of its contrast with the
    previous one: twice the covariance divided by the sum of the variances (the contrast and structure of SSIM, Z. Wang et al., "Image
    Quality Assessment: From Error Visibility to Structural Similarity", 2004), over the whole thumbnail. The threshold and the shifts are
    our own. It ignores noise, brightness, local motion and pans, and misses dissolves and cuts between similar shots. A frame of
    one colour between others is a shot of its own. The state is one thumbnail.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def push(self, frames: Tensor) -> Tensor:
        """Returns (B,) bool: True where a new shot begins, never for the first frame. The device is not synchronised.

        The frames are images (B, C, H, W) in [0, 1], or any finite maps of about that range.
        """
        thumbs = resize_map(frames.float(), _SIDE, _SIDE)
        last = thumbs[:1] if self._last is None else self._last
        self._last = thumbs[-1:]
        return shared_contrast(torch.cat((last, thumbs[:-1])), thumbs) < _ALIKE

    def state_dict(self) -> dict[str, Tensor | None]:
        """The state after the frames so far, for `torch.save`."""
        return {"last": self._last}

    def load_state_dict(self, state: Mapping[str, Tensor | None]) -> None:
        """Restores the `state_dict` of another detector."""
        self._last = state["last"]


def shared_contrast(before: Tensor, after: Tensor) -> Tensor:
    """The similarity (B,) from -1 to 1 of thumbnails (B, C, h, w) of some dozen pixels, at the shift where it is greatest."""
    height, width = (side - 2 * _REACH for side in before.shape[-2:])
    moved = F.unfold(before, (height, width)).movedim(1, 2)
    centre = after[..., _REACH : _REACH + height, _REACH : _REACH + width].flatten(1)[:, None]
    moved, centre = (each - each.mean(2, keepdim=True) for each in (moved, centre))
    shared = (moved * centre).mean(2) * 2 + _NO_CONTRAST
    return (shared / (moved.square().mean(2) + centre.square().mean(2) + _NO_CONTRAST)).amax(1)
