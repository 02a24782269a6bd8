"""Imports PyAV on first use, hides the differences between its versions (12.1 and later), and opens files for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..options.packages import how_to_install

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_OF_HEADER = 4096


def is_cut_off(file: BinaryIO) -> bool:
    """True if a file is Matroska and has fewer bytes than its header says; False where it does not say.

    The position in the file is lost.
    """
    file.seek(0)
    expected = _whole_size(file.read(_MOST_OF_HEADER))
    return expected is not None and file.seek(0, 2) < expected


def _whole_size(beginning: bytes) -> int | None:
    """The end of the segment, which holds all but the short header before it."""
    header = _element_end(beginning, 0, _EBML)
    return None if header is None else _element_end(beginning, header, _SEGMENT)


def _element_end(data: bytes, start: int, identity: bytes) -> int | None:
    """Where an element ends; None = there is another one, or its size is not known, as of a live stream."""
    at = start + len(identity)
    if data[start:at] != identity or not data[at : at + 1]:
        return None
    # As many zero bits as the first byte begins with, so many bytes follow it.
    length = 9 - data[at].bit_length()
    bits = 7 * length
    size = int.from_bytes(data[at : at + length], "big") & ((1 << bits) - 1)
    return None if length > 8 or size == (1 << bits) - 1 else at + length + size


# A recording of television may have its first sound after many seconds; FFmpeg alone looks for 7 seconds and 5 MB.
_LOOKS_FOR = {"analyzeduration": str(30 * 10**6), "probesize": str(2**25)}
# No protocol has this name, so that a demuxer can open nothing: neither the files that a playlist names nor an address.
_OPENS_NOTHING = {"protocol_whitelist": "none"}

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"# VobSub", b"<?xml", b"<MPD")


class VideoError(ValueError):
    """A video that is not what its name says, is damaged, changes in the middle, or cannot be written; the message begins with its name."""

    __module__ = "depth_normal"


class VideoReadError(VideoError):
    """A source that cannot be read, or not to its end."""


def pyav() -> Any:
    """The module `av`.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(f"videos are read and written by PyAV, which is not installed: {how_to_install('av>=12.1')}") from error
    return av


@contextmanager
def video_errors(name: object, doing: str, kind: type[VideoError] = VideoError) -> Iterator[None]:
    """Around calls of FFmpeg: what it refuses becomes a VideoError in words; a missing file stays what it is.

    Args:
        name: The video, for the message.
        doing: What was tried, as in "it cannot be opened".
        kind: The class of the error.

    Raises:
        VideoError: In place of FFmpeg's own error.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except pyav().error.FFmpegError as error:
        raise kind(f"{name}: {doing} ({error.strerror or error})") from error


@contextmanager
def open_video(source: Any, name: object) -> Iterator[Any]:
    """An input container, for the time of a block.

    FFmpeg is handed the bytes of one regular file, and no name: a name can be the address of a server or of a device, and a file can name
    others (playlists, DVD indices), which are not read.

    Args:
        source: A path, or a file-like object that is open for reading and can seek.
        name: What messages call it.

    Raises:
        VideoReadError: Not a video, or damaged at its beginning; not a regular file; or a file that names others.
        FileNotFoundError, PermissionError: As the system says.
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
            # Metadata in another coding than UTF-8 must not end the reading; PyAV handles that itself from 19 on.
            tolerant = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
            # Not `options`, which go to each stream too: PyAV (seen up to 15) frees more of them than it made where streams appear late.
            container = av.open(_Nameless(file), mode="r", container_options=_LOOKS_FOR | _OPENS_NOTHING, **tolerant)
        yield opened.enter_context(container)


def is_cut_matroska(source: Any, name: object) -> bool:
    """True if a video, as `open_video` takes it, is a Matroska file that has fewer bytes than its header says."""
    if not isinstance(source, str | os.PathLike):
        return is_cut_off(source)
    with _open_regular(source, name) as file:
        return is_cut_off(file)


def _open_regular(path: str | os.PathLike[str], name: object) -> BinaryIO:
    """Opens a regular file. A pipe or a device would be waited for."""
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise VideoReadError(f"{name}: it is {kind}; videos are read from regular files: save it as one first")
    return path.open("rb")


class _Nameless:
    """A file for FFmpeg without its name, by which it would choose a demuxer or open files beside it."""

    def __init__(self, file: Any) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_output(path: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Any:
    """An output container for a file.

    Args:
        path: The file; its extension says which container. Whatever its name is, it is no address: "a:b.mp4" and "http:/a.mp4" are files.
        options: The muxer's.
    """
    return pyav().open(f"file:{Path(path).absolute()}", mode="w", options=dict(options or {}))


def add_copied_stream(output: Any, template: Any) -> Any:
    """A stream of `output` for packets of `template` as they are."""
    add = getattr(output, "add_stream_from_template", None)  # from 14 on; before, an option of add_stream
    return output.add_stream(template=template) if add is None else add(template)


def display_matrix(frame: Any) -> tuple[int, ...] | None:
    """The directions of the frame's axes by the container: (a, b, c, d), of which two are 0 where the image is turned by right angles."""
    import numpy as np

    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d
