"""Depth and normals of ComfyUI's VIDEO, of any length, with its sound and few frames in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.images.display_defaults import default_depth_image
from ..geometry.images.render import normals_to_image
from ..geometry.levels import measure_range_of_most
from ..geometry.surfaces.derive import with_normals
from ..geometry.temporal.ranges import RunningRange
from ..media import Frame, Loaded, estimated
from ..model_loader import Model
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.comfy.videos import opened_video
from ..options.checks import check_choice, check_range
from ..options.map_images import CODINGS, NEAR, PER_IMAGE
from ..options.video import ALIGNMENTS, VideoOptions
from .checks import check_model, check_network_side
from .sockets import DEPTH_NORMAL_MODEL, ESTIMATE, VIDEO, Inputs, Widget
from .widgets import choice_widget, coding_widget, near_widget, network_side_widget, number_widget

logger = logging.getLogger(__name__)

RUNNING = "running"
RANGES = (RUNNING, PER_IMAGE)

Render = Callable[[Estimate], Tensor]


class DepthOfVideo:
    """Makes depth videos."""

    NODE_ID = "DepthNormal_DepthOfVideo"
    DISPLAY_NAME = "Depth of Video"
    DESCRIPTION = (
        "Makes a temporally stable depth video of any length. It is read, computed and written a few frames at a time. Sound is kept."
    )
    CATEGORY, FUNCTION = ESTIMATE, "execute"
    RETURN_TYPES: ClassVar = (VIDEO,)
    OUTPUT_TOOLTIPS: ClassVar = ("The depth video, with the frame rate, timestamps and sound of the input.",)
    SEARCH_ALIASES: ClassVar = ["video depth", "depth video", "temporal depth", "video depth anything", "depth map video", "flicker"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        ranges = (
            "Which depths become black and white. running: the range of the frames so far, which avoids flicker. per_image: the range "
            "of each frame. For one range over a whole clip use Depth & Normals (advanced) and Render Depth."
        )
        return {
            "required": _required(),
            "optional": {"normalisation": choice_widget(RANGES, ranges), "near": near_widget(), **_optional()},
        }

    def execute(
        self,
        model: Model,
        video: Any,
        normalisation: str = RUNNING,
        near: str = NEAR[0],
        align: str = ALIGNMENTS[0],
        smooth: float = VideoOptions.smooth,
        resolution: int = 0,
    ) -> tuple[Any]:
        """Returns the video."""
        check_choice("normalisation", normalisation, RANGES)
        check_choice("near", near, NEAR)
        check_model(model)
        if model.spec.quantity is None:
            raise ValueError(f"{model.spec.id} predicts normals and no depth; use Normals of Video, or a model that predicts depth")
        shown = RunningRange().update if normalisation == RUNNING else measure_range_of_most
        render = partial(default_depth_image, normalisation=shown, near=near)
        return (_make_video(model, video, render, VideoOptions(align, smooth), resolution),)


class NormalsOfVideo:
    """Makes normal-map videos."""

    NODE_ID = "DepthNormal_NormalsOfVideo"
    DISPLAY_NAME = "Normals of Video"
    DESCRIPTION = (
        "Makes a temporally stable normal-map video of any length. It is read, computed and written a few frames at a time. Sound is kept."
    )
    CATEGORY, FUNCTION = ESTIMATE, "execute"
    RETURN_TYPES: ClassVar = (VIDEO,)
    OUTPUT_TOOLTIPS: ClassVar = ("The normal-map video, with the frame rate, timestamps and sound of the input.",)
    SEARCH_ALIASES: ClassVar = ["video normals", "normal map video", "normal video", "temporal normals", "surface normals", "flicker"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": _required(),
            "optional": {"coding": coding_widget(), **_optional()},
        }

    def execute(
        self,
        model: Model,
        video: Any,
        coding: str = CODINGS[0],
        align: str = ALIGNMENTS[0],
        smooth: float = VideoOptions.smooth,
        resolution: int = 0,
    ) -> tuple[Any]:
        """Returns the video."""
        check_choice("coding", coding, CODINGS)

        def render(found: Estimate) -> Tensor:
            if found.normals is None:
                raise ValueError(f"{model.spec.id} predicts relative depth, from which no normals can be computed; choose another model")
            return normals_to_image(found.normals, coding, found.axes, found.mask)

        return (_make_video(model, video, render, VideoOptions(align, smooth), resolution, with_normals),)


def _required() -> dict[str, Widget]:
    return {
        "model": (DEPTH_NORMAL_MODEL, {"tooltip": "From Load Depth Model: any model of its list."}),
        "video": (VIDEO, {"tooltip": "From Load Video or Create Video. Alpha is dropped; HDR is tone mapped."}),
    }


def _optional() -> dict[str, Widget]:
    align = (
        "How each frame's depth is aligned to the frames before, for models of single images. scale_shift: by scale "
        "and shift. none: not at all."
    )
    smooth = (
        "How strongly frames are smoothed over time where nothing moves: the weight of the frames before. 0: not at "
        "all, 1: they replace the frame's own values."
    )
    resolution = (
        "Side of the network's input in pixels, measured as the model's authors do (see Depth & Normals (advanced)). "
        "0: the model's own size."
    )
    return {
        "align": choice_widget(ALIGNMENTS, align),
        "smooth": number_widget(VideoOptions.smooth, 0.0, 1.0, 0.05, smooth),
        "resolution": network_side_widget(resolution),
    }


def _make_video(
    model: Model,
    video: Any,
    render: Render,
    options: VideoOptions,
    resolution: int,
    derive: Callable[[Estimate], Estimate] | None = None,
) -> Any:
    """Makes a VIDEO of each frame's estimate, rendered by `render`."""
    check_model(model)
    check_network_side(resolution)
    check_range("smooth", options.smooth, 0, 1)
    source = opened_video(video)
    loaded = Loaded(source.frames())
    run = partial(model.estimate_video, options=options, size=resolution or None, derive=derive, normals=derive is not None)
    move = progress_bar(source.count)

    def images() -> Iterator[tuple[Frame, Tensor]]:
        done = 0
        for frames, _, found in estimated(loaded, run):
            throw_if_interrupted()
            yield from zip(frames, render(found).cpu(), strict=True)
            done += len(frames)
            if move is not None:
                move(min(done, source.count), source.count)
        if loaded.problem is not None:
            logger.warning("%s; the %d frames before that are kept", loaded.problem, done)
        if lost := loaded.lost(done):
            logger.warning("the video input is damaged: %s", lost)

    return source.made(images())


NODES = (DepthOfVideo, NormalsOfVideo)
