"""Exceptions of geometry functions that a caller may want to reword. Imports nothing large."""

from __future__ import annotations


class InvalidArgumentError(ValueError):
    """An argument has a value that is not accepted.

    Args:
        argument: The argument's name.
        problem: What was found and what is accepted, in words that follow the name.

    Attributes:
        argument: As above: whoever knows the argument under another name, such as that of an option, can say so.
        problem: As above.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}"
