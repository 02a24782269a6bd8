"""Imports Ray without its log output and without changing this process's signal handlers."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ...options.packages import how_to_install

RAY = "ray[data,client]>=2.55"
_MISSING = f"Ray is not installed: {how_to_install(RAY, 'pyarrow>=17', 'fsspec>=2024.6')}"

QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
"""Options of `ray.init`."""


def import_ray() -> ModuleType:
    """Imports Ray.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray warns of each actor with arguments; real errors arrive as exceptions.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Several workers share a machine's cores: spinning threads would waste a third of the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A thread of Ray Data that outlives `ray.shutdown` would start another Ray, which would never end.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(_MISSING) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def signals_kept() -> Iterator[None]:
    """Restores the SIGTERM handler that Ray replaces: Ray's would end the process without cleaning up."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
