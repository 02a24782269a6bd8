"""Estimates panoramas: by perspective models in twelve merged views, by panorama models (DA²) as a whole, without a seam."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ...annotators.family import Progress, progress_of_part
from ...annotators.specs.base import ModelSpec
from ...geometry.camera import depth_to_ray_distance
from ...geometry.conventions import convert_normals
from ...geometry.estimate import Axes, Estimate, Quantity
from ...geometry.kinds import ZERO_AT_CAMERA, Projection
from ...geometry.panorama.merge import MERGED_WIDTH, View, affine_to_distances, merge_normals, merge_views
from ...geometry.sphere import VIEW_FOV, cut_view, view_intrinsics, view_rotations
from ...utils import resize_map
from ..comfy import interrupt
from .network import Images, LoadedNetwork, batch_shape
from .stages import InferenceOptions, image_estimates
from .tiles import reduced

logger = logging.getLogger(__name__)

# Rounded panoramas are off by a pixel or two; images of other aspects are no full-sphere panoramas.
_STRETCH = 1.02
_LEAST_SIDE = 64
_MERGING = 2
"""Merging the views takes about as long as this many passes over a view."""

# Comparison of a panorama's left and right border: width to compare at, number of columns at each border that give the typical difference
# of neighbours, and the threshold of the product of both measures. Photos of 2:1 have 0.7 to 13, panoramas up to 1, rarely 3.
_COMPARED, _BESIDE, _DIFFERENT = 64, 6, 1.4


def check_panorama(height: int, width: int, any_aspect: bool) -> None:
    """Raises a ValueError for images with a side below 8 pixels or, except for `any_aspect`, another aspect ratio than 2:1."""
    if min(height, width) < 8:
        raise ValueError(f"the image has {width}x{height} pixels; a panorama needs at least 16x8")
    if not any_aspect and not 1 / _STRETCH <= width / (2 * height) <= _STRETCH:
        raise ValueError(
            f"the image has {width}x{height} pixels; a panorama of the whole sphere (360 x 180 degrees, equirectangular) is twice as wide "
            "as high. Estimate a photo as a photo (Depth & Normals), pad a panorama that shows less to 2:1, or turn on any_aspect "
            "(--any-aspect) to take it for the whole sphere as it is"
        )


def check_panorama_model(spec: ModelSpec) -> None:
    """Raises a ValueError for models without depth."""
    if spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}, and a panorama needs depth; choose another model, such as moge-2-vits-normal")


def check_perspective_model(spec: ModelSpec) -> None:
    """Raises a ValueError for panorama models, which cannot run on other images."""
    if spec.for_panoramas:
        raise ValueError(
            f"{spec.id} takes panoramas of the whole sphere alone (360 x 180 degrees, equirectangular, twice as wide as high). Estimate "
            "panoramas by Estimate Panorama (estimate --panorama, Model.estimate_panorama), and choose another model for photos and "
            "videos, such as moge-2-vits-normal"
        )


def panorama_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, any_aspect: bool = False, progress: Progress | None = None
) -> Iterator[Estimate]:
    """Estimates panoramas, one after another.

    Args:
        network, images: The network to run, and the batch.
        options: Uses `size` and `family_options`.
        any_aspect: Whether to accept other aspect ratios: the image is stretched over the whole sphere.
        progress: Called with (passes done, total passes); views and merging both count.

    Yields:
        Estimates of one image each, on the CPU: distance, its mask, and normals if the model predicts any. Merged views are at most
        `MERGED_WIDTH` wide, panorama models' estimates as wide as the network's input.

    Raises:
        ValueError: As `check_panorama` and `check_panorama_model`, or no view of a panorama has a valid pixel.
    """
    total, height, width = batch_shape(images)
    check_panorama(height, width, any_aspect)
    check_panorama_model(network.annotator.spec)
    if network.annotator.spec.for_panoramas:
        yield from _whole_estimates(network, images, options, any_aspect, progress)
        return
    rotations = view_rotations()
    side = _view_side(network, width, options.size)
    camera = replace(options, fov=VIEW_FOV)
    passes = len(rotations) + _MERGING

    for index in range(total):
        panorama = _at_resolution(images[index : index + 1], round(side * math.pi))
        if not any_aspect:
            _warn_if_borders_differ(panorama, index, total)
        cut = torch.cat([cut_view(panorama, rotation, side) for rotation in rotations])
        del panorama
        part_progress = progress_of_part(progress, index * passes, index * passes + len(rotations), total * passes)
        estimates = image_estimates(network, cut, camera, part_progress)
        parts = [one.to("cpu") for part in estimates for one in part.split()]
        interrupt.throw_if_interrupted()
        has_metres = network.annotator.spec.quantity is Quantity.METRIC_DEPTH
        quantity = Quantity.METRIC_DEPTH if has_metres else Quantity.SCALE_INVARIANT_DEPTH
        yield merged_estimate(_views(parts, rotations), quantity, *merged_size(height, width))
        if progress is not None:
            progress((index + 1) * passes, total * passes)


def _whole_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, any_aspect: bool, progress: Progress | None
) -> Iterator[Estimate]:
    """Estimates panoramas by a panorama model, at the network's size.

    Such a network does not know that the left and right border adjoin. So it also estimates the panorama rolled by half a turn, where these
    borders are in the middle.
    """
    total, height, width = batch_shape(images)
    rows, columns = network.annotator.checked_network_size(height, width, options.size)
    for index in range(total):
        panorama = resize_map(_at_resolution(images[index : index + 1], columns), rows, columns)
        if not any_aspect:
            _warn_if_borders_differ(panorama, index, total)
        both = torch.cat((panorama, panorama.roll(columns // 2, -1)))
        part_progress = progress_of_part(progress, index, index + 1, total)
        estimates = [one.to("cpu").in_float32() for part in image_estimates(network, both, options, part_progress) for one in part.split()]
        interrupt.throw_if_interrupted()
        plain, rolled = (one.depth for one in estimates)
        assert plain is not None and rolled is not None
        depth = blend_half_turn(plain, rolled.roll(-(columns // 2), -1))
        yield Estimate(depth, network.annotator.spec.quantity, projection=Projection.EQUIRECTANGULAR)


def blend_half_turn(plain: Tensor, turned: Tensor) -> Tensor:
    """Blends two estimates whose seams are half a turn apart into one panorama without a seam.

    Args:
        plain: (1, 1, H, W), positive distances up to scale; its seam is at the left and right border.
        turned: The estimate of the panorama rolled by half a turn, rolled back; its seam is in the middle.

    Returns:
        (1, 1, H, W): the weighted mean of the logarithms at a common scale. Each has weight 0 at its own seam and 1 half a turn away.
        Swapping and rolling both inputs rolls the result.
    """
    width = plain.shape[-1]
    longitude = ((torch.arange(width, dtype=torch.float64, device="cpu") + 0.5) / width - 0.5) * (2 * math.pi)
    weight = (longitude / 2).cos().square().to(plain)
    first, second = plain.log(), turned.log()
    ratio = first - second
    # torch's median takes the lower of two middle values; using both signs treats the estimates alike.
    level = (ratio.median() - (-ratio).median()) / 2
    return (weight * (first - level / 2) + (1 - weight) * (second + level / 2)).exp()


def _warn_if_borders_differ(panorama: Tensor, index: int, total: int) -> None:
    """Warns if the left and right border of an image (1, 3, H, W) differ: it may be a photo of a panorama's aspect."""
    if borders_meet(panorama):
        return
    which = "the panorama" if total == 1 else f"panorama {index + 1} of {total}"
    logger.warning(
        "%s: perhaps a photo, or less than 360 degrees, as its left and right border do not continue each other; it is taken for the "
        "whole sphere",
        which,
    )


def borders_meet(panorama: Tensor) -> bool:
    """Whether the left and right border of an image (1, 3, H, W) match as neighbouring columns do."""
    width = panorama.shape[-1]
    small = (
        resize_map(panorama.float(), max(4, round(_COMPARED * panorama.shape[-2] / width)), _COMPARED) if width > _COMPARED else panorama
    )
    left, right = small[..., 0].flatten(), small[..., -1].flatten()
    steps = small.diff(dim=-1).abs().mean((0, 1, 2))
    usual = torch.cat((steps[:_BESIDE], steps[-_BESIDE:])).median().clamp_min(1e-3)
    step = (left - right).abs().mean() / usual
    # The correlation of a uniform border is NaN.
    apart = 1 - torch.corrcoef(torch.stack((left, right)))[0, 1].nan_to_num(0)
    return bool(step * apart < _DIFFERENT)


def merged_size(height: int, width: int) -> tuple[int, int]:
    """Height and width to merge views at: the panorama's own, or an integer fraction that is at most `MERGED_WIDTH` wide."""
    times = math.ceil(width / MERGED_WIDTH)
    return max(1, round(height / times)), max(2, round(width / times))


def merged_estimate(views: list[View], quantity: Quantity, height: int, width: int) -> Estimate:
    """Merges views into the estimate of a panorama of height x width; `quantity` is that of the distances."""
    distance, valid = merge_views(views, height, width)
    have_normals = all(view.normals is not None for view in views)
    normals = convert_normals(merge_normals(views, height, width), Axes.OPENCV, Axes.OPENGL) if have_normals else None
    mask = None if bool(valid.all()) else valid
    return Estimate(distance, quantity, normals, Axes.OPENGL, mask, projection=Projection.EQUIRECTANGULAR)


def _view_side(network: LoadedNetwork, width: int, size: int | None) -> int:
    """The views' side in pixels: as fine as the panorama, or as the network can use."""
    wanted = max(_LEAST_SIDE, round(width / math.pi))
    return min(wanted, max(_LEAST_SIDE, *network.annotator.checked_network_size(wanted, wanted, size)))


def _at_resolution(image: Images, width: int) -> Tensor:
    """One panorama as (1, 3, H, W) float32 on the CPU, area-averaged to at most `width`: views sample it without averaging."""
    _, height, own = batch_shape(image)
    return reduced(image, (0, height, 0, own), min(height, max(1, round(width / 2))), min(own, width)).cpu()


def _views(parts: list[Estimate], rotations: Tensor) -> list[View]:
    sides = [max(part.height, part.width) for part in parts]
    squares = [replace(part.to("cpu").in_float32(), intrinsics=None).resized(side, side) for part, side in zip(parts, sides, strict=True)]
    depths, quantities, valid = zip(*(part.known_depth() for part in squares), strict=True)
    if quantities[0] in ZERO_AT_CAMERA:
        distances = [
            depth_to_ray_distance(torch.where(known, depth, 1), view_intrinsics(side))
            for depth, known, side in zip(depths, valid, sides, strict=True)
        ]
    else:
        facing = [_opencv_normals(part) for part in squares]
        distances = affine_to_distances(depths, valid, rotations, quantities[0] is Quantity.DISPARITY, facing)
    return [
        View(distance, known, rotation, _opencv_normals(part))
        for distance, known, rotation, part in zip(distances, valid, rotations, squares, strict=True)
    ]


def _opencv_normals(estimate: Estimate) -> Tensor | None:
    """A view's normals, 0 where invalid."""
    if estimate.normals is None or estimate.normals_valid is None:
        return None
    return torch.where(estimate.normals_valid, convert_normals(estimate.normals, estimate.axes, Axes.OPENCV), 0)
