"""Imports PyAV on first use, hides differences between its versions (12.1 and later), and opens files for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from ..geometry.errors import FULL_DISK
from ..options.checks import how_to_install

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_OF_HEADER = 4096


def _element_end(data: bytes, start: int, identity: bytes) -> int | None:
    """Where an element ends; None = another element, or of unknown size, as in live streams."""
    at = start + len(identity)
    if data[start:at] != identity or not data[at : at + 1]:
        return None
    # The number of leading zero bits of the first byte is the number of bytes that follow it.
    length = 9 - data[at].bit_length()
    bits = 7 * length
    size = int.from_bytes(data[at : at + length], "big") & ((1 << bits) - 1)
    return None if length > 8 or size == (1 << bits) - 1 else at + length + size


# The first audio of a television recording may come after many seconds; FFmpeg by default probes 7 seconds and 5 MB.
_LOOKS_FOR = {"analyzeduration": str(30 * 10**6), "probesize": str(2**25)}
# No protocol has this name, so demuxers can open neither files that a playlist names nor an address.
_OPENS_NOTHING = {"protocol_whitelist": "none"}

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"# VobSub", b"<?xml", b"<MPD")


class VideoError(ValueError):
    """A video with a misleading name, damaged, changing in the middle, or not writable; the message begins with its name if known."""

    __module__ = "depth_normal"


class VideoReadError(VideoError):
    """A source that cannot be read, or not to its end."""


def pyav() -> Any:
    """The module `av`. Raises ImportError with installation advice."""
    try:
        import av
    except ImportError as error:
        raise ImportError(f"videos are read and written by PyAV, which is not installed: {how_to_install('av>=12.1')}") from error
    if av.__version__.startswith(("14.0.", "14.1.")):
        raise ImportError(f"the videos that PyAV {av.__version__} writes cannot be decoded: {how_to_install('av>=15', newer=True)}")
    return av


@contextmanager
def video_errors(name: object, doing: str, kind: type[VideoError] = VideoError) -> Iterator[None]:
    """Raises FFmpeg's errors as `kind`, naming the video and `doing`, as "it cannot be opened"; others pass."""
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except pyav().error.FFmpegError as error:
        if error.errno in FULL_DISK:
            raise OSError(error.errno, error.strerror, str(name)) from error
        raise kind(f"{name}: {doing} ({error.strerror or error})") from error


@contextmanager
def open_video(source: Any, name: object) -> Iterator[Any]:
    """Opens an input container for a `with` block; `source` is a path, or a readable and seekable file-like object, `name` for messages.

    FFmpeg gets the bytes of one regular file and no name. A name can address a server or a device, and a file can refer to others
    (playlists, DVD indices), which are not read.

    Raises:
        VideoReadError: Not a video, damaged at its beginning, not a regular file, or a file that refers to others.
        FileNotFoundError, PermissionError: As the system raises them.
    """
    with ExitStack() as opened:
        file = opened.enter_context(_open_regular(source, name)) if isinstance(source, str | os.PathLike) else source
        file.seek(0)
        beginning = file.read(64)
        file.seek(0)
        if beginning.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS):
            raise VideoReadError(f"{name}: it is a list of other files, which are not read from it; name the video itself")
        with video_errors(name, "not a video that can be opened, or one that is damaged or cut off", VideoReadError):
            av = pyav()
            # Metadata that is not UTF-8 must not end the reading; PyAV handles that itself from 19 on.
            tolerant = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
            # Not `options`, which go to each stream too: with late streams, PyAV (seen up to 15) frees more of them than it made.
            container = av.open(_Nameless(file), mode="r", container_options=_LOOKS_FOR | _OPENS_NOTHING, **tolerant)
        opened.enter_context(container)
        opened.callback(_wait_for_decoders, container)
        yield container


def _wait_for_decoders(container: Any) -> None:
    """Waits until no decoder's thread is at work, and does not hold the GIL meanwhile.

    PyAV holds it while it frees a decoder, which waits for those threads too: for ever if one of them logs to Python then. Older versions
    of torchvision set PyAV to log there; before PyAV 18, threads then take the GIL for every message, and not only for those of errors.
    """
    for stream in container.streams:
        if stream.codec_context is not None and stream.codec_context.is_open:
            stream.codec_context.flush_buffers()


def is_cut_matroska(source: Any, name: object) -> bool:
    """True if a source of `open_video` is a Matroska file shorter than its header states. Moves the position of a file-like object."""
    with _open_regular(source, name) if isinstance(source, str | os.PathLike) else nullcontext(source) as file:
        file.seek(0)
        beginning = file.read(_MOST_OF_HEADER)
        header = _element_end(beginning, 0, _EBML)
        # The segment holds everything but the short header before it.
        expected = None if header is None else _element_end(beginning, header, _SEGMENT)
        return expected is not None and file.seek(0, 2) < expected


def _open_regular(path: str | os.PathLike[str], name: object) -> BinaryIO:
    """Opens a regular file. A pipe or a device would block."""
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise VideoReadError(f"{name}: it is {kind}; videos are read from regular files: save it as one first")
    return path.open("rb")


class _Nameless:
    """Hides a file's name from FFmpeg, which would choose a demuxer or open neighbouring files by it."""

    def __init__(self, file: Any) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_output(path: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Any:
    """Opens an output container by its extension, with the muxer's `options`; "a:b.mp4" and "http:/a.mp4" are files, not addresses."""
    return pyav().open(f"file:{Path(path).absolute()}", mode="w", options=dict(options or {}))


def add_copied_stream(output: Any, template: Any) -> Any:
    """Adds a stream for copied packets of `template`."""
    add = getattr(output, "add_stream_from_template", None)  # PyAV 14 and later; before, an option of add_stream
    if add is None:
        return output.add_stream(template=template)
    return add(template, True)  # opaque: else PyAV 14 to 17 open an encoder, which refuses some streams and rounds times


def display_matrix(frame: Any) -> tuple[int, ...] | None:
    """The container's (a, b, c, d) directions of the frame's axes; for right angles two of them are 0. None = not stated."""
    import numpy as np

    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d
