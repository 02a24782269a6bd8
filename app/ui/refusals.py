"""What the page's server refuses, in words that the page translates."""

from __future__ import annotations

from typing import Any


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
