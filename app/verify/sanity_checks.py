"""Sanity checks of an estimate of the demo photo, against its ground truth, without reference figures.

The thresholds accept models far weaker than any published one. The faults to detect (near and far swapped, a flipped axis, a mirrored or
shifted frame, another kind of output) are far beyond them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.alignment.metrics import disagreeing_axes
from ...geometry.conventions import convert_normals
from ...geometry.estimate import Axes, Estimate, Quantity
from ...geometry.levels import depth_to_nearness
from ...geometry.valid import valid_normals
from .coffee_scene import CUP, HEIGHT, PAIRS, SURFACES, WIDTH, Point, outlines, scene


class Grade(IntEnum):
    """The grade of a finding."""

    SOUND = 0
    DOUBTFUL = 1
    WRONG = 2


class Finding(NamedTuple):
    """The result of one check; `words` are the figures, and what is wrong."""

    name: str
    grade: Grade
    words: str


METRES, METRES_OUTDOORS = (0.2, 3.0), (0.2, 80.0)
"""Plausible distances of the cup on the table in metres, for indoor models and for those trained on streets only."""

# How many pairs may be in the wrong order, and the share from which they count as swapped.
_MISSED, _SWAPPED = 2, 0.75
# Minimal rank correlation with the reconstructed scene: doubtful below the first, wrong below the second. Weak models reach 0.66 to 0.78.
_ALIKE, _UNLIKE = 0.6, 0.35
# The same for the mean angle between normals in degrees; a weak model has 33.
_CLOSE, _APART_BY = 42.0, 60.0
# Side of the pixel blocks for mean colours, minimal standard deviation of an albedo, and its minimal correlation with the photo.
_BLOCK, _FLAT, _ALBEDO_ALIKE = 8, 0.02, 0.5
# Minimal difference of a normal's component between surfaces facing opposite ways; a sound model has about 1.
_APART = 0.25
_FACING = 0.5
# Tolerance for outlines in pixels; largest shift that counts as in place; least factor by which another place must fit better to count as
# shifted; and least excess of edge strength under the outlines over the average.
_NEAR, _LITTLE, _BETTER = 6, 8, 1.03
_EDGES = 0.15
_REACH, _STEP = 48, 4
_SCALES = (0.8, 0.85, 0.9, 1.0, 1.1, 1.2)
_MIRRORED = {"mirrored": (-1.0, 1.0), "upside down": (1.0, -1.0), "turned by 180 degrees": (-1.0, -1.0)}


def evaluate(estimate: Estimate, metres: tuple[float, float] = METRES) -> list[Finding]:
    """Evaluates an estimate of the demo photo (one image, 600x400); returns a finding for each check that its maps allow.

    The cup's distance must be within `metres` if the depth is metric.
    """
    estimate = estimate.to("cpu")
    if empty := _empty(estimate):
        return [Finding("gives", Grade.WRONG, f"not one pixel of its {' and '.join(empty)} is valid: all are masked or not finite")]
    findings = []
    if estimate.depth is not None and estimate.quantity is not None:
        findings.append(near_and_far(estimate))
        if estimate.quantity is Quantity.METRIC_DEPTH:
            findings.append(distance(estimate, metres))
    if estimate.normals is not None:
        findings.append(axes(estimate))
    return [*findings, likeness(estimate), frame(estimate)]


def evaluate_albedo(albedo: Tensor, photograph: Tensor) -> Finding:
    """Evaluates an albedo of the photo: its colours must correlate with the photo's."""
    images = [F.avg_pool2d(each.cpu().float(), _BLOCK) for each in (albedo, photograph)]
    if float(images[0].std()) < _FLAT:
        return Finding("likeness", Grade.WRONG, "the albedo is the same everywhere")
    correlation = float(torch.corrcoef(torch.stack([each.flatten() for each in images]))[0, 1])
    grade = Grade.SOUND if correlation > _ALBEDO_ALIKE else Grade.DOUBTFUL if correlation > 0 else Grade.WRONG
    return Finding("likeness", grade, f"correlation of albedo and photograph {correlation:.2f}")


def _empty(estimate: Estimate) -> list[str]:
    counts = {}
    if estimate.depth is not None and estimate.quantity is not None:
        counts["depth"] = estimate.known_depth()[2]
    if estimate.normals is not None:
        counts["normals"] = valid_normals(estimate.normals, estimate.mask)
    return [name for name, valid in counts.items() if not bool(valid.any())]


def near_and_far(estimate: Estimate) -> Finding:
    """Checks the depth order of unambiguous pairs of points. Weak models miss a few."""
    near = nearness(estimate)
    leads = {pair.why: _around(near, pair.near) - _around(near, pair.far) for pair in PAIRS}
    wrong = [why for why, lead in leads.items() if not lead > 0]
    words = f"{len(PAIRS) - len(wrong)} of {len(PAIRS)} pairs in order"
    if not any(leads.values()):
        return Finding("near/far", Grade.WRONG, f"the depth is the same everywhere: {words}")
    if sum(lead < 0 for lead in leads.values()) > _SWAPPED * len(PAIRS):
        return Finding("near/far", Grade.WRONG, f"near and far are swapped: {words}")
    return Finding("near/far", grade_of(len(wrong), (0, _MISSED)), "; not ".join((words, *wrong)))


def likeness(estimate: Estimate) -> Finding:
    """Compares depth order and normals with those of the reconstructed scene."""
    step = 8
    truth, grades, words = scene(step), [], []
    if estimate.depth is not None:
        mine = F.avg_pool2d(nearness(estimate), step)
        correlation = float(torch.corrcoef(torch.stack((_ranks(mine), _ranks(nearness(truth)))))[0, 1])
        grades.append(grade_of(-correlation, (-_ALIKE, -_UNLIKE)))
        words.append(f"{'this is not its depth: ' if grades[-1] is Grade.WRONG else ''}rank correlation {correlation:.2f}")
    if estimate.normals is not None and truth.normals is not None:
        cosine = F.avg_pool2d(_opengl(estimate).nan_to_num(0), step).mul(truth.normals).sum(1)
        angle = float(cosine.clamp(-1, 1).acos().rad2deg().mean())
        grades.append(grade_of(angle, (_CLOSE, _APART_BY)))
        words.append(f"{'these are not its normals: ' if grades[-1] is Grade.WRONG else ''}normals {angle:.0f} degrees apart")
    return Finding("likeness", max(grades), f"{', '.join(words)}, against the rebuilt scene")


def distance(estimate: Estimate, metres: tuple[float, float] = METRES) -> Finding:
    """Checks the cup's distance in metres."""
    depth, _, _ = estimate.known_depth()
    to_cup = sum(_around(depth, point) for point in CUP) / len(CUP)
    words = f"the cup is at {to_cup:.2f} m"
    low, high = metres
    if low <= to_cup <= high:
        return Finding("scale", Grade.SOUND, words)
    grade = Grade.DOUBTFUL if low / 4 <= to_cup <= 4 * high else Grade.WRONG
    return Finding("scale", grade, f"{words}; expected {low:g} to {high:g}")


def axes(estimate: Estimate) -> Finding:
    """Checks normals on surfaces facing opposite ways, and against the slopes of the estimate's own depth, if any."""
    normals = _opengl(estimate)
    wrong, figures = [], []
    for surfaces in SURFACES:
        component = normals[:, surfaces.axis : surfaces.axis + 1]
        plus, minus = (sum(_around(component, point) for point in points) / len(points) for points in (surfaces.plus, surfaces.minus))
        name = "xy"[surfaces.axis]
        figures.append(f"{name} {plus:.2f} | {minus:.2f} ({surfaces.why})")
        if not plus - minus > _APART:
            wrong.append(f"{name} {'flipped' if plus - minus < -_APART else 'not distinguishable'}")
    facing = float(normals[:, 2].nanmean())
    figures.append(f"z {facing:.2f}")
    if not facing > _FACING:
        wrong.append(f"z {'flipped' if facing < -_FACING else 'not towards the viewer'}")
    if not wrong and estimate.depth is not None:
        wrong += [f"{axis} against the depth's slopes" for axis in _against_slopes(estimate)]
    return Finding("axes", Grade.WRONG if wrong else Grade.SOUND, ", ".join((*wrong, *figures)))


def frame(estimate: Estimate) -> Finding:
    """Checks that the map's edges match the photo's, not mirrored, shifted or scaled."""
    maps = estimate.normals if estimate.depth is None else _ranks(nearness(estimate)).view(1, 1, estimate.height, estimate.width)
    assert maps is not None
    strength = _edges(maps.nan_to_num(0))
    own = max(_fits(strength, {"": (1.0, 1.0)}, _NEAR, 2))[0]
    mirrored = max(_fits(strength, _MIRRORED, _REACH, _STEP))
    scaled = {f"scaled by {x:g} x {y:g}": (x, y) for x in _SCALES for y in _SCALES if (x, y) != (1.0, 1.0)}
    other = max(*_fits(strength, {"": (1.0, 1.0)}, _REACH, _STEP), *_fits(strength, scaled, 2 * _STEP, _STEP), mirrored)
    everywhere = float(strength.mean())
    words = f"edges in place {own:.2f}, mirrored {mirrored[0]:.2f}, everywhere {everywhere:.2f}"
    if max(own, other[0]) < everywhere + _EDGES:
        return Finding("frame", Grade.WRONG, f"the photograph's edges are not in it: {words}")
    if other[0] > _BETTER * own:
        moved = f"moved by {other[2]}, {other[3]} pixels" if other[2] or other[3] else ""
        little = not other[1] and max(abs(other[2]), abs(other[3])) <= _LITTLE
        said = f"{' and '.join(filter(None, (other[1], moved)))}: edges there {other[0]:.2f}, {words}"
        return Finding("frame", Grade.DOUBTFUL if little else Grade.WRONG, said)
    return Finding("frame", Grade.SOUND, words)


def nearness(estimate: Estimate) -> Tensor:
    """(1, 1, H, W), larger = nearer; invalid pixels get the farthest value."""
    depth, quantity, valid = estimate.known_depth()
    near = depth_to_nearness(depth.float(), quantity)
    return torch.where(valid, near, near[valid].min() if bool(valid.any()) else 0)


def _opengl(estimate: Estimate) -> Tensor:
    """The normals in OPENGL axes, NaN where invalid."""
    assert estimate.normals is not None
    valid = valid_normals(estimate.normals, estimate.mask)
    return convert_normals(estimate.normals.float(), estimate.axes, Axes.OPENGL).where(valid, torch.nan)


def grade_of(error: float, limits: tuple[float, float]) -> Grade:
    """The grade of an error: sound up to the first limit, doubtful up to the second; NaN is wrong."""
    sound, doubtful = limits
    return Grade.SOUND if error <= sound else Grade.DOUBTFUL if error <= doubtful else Grade.WRONG


def _around(values: Tensor, point: Point) -> float:
    """The mean over a 7x7 square of a map (1, 1, H, W)."""
    column, row = point
    return float(values[..., row - 3 : row + 4, column - 3 : column + 4].nanmean())


def _ranks(values: Tensor) -> Tensor:
    """(N,) ranks in [0, 1]; ties share their mean rank."""
    _, inverse, counts = values.flatten().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return ((2 * last - counts - 1).float() / (2 * max(1, values.numel() - 1)))[inverse]


def _against_slopes(estimate: Estimate) -> tuple[str, ...]:
    """`disagreeing_axes` without its warnings, which the finding reports."""
    log = logging.getLogger(disagreeing_axes.__module__)
    before, log.disabled = log.disabled, True
    try:
        return disagreeing_axes(estimate, estimate)
    finally:
        log.disabled = before


def _edges(maps: Tensor) -> Tensor:
    """(1, 1, H, W): the gradient, divided by its 95th percentile and clipped to 1."""
    smooth = F.avg_pool2d(F.pad(maps, (3,) * 4, mode="replicate"), 5, 1)
    across, down = smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2], smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]
    strength = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    most = strength.flatten().kthvalue(int(0.95 * strength.numel())).values
    return (strength / most.clamp(min=1e-12)).clamp(max=1)


def _fits(strength: Tensor, scalings: dict[str, tuple[float, float]], reach: int, step: int) -> Iterator[tuple[float, str, int, int]]:
    """Yields the mean edge strength under the outlines, scaled about the centre and shifted: (strength, name, dx, dy)."""
    size = torch.tensor((WIDTH, HEIGHT), dtype=torch.float64)
    middle = (size - 1) / 2
    moves = [(dx, dy) for dx in range(-reach, reach + 1, step) for dy in range(-reach, reach + 1, step)]
    offsets = 2 * torch.tensor(moves)[:, None] / size
    for name, scaling in scalings.items():
        placed = (outlines() - middle) * torch.tensor(scaling, dtype=torch.float64) + middle
        points = ((2 * placed + 1) / size - 1 + offsets).float()
        sums = F.grid_sample(strength, points[None], align_corners=False)[0, 0].sum(1)
        inside = (points.abs().amax(-1) < 1).sum(1).clamp(min=1)
        yield from ((share, name, *move) for share, move in zip((sums / inside).tolist(), moves, strict=True))
