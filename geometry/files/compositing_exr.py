"""OpenEXR for compositing programs: their channel names, the image, positions, and the camera in a file beside it.

`exr.py` writes the raw numbers only; it reads both kinds.
"""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils import on_white, resize_map, split_alpha
from ..assumptions import assumed_depth, assumed_intrinsics
from ..camera import depth_to_points
from ..checks import check_image_of
from ..conventions import convert_normals
from ..estimate import Axes, Estimate, Quantity
from ..images.srgb import srgb_to_linear
from ..kinds import ZERO_AT_CAMERA
from ..projections import need_perspective
from ..regions.sky import sky_alpha
from .exr import AXES, QUANTITY, Plate, camera_attributes, check_half, openexr, write_channels
from .paths import atomic_path, one_image, write_bytes

logger = logging.getLogger(__name__)

BACKGROUND = 1e10
"""Z where depth is not valid, as in Blender's files."""

# Film width in millimetres to which focal lengths refer: that of a photo camera.
_FILM_WIDTH = 36.0
_TINY = 1e-6
# Of a frame's name, with a word for the kind of file or without: shot.1002, shot_0001_comp.
_FRAME = re.compile(r"(?:^|[._ -])(-?\d{1,9})(?:_[a-z]+)?$")


def write_compositing_exr(
    path: str | os.PathLike[str], estimate: Estimate, image: Tensor | None = None, half: bool = False, plate: Plate | None = None
) -> tuple[Path, Path]:
    """Writes an estimate as an OpenEXR file that compositing programs read without renaming, and its camera as `<stem>.chan`.

    Channels, 32-bit floats:

    - `R`, `G`, `B`: the plate as stored, else the image in linear light (Rec. 709 primaries), if there is
      one; premultiplied by alpha.
    - `A`: their alpha, if they have one. Where it is 0, no map is valid.
    - `Z`: depth along the optical axis, `BACKGROUND` where it is not valid.
    - `P.X`, `P.Y`, `P.Z`: the position of each pixel, 0 where it is not valid.
    - `N.X`, `N.Y`, `N.Z`: normals, 0 where they are not valid.
    - `mask.A`: 1 where all maps are valid; `sky.A`: the share of sky, if there is an image; `confidence.A`.

    Missing maps are left out. Depth that is not metric is replaced by `assumed_depth`, which has the scene's shape but no unit; an unknown
    camera is assumed too. Positions and normals are in the camera's axes, OPENGL (+X right, +Y up, +Z to the viewer), the camera at 0, as
    for the cameras of Nuke, Maya and Blender. The header has the attributes of `write_exr` and the standard `worldToCamera`, `worldToNDC`,
    `pinholeFocalLength` and `sensorOverallDimensions` (millimetres, for a film 36 mm wide).
    The size, the windows, the pixels' aspect ratio and the primaries are the plate's; maps are not valid in
    its overscan.

    The `.chan` file has one line, as Nuke's camera imports it: frame, position, rotation, vertical field of view in degrees. It cannot
    store an off-centre principal point. The frame is the number that ends the stem, as in "shot.1002_comp",
    else 1.

    Args:
        estimate: One image, in square pixels of the plate's display window.
        image: (1, 3 or 4, h, w) sRGB in [0, 1], with alpha or without; it is resized to the estimate.
        half: 16 bits for all but `Z` and `P`, which need 32.
        plate: The linear light of which the image was made.

    Raises:
        ValueError: More than one image, an image that does not match the estimate, or values that exceed 16
            bits.
        ImportError: OpenEXR is not installed.
    """
    openexr()  # fail before any work
    path = Path(path)
    one_image(estimate, "an .exr file")
    need_perspective(estimate, "EXR for compositing")
    estimate = estimate.to("cpu").in_float32()
    height, width = (estimate.height, estimate.width) if plate is None else plate.shown_size
    if image is not None:
        check_image_of(split_alpha(image)[0], 1, estimate.height, estimate.width)
        image = _resized(image.detach().cpu().float().clamp(0, 1), height, width)
    estimate = replace(estimate, intrinsics=assumed_intrinsics(estimate)).resized(height, width)
    channels = _channels(estimate, image, plate)
    if half:
        short = {name: values for name, values in channels.items() if name[0] not in "ZP"}
        check_half(short)
        channels |= {name: values.astype(np.float16) for name, values in short.items()}
    frame = _FRAME.search(path.stem)
    with atomic_path(path) as exr_path, atomic_path(path.with_suffix(".chan")) as camera_path:
        write_channels(exr_path, {**_header(estimate), **(plate.attributes if plate else {})}, channels)
        assert estimate.intrinsics is not None
        fov = math.degrees(2 * math.atan(height / 2 / estimate.intrinsics[0, 1, 1].item()))
        # Frame, position, rotation and the vertical field of view in degrees.
        line = "\t".join((str(int(frame[1])) if frame else "1", *["0"] * 6, f"{fov:.6f}\n"))
        write_bytes(camera_path, line.encode("ascii"))
    return path, path.with_suffix(".chan")


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resizes an image (1, 3 or 4, H, W); transparent pixels do not colour others."""
    colours, alpha = split_alpha(image)
    if alpha is None or (height, width) == image.shape[-2:]:
        return resize_map(image, height, width)
    sized = resize_map(torch.cat((colours * alpha, alpha), 1), height, width)
    return torch.cat((sized[:, :3] / sized[:, 3:].clamp(min=_TINY), sized[:, 3:]), 1)


def _channels(estimate: Estimate, image: Tensor | None, plate: Plate | None) -> dict[str, np.ndarray]:
    """The channels, float32 (H, W), of the plate's size if there is one."""
    light: dict[str, Tensor] = {}
    alpha = None
    if plate is not None:
        light = dict(zip("RGB", torch.from_numpy(plate.light).unbind(-1), strict=True))
        if plate.alpha is not None:
            light["A"] = torch.from_numpy(plate.alpha)
            alpha = light["A"][plate.shown][None, None]
    elif image is not None:
        colours, alpha = split_alpha(image)
        linear = srgb_to_linear(colours)[0]
        light = dict(zip("RGB", linear if alpha is None else linear * alpha[0], strict=True))
        light |= {} if alpha is None else {"A": alpha[0, 0]}
    known = torch.ones_like(estimate.valid) if alpha is None else alpha > 0
    seen = estimate if alpha is None else estimate.where_known(known)
    maps: dict[str, Tensor] = {}
    if seen.depth is not None:
        depth, valid = seen.depth, seen.depth_valid
        if seen.quantity not in ZERO_AT_CAMERA:
            logger.info("the depth is not metric: Z and P have the scene's likely shape, its near end at 1", extra={"note": ""})
            depth = assumed_depth(seen).nan_to_num()
        assert valid is not None and seen.intrinsics is not None
        points = depth_to_points(torch.where(valid, depth, 0), seen.intrinsics)
        maps["Z"] = torch.where(valid, depth, BACKGROUND)[0, 0]
        maps |= _named("P", convert_normals(points, Axes.OPENCV, Axes.OPENGL))
        if image is not None:
            maps["sky.A"] = (sky_alpha(on_white(image), estimate) * known)[0, 0]
    if seen.normals is not None:
        valid = seen.normals_valid
        assert valid is not None
        maps |= _named("N", torch.where(valid, convert_normals(seen.normals, seen.axes, Axes.OPENGL), 0))
    maps["mask.A"] = seen.valid[0, 0]
    if seen.confidence is not None:
        maps["confidence.A"] = torch.where(known, seen.confidence, 0)[0, 0]
    return _as_arrays(light) | _with_overscan(_as_arrays(maps), plate)


def _as_arrays(planes: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: values.float().contiguous().numpy() for name, values in planes.items()}


def _with_overscan(maps: dict[str, np.ndarray], plate: Plate | None) -> dict[str, np.ndarray]:
    """Maps (H, W) of the display window at the plate's size, not valid outside of that window."""
    if plate is None:
        return maps
    framed = {}
    for name, values in maps.items():
        framed[name] = np.full(plate.light.shape[:2], BACKGROUND if name == "Z" else 0, np.float32)
        framed[name][plate.shown] = values
    return framed


def _named(layer: str, values: Tensor) -> dict[str, Tensor]:
    return {f"{layer}.{axis}": plane for axis, plane in zip("XYZ", values[0], strict=True)}


def _header(estimate: Estimate) -> dict[str, Any]:
    assert estimate.intrinsics is not None
    (fx, _, cx), (_, fy, cy), _ = estimate.intrinsics[0].tolist()
    width, height = estimate.width, estimate.height
    header: dict[str, Any] = {
        **camera_attributes(estimate.intrinsics),
        # Points are row vectors. OpenEXR's camera looks along +Z, and its image plane is 0 to 1 from the upper left.
        "worldToCamera": np.diag(np.array([1, 1, -1, 1], np.float32)),
        "worldToNDC": np.array(
            [[fx / width, 0, 0, 0], [0, -fy / height, 0, 0], [-(cx + 0.5) / width, -(cy + 0.5) / height, 0, -1], [0, 0, 1, 0]], np.float32
        ),
        "pinholeFocalLength": fx * _FILM_WIDTH / width,
        "sensorOverallDimensions": np.array([_FILM_WIDTH, _FILM_WIDTH * (height / fy) / (width / fx)], np.float32),
    }
    if estimate.quantity is not None:
        known = estimate.quantity in ZERO_AT_CAMERA
        header[QUANTITY] = (estimate.quantity if known else Quantity.RELATIVE_DEPTH).value
    if estimate.normals is not None:
        header[AXES] = Axes.OPENGL.value
    return header
