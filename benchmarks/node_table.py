"""Writes benchmarks/nodes.md: the documentation of each node, beside that of comfyui_controlnet_aux's and ComfyUI's own nodes.

    python benchmarks/node_table.py                                    (a test compares the page with it)
    python benchmarks/node_table.py --aux CHECKOUT --comfyui SITE_PACKAGES --source COMFYUI --object-info FILE.json     (the others anew)

The facts about the other packs are kept in benchmarks/other_nodes.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PAGE, OTHERS = ROOT / "benchmarks" / "nodes.md", ROOT / "benchmarks" / "other_nodes.json"
AUX_FILES = ("midas", "zoe", "depth_anything", "depth_anything_v2", "leres", "normalbae", "dsine", "metric3d")
CORE = re.compile(r"^(Load)?(MoGe|DA3)|^LotusConditioning$")
HEAD = "| node | description | tooltips | help | search words | locales | template | test |"
# The equivalent or nearest node of ours, by ComfyUI's node id; nodes/old_ids.py has those of old ids.
SAME = {
    "LoadMoGeModel": "DepthNormal_LoadModel",
    "LoadDA3Model": "DepthNormal_LoadModel",
    "MoGeInference": "DepthNormal_EstimateGeometry",
    "MoGePanoramaInference": "",
    "DA3Inference": "DepthNormal_EstimateGeometry",
    "MoGeRender": "DepthNormal_RenderDepth",
    "DA3Render": "DepthNormal_RenderDepth",
    "MoGePointMapToMesh": "DepthNormal_SaveMesh",
    "DA3GeometryToMesh": "DepthNormal_SaveMesh",
    "DA3GeometryToPointCloud": "DepthNormal_SaveMesh",
    "LotusConditioning": "DepthNormal_LotusDepth",
}
TESTED = {True: "yes", False: "-", None: "?"}
Facts: TypeAlias = dict[str, Any]


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aux", type=Path, help="a git checkout or mirror of comfyui_controlnet_aux")
    parser.add_argument("--comfyui", type=Path, help="the site-packages of a ComfyUI")
    parser.add_argument("--source", type=Path, help="the folder of that ComfyUI, with its tests")
    parser.add_argument("--object-info", type=Path, help="what its server answers to /object_info")
    arguments = parser.parse_args()
    if arguments.aux:
        info = json.loads(arguments.object_info.read_text())
        others = {"aux": aux_facts(arguments.aux), "core": core_facts(arguments.comfyui, arguments.source, info)}
        OTHERS.write_text(json.dumps(others, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    from depth_normal import NODE_CLASS_MAPPINGS
    from depth_normal.nodes.old_ids import OWN_IDS

    same = {**OWN_IDS, **SAME}
    others = json.loads(OTHERS.read_text(encoding="utf-8"))
    shown = [node for node, cls in NODE_CLASS_MAPPINGS.items() if not getattr(cls, "DEPRECATED", False)]
    own = [node for node in shown if node.startswith("DepthNormal_") or node == "AIO_Preprocessor"]
    beside = []
    for name, facts in (("comfyui_controlnet_aux", others["aux"]), ("ComfyUI", others["core"])):
        version = facts.pop("version")
        beside += [f"## Beside {name} {version}", "", HEAD.replace("| node |", "| node | whose |"), f"|{' --- |' * 9}"]
        for node, fact in facts.items():
            beside.append(row(fact["name"], fact, name))
            if twin := same[node]:
                beside.append(row(display_name(twin), own_facts(twin), "**ours**"))
        beside.append("")
    lines = [
        "# Documentation of each node, beside other packs",
        "",
        "Written by `python benchmarks/node_table.py` from this pack's nodes and from the other packs' source. Columns:",
        "",
        "- *tooltips*: how many of the inputs have one.",
        "- *help*: whether the node has a help page (the *i* on it).",
        "- *search words*: how many words find the node besides its name.",
        "- *locales*: how many languages it is translated to, English not counted.",
        "- *template*: how many of the workflows that come with the pack use it.",
        "- *test*: whether a test names it; `?` means that this was not checked.",
        "",
        "A node with an old id has the same documentation as its twin with an id of this pack's own, so it has no row.",
        "",
        *beside,
        "## All nodes of this pack",
        "",
        HEAD,
        f"|{' --- |' * 8}",
        *(row(display_name(node), own_facts(node)) for node in own),
    ]
    return "\n".join(lines) + "\n"


def row(name: str, facts: Facts, *columns: str) -> str:
    """One line of a table."""
    said = [
        f"{facts['tooltips']} of {facts['inputs']}",
        *(str(facts[key]) if facts[key] else "-" for key in ("help", "words", "locales", "templates")),
    ]
    return f"| {' | '.join([name, *columns, 'yes' if facts['description'] else '-', *said, TESTED[facts['test']]])} |"


def display_name(node: str) -> str:
    """The page's name for a node of ours."""
    from depth_normal import NODE_DISPLAY_NAME_MAPPINGS

    return NODE_DISPLAY_NAME_MAPPINGS[node]


def own_facts(node: str) -> Facts:
    """The facts about a node of ours."""
    from depth_normal import NODE_CLASS_MAPPINGS
    from depth_normal.nodes.old_ids import OWN_IDS

    kind = NODE_CLASS_MAPPINGS[node]
    ids = [node, *(old for old, own in OWN_IDS.items() if own == node)]
    inputs = [each for part in ("required", "optional") for each in kind.INPUT_TYPES().get(part, {}).values()]
    return {
        "description": bool(kind.DESCRIPTION),
        "tooltips": sum(bool(each[1].get("tooltip")) for each in inputs),
        "inputs": len(inputs),
        "help": "yes" if (ROOT / "web" / "docs" / f"{node}.md").is_file() else "",
        "words": len(getattr(kind, "SEARCH_ALIASES", ())),
        "locales": sum(node in names for language, names in _locales().items() if language != "en"),
        "templates": sum(any(f'"{each}"' in text for each in ids) for text in _texts("workflows/*.json")),
        "test": any(word in text for text in _texts("tests/**/test_*.py") for word in (*ids, kind.__name__)),
    }


@cache
def _locales() -> dict[str, set[str]]:
    return {path.parent.name: set(json.loads(path.read_text(encoding="utf-8"))) for path in ROOT.glob("locales/*/nodeDefs.json")}


@cache
def _texts(pattern: str) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(pattern)))


def aux_facts(checkout: Path) -> Facts:
    """The facts in comfyui_controlnet_aux's source."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True).stdout

    files = git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
    found: Facts = {"version": git("log", "-1", "--format=%h of %cs", "HEAD").strip()}
    tests = "".join(git("show", f"HEAD:{name}") for name in files if name.startswith("tests/") and name.endswith((".py", ".json")))
    for name in AUX_FILES:
        text = git("show", f"HEAD:node_wrappers/{name}.py")
        # disabled lines are commented out
        listed = re.sub(r"#.*", "", text.partition("NODE_CLASS_MAPPINGS")[2].partition("}")[0])
        for node, kind in re.findall(r'"([\w-]+)"\s*:\s*(\w+)', listed):
            body = text.partition(f"class {kind}")[2].partition("\nclass ")[0].partition("NODE_CLASS_MAPPINGS")[0]
            shown = re.search(rf'"{re.escape(node)}"\s*:\s*"([^"]+)"', text)
            found[node] = {
                "name": shown[1] if shown else node,
                "description": "DESCRIPTION" in body,
                "tooltips": body.count("tooltip"),
                "inputs": len(re.findall(r"\w+\s*=\s*INPUT\.", body)) + 1,
                "help": "yes" if any(f"docs/{node}" in each for each in files) else "",
                "words": body.count("SEARCH_ALIASES"),
                "locales": sum(each.startswith("locales/") and each.endswith("nodeDefs.json") for each in files),
                "templates": sum(each.startswith(("example_workflows/", "workflows/")) and each.endswith(".json") for each in files),
                "test": node in tests or kind in tests,
            }
    return found


def core_facts(packages: Path, source: Path, info: Facts) -> Facts:
    """The facts about ComfyUI's own nodes, from a server, its packages and its source."""
    (version,) = re.findall(r'__version__ = "([^"]+)"', (source / "comfyui_version.py").read_text())
    help_pages = packages / "comfyui_embedded_docs" / "docs"
    languages = [path.read_text() for path in (packages / "comfyui_frontend_package" / "static" / "assets").glob("nodeDefs-*.js")]
    templates = [path.read_text() for path in (packages / "comfyui_workflow_templates_json" / "templates").glob("*.json")]
    (dist,) = packages.glob("comfyui_frontend_package-*.dist-info")
    found: Facts = {"version": f"{version} (frontend {dist.name.split('-')[1].removesuffix('.dist')})"}
    tests = "".join(path.read_text() for each in ("tests", "tests-unit") for path in sorted((source / each).rglob("*.py")))
    for node, kind in info.items():
        if not CORE.search(node) or "Depth-Normal" in str(kind.get("python_module")):
            continue
        inputs = [each for part in ("required", "optional") for each in kind["input"].get(part, {}).values()]
        found[node] = {
            "name": kind.get("display_name") or node,
            "description": bool(kind.get("description")),
            "tooltips": sum(len(each) > 1 and bool(each[1].get("tooltip")) for each in inputs),
            "inputs": len(inputs),
            "help": "yes" if (help_pages / node / "en.md").is_file() else "",
            "words": len(kind.get("search_aliases") or ()),
            "locales": max(sum(f"{node}:" in text or f'"{node}"' in text for text in languages) - 1, 0),
            "templates": sum(f'"{node}"' in text for text in templates),
            "test": node in tests,
        }
    return found


if __name__ == "__main__":
    main()
