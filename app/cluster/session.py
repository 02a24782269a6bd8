"""Connects to a running Ray cluster, or starts one on this machine for the run."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from ..outcomes import DOCS
from .local_ray import QUIET, import_ray, local_ray, signals_kept

PACKAGE = Path(__file__).parents[2]
_SHIPPED = ("annotators", "app", "geometry", "media", "model_loader", "nodes", "options")
_SECONDS_TO_ANSWER = 5


@contextmanager
def session(address: str | None) -> Iterator[tuple[ModuleType, bool]]:
    """Connects to Ray. A Ray started here is stopped after the block; an existing connection of this process is reused and kept.

    Yields:
        The package, and whether workers may be on other machines, now or later.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: Nothing listens at the address, or Ray ended before the block.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with ExitStack() as stack:
        if "ray" in sys.modules and (ray := import_ray()).is_initialized():
            shared = True
        elif address == "local":
            ray, shared = stack.enter_context(local_ray()), False
        else:
            ray, shared = stack.enter_context(_connected(address)), True
        stack.enter_context(_end_in_words(ray))
        yield ray, shared


@contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    """Connects to a running cluster. Ray finds the token itself, in the environment or ~/.ray."""
    ray = import_ray()
    _check_that_somebody_listens(address)
    with tempfile.TemporaryDirectory(prefix="depth-normal-") as folder:
        try:
            with signals_kept():
                # Several workers share a machine's cores, as with a local Ray (`import_ray`).
                environment = {"OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"]}
                modules = [str(_package_to_ship(Path(folder)))]
                ray.init(address=address, runtime_env={"py_modules": modules, "env_vars": environment}, **QUIET)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConnectionError(_no_cluster(address, error)) from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _end_in_words(ray: ModuleType) -> Iterator[None]:
    """Rewords Ray's death during the block: the run's state, and how to continue."""
    try:
        yield
    except (ray.exceptions.LocalRayletDiedError, ray.exceptions.NodeDiedError, ray.exceptions.RaySystemError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConnectionError(f"Ray ended in the middle of the run ({reason}); run the same command with --resume to go on") from error


def _check_that_somebody_listens(address: str) -> None:
    """Fails early: Ray itself tries for up to a minute."""
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
        f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, look at `ray status` there, give this machine "
        f"the cluster's token if it asks for one (see {DOCS / 'scale.md'}), or leave --address out to use this machine alone"
    )


def _package_to_ship(folder: Path) -> Path:
    """Copies the package under its import name: a clone may have any folder name, and contains much else."""
    package = folder / __name__.partition(".")[0]
    package.mkdir()
    for name in _SHIPPED:
        shutil.copytree(PACKAGE / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in PACKAGE.glob("*.py"):
        shutil.copy2(path, package)
    return package
