"""PyAV: imported where it is needed, and what its versions (12 and later) call differently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MISSING = "films are read and written by PyAV, which is not installed: pip install 'av>=12'"


class FilmError(ValueError):
    """A film that is not what its name says, is damaged, changes in the middle, or cannot be written; the message begins with its name."""

    __module__ = "depth_normal"


def pyav() -> Any:
    """The module `av`.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(MISSING) from error
    return av


@contextmanager
def film_errors(name: object, doing: str) -> Iterator[None]:
    """Around calls of FFmpeg: what it refuses becomes a FilmError in words; a missing file stays what it is.

    Args:
        name: The film, for the message.
        doing: What was tried, as in "it cannot be opened".

    Raises:
        FilmError: In place of FFmpeg's own error.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except pyav().error.FFmpegError as error:
        raise FilmError(f"{name}: {doing} ({error.strerror or error})") from error


def open_film(source: Any, name: object) -> Any:
    """An input container.

    Args:
        source: A path, or a file-like object.
        name: What messages call it.

    Raises:
        FilmError: Not a film, or damaged at its beginning.
    """
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else source
    if not isinstance(path, str):
        path.seek(0)
    with film_errors(name, "not a film that can be opened, or one that is damaged or cut off"):
        av = pyav()
        # Words in another coding than UTF-8 must not end the reading; from 19 on PyAV sees to that itself.
        tolerant = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
        return av.open(path, mode="r", **tolerant)


def add_copied_stream(output: Any, template: Any) -> Any:
    """A stream of `output` for packets of `template` as they are."""
    add = getattr(output, "add_stream_from_template", None)  # from 14 on; before, an option of add_stream
    return output.add_stream(template=template) if add is None else add(template)


def display_matrix(frame: Any) -> tuple[int, ...] | None:
    """Where the container says the frame's axes point: (a, b, c, d), of which two are 0 where the picture is turned by right angles."""
    import numpy as np

    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d
