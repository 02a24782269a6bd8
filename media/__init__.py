"""Reads and writes videos, with PyAV, and numbered images: frame by frame, never the whole video."""

# ruff: noqa: F401  these are the names that nodes and commands import

from .join import Segment, join_segments
from .library import VideoError, VideoReadError, pyav
from .prefetch import Loaded, WriterThread, compute_with, estimated, prefetch
from .read import Frame, VideoHeader, count_frames, read_frames, video_header
from .sound import Sound, check_sound
from .write import CODECS, CONTAINERS, VideoWriter, check_codec, even_sized
