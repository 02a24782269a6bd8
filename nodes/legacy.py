"""Code shared by the old pack's nodes: their menu, and the path from an IMAGE through a model to an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..annotators.preprocessing.resizing import scale_short_side
from ..geometry.estimate import Estimate
from ..geometry.images.render import depth_to_image, normals_to_image
from ..geometry.kinds import ZERO_AT_CAMERA
from ..geometry.levels import MeasureRange, depth_to_nearness
from ..geometry.temporal.ranges import ClipRange, RunningRange
from ..geometry.temporal.shot_cuts import CutDetector
from ..model_loader import Model
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.memory_budget import check_result_fits
from ..options.fields import Options
from ..options.legacy import DEFAULT_RESOLUTION
from ..options.map_images import PER_CLIP, PER_IMAGE, RUNNING
from ..utils import resize_map, to_images
from .batches import geometry_output, to_output
from .loading import LoadsByName, options_for
from .option_widgets import option_widgets
from .widgets import Inputs, Widget, image_input

Percentiles = tuple[float, float]

# ZoeDepth's display: from the 2nd to the 85th percentile of metric depth, near = white
ZOE_PERCENTILES: Percentiles = (2.0, 85.0)
WHOLE_RANGE: Percentiles = (0.0, 100.0)

LEGACY_CATEGORY = "ControlNet Preprocessors/Normal and Depth Estimators"


class LegacyNode(LoadsByName):
    """Base class of the old pack's nodes: an IMAGE in, an IMAGE out."""

    CATEGORY = LEGACY_CATEGORY


def old_inputs(
    options: type[Options], models: Mapping[str, Any] | None = None, before: str = "", unused: Mapping[str, Widget] | None = None
) -> Inputs:
    """An image and the old widgets in their order, by which graphs store them, then new ones.

    `models` go before the option `before`, "" = last; the widgets `unused` come first.
    """
    first = {**(unused or {}), **option_widgets(options, until=before)}
    return {"required": {"image": image_input()}, "optional": {**first, **(models or {}), **option_widgets(options)}}


Renderer = Callable[[Iterable[Estimate], Tensor], Iterable[Tensor]]
Show = Callable[..., Tensor]


def annotate(
    image: Tensor,
    load: Callable[[], Model],
    resolution: int,
    render: Renderer,
    network_size: int = 0,
    *,
    at_resolution: bool = False,
    options: Any = None,
    refine: bool | None = None,
    fov: float = 0.0,
) -> Tensor:
    """Estimates a batch of images and renders the result, (B, h, w, 3) in [0, 1], on ComfyUI's intermediate device and in its dtype.

    Args:
        image: ComfyUI's IMAGE, (B, H, W, C), C = 1, 3 or 4, values in [0, 1] (clamped), any float dtype.
        load: Loads the model; called after all other checks, so that nothing is downloaded for invalid input.
        resolution: Short side of the result in pixels.
        render: Renders estimates at the network's size as images (b, 1 or 3, h, w) in [0, 1]; its second argument is `image`, (B, C, H, W).
        network_size: Side of the network's input in pixels; 0 = `resolution` or the authors' size, by `at_resolution`.
        at_resolution: Whether the network runs at `resolution` too, not at its authors' size.
        options, fov: As in `Model.estimate`.
        refine: As there; False for normals from slopes, which use the network's pixels, and for clips, where edges would flicker.

    Raises:
        ValueError: A resolution out of range, or as `utils.to_images`.
    """
    images = to_images(image)
    height, width = scale_short_side(images.shape[-2], images.shape[-1], resolution)
    check_result_fits(images.shape[0], height, width)
    model = load()
    if at_resolution and not network_size:  # only the default resolution is limited to the model's bounds
        network_size = model.spec.used_size(resolution) if resolution == DEFAULT_RESOLUTION else resolution
    progress = progress_bar(images.shape[0])
    estimates = model.estimates(images, network_size or None, progress, fov=fov, options=options_for(model, options), refine=refine)
    return torch.cat([to_output(resize_map(rendered, height, width)) for rendered in render(estimates, images)])


def annotate_depth(
    image: Tensor,
    load: Callable[[], Model],
    resolution: int,
    normalisation: str = PER_IMAGE,
    network_size: int = 0,
    *,
    show: Show | None = None,
    **more: Any,
) -> Tensor:
    """Makes the old nodes' depth maps: near = white, the full range of disparity, ZoeDepth's percentiles of metric depth.

    Args:
        image, load, resolution, network_size, more: As in `annotate`, as are the result and the errors.
        normalisation: One of `CLIP_NORMALISATIONS`: whether each image has its own range, or the batch is a video.
        show: Renders an estimate, and for a video its range, as an image; None = `render_depth`.
    """
    render = partial(_DEPTH_RENDERERS[normalisation], show or render_depth)
    return annotate(image, load, resolution, render, network_size, refine=None if normalisation == PER_IMAGE else False, **more)


def render_depth(
    estimate: Estimate, normalisation: str | MeasureRange = PER_IMAGE, metric_percentiles: Percentiles = ZOE_PERCENTILES
) -> Tensor:
    """Renders an estimate as the old nodes do; accepts all ranges of `depth_to_image`."""
    depth, quantity, _ = estimate.known_depth()
    percentiles = metric_percentiles if quantity in ZERO_AT_CAMERA else WHOLE_RANGE
    return depth_to_image(depth, quantity, normalisation=normalisation, percentiles=percentiles, mask=estimate.mask)


def render_normals(estimates: Iterable[Estimate], images: Tensor, resolution: int, coding: str) -> Iterator[Tensor]:
    """Renders normal maps of the result's size. Resizes vectors, not colours, so that they stay unit vectors."""
    size = scale_short_side(images.shape[-2], images.shape[-1], resolution)
    for estimate in estimates:
        resized = estimate.resized(*size)
        assert resized.normals is not None
        yield normals_to_image(resized.normals, coding, resized.axes, resized.mask)


def _render_clip(show: Show, estimates: Iterable[Estimate], _images: Tensor) -> Iterator[Tensor]:
    """Renders with one range for all images, which requires all estimates before the first is rendered."""
    clip, kept = ClipRange(), []
    for estimate in estimates:
        depth, quantity, valid = estimate.known_depth()
        clip.add(depth_to_nearness(depth, quantity), valid)
        kept.append(geometry_output(estimate))
    for estimate in kept:
        yield show(estimate, clip.ends)


def _render_running(show: Show, estimates: Iterable[Estimate], images: Tensor) -> Iterator[Tensor]:
    """Renders with a running range that restarts at cuts."""
    running, detector, done = RunningRange(), CutDetector(), 0
    for estimate in estimates:
        cuts = detector.push(images[done : done + estimate.batch])
        done += estimate.batch
        yield show(estimate, partial(running.update, cuts=cuts))


_DEPTH_RENDERERS: dict[str, Callable[[Show, Iterable[Estimate], Tensor], Iterable[Tensor]]] = {
    PER_IMAGE: lambda show, estimates, _images: map(show, estimates),
    PER_CLIP: _render_clip,
    RUNNING: _render_running,
}
