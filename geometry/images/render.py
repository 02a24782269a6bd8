"""Renders depth and normals as images, and errors as colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.map_images import COLOUR_MAPS, FIXED, INFERNO, NEAR, NORMALISATIONS, PER_CLIP, PER_IMAGE, RUNNING, SPECTRAL, TURBO, WHITE
from ...utils import resize_map
from ..checks import check_map, check_mask
from ..conventions import NormalMapCoding, encode_normal_map
from ..estimate import Estimate, Projection
from ..kinds import ZERO_AT_CAMERA, Axes, Quantity
from ..levels import MeasureRange, are_apart, depth_to_nearness, measure_range, measure_range_of_most
from ..temporal.ranges import RunningRange
from ..valid import all_valid_depth, are_all, valid_depth, valid_normals

# Normalisations: a factory of the function that measures the range from black to white in a batch; None = the caller gives the range.
_RANGES: dict[str, Callable[[], MeasureRange] | None] = {
    PER_IMAGE: lambda: measure_range,
    PER_CLIP: lambda: partial(measure_range, per_clip=True),
    FIXED: None,
    RUNNING: lambda: RunningRange().update,
}

# Evenly spaced colours of each map, dark or red end first; linear interpolation is within 2 of 255 levels.
_COLOUR_MAPS = {
    TURBO: (
        "30123b 392870 3f3e9c 4452c1 4666dd 477af1 458cfd 3c9ffd 2fb2f4 23c4e3 1ad4d0 18e1bc 22ebaa 37f493 52fa7a 6ffe61 8bff4b a3fd3c "
        "b7f735 caee34 dbe236 ead439 f5c53a fcb537 fea130 fd8b27 f9751d f25f14 e84b0c dc3c08 ce2d04 bd2102 a91601 930c01 7a0403"
    ),
    INFERNO: (
        "000004 030311 0a0722 130a33 1e0c45 2a0b56 380962 440a69 510e6c 5d126e 69166e 741b6e 801f6c 8c2369 982766 a42c61 b0315b bb3755 "
        "c63d4d d04545 d94d3d e15734 e9612b ef6d22 f47918 f8860e fa9407 fca208 fcb014 fbbf24 f8cd37 f5dc4e f2ea69 f3f688 fcffa4"
    ),
    SPECTRAL: "9e0142 d53e4f f46d43 fdae61 fee08b ffffbe e6f598 abdda4 66c2a5 3288bd 5e4fa2",
}
# Error colours: diverging map, unknown pixels, and candidate ends of ranges with the share of values that must fit.
_TWO_SIDED = "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b"
_UNKNOWN = 0.5
_ENDS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0)
_WITHIN = 0.95
# Keeps float32 rounding from turning an end of 10 percent into 15.
_ROUNDING = 1e-5


def normalise_per_image(values: Tensor) -> Tensor:
    """Scales the finite values of each image (B, 1, H, W) to [0, 1]; 0 at NaN, and in images that are constant or have none."""
    check_map(values, 1, "values")
    low, high = measure_range(values, valid_depth(values, Quantity.RELATIVE_DEPTH))
    return _normalise(values, low, high)


def depth_to_image(
    depth: Tensor,
    quantity: Quantity | str,
    *,
    near: str = "white",
    normalisation: str | MeasureRange = "per_image",
    percentiles: tuple[float, float] = (0.0, 100.0),
    value_range: tuple[float, float] | None = None,
    as_disparity: bool = False,
    colour_map: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Renders depth as an image.

    Args:
        depth: (B, 1, H, W) in the unit that `quantity` names. Metric depth that is not positive and finite is a hole.
        near: "white" or "black".
        normalisation: "per_image": the range of each image; "per_clip": one range for the whole batch, so that a video does not flicker;
            "running": the batch is a video, whose range is updated frame by frame (`RunningRange`); "fixed": `value_range`. Or a function,
            which may keep state between calls, such as the `update` of a `RunningRange` or the `ends` of a `ClipRange`.
        percentiles: (low, high), 0 to 100: the percentiles of depth, or of disparity with `as_disparity`, that the range spans.
        value_range: (low, high) in the unit of `depth`; for "fixed" only.
        as_disparity: Renders metric depth as 1 / depth, which gives near objects more grey levels.
        colour_map: None for grey, or one of `COLOUR_MAPS`; white becomes its last colour.
        mask: (B, 1, H, W) bool, True where depth is valid; None = everywhere.

    Returns:
        (B, 1, H, W), or (B, 3, H, W) with a colour map, in [0, 1]. Black where masked or invalid. An image of constant depth is all at the
        far end.

    Raises:
        ValueError: Unknown names, percentiles or a range out of order, `as_disparity` of what is not metric depth, or maps of the wrong
            shape, dtype or device.
    """
    check_map(depth, 1, "depth")
    check_mask(mask, depth)
    quantity = Quantity(quantity)
    check_choice("near", near, NEAR)
    if isinstance(normalisation, str):
        check_choice("normalisation", normalisation, NORMALISATIONS)
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(f"percentiles are {percentiles}; expected two numbers from 0 to 100, the lower first")
    if as_disparity and quantity not in ZERO_AT_CAMERA:
        accepted = " or ".join(ZERO_AT_CAMERA)
        raise ValueError(f"as_disparity needs {accepted}, whose zero is the camera; found {quantity.value}")
    measure_new = _RANGES[normalisation] if isinstance(normalisation, str) else lambda: normalisation
    measure = measure_new and measure_new()
    if (measure is None) != (value_range is not None):
        raise ValueError(f"value_range belongs to normalisation 'fixed'; found {value_range} with {normalisation!r}")
    if value_range is not None and not value_range[0] < value_range[1] < float("inf"):
        raise ValueError(f"value_range is {value_range}; expected two numbers, the lower first")
    if value_range is not None and as_disparity and not value_range[0] > 0:
        raise ValueError(f"value_range is {value_range}; as disparity it must begin above 0 metres")
    # Only a CPU checks without synchronisation, and cheaper than passes over the map.
    on_cpu = depth.device.type == "cpu"
    whole = on_cpu and (mask is None or bool(mask.all())) and all_valid_depth(depth, quantity)
    valid = torch.ones_like(depth, dtype=torch.bool) if whole else valid_depth(depth, quantity, mask)
    nearness = depth_to_nearness(depth if whole else torch.where(valid, depth, 1), quantity, as_disparity)
    if measure is None:
        low, high = depth_to_nearness(depth.new_tensor(value_range), quantity, as_disparity).sort().values
    else:
        if quantity is not Quantity.DISPARITY and not as_disparity:
            percentiles = (100 - percentiles[1], 100 - percentiles[0])
        low, high = measure(nearness, valid, percentiles)
    image = _normalise(nearness, low, high, whole)
    if near == "black":
        image = 1 - image
    if colour_map is not None:
        image = colourise(image, colour_map)
    return image if whole else torch.where(valid, image, 0)


def normals_to_image(
    normals: Tensor,
    target: NormalMapCoding | Axes | str = NormalMapCoding.OPENGL,
    source: Axes | str = Axes.OPENGL,
    mask: Tensor | None = None,
) -> Tensor:
    """Renders normals (B, 3, H, W) in `source` axes as an image in [0, 1], black where masked (B, 1, H, W) or without a direction.

    Raises ValueError: maps of the wrong shape, dtype or device, unknown axes or coding.
    """
    image = encode_normal_map(normals, target, source)
    check_mask(mask, normals[:, :1])
    # On a CPU a product is several times as fast as torch.where over channels. It keeps NaN.
    return image.mul_(valid_normals(normals, mask).to(image)).nan_to_num_(0.0)


def colourise(image: Tensor, colour_map: str) -> Tensor:
    """Colours grey levels (B, 1, H, W) in [0, 1] by one of `COLOUR_MAPS`: (B, 3, H, W) RGB in [0, 1].

    Source:
        turbo: A. Mikhailov, "Turbo, An Improved Rainbow Colormap for Visualization" (2019); inferno: S. van der Walt and N. Smith,
        matplotlib (2015); spectral: C. Brewer, colorbrewer2.org. Here as evenly spaced samples of the published tables.

    Raises:
        ValueError: Not (B, 1, H, W), or an unknown map.
    """
    check_map(image, 1, "image")
    check_choice("colour_map", colour_map, COLOUR_MAPS)
    return _coloured(image, _COLOUR_MAPS[colour_map].split())


def _coloured(share: Tensor, colours: Sequence[str]) -> Tensor:
    """Interpolates evenly spaced colours RRGGBB at shares (B, 1, H, W), clamped to [0, 1], NaN as 0: (B, 3, H, W)."""
    table = share.new_tensor([list(bytes.fromhex(colour)) for colour in colours]) / 255
    position = share[:, 0].nan_to_num(0.0).clamp(0, 1) * (len(table) - 1)
    below = position.detach().floor().long().clamp(max=len(table) - 2)
    return torch.lerp(table[below], table[below + 1], (position - below)[..., None]).movedim(-1, 1)


def _normalise(values: Tensor, low: Tensor, high: Tensor, finite_on_cpu: bool = False) -> Tensor:
    share, usable = share_of_range(values, low, high)
    share = share.clamp_(0, 1)
    return share if finite_on_cpu and bool(usable.all()) else share.nan_to_num_(0.0).mul_(usable)


def share_of_range(values: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Maps `low` to 0 and `high` to 1, which broadcast to `values` (B, 1, H, W), linearly, without clamping, in a copy.

    Returns also, in the shape of `low`, bool: where the range is finite and not empty.
    """
    usable = are_apart(low, high)
    # Halves keep the difference of huge values finite.
    span = torch.where(usable, high / 2 - low / 2, 1)
    return (values / 2).sub_(torch.where(usable, low, 0) / 2).div_(span), usable


def heat_map(values: Tensor, end: float, signed: bool = False) -> Tensor:
    """Colours errors (B, 1, H, W) as (B, 3, H, W) float32 RGB in [0, 1], grey where they are NaN, which means unknown.

    From black (0) to yellow (`end`), or signed, from blue (`-end`) over white (0) to red (`end`). Larger values have the last colour.

    Source:
        inferno: as `colourise`; RdBu: C. Brewer, colorbrewer2.org, evenly spaced samples.
    """
    check_map(values, 1, "values")
    share = values.float() / end
    colours = _coloured((share + 1) / 2 if signed else share, heat_colours(signed))
    return torch.where(values.isnan(), _UNKNOWN, colours)


def heat_colours(signed: bool) -> list[str]:
    """The colours of `heat_map` as RRGGBB, evenly spaced from the first to the last."""
    return (_TWO_SIDED if signed else _COLOUR_MAPS[INFERNO]).split()


def heat_map_end(values: Tensor) -> float:
    """The `end` of a heat map: the least of a few round numbers from 1 to 180 that at least 95 percent of the magnitudes do not exceed.

    NaN is unknown. Without other values the result is 1, and for larger magnitudes 180.
    """
    magnitudes = values[~values.isnan()].abs().flatten().sort().values
    if not len(magnitudes):
        return _ENDS[0]
    most = magnitudes[math.ceil(_WITHIN * len(magnitudes)) - 1].item() * (1 - _ROUNDING)
    return next((end for end in _ENDS if end >= most), _ENDS[-1])


METRIC_PERCENTILES = (0.1, 99.9)
"""Percentiles of 1 / metric depth at black and at white."""

_WHOLE_RANGE = (0.0, 100.0)


def default_depth_image(estimate: Estimate, normalisation: MeasureRange = measure_range_of_most, near: str = NEAR[0]) -> Tensor:
    """Renders the depth of an estimate as grey levels (B, 1, H, W) in [0, 1]; black where depth is invalid.

    Args:
        normalisation: Function that measures the range from black to white, as for `depth_to_image`: the range of each image by default, or
            a stateful one, such as the `update` of a `RunningRange`.
        near: "white" or "black".

    Raises:
        ValueError: No depth.
    """
    depth, quantity, _ = estimate.known_depth()
    metric = quantity in ZERO_AT_CAMERA
    percentiles = METRIC_PERCENTILES if metric else _WHOLE_RANGE
    return depth_to_image(
        depth, quantity, near=near, normalisation=normalisation, percentiles=percentiles, as_disparity=metric, mask=estimate.mask
    )


def resized_depth_image(
    estimate: Estimate, height: int, width: int, ends: tuple[Tensor, Tensor], resampling: str = "bilinear", near: str = WHITE
) -> Tensor:
    """`default_depth_image` of `estimate.resized`, with a given range. Resizes the grey levels instead, which is faster, where equivalent.

    `ends` are the nearness of black and of white, from `default_depth_range`.
    """
    depth, quantity, valid = estimate.known_depth()
    # 1 / metres does not commute with resampling, and holes must be filled after resizing.
    if quantity in ZERO_AT_CAMERA or not are_all(valid):
        return default_depth_image(estimate.resized(height, width, resampling), lambda *_: ends, near)
    share, usable = share_of_range(depth_to_nearness(depth, quantity), *ends)
    share.mul_(usable)
    if resampling == "bilinear" and estimate.projection is Projection.PERSPECTIVE:
        image = resize_map(share, height, width)  # without the checks of `resized` for holes and overshoot
    else:
        image = Estimate(share, Quantity.DISPARITY, projection=estimate.projection).resized(height, width, resampling).depth
    assert image is not None
    return image.clamp_(0, 1) if near == WHITE else (1 - image).clamp_(0, 1)


def default_depth_range(estimate: Estimate, normalisation: MeasureRange = measure_range_of_most) -> tuple[Tensor, Tensor]:
    """The range of `default_depth_image` of each image: nearness of black and of white, (B, 1, 1, 1) each.

    Nearness is 1 / metres, disparity, or negated relative depth; infinite without valid pixels. Raises ValueError: no depth.
    """
    depth, quantity, valid = estimate.known_depth()
    metric = quantity in ZERO_AT_CAMERA
    nearness = depth_to_nearness(depth if are_all(valid) else depth.where(valid, 1), quantity, as_disparity=metric)
    return normalisation(nearness, valid, METRIC_PERCENTILES if metric else _WHOLE_RANGE)
