"""Writes the rows of options in the help pages, web/docs/NODE.md, as the tooltips have them, and what the docs lack of new nodes.

python docs/make_help_rows.py

A page has a row for each input. Those of what `options/` holds are its tooltips; rows for several inputs together, and those of sockets,
are written by hand, but begin as the tooltip, too. A node without a page gets one, a row in docs/nodes.md and, if it is an effect's, a
section in docs/effects.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.old_ids import OWN_IDS
from depth_normal.nodes.option_widgets import option_widgets
from depth_normal.options.effects import EFFECTS, EffectSpec
from depth_normal.options.fields import options_of

_INPUTS, _ONE_NAME = "| input | meaning |", re.compile(r"\| (\w+) \|")
DOCS = Path(__file__).resolve().parent
PAGES = DOCS.parent / "web" / "docs"


def with_rows(page: str, node: Any) -> str:
    """The page of a node with the rows of its options as they are today.

    A new input's row stands where its widget does; that of an input that is no more goes.
    """
    subjects = getattr(node, "OPTIONS", ())
    tooltips = {name: _row(node, settings["tooltip"]) for options in subjects for name, (_, settings) in option_widgets(options).items()}
    for options in subjects:
        for name, option in options_of(options).items():
            if option.on_page:
                tooltips[name] += f" {option.on_page}"

    def as_tooltip(row: re.Match[str]) -> str:
        is_title = page.startswith("| --- |", row.end() + 1)
        return f"| {row[1]} | {tooltips[row[1]]} |" if row[1] in tooltips and not is_title else row[0]

    # Rows of two cells: those of three are of other tables.
    lines = re.sub(r"^\| (\w+) \| (?!.* \| ).* \|$", as_tooltip, page, flags=re.MULTILINE).split("\n")
    place = 0
    groups = node.INPUT_TYPES()
    inputs = {**groups["required"], **groups.get("optional", {})}
    if _INPUTS in lines:
        place = lines.index(_INPUTS) + 1
        begin = place + 1
        end = next(at for at in range(begin, len(lines)) if not lines[at].startswith("|"))
        lines[begin:end] = [line for line in lines[begin:end] if not (row := _ONE_NAME.match(line)) or row[1] in inputs]
    for name, (_, settings) in inputs.items():
        found = [at for at, line in enumerate(lines) if re.match(rf"\|[^|]*\b{name}\b[^|]*\|", line)]
        place = found[0] if found else place + 1
        if not found:
            lines.insert(place, f"| {name} | {tooltips.get(name, settings['tooltip'])} |")
    return "\n".join(lines)


def _row(node: Any, tooltip: str) -> str:
    """A tooltip as its row on the node's own page: without the names of files, for which the panel of help pages is too narrow."""
    tooltip = tooltip.replace(f"(see the help page of {node.DISPLAY_NAME})", "(see below)")
    for file, model in (("control_v11p_sd15_normalbae", "1.1 (normalbae)"), ("control_sd15_normal", "1.0 (normal)")):
        tooltip = tooltip.replace(file, f"ControlNet {model}")
    return tooltip


def new_page(node: Any) -> str:
    """The page of a node that has none, but for its rows."""
    image = f"![{node.DISPLAY_NAME}]({node.NODE_ID}/example.jpg)\n\n" * hasattr(node, "SPEC")
    return f"# {node.DISPLAY_NAME}\n\n{node.DESCRIPTION}\n\n{image}{_INPUTS}\n| --- | --- |\n"


def with_node(page: str, node: Any) -> str:
    """docs/nodes.md with a row for a node, at the end of its group."""
    if re.search(rf"^\|(.*, )? ?{re.escape(node.DISPLAY_NAME)}(, .*)? \|", page, re.MULTILINE):
        return page
    words = node.DESCRIPTION.partition(". ")[0].rstrip(".")
    group = re.search(rf"^### {node.CATEGORY.rpartition('/')[2]}\n((?!#).*\n)*(\|.*\n)+", page, re.MULTILINE)
    assert group, node.CATEGORY
    return f"{page[: group.end()]}| {node.DISPLAY_NAME} | {words[0].lower()}{words[1:]} |\n{page[group.end() :]}"


def with_effect(page: str, spec: EffectSpec) -> str:
    """docs/effects.md with a section for an effect, behind those that are there."""
    if f"depth-normal effect {spec.name} " in page:
        return page
    image = f"![{spec.title}](../web/docs/{spec.node_id}/example.jpg)"
    command = f"depth-normal effect {spec.name} a.jpg --out {spec.name}{spec.result.extensions[0]} --model tiny"
    before, heading, after = page.partition("## In the browser\n")
    return f"{before}## {spec.title}\n\n{image}\n\n```sh\n{command}\n```\n\n{spec.description}\n\n{heading}{after}"


def main() -> None:
    """Writes all pages."""
    nodes, effects = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("nodes", "effects"))
    for name, node in NODE_CLASS_MAPPINGS.items():
        if getattr(node, "DEPRECATED", False):
            continue
        if name not in OWN_IDS:
            nodes = with_node(nodes, node)
        path = PAGES / f"{name}.md"
        if hasattr(node, "OPTIONS") or not path.is_file():
            page = path.read_text(encoding="utf-8") if path.is_file() else new_page(node)
            path.write_text(with_rows(page, node), encoding="utf-8")
    for spec in EFFECTS:
        effects = with_effect(effects, spec)
    (DOCS / "nodes.md").write_text(nodes, encoding="utf-8")
    (DOCS / "effects.md").write_text(effects, encoding="utf-8")


if __name__ == "__main__":
    main()
