"""Reads and writes videos and numbered images with PyAV, frame by frame, never the whole video."""

from .join import Segment, join_segments
from .library import VideoError, VideoReadError, pyav
from .prefetch import Loaded, WriterThread, compute_with, estimated, prefetch
from .presets import at_rate, cropped, cropped_window, fitted, fitted_size, fitted_window, in_groups
from .read import Frame, VideoHeader, read_frames, video_header
from .sequences import (
    MAPS,
    find_images,
    frame_numbers,
    frame_places,
    images_of_folder,
    is_sequence,
    numbered,
    numbered_files,
    read_sequence,
    reads,
    sequence_header,
)
from .sound import Sound, check_sound
from .write import CODECS, CONTAINERS, VideoWriter, check_codec, even_sized

__all__ = [
    "CODECS",
    "CONTAINERS",
    "MAPS",
    "Frame",
    "Loaded",
    "Segment",
    "Sound",
    "VideoError",
    "VideoHeader",
    "VideoReadError",
    "VideoWriter",
    "WriterThread",
    "at_rate",
    "check_codec",
    "check_sound",
    "compute_with",
    "cropped",
    "cropped_window",
    "estimated",
    "even_sized",
    "find_images",
    "fitted",
    "fitted_size",
    "fitted_window",
    "frame_numbers",
    "frame_places",
    "images_of_folder",
    "in_groups",
    "is_sequence",
    "join_segments",
    "numbered",
    "numbered_files",
    "prefetch",
    "pyav",
    "read_frames",
    "read_sequence",
    "reads",
    "sequence_header",
    "video_header",
]
