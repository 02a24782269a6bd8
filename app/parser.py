"""The parser of the command line: a short help and a full one, and answers to words that it does not know. Imports nothing large."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from .terminal import shown

_WIDTH = 100
_HELP_COLUMN = 30


class Parser(argparse.ArgumentParser):
    """A parser whose `--help` shows the options that people use, and whose `--help-all` shows every one.

    Attributes:
        common: The options that `--help` shows, each by one of its names; empty = all. Positional arguments are always shown.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(*arguments, **options)
        self.common: frozenset[str] = frozenset()
        self.add_argument("--help-all", action=_HelpAll, help="show every option and exit")

    def format_help(self, everything: bool = False) -> str:
        """The help as text.

        Args:
            everything: Whether options that are not `common` are shown too.
        """
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
        """The usage, without the options that may be left out: with all of them it hides the error that follows."""
        needed = [action for action in self._actions if action.required or not action.option_strings]
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, needed, [])
        text = formatter.format_help()
        return text if self.usage else text.replace(self.prog, f"{self.prog} [options]", 1)

    def _is_common(self, action: argparse.Action) -> bool:
        """Whether `--help` shows it; `--help-all` is mentioned at the end of the help, where it shows more."""
        always = not self.common or not action.option_strings or action.dest in ("help", "help_all")
        return always or not self.common.isdisjoint(action.option_strings)

    @property
    def options(self) -> frozenset[str]:
        """The names of all options, those of commands below this one included."""
        below = (each for action in self._actions if isinstance(action, argparse._SubParsersAction) for each in action.choices.values())
        return frozenset(self._option_string_actions).union(*(each.options for each in below))

    def is_changed(self, arguments: argparse.Namespace, option: str) -> bool:
        """Whether an option has another value than its default."""
        dest = self._option_string_actions[option].dest
        return getattr(arguments, dest) != self.get_default(dest)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`. The message can be shown, whatever was typed."""
        super().error(shown(message))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that a mistyped one is probably meant for; empty where there is none."""
    return next(iter(difflib.get_close_matches(word, list(known), 1)), "")


class _HelpAll(argparse.Action):
    """`--help-all`."""

    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=options.get("help"))

    def __call__(self, parser: Any, *_: Any) -> None:
        """Shows the full help and ends the program."""
        parser._print_message(parser.format_help(everything=True), sys.stdout)
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of 100 columns at most: longer lines are hard to read."""

    def __init__(self, prog: str, **options: Any) -> None:
        columns = shutil.get_terminal_size().columns - 2
        super().__init__(prog, **{"max_help_position": _HELP_COLUMN, "width": min(columns, _WIDTH), **options})
