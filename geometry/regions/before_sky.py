"""Finds thin objects in front of the sky, such as masts and arms, which networks miss, and gives them their objects' depth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_map
from ..edges.depth_edges import edge_radius
from ..estimate import Estimate
from ..filters.box import box_sums
from ..filters.coarse import enlarged, shrunk
from ..filters.extremes import largest_within
from .connected import opened, regions_with
from .sky import predicted_sky

# In units of `edge_radius`: distance from the sky within which thin objects are searched, and windows for the sky's colours and for
# the depth of near objects.
_BESIDE, _AROUND, _SURROUNDINGS = 2, 4, 8
# Size of edge_radius in pixels at which the surroundings are examined.
_COARSE = 6
# Minimum share of known sky around a pixel.
_LEAST_SKY = 0.05
# Minimum colour difference from the sky, absolute and in standard deviations: for cleaning the sky's colours, and for thin objects.
_SAME, _SAME_DEVIATIONS = 0.03, 2.0
_OTHER, _OTHER_DEVIATIONS = 0.06, 4.0
# Minimum nearness of objects with known depth: shares of the way from the sky to the nearest around, and in the image.
_OF_AROUND, _OF_ALL = 0.6, 0.15
# Distance in pixels up to which a near pixel belongs to the thin object.
_TOUCHING = 2
# Number of doubling search radii for the depth of thin objects, and the weight factor for each.
_STEPS, _LESS = 7, 0.2


def depth_before_sky(depth: Tensor, image: Tensor, estimate: Estimate) -> Tensor:
    """Gives thin objects in front of the sky the depth of the objects that they are connected with.

    Thin means narrower than depth edges in networks' maps. Thin objects are detected by their difference from the colours of the
    surrounding sky. Without predicted sky, depth is unchanged. The device is synchronised once; more often if the mask excludes pixels.

    Args:
        depth: (B, 1, H, W), positive and finite; the result is nowhere farther.
        image: (B, 3, H, W) in [0, 1].
        estimate: Of the images, at their size, with a mask that excludes the sky.
    """
    check_map(image, 3, "image")
    check_map(depth, 1, "depth", like=image)
    if estimate.mask is None or bool(estimate.mask.all()):  # synchronising is cheaper than searching for sky
        return depth
    sky = predicted_sky(estimate)
    # One synchronisation, whatever the number of images.
    some, only = torch.stack((sky.amax((1, 2, 3)), sky.amin((1, 2, 3)))).tolist()
    chosen = [has_sky and not is_sky for has_sky, is_sky in zip(some, only, strict=True)]
    if not any(chosen):
        return depth
    parts = zip(depth.split(1), image.split(1), sky.split(1), chosen, strict=True)
    return torch.cat([_before_sky(*each) if before else each[0] for *each, before in parts])


def alike_sky(image: Tensor, sky: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels with the colours of the sky around them, and those with enough sky around: (1, 1, H, W) bool each.

    `image` (1, 3, H, W) in [0, 1], and its sky (1, 1, H, W) bool. The device is not synchronised.
    """
    height, width = image.shape[-2:]
    _, step, unit = _lengths(height, width)
    looks = enlarged(_looks_of_sky(shrunk(image, step), shrunk(sky.to(image), step), unit), step, (height, width))
    colour, variance, known = looks[:, :3], looks[:, 3:4], looks[:, 4:]
    differs = (image - colour).square().sum(1, keepdim=True) > (_OTHER_DEVIATIONS**2 * variance).clamp(min=_OTHER**2)
    return ~differs, known > _LEAST_SKY


def _before_sky(depth: Tensor, image: Tensor, sky: Tensor) -> Tensor:
    """As `depth_before_sky`, of one image with sky and something else."""
    height, width = depth.shape[-2:]
    inverse, (radius, step, unit) = depth.reciprocal(), _lengths(height, width)
    share, near = (shrunk(each, step) for each in (sky.to(image), inverse))
    alike, known = alike_sky(image, sky)
    differs = ~alike
    beside = known & (enlarged(largest_within(share, _BESIDE * unit), step, (height, width), "nearest") > 0)
    far = (inverse * sky).sum() / sky.sum()
    # The local maximum separates an object's interior from its edge that fades into the sky.
    least = far + ((largest_within(near, _SURROUNDINGS * unit) - far) * _OF_AROUND).maximum((near.amax() - far) * _OF_ALL)
    solid = ~sky & (inverse > enlarged(least, step, (height, width), "nearest"))
    # Wide areas, such as land at the horizon, have the network's depth, and so does what slightly exceeds them.
    other = ~solid & (differs | ~beside)
    wide = largest_within(opened(other[0, 0], radius).to(image)[None, None], radius) > 0
    thin = other & beside & ~wide
    # Diagonal connections count: beams touch at corners.
    joined = largest_within((thin | solid).to(image), 1) > 0
    thin &= regions_with(joined[0, 0].cpu(), solid[0, 0].cpu()).to(thin.device)
    is_thin = thin.to(image)
    # Depth fades near an object's edge, so the maximum is taken.
    whole, owners = largest_within(inverse * solid, radius), (solid & (largest_within(is_thin, _TOUCHING) > 0)).to(image)
    sums = shrunk(torch.cat((whole * owners, owners), 1), step)
    belongs = enlarged(_spread(sums, unit), step, (height, width))
    nearer = thin | (solid & (largest_within(is_thin, radius) > 0))
    return torch.where(nearer, inverse.maximum(belongs).reciprocal_(), depth)


def land_before_sky(depth: Tensor, sky: Tensor) -> Tensor:
    """Extends the land's depth to objects in front of the sky that have the sky's depth: hair, masts, and repaired parts of a sky mask.

    `sky` are the pixels that have or may have the sky's depth: there, and where its depth exceeds its border, the result is the depth of
    the surrounding land; elsewhere, and without sky or land, `depth`. Maps (1, 1, H, W). The device is not synchronised.
    """
    height, width = depth.shape[-2:]
    inverse, is_sky, (radius, step, unit) = depth.reciprocal(), sky.to(depth), _lengths(height, width)
    beside = largest_within(is_sky, radius)
    land = 1 - beside
    sums = shrunk(torch.cat((inverse * land, land), 1), step)
    around = enlarged(_nearest(sums, unit), step, (height, width))
    of_sky = (inverse * is_sky).sum() / is_sky.sum().clamp(min=1)
    # Closer to the sky's depth than to the land's.
    reached = (beside > 0) & (inverse.square() < of_sky * around)
    return torch.where((sky | reached) & (around > 0), around.clamp(min=1e-12).reciprocal_(), depth)


def _lengths(height: int, width: int) -> tuple[int, int, int]:
    """The unit of all lengths in pixels, the downsampling factor, and the unit in downsampled pixels."""
    radius = edge_radius(height, width)
    step = max(1, radius // _COARSE)
    return radius, step, max(1, round(radius / step))


def _looks_of_sky(image: Tensor, sky: Tensor, unit: int) -> Tensor:
    """(1, 5, h, w): the sky's mean colour around each pixel, its colour variance, and its share of the window."""
    weight, size = sky, _AROUND * unit
    colour, variance, count = image, torch.full_like(sky, math.inf), sky
    for _ in range(3):  # excluding objects within the sky's mask
        near_mean = (image - colour).square().sum(1, keepdim=True) <= (_SAME_DEVIATIONS**2 * variance).clamp(min=_SAME**2)
        weight = sky * near_mean
        sums = box_sums(torch.cat((weight, image * weight, image.square() * weight), 1), size)
        count, mean, square = sums[:, :1], sums[:, 1:4], sums[:, 4:]
        colour = mean / count.clamp(min=1e-3)
        variance = (square / count.clamp(min=1e-3) - colour.square()).clamp(min=0).sum(1, keepdim=True)
    return torch.cat((colour, variance, count / (2 * size + 1) ** 2), 1)


def _spread(sums: Tensor, unit: int) -> Tensor:
    """Means of weighted values and weights (1, 2, h, w) around every pixel, weighted less with distance (in `unit` pixels); 0 far off."""
    total, less = torch.zeros_like(sums), 1.0
    for step in range(_STEPS):
        total, less = total + box_sums(sums, unit * 2**step) * less, less * _LESS
    return total[:, :1] / total[:, 1:].clamp(min=1e-12)


def _nearest(sums: Tensor, unit: int) -> Tensor:
    """`_spread` of the nearest values only: a larger window counts where a smaller one holds less than a square of `unit`."""
    mean = torch.zeros_like(sums[:, :1])
    for step in reversed(range(_STEPS)):
        values, weights = box_sums(sums, unit * 2**step).split(1, 1)
        mean = torch.lerp(mean, values / weights.clamp(min=1e-12), (weights / unit**2).clamp(max=1))
    return mean
