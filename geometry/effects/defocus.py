"""Measures how far out of focus a photo is. What is equally far is equally blurred."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map
from ..filters.box import box_means
from ..filters.coarse import shrunk
from ..filters.extremes import extremes_within
from ..images.srgb import luminance

# Blur is measured in an image of so many pixels along its longer side.
_LONGER = 480
# Two means over squares of seven pixels blur with this variance.
_RADIUS, _ADDED = 3, 8.0
# Layers of inverse depth; places so near to an edge of depth belong to none.
_LAYERS, _BESIDE, _STEP = 8, 6, 1.1
# Of a layer, this share of the places shows its blur, those with the strongest edges; weaker edges are noise, and fewer places say nothing.
_EDGES, _WEAKEST, _FEWEST = 0.1, 3 / 255, 75
# The squares of slopes that are noise are those of the quietest share of the places, and no more than those of two levels of 255.
_QUIET, _MOST_NOISE = 0.1, 4 * (2 / 255) ** 2
# What is in focus has at most this variance, by its lens and its resampling.
_FOCUSED = 1.5**2


def blur_by_depth(image: Tensor, depth: Tensor) -> Tensor:
    """The blur of each place of a photo that is not in focus.

    Blurred once more, an edge that is sharp loses much of its slope, and one that is blurred hardly any: with the variance v, the squares
    of slopes fall by v / (v + 8). In each layer of inverse depth this tells v where edges are strongest.

    Args:
        image: (1, 3, H, W) in [0, 1].
        depth: (1, 1, H, W), positive and finite.

    Returns:
        (1, 1, h, w), smaller than the image, the standard deviation of its blur in pixels of the image, 0 in focus. Layers without edges
        are as blurred as the nearest one that has some.

    Source:
        S. Zhuo and T. Sim, "Defocus map estimation from a single image" (2011), for the second blur; the layers are our addition.
    """
    pitch = max(1, round(max(image.shape[-2:]) / _LONGER))
    small = luminance(shrunk(image, pitch).float())
    inverse = 1 / resize_map(depth.float(), small.shape[2], small.shape[3])
    low, high = extremes_within(inverse, _BESIDE)
    own, after = _slopes(small), _slopes(box_means(box_means(small, _RADIUS), _RADIUS))
    noise = box_means(own, _RADIUS)[..., ::2, ::2].quantile(_QUIET).clamp(max=_MOST_NOISE)
    least, most = inverse.amin(), inverse.amax()
    layer = (inverse - least) / (most - least).clamp(min=1e-6) * _LAYERS
    number = torch.where(high < low * _STEP, layer.floor().clamp(max=_LAYERS - 1), -1)
    blurs = _from_nearest(*_blurs_of_layers(*(each[..., ::2, ::2].flatten() for each in (number, own - noise, after))))
    place = (layer - 0.5).clamp(0, _LAYERS - 1)
    nearer = place.floor().clamp(max=_LAYERS - 2)
    return torch.lerp(blurs[nearer.long()], blurs[nearer.long() + 1], place - nearer) * pitch


def _blurs_of_layers(number: Tensor, own: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The standard deviation of each layer's blur beyond what is in focus, and whether the layer tells it; of squared slopes (N,)."""
    inside = number == torch.arange(_LAYERS, device=number.device)[:, None]
    strength = (own + after) / 2
    strong = torch.where(inside, strength, torch.nan).nanquantile(1 - _EDGES, dim=1, keepdim=True)
    edges = inside & (strength >= strong)
    own, after = (torch.stack((own, after))[:, None] * edges).sum(-1)
    lost = own / after.clamp(min=1e-12) - 1
    known = (inside.sum(1) >= _FEWEST) & (strong[:, 0] > _WEAKEST**2)
    return (_ADDED / lost.clamp(min=0.05) - _FOCUSED).clamp(min=0).sqrt(), known


def _from_nearest(values: Tensor, known: Tensor) -> Tensor:
    """Values (N,) where they are known, elsewhere that of the nearest known place; 0 if there is none."""
    place = torch.arange(len(values), device=values.device)
    apart = (place[:, None] - place).abs() + len(values) * ~known
    return torch.where(known.any(), values[apart.argmin(1)], 0)


def _slopes(values: Tensor) -> Tensor:
    """The squares of the slopes, over two pixels; at the border those beside it."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (right * right).addcmul_(down, down)
