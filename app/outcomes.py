"""Exit codes, user errors, where results go, the package's photograph, and the documentation that messages link to."""

from __future__ import annotations

from pathlib import Path

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

EXIT_CODES = """exit codes: 0 all done; 1 some failed, the others are done; 2 nothing could be done;
130 stopped by Ctrl-C, 143 by SIGTERM: what was finished before stays"""

DEFAULT_FOLDER = Path("depth-normal")
"""The default folder for results: in the working directory, named as the command.

Not `depth_normal`: Python would take a folder of that name beside a script for the package, where that is an editable installation.
"""

DEMO_IMAGE = Path(__file__).parent / "coffee.jpg"
"""The photograph that comes with the package: 600x400 pixels."""

DOCS = Path(__file__).resolve().parents[1] / "docs"
"""The folder of the documentation, in a clone and in an installed package."""

# What a bad image, file, model or machine raises; anything else is a fault of this program and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


def message_of(error: BaseException) -> str:
    """The words of an exception; those of torch about a full GPU say how much it lacked, and not what to do."""
    text = str(error) or type(error).__name__
    if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
        return text
    return f"the memory of the GPU is full: close other programs that use it, make the image smaller, or give --device cpu ({text})"
