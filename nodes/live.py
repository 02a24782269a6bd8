"""Previews on nodes in ComfyUI's page: an image with its depth and normals for web/*.mjs.

An image and its maps are two PNG files of preview size in ComfyUI's temp folder; `web/maps.mjs` decodes what
`geometry.files.packed_maps` encodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.files.html_page import joined_scripts
from ..geometry.files.packed_maps import nearest, pack_maps, preview_maps, preview_size
from ..geometry.files.png import write_normal_png
from ..model_loader.comfy.feedback import notes_of_run
from ..model_loader.comfy.host import folder_paths, last_prompt_id, last_prompts, temporary_file, user_folder
from ..utils import on_white, resize_map

MAX_IMAGES = 16
"""Previews per batch, at most."""

KEY = "depth_normal"
"""Key of the payloads in a node's `ui`."""

NOTES = "depth_normal_notes"
"""Key of the notes about inputs and settings in a node's `ui`."""

LAST_RUNS = "/depth_normal/last_runs"
"""Server path of `last_runs`."""

SCRIPT = "depth_normal.js"
"""The one script that ComfyUI's page loads."""

_LAST_PROMPTS = 50

Payload = dict[str, Any]


def in_comfyui() -> bool:
    """Whether the code runs inside ComfyUI, where a page may show previews."""
    return folder_paths() is not None


def shown_on_node(result: tuple, payloads: Sequence[Payload], **ui: Sequence[Any]) -> Any:
    """Adds `image_payload`s, one per image, to a node's result, with ComfyUI's own entries `ui`; outside ComfyUI the plain result."""
    if not in_comfyui():
        return result
    return {"ui": {KEY: list(payloads), **{name: list(values) for name, values in ui.items()}}, "result": result}


def showing_on_page(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a node's method: its notes stay in the page and ComfyUI's history after the run; its payloads name their node and prompt."""

    @functools.wraps(execute)
    def shown(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = execute(self, *args, **kwargs)
        ui = result.get("ui", {}) if isinstance(result, dict) else {}
        added: dict[str, list[Any]] = {NOTES: notes} if (notes := notes_of_run()) else {}
        if KEY in ui:
            made_by = {"type": self.NODE_ID, "prompt": last_prompt_id()}
            added[KEY] = [{**payload, **made_by} for payload in ui[KEY]]
        if not added:
            return result
        return {**(result if isinstance(result, dict) else {"result": result}), "ui": {**ui, **added}}

    return shown


def image_payload(
    image: Tensor,
    estimate: Estimate | None = None,
    *,
    valid: Tensor | None = None,
    sky: Tensor | None = None,
    thickness: Tensor | None = None,
    glossy: Tensor | None = None,
    text: str = "",
    **more: Any,
) -> Payload:
    """Writes the preview of an image and its geometry for the page.

    Args:
        image: (1, 3, H, W) sRGB in [0, 1], or with alpha as a fourth channel: composited on white.
        estimate: Of the same image, (1, ...) of any size, for the values under the pointer, 3D views and lights.
        valid: (1, 1, H, W) bool, the valid pixels in the page; None = `Estimate.valid`.
        sky: (1, 1, H, W) bool of the image's size, True = sky; None = unknown.
        thickness: (1, 1, H, W), half the thickness of objects as a share of their depth, up to `THICKEST`; None = 0.
        glossy: (1, 1, h, w) of any size, the share of highlights in [0, 1]; None = unknown, and the page reads normals of length 1.
        text: A line to show below the image.
        more: Further JSON values for the node's own view.

    Returns:
        Names of files in ComfyUI's temp folder and the meaning of their values. Empty outside ComfyUI.
    """
    if not in_comfyui():
        return {}
    height, width = image.shape[-2:]
    size = preview_size(height, width)
    shown = on_white(image.detach().float().clamp(0, 1))
    payload = {"width": size[1], "height": size[0], "full": [width, height], "text": text, **more}
    payload["image"] = temporary_png(resize_map(shown, *size) if size != (height, width) else shown)
    if estimate is not None:
        small = preview_maps(estimate, *size)
        maps, meaning = pack_maps(small, None if valid is None else nearest(valid, *size), sky, thickness, glossy)
        payload |= {"maps": temporary_png(maps), **meaning}
    return payload


def temporary_png(image: Tensor) -> dict[str, str]:
    """Writes an image into ComfyUI's temp folder and returns ComfyUI's entry for it."""
    path = temporary_file(".png")
    write_normal_png(path, image)
    return {"filename": path.name, "subfolder": "", "type": "temp"}


def joined_script() -> str:
    """All scripts of the page as one: each request of a page that comes from far away takes its time."""
    return joined_scripts(SCRIPT, outer=True)


def last_runs(query: Mapping[str, str]) -> dict[str, Any]:
    """The nodes' previews from their last run in the `graph` of a query, the id of the page's graph, for a reloaded page.

    By node id: its `type`, the id of its `prompt`, the payloads `shown`, and `notes`. No payloads whose files are gone.
    """
    runs: dict[str, Any] = {}
    for prompt_id, nodes, graph, outputs in last_prompts(_LAST_PROMPTS):
        if str(graph.get("id")) == query.get("graph"):
            for node_id in nodes.keys() - runs.keys():
                runs[node_id] = {"prompt": prompt_id, **_run_of(nodes[node_id], outputs.get(node_id, {}))}
    return runs


def _run_of(node: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
    payloads = [payload for payload in output.get(KEY, ()) if payload]
    shown = payloads if all(map(_is_there, payloads)) else []
    return {"type": node.get("class_type"), "shown": shown, "notes": list(dict.fromkeys(output.get(NOTES, ())))}


def _is_there(payload: Payload) -> bool:
    files = (payload.get(name) for name in ("image", "maps"))
    return all((user_folder("temp") / file["filename"]).is_file() for file in files if file)
