"""The options of videos: outputs, temporal stabilisation, and the formats that video models expect of a control video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .checks import InvalidArgumentError
from .estimate import network_side, normal_coding
from .fields import Options, choice, number, several, switch, typed, whole
from .map_images import CLIP_NORMALISATIONS, NEAR, NEAR_END, PER_IMAGE, RUNNING
from .views import VIDEO_LAYOUTS

DEPTH, NORMALS, SIDE_BY_SIDE, STEREO, PARALLAX = OUTPUTS = ("depth", "normals", "side-by-side", "stereo", "parallax")
"""Outputs of a video: depth images, normal maps, each frame beside its depth, stereo images, and a moving camera."""

H264, H265, PRORES, DNXHR, FFV1 = CODECS = ("h264", "h265", "prores", "dnxhr", "ffv1")
"""`media.write` has their encoders."""

CONTAINERS = (".mp4", ".mov", ".mkv")
"""Video containers; each supports H264 and H265."""

QUALITY, MOST_QUALITY = 14, 51
"""Default and largest CRF, of encoders that have one."""

MOST_PREVIEWED = 100
"""Frames on one preview sheet, at most."""

SEGMENT_FRAMES = 120
"""Default length of a segment: frames lost at most when a run is stopped."""

ALIGNMENTS = ("scale_shift", "none")
"""Alignment of frames to those before: by scale and shift (metric depth: by scale), or none."""


def _network_side() -> int:
    return network_side(
        "Side of the network's input in pixels, measured as the model's authors do (see Depth & Normals (advanced)). 0: the model's own "
        "size."
    )


@dataclass(frozen=True)
class VideoOptions(Options):
    """Temporal stabilisation of a video."""

    align: str = choice(
        ALIGNMENTS,
        "How each frame's depth is aligned to the frames before, for models of single images. scale_shift: by scale and shift. none: not "
        "at all.",
        on_page="Metres are aligned by scale alone; only places where the image did not change are compared.",
    )
    smooth: float = number(
        1.0,
        (0, 1),
        "How strongly frames are smoothed over time where nothing moves: the weight of the frames before. 0: not at all, 1: they replace "
        "the frame's own values.",
        step=0.05,
    )
    cuts: bool = switch(
        True,
        "Whether cuts of the video are detected. On: the estimate starts anew at a cut. Off: the whole batch is one shot, as in the old "
        "node.",
        on_page="Where cuts are detected, one shot does not distort the next.",
        flag=None,
    )


@dataclass(frozen=True)
class DepthVideoOptions(Options):
    """A video of depth."""

    normalisation: str = choice(
        (RUNNING, PER_IMAGE),
        "Which depths become black and white. running: the range of the frames so far, which avoids flicker. per_image: the range of each "
        "frame. For one range over a whole clip use Depth & Normals (advanced) and Render Depth.",
        on_page="running starts anew at a cut; per_image flickers.",
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
    """What one family of models expects: frame rate, sides (multiples of `side`), frames (of `group` plus one), and the source of this."""

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


@dataclass(frozen=True)
class ClipOptions(Options):
    """A video's range of frames, outputs and format."""

    what: tuple[str, ...] = several(
        OUTPUTS,
        f"One or more of {', '.join(OUTPUTS)}, with commas; its name ends each of several files; may be given again.",
        metavar="WHAT",
        otherwise=DEPTH,
    )
    start: Fraction = typed(Fraction(0), "seconds", "Where to begin.", metavar="SECONDS")
    end: Fraction | None = typed(
        None, "seconds", "Where to stop, counted from the video's beginning.", metavar="SECONDS", otherwise="its end"
    )
    frames: int | None = typed(None, "positive", "Most frames to make.", metavar="N", otherwise="all")
    fps: Fraction | None = typed(
        None,
        "rate",
        "Frames per second of the result, as 24 or 24000/1001; of numbered images how fast they play.",
        metavar="RATE",
        otherwise="the video's own, or 25",
    )
    width: int | None = typed(
        None,
        "frame_side",
        "Scale the frames to this many pixels before anything is made of them; with the other side given, the middle is cut out.",
        metavar="PIXELS",
    )
    height: int | None = typed(None, "frame_side", "The same for the height.", metavar="PIXELS")
    preset: str | None = choice(
        tuple(PRESETS), "Frames per second, height, width and number of frames as this video model expects them of a control video.", None
    )
    normalise: str = choice(
        CLIP_NORMALISATIONS,
        "Where the range between black and white comes from: each frame, the whole video (which takes two passes), or the frames so far.",
        RUNNING,
    )
    near: str = choice(NEAR, "Which grey level of depth is near.")
    layout: str = choice(VIDEO_LAYOUTS, f"Of stereo: where the images of the two eyes lie: {', '.join(VIDEO_LAYOUTS)}.", metavar="LAYOUT")
    codec: str | None = choice(
        CODECS,
        "How the video is stored. h264: 8 bits, to look at (the default). h265: 10 bits. prores (4444), dnxhr (444): 10 bits in .mov, for "
        "editing programs. ffv1: 16 bits without loss, in .mkv.",
        None,
    )
    quality: int | None = whole(
        None, (0, MOST_QUALITY), "The encoder's CRF, less = better and larger.", metavar="N", otherwise=f"{QUALITY}"
    )
    preview: int | None = whole(
        None,
        (1, MOST_PREVIEWED),
        "Only so many frames at equal distances, each above what is made of it, on one sheet <video>_preview.png: to judge settings before "
        "a long run.",
        metavar="N",
    )
    resume: bool = switch(
        False, "Go on after what a stopped run has finished, and leave videos that are finished as they are; give the same options."
    )
    segment: int = typed(
        SEGMENT_FRAMES, "positive", "Frames in a segment, in whole steps of the model: the most that a stop loses.", metavar="N"
    )
    strict: bool = switch(
        False, "End a video at the first frame that cannot be decoded; without it, the last good frame is held in place of each such frame."
    )

    @property
    def outputs(self) -> list[str]:
        """The outputs, without duplicates."""
        return list(dict.fromkeys(self.what or (DEPTH,)))

    def check(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"--end is {float(self.end):g} and --start {float(self.start):g}: the end must be behind the start")
        if self.preset is None:
            return
        preset = PRESETS[self.preset]
        for name, length in (("width", self.width), ("height", self.height)):
            if length is not None and length % preset.side:
                nearest = max(1, round(length / preset.side)) * preset.side
                raise InvalidArgumentError(name, f"is {length}; {preset.name} takes multiples of {preset.side}, such as {nearest}")

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if not {DEPTH, SIDE_BY_SIDE} & {*self.outputs}:
            yield ("near",), "is for depth, and {what} names none; add depth to {what}, or leave it out"
        if STEREO not in self.outputs:
            yield ("layout",), "is for stereo, and {what} names none; add stereo to {what}, or leave it out"
        if self.preview is not None:
            yield ("resume",), "has no effect on a {preview}; leave it out"
