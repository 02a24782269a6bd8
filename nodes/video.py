"""Depth and normals of ComfyUI's VIDEO, of any length, with its audio and few frames in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.images.render import default_depth_image, normals_to_image
from ..geometry.levels import measure_range_of_most
from ..geometry.surfaces.derive import with_normals
from ..geometry.temporal.ranges import RunningRange
from ..media import Frame, Loaded, estimated
from ..model_loader import Model
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.comfy.videos import opened_video
from ..options.fields import Options
from ..options.map_images import RUNNING
from ..options.video import DepthVideoOptions, NormalsVideoOptions, VideoOptions
from .checks import check_model
from .option_widgets import Node, option_widgets, takes
from .widgets import DEPTH_NORMAL_MODEL, ESTIMATE, VIDEO, Inputs

logger = logging.getLogger(__name__)


Render = Callable[[Estimate], Tensor]


def _inputs(shown: type[Options]) -> Inputs:
    first, last = option_widgets(shown, until="resolution"), option_widgets(shown, since="resolution")
    return {
        "required": {
            "model": (DEPTH_NORMAL_MODEL, {"tooltip": "From Load Depth Model: any model of its list."}),
            "video": (VIDEO, {"tooltip": "From Load Video or Create Video. Alpha is dropped; HDR is tone mapped."}),
        },
        "optional": {**first, **option_widgets(VideoOptions, until="cuts"), **last},
    }


@takes(VideoOptions, DepthVideoOptions)
class DepthOfVideo(Node):
    """Makes depth videos."""

    NODE_ID = "DepthNormal_DepthOfVideo"
    DISPLAY_NAME = "Depth of Video"
    DESCRIPTION = (
        "Makes a temporally stable depth video of any length. It is read, computed and written a few frames at a time. Sound is kept."
    )
    CATEGORY = ESTIMATE
    OUTPUTS: ClassVar = {VIDEO: (VIDEO, "The depth video, with the frame rate, timestamps and sound of the input.")}
    SEARCH_ALIASES = "video depth, depth video, temporal depth, video depth anything, depth map video, flicker"
    INPUTS: ClassVar = _inputs(DepthVideoOptions)

    def execute(self, options: VideoOptions, shown: DepthVideoOptions, model: Model, video: Any) -> tuple[Any]:
        check_model(model)
        if model.spec.quantity is None:
            raise ValueError(f"{model.spec.id} predicts normals and no depth; use Normals of Video, or a model that predicts depth")
        measure = RunningRange().update if shown.normalisation == RUNNING else measure_range_of_most
        render = partial(default_depth_image, normalisation=measure, near=shown.near)
        return (_make_video(model, video, render, options, shown.resolution),)


@takes(VideoOptions, NormalsVideoOptions)
class NormalsOfVideo(Node):
    """Makes normal-map videos."""

    NODE_ID = "DepthNormal_NormalsOfVideo"
    DISPLAY_NAME = "Normals of Video"
    DESCRIPTION = (
        "Makes a temporally stable normal-map video of any length. It is read, computed and written a few frames at a time. Sound is kept."
    )
    CATEGORY = ESTIMATE
    OUTPUTS: ClassVar = {VIDEO: (VIDEO, "The normal-map video, with the frame rate, timestamps and sound of the input.")}
    SEARCH_ALIASES = "video normals, normal map video, normal video, temporal normals, surface normals, flicker"
    INPUTS: ClassVar = _inputs(NormalsVideoOptions)

    def execute(self, options: VideoOptions, shown: NormalsVideoOptions, model: Model, video: Any) -> tuple[Any]:

        def render(found: Estimate) -> Tensor:
            if found.normals is None:
                raise ValueError(f"{model.spec.id} predicts relative depth, from which no normals can be computed; choose another model")
            return normals_to_image(found.normals, shown.coding, found.axes, found.mask)

        return (_make_video(model, video, render, options, shown.resolution, with_normals),)


def _make_video(
    model: Model, video: Any, render: Render, options: VideoOptions, resolution: int, derive: Callable[[Estimate], Estimate] | None = None
) -> Any:
    """Makes a VIDEO of each frame's estimate, rendered by `render`."""
    check_model(model)
    source = opened_video(video)
    loaded = Loaded(source.frames())
    run = partial(model.estimate_video, options=options, size=resolution or None, derive=derive, normals=derive is not None)
    move = progress_bar(source.count)

    def images() -> Iterator[tuple[Frame, Tensor]]:
        done = 0
        for frames, _, estimate in estimated(loaded, run):
            throw_if_interrupted()
            yield from zip(frames, render(estimate).cpu(), strict=True)
            done += len(frames)
            if move is not None:
                move(min(done, source.count), source.count)
        if loaded.problem is not None:
            logger.warning("%s; the %d frames before that are kept", loaded.problem, done)
        if lost := loaded.lost(done):
            logger.warning("the video input is damaged: %s", lost)

    return source.made(images())


NODES = (DepthOfVideo, NormalsOfVideo)
