"""The command-line parser: short and full help, suggestions for unknown words, shell completion. Imports nothing heavy."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from ...annotators.choices import wording
from ...geometry.errors import FULL_DISK, MissingFileError
from ...options.checks import InvalidArgumentError, how_to_install
from ..outcomes import message_of
from .terminal import echo, shown

# Limits the names compared in a large folder, to answer at once.
_MOST_NAMES = 10_000
_ALIKE = 0.7


def no_such_file(path: Path) -> str:
    """The message for a missing file, with the most similar name in its folder; or why nobody can tell whether it is there."""
    try:
        if path.is_symlink():
            return f"{path}: a link to {path.readlink()}, which is not there"
    except OSError as error:  # such as a folder that this user may not enter
        return f"{path}: {error.strerror}"
    close = near_file(path)
    return f"{path}: there is no such file" + (f"; did you mean {path.with_name(close)}?" if close else "")


def near_file(path: Path) -> str:
    """The most similar name in a mistyped one's folder, or empty; without extensions, so that `nofile.jpg` does not give `photo.jpg`."""
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST_NAMES) if not entry.name.startswith("."))
    except (OSError, ValueError):
        return ""
    stem, extension = path.stem.casefold(), path.suffix.casefold()
    scored = []
    for name in names:
        other = Path(name)
        # As `difflib.get_close_matches`, but for stems.
        alike = difflib.SequenceMatcher(None, stem, other.stem.casefold()).ratio()
        scored.append((alike, other.suffix.casefold() == extension, name))
    best = max(scored, default=(0.0, False, ""), key=lambda each: each[:2])
    return best[2] if best[0] >= _ALIKE else ""


_WIDTH = 100
_HELP_COLUMN = 30
# No option looks like this, so it is a value: -1mm, -30,10, -.5.
_NEGATIVE = re.compile(r"-\.?\d")
_CHOICE = re.compile(r"argument \S+: invalid choice: '([^']*)' \(choose from (.*)\)")
_COLUMN = re.compile(r" {2,}(?=\S)")
_COMMENT = re.compile(r" {2,}(?=# )")
_FEWEST_COLUMNS = 40


class Parser(argparse.ArgumentParser):
    """A parser whose `--help` shows the common options, and whose `--help-all` shows all.

    A command's options are added only when it is chosen or shown.

    Attributes:
        common: The options of `--help`, each by one of its names; empty = all. Positional arguments are always shown.
        argument_names: Options whose name differs from the library's argument, optionally with a word before them.
        usual_command: The subcommand that messages show as an example; empty = none.
    """

    def __init__(self, *arguments: Any, add: Callable[[Parser], None] | None = None, **options: Any) -> None:
        super().__init__(*arguments, formatter_class=_Formatter, add_help=False, **options)
        self._add = add
        self._is_filled = False
        self._negative_number_matcher = _NEGATIVE
        self.common: frozenset[str] = frozenset()
        self.argument_names: Mapping[str, str] = {}
        self.usual_command = ""
        self.set_defaults(parser=self)

    def fill(self) -> None:
        """Adds the options, once."""
        if self._is_filled:
            return
        self._is_filled = True
        self.add_argument("-h", "--help", action="help", help="show this help message and exit")
        self.add_argument("--help-all", action=_HelpAll, nargs=0, default=argparse.SUPPRESS, help="show every option and exit")
        if self._add is not None:
            self._add(self)

    def add_commands(self, metavar: str, commands: Iterable[tuple[str, str, Callable[[Parser], None]]], **options: Any) -> None:
        """Adds subcommands: name, task, and the function that adds the options."""
        below = self.add_subparsers(required=True, metavar=metavar, **options)
        for name, task, add in commands:
            below.add_parser(name, help=task, description=f"{task[0].upper()}{task[1:]}.", add=add)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """See `argparse.ArgumentParser`."""
        self.fill()
        return super().parse_known_args(*arguments, **options)

    def format_help(self, everything: bool = False) -> str:
        """The help text; with `everything`, also of options that are not `common`."""
        self.fill()
        formatter = self._get_formatter()
        actions = [action for action in self._actions if everything or (self._is_common(action) and action.dest != "help_all")]
        formatter.add_text(self.format_usage().rstrip())
        formatter.add_text(self.description)
        for group in self._action_groups:
            if visible := [action for action in group._group_actions if action in actions]:
                formatter.start_section(group.title)
                formatter.add_text(group.description)
                formatter.add_arguments(visible)
                formatter.end_section()
        if hidden := sum(not self._is_common(action) for action in self._actions) * (not everything):
            formatter.add_text(f"{hidden} more options: {self.prog} --help-all")
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def format_usage(self) -> str:
        """The usage without optional arguments: with all of them it would hide the error that follows."""
        needed = [action for action in self._actions if action.required or not action.option_strings]
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, needed, [])
        text = formatter.format_help()
        return text if self.usage else text.replace(self.prog, f"{self.prog} [options]", 1)

    def _is_common(self, action: argparse.Action) -> bool:
        """Whether `--help` shows it. The help's last line mentions `--help-all` if that shows more."""
        always = not self.common or not action.option_strings or action.dest in ("help", "help_all")
        return always or not self.common.isdisjoint(action.option_strings)

    @property
    def options(self) -> frozenset[str]:
        """The names of all options, subcommands included."""
        below = [each.options for each in self.commands.values()]
        return frozenset(self._option_string_actions).union(*below)

    @property
    def commands(self) -> dict[str, Parser]:
        """The subcommands by name."""
        self.fill()
        below = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return {name: each for action in below for name, each in action.choices.items()}

    def is_changed(self, arguments: argparse.Namespace, option: str) -> bool:
        """Whether an option differs from its default. Raises KeyError if there is no such option."""
        action = self._option_string_actions[option]
        return getattr(arguments, action.dest) != self.get_default(action.dest)

    def message_of(self, error: BaseException) -> str:
        """Formats an error of this command: without errno, with a suggestion for a missing file, and with the option for an argument."""
        if isinstance(error, MissingFileError):
            return no_such_file(error.path)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            return f"{error.filename}: {error.strerror}" + f"; {wording().make_writable}" * (error.errno in FULL_DISK)
        if isinstance(error, InvalidArgumentError):
            return f"{self._option_of(error.argument)} {error.problem}"
        return message_of(error)

    def _option_of(self, argument: str) -> str:
        options = (action.option_strings[-1] for action in self._actions if action.dest == argument and action.option_strings)
        return self.argument_names.get(argument) or next(options, argument)

    def owners(self, option: str) -> Iterator[str]:
        """The commands with an option, at or below this one, as typed after the program's name."""
        commands = self.commands
        if option in self._option_string_actions:
            yield self.prog.partition(" ")[2]
        for each in commands.values():
            yield from each.owners(option)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`. Escapes control characters of what was typed."""
        if match := re.fullmatch(r"argument (?:\S*/)?(-\S+): expected one argument", message):
            message += f" (one that begins with a dash is typed {match[1]}=-...)"
        elif match := _CHOICE.fullmatch(message):
            meant = did_you_mean(match[1].replace("_", "-"), re.findall(r"[\w.-]+", match[2]))
            message += meant or self._with_command(match[1])
        super().error(shown(message))

    def _with_command(self, word: str) -> str:
        """Advice if a file is typed in place of a command; empty if `word` is not a file."""
        if not self.usual_command or not (Path(word).suffix or os.path.lexists(word)):
            return ""
        return f"; the command stands before the file, as in: {self.prog} {self.usual_command} {shlex.quote(word)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most similar to a mistyped one; empty if none is."""
    return next(iter(difflib.get_close_matches(word, list(known), 1)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A message's end that suggests `nearest`; empty if there is none."""
    close = nearest(word, known)
    return f"; did you mean {close}?" if close else ""


class _HelpAll(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        parser._print_message(parser.format_help(everything=True), sys.stdout)
        parser.exit()


class _Formatter(argparse.HelpFormatter):
    """Help as wide as the terminal, at most 100 columns for legibility."""

    def __init__(self, prog: str, **options: Any) -> None:
        columns = max(shutil.get_terminal_size().columns - 2, _FEWEST_COLUMNS)
        super().__init__(prog, **{"max_help_position": _HELP_COLUMN, "width": min(columns, _WIDTH), **options})

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Keeps paths and options whole, which have hyphens."""
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keeps the lines of descriptions and wraps only long ones. If any line with a comment is too long, all comments move below."""
        lines = [indent + line for line in text.splitlines()]
        comments_below = any(len(line) > width and _COMMENT.search(line) for line in lines)
        return "\n".join(part for line in lines for part in _wrapped(line, width, comments_below))


def _wrapped(line: str, width: int, comments_below: bool) -> list[str]:
    """Wraps a line: a second column keeps its indent; with `comments_below`, a command's comment moves below it."""
    indent = line[: len(line) - len(line.lstrip())]
    if comments_below and (comment := _COMMENT.search(line)):
        below = textwrap.wrap(line[comment.end() :], width, initial_indent=f"{indent}    ", subsequent_indent=f"{indent}    # ")
        return [*_wrapped(line[: comment.start()], width, False), *below]
    if len(line) <= width:
        return [line]
    column = _COLUMN.search(line, len(indent))
    hanging = " " * column.end() if column and column.end() < width // 2 else indent
    return textwrap.wrap(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


SHELLS = ("bash", "zsh", "fish")
_MODELS = ("model", "models")


class PrintCompletion(argparse.Action):
    """`--print-completion SHELL`: prints the script and exits."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        try:
            echo(completion_script(parser, values))
        except ImportError as error:
            parser.error(str(error))
        parser.exit()


def completion_script(parser: Parser, shell: str) -> str:
    """The completion script for a shell of `SHELLS`. Raises ImportError without the package shtab."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError(f"the completion of a shell needs the package shtab: {how_to_install('shtab')}") from error
    from ...annotators.registry import MODELS

    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            action.help = "the command"  # shtab skips arguments without help
        elif action.choices is None and action.nargs != 0:
            if action.dest in _MODELS:
                action.choices = list(MODELS)
            elif words := getattr(action.type, "words", None):  # of `several_of`: completes the first word
                action.choices = list(words)
            else:
                setattr(action, "complete", shtab.FILE)  # noqa: B010 (argparse does not declare it)
    script = shtab.complete(parser, shell=shell)
    # Functions in $fpath are called by zsh; a script sourced from .zshrc must be registered, as with eval.
    script = script.replace("[[ $zsh_eval_context[-1] == eval ]]", "[[ $zsh_eval_context[-1] == (eval|file) ]]")
    # `depth-normal photo.jpg` has no command: bash must fall back to file names.
    return script.replace("complete -o filenames -F", "complete -o filenames -o default -F")


def _actions(parser: Parser) -> Iterator[argparse.Action]:
    """The actions of a parser and its subcommands."""
    parser.fill()
    yield from parser._actions
    for command in parser.commands.values():
        yield from _actions(command)
