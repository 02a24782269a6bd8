"""What the page's server refuses, in words that the page translates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...model_loader.weights.disk_space import is_disk_full
from ..outcomes import EXPECTED_ERRORS


class Refusal(Exception):  # noqa: N818 - an answer, as an HTTP status is
    """A request that is not done.

    Attributes:
        status: Of HTTP.
        words: Why, and what to do; {0}, {1} stand for the values. `page/ui_words.js` has the translations.
        values: What stands in their place.
    """

    def __init__(self, status: int, words: str, *values: Any) -> None:
        super().__init__(words.format(*values))
        self.status, self.words, self.values = status, words, values

    def as_json(self) -> dict[str, Any]:
        """As the page reads it."""
        return {"error": self.words, "values": [str(value) for value in self.values]}


def gone() -> Refusal:
    """The answer where a job or a preview is not known any more."""
    return Refusal(404, "this image is no longer in the list; reload the page")


def unknown(value: str, name: str) -> Refusal:
    """The answer where the page does not send a value that a setting takes."""
    return Refusal(400, "{0} is no {1}; reload the page", value, name)


def one_of(values: Mapping[str, str], name: str, known: Iterable[str], usual: str) -> str:
    """A setting that the page sends, or the usual one.

    Raises:
        Refusal: It is none of those that are known.
    """
    if (value := values.get(name, usual)) not in known:
        raise unknown(value, name)
    return value


@contextmanager
def full_disk_said(name: str, folder: Path) -> Iterator[None]:
    """Around what writes a file: a full disk becomes an answer in words.

    Raises:
        Refusal: The file does not fit on the disk of the folder.
    """
    try:
        yield
    except EXPECTED_ERRORS as error:
        if is_disk_full(error):
            raise no_room(name, folder) from error
        raise


def no_room(name: str, folder: Path) -> Refusal:
    """The answer where a file does not fit on its disk."""
    return Refusal(507, "no room for {0} on the disk of {1}; free some space there", name, folder)
