"""Reads small, untrusted JSON files in bounded time and memory."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 2**20


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file of at most `MAX_BYTES`.

    Raises:
        OSError: It is absent or cannot be read.
        ValueError: Not a regular file, too long, or not JSON; the message says which.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would block, and a device may have no end
        raise ValueError("it is no regular file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"it has {status.st_size} bytes; at most {MAX_BYTES} are read")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("it is no JSON: its values are nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
