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
        "Written by `python docs/make_models.py` from the pack's table. A licence leads to the page that states it; where it is unclear "
        "whether weights may be used commercially, ask their authors.",
        "",
        "| model | gives | licence of the weights | commercial use | size | file | from |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(row, MODELS.values())]) + "\n"


def row(spec: ModelSpec) -> str:
    """One line of the table."""
    file = spec.file
    licence = f"[{spec.licence}]({spec.licence_page})"
    use = spec.commercial_use if spec.commercial_use == "yes" else f"*{spec.commercial_use}*"
    source = file.repo_id or ("comes with the pack" if file.bundled else "GitHub release")
    return f"| `{spec.id}` | {spec.gives} | {licence} | {use} | {spec.size_in_words} | {file.filename} | {source} |"


if __name__ == "__main__":
    main()
