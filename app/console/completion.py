"""Shell scripts that complete commands, options, models and file names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ...options.checks import how_to_install
from .parser import Parser
from .terminal import echo

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
    """The completion script for a shell of `SHELLS`.

    Raises:
        ImportError: The package shtab is not installed.
    """
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
