"""Imports Ray, and connects to a running cluster or runs one on this machine, which accepts only local connections with the run's token.

Ray's defaults are unsafe: up to 2.58 anyone who reaches its ports can run code, and from 2.59 on all runs share a token in a world-readable
file. So authentication mode, token and interface are set here, and a call without the token verifies that Ray enforces them.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ...options.checks import how_to_install
from ..outcomes import DOCS

logger = logging.getLogger(__name__)

RAY = "ray[data,client]>=2.55"
_MISSING = f"Ray is not installed: {how_to_install(RAY, 'pyarrow>=17', 'fsspec>=2024.6')}"

QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
"""Options of `ray.init`."""


def import_ray() -> ModuleType:
    """Imports Ray, or raises ImportError that says how to install it."""
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


_ATTEMPTS = 3
_SECONDS_TO_ANSWER = 30
# Any harmless call that needs authorisation will do.
_HARMLESS_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"


@contextmanager
def local_ray(**options: Any) -> Iterator[ModuleType]:
    """Runs Ray on this machine for the block, on the loopback interface and with its own token; `options` are of `ray.init`.

    The token is only in the environment of this process and Ray's, not in a file or on a command line. The previous environment is restored
    afterwards.

    Raises:
        ConnectionError: Ray did not start, after several attempts.
        RuntimeError: This version of Ray answers calls without the token.
    """
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Despite its name this works on Linux too: with 0 Ray binds to loopback. It is read when Ray is imported; if Ray was imported
        # before, only the token protects.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    with _environment(environment):
        ray = import_ray()
        _forget_settings()
        try:
            with signals_kept():
                started = _start(ray, {"include_dashboard": False, **QUIET, **options})
            _check_token_is_asked_for(ray, started["gcs_address"])
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for the block, for this process and its children."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _forget_settings()


def _forget_settings() -> None:
    """Makes Ray re-read the environment: a process caches mode and token."""
    with suppress(ImportError, AttributeError):  # `_check_token_is_asked_for` verifies the effect
        from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _start(ray: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
    """Starts Ray and returns its addresses. Retries: Ray's own limit of 30 seconds can be too short on a busy machine."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            logger.info("Ray did not start (%s); attempt %d of %d", reason, attempt + 1, _ATTEMPTS)
        try:
            with _ended_if_it_fails(ray):
                started = ray.init(address="local", **options).address_info
        except (ValueError, TypeError):  # invalid settings: retrying is useless
            raise
        except Exception as error:  # noqa: BLE001 - Ray raises a plain Exception on timeout
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        with suppress(OSError):  # Ray makes it world-writable, and its sockets accept commands
            Path(started["session_dir"]).chmod(0o700)
        return started
    raise ConnectionError(
        f"Ray did not start on this machine in {_ATTEMPTS} attempts ({reason}); the machine is too busy, or short of memory or disk: try "
        "again later, or leave --engine ray out. Ray's logs are in the folder session_latest of its temporary folder (/tmp/ray)"
    )


@contextmanager
def _ended_if_it_fails(ray: ModuleType) -> Iterator[None]:
    """Kills the processes of a failed start: Ray would keep them alive, and they would slow down the next attempt."""
    from psutil import Process  # pyright: ignore[reportMissingModuleSource]  Ray brings it along

    before = set(Process().children(recursive=True))
    try:
        yield
    except Exception:
        ray.shutdown()
        for child in set(Process().children(recursive=True)) - before:
            with suppress(Exception):
                child.kill()
                child.wait(_SECONDS_TO_ANSWER)
        raise


def _check_token_is_asked_for(ray: ModuleType, address: str) -> None:
    """Calls Ray without the token, and raises unless Ray refuses."""
    import grpc

    # A proxy from the environment must not be asked for a local address.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_HARMLESS_CALL)(b"", timeout=_SECONDS_TO_ANSWER, wait_for_ready=True)
            answer = "it answers"
        except grpc.RpcError as error:
            status = error.code()  # pyright: ignore[reportAttributeAccessIssue]
            if status is grpc.StatusCode.UNAUTHENTICATED:
                return
            answer = f"it says {status.name}"
    raise RuntimeError(
        f"Ray {ray.__version__} does not refuse a caller without the run's token ({answer}), so other users of this machine might run code "
        f"in it; install a version that does: {how_to_install(RAY, newer=True)}"
    )


PACKAGE = Path(__file__).parents[2]
_SHIPPED = ("annotators", "app", "geometry", "media", "model_loader", "nodes", "options")
_SECONDS_TO_CONNECT = 5


@contextmanager
def session(address: str | None) -> Iterator[tuple[ModuleType, bool]]:
    """Connects to Ray; yields the package, and whether workers may be on other machines, now or later.

    A Ray started here is stopped after the block; an existing connection of this process is reused and kept. Raises as `import_ray`, and
    ConnectionError if nothing listens at the address, or Ray ended before the block.
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
        socket.create_connection((host, port), _SECONDS_TO_CONNECT).close()
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
