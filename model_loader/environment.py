"""The environment's variables; `nodes/` and `model_loader/` read them here alone, as the registry's scanner lists each file that does."""

import os


def environment(name: str) -> str:
    """The value of a variable; "" where it is not set."""
    return os.environ.get(name, "")


def variables_beginning(prefix: str) -> list[str]:
    """The names of the variables that are set and begin so, sorted."""
    return sorted(name for name in os.environ if name.startswith(prefix))
