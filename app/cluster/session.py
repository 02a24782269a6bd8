"""A Ray to work with: one that runs already, or one on this machine that ends with the run."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..stores import MISSING

PACKAGE = Path(__file__).parents[2]
_SHIPPED = ("annotators", "app", "geometry", "model_loader", "nodes")
_SECONDS_TO_ANSWER = 5


def import_ray() -> ModuleType:
    """Ray, which says nothing of itself.

    Raises:
        ImportError: It is not installed; the message says how to.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # It would warn of each actor that has arguments; what goes wrong comes as exceptions.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Several workers share a machine's cores: threads that wait must not keep a core busy (a third of the time is lost otherwise).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A thread of Ray Data that outlives `ray.shutdown` would start another Ray, which nobody ends.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(MISSING) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def session(address: str | None) -> Iterator[tuple[ModuleType, bool]]:
    """Ray, connected. What is started here ends with the block; a Ray to which this process is connected already is used and kept.

    Args:
        address: As `RayOptions.address`.

    Yields:
        The package, and whether workers may be on other machines, now or when the cluster grows.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: Nothing answers at the address, or Ray ended before the block did.
    """
    ray = import_ray()
    if ray.is_initialized():
        with _end_in_words(ray):
            yield ray, True
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with ExitStack() as stack:
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address == "local":
            with _signals_kept():
                ray.init(address="local", include_dashboard=False, **quiet)
        else:
            _check_that_somebody_listens(address)
            environment = {"OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"]}
            package = _package_to_ship(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="depth-normal-"))))
            try:
                with _signals_kept():
                    ray.init(address=address, runtime_env={"py_modules": [str(package)], "env_vars": environment}, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConnectionError(_no_cluster(address, error)) from error
        stack.callback(ray.shutdown)
        with _end_in_words(ray):
            yield ray, address != "local"


@contextmanager
def _end_in_words(ray: ModuleType) -> Iterator[None]:
    """Says of a Ray that is killed in the block what became of the run, and how to go on."""
    try:
        yield
    except (ray.exceptions.LocalRayletDiedError, ray.exceptions.NodeDiedError, ray.exceptions.RaySystemError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConnectionError(f"Ray ended in the middle of the run ({reason}); run the same command with --resume to go on") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Gives back what Ray takes as it starts: it would end the process at once where SIGTERM asks for an end in good order."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_that_somebody_listens(address: str) -> None:
    """Ray itself tries for up to a minute."""
    if address == "auto":
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError(f"--address {address!r} is not the address of a cluster; accepted are auto, HOST:PORT and ray://HOST:PORT")
    try:
        socket.create_connection((host, port), _SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ConnectionError(_no_cluster(address, error)) from error


def _no_cluster(address: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return (
        f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, look at `ray status` there, or leave "
        "--address out to use this machine alone"
    )


def _package_to_ship(folder: Path) -> Path:
    """A copy of the pack under the name by which it is imported: a clone may lie in a folder of any name, and holds much besides."""
    package = folder / __name__.partition(".")[0]
    package.mkdir()
    for name in _SHIPPED:
        shutil.copytree(PACKAGE / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in PACKAGE.glob("*.py"):
        shutil.copy2(path, package)
    return package
