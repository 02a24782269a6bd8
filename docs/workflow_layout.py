"""Places the nodes of a template in columns, so that the page shows all of them at a size at which words can be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise, product

Position = tuple[float, float]
Size = tuple[float, float]
Box = tuple[float, float, float, float]

LEFT, TOP = 40, 60
# A link's bend needs the space between two columns; a node's badge in the classic page that between two nodes.
COLUMN_GAP, ROW_GAP = 80, 36
TITLE, SLOT, FIRST_SLOT = 30, 20, 14
# The page fits a template into 0.75 of its canvas. Below a zoom of 0.571 the classic canvas writes no words, so that these are the largest
# width and height for a window of 1366 x 650, titles included, beside the page's margin of 10.
LARGEST = (1740, 800)
# Least heights in the classic page and in Nodes 2.0, with the image or the message that a run brings: nothing grows.
HEIGHTS: Mapping[str, int] = {
    "CheckpointLoaderSimple": 126,
    "CLIPTextEncode": 110,
    "ControlNetApplyAdvanced": 198,
    "ControlNetLoader": 86,
    "DepthNormal_AmbientOcclusion": 250,
    "DepthNormal_BAENormalMap": 172,
    "DepthNormal_Curvature": 272,
    "DepthNormal_DemoImage": 330,
    "DepthNormal_DemoVideo": 330,
    "DepthNormal_DepthAndNormals": 600,
    "DepthNormal_DepthAnythingV2": 200,
    "DepthNormal_DepthOfField": 770,
    "DepthNormal_DepthOfVideo": 260,
    "DepthNormal_DepthParallax": 272,
    "DepthNormal_DetailNormals": 324,
    "DepthNormal_EstimateGeometry": 334,
    "DepthNormal_EstimatePanorama": 600,
    "DepthNormal_LBMDepth": 306,
    "DepthNormal_Light": 324,
    "DepthNormal_LoadModel": 180,
    "DepthNormal_LotusDepth": 276,
    "DepthNormal_MarigoldDepth": 332,
    "DepthNormal_MaterialFromPhoto": 524,
    "DepthNormal_MiDaSDepthMap": 214,
    "DepthNormal_MiDaSNormalMap": 256,
    "DepthNormal_NormalToHeight": 270,
    "DepthNormal_NormalsOfVideo": 230,
    "DepthNormal_PreviewGeometry": 310,
    "DepthNormal_Relight": 770,
    "DepthNormal_RenderDepth": 304,
    "DepthNormal_RenderNormals": 150,
    "DepthNormal_SaveGeometry": 420,
    "DepthNormal_SaveMesh": 340,
    "DepthNormal_SaveTexture": 416,
    "DepthNormal_SeamlessGeometry": 226,
    "DepthNormal_Stereo": 304,
    "EmptyLatentImage": 118,
    "KSampler": 290,
    "PreviewImage": 300,
    "SaveAnimatedWEBP": 420,
    "SaveImage": 310,
    "SaveVideo": 440,
    "VAEDecode": 60,
}
# How a column's nodes share the height that is left: all of it below them, above them, between them ...
_SHARES = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)


def place(
    columns: Sequence[Sequence[int]], sizes: Mapping[int, Size], links: Sequence[tuple[int, int, int, int]], gap: float = COLUMN_GAP
) -> dict[int, Position]:
    """Places nodes in columns, from left to right, so that no link passes behind a node.

    Args:
        columns: The nodes of each column, from above.
        sizes: Width and height of each node, without its title.
        links: Source, its output's row, target, its input's row.
        gap: Width between two columns.

    Returns:
        The upper left corner of each node, below its title.

    Raises:
        ValueError: The nodes need more room than `LARGEST`, a link leads to the left, or every place that was tried hides a link.
    """
    widths = [max(sizes[node][0] for node in column) for column in columns]
    heights = [sum(sizes[node][1] + TITLE for node in column) + ROW_GAP * (len(column) - 1) for column in columns]
    width, height = sum(widths) + gap * (len(columns) - 1), max(heights)
    if width > LARGEST[0] or height > LARGEST[1]:
        raise ValueError(f"{width:g} x {height:g} is more than {LARGEST[0]:.0f} x {LARGEST[1]:.0f}; heights of the columns: {heights}")
    column_of = {node: number for number, column in enumerate(columns) for node in column}
    for source, _, target, _ in links:
        if column_of[source] >= column_of[target]:
            raise ValueError(f"the link from {source} to {target} leads to the left: put {target} into a column further right")
    lefts = [LEFT + sum(widths[:number]) + gap * number for number in range(len(columns))]
    hidden: set[tuple[int, int, int]] = set()

    def placed(positions: dict[int, Position], number: int) -> dict[int, Position] | None:
        """All positions, with the columns from a number on; None: none hides no link."""
        if number == len(columns):
            return positions
        for tops in _stacks(columns[number], sizes, LARGEST[1] - heights[number]):
            more = positions | {node: (lefts[number], top) for node, top in tops.items()}
            behind = next(_hidden(more, sizes, [link for link in links if column_of[link[2]] == number]), None)
            if behind is not None:
                hidden.add(behind)
            elif (whole := placed(more, number + 1)) is not None:
                return whole
        return None

    if (positions := placed({}, 0)) is None:
        raise ValueError(f"links pass behind nodes wherever they are put (source, target, node): {sorted(hidden)}")
    return positions


def _stacks(column: Sequence[int], sizes: Mapping[int, Size], left: float) -> Iterator[dict[int, float]]:
    """Heights of a column's nodes: the room that is left in whole or in part above the first, and the rest between two of them or below."""
    tried = set()
    for share, split in product(_SHARES, range(len(column))):
        offset, between = left * share, left * (1 - share)
        for gap in (0.0, between) if split else (0.0,):
            top, tops = TOP + offset, {}
            for number, node in enumerate(column):
                top += gap if number == split and split else 0
                tops[node] = float(round(top))
                top += sizes[node][1] + TITLE + ROW_GAP
            if (key := tuple(tops.values())) not in tried:
                tried.add(key)
                yield tops


def ends(positions: Mapping[int, Position], sizes: Mapping[int, Size], link: tuple[int, int, int, int]) -> tuple[Position, Position]:
    """Where a link begins and ends."""
    source, out, target, into = link
    (x, y), (left, top) = positions[source], positions[target]
    return (x + sizes[source][0], y + FIRST_SLOT + SLOT * out), (left, top + FIRST_SLOT + SLOT * into)


def _hidden(
    positions: Mapping[int, Position], sizes: Mapping[int, Size], links: Sequence[tuple[int, int, int, int]]
) -> Iterator[tuple[int, int, int]]:
    # A steep link may bend a little behind a node's side.
    boxes = {node: (x + SLOT, y - TITLE, x + sizes[node][0] - SLOT, y + sizes[node][1]) for node, (x, y) in positions.items()}
    for link in links:
        start, end = ends(positions, sizes, link)
        for number, box in boxes.items():
            if number not in (link[0], link[2]) and _crosses(start, end, box):
                yield link[0], link[2], number


@lru_cache(None)
def _crosses(start: Position, end: Position, box: Box) -> bool:
    """Whether the page's spline between two points passes behind a box, or nearer than 6 pixels to it."""
    reach = math.dist(start, end) / 4
    points = (start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end)
    (left, right), (top, bottom) = ((min(each), max(each)) for each in zip(*points, strict=True))
    if right < box[0] or left > box[2] or bottom < box[1] - 6 or top > box[3] + 6:
        return False
    places = []
    for step in range(41):
        t = step / 40
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        places.append(tuple(sum(weight * point[axis] for weight, point in zip(weights, points, strict=True)) for axis in (0, 1)))
    return any(
        max(one[0], other[0]) > box[0]
        and min(one[0], other[0]) < box[2]
        and max(one[1], other[1]) > box[1] - 6
        and min(one[1], other[1]) < box[3] + 6
        for one, other in pairwise(places)
    )
