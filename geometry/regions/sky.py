"""Finds the sky in photographs. Everything that treats the sky separately uses `sky_alpha`.

A network that predicts the sky, or predicts by a mask that is True everywhere that there is none, is believed; uncertainty has to be
resolved in the network's own code, as in `annotators.tiny`. Otherwise the sky is found from image and depth together.

Networks that were not trained to predict the sky put it farthest away, but rarely at one constant value. Depth alone does not suffice, as
a wall behind a person looks the same. Image and depth together give three signs: the top border is far; the far region there is brighter
or bluer than the rest, and has less texture; and the bottom border is near, like the ground in front of a camera.

`assumptions.assumed_depth` has no image, so it only recognises a sky of one constant farthest value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...utils import constant, in_float32, joined, resize_map
from ..checks import check_image_of, check_map
from ..edges.matting import separated
from ..estimate import Estimate, Quantity
from ..filters.box import box_means
from ..filters.guided_filter import mask_at_image_edges
from ..kinds import ZERO_AT_CAMERA
from ..levels import FAR_AND_NEAR_END, ROUNDING, are_apart, depth_to_nearness, measure_range_of_samples
from ..valid import are_finite

# A network's largest error at the sky's border, in percent of the longer side.
_REACH = 1.0
# Longer side in pixels at which the matte is computed; the border is then refined at a larger image's full size.
_MATTED = 720
# Where the image shows no border of the sky, the sky fades out over this share of the longer side. Longer side at which this is computed.
_FADED_OVER, _FADED = 0.06, 256
# The image shows no border where the mean colours of both sides are similar. Differences are similar at a scale of twice the deviation of
# the sky's colours beside the border, at least _PLAIN_COLOUR and at most _ALIKE. Colours around are similar to the sky's at _OF_SKY.
_PLAIN_COLOUR, _ALIKE, _OF_SKY = 0.02, 0.08, 0.12
# Weight of visible parts of the border relative to invisible ones, and the exponent by which the matte is replaced near the latter.
_SHOWN, _YIELDING = 0.1, 3
_TINY = 1e-6


def sky_matte(image: Tensor, coarse: Tensor, far: Tensor) -> Tensor:
    """Moves the border of a coarse sky mask to the image's edges; fades it where the image shows none.

    `coarse`, which has some sky, and the result are (1, 1, H, W) in [0, 1]; `far` (1, 1, h, w), of any size, is 0 where depth is too near.
    """
    height, width = image.shape[-2:]
    share = _MATTED / max(height, width)
    if share >= 1:
        return _faded(_matte(image, coarse), image, far)
    # Matting time grows with the border's width, so with the cube of the side length.
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    alpha = _matte(resize_map(image, rows, columns), resize_map(coarse, rows, columns))
    return _faded(mask_at_image_edges(resize_map(alpha, height, width).clamp(0, 1), image, math.ceil(2 / share)), image, far)


def _matte(image: Tensor, coarse: Tensor) -> Tensor:
    radius = round(max(image.shape[-2:]) * _REACH / 100)
    return separated(image, coarse, radius)[0] if radius else coarse


def _faded(alpha: Tensor, image: Tensor, far: Tensor) -> Tensor:
    """Fades a matte where its border crosses an even sky, as where a network is uncertain: a sharp border would be visible there."""
    height, width = image.shape[-2:]
    scale = min(1, _FADED / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small, sky = resize_map(image, *size), (resize_map(alpha, *size) > 0.5).to(image)
    beside, reach = (max(1, round(share * max(size))) for share in (_REACH / 100, _FADED_OVER))
    whole = torch.cat((small, small.square(), constant(sky, 1.0).expand_as(sky)), 1)
    of_sky = whole * sky
    sums, all_sums = box_means(torch.cat((of_sky, whole), 1), beside).chunk(2, 1)
    sides = torch.cat((sums, all_sums - sums))
    border = torch.minimum(*sides[:, 6:].chunk(2)).gt_(_TINY)
    (mean, other), (square, _) = (each.chunk(2) for each in _divided(sides).split(3, 1))
    variance, apart = (each.sum(1, keepdim=True) for each in ((square - mean.square()).clamp(min=0), (mean - other).square()))
    looks = _divided(box_means(torch.cat((of_sky[:, :3], sky), 1), 2 * reach))
    like = _like(small, looks)
    alike = border * like / (1 + (apart / (4 * variance + _PLAIN_COLOUR**2).clamp(max=_ALIKE**2)).square())
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
    return (1 + (image - looks).square().sum(1, keepdim=True) / _OF_SKY**2).square().reciprocal()


# All thresholds were chosen on the photographs in training/sky.tsv. Nearness is 0 at a scene's far end and 1 at its near end.
# Largest nearness of the sky.
_FAR = 0.12
# Least share of the top border that is far.
_TOP_IS_FAR = 0.5
# Least difference between sky and the rest in brightness (the mean of RGB), or in blueness (B - R).
_BRIGHTER = BLUER = 0.1
# A sky has at least the blueness BLUE, or at least the brightness BRIGHT of clouds and haze and then at least the blueness -WARM: walls
# may be as much brighter than floors, but are warmer.
BLUE, BRIGHT, WARM = 0.05, 0.75, 0.1
# Walls and meadows may be this much greener than both red and blue, but no sky is.
GREEN = 0.04
# Brightness and blueness are measured in the upper part of the image: height divided by this.
_UPPER = 4
# Least mean depth of the sky in metres. Nearer regions are walls; networks for rooms put the sky beyond it, too.
_NEAREST_SKY = 8.0
# Least mean nearness of the bottom border.
_BOTTOM_IS_NEAR = 0.85
# Width of the top and bottom border, as a share of the height.
_BORDER = 1 / 64
# Number of pixels along the longer side, roughly, at which the signs are evaluated.
_LOOKED_AT = 512
# Texture of the sky relative to the rest: less than this share, as shelves, leaves and houses have more. The least texture of the rest.
_AS_FINE, _PLAIN = 0.85, 0.02
# Soft masks: where the sky's share is 0, and 1. In nearness; and in depth as a share of the sky's depth, if depth is metric.
_SOFT, _SOFT_METRIC = (0.25, 0.06), (0.4, 0.8)
# Nearness where pixels outside a predicted sky surely are not sky, and where they may be.
_MAY_BE_SKY = (0.6, 0.3)


@in_float32
def sky_alpha(image: Tensor, estimate: Estimate, predicted: Tensor | None = None) -> Tensor:
    """An alpha matte (B, 1, H, W) in [0, 1] of the sky, whose border follows the image; 0 without sky. `sky_alpha(...) > 0.5` is a mask.

    Uses the network's sky (`predicted_sky`) if it predicts one, or none if its mask is True everywhere; otherwise `find_sky`. Raises
    ValueError: no depth, or an image of another batch.

    Args:
        image: (B, 3, H, W) RGB in [0, 1], the photograph at its full size.
        estimate: Estimate of the images, with depth of any quantity, at any size.
        predicted: The estimate's `predicted_sky`, if computed already.
    """
    known = estimate.known_depth()
    check_image_of(image, estimate.batch, estimate.height, estimate.width)
    height, width = image.shape[-2:]
    if predicted is None:
        if estimate.mask is not None and bool(known[2].all()):  # the network predicts that there is no sky
            return image.new_zeros(len(image), 1, height, width)
        predicted = predicted_sky(estimate, known)
    share, tells = predicted.to(image), _tells_sky(estimate, predicted)
    all_tell, *has_sky = torch.cat((tells.all()[None], predicted.flatten(1).any(1))).tolist()
    if not all_tell:
        # At the network's size, the resolution of its depth; the matte below aligns the border with the image.
        share_by_image = sky_share(resize_map(image, estimate.height, estimate.width).clamp(0, 1), estimate).to(image)
        share = torch.where(tells.view(-1, 1, 1, 1), share, share_by_image)
        has_sky = share.flatten(1).any(1).tolist()
    if not any(has_sky):
        return image.new_zeros(len(image), 1, height, width)
    coarse = resize_map(share, height, width).clamp(0, 1)
    near, has_near = _share_of_nearness(estimate, known)
    far = torch.where(has_near, _ramp(near, _MAY_BE_SKY), constant(near, 1.0)).to(image)
    images = zip(image.split(1), coarse.split(1), far.split(1), has_sky, strict=True)
    return joined([sky_matte(*maps) if some else maps[1] for *maps, some in images])


NO_SKY = "no sky found"
"""Message for an image without sky."""


def describe_sky(mean: float) -> str:
    """The area of the sky in words, e.g. "sky: 31 % of the image"; empty without sky. `mean` is that of the `sky_alpha`."""
    if mean == 0:
        return ""
    return "sky: less than 1 % of the image" if mean < 0.01 else f"sky: {100 * mean:.0f} % of the image"


def _tells_sky(estimate: Estimate, predicted: Tensor) -> Tensor:
    """(B,) bool: whether the network predicts the sky, or that there is none: its mask is True everywhere, or `predicted` is not empty.

    A mask of other holes, such as a depth camera's, predicts nothing about the sky.
    """
    if estimate.mask is None:
        return torch.zeros(estimate.batch, dtype=torch.bool, device=estimate.device)
    return estimate.mask.flatten(1).all(1) | predicted.flatten(1).any(1)


def find_sky(image: Tensor, estimate: Estimate) -> Tensor:
    """Finds the sky from image and depth, for networks that do not predict it: (B, 1, H, W) bool; False at invalid depth.

    It is a guess from the signs above; `python -m training.sky` prints how often it is right. Night skies, red skies and skies as dark as
    the ground are missed. Unless depth is metric, a white or blue wall behind near objects may be taken for sky. The image (B, 3, H, W) RGB
    in [0, 1] is of the estimate's size. Raises ValueError: no depth, or an image of another batch or size.
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
    """(B,) bool: whether images show all signs of a sky. `share` is nearness from 0 (far end) to 1, known where `valid`."""
    brightness, blueness = image.mean(1, keepdim=True), image[:, 2:] - image[:, :1]
    rows = max(1, round(far.shape[-2] * _BORDER))
    # In each column, the far pixels that are connected to the top border.
    from_top = far.int().cumprod(2).bool()
    brighter, bluer = (_mean(each, from_top) - _mean(each, ~from_top) for each in (brightness, blueness))
    # In the upper part only, as far pixels below it may be land.
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
    """(B,) bool: whether a region (B, 1, H, W) is blue, and bluer than the rest, like a clear sky; False without a region or a rest."""
    blueness = image[:, 2:] - image[:, :1]
    blue = _mean(blueness, region)
    return (blue > BLUE) & (blue - _mean(blueness, ~region) > BLUER) & ~region.flatten(1).all(1)


def looks_green(image: Tensor, region: Tensor) -> Tensor:
    """Whether a region is greener than any sky, like meadows and some walls; arguments and result as in `looks_blue`."""
    red, green, blue = image.split(1, 1)
    return _mean(green - torch.maximum(red, blue), region) > GREEN


def coloured_as_sky(image: Tensor) -> Tensor:
    """The pixels of an image (B, 3, H, W) in [0, 1] that are blue, or pale like clouds and haze: (B, 1, H, W) bool."""
    blueness = image[:, 2:] - image[:, :1]
    return (blueness > BLUE) | ((image.mean(1, keepdim=True) > BRIGHT) & (blueness > -WARM))


def sky_share(image: Tensor, estimate: Estimate) -> Tensor:
    """A soft mask (B, 1, H, W) in [0, 1] of the sky that `find_sky` finds; arguments and errors as of it.

    The estimate's sharpened depth edges avoid a rim of intermediate values around near objects.
    """
    sky = find_sky(image, estimate)
    depth, quantity, valid = estimate.known_depth()
    if quantity in ZERO_AT_CAMERA:
        # The sky's mean depth, weighted by depth.
        level = _mean(depth.square(), sky) / _mean(depth, sky).clamp(min=1e-6)
        ends, share = _SOFT_METRIC, depth / level.clamp(min=1e-6).view(-1, 1, 1, 1)
    else:
        ends, (share, _) = _SOFT, _share_of_nearness(estimate)
    ramp = _ramp(share, ends)
    shown = sky.flatten(1).any(1).view(-1, 1, 1, 1) & valid
    return torch.where(shown, ramp * ramp * (3 - 2 * ramp), 0)


def _ramp(values: Tensor, ends: tuple[float, float]) -> Tensor:
    """A linear ramp from 0 at `ends[0]` to 1 at `ends[1]`, clamped."""
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def predicted_sky(estimate: Estimate, known_depth: tuple[Tensor, Quantity, Tensor] | None = None) -> Tensor:
    """The sky (B, 1, H, W) bool predicted by the network: masked pixels at the far end of the depth range. Other holes are NaN or nearer.

    False without a mask. In an image that is masked everywhere, all pixels with a depth. `known_depth` is the result of the
    estimate's method, if computed already. Raises ValueError: no depth.
    """
    depth, quantity, valid = known_depth or estimate.known_depth()
    if estimate.mask is None:
        return torch.zeros_like(valid)
    near = depth if quantity is Quantity.DISPARITY else -depth
    far_end, _ = measure_range_of_samples(near, valid, FAR_AND_NEAR_END)
    farthest = torch.where(valid, near, constant(near, torch.inf)).amin((1, 2, 3), keepdim=True)
    end = torch.where(are_finite(far_end), far_end, farthest)
    predicted = ~estimate.mask & (near <= end + ROUNDING * end.abs())
    return predicted & (depth > 0) if quantity in ZERO_AT_CAMERA else predicted


def fineness(brightness: Tensor, side: Tensor) -> Tensor:
    """Local texture: each pixel's summed absolute differences to its right and lower neighbours in the same of two regions (`side`)."""
    differences = torch.zeros_like(brightness)
    for axis in (2, 3):
        length = brightness.shape[axis] - 1
        same = side.narrow(axis, 0, length) == side.narrow(axis, 1, length)
        differences.narrow(axis, 0, length).add_(brightness.diff(dim=axis).abs() * same)
    return differences


def _share_of_nearness(estimate: Estimate, known_depth: tuple[Tensor, Quantity, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Nearness (B, 1, H, W), 0 at the far end of each image and 1 at its near end, and where it is known (B, 1, H, W) bool.

    The ends are percentiles, so some values lie outside [0, 1]. `known_depth` as in `predicted_sky`.
    """
    depth, quantity, valid = known_depth or estimate.known_depth()
    near = depth_to_nearness(torch.where(valid, depth, constant(depth, 1.0)), quantity, quantity in ZERO_AT_CAMERA)
    far_end, near_end = measure_range_of_samples(near, valid, FAR_AND_NEAR_END)
    apart = are_apart(far_end, near_end)
    return (near - far_end) / torch.where(apart, near_end - far_end, constant(near, 1.0)), valid & apart


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """(B,) mean of each image's values where `where` is True; 0 if it is nowhere."""
    return torch.where(where, values, 0).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1)
