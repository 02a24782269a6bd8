"""Compares two files of one view."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..geometry.alignment.metrics import compare_depth, compare_normals
from ..geometry.files import load_estimate
from ..geometry.surfaces.derive import with_normals

logger = logging.getLogger(__name__)


def compare_files(found_path: Path, truth_path: Path, normals_from_depth: bool = False) -> dict[str, dict[str, float]]:
    """Compares the maps of two files, of which the second is the ground truth.

    With `normals_from_depth` the normals that follow from the first file's depth are compared, not its own.

    Returns:
        Under "depth" and "normals", for what both hold, the figures of `compare_depth` and `compare_normals`.

    Raises:
        ValueError, OSError: A file cannot be read, or the two hold nothing of the same kind.
    """
    found, truth = load_estimate(found_path), load_estimate(truth_path)
    if found.quantity is not None and truth.quantity is not None:
        silent = [path for path in (found_path, truth_path) if path.suffix.lower() == ".pfm"]
        if len(silent) == 2 or (silent and found.quantity != truth.quantity):
            kinds = f"{found.quantity.value} is compared with {truth.quantity.value}"
            logger.warning("%s: not said what the depth is, taken for metres; %s", " and ".join(map(str, silent)), kinds)
    if normals_from_depth:
        found = with_normals(replace(found, normals=None), edges="sharp")
    errors = {}
    if found.depth is not None and truth.depth is not None:
        errors["depth"] = compare_depth(found, truth)
    if found.normals is not None and truth.normals is not None:
        errors["normals"] = compare_normals(found, truth)
    if not errors:
        raise ValueError(f"{found_path} and {truth_path} hold nothing of the same kind: one has depth, the other normals")
    return errors
