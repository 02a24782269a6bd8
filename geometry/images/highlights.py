"""Compresses HDR highlights to [0, 1], for code that expects this range, and expands them again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_KNEE = 0.9


def compress_highlights(image: Tensor, has_none: bool = False) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Compresses HDR images, which have values above 1, to [0, 1]. Synchronises the device once.

    A value x above 0.9 becomes 0.9 + 0.1 log(x / 0.9) / log(p / 0.9), with the image's maximum p. Values below stay unchanged, so that
    edges and colour mixtures are treated as in other images. Images without values above 1 stay unchanged.

    Args:
        image: (B, 3, H, W), 0 or more.
        has_none: True if all values are known to be at most 1, for example by `check_image`; then the device is not synchronised.

    Returns:
        The images in [0, 1], in at least float32 if any was compressed; and a function that expands results (B, 3, h, w), computed from
        them, to the full range. It clamps results to [0, 1] first, and for images that were not compressed does nothing more.
    """
    if has_none:
        return image, lambda made: made.clamp(0, 1)
    peak = image.amax((1, 2, 3), keepdim=True)
    bright = peak > 1
    if not bool(bright.any()):
        return image, lambda made: made.clamp(0, 1)
    image = image.to(torch.promote_types(image.dtype, torch.float32))
    span = (peak.to(image).clamp(min=1) / _KNEE).log()

    def expand(made: Tensor) -> Tensor:
        made = made.clamp(0, 1)
        return torch.where(bright & (made > _KNEE), _KNEE * ((made - _KNEE) / (1 - _KNEE) * span.to(made)).exp(), made)

    beyond = _KNEE + (1 - _KNEE) * (image.clamp(min=_KNEE) / _KNEE).log() / span
    return torch.where(bright & (image > _KNEE), beyond, image), expand
