"""What the page's server refuses, in words that the page translates."""

from __future__ import annotations

from collections.abc import Iterator
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
