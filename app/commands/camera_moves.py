"""The camera move that was typed, of an image or of a video."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TypeVar

from ...annotators.choices import BUNDLED_MODEL
from ...options.parallax import AMOUNT, MoveOptions
from .option_table import chosen_options

Move = TypeVar("Move", bound=MoveOptions)


def chosen_move(arguments: argparse.Namespace, options: type[Move], model: str | None) -> Move:
    """The move that was typed; how far it goes depends on the model, None = the user's own depth, unless that was typed, too.

    Raises:
        ValueError: As `chosen_options`.
    """
    move = chosen_options(arguments, options)
    return replace(move, amount=AMOUNT) if arguments.amount is None and model != BUNDLED_MODEL else move
