"""A private Ray cluster on this machine, for one run. It accepts local connections with the run's token only.

Ray's own defaults do not protect it: up to 2.58 whoever reaches its ports can run code, and from 2.59 on one token for all runs lies in a
file that every user of the machine can read. So the mode, the token and the interface are set here, and a call without the token checks
that Ray obeys.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from ...options.packages import how_to_install
from .library import QUIET, RAY, import_ray, signals_kept

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_SECONDS_TO_ANSWER = 30
# Any call will do that Ray answers to authorised clients.
_HARMLESS_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"


@contextmanager
def local_ray(**options: Any) -> Iterator[ModuleType]:
    """Starts Ray on this machine, on loopback and with a token of its own, and ends it with the block.

    The token is in the environment of this process and of Ray's own processes, in no file and on no command line. What the environment
    said of tokens before is there again afterwards. `options` are further ones of `ray.init`.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: Ray did not start, though it was tried again.
        RuntimeError: This version of Ray answers calls without the token.
    """
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Despite its name this works on Linux too: with 0 Ray binds to loopback. It is read when Ray is imported; in a process that
        # imported Ray before, the token alone protects.
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
    """Other values of the environment, for this process and those that it starts, as long as the block runs."""
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
    """Makes Ray read the environment again: a process reads mode and token once."""
    with suppress(ImportError, AttributeError):  # whether it worked, `_check_token_is_asked_for` says
        from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _start(ray: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
    """Ray's addresses. It gives its own processes 30 seconds to start, which on a busy machine can be too little."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            logger.info("Ray did not start (%s); attempt %d of %d", reason, attempt + 1, _ATTEMPTS)
        try:
            with _ended_if_it_fails(ray):
                started = ray.init(address="local", **options).address_info
        except (ValueError, TypeError):  # a wrong setting stays wrong
            raise
        except Exception as error:  # noqa: BLE001 - Ray raises a plain Exception when its time is over
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        with suppress(OSError):  # Ray makes it writable for all, and the sockets in it are doors too
            Path(started["session_dir"]).chmod(0o700)
        return started
    raise ConnectionError(
        f"Ray did not start on this machine in {_ATTEMPTS} attempts ({reason}); the machine is too busy, or short of memory or disk: try "
        "again later, or leave --engine ray out. Ray's logs are in the folder session_latest of its temporary folder (/tmp/ray)"
    )


@contextmanager
def _ended_if_it_fails(ray: ModuleType) -> Iterator[None]:
    """Ends the processes of a start that fails: Ray keeps them as long as this process lives, and they would slow down the next start."""
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
    """Calls Ray as a stranger would.

    Raises:
        RuntimeError: Ray does not refuse.
    """
    import grpc

    # A proxy of the environment would be asked for an address of this machine.
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
