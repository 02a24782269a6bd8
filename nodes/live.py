"""Previews on nodes in ComfyUI's page: an image with its depth and normals as numbers for web/*.js.

An image and its numbers are two PNG files of preview size in ComfyUI's temp folder; `web/maps.js` reads what `_packed` writes.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.camera import resize_intrinsics
from ..geometry.conventions import convert_normals
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.files.png import write_normal_png
from ..geometry.valid import valid_normals
from ..model_loader.comfy.folders import folder_paths, user_folder
from ..utils import resize_map

LONG_SIDE = 512
"""Longest side of a preview in pixels."""

MAX_IMAGES = 16
"""Largest number of previews of a batch."""

THICKEST = 0.15
"""Largest half thickness of things that is sent to the page, as a share of depth."""

KEY = "depth_normal"
"""Key of the payloads in a node's `ui`."""

Payload = dict[str, Any]

_STEPS = 65534
_VALID, _SKY = 1, 2


def in_comfyui() -> bool:
    """Returns whether the code runs inside ComfyUI, where a page may show previews."""
    return folder_paths() is not None


def shown_on_node(result: tuple, payloads: Sequence[Payload], **ui: Sequence[Any]) -> Any:
    """Adds previews to a node's result, as ComfyUI expects it; outside ComfyUI the plain result.

    Args:
        result: The node's outputs.
        payloads: Of `image_payload`, one for each image.
        ui: ComfyUI's own entries, such as `text=[line]` and `images=[file]`.

    Returns:
        {"ui": ..., "result": result} inside ComfyUI, else `result`.
    """
    if not in_comfyui():
        return result
    return {"ui": {KEY: list(payloads), **{name: list(values) for name, values in ui.items()}}, "result": result}


def image_payload(
    image: Tensor,
    estimate: Estimate | None = None,
    *,
    valid: Tensor | None = None,
    sky: Tensor | None = None,
    thickness: Tensor | None = None,
    text: str = "",
    **more: Any,
) -> Payload:
    """Writes the preview of an image and its geometry for the page.

    Args:
        image: (1, 3, H, W) sRGB in [0, 1].
        estimate: Of the same image, (1, ...) of any size, for the values under the pointer, 3D views and lights.
        valid: (1, 1, H, W) bool, the valid pixels in the page; None = `Estimate.valid`.
        sky: (1, 1, H, W) bool of the image's size, True where the sky is; None = unknown.
        thickness: (1, 1, H, W), half the thickness of things as a share of their depth, up to `THICKEST`; None = 0.
        text: A line to show below the image.
        more: Further JSON values for the node's own view.

    Returns:
        Names of files in ComfyUI's temp folder and the meaning of their values. Empty outside ComfyUI.
    """
    if not in_comfyui():
        return {}
    height, width = image.shape[-2:]
    size = preview_size(height, width)
    shown = image.detach().float().clamp(0, 1)
    payload = {"width": size[1], "height": size[0], "full": [width, height], "text": text, **more}
    payload["image"] = temporary_png(resize_map(shown, *size) if size != (height, width) else shown)
    if estimate is not None:
        small = preview_maps(estimate, *size)
        maps, meaning = _packed(small, _bits(small.valid if valid is None else nearest(valid, *size), sky, thickness))
        payload |= {"maps": temporary_png(maps), **meaning}
    return payload


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Returns the height and width of an image's preview, `LONG_SIDE` at most."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def preview_maps(estimate: Estimate, height: int, width: int) -> Estimate:
    """Resizes an estimate and keeps its steps: depth and mask are sampled, normals averaged."""
    depth = None if estimate.depth is None else nearest(estimate.depth, height, width)
    mask = None if estimate.mask is None else nearest(estimate.mask, height, width)
    intrinsics = estimate.intrinsics
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, (estimate.height, estimate.width), (height, width))
    normals = None
    if estimate.normals is not None:
        normals = replace(estimate, depth=None, quantity=None, confidence=None).resized(height, width).normals
    return Estimate(depth, estimate.quantity, normals, estimate.axes, mask, intrinsics)


def nearest(values: Tensor, height: int, width: int) -> Tensor:
    """Resizes (B, C, H, W) of any dtype by nearest-neighbour sampling."""
    rows, columns = (
        ((torch.arange(new, device=values.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip((height, width), values.shape[-2:], strict=True)
    )
    return values[:, :, rows][:, :, :, columns]


def _packed(estimate: Estimate, bits: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
    """Packs maps (1, ...) into one image (1, 3, 2H, W) of bytes / 255, and describes them.

    The upper half holds normals, n / 2 + 0.5 in OPENGL axes, black where there are none. The lower half holds depth as 256 R + G, 0 where
    there is none and else 1 + 65534 times its share of the way from `low` to `high`, or, if the law is "log", of their logarithms; B
    holds the bits.
    """
    height, width = estimate.height, estimate.width
    packed = torch.zeros(1, 3, 2 * height, width, device=estimate.device)
    meaning: dict[str, Any] = {"normals": estimate.normals is not None, "depth": None, "intrinsics": None}
    if estimate.normals is not None:
        normals = convert_normals(estimate.normals, estimate.axes, Axes.OPENGL)
        packed[:, :, :height] = torch.where(valid_normals(estimate.normals, estimate.mask), normals / 2 + 0.5, 0)
    if estimate.depth is not None:
        codes, meaning["depth"] = _codes(estimate)
        packed[:, 0:1, height:], packed[:, 1:2, height:] = (codes // 256) / 255, (codes % 256) / 255
    packed[:, 2:, height:] = bits / 255
    if estimate.intrinsics is not None:
        matrix = estimate.intrinsics[0].tolist()
        meaning["intrinsics"] = [matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2]]
    return packed, meaning


def _bits(valid: Tensor, sky: Tensor | None, thickness: Tensor | None) -> Tensor:
    """Returns flags for each pixel: 1 where all maps are valid, plus 2 in the sky, plus 4 times the thickness in 63 steps."""
    size, bits = valid.shape[-2:], _VALID * valid
    if sky is not None:
        bits = bits + _SKY * nearest(sky, *size)
    return bits if thickness is None else bits + 4 * (nearest(thickness, *size) / THICKEST * 63).round().clamp(0, 63)


def _codes(estimate: Estimate) -> tuple[Tensor, dict[str, Any]]:
    """Quantises depth (1, 1, H, W) to whole numbers up to 65535, and describes their range."""
    depth, quantity, valid = estimate.known_depth()
    is_log = quantity is Quantity.METRIC_DEPTH
    values = torch.where(valid, depth, 1).float()
    values = values.clamp(min=1e-6).log() if is_log else values
    ends = torch.stack((torch.where(valid, values, math.inf).amin(), torch.where(valid, values, -math.inf).amax()))
    low, high = ends.tolist()
    if not low <= high:
        low = high = 0.0
    share = (values - low) / (high - low) if high > low else torch.zeros_like(values)
    codes = torch.where(valid, 1 + (share.clamp(0, 1) * _STEPS).round(), 0)
    return codes, {"law": "log" if is_log else "linear", "low": low, "high": high, "quantity": quantity.value}


def temporary_png(image: Tensor) -> dict[str, str]:
    """Writes an image into ComfyUI's temp folder and returns ComfyUI's entry for it."""
    folder, name = user_folder("temp"), f"depth_normal_{uuid.uuid4().hex}.png"
    folder.mkdir(parents=True, exist_ok=True)
    write_normal_png(folder / name, image)
    return {"filename": name, "subfolder": "", "type": "temp"}
