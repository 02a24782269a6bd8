"""What the operating system offers: environment variables, free space on disks, and the terminal's progress bar."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


# ComfyUI's registry lists every file that reads environment variables: only this one and the runtimes, for their libraries, do.
def environment(name: str) -> str:
    """The value of an environment variable; "" if unset."""
    return os.environ.get(name, "")


def variables_beginning(prefix: str) -> list[str]:
    """The sorted names of the set environment variables with this prefix."""
    return sorted(name for name in os.environ if name.startswith(prefix))


KEPT_FREE = 2**30
"""Bytes to leave free on the disk when writing a file of unknown size, or an engine."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, or of its nearest ancestor that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means a full disk, an exceeded quota or the file system's file size limit.

    Libraries raise their own error types, with the system's message.
    """
    return getattr(error, "errno", None) in _DISK_FULL or any(os.strerror(number) in str(error) for number in _DISK_FULL)


_SECONDS_A_LINE = 30


def terminal_bar(total: float | None, unit: str, initial: float = 0, hidden: bool = False, **options: Any) -> tqdm:
    """A tqdm bar. A file or pipe gets one line every 30 seconds, and nothing of shorter work.

    `total` is None if unknown; `options` are passed to tqdm, such as `desc`.
    """
    from tqdm import tqdm

    stream = sys.stderr
    if stream is None or stream.isatty():
        return tqdm(total=total, unit=unit, initial=initial, disable=hidden or stream is None, dynamic_ncols=True, **options)
    about = f"{options['desc']}: " if "desc" in options else ""
    share = " of {total_fmt} ({percentage:.0f} %), {remaining} left" if total else " in {elapsed}"
    return tqdm(
        total=total,
        unit=unit,
        initial=initial,
        disable=hidden,
        file=_Lines(stream),
        mininterval=_SECONDS_A_LINE,
        delay=_SECONDS_A_LINE,
        bar_format=f"{about}{{n_fmt}}{share}, {{rate_fmt}}{{postfix}}",
        **options,
    )


class _Lines:
    """Writes each state of a tqdm bar on a line of its own, instead of over the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        """Takes a state of the bar, or the spaces that clear it."""
        state = text.strip()
        if state and state != self._last:
            self._last = state
            self._stream.write(f"{state}\n")

    def flush(self) -> None:
        """See `TextIO`."""
        self._stream.flush()
