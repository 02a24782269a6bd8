"""Writes the help pages of the nodes that have an id of another pack and one of this pack's own: one text, two files.

python docs/make_twin_pages.py
"""

from pathlib import Path

from depth_normal.nodes.old_ids import OWN_IDS

PAGES = Path(__file__).resolve().parents[1] / "web" / "docs"


def twin_page(old_id: str) -> str:
    """The help page of a node under this pack's own id, made of the page under the old one."""
    page = (PAGES / f"{old_id}.md").read_text(encoding="utf-8").rstrip("\n")
    return (
        f"{page}\n\nGraphs made with another pack know this node as **{old_id}**.\n"
        "This node is always this pack's, whichever pack provides that id.\n"
    )


if __name__ == "__main__":
    for old, own in OWN_IDS.items():
        (PAGES / f"{own}.md").write_text(twin_page(old), encoding="utf-8")
