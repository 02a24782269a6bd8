"""Measures how far out of focus a photo is. What is equally far is equally blurred."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map
from ..edges.depth_edges import extremes_within
from ..edges.guided_filter import box_means
from ..images.srgb import luminance

# Blur is measured in an image of so many pixels along its longer side.
_LONGER = 480
# Two means over squares of five pixels blur with this variance.
_RADIUS, _ADDED = 2, 4.0
# Layers of inverse depth; places so near to an edge of depth belong to none.
_LAYERS, _BESIDE, _STEP = 8, 6, 1.1
# Of a layer, this share of the places shows its blur, those with the strongest edges; weaker edges are noise, and fewer places say nothing.
_EDGES, _WEAKEST, _FEWEST = 0.1, 3 / 255, 300
# What is in focus has at most this variance, by its lens and its resampling.
_FOCUSED = 1.5**2


def blur_by_depth(image: Tensor, depth: Tensor) -> Tensor | None:
    """The blur of each place of a photo that is not in focus.

    Blurred once more, an edge that is sharp loses much of its slope, and one that is blurred hardly any: with the variance v, the squares
    of slopes fall by v / (v + 4). In each layer of inverse depth this tells v where edges are strongest.

    Args:
        image: (1, 3, H, W) in [0, 1].
        depth: (1, 1, H, W), positive and finite.

    Returns:
        (1, 1, h, w), smaller than the image, the standard deviation of its blur in pixels of the image; None where all is in focus.

    Source:
        S. Zhuo and T. Sim, "Defocus map estimation from a single image" (2011), for the second blur; the layers are our addition.
    """
    pitch = max(1, round(max(image.shape[-2:]) / _LONGER))
    small = luminance(F.avg_pool2d(image, pitch, ceil_mode=True, count_include_pad=False).float())
    inverse = 1 / resize_map(depth.float(), *small.shape[-2:], "nearest-exact")
    low, high = extremes_within(inverse, _BESIDE)
    usable = high < low * _STEP
    own, after = _slopes(small), _slopes(box_means(box_means(small, _RADIUS), _RADIUS))
    least, most = inverse.amin(), inverse.amax()
    layer = (inverse - least) / (most - least).clamp(min=1e-6) * _LAYERS
    known, found = [], []
    for number in range(_LAYERS):
        inside = usable & (layer.floor().clamp(max=_LAYERS - 1) == number)
        strength = after[inside]
        if len(strength) < _FEWEST:
            continue
        strong = strength.quantile(1 - _EDGES)
        if strong < _WEAKEST**2:
            continue
        edges = strength >= strong
        lost = own[inside][edges].sum() / strength[edges].sum() - 1
        known.append(number)
        found.append((_ADDED / lost.clamp(min=1e-2) - _FOCUSED).clamp(min=0).sqrt() * pitch)
    if not found or not bool(torch.stack(found).any()):
        return None
    # Layers that say nothing are as blurred as the nearest one that does.
    blurs = torch.stack([found[min(range(len(known)), key=lambda i: abs(known[i] - number))] for number in range(_LAYERS)])
    place = (layer - 0.5).clamp(0, _LAYERS - 1)
    nearer = place.floor().clamp(max=_LAYERS - 2)
    index = nearer.long()
    return torch.lerp(blurs[index], blurs[index + 1], place - nearer)


def _slopes(values: Tensor) -> Tensor:
    """The squares of the slopes, over two pixels; at the border those beside it."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (right * right).addcmul_(down, down)
