"""Shows the current step of long work: with elapsed seconds on a terminal, else as one line a step."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from .terminal import shown

logger = logging.getLogger(__name__)

Step = Callable[[str], None]
"""Called with the name of the step that begins."""

_REFRESH_SECONDS = 1.0


@contextmanager
def displayed_steps(title: str) -> Iterator[Step]:
    """Shows the steps of long work on stderr, after a title; yields the function to call at each step."""
    if not sys.stderr.isatty():
        yield lambda name: logger.info("%s: %s", title, name)
        return
    with ExitStack() as running:

        def begin(name: str) -> None:
            running.close()
            running.enter_context(_timed_line(shown(f"{title}: {name}")))

        yield begin


@contextmanager
def _timed_line(words: str) -> Iterator[None]:
    """A terminal line with the elapsed time; it stays, with the total."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    over = threading.Event()
    with logging_redirect_tqdm(), tqdm(desc=words, bar_format="{desc} ({elapsed})") as line:

        def tick() -> None:
            while not over.wait(_REFRESH_SECONDS):
                line.refresh()

        ticking = threading.Thread(target=tick, daemon=True, name="depth-normal step")
        ticking.start()
        try:
            yield
        finally:
            over.set()
            ticking.join()
            line.refresh()
