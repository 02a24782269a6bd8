"""The options of a camera move, of an image and of a video."""

from __future__ import annotations

from argparse import _ActionsContainer

from ...annotators.choices import BUNDLED_MODEL
from ..console.option_types import real

MOVE_CHOICES = ("orbit", "swing", "dolly")
BORDER_CHOICES = ("crop", "mirror")
MAX_AMOUNT = 0.4
LOOP_SECONDS, AMOUNT = 4.0, 0.05
"""Those of `geometry.views.parallax`, which imports torch; a test compares them."""
AMOUNT_OF_TINY = 0.03
"""How far the camera goes by default where depth is of the bundled model, at whose silhouettes a longer move tears rims."""


def add_move(parser: _ActionsContainer, of: str = "") -> None:
    """Adds --move, --amount, --focus and --border; `of` says before each what it is for."""
    move = f"{of}orbit: a circle; swing: left and right; dolly: forward and back; all end where they begin (default: %(default)s)"
    parser.add_argument("--move", choices=MOVE_CHOICES, default=MOVE_CHOICES[0], help=move)
    default = f"{AMOUNT}; of {BUNDLED_MODEL}'s depth {AMOUNT_OF_TINY}"
    amount = f"{of}how far the camera goes, 0 to {MAX_AMOUNT}; 1 is the distance to the near end of the scene (default: {default})"
    parser.add_argument("--amount", type=real, metavar="X", help=amount)
    focus = f"{of}depth that stays where it is when the camera goes sideways: 0 the farthest, 1 the nearest (default: %(default)s)"
    parser.add_argument("--focus", type=real, default=0.5, metavar="X", help=focus)
    border = (
        f"{of}crop: enlarges all frames, by 1.25 at most, so that they do not show what is beside the image; "
        "mirror: mirrors the image there (default: %(default)s)"
    )
    parser.add_argument("--border", choices=BORDER_CHOICES, default=BORDER_CHOICES[0], help=border)


def amount_of(amount: float | None, model: str | None) -> float:
    """How far the camera goes: as asked, else by whose depth it is; None = the user's own."""
    return (AMOUNT_OF_TINY if model == BUNDLED_MODEL else AMOUNT) if amount is None else amount
