"""Previews that a node shows in ComfyUI's page: an image with its depth and normals as numbers for web/*.js.

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
"""Of what the page shows, in pixels."""

MAX_IMAGES = 16
"""Of a batch in the page."""

THICKEST = 0.15
"""Half of the greatest thickness that is sent to the page, as a share of depth."""

KEY = "depth_normal"
"""Where the page finds it, in a node's `ui`."""

Payload = dict[str, Any]

_STEPS = 65534
_COUNTS, _SKY = 1, 2


def in_page() -> bool:
    """Whether ComfyUI runs here, and so may have a page to show something in."""
    return folder_paths() is not None


def shown_on_node(result: tuple, payloads: Sequence[Payload], **ui: Sequence[Any]) -> Any:
    """What a node's `execute` returns so that the page gets the payloads; outside ComfyUI the plain result.

    Args:
        result: The node's outputs.
        payloads: What `image_payload` gave, one an image.
        ui: What ComfyUI itself knows, such as `text=[line]` and `images=[file]`.

    Returns:
        {"ui": ..., "result": result} inside ComfyUI, else `result`.
    """
    if not in_page():
        return result
    return {"ui": {KEY: list(payloads), **{name: list(values) for name, values in ui.items()}}, "result": result}


def image_payload(
    image: Tensor,
    estimate: Estimate | None = None,
    *,
    counts: Tensor | None = None,
    sky: Tensor | None = None,
    thickness: Tensor | None = None,
    text: str = "",
    **more: Any,
) -> Payload:
    """One image as the page shows it, and what is known of it.

    Args:
        image: (1, 3, H, W) sRGB in [0, 1].
        estimate: Of the same image, (1, ...) of any size: its depth is read under the pointer, and 3D views and lights are made of it.
        counts: (1, 1, H, W) bool, where the page says that maps count; None = `Estimate.valid`.
        sky: (1, 1, H, W) bool of the image's size, where the sky is; None = not known.
        thickness: (1, 1, H, W), half of how thick things are as a share of their depth, up to `THICKEST`; None = 0.
        text: A line to stand under the image.
        more: What a node's own view needs beside it; JSON.

    Returns:
        Names of files in ComfyUI's temp folder and what their numbers mean. Nothing ({}) outside ComfyUI.
    """
    if not in_page():
        return {}
    height, width = image.shape[-2:]
    size = preview_size(height, width)
    shown = image.detach().float().clamp(0, 1)
    payload = {"width": size[1], "height": size[0], "full": [width, height], "text": text, **more}
    payload["picture"] = temporary_png(resize_map(shown, *size) if size != (height, width) else shown)
    if estimate is not None:
        small = preview_maps(estimate, *size)
        maps, meaning = _packed(small, _bits(small.valid if counts is None else nearest(counts, *size), sky, thickness))
        payload |= {"maps": temporary_png(maps), **meaning}
    return payload


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of what the page shows of an image: `LONG_SIDE` at most."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def preview_maps(estimate: Estimate, height: int, width: int) -> Estimate:
    """The estimate at another size with steps kept: depth and mask are samples, normals averages."""
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
    """(B, C, H, W) of any dtype at another size, each value one of those there were."""
    rows, columns = (
        ((torch.arange(new, device=values.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip((height, width), values.shape[-2:], strict=True)
    )
    return values[:, :, rows][:, :, :, columns]


def _packed(estimate: Estimate, bits: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
    """Maps (1, ...) as one image (1, 3, 2H, W) of bytes / 255, and what they mean.

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


def _bits(counts: Tensor, sky: Tensor | None, thickness: Tensor | None) -> Tensor:
    """1 where all maps count, 2 where the sky is, and 4 times the thickness in 63 steps, added."""
    size, bits = counts.shape[-2:], _COUNTS * counts
    if sky is not None:
        bits = bits + _SKY * nearest(sky, *size)
    return bits if thickness is None else bits + 4 * (nearest(thickness, *size) / THICKEST * 63).round().clamp(0, 63)


def _codes(estimate: Estimate) -> tuple[Tensor, dict[str, Any]]:
    """Depth (1, 1, H, W) as whole numbers up to 65535, and their meaning."""
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
    """Writes an image into ComfyUI's temp folder and names it as ComfyUI does."""
    folder, name = user_folder("temp"), f"depth_normal_{uuid.uuid4().hex}.png"
    folder.mkdir(parents=True, exist_ok=True)
    write_normal_png(folder / name, image)
    return {"filename": name, "subfolder": "", "type": "temp"}
