"""Reads and writes videos, with PyAV, and numbered images: frame by frame, never the whole video."""

# ruff: noqa: F401  these are the names that nodes and commands import

from .join import Segment, join_segments
from .library import VideoError, VideoReadError, pyav
from .prefetch import Loaded, WriterThread, compute_with, estimated, prefetch
from .presets import at_rate, cropped, cropped_window, fitted, fitted_size, fitted_window, in_groups, until
from .read import Frame, VideoHeader, count_frames, read_frames, video_header
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
