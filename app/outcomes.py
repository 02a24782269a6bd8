"""Exit codes, user errors, and the address of the documentation that messages link to."""

from __future__ import annotations

from pathlib import Path

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

EXIT_CODES = """exit codes: 0 all done; 1 some failed, the others are done; 2 nothing could be done;
130 stopped by Ctrl-C, 143 by SIGTERM: what was finished before stays"""

DOCS = Path(__file__).resolve().parents[1] / "docs"
"""The folder of the documentation, in a clone and in an installed package."""

# What a bad image, file, model or machine raises; anything else is a fault of this program and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)
