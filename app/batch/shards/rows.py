"""Estimates as rows of plain values, in shards and between the processes of a cluster.

A row is one image: its `path`, `height`, `width`, `numbers` ("float32" or "float16", of depth, normals and confidence), `quantity`, `axes`,
`intrinsics` (nine float32, row-major), `model` and `licence`; and the raw arrays `depth` (H, W), `normals` (H, W, 3), `mask` (H, W) bool
and `confidence` (H, W), row-major, little-endian, as `write_npz` stores them. Missing maps are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ....geometry.estimate import Axes, Estimate, Quantity
from ....geometry.projections import need_perspective

if TYPE_CHECKING:
    import pyarrow as pa

ARRAYS = ("depth", "normals", "mask", "confidence")
VALUES = ("path", "height", "width", "numbers", "quantity", "axes", "intrinsics", "model", "licence")
_LARGEST = {"float16": 65504.0}

Row = dict[str, Any]


def schema() -> pa.Schema:
    """The columns of rows as an Arrow schema."""
    import pyarrow as pa

    types = {"height": pa.int32(), "width": pa.int32(), "intrinsics": pa.list_(pa.float32())}
    return pa.schema({**{name: types.get(name, pa.string()) for name in VALUES}, **{name: pa.large_binary() for name in ARRAYS}})


def check_utf8(path: str) -> None:
    """Rejects a path whose bytes are not UTF-8, as in archives of old systems, which Arrow cannot hold; Python holds them as surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: the name is not UTF-8, which Parquet and Ray need; rename it") from error


def row_of(path: str, found: Estimate, numbers: str = "float32") -> Row:
    """A row of one image; `numbers`: "float32" (exact) or "float16" (rounded; ValueError if a valid number is too large for it)."""
    need_perspective(found, "a row of a shard")
    row: Row = dict.fromkeys((*VALUES, *ARRAYS))
    row |= {
        "path": path,
        "height": found.height,
        "width": found.width,
        "numbers": numbers,
        "quantity": found.quantity and found.quantity.value,
    }
    row["axes"] = found.axes.value if found.normals is not None else None
    for name, value in found.maps.items():
        if name == "extrinsics":  # only for scenes of several images
            continue
        array = value[0].cpu().numpy()
        if name == "intrinsics":
            row[name] = array.reshape(-1).tolist()
            continue
        array = np.moveaxis(array, 0, -1) if name == "normals" else array[0]
        if name == "depth" and found.depth_valid is not None:
            array = _within(array, found.depth_valid[0, 0].cpu().numpy(), numbers)
        row[name] = bytes_of(array if name == "mask" else _as_numbers(array, numbers, f"{path}: {name}"))
    return row


def bytes_of(array: np.ndarray) -> memoryview:
    """An array's bytes in row-major order; a contiguous array is not copied."""
    return np.ascontiguousarray(array).data.cast("B")


def _within(depth: np.ndarray, valid: np.ndarray, numbers: str) -> np.ndarray:
    """Clips invalid depth to the range of `numbers`: MoGe's sky is a million metres away."""
    largest = _LARGEST.get(numbers)
    return np.where(valid | ~np.isfinite(depth), depth, depth.clip(-largest, largest)) if largest else depth


def _as_numbers(array: np.ndarray, numbers: str, name: str) -> np.ndarray:
    largest = _LARGEST.get(numbers)
    if largest and (most := np.abs(array[np.isfinite(array)]).max(initial=0)) > largest:
        raise ValueError(f"{name} has numbers up to {most:.6g}, and float16 ends at {largest:.0f}; write them as float32")
    return array.astype(np.dtype(numbers), copy=False)


def map_bytes(row: Mapping[str, Any]) -> int:
    """The total size of a row's arrays."""
    return sum(len(row[name]) for name in ARRAYS if row[name] is not None)


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """The float32 estimate of a row from `row_of`."""
    maps: dict[str, Any] = {}
    for name in ARRAYS:
        if (data := row[name]) is not None:
            array = np.frombuffer(data, np.bool_ if name == "mask" else row["numbers"]).reshape(row["height"], row["width"], -1)
            planar = np.moveaxis(array, -1, 0)[None]
            maps[name] = torch.from_numpy(np.array(planar, planar.dtype if name == "mask" else np.float32, order="C"))
    if row["intrinsics"] is not None:
        maps["intrinsics"] = torch.tensor(row["intrinsics"], dtype=torch.float32, device="cpu").reshape(1, 3, 3)
    quantity, axes = row["quantity"], row["axes"]
    return Estimate(quantity=quantity and Quantity(quantity), axes=Axes(axes) if axes else Axes.OPENGL, **maps)
