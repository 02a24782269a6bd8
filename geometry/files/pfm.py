"""Portable float maps: one map of raw float32 numbers."""

from __future__ import annotations

import os
import re

import numpy as np
import torch
from torch import Tensor

from .paths import FileFormatError, check_size, read_bytes, write_bytes

GAP = rb"(?:[ \t\r\n]|#[^\n]*\n)+"  # with comments, as netpbm's other formats have
_HEADER = re.compile(rb"(P[Ff])%b(\d{1,9})%b(\d{1,9})%b([-+.\deE]{1,32})[ \t]*\r?\n" % (GAP, GAP, GAP))


def write_pfm(path: str | os.PathLike[str], values: Tensor) -> None:
    """Writes one float32 map, (1, H, W) or (3, H, W), or with a batch of one in front, as a little-endian PFM, atomically.

    Raises:
        ValueError: Another shape.

    Source:
        https://netpbm.sourceforge.net/doc/pfm.html (rows from the bottom up; a negative scale means little-endian).
    """
    planes = values[0] if values.ndim == 4 and values.shape[0] == 1 else values
    if planes.ndim != 3 or planes.shape[0] not in (1, 3):
        raise ValueError(f"{path}: values of shape {tuple(values.shape)}; a PFM holds (1, height, width) or (3, height, width)")
    channels, height, width = planes.shape
    rows = planes.detach().cpu().movedim(0, -1).flip(0).contiguous().numpy().astype("<f4")
    write_bytes(path, f"{'Pf' if channels == 1 else 'PF'}\n{width} {height}\n-1.0\n".encode(), rows.tobytes())


def read_pfm(path: str | os.PathLike[str]) -> Tensor:
    """Reads a PFM of either byte order, (1, 1 or 3, H, W) float32 on the CPU, bit for bit; the scale's size is not applied.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not a PFM, cut off, or too large.
    """
    data = read_bytes(path)
    header = _HEADER.match(data[:512])
    if header is None:
        raise FileFormatError(f"{path}: not a PFM file (it begins with {data[:16]!r}); expected 'Pf' or 'PF', width, height, scale")
    channels = 1 if header[1] == b"Pf" else 3
    width, height = int(header[2]), int(header[3])
    check_size(path, width, height, len(data))
    try:
        scale = float(header[4])
    except ValueError:
        scale = np.nan
    if not np.isfinite(scale) or scale == 0:
        raise FileFormatError(f"{path}: the scale is {header[4]!r}; expected a number, negative for little-endian")
    there, expected = len(data) - header.end(), 4 * channels * width * height
    if there < expected:
        raise FileFormatError(f"{path}: cut off: {there} bytes of numbers, {expected} expected for {width}x{height}x{channels}")
    numbers = np.frombuffer(data, "<f4" if scale < 0 else ">f4", channels * width * height, header.end())
    rows = numbers.astype(np.float32).reshape(height, width, channels)[::-1]
    return torch.from_numpy(np.moveaxis(rows, -1, 0).copy())[None]
