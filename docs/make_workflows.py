"""Writes the templates, workflows/*.json, and the blueprints, subgraphs/*.json, from their descriptions in `workflow_graphs.py`.

    python docs/make_workflows.py

Sockets and widgets come from the nodes as they are now; a widget that a description does not name has its default.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from workflow_graphs import APP_WIDGETS, BLUEPRINTS, GRAPHS, Blueprint, Graph, Node
from workflow_layout import HEIGHTS, place

from depth_normal import NODE_CLASS_MAPPINGS

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 350
WORKFLOWS, SUBGRAPHS = ROOT / "workflows", ROOT / "subgraphs"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COLOR", "COMBO", "IMAGEUPLOAD", "COMFY_DYNAMICCOMBO_V3")
# ComfyUI's own nodes: inputs in the page's order, and outputs.
CORE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "CheckpointLoaderSimple": ({"ckpt_name": "COMBO"}, {"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"}),
    "CLIPTextEncode": ({"clip": "CLIP", "text": "STRING"}, {"CONDITIONING": "CONDITIONING"}),
    "ControlNetApplyAdvanced": (
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "control_net": "CONTROL_NET",
            "image": "IMAGE",
            "vae": "VAE",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
        },
        {"positive": "CONDITIONING", "negative": "CONDITIONING"},
    ),
    "ControlNetLoader": ({"control_net_name": "COMBO"}, {"CONTROL_NET": "CONTROL_NET"}),
    "EmptyLatentImage": ({"width": "INT", "height": "INT", "batch_size": "INT"}, {"LATENT": "LATENT"}),
    "KSampler": (
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "seed": "INT",
            "steps": "INT",
            "cfg": "FLOAT",
            "sampler_name": "COMBO",
            "scheduler": "COMBO",
            "denoise": "FLOAT",
        },
        {"LATENT": "LATENT"},
    ),
    "PreviewImage": ({"images": "IMAGE"}, {}),
    "SaveAnimatedWEBP": (
        {"images": "IMAGE", "filename_prefix": "STRING", "fps": "FLOAT", "lossless": "BOOLEAN", "quality": "INT", "method": "COMBO"},
        {},
    ),
    "SaveImage": ({"images": "IMAGE", "filename_prefix": "STRING"}, {}),
    "SaveVideo": ({"video": "VIDEO", "filename_prefix": "STRING", "format": "COMBO", "codec": "COMFY_DYNAMICCOMBO_V3"}, {"video": "VIDEO"}),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, {"IMAGE": "IMAGE"}),
}

CORE_OUTPUTS = ("PreviewImage", "SaveAnimatedWEBP", "SaveImage", "SaveVideo")


def main() -> None:
    """Writes all templates and blueprints."""
    SUBGRAPHS.mkdir(exist_ok=True)
    for blueprint in BLUEPRINTS:
        (SUBGRAPHS / f"{blueprint.name}.json").write_text(blueprint_json(blueprint), encoding="utf-8")
    for graph in GRAPHS:
        (WORKFLOWS / f"{graph.name}.json").write_text(as_json(graph), encoding="utf-8")


def as_json(graph: Graph) -> str:
    """A template's file.

    Raises:
        ValueError: The graph does not fit on the page, a node has no such input, output or widget, or a node is in no column.
    """
    note = max(node.id for node in graph.nodes) + 1
    positions, sizes = _positions(graph, note)
    links = _links(graph)
    order = {node: number for number, node in enumerate([note, *(node.id for node in _in_order(graph))])}
    entries = [_entry(node, links) for node in graph.nodes]
    entries.append(
        {
            "id": note,
            "type": "MarkdownNote",
            "inputs": [],
            "outputs": [],
            "properties": {},
            "widgets_values": [graph.note],
            "title": "Read me",
        }
    )
    entries = [
        {
            "id": entry["id"],
            "type": entry["type"],
            "pos": [round(each) for each in positions[entry["id"]]],
            "size": list(sizes[entry["id"]]),
            "flags": {},
            "order": order[entry["id"]],
            **{"mode": 0, **entry},
        }
        for entry in entries
    ]
    extra = {"ds": {"scale": 0.7, "offset": [40, 20]}, "linearMode": False, "linearData": _app_mode(graph)}
    whole = {
        "id": _uuid("workflows", graph.name),
        "revision": 0,
        "last_node_id": note,
        "last_link_id": len(links),
        "nodes": entries,
        "links": [list(link) for link in links],
        "groups": [],
        "config": {},
        "extra": extra,
        "version": 0.4,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def blueprint_json(blueprint: Blueprint) -> str:
    """A blueprint's file: a graph of one node, which stands for the others."""
    identity = _uuid("subgraphs", blueprint.name)
    by_id = {node.id: node for node in blueprint.nodes}
    inner = _links(Graph(blueprint.name, "", blueprint.nodes, ()))
    # Widgets are inputs: where ids are taken, pages since 1.58 renumber the nodes inside and lose what the property proxyWidgets names.
    shown = [(widget, sockets(by_id[node].type)[0][widget], ((node, widget),)) for node, widget in blueprint.widgets]
    inputs = [*blueprint.inputs, *shown]
    entering, leaving = [], []
    for slot, (_, kind, targets) in enumerate(inputs):
        for target, name in targets:
            entering.append((len(inner) + len(entering) + 1, -10, slot, target, [*sockets(by_id[target].type)[0]].index(name), kind))
    for slot, (_, source, name) in enumerate(blueprint.outputs):
        outputs = sockets(by_id[source].type)[1]
        leaving.append((len(inner) + len(entering) + len(leaving) + 1, source, [*outputs].index(name), -20, slot, outputs[name]))
    links = [*inner, *entering, *leaving]
    sizes = {node.id: (WIDTH, node.height or HEIGHTS[node.type]) for node in blueprint.nodes}
    top, left, places = 60, 60, {}
    for column in blueprint.columns:
        below = top
        for node in column:
            places[node] = (left, below)
            below += sizes[node][1] + 80
        left += max(sizes[node][0] for node in column) + 80
    nodes = [
        {"pos": list(places[node.id]), "size": list(sizes[node.id]), "flags": {}, "order": order, **_entry(node, links)}
        for order, node in enumerate(blueprint.nodes)
    ]
    kinds = [sockets(by_id[source].type)[1][name] for _, source, name in blueprint.outputs]
    definition = {
        "id": identity,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": max(by_id), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "inputNode": {"id": -10, "bounding": [-160, top, 120, 40 + 20 * len(inputs)]},
        "outputNode": {"id": -20, "bounding": [left, top, 120, 40 + 20 * len(blueprint.outputs)]},
        "inputs": [
            {
                "id": _uuid(blueprint.name, "input", name),
                "name": name,
                "type": kind,
                "linkIds": [link[0] for link in entering if link[2] == slot],
            }
            for slot, (name, kind, _) in enumerate(inputs)
        ],
        "outputs": [
            {"id": _uuid(blueprint.name, "output", name), "name": name, "type": kind, "linkIds": [leaving[slot][0]]}
            for slot, ((name, _, _), kind) in enumerate(zip(blueprint.outputs, kinds, strict=True))
        ],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": [dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True)) for link in links],
        "extra": {},
        "category": "Depth & Normals",
        "description": blueprint.description,
    }
    outside = {
        "id": max(by_id) + 1,
        "type": identity,
        "pos": [60, 60],
        "size": [350, 120 + 26 * len(blueprint.widgets)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [_input(name, kind) for name, kind, _ in inputs],
        "outputs": [{"name": name, "type": kind, "links": None} for (name, _, _), kind in zip(blueprint.outputs, kinds, strict=True)],
        "title": blueprint.name,
        "properties": {},
        "widgets_values": [],
    }
    whole = {
        "id": _uuid("subgraphs", blueprint.name, "graph"),
        "revision": 0,
        "last_node_id": max(by_id) + 1,
        "last_link_id": 0,
        "nodes": [outside],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [definition]},
        "config": {},
        "extra": {"BlueprintDescription": blueprint.description, "BlueprintSearchAliases": list(blueprint.search)},
        "version": 0.4,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("depth-normal", *words))))


def _app_mode(graph: Graph) -> dict[str, list]:
    """What app mode shows of a template: controls by node and widget, and the nodes whose results it shows."""
    awake = [node for node in graph.nodes if not node.muted]
    inputs = [[node.id, widget] for node in awake for widget in APP_WIDGETS.get(node.type, ())]
    return {"inputs": inputs, "outputs": [node.id for node in awake if _is_output(node.type)]}


def _is_output(node_type: str) -> bool:
    return node_type in CORE_OUTPUTS or getattr(NODE_CLASS_MAPPINGS.get(node_type), "OUTPUT_NODE", False)


def sockets(node_type: str) -> tuple[dict[str, str], dict[str, str]]:
    """Types of a node's inputs, widgets included, and of its outputs, by name."""
    if node_type in CORE:
        return CORE[node_type]
    node = NODE_CLASS_MAPPINGS[node_type]
    inputs = {name: "COMBO" if isinstance(kind, list) else kind for name, (kind, *_) in _declared(node_type).items()}
    names = getattr(node, "RETURN_NAMES", None) or node.RETURN_TYPES
    return inputs, dict(zip(names, node.RETURN_TYPES, strict=True))


def _declared(node_type: str) -> dict[str, tuple]:
    inputs = NODE_CLASS_MAPPINGS[node_type].INPUT_TYPES()
    return {**inputs.get("required", {}), **inputs.get("optional", {})}


def _values(node: Node) -> list[Any]:
    """What the page saves of a node's widgets, in its order."""
    if node.type in CORE:
        return list(node.values) if isinstance(node.values, tuple) else list(node.values.values())
    assert isinstance(node.values, dict), node
    values = {
        name: options.get("default", kind[0] if isinstance(kind, list) else None)
        for name, (kind, options) in _declared(node.type).items()
        if isinstance(kind, list) or kind in WIDGETS
    }
    if unknown := node.values.keys() - values.keys():
        raise ValueError(f"{node.type} has no widgets {sorted(unknown)}; it has {', '.join(values)}")
    return list((values | node.values).values())


def _links(graph: Graph) -> list[tuple[int, int, int, int, int, str]]:
    """Number, source, its output, target, its input, type."""
    by_id = {node.id: node for node in graph.nodes}
    links = []
    for node in graph.nodes:
        inputs, _ = sockets(node.type)
        for name, (source, output) in node.links.items():
            outputs = sockets(by_id[source].type)[1]
            if name not in inputs or output not in outputs:
                raise ValueError(
                    f"{graph.name}: no link from {output} of node {source} to {name} of node {node.id}: {[*inputs]}, {[*outputs]}"
                )
            links.append((len(links) + 1, source, [*outputs].index(output), node.id, [*inputs].index(name), outputs[output]))
    return links


def _in_order(graph: Graph) -> list[Node]:
    """Nodes, each after those that it is linked to."""
    done: dict[int, Node] = {}
    while len(done) < len(graph.nodes):
        done |= {node.id: node for node in graph.nodes if all(source in done for source, _ in node.links.values())}
    return list(done.values())


def _positions(graph: Graph, note: int) -> tuple[dict[int, tuple[float, float]], dict[int, tuple[float, float]]]:
    columns = [[note if each == "note" else int(each) for each in column] for column in graph.columns]
    heights = {node.id: node.height or HEIGHTS[node.type] for node in graph.nodes} | {note: graph.note_height}
    if sorted(node for column in columns for node in column) != sorted(heights):
        raise ValueError(f"{graph.name}: the columns {columns} hold other nodes than the graph: {sorted(heights)}")
    widths = graph.widths or [WIDTH] * len(columns)
    sizes = {node: (width, heights[node]) for column, width in zip(columns, widths, strict=True) for node in column}
    by_id = {node.id: node for node in graph.nodes}
    rows = []
    for _, source, out, target, into, _ in _links(graph):
        inputs = [*sockets(by_id[target].type)[0].items()]
        plain = [name for name, kind in inputs if kind not in WIDGETS]
        # A widget's socket stands lower, beside it: somewhere near is near enough.
        row = plain.index(inputs[into][0]) if inputs[into][0] in plain else len(plain) + 2
        rows.append((source, out, target, row))
    try:
        return place(columns, sizes, rows, graph.gap), sizes
    except ValueError as error:
        raise ValueError(f"{graph.name}: {error}") from None


def _entry(node: Node, links: list[tuple[int, int, int, int, int, str]]) -> dict[str, Any]:
    inputs, outputs = sockets(node.type)
    into = {link[4]: link[0] for link in links if link[3] == node.id}
    entry: dict[str, Any] = {
        "id": node.id,
        "type": node.type,
        "mode": 2 if node.muted else 0,
        "inputs": [_input(name, kind, into.get(number)) for number, (name, kind) in enumerate(inputs.items())],
        "outputs": [
            {"name": name, "type": kind, "links": [link[0] for link in links if link[1] == node.id and link[2] == number] or None}
            for number, (name, kind) in enumerate(outputs.items())
        ],
        "properties": {"Node name for S&R": node.type},
        "widgets_values": _values(node),
    }
    return entry | ({"title": node.title} if node.title else {})


def _input(name: str, kind: str, link: int | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link} | ({"widget": {"name": name}} if kind in WIDGETS else {})


if __name__ == "__main__":
    main()
