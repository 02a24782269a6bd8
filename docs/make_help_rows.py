"""Writes the rows of options in the help pages, web/docs/NODE.md, as the tooltips have them.

python docs/make_help_rows.py

A page has a row for each input. Those of what `options/` holds are its tooltips; rows for several inputs together, and those of sockets,
are written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.option_widgets import option_widgets
from depth_normal.options.fields import options_of

_INPUTS, _ONE_NAME = "| input | meaning |", re.compile(r"\| (\w+) \|")
PAGES = Path(__file__).resolve().parents[1] / "web" / "docs"


def with_rows(page: str, node: Any) -> str:
    """The page of a node with the rows of its options as they are today.

    A new option's row stands where its widget does; that of an input that is no more goes.
    """
    tooltips = {
        name: _row(node, settings["tooltip"]) for options in node.OPTIONS for name, (_, settings) in option_widgets(options).items()
    }
    for options in node.OPTIONS:
        for name, option in options_of(options).items():
            if option.on_page:
                tooltips[name] += f" {option.on_page}"

    def as_tooltip(row: re.Match[str]) -> str:
        is_title = page.startswith("| --- |", row.end() + 1)
        return f"| {row[1]} | {tooltips[row[1]]} |" if row[1] in tooltips and not is_title else row[0]

    # Rows of two cells: those of three are of other tables.
    lines = re.sub(r"^\| (\w+) \| (?!.* \| ).* \|$", as_tooltip, page, flags=re.MULTILINE).split("\n")
    place = 0
    inputs = node.INPUT_TYPES()
    names = (*inputs["required"], *inputs["optional"])
    if _INPUTS in lines:
        begin = lines.index(_INPUTS) + 2
        end = next(at for at in range(begin, len(lines)) if not lines[at].startswith("|"))
        lines[begin:end] = [line for line in lines[begin:end] if not (row := _ONE_NAME.match(line)) or row[1] in names]
    for name in names:
        found = [at for at, line in enumerate(lines) if re.match(rf"\|[^|]*\b{name}\b[^|]*\|", line)]
        place = found[0] if found else place + 1
        if not found and name in tooltips:
            lines.insert(place, f"| {name} | {tooltips[name]} |")
    return "\n".join(lines)


def _row(node: Any, tooltip: str) -> str:
    """A tooltip as its row on the node's own page: without the names of files, for which the panel of help pages is too narrow."""
    tooltip = tooltip.replace(f"(see the help page of {node.DISPLAY_NAME})", "(see below)")
    for file, model in (("control_v11p_sd15_normalbae", "1.1 (normalbae)"), ("control_sd15_normal", "1.0 (normal)")):
        tooltip = tooltip.replace(file, f"ControlNet {model}")
    return tooltip


def main() -> None:
    """Writes all pages."""
    for name, node in NODE_CLASS_MAPPINGS.items():
        if hasattr(node, "OPTIONS") and not getattr(node, "DEPRECATED", False):
            path = PAGES / f"{name}.md"
            path.write_text(with_rows(path.read_text(encoding="utf-8"), node), encoding="utf-8")


if __name__ == "__main__":
    main()
