"""Progress of long work on stderr: a bar on a terminal, occasional lines in a file or pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

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
