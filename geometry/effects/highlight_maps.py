"""Sizes of highlight maps, which have one value per square of pixels."""

from __future__ import annotations

from ..edges.depth_edges import edge_radius


def pitch_of(height: int, width: int) -> int:
    """The distance between values of a highlight map, in pixels of an image of this size."""
    return max(1, edge_radius(height, width) // 3)


def pitch_and_reach(height: int, width: int) -> tuple[int, int]:
    """The distance between values of a highlight map in pixels, and the radius of soft edges in such values."""
    pitch = pitch_of(height, width)
    return pitch, max(1, round(edge_radius(height, width) / pitch))
