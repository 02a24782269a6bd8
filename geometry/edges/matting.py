"""Cuts an object out of its image: a matte that follows the image's edges, and colours without background spill."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...options.checks import check_range
from ...options.masks import MAX_EDGE
from ...utils import constant, in_float32
from ..checks import check_image, check_map
from ..filters.box import box_means
from ..filters.coarse import enlarged, shrunk
from ..filters.extremes import largest_within
from ..images.tone_mapping import compress_highlights

# Squared colour distance, for colours in [0, 1], at which evidence from colours has half its weight.
_APART = 0.01
_TINY = 1e-6
# Colours are extrapolated at a resolution where the radius is about this many pixels.
_COARSE = 3
# Maps of up to this many values are blended together, which saves a GPU launches; larger ones one by one, which saves memory.
_AT_ONCE = 2**20
# Share of a window's pixels on one side at which their mean has a weight of one half.
_FEW = 0.01
# Tolerated distance of a pixel's colour beyond a side's colour, relative to the distance between both sides.
_BEYOND = 0.25
# Evidence from colours has full weight where the product of both sides' shares of the window, times this, is at least 1.
_FADE = 70.0


class Cutout(NamedTuple):
    """An object without its background.

    Attributes:
        colour: (B, 3, H, W), in the image's range: the object's own colours, extrapolated slightly beyond its border.
        alpha: (B, 1, H, W) in [0, 1]: the object's coverage of each pixel.
    """

    colour: Tensor
    alpha: Tensor


@in_float32
def cut_out(image: Tensor, mask: Tensor, edge: float = 1.0, decontaminate: bool = True, ends: Tensor | None = None) -> Cutout:
    """Cuts out a masked object.

    In a band around the mask's border, each pixel is a mixture of nearby foreground and background colours, which determines its coverage.
    The mask decides where both colours are similar, where the pixel's colour fits neither, and at the ends of the band.

    Args:
        image: (B, 3, H, W) in [0, 1]; HDR images exceed 1.
        mask: (B, 1, H, W) in [0, 1].
        edge: Half the width of the band in percent of the longer side, 0 to `MAX_EDGE`: at least the mask's error and the length of hair. 0
            keeps the mask.
        decontaminate: Removes the background's share from the band's colours.
        ends: As in `check_image`.

    Returns:
        The cut-out; an empty or a full mask gives an empty or a full one.

    Raises:
        ValueError: Maps of wrong shapes, an image of other values, or `edge` out of range.

    Source:
        Y. Chuang et al., "A Bayesian Approach to Digital Matting" (2001), for the coverage, with one colour per side. T. Germer et al.,
        "Fast Multi-Level Foreground Estimation" (2020), for the colours, by the equation for a single pixel.
    """
    is_hdr = check_image(image, ends=ends)
    check_map(mask, 1, "mask", like=image)
    check_range("edge", edge, 0, MAX_EDGE)
    radius = round(max(image.shape[-2:]) * edge / 100)
    if radius == 0:
        return Cutout(image, mask)
    source, (image, expand) = image, compress_highlights(image, has_none=not is_hdr)
    alpha, thing, own, others = separated(image, mask, radius)
    if not decontaminate:
        return Cutout(source, alpha)
    rest = image - torch.lerp(others, own, alpha)
    pure = torch.addcdiv(own, alpha * rest, alpha.square() + (1 - alpha).square())
    return Cutout(torch.where(thing, source, expand(pure)), alpha)


def separated(image: Tensor, mask: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The matte of `cut_out` for images in [0, 1] without checks, which would synchronise a GPU; `radius` is the band's, in pixels.

    Returns the matte (B, 1, H, W); where the object surely is, (B, 1, H, W) bool; and the colours of both sides, (B, 3, H, W) each.
    """
    sides = torch.cat((mask >= 0.5, mask < 0.5)).to(image)
    sure = largest_within(1 - sides, radius) < 0.5
    own, others = _continued(image, sure.to(image), sides, radius).chunk(2)
    thing, behind = sure.chunk(2)
    alpha = _mixture(image, own, others, mask, sides[: len(mask)], radius)
    return torch.where(thing | behind, mask, alpha), thing, own, others


def _continued(image: Tensor, sure: Tensor, probable: Tensor, radius: int) -> Tensor:
    """Extrapolates the colours of S sides: means of nearby pixels that are surely on the side, or else probably, or else any.

    Args:
        image: (B, 3, H, W).
        sure, probable: (S * B, 1, H, W), 0 or 1.
        radius: Half the width of the band in pixels.

    Returns:
        (S * B, 3, H, W).
    """
    pitch = max(1, round(radius / _COARSE))
    shares = torch.cat((probable, sure)).split(len(image))
    whole = torch.cat((image, constant(image, 1.0).expand_as(image[:, :1])), 1)
    # One by one, as they are as large as the image.
    probable, sure = torch.cat([shrunk(whole * share, pitch) for share in shares]).chunk(2)
    colour = shrunk(image, pitch).repeat(len(shares) // 2, 1, 1, 1)
    reaches = ((probable, 2), (sure, 4), (sure, 2), (sure, 1))
    sizes = [(share, max(1, round(reach * radius / pitch / 2))) for share, reach in reaches]
    for some in (sizes,) if colour.numel() <= _AT_ONCE else ([each] for each in sizes):
        # Twice, so that pixels enter a window with low weights; otherwise squares would show.
        colours, weights = torch.stack([box_means(box_means(share, size), size) for share, size in some]).split((3, 1), 2)
        for mean, weight in zip(colours / weights.clamp(min=_TINY), weights / (weights + _FEW), strict=True):
            colour = torch.lerp(colour, mean, weight)
    return enlarged(colour, pitch, image.shape[-2:])


def _mixture(image: Tensor, own: Tensor, others: Tensor, mask: Tensor, inside: Tensor, radius: int) -> Tensor:
    """The matte (B, 1, H, W): by colours where foreground (`own`) and background (`others`) differ, otherwise by the mask.

    `inside` (B, 1, H, W) is 1 where the mask is at least a half.
    """
    apart, rest = ways = torch.stack((own, image)) - others
    distance, along = (ways * apart).sum(2, keepdim=True)
    share = along / distance.clamp(min=_TINY)
    smooth = box_means(mask, max(1, radius // 3))
    # Colours far from any mixture of both sides are weak evidence.
    off = torch.addcmul(rest, share.clamp(-_BEYOND, 1 + _BEYOND), apart, value=-1).square().sum(1, keepdim=True)
    trust = _APART * distance / ((distance + _APART) * (off + _APART))
    # Fades towards the ends of the band, which would otherwise show the squares of its windows.
    level = box_means(inside, radius)
    trust = trust * (_FADE * level * (1 - level)).clamp(max=1)
    return torch.lerp(smooth, share.clamp(0, 1), trust)
