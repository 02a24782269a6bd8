"""Environment variables. `nodes/` and `model_loader/` read them only here: the registry's scanner lists every file that does."""

import os


def environment(name: str) -> str:
    """The value of a variable; "" if unset."""
    return os.environ.get(name, "")


def variables_beginning(prefix: str) -> list[str]:
    """The sorted names of the set variables with this prefix."""
    return sorted(name for name in os.environ if name.startswith(prefix))
