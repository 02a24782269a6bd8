"""The options of printable reliefs."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options, choice, number, switch, whole

NEAR, FAR = RAISED = ("near", "far")
"""The end of the depth that is raised; "far" makes a mould."""

RELIEF_POINTS = 500_000


@dataclass(frozen=True)
class ReliefOptions(Options):
    """A plate with raised relief."""

    width: float = number(
        100.0,
        1,
        10_000,
        "Width of the plate in mm; its height follows from the image.",
        on_command="As 80mm or 8cm.",
        step=1,
        unit="mm",
        metavar="LENGTH",
    )
    relief: float = number(
        10.0, 0.01, 1000, "Height of the relief in mm, from the lowest to the highest point.", unit="mm", metavar="LENGTH"
    )
    base: float = number(2.0, 0.1, 1000, "Thickness of the plate below the lowest point in mm.", unit="mm", metavar="LENGTH")
    detail: float = number(
        0.3, 0, 0.95, "How much jumps between things are lowered, so that fine relief stands out. 0: unchanged heights.", step=0.05
    )
    curve: float = number(
        1.0, 0.1, 10, "Exponent of the heights: below 1 raises far things, above 1 lowers them.", step=0.05, metavar="POWER"
    )
    raised: str = choice(RAISED, "Which end stands out of the plate. far: for a mould.")
    max_points: int = whole(
        RELIEF_POINTS,
        4,
        4_000_000,
        "Largest number of points on the upper side; larger maps are averaged. An STL takes 100 bytes a point.",
        flag=None,
    )
    drop_sky: bool = switch(True, "Lays regions that look like sky on the ground. Needs the image.", flag=None)
