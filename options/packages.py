"""Instructions for installing missing packages, for messages."""

import sys


def how_to_install(*requirements: str, newer: bool = False) -> str:
    """The command that installs packages for the running Python: inside ComfyUI, ComfyUI's own.

    Args:
        requirements: As for pip, such as "OpenEXR>=3.4".
        newer: Whether installed versions are too old.
    """
    return " ".join((f'run  "{sys.executable}" -m pip install', *(["-U"] if newer else []), *(f'"{each}"' for each in requirements)))
