"""The nodes of ComfyUI-Video-Depth-Anything, with the same ids, widgets, sockets and display."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..annotators.registry import BUNDLED_MODEL, models_of_family
from ..geometry.estimate import Quantity
from ..geometry.files import resolve_inside
from ..geometry.files.exr import write_depth_channel
from ..geometry.files.paths import move_over
from ..geometry.images.render import depth_to_image
from ..model_loader.comfy.devices import default_device, is_fast
from ..model_loader.comfy.host import user_folder
from ..options.checks import check_choice
from ..options.legacy import FP16, GREY, ProcessOptions, ShownVideoOptions
from ..options.video import VideoOptions
from ..utils import images_to_rgb, resize_image, to_images
from .batches import to_output, with_progress
from .loading import ChosenModel, LoadsByName, by_file_name, check_chosen, choose_tiny, load_model, model_widget
from .option_widgets import Node, option_widgets, takes
from .saving import aside
from .widgets import image_input

logger = logging.getLogger(__name__)

CATEGORY = "VideoDepthAnything"
VDAMODEL, DEPTHS = "VDAMODEL", "DEPTHS"
"""The old pack's sockets. DEPTHS is a float32 array (frames, H, W), which other packs use too."""

FILES = by_file_name(*models_of_family("video-depth-anything"))
DEFAULT_FOLDER = "exr-1"
_DEPTHS_INPUT = DEPTHS, {"tooltip": "From Video Depth Anything Process."}
_READ_AT_ONCE = 8
_ALIASES = "video depth, video depth anything, vda, temporal depth, consistent depth, depth map"


class LoadVideoDepthAnythingModel(LoadsByName):
    """Chooses a Video Depth Anything model."""

    NODE_ID = "LoadVideoDepthAnythingModel"
    DISPLAY_NAME = "Load Video Depth Anything Model"
    DESCRIPTION = (
        "Chooses a Video Depth Anything model; Video Depth Anything Process loads it. The base and large weights are CC BY-NC 4.0: not for "
        "commercial use; small is Apache-2.0."
    )
    CATEGORY = CATEGORY
    OUTPUTS: ClassVar = {"vda_model": (VDAMODEL, "The model, for Video Depth Anything Process.")}
    SEARCH_ALIASES = _ALIASES
    INPUTS: ClassVar = {
        "optional": {
            "model": lambda: model_widget(
                FILES,
                "Which model to run. vits: 116 MB, Apache-2.0. vitb (458 MB) and vitl (1.54 GB): CC BY-NC 4.0, not for commercial use. "
                f"metric_...: metres, large = far; the others: disparity, large = near. {BUNDLED_MODEL}: the pack's own small network for "
                "single images, whose frames are smoothed over time afterwards; a preview without a download.",
            )
        }
    }

    def execute(self, model: str = next(iter(FILES))) -> tuple[ChosenModel]:
        check_choice("model", model, list(FILES))
        return (ChosenModel(FILES[model]),)


@takes(ProcessOptions, VideoOptions)
class VideoDepthAnythingProcess(Node):
    """Estimates the depth of a video."""

    NODE_ID = "VideoDepthAnythingProcess"
    DISPLAY_NAME = "Video Depth Anything Process"
    DESCRIPTION = "Estimates the depth of a video, temporally stable from frame to frame. The batch is one video of any length."
    CATEGORY = CATEGORY
    OUTPUTS: ClassVar = {"depths": (DEPTHS, "Raw depth of each frame: disparity from the relative models, metres from the metric ones.")}
    SEARCH_ALIASES = _ALIASES
    INPUTS: ClassVar = {
        "required": {
            "vda_model": (VDAMODEL, {"tooltip": "From Load Video Depth Anything Model."}),
            "images": image_input("The frames of a video, in order."),
        },
        "optional": {**option_widgets(ProcessOptions), **option_widgets(VideoOptions, since="cuts")},
    }

    def execute(self, options: ProcessOptions, video: VideoOptions, vda_model: Any, images: Tensor) -> tuple[np.ndarray]:
        model_id = check_chosen(vda_model, "vda_model", LoadVideoDepthAnythingModel.DISPLAY_NAME).name
        frames = to_images(images)
        half = options.precision == FP16 and is_fast(torch.float16, default_device())
        model = load_model(model_id, "float16" if half else "float32", choose_tiny("model of Load Video Depth Anything Model"))
        total, (height, width) = len(frames), _limited(frames.shape[-2], frames.shape[-1], options.max_res)
        depths, done = np.empty((total, height, width), np.float32), 0
        parts = model.estimate_video(_frames(frames, height, width), video, size=options.input_size)
        for part in with_progress(parts, total, lambda part: part.batch):
            assert part.depth is not None
            depths[done : done + part.batch] = part.depth[:, 0].cpu().numpy()
            done += part.batch
        return (depths,)


@takes(ShownVideoOptions)
class VideoDepthAnythingOutput(Node):
    """Renders the depth of a video as images."""

    NODE_ID = "VideoDepthAnythingOutput"
    DISPLAY_NAME = "Video Depth Anything Output Depth Map"
    DESCRIPTION = (
        "Shows the depth of a video as images, all in one range: the video's smallest value is black (or the first "
        "colour of the colour map)."
    )
    CATEGORY = CATEGORY
    OUTPUTS: ClassVar = {"images": ("IMAGE", "One image for each frame. Relative models: near = white. Metric models: far = white.")}
    SEARCH_ALIASES = _ALIASES
    INPUTS: ClassVar = {"required": {"depths": _DEPTHS_INPUT}}

    def execute(self, options: ShownVideoOptions, depths: Any) -> tuple[Tensor]:
        values = torch.from_numpy(_checked(depths))[:, None]
        # Larger values are whiter: the socket does not carry the kind of depth.
        colours = None if options.colormap == GREY else options.colormap
        return (to_output(depth_to_image(values, Quantity.DISPARITY, normalisation="per_clip", colour_map=colours)),)


class VideoDepthAnythingSaveEXR(Node):
    """Saves the depth of a video as EXR files."""

    NODE_ID = "VideoDepthAnythingSaveEXR"
    DISPLAY_NAME = "Video Depth Anything Save EXR"
    DESCRIPTION = "Writes raw depth into a folder below ComfyUI's output folder: frame_00000.exr, ..., 32-bit floats in the channel Z."
    CATEGORY, OUTPUT_NODE = CATEGORY, True
    OUTPUTS: ClassVar = {"exr_path": ("STRING", "The folder that was written.")}
    SEARCH_ALIASES = f"{_ALIASES}, exr, save depth"
    INPUTS: ClassVar = {
        "required": {"depths": _DEPTHS_INPUT},
        "optional": {
            "folder_name": (
                "STRING",
                {"default": DEFAULT_FOLDER, "tooltip": "A folder below the output folder. Files with the same names are overwritten."},
            )
        },
    }

    def execute(self, depths: Any, folder_name: str = DEFAULT_FOLDER) -> tuple[str]:
        frames = _checked(depths)
        folder = resolve_inside(user_folder("output"), folder_name)
        with aside(folder, "frame_00000.exr", "folder_name") as unfinished:
            for index, frame in enumerate(with_progress(frames, len(frames))):
                write_depth_channel(unfinished / f"frame_{index:05}.exr", frame)
            for path in sorted(unfinished.iterdir()):
                move_over(path, folder / path.name)
        if (later := folder / f"frame_{len(frames):05}.exr").exists():
            logger.warning("frames of a longer video follow: delete them, or choose another folder_name; the first is %s", later)
        return (str(folder),)


def _limited(height: int, width: int, longest: int) -> tuple[int, int]:
    """Limits the longer side of frames to `longest` (<= 0: no limit); a reduced height and width are even, as codecs require."""
    if longest <= 0 or max(height, width) <= longest:
        return height, width
    scale = longest / max(height, width)
    rows, columns = (max(1, round(side * scale)) for side in (height, width))
    return rows + rows % 2, columns + columns % 2


def _frames(frames: Tensor, height: int, width: int) -> Iterator[Tensor]:
    for chunk in frames.split(_READ_AT_ONCE):
        yield resize_image(images_to_rgb(chunk), height, width)


def _checked(depths: Any) -> np.ndarray:
    """Checks depth of this or another pack and converts it to float32 (frames, H, W)."""
    if isinstance(depths, Tensor):
        depths = depths.detach().float().cpu().numpy()
    if not isinstance(depths, np.ndarray):
        raise TypeError(f"the depths input is a {type(depths).__name__}; expected an array (frames, height, width)")
    if depths.ndim != 3 or not depths.size:
        raise ValueError(f"the depths have shape {depths.shape}; expected (frames, height, width), at least one pixel of one frame")
    return np.ascontiguousarray(depths, np.float32)


NODES = (LoadVideoDepthAnythingModel, VideoDepthAnythingProcess, VideoDepthAnythingOutput, VideoDepthAnythingSaveEXR)
