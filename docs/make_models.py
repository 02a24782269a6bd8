"""Writes docs/models.md from the table of models, so that the two never differ (a test compares them)."""

from __future__ import annotations

from pathlib import Path

from depth_normal.annotators.base import ModelSpec
from depth_normal.annotators.registry import MODELS

PAGE = Path(__file__).resolve().parent / "models.md"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    lines = [
        "# Models",
        "",
        "Written by `python docs/make_models.py` from the pack's table. Weights marked *non-commercial* may not be used commercially.",
        "",
        "| model | gives | licence of the weights | size | file | from |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(row, MODELS.values())]) + "\n"


def row(spec: ModelSpec) -> str:
    """One line of the table."""
    licence = spec.licence + (" (*non-commercial*)" if spec.non_commercial else "")
    source = spec.file.repo_id or ("comes with the pack" if spec.file.bundled else "GitHub release")
    return f"| `{spec.id}` | {spec.gives} | {licence} | {spec.size_in_words} | {spec.file.filename} | {source} |"


if __name__ == "__main__":
    main()
