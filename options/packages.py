"""How a package that is missing is installed, for the messages that name it."""

import sys


def how_to_install(*requirements: str, newer: bool = False) -> str:
    """The words that install packages into the Python that runs here: ComfyUI's own, inside ComfyUI.

    Args:
        requirements: As pip reads them, such as "OpenEXR>=3.4".
        newer: Whether they are installed by now, too old.
    """
    return " ".join((f'run  "{sys.executable}" -m pip install', *(["-U"] if newer else []), *(f'"{each}"' for each in requirements)))
