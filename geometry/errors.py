"""Exceptions of geometry functions that a caller may want to reword. Imports nothing large."""

from __future__ import annotations

from pathlib import Path


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


class MissingFileError(FileNotFoundError):
    """A file that is to be read does not exist.

    Args:
        path: The file.

    Attributes:
        path: As above: a caller can suggest another name.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: there is no such file"
