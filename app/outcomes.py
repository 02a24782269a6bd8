"""Exit codes, expected errors, the default results folder, the demo photo, and the documentation that messages link to."""

from __future__ import annotations

from pathlib import Path

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

EXIT_CODES = """exit codes: 0 all done; 1 some failed, the others are done;
2 nothing could be done; 130 stopped by Ctrl-C,
143 by SIGTERM or a closed terminal: what was finished before stays"""

DEFAULT_FOLDER = Path("depth-normal")
"""The default results folder, in the working directory.

Not `depth_normal`: with an editable installation, Python would import a folder of that name beside a script as the package.
"""

DEMO_IMAGE = Path(__file__).parent / "coffee.jpg"
"""The demo photo: 600x400 pixels."""

DOCS = Path(__file__).resolve().parents[1] / "docs"
"""The documentation's folder, in a clone and in an installed package."""

# Raised for a bad image, file, model or machine; anything else is a bug and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


def message_of(error: BaseException) -> str:
    """An exception's message; torch's about a full GPU gets advice."""
    text = str(error) or type(error).__name__
    if type(error).__name__ != "OutOfMemoryError":  # torch's; torch is not imported here
        return text
    return f"the memory of the GPU is full: close other programs that use it, make the image smaller, or give --device cpu ({text})"
