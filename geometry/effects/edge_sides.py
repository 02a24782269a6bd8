"""Depth and normals beside soft silhouettes: each pixel gets the depth and normals of the object that its colour belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...utils import constant, unit_vectors
from ..edges.depth_edges import EDGE, colour_means
from ..edges.stretches import share_above, shares_above
from ..filters.box import box_means
from ..filters.chosen_pixels import ChosenPixels
from ..filters.coarse import enlarged, middles_of
from ..filters.extremes import extremes_around
from ..filters.guided_filter import fit_of_means
from .softness import Softness, pitch_and_reach, pitch_of

# Reach of colour comparison in edge radii; weight of colours beside a step, where depth edges and image edges may be misaligned.
_COLOURS, _UNSURE = 3, 0.2
# If colours explain the sides only in part, the computed share of the near object spans less than 0 to 1. It is stretched by the inverse of
# the explained part to this power, limited to _MOST_STRETCHED.
_STRETCHED, _MOST_STRETCHED = 3, 3.0
# Weights of the far object's normals: exponent of the distance from ramps, and the weight where depth is hardly mixed.
_OUTSIDE, _HARDLY_MIXED = 4, 0.01
# Depth is on a ramp if it differs from its stepped value, or does so in the local mean, by this share of the step.
_RAMP = 0.1
# Maximum share of the far object that is subtracted from the near object's normals. At one half, the rest and its error double in length.
_MOST_MIXED = 0.5
# Relative distance from a silhouette's middle, in depth, within which both sides are blended, as lighting amplifies rounding.
_OVER = 0.003
# Smaller shares of a ramp are rounding errors.
_ROUNDING = 0.01
_TINY = 1e-6


@dataclass(frozen=True)
class EdgeSides:
    """The near and the far object at pixels beside silhouettes.

    Attributes:
        pixels: The N pixels beside silhouettes.
        near: (1, N) in [0, 1], the share of the near object in each pixel, by its colour and by the near surface around it.
        ends: (1, 3, h, w), smaller than the image: inverse depth of the far and of the near object, and the square of a value between them
            that separates both.
    """

    pixels: ChosenPixels
    near: Tensor
    ends: Tensor

    def check(self, depth: Tensor) -> None:
        """Raises ValueError for depth of several images, another size or another device."""
        height, width = self.pixels.size
        if depth.shape != (1, 1, height, width) or depth.device != self.near.device:
            problem = f"depth is {tuple(depth.shape)} on {depth.device}"
            raise ValueError(f"{problem}; edges are those of one image, (1, 1, {height}, {width}) on {self.near.device}")

    def depth(self, stepped: Tensor) -> Tensor:
        """Stepped depth (1, 1, H, W) with soft steps along the image's edges, for light that falls off with distance."""
        low, high, middle = self.pixels.sample_vectors(self.ends, pitch_of(*stepped.shape[-2:])).split(1)
        here = self.pixels.take_vectors(stepped).reciprocal()
        is_near = _nearness(here, middle)
        inverse = here.lerp(low, is_near).lerp_(high.lerp(here, is_near), self.near)
        return self.pixels.put_vectors(stepped, inverse.reciprocal_())

    def shadow(self, hidden: Tensor, depth: Tensor) -> Tensor:
        """Shadows (1, lamps, H, W) whose edges at silhouettes follow the image's colours instead of the depth (1, 1, H, W)."""
        dtype, hidden, depth, lamps = hidden.dtype, hidden.float(), depth.float(), hidden.shape[1]
        pitch, reach = pitch_and_reach(*depth.shape[-2:])
        middle = self.ends[:, 2:]
        small, inverse = middles_of(hidden, pitch), middles_of(depth, pitch).reciprocal()
        near = _nearness(inverse, middle)
        both = torch.cat((1 - near, near))
        means = box_means(box_means(torch.cat((small * both, both), 1), reach), reach)
        sides = (means[:, :-1] / means[:, -1:].clamp(min=_TINY)).clamp_(0, 1).split(1)
        on_far, on_near, middle = self.pixels.sample_vectors(torch.cat((*sides, middle), 1), pitch).split((lamps, lamps, 1))
        here, inverse = self.pixels.take_vectors(hidden), self.pixels.take_vectors(depth).reciprocal()
        is_near = _nearness(inverse, middle)
        own = here.lerp(on_far, is_near).lerp_(on_near.lerp(here, is_near), self.near)
        return self.pixels.put_vectors(hidden, own).to(dtype)


def edge_sides(
    image: Tensor, normals: Tensor, soft: Tensor, stepped: Tensor, outside: Tensor, softness: Softness
) -> tuple[EdgeSides, Tensor]:
    """Finds both objects beside silhouettes, on smaller maps, and the normals of the object that each pixel shows.

    A network's normals interpolate between objects. The far object's normals are taken from farther away from the edge. The near object's
    surface turns away at its silhouette, so its normals there are its own, minus the far object's share.

    Args:
        image: (1, 3, H, W) in [0, 1].
        normals: (1, 3, H, W) unit vectors.
        soft: (1, 1, H, W), a network's inverse depth, positive and finite.
        stepped: (1, 1, H, W), the same inverse depth with sharpened edges.
        outside: (1, 1, h, w) in [0, 1], one value per square of `pitch_of` pixels: 1 outside ramps. Depth with true steps has no ramps.
        softness: How far the normals are changed (`whole`), and how edges were refined.

    Returns:
        Both objects, and normals (1, 3, H, W).
    """
    pitch, reach = pitch_and_reach(*image.shape[-2:])
    colours, own, soft, inverse = (middles_of(each, pitch) for each in (image, normals, soft, stepped))
    (low, high), (least, most) = extremes_around(inverse, reach, 2 * reach)
    middle = least * most
    ratios = torch.cat((inverse * inverse, most, high)) / torch.cat((middle, least, low))
    near, beside, at_edges = shares_above(ratios, (1, _OVER), (EDGE, _OVER), (EDGE, _OVER)).split(1)
    sure = torch.addcmul(beside, beside, at_edges, value=_UNSURE - 1)
    means, weights = colour_means(colours, near, sure, _COLOURS * reach)
    slope, start = fit_of_means(means, 1).split((3, 1), 1)
    # The share of the variance of `near` that colours leave unexplained.
    off = (slope * colours).sum(1, keepdim=True).add_(start).sub_(near)
    left, mean = box_means(off * off * sure, _COLOURS * reach) / weights, means[:, :1]
    unknown = (left / torch.addcmul(mean, mean, mean, value=-1).clamp_(min=_TINY)).clamp_(0, 1)
    # The far object's depth needs a wide window: inside the near object, a narrow one finds only the near object's own bend. Where edges of
    # normals were refined and softened again, they are mixed farther inside than the depth.
    off, step = (soft - inverse).abs_(), (high - torch.lerp(least, low, softness.added)).clamp_(min=_TINY)
    one, half = constant(inverse, 1.0), constant(inverse, 0.5)
    hardly = torch.addcdiv(one, off, (most - least).clamp_(min=_TINY / _RAMP), value=-1 / _RAMP).clamp_(min=0)
    weight = torch.add(outside**_OUTSIDE, hardly, alpha=_HARDLY_MIXED).add_(_TINY)
    weight = torch.addcmul(weight, weight, near, value=-1)
    around, moved, far = box_means(torch.cat((near, off, own * weight), 1), reach).split((1, 1, 3), 1)
    start = torch.lerp(near, torch.addcmul(start, unknown, around - 0.5), at_edges)
    contrast = ((1 - unknown) ** -_STRETCHED).clamp_(max=_MOST_STRETCHED)
    moved = (moved / step).clamp_(max=_RAMP)
    mixed = box_means(((high - soft) / step).clamp(0, _MOST_MIXED) * moved, max(1, reach // 2))
    far = unit_vectors(box_means(far, reach))
    ramp = torch.addcmul(beside, beside, outside, value=-1)
    pixels = ChosenPixels(enlarged(ramp, pitch, image.shape[-2:], mode="nearest") > _ROUNDING)
    small = torch.cat((slope * at_edges, start - half, contrast, mixed, far, ramp), 1)
    slope, start, contrast, mixed, far, ramp = pixels.sample_vectors(small, pitch).split((3, 1, 1, 1, 3, 1))
    near = torch.addcmul(half, (slope * pixels.take_vectors(image)).sum(0, keepdim=True).add_(start), contrast).clamp_(0, 1)
    own = pixels.take_vectors(normals)
    far = torch.lerp(own, far, ramp)
    turned = torch.lerp(far, unit_vectors(torch.addcmul(own, mixed * near, far, value=-1 / _RAMP)[None])[0], near)
    normals = pixels.put_vectors(normals, torch.lerp(own, turned, softness.whole))
    return EdgeSides(pixels, near, torch.cat((low, high, middle), 1)), normals


def _nearness(inverse: Tensor, middle: Tensor) -> Tensor:
    """1 for inverse depth of the near object beside a silhouette, 0 for the far one; `middle` is the square of the value between them."""
    return share_above(inverse * inverse / middle, 1, _OVER)
