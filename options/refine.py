"""The options of edge refinement."""

from __future__ import annotations

from dataclasses import dataclass

from .estimate import AUTO
from .fields import Options, choice, number, whole

AS_THEY_ARE = "as they are"
MAX_STRENGTH, MAX_RADIUS = 2.0, 64


@dataclass(frozen=True)
class RefineOptions(Options):
    """Alignment of depth and normal edges to the image's."""

    strength: float = number(
        1.0,
        0,
        MAX_STRENGTH,
        "How much the image's colours decide where an edge lies, relative to the middle of the depth's own ramp. 0: the image is ignored. "
        "Above 1: for clean images and very soft depth.",
        step=0.05,
        metavar="N",
    )
    radius: int = whole(
        0,
        0,
        MAX_RADIUS,
        "Half the width of the depth's soft edges in pixels of the image. 0: measured for each image.",
        unit="px",
        metavar="PIXELS",
    )
    normals: str = choice(
        (AUTO, AS_THEY_ARE),
        f"Whether missing normals are added. auto: they are computed from the depth. {AS_THEY_ARE}: nothing is added.",
        flag=None,
    )
