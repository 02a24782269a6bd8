"""Random prompts for a ComfyUI server: valid graphs of this pack's nodes, from the server's description of them.

A seed reproduces its prompts for the same nodes and files on the server.
"""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np

PACK = "ComfyUI-Depth-Normal"
DEEPEST = 4
"""Maximum depth of nodes before the requested one."""

# Upper limits of widgets that are expensive in memory and time, unless extreme values are requested.
_COSTLY = {
    "resolution": 512, "network_size": 256, "input_size": 140, "max_res": 512, "frames": 12, "steps": 4, "ensemble_size": 4,
    "iterations": 5, "directions": 16, "max_points": 20_000,
}  # fmt: skip
# Text values besides a widget's own: a colour, a position, and an invalid one.
_WORDS = {
    "colour": ("#f80", "#10203040", "red", "", "#12345g"),
    "ambient_above": ("#abc", "nonsense"),
    "ambient_below": ("#000000", " "),
    "weights": ("", "", "", "nowhere.safetensors", "../../etc/passwd"),
}
_NAMES = ("soak/%date:yyyy-MM-dd%/map", "soak/深度_%width%x%height%", "soak/map", "soak/./map", "..", "soak/" + "long" * 70, "")
_CORE = {
    "IMAGE": ("LoadImage", "EmptyImage", "RepeatImageBatch", "ImageScale", "ImageInvert"),
    "MASK": ("SolidMask", "LoadImageMask", "InvertMask", "ImageToMask"),
    "VIDEO": ("CreateVideo",),
}
_CORE_NODES = {
    "EmptyImage": {"width": (8, 33, 96), "height": (8, 47, 64), "batch_size": (1, 1, 3), "color": (0, 0x808080, 0xFFFFFF)},
    "RepeatImageBatch": {"amount": (1, 2, 3)},
    "ImageScale": {"upscale_method": ("bilinear",), "width": (40, 120), "height": (30, 90), "crop": ("disabled",)},
    "SolidMask": {"value": (0.0, 0.5, 1.0), "width": (64, 96), "height": (48, 64)},
    "LoadImageMask": {"channel": ("alpha", "red")},
    "ImageToMask": {"channel": ("red",)},
    "CreateVideo": {"fps": (8.0, 24.0)},
}
_CORE_SOCKETS = {
    "RepeatImageBatch": {"image": "IMAGE"},
    "ImageScale": {"image": "IMAGE"},
    "ImageInvert": {"image": "IMAGE"},
    "InvertMask": {"mask": "MASK"},
    "ImageToMask": {"image": "IMAGE"},
    "CreateVideo": {"images": "IMAGE"},
}
_SAME_VIEW = 0.7
"""How often images and masks come from the image loaded first; others differ in size, which nodes refuse."""
_SINKS = {"IMAGE": ("PreviewImage", "images"), "MASK": ("MaskPreview", "mask")}


def write_images(folder) -> list[str]:
    """Writes small images of many kinds for *Load Image*: colours, grey, 16 bits, transparency, one pixel, a strip."""
    generator = np.random.default_rng(0)

    def smooth(height: int, width: int, channels: int, kind=np.uint8) -> np.ndarray:
        coarse = generator.integers(0, np.iinfo(kind).max, (max(2, height // 8), max(2, width // 8), channels), kind)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    images = {
        "wide.png": smooth(72, 128, 3),
        "tall.jpg": smooth(160, 60, 3),
        "grey.png": smooth(64, 64, 1),
        "deep.png": smooth(60, 80, 3, np.uint16),
        "cut_out.png": smooth(64, 96, 4),
        "one.png": smooth(1, 1, 3),
        "strip.png": smooth(3, 200, 3),
        "flat.png": np.full((50, 70, 3), 128, np.uint8),
        "large.png": smooth(480, 640, 3),
    }
    for name, image in images.items():
        cv2.imwrite(str(folder / name), image)
    return list(images)


class Prompts:
    """Draws prompts; `info` is the server's /object_info, `ready` the models whose files it has."""

    def __init__(self, info: dict[str, Any], images: list[str], ready: set[str]) -> None:
        self._info, self._images, self._ready = info, images, ready
        self.ids = [node_id for node_id, node in info.items() if PACK in node["python_module"]]
        self._makers: dict[str, list[tuple[str, int]]] = {}
        for node_id in self.ids:
            for slot, kind in enumerate(info[node_id]["output"]):
                self._makers.setdefault(kind, []).append((node_id, slot))

    def draw(self, seed: int, number: int) -> tuple[str, dict[str, Any]]:
        """The prompt of this number: the id of the tested node, and the graph. As many prompts as nodes test each node once."""
        turn, place = divmod(number, len(self.ids))
        asked = random.Random(f"{seed} {turn}").sample(self.ids, len(self.ids))[place]
        graph = _Graph(self, random.Random(f"{seed} {number}"))
        node = graph.add(asked, 0)
        for slot, kind in enumerate(self._info[asked]["output"]):
            sink, socket = _SINKS.get(kind, ("PreviewAny", "source"))
            graph.put(sink, {socket: [node, slot]})
        return asked, graph.nodes

    def inputs(self, node_id: str) -> list[tuple[str, Any, dict[str, Any], bool]]:
        """Name, type, options and necessity of each input."""
        groups = self._info[node_id]["input"]
        return [
            (name, kind, (more or [{}])[0], group == "required")
            for group in ("required", "optional")
            for name, (kind, *more) in groups.get(group, {}).items()
        ]

    def makers(self, kind: str) -> list[tuple[str, int]]:
        """The pack's nodes with an output of this type."""
        return self._makers.get(kind, [])

    def choice(self, rng: random.Random, choices: list[Any]) -> Any:
        """A random choice; of models mostly an installed one."""
        there = [each for each in choices if each in self._ready]
        return rng.choice(there) if there and rng.random() < 0.8 else rng.choice(choices)

    def core_value(self, rng: random.Random, node_id: str) -> dict[str, Any]:
        """Widget values of one of ComfyUI's own nodes."""
        values: dict[str, Any] = {name: rng.choice(these) for name, these in _CORE_NODES.get(node_id, {}).items()}
        return {**values, "image": rng.choice(self._images)} if node_id.startswith("LoadImage") else values


class _Graph:
    """A prompt built backwards from its last node."""

    def __init__(self, prompts: Prompts, rng: random.Random) -> None:
        self._prompts, self._rng, self._view = prompts, rng, None
        self.nodes: dict[str, dict[str, Any]] = {}

    def put(self, node_id: str, inputs: dict[str, Any]) -> str:
        name = str(len(self.nodes) + 1)
        self.nodes[name] = {"class_type": node_id, "inputs": inputs}
        return name

    def add(self, node_id: str, depth: int) -> str:
        """Adds one of the pack's nodes and those before it."""
        inputs, rng = {}, self._rng
        for name, kind, options, required in self._prompts.inputs(node_id):
            if _is_widget(kind):
                if required or rng.random() < 0.7:
                    inputs[name] = self._widget(name, kind, options)
            elif required or rng.random() < 0.4:
                inputs[name] = self._link(kind, depth + 1)
        return self.put(node_id, inputs)

    def _link(self, kind: str, depth: int) -> list[Any]:
        makers, core, rng = self._prompts.makers(kind), _CORE.get(kind, ()), self._rng
        if kind in ("IMAGE", "MASK") and self._view is not None and rng.random() < _SAME_VIEW:
            return [self._view, ("IMAGE", "MASK").index(kind)]
        if core and (depth >= DEEPEST or rng.random() < 0.6 or not makers):
            return [self._core(core[0] if depth >= DEEPEST + 2 else rng.choice(core), depth), 0]
        if depth >= DEEPEST:
            makers = [(node_id, slot) for node_id, slot in makers if self._is_near_the_start(node_id)] or makers
        node_id, slot = rng.choice(makers)
        return [self.add(node_id, depth), slot]

    def _core(self, node_id: str, depth: int) -> str:
        sockets = {name: self._link(kind, depth + 1) for name, kind in _CORE_SOCKETS.get(node_id, {}).items()}
        name = self.put(node_id, {**self._prompts.core_value(self._rng, node_id), **sockets})
        self._view = name if node_id == "LoadImage" else self._view
        return name

    def _is_near_the_start(self, node_id: str) -> bool:
        """Whether the node only needs images, and no file of the user's."""
        needed = [kind for _, kind, _, required in self._prompts.inputs(node_id) if required and not _is_widget(kind)]
        return (set(needed) <= set(_CORE) and "Load" not in node_id) or node_id == "DepthNormal_LoadModel"

    def _widget(self, name: str, kind: Any, options: dict[str, Any]) -> Any:
        rng = self._rng
        if isinstance(kind, list) or kind == "COMBO":
            return self._prompts.choice(rng, (kind if isinstance(kind, list) else options["options"]) or [""])
        if kind == "BOOLEAN":
            return rng.random() < 0.5
        if kind in ("STRING", "COLOR"):
            words = _WORDS.get(name, _NAMES if name in ("filename_prefix", "folder_name") else ("", "words"))
            return rng.choice(words) if rng.random() < 0.5 else options.get("default", "")
        return self._number(name, kind, options)

    def _number(self, name: str, kind: str, options: dict[str, Any]) -> float:
        rng, low, high = self._rng, options["min"], options["max"]
        if rng.random() < 0.3 and name not in _COSTLY:
            return options["default"]
        if name in _COSTLY and rng.random() < 0.97:
            high = max(low, min(high, _COSTLY[name]))
        draw = rng.random()
        value = low if draw < 0.15 else high if draw < 0.3 else rng.uniform(low, high)
        return round(value) if kind == "INT" else value


def _is_widget(kind: Any) -> bool:
    return isinstance(kind, list) or kind in ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "COLOR")
