"""Command lines without a subcommand: `depth-normal photo.jpg` means `depth-normal estimate photo.jpg`. Imports nothing heavy."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..console.parser import Parser, near_file, nearest, no_such_file

_PROGRAM_OPTIONS = ("-h", "--help", "--help-all", "--version", "--print-completion")
_IMPLIED = "estimate"
_MAPS = ("depth", "normal", "normals")


class UnknownCommandError(ValueError):
    """A word that is neither a command nor an image; the message suggests one."""


def with_command(words: Sequence[str], commands: Mapping[str, Parser]) -> list[str]:
    """Adds the implied command to a non-empty command line that begins with an image or an option, or a missing image before others.

    `help COMMAND` becomes `COMMAND --help`. Raises UnknownCommandError if the first word is none of these.
    """
    first = words[0]
    if first == "help" and not names_images(first):
        return [*words[1:], "--help"]
    if first in commands or (len(first) > 1 and first != "--" and any(option.startswith(first) for option in _PROGRAM_OPTIONS)):
        return list(words)
    if first.startswith("-") or names_images(first) or (_seems_a_path(first) and any(map(_is_another_image, words[1:]))):
        return [_IMPLIED, *words]
    raise UnknownCommandError(_neither(first, commands))


def names_images(word: str) -> bool:
    """Whether a word names images: a file, a folder, a pattern, a list or a URL."""
    return bool(word) and (word[0] == "@" or "://" in word or os.path.lexists(word) or glob.escape(word) != word)


def _seems_a_path(word: str) -> bool:
    return bool(Path(word).suffix) or len(Path(word).parts) > 1


def _is_another_image(word: str) -> bool:
    from ..batch.sources import EXTENSIONS

    return not word.startswith("-") and (names_images(word) or Path(word).suffix.lower() in EXTENSIONS)


def dashed_file(words: Sequence[str], parser: Parser) -> str:
    """The first word that is parsed as an option but is a file name; empty if there is none."""
    before = itertools.takewhile(lambda word: word != "--", words)
    return next((word for word in before if len(word) > 1 and word[0] == "-" and os.path.lexists(word) and word not in parser.options), "")


def misplaced_command(images: Sequence[str], commands: Iterable[str]) -> str:
    """A command that follows options and so was parsed as an image; empty if there is none."""
    return next((word for word in images[:1] if word in commands and not names_images(word)), "")


def model_among(images: Sequence[str]) -> str:
    """A model id among the images, typed without `--model`; empty if there is none."""
    from ..batch.sources import EXTENSIONS

    absent = [word for word in images if Path(word).suffix.lower() not in EXTENSIONS and not names_images(word)]
    if not absent:
        return ""
    from ...annotators.registry import MODELS

    return next((word for word in absent if word in MODELS), "")


def _neither(word: str, commands: Mapping[str, Parser]) -> str:
    path = Path(word)
    if not word:
        return "the first word is empty; name a command or an image (. is the working directory)"
    if _seems_a_path(word):
        return no_such_file(path)
    from ...annotators.registry import MODELS, near_models

    if word in MODELS:
        return f"{word!r} is a model; name an image before it: depth-normal photo.jpg --model {word}"
    if word in _MAPS:
        return f"{word!r} is no command; without one, depth and normals are written: depth-normal photo.jpg"
    below = {each: f"{name} {each}" for name, command in commands.items() for each in command.commands}
    names = {**below, **{name: name for name in commands}}
    if close := nearest(word.replace("_", "-"), names):
        meant = f"did you mean {names[close]}?"
    elif close := near_file(path):
        meant = f"did you mean {path.with_name(close)}?"
    elif models := near_models(word):
        meant = f"for a model, name an image before it: depth-normal photo.jpg --model {models[0]}"
    else:
        meant = "depth-normal --help lists the commands"
    return f"{word!r} is neither a command nor a file here; {meant}"
