"""Reference figures of models' estimates of the demo photo: computed, stored as JSON, and compared.

An entry has the depth's range and quantiles, and 8-bit 24x16 grids of mean depth and normals: enough to tell a different result from the
same one on another device, and short enough for an issue.
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
# Equal up to the first value, different from the second on: 1 - correlation of the depth grids; the largest difference of quantiles
# relative to their spread; the angle between normals in degrees.
_SHAPE, _VALUES, _ANGLE = (0.005, 0.03), (0.04, 0.15), (3.0, 7.5)


def read_figures(*paths: Path) -> dict[str, dict[str, Any]]:
    """Reads stored entries by model; later files override earlier ones, missing files are skipped. ValueError: one is not such JSON."""
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
    """Adds entries to a file, creating it if absent. A lock keeps concurrent processes from losing entries.

    Raises OSError if it cannot be written, or another process holds the lock too long; ValueError if it holds something else.
    """
    # Not beside the file, where it would be in the way; removing it afterwards would break the lock for waiting processes.
    lock = user_cache() / "figures.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=_LOCK_SECONDS):
        text = json.dumps({**read_figures(path), **entries}, indent=1, sort_keys=True)
        write_bytes(path, f"{text}\n".encode())


def figures_of(estimate: Estimate, origin: str) -> dict[str, Any]:
    """The figures of an estimate of one image; `origin` has versions, device and precision."""
    entry: dict[str, Any] = {"of": origin}
    if estimate.depth is not None and estimate.quantity is not None:
        depth, _, valid = estimate.to("cpu").known_depth()
        grid = _grid(_filled(depth, valid))
        low, high = float(grid.min()), float(grid.max())
        levels = ((grid - low) * (255 / max(high - low, 1e-12))).round()
        entry |= {
            "quantity": estimate.quantity.value,
            "range": [_rounded(float(end)) for end in depth[valid].aminmax()],
            "quantiles": [_rounded(each) for each in _quantiles(depth, valid).tolist()],
            "grid": [_rounded(low), _rounded(high)],
            "depth": _coded(levels),
        }
    if estimate.normals is not None:
        entry["normals"] = _coded(((_normal_grid(estimate) + 1) * 127.5).round())
    return entry


def compare_figures(estimate: Estimate, entry: dict[str, Any]) -> Finding:
    """Compares an estimate of one image with figures of `figures_of`; raises ValueError if they are malformed."""
    has = {name for name in ("depth", "normals") if getattr(estimate, name) is not None}
    quantity = estimate.quantity.value if estimate.quantity else None
    if has != {"depth", "normals"} & entry.keys() or quantity != entry.get("quantity"):
        return Finding("figures", Grade.WRONG, f"gives {quantity}, {sorted(has)}; stored is {entry.get('quantity')}, {sorted(entry)}")
    estimate = estimate.to("cpu")
    grades: list[tuple[Grade, str]] = []
    try:
        if estimate.depth is not None:
            grades += _compare_depth(estimate, entry)
        if estimate.normals is not None:
            stored = unit_normals(_decoded(entry["normals"], 3) / 127.5 - 1)
            cosine = (stored * _normal_grid(estimate)).sum(1).clamp(-1, 1)
            angle = float(cosine.acos().rad2deg().mean())
            grades.append((grade_of(angle, _ANGLE), f"normals {angle:.1f} degrees apart"))
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"the stored figures are damaged ({type(error).__name__}: {error}); record them anew") from error
    return Finding("figures", max(grade for grade, _ in grades), ", ".join(said for _, said in grades))


def _compare_depth(estimate: Estimate, entry: dict[str, Any]) -> list[tuple[Grade, str]]:
    depth, _, valid = estimate.known_depth()
    low, high = entry["grid"]
    stored = low + _decoded(entry["depth"], 1) * ((high - low) / 255)
    grid = _grid(_filled(depth, valid))
    correlation = float(torch.corrcoef(torch.stack((stored.flatten(), grid.flatten())))[0, 1])
    if low == high and float(grid.amax() - grid.amin()) <= 1e-6 * abs(high):
        correlation = 1.0  # both are constant
    quantiles = torch.tensor(entry["quantiles"], dtype=torch.float32)
    apart = float((_quantiles(depth, valid) - quantiles).abs().max() / (quantiles[-1] - quantiles[0]).clamp(min=1e-12))
    return [
        (grade_of(1 - correlation, _SHAPE), f"correlation {correlation:.4f}"),
        (grade_of(apart, _VALUES), f"quantiles {apart:.1%} apart"),
    ]


def _filled(depth: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, depth, depth[valid].median() if bool(valid.any()) else 0).float()


def _quantiles(depth: Tensor, valid: Tensor) -> Tensor:
    return depth[valid].float().quantile(torch.tensor(_QUANTILES, dtype=torch.float32))


def _grid(maps: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(maps.nan_to_num(0), _GRID)


def _normal_grid(estimate: Estimate) -> Tensor:
    assert estimate.normals is not None
    return unit_normals(_grid(convert_normals(estimate.normals.cpu(), estimate.axes, Axes.OPENGL).float()))


def _coded(levels: Tensor) -> str:
    return base64.b64encode(bytes(levels.flatten().clamp(0, 255).to(torch.uint8).tolist())).decode()


def _decoded(text: str, channels: int) -> Tensor:
    return torch.tensor(list(base64.b64decode(text))).float().view(1, channels, *_GRID)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
