"""Environment variables, read in one place: ComfyUI's registry lists every file that reads some.

The runtimes alone read and set variables of their libraries themselves.
"""

import os


def environment(name: str) -> str:
    """The value of a variable; "" if unset."""
    return os.environ.get(name, "")


def variables_beginning(prefix: str) -> list[str]:
    """The sorted names of the set variables with this prefix."""
    return sorted(name for name in os.environ if name.startswith(prefix))
