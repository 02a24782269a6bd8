"""Refines a coarse sky mask to the image: along roofs, leaves and hair, and faded where an even sky shows no border."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...utils import resize_map
from ..edges.matting import cut_out
from ..filters.box import box_means
from ..filters.guided_filter import mask_at_image_edges

# A network's largest error at the sky's border, in percent of the longer side.
_REACH = 1.0
# Longer side in pixels at which the matte is computed; the border is then refined at a larger image's full size.
_MATTED = 720
# Where the image shows no border of the sky, the sky fades out over this share of the longer side. Longer side at which this is computed.
_FADED_OVER, _FADED = 0.06, 256
# The image shows no border where the mean colours of both sides are similar. Differences are similar at a scale of twice the deviation of
# the sky's colours beside the border, at least _PLAIN and at most _ALIKE. Colours around are similar to the sky's at the scale _OF_SKY.
_PLAIN, _ALIKE, _OF_SKY = 0.02, 0.08, 0.12
# Weight of visible parts of the border relative to invisible ones, and the exponent by which the matte is replaced near the latter.
_SHOWN, _YIELDING = 0.1, 3
_TINY = 1e-6


def sky_matte(image: Tensor, coarse: Tensor, far: Tensor) -> Tensor:
    """Moves the border of a coarse sky mask to the image's edges; fades it where the image shows none.

    Args:
        image: (1, 3, H, W) RGB in [0, 1].
        coarse: (1, 1, H, W) in [0, 1], the coarse mask.
        far: (1, 1, h, w) of any size in [0, 1], 0 where depth is too near for sky.

    Returns:
        (1, 1, H, W) in [0, 1].
    """
    return _faded(_at_image_edges(image, coarse), image, far) if bool((coarse > 0).any()) else coarse


def _at_image_edges(image: Tensor, coarse: Tensor) -> Tensor:
    """Moves the border of the coarse mask to the image's edges."""
    height, width = image.shape[-2:]
    share = _MATTED / max(height, width)
    if share >= 1:
        return cut_out(image, coarse, _REACH, decontaminate=False).alpha
    # Matting time grows with the border's width, so with the cube of the side length.
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    alpha = cut_out(resize_map(image, rows, columns), resize_map(coarse, rows, columns), _REACH, decontaminate=False).alpha
    return mask_at_image_edges(resize_map(alpha, height, width).clamp(0, 1), image, math.ceil(2 / share))


def _faded(alpha: Tensor, image: Tensor, far: Tensor) -> Tensor:
    """Fades a matte where its border crosses an even sky, as where a network is uncertain: a sharp border would be visible there."""
    height, width = image.shape[-2:]
    scale = min(1, _FADED / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small, sky = resize_map(image, *size), (resize_map(alpha, *size) > 0.5).to(image)
    beside, reach = (max(1, round(share * max(size))) for share in (_REACH / 100, _FADED_OVER))
    ones = torch.ones_like(sky)
    sums = box_means(torch.cat((small * sky, small.square() * sky, sky, small, small.square(), ones), 1), beside)
    of_sky, rest = sums[:, :7], sums[:, 7:] - sums[:, :7]
    border = ((of_sky[:, 6:] > _TINY) & (rest[:, 6:] > _TINY)).to(image)
    (mean, square), (other, _) = (_divided(each).split(3, 1) for each in (of_sky, rest))
    variance, apart = (each.sum(1, keepdim=True) for each in ((square - mean.square()).clamp(min=0), (mean - other).square()))
    looks = _divided(box_means(torch.cat((small * sky, sky), 1), 2 * reach))
    like = _like(small, looks)
    alike = border * like / (1 + (apart / (4 * variance + _PLAIN**2).clamp(max=_ALIKE**2)).square())
    if not bool((alike > 0.5).any()):
        return alpha
    maps = torch.cat((alike, alike + _SHOWN * (border - alike), sky * like, like), 1)
    unseen, share = map(_divided, box_means(box_means(maps, reach), reach).split(2, 1))
    looks, unseen, share = resize_map(torch.cat((looks, unseen, share), 1), height, width).split((3, 1, 1), 1)
    kept = 1 - unseen.clamp(0, 1) * _like(image, looks) * resize_map(far, height, width).clamp(0, 1)
    return torch.lerp(share.clamp(0, 1), alpha, kept**_YIELDING)


def _divided(sums: Tensor) -> Tensor:
    """Divides sums by the sum of weights, which is the last channel."""
    return sums[:, :-1] / sums[:, -1:].clamp(min=_TINY)


def _like(image: Tensor, looks: Tensor) -> Tensor:
    """The similarity of an image's colours to the surrounding sky's, `looks` (1, 3, h, w): (1, 1, h, w) in [0, 1]."""
    return 1 / (1 + (image - looks).square().sum(1, keepdim=True) / _OF_SKY**2).square()
