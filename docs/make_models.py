"""Writes docs/models.md, and the licences on *Load Depth Model*'s help page, from the table of models.

A test compares them, so that they never differ.
"""

from __future__ import annotations

from pathlib import Path

from depth_normal.annotators.registry import MODELS, all_specs
from depth_normal.annotators.specs.base import ModelSpec

PAGE = Path(__file__).resolve().parent / "models.md"
HELP = PAGE.parents[1] / "web" / "docs" / "DepthNormal_LoadModel.md"
_BEGIN = "**Not for commercial use**"


def main() -> None:
    """Writes both."""
    PAGE.write_text(page(), encoding="utf-8")
    HELP.write_text(help_page(), encoding="utf-8")


def help_page() -> str:
    """The help page as it is, ending with the licences that the table has now."""
    kept, _ = HELP.read_text(encoding="utf-8").split(_BEGIN)
    closed, unclear = (", ".join(f"`{spec.id}`" for spec in MODELS.values() if spec.commercial_use == use) for use in ("no", "unclear"))
    return (
        f"{kept}{_BEGIN}, by the licences of their weights: {closed}.\n\n"
        f"**Unclear** whether they may be used commercially, so ask their authors: {unclear}.\n"
    )


def page() -> str:
    """The page as Markdown; `python docs/make_models.py` writes it."""
    lines = [
        "# Models",
        "",
        "Every model of the pack: what it gives, the licence of its weights, and its file.",
        "[which-model.md](which-model.md) helps to choose.",
        "`depth-normal models --all` prints the same list, and `--on-disk` the place of each file on your machine.",
        "",
        "## What models give",
        "",
        "| gives | meaning | papers call it |",
        "| --- | --- | --- |",
        "| `metric_depth` | metres along the camera's axis | metric |",
        "| `scale_invariant_depth` | depth times an unknown factor; 0 is at the camera, so shapes are right | scale-invariant |",
        "| `relative_depth` | depth up to an unknown scale and shift; large = far | affine-invariant |",
        "| `disparity` | 1 / depth up to an unknown scale and shift; large = near | affine-invariant disparity |",
        "| `normals` | unit vectors: which way each surface faces | |",
        "| `albedo, roughness, metallic` | materials: colour without light (sRGB), and how rough and metallic it is | intrinsic images |",
        "",
        "Normals of a model that gives only depth are derived from it, by `estimate` and *Depth to Normals*.",
        "Relative depth needs a `near_far_ratio` for that: how many times farther the far end is than the near end.",
        "",
        "## All models",
        "",
        "A licence links to the page that states it. Where commercial use is unclear, ask the authors of the weights.",
        "",
        "| model | gives | licence of the weights | commercial use | size | file | from |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(row, all_specs())]) + "\n"


def row(spec: ModelSpec) -> str:
    """One line of the table."""
    file = spec.file
    licence = f"[{spec.licence}]({spec.licence_page})"
    use = spec.commercial_use if spec.commercial_use == "yes" else f"*{spec.commercial_use}*"
    source = file.repo_id or (
        "comes with the pack" if file.bundled else "GitHub" if file.published else "not published: a file of your own"
    )
    return f"| `{spec.id}` | {spec.gives} | {licence} | {use} | {spec.size_in_words} | {file.filename} | {source} |"


if __name__ == "__main__":
    main()
