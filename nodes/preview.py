"""The node that shows geometry."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.camera import fov_from_intrinsics
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.files.packed_maps import preview_maps, preview_size
from ..geometry.images.render import depth_to_image, normals_to_image
from ..geometry.kinds import ZERO_AT_CAMERA, Projection
from ..utils import resize_image, to_rgb
from .batches import one_by_one, to_output
from .checks import check_geometry, check_images_of
from .live import MAX_IMAGES, Payload, image_payload, in_comfyui, shown_on_node, temporary_png
from .option_widgets import Node
from .widgets import RENDER, geometry_input, image_input

# Percentiles that bound the depth map's range.
_PERCENTILES = (0.1, 99.9)
_AXES = {Axes.OPENGL: "OpenGL", Axes.DIRECTX: "DirectX", Axes.OPENCV: "OpenCV", Axes.SCANNET: "ScanNet"}


class PreviewGeometry(Node):
    """Shows depth, normals and mask side by side, with a line about their values."""

    NODE_ID = "DepthNormal_PreviewGeometry"
    DISPLAY_NAME = "Preview Geometry"
    DESCRIPTION = (
        "Shows raw geometry: depth, normals and mask side by side, one line with their range, camera and axes, metres "
        "and degrees under the pointer, and the surface in 3D."
    )
    CATEGORY, OUTPUT_NODE = RENDER, True
    OUTPUTS: ClassVar = {
        "maps": (
            "IMAGE",
            "Depth (near = white), normals (OpenGL) and mask side by side, each at most 512 pixels wide or high; of a batch the first "
            f"{MAX_IMAGES}.",
        ),
        "text": ("STRING", "The line shown below them, one for each image."),
    }
    SEARCH_ALIASES = (
        "preview depth, preview normals, view geometry, show depth, inspect, 3d view, 3d preview, point cloud, pointcloud, metres, values, "
        "orbit"
    )
    INPUTS: ClassVar = {
        "required": {"geometry": geometry_input("Depth, normals or both as numbers; of a batch, the first images.")},
        "optional": {
            "image": image_input(
                "Colours of the 3D view: the images that the geometry was estimated from. Without them the maps give the colours."
            )
        },
    }

    def execute(self, geometry: Any, image: Tensor | None = None) -> Any:
        estimate = check_geometry(geometry)
        count = min(estimate.batch, MAX_IMAGES)
        images = None if image is None else to_rgb(image)
        if images is not None:
            check_images_of(estimate, images)
        rows, lines, payloads = [], [], []
        for index, part in enumerate(one_by_one(estimate.slice(0, count))):
            small = preview_maps(part, *preview_size(part.height, part.width))
            tiles = map_tiles(small)
            rows.append(to_output(torch.cat(tiles, 3)))
            lines.append(describe(part))
            colours = tiles[0] if images is None else images[min(index, len(images) - 1)][None]
            # The 3D view assumes a pinhole camera.
            is_panorama = part.projection is Projection.EQUIRECTANGULAR
            payloads.append(image_payload(colours, text=lines[-1]) if is_panorama else _payload(colours, small, part, lines[-1]))
        maps = torch.cat(rows)
        files = [temporary_png(row.movedim(-1, 1)) for row in rows] if in_comfyui() else []
        return shown_on_node((maps, "\n".join(lines)), payloads, text=lines, images=files)


def describe(estimate: Estimate, *, in_file: bool = False) -> str:
    """Describes an estimate of one image: "metric depth 0.8 to 6.2 m, fov 60°, normals OpenGL, mask 97 %".

    `in_file` states the range of depth without metres too, as a file holds it.
    """
    words = []
    if estimate.depth is not None and estimate.quantity is not None:
        words.append(_describe_depth(estimate.depth, estimate.quantity, estimate.depth_valid, in_file))
    if estimate.projection is not Projection.PERSPECTIVE:
        words.append("panorama")
    if estimate.intrinsics is not None:
        fov = float(fov_from_intrinsics(estimate.intrinsics, estimate.height, estimate.width))
        words.append(f"fov {fov:.0f}°")
    if estimate.normals is not None:
        words.append(f"normals {_AXES[estimate.axes]}")
    share = float(estimate.valid.float().mean())
    words.append("no mask" if estimate.mask is None and share == 1 else f"mask {_percent(share)} %")
    return ", ".join(words)


def _describe_depth(depth: Tensor, quantity: Quantity, valid: Tensor | None, in_file: bool) -> str:
    assert valid is not None
    low, high = torch.stack((torch.where(valid, depth, math.inf).amin(), torch.where(valid, depth, -math.inf).amax())).tolist()
    if not low <= high:
        return "depth nowhere"
    if quantity is Quantity.METRIC_DEPTH:
        return f"metric depth {_short(low)} to {_short(high)} m"
    if not in_file:
        return "relative, 0 far to 100 near"
    if quantity is Quantity.DISPARITY:
        return f"disparity {_short(low)} to {_short(high)}"
    return f"relative depth {_short(low)} to {_short(high)}"


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _percent(share: float) -> int:
    """Rounds to whole percents; 0 and 100 only for exactly none and all."""
    return round(100 * share) if share in (0, 1) else max(1, min(99, round(100 * share)))


def map_tiles(small: Estimate) -> list[Tensor]:
    """Renders depth, normals and mask, if present, as images (1, 3, H, W)."""
    tiles = []
    if small.depth is not None and small.quantity is not None:
        inverse = small.quantity in ZERO_AT_CAMERA
        tiles.append(depth_to_image(small.depth, small.quantity, percentiles=_PERCENTILES, as_disparity=inverse, mask=small.mask))
    if small.normals is not None:
        tiles.append(normals_to_image(small.normals, source=small.axes, mask=small.mask).nan_to_num(0.0))
    return [tile.float().expand(-1, 3, -1, -1) for tile in (*tiles, small.valid)]


def _payload(colours: Tensor, small: Estimate, part: Estimate, line: str) -> Payload:
    """The preview of one image; the colours may have another size than the maps."""
    image = resize_image(colours.to(small.device).float(), small.height, small.width)
    payload = image_payload(image, small, text=line)
    return payload and payload | {"full": [part.width, part.height]}


NODES = (PreviewGeometry,)
