"""What graphs and scripts rely on in each node: ids, inputs in their order, types, defaults and choices; kept for each release.

python tests/object_info.py         # writes tests/nodes/object_info/<version>.json and node_list.json anew
python tests/object_info.py check   # prints what graphs saved with a kept version would miss today
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

KEPT = Path(__file__).parent / "nodes" / "object_info"
RENEW = "if it is meant (no release has it yet), write the snapshot anew with `python tests/object_info.py` and say so in CHANGELOG.md"
WIDGETS = ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "COLOR")


def described(nodes: dict[str, type]) -> dict[str, dict]:
    """What a graph stores of each node, by id, on a machine without weights: where there are some, they come first in the lists."""
    from depth_normal.nodes import loading

    with mock.patch.object(loading, "models_on_disk", frozenset):
        return _described(nodes)


def _described(nodes: dict[str, type]) -> dict[str, dict]:
    return {node_id: {"inputs": _inputs(node.INPUT_TYPES()), "outputs": list(node.RETURN_TYPES)} for node_id, node in nodes.items()}


def _inputs(kinds: dict[str, dict]) -> list[dict]:
    found = []
    for group in ("required", "optional"):
        for name, (kind, *options) in kinds.get(group, {}).items():
            settings, choices = (options or [{}])[0], list(kind) if isinstance(kind, (list, tuple)) else None
            entry = {"name": name, "type": "COMBO" if choices is not None else kind, "required": group == "required"}
            if entry["type"] in WIDGETS:
                entry["default"] = settings.get("default", choices[0] if choices else None)
            found.append(entry if choices is None else {**entry, "choices": choices})
    return found


def widgets(entry: dict) -> list[str]:
    """The names of a node's widgets in the order in which a graph stores their values."""
    return [each["name"] for each in entry["inputs"] if each["type"] in WIDGETS]


def broken(before: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """What a graph or a script made with one description misses in another. What was added breaks nothing."""
    found = []
    for node_id, old in before.items():
        if node_id not in now:
            found.append(f"{node_id} is gone")
            continue
        new = now[node_id]
        first = widgets(new)[: len(widgets(old))]
        if first != widgets(old):
            found.append(f"{node_id}: the widgets, whose values are stored by position, were {widgets(old)} and begin with {first} now")
        if new["outputs"][: len(old["outputs"])] != old["outputs"]:
            found.append(f"{node_id}: the outputs were {old['outputs']} and are {new['outputs']}")
        found += [f"{node_id}: {problem}" for problem in _inputs_broken(old["inputs"], new["inputs"])]
    return found


def _inputs_broken(old: list[dict], new: list[dict]) -> list[str]:
    before, now = ({each["name"]: each for each in inputs} for inputs in (old, new))
    found = [f"the input {name} is new and required" for name, each in now.items() if each["required"] and name not in before]
    for name, each in before.items():
        if name not in now:
            found.append(f"the input {name} is gone")
            continue
        found += [
            f"{name}'s {key} was {each[key]!r} and is {now[name].get(key)!r}"
            for key in ("type", "default")
            if _differs(key, each, now[name])
        ]
        if now[name]["required"] and not each["required"]:
            found.append(f"the input {name} became required")
        found += [
            f"{name} has the choice {choice!r} no more" for choice in each.get("choices", ()) if choice not in now[name].get("choices", ())
        ]
    return found


def _differs(key: str, old: dict, new: dict) -> bool:
    return key in old and old[key] != new.get(key)


def read(version: str) -> dict[str, dict]:
    """What was kept of a version."""
    return json.loads((KEPT / f"{version}.json").read_text())


def write(version: str, nodes: dict[str, dict]) -> Path:
    """Keeps a version, a line an input."""
    lines = []
    for node_id, entry in nodes.items():
        inputs = ",\n".join(f"   {json.dumps(each)}" for each in entry["inputs"])
        lines.append(f' {json.dumps(node_id)}: {{\n  "inputs": [\n{inputs}\n  ],\n  "outputs": {json.dumps(entry["outputs"])}\n }}')
    path = KEPT / f"{version}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")
    return path


def write_list(titles: dict[str, str]) -> Path:
    """Lists the pack's own nodes for ComfyUI-Manager, whose scan of the source finds none, as their mappings are computed."""
    path = KEPT.parents[2] / "node_list.json"
    own = {node_id: title for node_id, title in titles.items() if node_id.startswith("DepthNormal_")}
    path.write_text(json.dumps(own, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return path


def this_checkouts_package() -> ModuleType:
    """The package of the folder that this file lies in, whichever one is installed."""
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("depth_normal", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    package = sys.modules["depth_normal"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    depth_normal = this_checkouts_package()
    today = described(depth_normal.NODE_CLASS_MAPPINGS)
    if sys.argv[1:] == ["check"]:
        for kept in sorted(KEPT.glob("*.json")):
            print(kept.stem, *(broken(read(kept.stem), today) or ["opens"]), sep="\n  ")
    else:
        print(write(depth_normal.__version__, today), write_list(depth_normal.NODE_DISPLAY_NAME_MAPPINGS))
