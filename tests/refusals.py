"""Tests that a call is refused, and that the error says what was found, what is accepted, what to do."""

from collections.abc import Callable

import pytest


def refuses(call: Callable, *rows: tuple, error: type[Exception] = ValueError) -> Callable:
    """A test of one case a row: what the call is given, and the words of the error that it raises."""

    def test(row):
        *given, words = row
        with pytest.raises(error, match=words):
            call(*given)

    return pytest.mark.parametrize("row", rows, ids=[str(words) for *_, words in rows])(test)


def refusals(*rows: tuple[Callable, str], error: type[Exception] = ValueError) -> Callable:
    """As `refuses`, where each row is a call and the words of its error."""
    return refuses(lambda call: call(), *rows, error=error)
