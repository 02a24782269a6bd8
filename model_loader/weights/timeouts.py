"""Timeouts of downloads, set by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .network_errors import SettingError

CONNECT_VARIABLES = ("DEPTH_NORMAL_CONNECT_TIMEOUT",)
READ_VARIABLES = ("DEPTH_NORMAL_READ_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_MOST_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Timeouts:
    """Seconds.

    Attributes:
        connect: For a connection to be established, encryption included. A token that has to be renewed first has as long.
        read: For the next byte to come over an established connection, the first one included.
    """

    connect: float = 10.0
    read: float = 60.0

    @classmethod
    def from_environment(cls) -> Timeouts:
        """The values of the first variables that are set, else the defaults.

        Raises:
            SettingError: One of them is not a number of seconds.
        """
        return cls(_seconds(CONNECT_VARIABLES, cls.connect), _seconds(READ_VARIABLES, cls.read))


def _seconds(names: tuple[str, ...], default: float) -> float:
    for name in names:
        if text := os.environ.get(name, "").strip():
            try:
                seconds = float(text)
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= _MOST_SECONDS:
                found = f"{name} is {text[:80]!r}"
                raise SettingError(f"{found}; accepted are seconds, more than 0 and up to {_MOST_SECONDS}, such as {default:g}")
            return seconds
    return default
