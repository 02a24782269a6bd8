"""OpenEXR for compositing programs: their channel names, the image, positions, and the camera in a file beside it.

`exr.py` writes the raw numbers only; it reads both kinds.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils import resize_map
from ..assumptions import assumed_depth, assumed_intrinsics
from ..camera import depth_to_points
from ..checks import check_image_of
from ..conventions import convert_normals
from ..estimate import Axes, Estimate, Quantity
from ..images.srgb import srgb_to_linear
from ..projections import need_perspective
from ..regions.sky import sky_alpha
from .exr import AXES, INTRINSICS, QUANTITY, openexr, write_channels
from .paths import atomic_path, one_image, write_bytes

logger = logging.getLogger(__name__)

BACKGROUND = 1e10
"""Z where depth is not valid, as in Blender's files."""

# Film width in millimetres to which focal lengths refer: that of a photo camera.
_FILM_WIDTH = 36.0


def write_compositing_exr(
    path: str | os.PathLike[str], estimate: Estimate, image: Tensor | None = None, half: bool = False
) -> tuple[Path, Path]:
    """Writes an estimate as an OpenEXR file that compositing programs read without renaming, and its camera as `<stem>.chan`.

    Channels, 32-bit floats:

    - `R`, `G`, `B`: the image in linear light (Rec. 709 primaries), if there is one.
    - `Z`: depth along the optical axis, `BACKGROUND` where it is not valid.
    - `P.X`, `P.Y`, `P.Z`: the position of each pixel, 0 where it is not valid.
    - `N.X`, `N.Y`, `N.Z`: normals, 0 where they are not valid.
    - `mask.A`: 1 where all maps are valid; `sky.A`: the share of sky, if there is an image; `confidence.A`.

    Missing maps are left out. Depth that is not metric is replaced by `assumed_depth`, which has the scene's shape but no unit; an unknown
    camera is assumed too. Positions and normals are in the camera's axes, OPENGL (+X right, +Y up, +Z to the viewer), the camera at 0, as
    for the cameras of Nuke, Maya and Blender. The header has the attributes of `write_exr` and the standard `worldToCamera`, `worldToNDC`,
    `pinholeFocalLength` and `sensorOverallDimensions` (millimetres, for a film 36 mm wide).

    The `.chan` file has one line, as Nuke's camera imports it: frame, position, rotation, vertical field of view in degrees. It cannot
    store an off-centre principal point.

    Args:
        estimate: One image.
        image: (1, 3, h, w) sRGB in [0, 1]; it is resized to the estimate.
        half: 16 bits for all but `Z` and `P`, which need 32.

    Raises:
        ValueError: More than one image, or an image that does not match the estimate.
        ImportError: OpenEXR is not installed.
    """
    openexr()  # fail before any work
    path = Path(path)
    one_image(estimate, "an .exr file")
    need_perspective(estimate, "EXR for compositing")
    if image is not None:
        check_image_of(image, 1, estimate.height, estimate.width)
        image = resize_map(image.detach().cpu().float().clamp(0, 1), estimate.height, estimate.width)
    estimate = estimate.to("cpu").in_float32()
    intrinsics = assumed_intrinsics(estimate)
    channels = {
        name: values.astype(np.float16) if half and name != "Z" and not name.startswith("P.") else values
        for name, values in _channels(estimate, image, intrinsics).items()
    }
    with atomic_path(path) as exr_path, atomic_path(path.with_suffix(".chan")) as camera_path:
        write_channels(exr_path, _header(estimate, intrinsics), channels)
        fov = math.degrees(2 * math.atan(estimate.height / 2 / intrinsics[0, 1, 1].item()))
        # Frame, position, rotation and the vertical field of view in degrees.
        write_bytes(camera_path, "\t".join(("1", *["0"] * 6, f"{fov:.6f}\n")).encode("ascii"))
    return path, path.with_suffix(".chan")


def _channels(estimate: Estimate, image: Tensor | None, intrinsics: Tensor) -> dict[str, np.ndarray]:
    """The channels, float32 (H, W)."""
    maps: dict[str, Tensor] = {}
    if image is not None:
        maps |= dict(zip("RGB", srgb_to_linear(image)[0], strict=True))
    if estimate.depth is not None:
        depth, valid = estimate.depth, estimate.depth_valid
        if estimate.quantity is not Quantity.METRIC_DEPTH:
            logger.info("the depth is not metric: Z and P have the scene's likely shape, its near end at 1", extra={"note": ""})
            depth = assumed_depth(estimate).nan_to_num()
        assert valid is not None
        points = depth_to_points(torch.where(valid, depth, 0), intrinsics)
        maps["Z"] = torch.where(valid, depth, BACKGROUND)[0, 0]
        maps |= _named("P", convert_normals(points, Axes.OPENCV, Axes.OPENGL))
        if image is not None:
            maps["sky.A"] = sky_alpha(image, estimate)[0, 0]
    if estimate.normals is not None:
        valid = estimate.normals_valid
        assert valid is not None
        maps |= _named("N", torch.where(valid, convert_normals(estimate.normals, estimate.axes, Axes.OPENGL), 0))
    maps["mask.A"] = estimate.valid[0, 0]
    if estimate.confidence is not None:
        maps["confidence.A"] = estimate.confidence[0, 0]
    return {name: values.float().contiguous().numpy() for name, values in maps.items()}


def _named(layer: str, values: Tensor) -> dict[str, Tensor]:
    return {f"{layer}.{axis}": plane for axis, plane in zip("XYZ", values[0], strict=True)}


def _header(estimate: Estimate, intrinsics: Tensor) -> dict[str, Any]:
    (fx, _, cx), (_, fy, cy), _ = intrinsics[0].tolist()
    width, height = estimate.width, estimate.height
    header: dict[str, Any] = {
        INTRINSICS: intrinsics[0].numpy(),
        # Points are row vectors. OpenEXR's camera looks along +Z, and its image plane is 0 to 1 from the upper left.
        "worldToCamera": np.diag(np.array([1, 1, -1, 1], np.float32)),
        "worldToNDC": np.array(
            [[fx / width, 0, 0, 0], [0, -fy / height, 0, 0], [-(cx + 0.5) / width, -(cy + 0.5) / height, 0, -1], [0, 0, 1, 0]], np.float32
        ),
        "pinholeFocalLength": fx * _FILM_WIDTH / width,
        "sensorOverallDimensions": np.array([_FILM_WIDTH, _FILM_WIDTH * (height / fy) / (width / fx)], np.float32),
    }
    if estimate.quantity is not None:
        is_metric = estimate.quantity is Quantity.METRIC_DEPTH
        header[QUANTITY] = (Quantity.METRIC_DEPTH if is_metric else Quantity.RELATIVE_DEPTH).value
    if estimate.normals is not None:
        header[AXES] = Axes.OPENGL.value
    return header
