"""Gives the next release its number everywhere.

    python docs/make_release.py 0.2.0

Writes the version into pyproject.toml and _version.py, turns CHANGELOG.md's heading "Unreleased" into the version with today's date and
puts an empty one above it, and keeps what graphs rely on in this version's nodes (tests/object_info.py). docs/releasing.md has the rest.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PLACES = {"pyproject.toml": r'^version = "(.+)"$', "_version.py": r'^__version__ = "(.+)"$'}
_UNRELEASED = "## Unreleased\n"


def release(root: Path, version: str, date: str) -> None:
    """Writes a version into a checkout.

    Raises:
        ValueError: No version of three numbers, one that CHANGELOG.md has already, or nothing that is new.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"{version!r} is no version; three numbers are, such as 0.2.0")
    changelog = (root / "CHANGELOG.md").read_text()
    if f"## {version} " in changelog:
        raise ValueError(f"CHANGELOG.md has {version} already")
    new = changelog.partition(_UNRELEASED)[2].partition("\n## ")[0]
    if not new.strip():
        raise ValueError("CHANGELOG.md has nothing under Unreleased: what is new?")
    for name, line in _PLACES.items():
        text = (root / name).read_text()
        (found,) = re.finditer(line, text, re.MULTILINE)
        (root / name).write_text(text[: found.start(1)] + version + text[found.end(1) :])
    (root / "CHANGELOG.md").write_text(changelog.replace(_UNRELEASED, f"{_UNRELEASED}\n## {version} - {date}\n", 1))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    arguments = parser.parse_args()
    try:
        release(ROOT, arguments.version, datetime.date.today().isoformat())
    except ValueError as problem:
        parser.error(str(problem))
    subprocess.run([sys.executable, ROOT / "tests" / "object_info.py"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
