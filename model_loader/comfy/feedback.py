"""ComfyUI's progress bar, and the text that a running node shows."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from . import devices
from .host import prompt_server

# Seconds: between two messages on a node, and the shortest run that shows any.
_WORDS_EVERY = 0.25
_WORTH_WORDS = 1.0


def progress_bar(total: int, describe: Callable[[int, int], str] | None = None) -> Callable[[int, int], None] | None:
    """A function (done, total) that moves ComfyUI's progress bar; None outside ComfyUI.

    `describe` gives the node's message of (done, total); None = that it is running, and at the end how long it took.
    """
    if devices.memory_manager() is None:
        return None
    bar, words = sys.modules["comfy.utils"].ProgressBar(total), describe or _Running().words

    def move(done: int, all_of_it: int) -> None:
        bar.update_absolute(done, all_of_it)
        if said := words(done, all_of_it):
            show_message(said, often=done < all_of_it)

    return move


class _Running:
    """The messages of a node while it runs; one that ends at once has none."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._ended = False

    def words(self, done: int, total: int) -> str:
        """The message when a part is done."""
        took = time.monotonic() - self._start
        if self._ended or (took < _WORTH_WORDS and not _has_spoken()):
            return ""
        self._ended = done >= total
        return f"done in {took:.1f} s" if self._ended else f"running {done} of {total}"


@dataclass
class _Spoken:
    """The messages of the running node.

    Attributes:
        run: Ids of the prompt and the node.
        notes: Stand before every message.
        at: The time of the last message.
        said: Whether there was one.
    """

    run: tuple[str | None, str | None] = (None, None)
    notes: list[str] = field(default_factory=list)
    at: float = 0.0
    said: bool = False


_spoken = _Spoken()


def show_message(words: str, often: bool = False) -> None:
    """Shows a message on the node that ComfyUI is executing, in place of the one before, in the page that asked for it; else does nothing.

    Of messages that come `often`, four a second are sent.
    """
    if (server := _listening_server()) is None:
        return
    spoken, now = _words_of_run(server), time.monotonic()
    if often and now - spoken.at < _WORDS_EVERY:
        return
    spoken.at, spoken.said = now, True
    server.send_progress_text(": ".join(filter(None, ("; ".join(spoken.notes), words))), spoken.run[1], server.client_id)


def note(words: str) -> None:
    """Shows words on the node, once, and puts them before all its messages until it has run."""
    if (server := _listening_server()) is not None and words not in (notes := _words_of_run(server).notes):
        notes.append(words)
        show_message("")


def notes_of_run(before: Collection[str] = ()) -> list[str]:
    """The notes of the running node so far, without those that stood there before."""
    server = _listening_server()
    return [] if server is None else [words for words in _words_of_run(server).notes if words not in before]


class _Notes(logging.Handler):
    """Notes on the node that runs what is logged: warnings, and other records with a `note` among their extras.

    A `note` takes the place of the message; one that is empty notes the message, and None nothing.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Notes it."""
        words = getattr(record, "note", "" if record.levelno >= logging.WARNING else None)
        if words is not None:
            note(words or record.getMessage())


_notes = _Notes(logging.INFO)
# The pack's own: a pack in ComfyUI has a path for a name.
_logger = logging.getLogger(__name__.removesuffix(".model_loader.comfy.feedback"))


def noting_warnings(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; inside ComfyUI, what the log says of its inputs and settings stands on the node, too."""

    @functools.wraps(work)
    def noted(*args: Any, **kwargs: Any) -> Any:
        if devices.memory_manager() is None:
            return work(*args, **kwargs)
        _logger.addHandler(_notes)
        try:
            return work(*args, **kwargs)
        finally:
            _logger.removeHandler(_notes)

    return noted


def _has_spoken() -> bool:
    server = _listening_server()
    return server is not None and _words_of_run(server).said


def _listening_server() -> Any | None:
    """ComfyUI's server, if a page waits for the node that runs."""
    server = prompt_server()
    # an old ComfyUI has no send_progress_text, and a prompt that a script posted no page
    return server if getattr(server, "client_id", None) is not None and hasattr(server, "send_progress_text") else None


def _words_of_run(server: Any) -> _Spoken:
    """The messages of the executing node; reset when another runs."""
    global _spoken
    find = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    context = find() if find is not None else None  # None in threads of our own too
    run = (getattr(server, "last_prompt_id", None), server.last_node_id) if context is None else (context.prompt_id, context.node_id)
    if run != _spoken.run:
        _spoken = _Spoken(run)
    return _spoken
