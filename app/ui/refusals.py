"""Errors of the page's server, with messages that the page translates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...model_loader.system import is_disk_full
from ..outcomes import EXPECTED_ERRORS


class Refusal(Exception):  # noqa: N818 - an answer, as an HTTP status is
    """A rejected request. `words`: why, and what to do, with {0}, {1} for values; `page/ui_words.js` has translations."""

    def __init__(self, status: int, words: str, *values: Any) -> None:
        super().__init__(words.format(*values))
        self.status, self.words, self.values = status, words, values

    def as_json(self) -> dict[str, Any]:
        """The page's JSON."""
        return {"error": self.words, "values": [str(value) for value in self.values]}


def gone() -> Refusal:
    """The error for an unknown job or preview."""
    return Refusal(404, "this image is no longer in the list; reload the page")


def unknown(value: str, name: str) -> Refusal:
    """The error for an invalid value of a setting."""
    return Refusal(400, "{0} is no {1}; reload the page", value, name)


def one_of(values: Mapping[str, str], name: str, known: Iterable[str], usual: str) -> str:
    """A setting that the page sends, or the default; raises Refusal if it is not one of `known`."""
    if (value := values.get(name, usual)) not in known:
        raise unknown(value, name)
    return value


@contextmanager
def full_disk_said(name: str, folder: Path) -> Iterator[None]:
    """Turns a full disk during the block into a Refusal."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        if is_disk_full(error):
            raise no_room(name, folder) from error
        raise


def no_room(name: str, folder: Path) -> Refusal:
    """The error for a file that does not fit on its disk."""
    return Refusal(507, "no room for {0} on the disk of {1}; free some space there", name, folder)
