"""Tables of files that are refused: name and reason in our words, so that a change is seen.

`DEPTH_NORMAL_WRITE_TABLES=1 pytest --all tests/foreign` writes them anew.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "refused"


def table_of(suite):
    """Reasons by name."""
    return dict(line.split("\t") for line in (FOLDER / f"{suite}.tsv").read_text("utf-8").splitlines())


def write_if_asked(suite, reasons):
    """Writes a table if the environment says so."""
    if os.environ.get("DEPTH_NORMAL_WRITE_TABLES"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{suite}.tsv").write_text("".join(f"{name}\t{reason}\n" for name, reason in sorted(reasons.items())), "utf-8")
