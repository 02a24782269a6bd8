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
    stated = _page_of_licence(spec)
    licence = f"[{spec.licence}]({stated})" if stated else spec.licence
    use = spec.commercial_use if spec.commercial_use == "yes" else f"*{spec.commercial_use}*"
    source = file.repo_id or ("comes with the pack" if file.bundled else "GitHub release")
    return f"| `{spec.id}` | {spec.gives} | {licence} | {use} | {spec.size_in_words} | {file.filename} | {source} |"


def _page_of_licence(spec: ModelSpec) -> str | None:
    """Where the licence of the weights is stated; None for those of the pack itself."""
    file = spec.file
    if spec.licence_url or file.bundled:
        return spec.licence_url
    if file.repo_id:
        return f"https://huggingface.co/{'spaces/' if file.repo_type == 'space' else ''}{file.repo_id}"
    return str(file.url).partition("/releases/")[0]


if __name__ == "__main__":
    main()
