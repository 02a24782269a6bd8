"""`depth-normal ui`: a page in the browser to drop images and videos on."""

from __future__ import annotations

import argparse
import html
import os
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...annotators.choices import BUNDLED_MODEL
from ...options.checks import how_to_install
from ...options.runs import DeviceOptions
from ..batch.overwriting import check_folder
from ..commands.option_table import add_options
from ..commands.result_paths import folder
from ..console.option_types import whole_type
from ..console.parser import Parser
from ..console.terminal import TERMINATIONS, echo, echo_error, handled, program
from ..console.viewer import say_no_browser, show_page
from ..outcomes import DEFAULT_FOLDER, DONE

if TYPE_CHECKING:
    from .gate import Gate

_LARGEST_PORT = 65535
_PATIENCE_SECONDS = 20
_NEEDS = f"the page needs the package aiohttp: {how_to_install('aiohttp')}"


def add_ui(parser: Parser) -> None:
    """Adds the options of `ui`."""
    port = "port of the page's address (default: a free one)"
    parser.add_argument("--port", type=whole_type(f"a port, 0 to {_LARGEST_PORT}", 0, _LARGEST_PORT), default=0, metavar="N", help=port)
    parser.add_argument("--no-browser", action="store_true", help="only print the page's address")
    where = "folder for the results, made if absent (default: %(default)s)"
    parser.add_argument("-o", "--out", type=folder, default=DEFAULT_FOLDER, metavar="FOLDER", help=where)
    model = "the model that the page begins with (default: %(default)s, which is in the package)"
    parser.add_argument("--model", default=BUNDLED_MODEL, metavar="MODEL", help=model)
    add_options(parser, DeviceOptions)
    parser.set_defaults(run=_ui)


def _ui(arguments: argparse.Namespace) -> int:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ImportError(_NEEDS) from error
    import asyncio

    from ...annotators.choices import PAGE, worded
    from ...annotators.registry import find_spec
    from ...model_loader.load import parse_device
    from .gate import Gate
    from .jobs import JobQueue
    from .server import Ui, serve

    model, out = find_spec(arguments.model).id, arguments.out.absolute()
    check_folder(out)
    parse_device(arguments.device)  # raises if it is absent
    ended = threading.Event()

    def end(number: int, _: object) -> None:
        if ended.is_set() and number == signal.SIGINT:  # a second Ctrl-C; the first leaves time to clean up
            raise KeyboardInterrupt
        ended.set()

    with handled(end, signal.SIGINT, *TERMINATIONS):
        jobs = JobQueue(out, Path(tempfile.mkdtemp(prefix="depth-normal-ui-")), arguments.device)
        ui = Ui(jobs, Gate(), model)

        def ready(address: str) -> None:
            echo(f"the page: {address}\nresults:  {out}\nCtrl-C ends it; what is finished stays")
            if not arguments.no_browser:
                # In a thread: opening waits for the browser, while the server has to answer it.
                threading.Thread(target=_open, args=(ui.gate, jobs.uploads / "open.html"), daemon=True).start()

        try:
            with worded(PAGE):
                asyncio.run(serve(ui, arguments.port, ready, ended))
        except KeyboardInterrupt:
            pass
        except OSError as error:
            raise OSError(
                f"port {arguments.port} cannot be used ({error.strerror or error}); name another one: `{program()} ui --port N`"
            ) from error
        finally:
            jobs.close()
    return DONE


def _open(gate: Gate, file: Path) -> None:
    """Opens the page by a redirecting file that only this user can read; the file is removed once the page is loaded."""
    address = html.escape(gate.address)
    page = (
        f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={address}"><a href="{address}">depth-normal ui</a>'
    )
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writable:
            writable.write(page)
    except OSError as error:
        say_no_browser(error.strerror or str(error))
        return
    if show_page(file) and not gate.entered.wait(_PATIENCE_SECONDS):
        # Sandboxed browsers (snap) start, but may not read the file.
        echo_error(f"no browser has come in {_PATIENCE_SECONDS} seconds; where yours shows an error, open the address above in it")
    gate.entered.wait()
    with suppress(OSError):  # Windows locks a file that the browser has open; its folder is removed at the end
        file.unlink(missing_ok=True)
