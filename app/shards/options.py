"""The options of `--write parquet` and `--write webdataset`. Nothing large is imported."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from ..arguments import SHARD_CHOICES

NUMBER_CHOICES = ("float32", "float16")
SHARD_BYTES = 256 * 10**6

_UNITS = {f"{prefix}{unit}".lower(): base**power for unit, base in (("B", 1000), ("iB", 1024)) for power, prefix in enumerate("KMGT", 1)}


@dataclass(frozen=True)
class ShardOptions:
    """How shards are written.

    Attributes:
        kind: Of SHARD_CHOICES.
        numbers: Of depth, normals and confidence: "float32", bit for bit, or "float16", rounded.
        size: A shard is closed as soon as its maps have this many bytes.
    """

    kind: str
    numbers: str = NUMBER_CHOICES[0]
    size: int = SHARD_BYTES


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Adds --numbers and --shard-size."""
    title = f"for --write {' or '.join(SHARD_CHOICES)}"
    group = parser.add_argument_group(title, "the raw maps of many images in each file (docs/scale.md)")
    numbers = "of depth and normals in shards (default: %(default)s, bit for bit)"
    group.add_argument("--numbers", choices=NUMBER_CHOICES, default=NUMBER_CHOICES[0], help=numbers)
    size = f"a shard is closed as soon as its maps have this size (default: {SHARD_BYTES // 10**6}MB)"
    group.add_argument("--shard-size", type=byte_size, default=SHARD_BYTES, metavar="SIZE", help=size)


def byte_size(text: str) -> int:
    """A number of bytes with its unit: 256MB, 1.5GB, 64MiB."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?) ?([a-z]+)", text.lower(), re.ASCII)
    if not match or match[2] not in _UNITS or not (size := int(float(match[1]) * _UNITS[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: a number above 0 with its unit, such as 256MB or 1GB")
    return size
