"""Prompts for a ComfyUI server, in the format of its API, and inputs of nodes without one."""

_MUTED = 2
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR")


def call(node, **inputs):
    """A node of a prompt."""
    return {"class_type": node, "inputs": inputs}


def ours(name, **inputs):
    """One of the pack's own nodes."""
    return call(f"DepthNormal_{name}", **inputs)


def colour(width=64, height=64, count=1, color=0x808080):
    """Images of one colour."""
    return call("EmptyImage", width=width, height=height, batch_size=count, color=color)


def chain(image, node, count=1, **widgets):
    """An image, a call or the name of a file, so many times, through a node: "3"; its preview is "4"."""
    return {
        "1": call("LoadImage", image=image) if isinstance(image, str) else image,
        "2": call("RepeatImageBatch", image=["1", 0], amount=count),
        "3": call(node, image=["2", 0], **widgets),
        "4": call("PreviewImage", images=["3", 0]),
    }


def inputs_of(groups):
    """A node's required and optional inputs by name: the kind, and the options if it has any. `groups`: as INPUT_TYPES gives them."""
    return {name: row for group in ("required", "optional") for name, row in groups.get(group, {}).items()}


def is_widget(kind):
    return isinstance(kind, list) or kind in WIDGETS


def linked(groups, sockets):
    """What is linked to a node: all that it requires, and its image and its geometry; None where it requires what only others make.

    `sockets` has what makes a value of each kind.
    """
    found = {}
    for name, (kind, *_) in inputs_of(groups).items():
        required = name in groups.get("required", {})
        if not isinstance(kind, list) and kind in sockets:
            if required or name in ("image", "images", "geometry"):
                found[name] = sockets[kind]()
        elif required and not is_widget(kind):
            return None
    return found


def of_workflow(workflow, known):
    """A published workflow as the page sends it to a server that knows these nodes; each widget has its saved value."""
    nodes = {node["id"]: node for node in workflow["nodes"] if node["mode"] != _MUTED and node["type"] != "MarkdownNote"}
    sources = {link: [str(origin), output] for link, origin, output, *_ in workflow["links"] if origin in nodes}
    return {str(number): call(node["type"], **_inputs(node, known[node["type"]]["input"], sources)) for number, node in nodes.items()}


def _inputs(node, groups, sources):
    kinds = {name: kind for name, (kind, *_) in inputs_of(groups).items()}
    widgets = [name for name, kind in kinds.items() if is_widget(kind)]
    linked = {each["name"]: sources[each["link"]] for each in node.get("inputs", ()) if each.get("link") in sources}
    assert linked.keys() <= kinds.keys(), f"{node['type']} has no such inputs: {linked}"
    return {**dict(zip(widgets, node.get("widgets_values") or (), strict=True)), **linked}
