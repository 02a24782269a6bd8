"""`depth-normal ui`: a page in the browser to drop images and videos on."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from ...annotators.choices import BUNDLED_MODEL
from ..batch.overwriting import check_folder
from ..commands.arguments import add_device
from ..commands.result_paths import DEFAULT_FOLDER, folder
from ..console.option_types import whole_type
from ..console.parser import Parser
from ..console.terminal import echo, program
from ..console.viewer import show_page
from ..outcomes import DONE

_LARGEST_PORT = 65535
_NEEDS = f'the page needs the package aiohttp: run  "{sys.executable}" -m pip install aiohttp'


def add_ui(parser: Parser) -> None:
    """Adds the options of `ui`."""
    port = "port of the page's address (default: a free one)"
    parser.add_argument("--port", type=whole_type(f"a port, 0 to {_LARGEST_PORT}", 0, _LARGEST_PORT), default=0, metavar="N", help=port)
    parser.add_argument("--no-browser", action="store_true", help="only print the page's address")
    where = "folder for the results, made if absent (default: %(default)s)"
    parser.add_argument("-o", "--out", type=folder, default=DEFAULT_FOLDER, metavar="FOLDER", help=where)
    model = "the model that the page begins with (default: %(default)s, which is in the package)"
    parser.add_argument("--model", default=BUNDLED_MODEL, metavar="MODEL", help=model)
    add_device(parser)
    parser.set_defaults(run=_ui)


def _ui(arguments: argparse.Namespace) -> int:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ImportError(_NEEDS) from error
    import asyncio

    from ...annotators.registry import find_spec
    from ...annotators.setting_names import PAGE, worded
    from ...model_loader.load import parse_device
    from .gate import Gate
    from .jobs import JobQueue
    from .server import Ui, serve

    model, out = find_spec(arguments.model).id, arguments.out.absolute()
    check_folder(out)
    parse_device(arguments.device)  # whether it is there
    with tempfile.TemporaryDirectory(prefix="depth-normal-ui-", ignore_cleanup_errors=True) as uploads:
        jobs = JobQueue(out, Path(uploads), arguments.device)
        ui = Ui(jobs, Gate(), model)

        def ready(address: str) -> None:
            echo(f"the page: {address}\nresults:  {out}\nCtrl-C ends it; what is finished stays")
            if not arguments.no_browser:
                # It waits for the browser's own words, while the server has to answer the browser.
                threading.Thread(target=show_page, args=(ui.gate.address_for_once(),), daemon=True).start()

        async def main() -> None:
            until, loop = asyncio.Event(), asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError):  # Windows: Ctrl-C ends the loop by itself
                    loop.add_signal_handler(number, until.set)
            await serve(ui, arguments.port, ready, until)

        try:
            with worded(PAGE):
                asyncio.run(main())
        except KeyboardInterrupt:
            pass
        except OSError as error:
            raise OSError(
                f"port {arguments.port} cannot be used ({error.strerror or error}); name another one: `{program()} ui --port N`"
            ) from error
        finally:
            jobs.close()
    return DONE
