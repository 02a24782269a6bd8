"""Decides where the sky is in a photograph: `sky_alpha` is what all use that treat the sky apart.

A network that tells the sky, or by a mask that is True everywhere that there is none, is believed; one that is unsure has to decide by
itself, as `annotators.tiny` does. Without a mask the sky is looked for in the image and its depth together.
Networks that were not trained to tell the sky make it the farthest thing of the image, but rarely one constant value. A wall behind a
person looks the same to them, so depth alone does not tell. Depth and image together give three signs: the top border is far; what is
far there is brighter or bluer than the rest, and less finely drawn; and the bottom border is near, as is the ground in front of a camera.

`assumptions.assumed_depth` has no image when it chooses how deep a scene is, so it sees only a sky of one constant farthest value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import in_float32, resize_map
from ..checks import check_image_of, check_map
from ..estimate import Estimate, Quantity
from ..levels import FAR_AND_NEAR_END, ROUNDING, are_apart, depth_to_nearness, measure_range_of_samples
from .sky_matte import sky_matte

# What is far, as a share of the way from the far end to the near end. It and the signs were chosen on the photographs of training/sky.tsv.
_FAR = 0.12
_TOP_IS_FAR = 0.5
_BRIGHTER = BLUER = 0.1
# A sky is blue, or as bright as cloud and haze are exposed to be, and then no warmer than this: walls are as much brighter than floors.
BLUE, BRIGHT, WARM = 0.05, 0.75, 0.1
# No sky is this much greener than both red and blue, but walls and meadows are.
GREEN = 0.04
_UPPER = 4
# Metres: what is nearer is a wall. Networks for rooms put the sky beyond it, too.
_NEAREST_SKY = 8.0
_BOTTOM_IS_NEAR = 0.85
_BORDER = 1 / 64
# The signs are looked for in every n-th pixel, about so many along the longer side.
_LOOKED_AT = 512
# What is as finely drawn as the rest, by this share, is no sky: shelves, leaves, houses.
_AS_FINE, _PLAIN = 0.85, 0.02
# From where to where what is far becomes sky: shares as _FAR, and, where depth is metric, shares of the sky's own depth.
_SOFT, _SOFT_METRIC = (0.25, 0.06), (0.4, 0.8)
# The same for what may be sky although a network says that it is none.
_MAY_BE_SKY = (0.6, 0.3)


@in_float32
def sky_alpha(image: Tensor, estimate: Estimate, predicted: Tensor | None = None) -> Tensor:
    """The sky as a matte, whose border follows the image: for what blends. What needs a mask takes `sky_alpha(...) > 0.5`.

    Where the network tells its sky (`predicted_sky`), or masks nothing, it is believed; else `find_sky` decides.

    Args:
        image: (B, 3, H, W) RGB in [0, 1], the photograph at its full size.
        estimate: Of the images, with depth of any quantity, at any size.
        predicted: Its `predicted_sky`, where that is known already.

    Returns:
        (B, 1, H, W) in [0, 1], each pixel's share of sky; 0 in an image without sky.

    Raises:
        ValueError: No depth, or an image of another batch.
    """
    estimate.known_depth()
    check_image_of(image, estimate.batch, estimate.height, estimate.width)
    height, width = image.shape[-2:]
    if predicted is None:
        if masks_nothing(estimate):
            return image.new_zeros(len(image), 1, height, width)
        predicted = predicted_sky(estimate)
    share, tells = predicted.to(image), _tells_sky(estimate, predicted)
    all_tell, has_sky = torch.stack((tells.all(), predicted.any())).tolist()
    if not all_tell:
        # of network size: no finer than what it looks at, and the matte below puts the border where the image has it
        share_by_image = sky_share(resize_map(image, estimate.height, estimate.width).clamp(0, 1), estimate).to(image)
        share = torch.where(tells.view(-1, 1, 1, 1), share, share_by_image)
        has_sky = bool(share.any())
    if not has_sky:
        return image.new_zeros(len(image), 1, height, width)
    coarse = resize_map(share, height, width).clamp(0, 1)
    near, known = _share_of_nearness(estimate)
    far = torch.where(known, _ramp(near, _MAY_BE_SKY), 1).to(image)
    return torch.cat([sky_matte(*maps) for maps in zip(image.split(1), coarse.split(1), far.split(1), strict=True)])


NO_SKY = "no sky found"
"""What says the result of a search for the sky that found none."""


def describe_sky(share: Tensor) -> str:
    """The sky of one image in words, e.g. "sky: 31 % of the image", empty where there is none; `share` is each pixel's."""
    mean = float(share.float().mean())
    if mean == 0:
        return ""
    return f"sky: {'less than 1' if mean < 0.01 else format(100 * mean, '.0f')} % of the image"


def masks_nothing(estimate: Estimate) -> bool:
    """Whether there is a mask that leaves out nothing, and no hole: so networks say that there is no sky. Synchronises the device."""
    return estimate.mask is not None and bool(estimate.known_depth()[2].all())


def _tells_sky(estimate: Estimate, predicted: Tensor) -> Tensor:
    """(B,) bool: whether the network said what is sky: it masks nothing, or what is masked is `predicted`, as far as anything gets.

    A mask of holes alone, as of a depth camera, says nothing of the sky.
    """
    if estimate.mask is None:
        return torch.zeros(estimate.batch, dtype=torch.bool, device=estimate.device)
    return estimate.mask.flatten(1).all(1) | predicted.flatten(1).any(1)


def find_sky(image: Tensor, estimate: Estimate) -> Tensor:
    """Finds the sky.

    A guess from these signs, for estimates whose network does not predict the sky: `python -m training.sky` prints how often it is
    right. Night skies, red ones and skies as dark as the ground are missed; a white or blue wall behind near things can pass for sky
    where depth is not metric.

    Args:
        image: (B, 3, H, W) RGB in [0, 1], of the estimate's size.
        estimate: With depth, of any quantity.

    Returns:
        (B, 1, H, W) bool; nowhere True in an image that seems to show no sky, or where the depth has no value.

    Raises:
        ValueError: No depth, or an image of another batch or size.
    """
    depth, quantity, _ = estimate.known_depth()
    check_map(image, 3, "image", like=depth)
    share, valid = _share_of_nearness(estimate)
    far = valid & (share < _FAR)
    step = max(1, max(far.shape[-2:]) // _LOOKED_AT)
    shown = _shows_sky(*(each[..., ::step, ::step] for each in (image, share, valid, far)))
    if quantity is Quantity.METRIC_DEPTH:
        shown &= _mean(depth, far) > _NEAREST_SKY
    return far & shown.view(-1, 1, 1, 1)


def _shows_sky(image: Tensor, share: Tensor, valid: Tensor, far: Tensor) -> Tensor:
    """(B,) bool: whether an image has all the signs, of its share of nearness, where that is known, and what is far."""
    brightness, blueness = image.mean(1, keepdim=True), image[:, 2:] - image[:, :1]
    rows = max(1, round(far.shape[-2] * _BORDER))
    # Down each column, what is far without a break from the top border on.
    from_top = far.int().cumprod(2).bool()
    brighter, bluer = (_mean(each, from_top) - _mean(each, ~from_top) for each in (brightness, blueness))
    # Of the upper part alone: below, what is far may be land.
    upper = slice(0, max(rows, far.shape[-2] // _UPPER))
    bright, blue = (_mean(each[:, :, upper], from_top[:, :, upper]) for each in (brightness, blueness))
    is_blue, is_pale = (bluer > BLUER) & (blue > BLUE), (brighter > _BRIGHTER) & (bright > BRIGHT) & (blue > -WARM)
    detail = fineness(brightness, from_top)
    top, bottom = far[:, :, :rows], share[:, :, -rows:]
    return (
        (top.float().mean((1, 2, 3)) > _TOP_IS_FAR)
        & (is_blue | is_pale)
        & ~looks_green(image, from_top)
        & (_mean(detail, from_top) < _AS_FINE * _mean(detail, ~from_top).clamp(min=_PLAIN))
        & (_mean(bottom, valid[:, :, -rows:]) > _BOTTOM_IS_NEAR)
    )


def looks_blue(image: Tensor, region: Tensor) -> Tensor:
    """Whether a region is blue, and bluer than the rest of its image, as a clear sky is, by day and at dusk.

    Args:
        image: (B, 3, H, W) RGB in [0, 1].
        region: (B, 1, H, W) bool.

    Returns:
        (B,) bool; False where the region is empty, or there is no rest.
    """
    blueness = image[:, 2:] - image[:, :1]
    blue = _mean(blueness, region)
    return (blue > BLUE) & (blue - _mean(blueness, ~region) > BLUER) & ~region.flatten(1).all(1)


def looks_green(image: Tensor, region: Tensor) -> Tensor:
    """Whether a region is as green as walls and meadows are and no sky is; arguments and result as of `looks_blue`."""
    red, green, blue = image.split(1, 1)
    return _mean(green - torch.maximum(red, blue), region) > GREEN


def coloured_as_sky(image: Tensor) -> Tensor:
    """Which pixels of an image (B, 3, H, W) in [0, 1] are blue, or as pale as cloud and haze: (B, 1, H, W) bool."""
    blueness = image[:, 2:] - image[:, :1]
    return (blueness > BLUE) | ((image.mean(1, keepdim=True) > BRIGHT) & (blueness > -WARM))


def sky_share(image: Tensor, estimate: Estimate) -> Tensor:
    """Each pixel's share of the sky that `find_sky` finds: a soft mask.

    Args:
        image: As `find_sky`.
        estimate: As `find_sky`; with steps of depth made sharp there is no rim of half-far values around near things.

    Returns:
        (B, 1, H, W) in [0, 1]; 0 in an image without sky.

    Raises:
        ValueError: As `find_sky`.
    """
    sky = find_sky(image, estimate)
    depth, quantity, valid = estimate.known_depth()
    if quantity is Quantity.METRIC_DEPTH:
        # The mean of what is found, weighted towards the farthest.
        level = _mean(depth.square(), sky) / _mean(depth, sky).clamp(min=1e-6)
        ends, share = _SOFT_METRIC, depth / level.clamp(min=1e-6).view(-1, 1, 1, 1)
    else:
        ends, (share, _) = _SOFT, _share_of_nearness(estimate)
    ramp = _ramp(share, ends)
    shown = sky.flatten(1).any(1).view(-1, 1, 1, 1) & valid
    return torch.where(shown, ramp * ramp * (3 - 2 * ramp), 0)


def _ramp(values: Tensor, ends: tuple[float, float]) -> Tensor:
    """0 at one value, 1 at the other."""
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def predicted_sky(estimate: Estimate) -> Tensor:
    """The sky predicted by the network: masked pixels at the greatest distance. Other holes have no value, or are nearer.

    Args:
        estimate: With depth, of any quantity.

    Returns:
        (B, 1, H, W) bool; in an image that is masked everywhere, all that has a value.

    Raises:
        ValueError: No depth.
    """
    depth, quantity, valid = estimate.known_depth()
    if estimate.mask is None:
        return torch.zeros_like(valid)
    near = depth if quantity is Quantity.DISPARITY else -depth
    far_end, _ = measure_range_of_samples(near, valid, FAR_AND_NEAR_END)
    farthest = torch.where(valid, near, torch.inf).amin((1, 2, 3), keepdim=True)
    end = torch.where(torch.isfinite(far_end), far_end, farthest)
    predicted = ~estimate.mask & (near <= end + ROUNDING * end.abs())
    return predicted & (depth > 0) if quantity is Quantity.METRIC_DEPTH else predicted


def fineness(brightness: Tensor, side: Tensor) -> Tensor:
    """The difference of each pixel from the pixels to its right and below that are on its side.

    Args:
        brightness: (B, 1, H, W).
        side: (B, 1, H, W) bool, which of two sides each pixel is on.

    Returns:
        (B, 1, H, W), 0 and more.
    """
    differences = torch.zeros_like(brightness)
    for axis in (2, 3):
        length = brightness.shape[axis] - 1
        same = side.narrow(axis, 0, length) == side.narrow(axis, 1, length)
        differences.narrow(axis, 0, length).add_(brightness.diff(dim=axis).abs() * same)
    return differences


def _share_of_nearness(estimate: Estimate) -> tuple[Tensor, Tensor]:
    """Nearness, 0 at the far end of each image and 1 at its near end, and where it is known."""
    depth, quantity, valid = estimate.known_depth()
    near = depth_to_nearness(torch.where(valid, depth, 1), quantity, as_disparity=quantity is Quantity.METRIC_DEPTH)
    far_end, near_end = measure_range_of_samples(near, valid, FAR_AND_NEAR_END)
    apart = are_apart(far_end, near_end)
    return (near - far_end) / torch.where(apart, near_end - far_end, 1), valid & apart


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """(B,) mean of each image's values there; 0 where there are none."""
    return torch.where(where, values, 0).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1)
