"""Prompts for a ComfyUI server, in the format of its API."""


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
