"""Instructions for installing missing packages, for messages."""

import sys
from importlib.machinery import PathFinder


def how_to_install(*requirements: str, newer: bool = False) -> str:
    """The command that installs packages for the running Python: inside ComfyUI, ComfyUI's own. Environments of uv have no pip.

    Args:
        requirements: As for pip, such as "OpenEXR>=3.4".
        newer: Whether installed versions are too old.
    """
    words = " ".join(("pip install", *(["-U"] if newer else []), *(f'"{each}"' for each in requirements)))
    # not importlib's find_spec: setuptools would take it for an import of pip, and torch.compile would fail
    return f'run  "{sys.executable}" -m {words}' if PathFinder.find_spec("pip") else f'run  uv {words} --python "{sys.executable}"'
