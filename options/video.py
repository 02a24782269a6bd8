"""What can be made of videos, how their frames are made temporally stable, and what video models expect of a control video."""

from __future__ import annotations

from dataclasses import dataclass

from .estimate import network_side, normal_coding
from .fields import Options, choice, number, switch
from .map_images import NEAR, NEAR_END, PER_IMAGE, RUNNING

DEPTH, NORMALS, SIDE_BY_SIDE, STEREO, PARALLAX = OUTPUTS = ("depth", "normals", "side-by-side", "stereo", "parallax")
"""Outputs of a video: images of depth, normal maps, each frame beside its depth, images for both eyes, and a camera that moves."""

H264, H265, PRORES, DNXHR, FFV1 = CODECS = ("h264", "h265", "prores", "dnxhr", "ffv1")
"""`media.write` has the encoder of each."""

MOST_PREVIEWED = 100
"""Frames of a video on one sheet, at most."""

ALIGNMENTS = ("scale_shift", "none")
"""Alignments of frames with those before: by scale and shift (metres: by scale), or not at all."""


def _network_side() -> int:
    return network_side(
        "Side of the network's input in pixels, measured as the model's authors do (see Depth & Normals (advanced)). 0: the model's own "
        "size."
    )


@dataclass(frozen=True)
class VideoOptions(Options):
    """How the frames of a video are made temporally stable."""

    align: str = choice(
        ALIGNMENTS,
        "How each frame's depth is aligned to the frames before, for models of single images. scale_shift: by scale and shift. none: not "
        "at all.",
    )
    smooth: float = number(
        1.0,
        0,
        1,
        "How strongly frames are smoothed over time where nothing moves: the weight of the frames before. 0: not at all, 1: they replace "
        "the frame's own values.",
        step=0.05,
    )
    cuts: bool = switch(
        True,
        "Whether cuts of the video are detected. On: the estimate starts anew at a cut. Off: the whole batch is one shot, as in the old "
        "node.",
        flag=None,
    )


@dataclass(frozen=True)
class DepthVideoOptions(Options):
    """A video of depth."""

    normalisation: str = choice(
        (RUNNING, PER_IMAGE),
        "Which depths become black and white. running: the range of the frames so far, which avoids flicker. per_image: the range of each "
        "frame. For one range over a whole clip use Depth & Normals (advanced) and Render Depth.",
    )
    near: str = choice(NEAR, NEAR_END)
    resolution: int = _network_side()


@dataclass(frozen=True)
class NormalsVideoOptions(Options):
    """A video of normals."""

    coding: str = normal_coding()
    resolution: int = _network_side()


@dataclass(frozen=True)
class Preset:
    """The frame rate and sizes that one family of models expects.

    Attributes:
        name: Of the models.
        rate: Frames a second that it was made for.
        side: Width and height are multiples of this.
        group: The number of frames is a multiple of this and one.
        source: Who says so.
    """

    name: str
    rate: int
    side: int
    group: int
    source: str


PRESETS = {
    "wan": Preset(
        "Wan 2.1, 2.2 14B, VACE, Fun Control", 16, 16, 4,
        "Wan-Video/Wan2.1: wan/configs/shared_config.py (sample_fps), generate.py (4n+1); diffusers: WanPipeline (sides of 16); "
        "alibaba-pai/Wan2.1-Fun-14B-Control: model card (81 frames at 16 a second)",
    ),
    "ltx": Preset(
        "LTX-Video", 25, 32, 8,
        "Lightricks/LTX-Video: README.md (sides of 32, 8n+1 frames); ComfyUI: LTXVConditioning (25 frames a second unless told otherwise; "
        "the model is told the rate)",
    ),
    "hunyuan": Preset(
        "HunyuanVideo", 24, 16, 4,
        "Tencent/HunyuanVideo: sample_video.py (fps=24), hyvideo/inference.py (4n+1, sides of 16)",
    ),
    "cogvideox": Preset(
        "CogVideoX 2B, 5B", 8, 16, 8,
        "THUDM/CogVideo: README.md (8 frames a second, 8n+1); diffusers: CogVideoXPipeline (sides of 8; its transformer's patches make "
        "that 16)",
    ),
    "cogvideox1.5": Preset(
        "CogVideoX 1.5 5B", 16, 16, 16,
        "THUDM/CogVideo: README.md (16 frames a second, 16n+1, sides of 16)",
    ),
    "mochi": Preset(
        "Mochi 1", 30, 16, 6,
        "genmoai/mochi: src/genmo/lib/utils.py (fps=30), src/genmo/mochi_preview/pipelines.py (6n+1); ComfyUI: EmptyMochiLatentVideo "
        "(sides of 16)",
    ),
}  # fmt: skip
