"""Compresses HDR highlights for code that expects [0, 1], and expands them again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_KNEE = 0.9


def compress_highlights(image: Tensor, has_none: bool = False) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Brings images with values above 1, as HDR images have, into [0, 1]. Synchronises the device once.

    With the image's brightest value p, what is above 0.9 becomes 0.9 + 0.1 log(x / 0.9) / log(p / 0.9); all below stays as it is, so
    that edges and mixtures are found there as in other images.

    Args:
        image: (B, 3, H, W), 0 or more.
        has_none: Whether it is known that nothing is above 1, as `check_image` tells: then a device is not asked.

    Returns:
        The images in [0, 1], those above 1 in float32 or wider, others as they were; and the function that brings images (B, 3, h, w) made
        of them back to the full range. Of images in [0, 1] it only clamps what was made of them.
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
