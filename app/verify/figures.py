"""Reference figures of models' estimates of the pack's photograph: computed, stored as JSON, and compared.

An entry holds of the depth its range and quantiles, and of depth and normals a grid of 24x16 means, of 8 bits each: enough to tell another
answer from the same one on another device, and short enough for an issue.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.conventions import convert_normals, unit_normals
from ...geometry.estimate import Axes, Estimate
from ...geometry.files.file_lock import FileLock
from ...geometry.files.paths import write_bytes
from ...model_loader.weights.find import user_cache
from .sanity_checks import Finding, Grade, grade_of

STORED = Path(__file__).parents[1] / "figures.json"

_LOCK_SECONDS = 30
_GRID = (16, 24)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Up to the first it is the same answer, from the second on another: 1 - correlation of the depth's grids; the quantiles' largest difference
# by the spread of depth; degrees between the normals.
_SHAPE, _VALUES, _ANGLE = (0.005, 0.03), (0.04, 0.15), (3.0, 7.5)


def read_figures(*paths: Path) -> dict[str, dict[str, Any]]:
    """The stored entries by model; a later file's come before an earlier one's. Files that do not exist hold none.

    Raises:
        ValueError: A file is no such JSON.
    """
    entries: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(paths):
        if not path.is_file():
            continue
        try:
            figures = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}); expected what --record wrote") from error
        if not isinstance(figures, dict) or not all(isinstance(entry, dict) for entry in figures.values()):
            raise ValueError(f"{path} holds no figures: expected an object of entries by model, as --record writes it")
        entries |= figures
    return entries


def write_figures(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Adds entries to a file, or begins it. Of several processes each waits for the others, so that no entry is lost.

    Raises:
        OSError: It cannot be written, or another process does not let go of it.
        ValueError: It holds something else.
    """
    # Not beside the file: a lock that is removed while others wait for it is no lock, and one that stays would be in the way there.
    lock = user_cache() / "figures.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=_LOCK_SECONDS):
        text = json.dumps({**read_figures(path), **entries}, indent=1, sort_keys=True)
        write_bytes(path, f"{text}\n".encode())


def figures_of(estimate: Estimate, origin: str) -> dict[str, Any]:
    """The figures of an estimate.

    Args:
        estimate: Of one image.
        origin: What made it: versions, device, precision.
    """
    entry: dict[str, Any] = {"of": origin}
    if estimate.depth is not None and estimate.quantity is not None:
        depth, _, valid = estimate.to("cpu").known_depth()
        grid = _grid(_filled(depth, valid))
        low, high = float(grid.min()), float(grid.max())
        levels = ((grid - low) * (255 / max(high - low, 1e-12))).round()
        entry |= {
            "quantity": estimate.quantity.value,
            "range": [_rounded(float(end), 6) for end in depth[valid].aminmax()],
            "quantiles": [_rounded(each, 6) for each in _quantiles(depth, valid).tolist()],
            "grid": [_rounded(low, 6), _rounded(high, 6)],
            "depth": _coded(levels),
        }
    if estimate.normals is not None:
        entry["normals"] = _coded(((_normal_grid(estimate) + 1) * 127.5).round())
    return entry


def compare_figures(estimate: Estimate, entry: dict[str, Any]) -> Finding:
    """Compares an estimate of one image with stored figures of `figures_of`.

    Raises:
        ValueError: The entry is not of that form.
    """
    has = {name for name in ("depth", "normals") if getattr(estimate, name) is not None}
    quantity = estimate.quantity.value if estimate.quantity else None
    if has != {"depth", "normals"} & entry.keys() or quantity != entry.get("quantity"):
        return Finding("figures", Grade.WRONG, f"gives {quantity}, {sorted(has)}; stored is {entry.get('quantity')}, {sorted(entry)}")
    estimate = estimate.to("cpu")
    grades, words = [], []
    try:
        if estimate.depth is not None:
            for grade, said in _compare_depth(estimate, entry):
                grades.append(grade)
                words.append(said)
        if estimate.normals is not None:
            stored = unit_normals(_decoded(entry["normals"], 3) / 127.5 - 1)
            cosine = (stored * _normal_grid(estimate)).sum(1).clamp(-1, 1)
            angle = float(cosine.acos().rad2deg().mean())
            grades.append(grade_of(angle, _ANGLE))
            words.append(f"normals {angle:.1f} degrees apart")
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"the stored figures are damaged ({type(error).__name__}: {error}); record them anew") from error
    return Finding("figures", max(grades), ", ".join(words))


def _compare_depth(estimate: Estimate, entry: dict[str, Any]) -> list[tuple[Grade, str]]:
    depth, _, valid = estimate.known_depth()
    low, high = entry["grid"]
    stored = low + _decoded(entry["depth"], 1) * ((high - low) / 255)
    grid = _grid(_filled(depth, valid))
    correlation = float(torch.corrcoef(torch.stack((stored.flatten(), grid.flatten())))[0, 1])
    if low == high and float(grid.amax() - grid.amin()) <= 1e-6 * abs(high):
        correlation = 1.0  # constant both
    quantiles = torch.tensor(entry["quantiles"])
    apart = float((_quantiles(depth, valid) - quantiles).abs().max() / (quantiles[-1] - quantiles[0]).clamp(min=1e-12))
    return [
        (grade_of(1 - correlation, _SHAPE), f"correlation {correlation:.4f}"),
        (grade_of(apart, _VALUES), f"quantiles {apart:.1%} apart"),
    ]


def _filled(depth: Tensor, valid: Tensor) -> Tensor:
    """Depth whose holes hold the median of the rest."""
    return torch.where(valid, depth, depth[valid].median() if bool(valid.any()) else 0).float()


def _quantiles(depth: Tensor, valid: Tensor) -> Tensor:
    return depth[valid].float().quantile(torch.tensor(_QUANTILES))


def _grid(maps: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(maps.nan_to_num(0), _GRID)


def _normal_grid(estimate: Estimate) -> Tensor:
    assert estimate.normals is not None
    return unit_normals(_grid(convert_normals(estimate.normals.cpu(), estimate.axes, Axes.OPENGL).float()))


def _coded(levels: Tensor) -> str:
    return base64.b64encode(bytes(levels.flatten().clamp(0, 255).to(torch.uint8).tolist())).decode()


def _decoded(text: str, channels: int) -> Tensor:
    return torch.tensor(list(base64.b64decode(text))).float().view(1, channels, *_GRID)


def _rounded(value: float, digits: int) -> float:
    """A number rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")
