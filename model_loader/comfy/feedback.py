"""Progress and messages: ComfyUI's progress bar and the text that a running node shows."""

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

# Seconds: minimum interval between messages on a node, and the shortest run that shows any.
_WORDS_EVERY = 0.25
_WORTH_WORDS = 1.0


def progress_bar(total: int, describe: Callable[[int, int], str] | None = None) -> Callable[[int, int], None] | None:
    """A function (done, total) that moves ComfyUI's progress bar; None outside ComfyUI.

    `describe` formats the node's message from (done, total); by default the progress, and at the end the elapsed time.
    """
    if devices.memory_manager() is None:
        return None
    bar, start, ended = sys.modules["comfy.utils"].ProgressBar(total), time.monotonic(), False

    def running(done: int, all_of_it: int) -> str:
        """The message after a part is done; a very short run has none."""
        nonlocal ended
        took, server = time.monotonic() - start, _listening_server()
        if ended or (took < _WORTH_WORDS and not (server is not None and _words_of_run(server).said)):
            return ""
        ended = done >= all_of_it
        return f"done in {took:.1f} s" if ended else f"running {done} of {all_of_it}"

    def move(done: int, all_of_it: int) -> None:
        bar.update_absolute(done, all_of_it)
        if said := (describe or running)(done, all_of_it):
            show_message(said, often=done < all_of_it)

    return move


@dataclass
class _Spoken:
    """The messages of the running node."""

    run: tuple[str | None, str | None] = (None, None)  # ids of the prompt and the node
    notes: list[str] = field(default_factory=list)  # prefixes of every message
    at: float = 0.0  # time of the last message
    said: bool = False  # whether there was a message


_spoken = _Spoken()


def show_message(words: str, often: bool = False) -> None:
    """Replaces the message on the executing node, in the page that started it; does nothing without a page.

    Messages sent `often` are limited to four a second.
    """
    if (server := _listening_server()) is None:
        return
    spoken, now = _words_of_run(server), time.monotonic()
    if often and now - spoken.at < _WORDS_EVERY:
        return
    spoken.at, spoken.said = now, True
    server.send_progress_text(": ".join(filter(None, ("; ".join(spoken.notes), words))), spoken.run[1], server.client_id)


def note(words: str) -> None:
    """Adds a note to the running node, once; it precedes all messages until the node has finished."""
    if (server := _listening_server()) is not None and words not in (notes := _words_of_run(server).notes):
        notes.append(words)
        show_message("")


def notes_of_run(before: Collection[str] = ()) -> list[str]:
    """The running node's notes so far, without those in `before`."""
    server = _listening_server()
    return [] if server is None else [words for words in _words_of_run(server).notes if words not in before]


class _Notes(logging.Handler):
    """Copies log records to the running node as notes: warnings, and records with a `note` among their extras.

    A `note` replaces the message; an empty one keeps it, and None suppresses the note.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Adds the note. Of what a message is comes last, as it may be a long path, and a node shows two lines."""
        words = getattr(record, "note", "" if record.levelno >= logging.WARNING else None)
        if words is None:
            return
        message = record.getMessage()
        if str(record.msg).startswith("%s: ") and isinstance(record.args, tuple):
            subject = str(record.args[0])
            message = f"{message.removeprefix(f'{subject}: ')}: {subject}"
        note(words or message)


_notes = _Notes(logging.INFO)
# Inside ComfyUI, the pack's name is a path.
_PACK, _SHORT = __name__.removesuffix(".model_loader.comfy.feedback"), "depth_normal"
_logger = logging.getLogger(_PACK)


def noting_warnings(work: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function so that, inside ComfyUI, its warnings also appear on the node, and its errors have short names in the page."""

    @functools.wraps(work)
    def noted(*args: Any, **kwargs: Any) -> Any:
        if devices.memory_manager() is None:
            return work(*args, **kwargs)
        _logger.addHandler(_notes)
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if _PACK != _SHORT and type(error).__module__.startswith(f"{_PACK}."):
                type(error).__module__ = _SHORT  # the page shows it before the message
            raise
        finally:
            _logger.removeHandler(_notes)

    return noted


def _listening_server() -> Any | None:
    """ComfyUI's server, if a page is connected to the running prompt."""
    server = prompt_server()
    # an old ComfyUI lacks send_progress_text; a prompt posted by a script has no page
    return server if getattr(server, "client_id", None) is not None and hasattr(server, "send_progress_text") else None


def _words_of_run(server: Any) -> _Spoken:
    """The messages of the executing node; reset when another runs."""
    global _spoken
    find = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    context = find() if find is not None else None  # also None in threads of our own
    run = (getattr(server, "last_prompt_id", None), server.last_node_id) if context is None else (context.prompt_id, context.node_id)
    if run != _spoken.run:
        _spoken = _Spoken(run)
    return _spoken
