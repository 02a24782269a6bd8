"""How well *Depth Mask* takes in one thing around a point or in a box, and nothing else.

    python benchmarks/objects.py [--kind room] [--side 480] [--first 0] [--scenes 12] [--select object ...] [--pictures OUT]

Balls, boxes, rings and creatures of three balls stand on a floor before a wall, lie on a table, or touch one another; textured, lit, and
seen in perspective. With `--kind colourful` each has bands of three colours, one of them the floor's or the wall's. With `--kind portrait`
one or two people of eight parts, each in a colour of its own, are before a wall with a flag, from the waist up. With `--kind standing` one
to three people stand on a pavement, whose feet have its depth. With `--kind cup` a cup, white inside, stands on a saucer of its outer
colour. With `--kind stand` a cake stands on a plate with a foot, or a camera on three legs, and both cast a shadow; thing and support are
one. With `--kind touching` a person and a flag, or two boxes with one front, have different colours but one depth.

Their depth is the true one, or soft and warped as a network's: of a quarter of the size, and without units. `overlap` is the mean
intersection over union with the thing's true mask, of `--points` points inside each thing, by `surface` and by `object`, and of a box
around it, wider than the thing by 5 and by 15 % on each side. `2 points` and `3 points` are `object` with one and two points more, each in
the middle of the largest part that is missing or too much, where a user would click; `box, 1 point` and `box, 2 points` are the box that
is wider by 15 % with so many points of that kind. `lost` is the share of points or boxes whose overlap is below a half.

The numbers in `geometry/regions/` were chosen on the scenes 0 to 11, and those for points also on 100 to 111; `--first 12 --scenes 24` is
of others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from depth_normal.geometry.effects.depth_mask import selected_mask
from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.masks import MaskOptions

_FOCAL = 1.1  # of the longer side
_LIGHT = np.array((0.5, 0.7, -0.5)) / np.linalg.norm((0.5, 0.7, -0.5))
_BOXES = {"box 5 %": 0.05, "box 15 %": 0.15}  # margin on each side
_CLICKED_BOX = "box 15 %"
_CLICKS = {"2 points": 1, "3 points": 2, "box, 1 point": 1, "box, 2 points": 2}  # number of points after a first one, or after the box
_SMALLEST = 0.004  # minimum visible share of the image

# a point or a box, and the mask that it selects
Shown = tuple[tuple[float, ...], np.ndarray]
# Distances along rays, and normals.
Surface = tuple[np.ndarray, np.ndarray]


class Scene(NamedTuple):
    """A rendered scene.

    Attributes:
        image: (H, W, 3) in [0, 1].
        depth: (H, W), metres.
        thing: (H, W) int: 0 for floor, table and wall, else the index of an object.
    """

    image: np.ndarray
    depth: np.ndarray
    thing: np.ndarray


class Bands(NamedTuple):
    """A surface's colours: one, or bands of several.

    Attributes:
        colours: (N, 3) in [0, 1], in order.
        across: (3,), the direction across the bands; its length is the number of bands per metre.
    """

    colours: np.ndarray
    across: np.ndarray = np.zeros(3)

    def at(self, places: np.ndarray) -> np.ndarray:
        """(N, 3): the colours at places (N, 3) in metres."""
        return self.colours[np.floor(places @ self.across).astype(int) % len(self.colours)]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="room", help="which scenes (default: %(default)s)")
    parser.add_argument("--side", type=int, default=480, help="pixels of the images' longer side (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=12, help="how many (default: %(default)s)")
    choices = ("surface", "object", "2 points", "3 points", *_BOXES, "box, 1 point", "box, 2 points")
    parser.add_argument("--select", nargs="+", choices=choices, default=choices, help="what is tried (default: all)")
    parser.add_argument("--points", type=int, default=5, help="points inside each thing (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the images with their masks")
    arguments = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = {}
    for number in range(arguments.first, arguments.first + arguments.scenes):
        random = np.random.default_rng(number)
        scene = KINDS[arguments.kind](random, arguments.side)
        for depth in ("true", "network"):
            estimate = as_estimate(scene, depth, number)
            for select in arguments.select:
                masks = list(measure(scene, estimate, select, number, arguments.points, figures.setdefault((depth, select), [])))
                if arguments.pictures:
                    save(
                        arguments.pictures / f"{number}_{depth}_{select.replace(' %', '').replace(',', '').replace(' ', '_')}.png",
                        scene,
                        masks,
                    )
    if not all(figures.values()):
        parser.error(f"no thing is large enough to be measured: --side {arguments.side} must be larger, or --scenes more")
    print(f"{'depth':10}{'select':15}{'overlap':>8}{'lost':>8}")
    for (depth, select), overlaps in figures.items():
        print(f"{depth:10}{select:15}{np.mean(overlaps):8.3f}{np.mean(np.less(overlaps, 0.5)):8.1%}")


def measure(scene: Scene, estimate: Estimate, select: str, seed: int, points: int, overlaps: list[float]) -> Iterator[Shown]:
    """Appends a scene's overlaps to a list; yields each object's last point or box and its mask."""
    random = np.random.default_rng(seed)
    image = torch.from_numpy(scene.image).movedim(-1, 0)[None].float()
    depths = known_depths(estimate)
    height, width = scene.depth.shape
    for number in range(1, int(scene.thing.max()) + 1):
        truth = scene.thing == number
        inside = cv2.erode(truth.astype(np.uint8), np.ones((7, 7), np.uint8))
        rows, columns = np.nonzero(inside)
        if truth.mean() < _SMALLEST or len(rows) < 20:
            continue
        if select.startswith("box"):
            places = [box_around(truth, _BOXES[select if select in _BOXES else _CLICKED_BOX])]
        else:
            places = [((columns[at] + 0.5) / width, (rows[at] + 0.5) / height) for at in random.integers(len(rows), size=points)]
        for place in places:
            choice = choice_of(select, place)
            mask = selected_mask(choice, depths, image)[0, 0].numpy() > 0.5
            for _ in range(_CLICKS.get(select, 0)):
                choice = with_click(choice, mask, truth)
                mask = selected_mask(choice, depths, image)[0, 0].numpy() > 0.5
            overlaps.append(float((mask & truth).sum() / max(1, (mask | truth).sum())))
            if place is places[-1]:
                yield place, mask


def box_around(thing: np.ndarray, margin: float) -> tuple[float, ...]:
    """Left, top, right and bottom of an object (H, W), 0 to 1, with a relative margin."""
    sides = []
    for places, length in zip(np.nonzero(thing)[::-1], thing.shape[::-1], strict=True):
        first, last = int(places.min()), int(places.max()) + 1
        more = margin * (last - first)
        sides.append((max(0.0, (first - more) / length), min(1.0, (last + more) / length)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def choice_of(select: str, place: tuple[float, ...]) -> MaskOptions:
    """The node's default selection at a point or in a box."""
    if len(place) == 4:
        return MaskOptions(box=place)
    x, y = place
    return MaskOptions(point=(x, y), select="object" if select in _CLICKS else select)


def with_click(choice: MaskOptions, mask: np.ndarray, truth: np.ndarray) -> MaskOptions:
    """The choice with another point at the centre of the largest missing or surplus part of the mask (H, W), if any."""
    parts = {}
    for name, wrong in (("more_points", truth & ~mask), ("not_points", mask & ~truth)):
        _, labels, sizes, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=4)
        if len(sizes) > 1:
            largest = 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()
            parts[name] = labels == largest
    if not parts:
        return choice
    name, part = max(parts.items(), key=lambda each: each[1].sum())
    depth = cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    point = (float(column + 0.5) / mask.shape[1], float(row + 0.5) / mask.shape[0])
    return replace(choice, **{name: (*getattr(choice, name), point)})


def as_estimate(scene: Scene, kind: str, seed: int) -> Estimate:
    """The scene's depth in metres, or as predicted by a network without units."""
    depth = torch.from_numpy(scene.depth)[None, None].float()
    if kind == "true":
        return Estimate(depth, Quantity.METRIC_DEPTH)
    random = np.random.default_rng(100 + seed)
    height, width = scene.depth.shape
    disparity = 1 / scene.depth
    disparity = (disparity - disparity.min()) / (disparity.max() - disparity.min())
    small = cv2.resize(disparity, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.8)
    warp = cv2.resize(random.normal(0, 1, (6, 8)), (width // 4, height // 4), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(random.normal(0, 1, small.shape), (0, 0), 2)
    small = small * (1 + 0.02 * warp) + 0.004 * grain
    full = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0)
    return Estimate(torch.from_numpy(full)[None, None].float(), Quantity.DISPARITY)


def save(path: Path, scene: Scene, masks: list[Shown]) -> None:
    """Saves the image with the outline of each mask, and its point or box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = (255 * scene.image[..., ::-1]).astype(np.uint8).copy()
    for number, (place, mask) in enumerate(masks):
        colour = tuple(int(each) for each in np.random.default_rng(number + 1).integers(80, 256, 3))
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour, 2)
        corners = [(int(x * drawn.shape[1]), int(y * drawn.shape[0])) for x, y in zip(place[::2], place[1::2], strict=True)]
        if len(corners) == 2:
            cv2.rectangle(drawn, corners[0], corners[1], colour, 1)
        else:
            cv2.circle(drawn, corners[0], 4, colour, -1)
    cv2.imwrite(str(path), drawn)


class Canvas:
    """The image so far."""

    def __init__(self, width: int, height: int, pitch: float) -> None:
        self.rays, self.camera, self._pitch = _rays(width, height, pitch), np.array((0.0, 1.5, 0.0)), pitch
        self._distance, self._thing = np.full((height, width), np.inf), np.zeros((height, width), int)
        self._normal, self._colour = np.zeros((height, width, 3)), np.zeros((height, width, 3))
        self._lit = np.ones((height, width))

    def paint_plane(self, axis: int, place: float, texture: int, bands: Bands) -> None:
        """Paints the floor (axis 1) or the wall (axis 2)."""
        with np.errstate(divide="ignore"):
            distance = (place - self.camera[axis]) / self.rays[..., axis]
        self.paint((distance, _plane_normal(axis)), texture, bands, 0)

    def paint(self, surface: Surface, texture: int, bands: Bands, number: int) -> None:
        """Draws an object's surface where it is the nearest so far."""
        distance, facing = surface
        nearer = (distance > 0.05) & (distance < self._distance)
        self._distance[nearer], self._thing[nearer] = distance[nearer], number
        self._normal[nearer] = facing[nearer] if facing.ndim == 3 else facing
        places = self.camera + self.rays[nearer] * distance[nearer][:, None]
        waves = np.random.default_rng(texture).normal(0, 1, (4, 3)) * (3, 9, 20, 45)[texture % 4]
        pattern = np.sin(places @ waves.T).mean(-1, keepdims=True)
        self._colour[nearer] = bands.at(places) * (1 + 0.25 * pattern)

    def cast(self, surfaces: Sequence[Callable[[np.ndarray, np.ndarray], Surface]]) -> None:
        """Draws the soft shadows of surfaces, each a function of rays and their origins."""
        places = self.camera + self.rays * self._distance[..., None] + 0.01 * self._normal
        rays = np.broadcast_to(_LIGHT, places.shape)
        hidden = np.any([np.isfinite(distance) & (distance > 0) for distance, _ in (each(rays, places) for each in surfaces)], 0)
        self._lit = 1 - cv2.GaussianBlur(hidden.astype(float), (0, 0), hidden.shape[1] / 240)

    def scene(self, random: np.random.Generator) -> Scene:
        """The image with lighting and grain."""
        forward = np.array((0.0, -np.sin(self._pitch), np.cos(self._pitch)))
        shade = 0.35 + 0.65 * np.clip(self._normal @ _LIGHT, 0, 1) * self._lit
        image = np.clip(self._colour * shade[..., None] + random.normal(0, 0.01, self._colour.shape), 0, 1)
        return Scene(image, self._distance * (self.rays @ forward), self._thing)


def room(random: np.random.Generator, side: int, is_colourful: bool) -> Scene:
    """A floor or a table, a wall, and two to five objects, some of which touch."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(0.15, 0.6))
    wall = random.uniform(5, 9)
    palette = random.uniform(0.15, 0.95, (12, 3))
    for at, (axis, place) in enumerate(((1, 0.0), (2, wall))):
        canvas.paint_plane(axis, place, at, Bands(palette[at : at + 1]))
    spread = random.uniform(0.35, 1.2)
    bands = random.spawn(1)[0] if is_colourful else None  # the objects themselves do not change
    for number in range(1, random.integers(3, 7)):
        kind = random.choice(["ball", "box", "creature", "ring"])
        size = random.uniform(0.18, 0.45)
        centre = np.array((random.normal(0, spread), 0, random.uniform(2.3, 4.2)))
        paint = palette[2 + number] if random.random() < 0.8 else palette[0] * random.uniform(0.85, 1.15)
        surfaces = _thing(kind, centre, size, canvas.rays, canvas.camera, random)
        paints = Bands(paint[None]) if bands is None else _bands(paint, palette[number % 2], size, bands)
        for surface in surfaces:
            canvas.paint(surface, 1 + number, paints, number)
    return canvas.scene(random)


def _bands(own: np.ndarray, background: np.ndarray, size: float, random: np.random.Generator) -> Bands:
    """Bands of an object's own colour, another one, and the background's."""
    across = random.normal(0, 1, 3)
    return Bands(np.stack((own, random.uniform(0.05, 0.95, 3), background)), across / np.linalg.norm(across) * random.uniform(1, 3) / size)


def portrait(random: np.random.Generator, side: int) -> Scene:
    """One or two people before a wall with a flag, from the waist up."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(-0.05, 0.15))
    wall = random.uniform(2.5, 6)
    palette = random.uniform(0.03, 0.97, (24, 3))
    canvas.paint_plane(2, wall, 0, Bands(palette[:1]))
    flag = np.array((random.uniform(-1, 1), 1.5, wall - 0.3)), np.array((0.4, 0.7, 0.02)) * wall / 2.5
    stripes = Bands(palette[1:4], np.array((random.uniform(3, 8), random.uniform(-3, 3), 0)))
    canvas.paint(_box(*flag, random.uniform(-0.3, 0.3), canvas.rays, canvas.camera), 1, stripes, 0)
    distance, aside = random.uniform(1.1, 1.6), random.uniform(-0.25, 0.25)
    for number in range(1, random.integers(2, 4)):
        place = np.array((aside, random.uniform(1.4, 1.55), distance))
        paints = palette[3 + 8 * number - 8 : 11 + 8 * number - 8].copy()
        paints[random.integers(8)] = palette[random.integers(4)]  # one part gets a background colour
        for part, surface in enumerate(_person(place, canvas.rays, canvas.camera, random)):
            canvas.paint(surface, 2 + part, Bands(paints[part : part + 1]), number)
        distance, aside = distance + random.uniform(0.4, 0.9), aside - np.copysign(random.uniform(0.4, 0.7), aside)
    return canvas.scene(random)


def _person(face: np.ndarray, rays: np.ndarray, camera: np.ndarray, random: np.random.Generator) -> Iterator[Surface]:
    """Distances along the rays to a face, a hat, a neck, a collar, a shirt, a coat and two arms, and their normals."""
    bulk = random.uniform(0.85, 1.2)
    lean = random.uniform(-0.06, 0.06)
    parts = (
        ((0, 0, 0), (0.085, 0.12, 0.1)),
        ((0, 0.08, 0), (0.1, random.uniform(0.05, 0.09), 0.11)),
        ((lean / 2, -0.15, 0.02), (0.055, 0.1, 0.055)),
        ((lean, -0.2, 0.01), (0.11, 0.05, 0.1)),
        ((lean, -0.4, -0.05), (0.09, 0.24, 0.1)),
        ((lean, -0.6, 0.03), (0.26, 0.42, 0.14)),
        ((lean - 0.25, -0.62, 0.02), (0.09, 0.38, 0.1)),
        ((lean + 0.25, -0.62, 0.02), (0.09, 0.38, 0.1)),
    )
    for centre, radii in parts:
        wider = np.array((bulk, 1, bulk))
        yield _ellipsoid(face + np.array(centre) * wider, np.array(radii) * wider, rays, camera)


def standing(random: np.random.Generator, side: int) -> Scene:
    """One to three people on a pavement before houses, full-length."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(0.12, 0.2))
    palette = random.uniform(0.1, 0.9, (4, 3))
    slabs = Bands(palette[0] * np.array((1, 0.93))[:, None], np.array((random.uniform(0.5, 1.5), 0, random.uniform(0, 1))))
    canvas.paint_plane(1, 0.0, 0, slabs)
    canvas.paint_plane(2, random.uniform(9, 20), 1, Bands(palette[1:3], np.array((random.uniform(0.2, 0.6), 0, 0))))
    distance, aside = random.uniform(3.4, 4.5), random.uniform(-0.6, 0.6)
    for number in range(1, random.integers(2, 5)):
        hair, skin, coat, trousers, shoes = random.uniform(0.03, 0.97, (5, 3))
        paints = (hair, skin, coat, coat, coat, trousers, trousers, shoes, shoes)
        for part, (surface, paint) in enumerate(zip(_walker(aside, distance, canvas.rays, canvas.camera, random), paints, strict=True)):
            canvas.paint(surface, 2 + part, Bands(paint[None]), number)
        distance, aside = distance + random.uniform(0.5, 1.5), aside - np.copysign(random.uniform(0.8, 1.4), aside)
    return canvas.scene(random)


def _walker(x: float, z: float, rays: np.ndarray, camera: np.ndarray, random: np.random.Generator) -> Iterator[Surface]:
    """Hair, face, body, arms, legs and shoes of a person on the floor."""
    tall, pace = random.uniform(0.9, 1.08), random.uniform(-0.12, 0.12)
    parts = (
        ((0, 1.66, 0.02), (0.095, 0.11, 0.105)),
        ((0, 1.58, -0.02), (0.08, 0.12, 0.09)),
        ((0, 1.14, 0), (0.2, 0.34, 0.13)),
        ((-0.22, 1.12, 0.02), (0.06, 0.32, 0.07)),
        ((0.22, 1.12, 0.02), (0.06, 0.32, 0.07)),
        ((-0.1, 0.5, pace / 2), (0.095, 0.48, 0.1)),
        ((0.1, 0.5, -pace / 2), (0.095, 0.48, 0.1)),
        ((-0.1, 0.05, pace - 0.05), (0.06, 0.06, 0.14)),
        ((0.1, 0.05, -pace - 0.05), (0.06, 0.06, 0.14)),
    )
    for centre, radii in parts:
        yield _ellipsoid(np.array((x, 0, z)) + tall * np.array(centre), tall * np.array(radii), rays, camera)


def cup(random: np.random.Generator, side: int) -> Scene:
    """A cup on a saucer, on a table seen from above; only the cup is an object."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(0.55, 0.9))
    wood, far, china, inside, drink = random.uniform(0.1, 0.6, (5, 3)) * np.array((1, 1, 1, 0.1, 1))[:, None] + np.eye(5)[3][:, None] * 0.85
    canvas.camera = np.array((0.0, 0.75, 0.0))
    canvas.paint_plane(2, random.uniform(2, 4), 1, Bands(far[None]))
    grain = Bands(wood * np.array((1, 0.8))[:, None], random.normal(0, 8, 3))
    canvas.paint_plane(1, 0.0, 0, grain)
    wide, high = random.uniform(0.13, 0.17), random.uniform(0.14, 0.2)
    axis = np.array((random.uniform(-0.1, 0.1), 0.0, random.uniform(0.8, 1.0)))
    canvas.paint(_turned(axis, ((0, 0.015), (2.2 * wide, 0.045)), 0.008, canvas.rays, canvas.camera), 4, Bands(china[None]), 0)
    foot, rim = (0.6 * wide, 0.03), (wide, 0.03 + high)
    canvas.paint(_turned(axis, (foot, rim), 0.008, canvas.rays, canvas.camera), 4, Bands(china[None]), 1)
    canvas.paint(
        _turned(axis, ((0.6 * wide - 0.01, 0.03), (wide - 0.01, 0.035 + high)), 0.008, canvas.rays, canvas.camera),
        8,
        Bands(inside[None]),
        1,
    )
    level = 0.03 + random.uniform(0.5, 0.85) * high
    canvas.paint(_turned(axis, ((0, level), (0.85 * wide, level)), 0.004, canvas.rays, canvas.camera), 12, Bands(drink[None]), 1)
    turn = random.uniform(0, 2 * np.pi)
    grip = axis + np.array((0.95 * wide * np.cos(turn), 0.03 + 0.55 * high, 0.95 * wide * np.sin(turn)))
    for part in np.linspace(-1, 1, 13) * 1.7:
        out = np.array((np.cos(turn) * np.cos(part), np.sin(part), np.sin(turn) * np.cos(part)))
        canvas.paint(_ellipsoid(grip + 0.3 * high * out, np.full(3, 0.022), canvas.rays, canvas.camera), 4, Bands(china[None]), 1)
    return canvas.scene(random)


def stand(random: np.random.Generator, side: int) -> Scene:
    """A cake on a cake stand, or a camera on a tripod, before a wall; with shadows. Both parts are one object."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(0.15, 0.5))
    floor, wall, support, *paints = random.uniform(0.15, 0.95, (6, 3))
    canvas.paint_plane(
        1, 0.0, int(random.integers(4)), Bands(floor * np.array((1, random.uniform(0.75, 1)))[:, None], random.normal(0, 4, 3))
    )
    canvas.paint_plane(2, random.uniform(4, 7), 1, Bands(wall[None]))
    place = np.array((random.uniform(-0.3, 0.3), 0.0, random.uniform(2.2, 3)))
    if random.random() < 0.5:
        high, wide = random.uniform(0.2, 0.45), random.uniform(0.3, 0.45)
        lines = (((0, 0.01), (0.55 * wide, 0.01)), ((0, 0.01), (0, high)), ((0, high), (wide, high + 0.02)))
        parts = [(partial(_turned, place, line, 0.02), support) for line in lines]
        cake = place + np.array((0, high + 0.14, 0))
        parts += [(partial(_turned, cake, ((0, cake[1]), (0.6 * wide, cake[1])), 0.1), paints[0])]
        parts += [(partial(_ellipsoid, cake + np.array((0.2 * wide, 0.13, 0)), np.full(3, 0.07)), paints[1])]
    else:
        high, wide = random.uniform(0.7, 1.0), random.uniform(0.3, 0.45)
        top = place + np.array((0, high, 0))
        parts = [(partial(_box, top + np.array((0, 0.1, 0)), np.array((0.17, 0.12, 0.1)), random.uniform(0, 1.5)), paints[0])]
        parts += [(partial(_ellipsoid, top + np.array((0.0, 0.1, -0.15)), np.array((0.08, 0.08, 0.1))), paints[1])]
        for turn in random.uniform(0, 2) + np.arange(3) * 2 * np.pi / 3:
            foot = place + wide * np.array((np.cos(turn), 0, np.sin(turn)))
            parts += [(partial(_rod, foot, top, 0.03), support)]
    for part, (surface, paint) in enumerate(parts):
        canvas.paint(surface(canvas.rays, canvas.camera), 2 + part, Bands(paint[None]), 1)
    canvas.cast([surface for surface, _ in parts])
    return canvas.scene(random)


def touching(random: np.random.Generator, side: int) -> Scene:
    """A person in a coat beside a flag, or two boxes with coplanar fronts: equal depth, different colours."""
    canvas = Canvas(side, side * 3 // 4, random.uniform(-0.05, 0.15))
    wall = random.uniform(2.5, 5)
    palette = random.uniform(0.03, 0.97, (10, 3))
    canvas.paint_plane(2, wall, 0, Bands(palette[:1]))
    canvas.paint_plane(1, 0.0, 1, Bands(palette[9:]))
    aside = np.copysign(1, random.uniform(-1, 1))
    if random.random() < 0.5:
        middle, front, half = random.uniform(-0.2, 0.2), random.uniform(1.3, 1.8), random.uniform(0.15, 0.3, (2, 3))
        for number in (1, 2):
            wide, high, deep = half[number - 1]
            place = np.array((middle + aside * (3 - 2 * number) * wide, 1.05 + high, front + deep))
            canvas.paint(
                _box(place, half[number - 1], 0.0, canvas.rays, canvas.camera), 1 + number, Bands(palette[number : number + 1]), number
            )
        canvas.paint(
            _box(np.array((0, 0.5, front + 0.5)), np.array((3, 0.55, 0.7)), 0.0, canvas.rays, canvas.camera), 5, Bands(palette[8:9]), 0
        )
        return canvas.scene(random)
    face = np.array((0.1 * aside, random.uniform(1.4, 1.5), random.uniform(1.2, 1.5)))
    skin, hair, neck, collar, shirt, coat = palette[1:7]
    parts = _person(face, canvas.rays, canvas.camera, random)
    for part, (surface, paint) in enumerate(zip(parts, (skin, hair, neck, collar, shirt, coat, coat, coat), strict=True)):
        canvas.paint(surface, 2 + part, Bands(paint[None]), 1)
    stripes = Bands(random.uniform(0.03, 0.97, (3, 3)), np.array((random.uniform(5, 12), random.uniform(-4, 4), 0)))
    flag = face + np.array((-0.38 * aside, -0.45, 0.12)), np.array((0.22, random.uniform(0.55, 0.75), 0.02))
    canvas.paint(_box(*flag, random.uniform(-0.2, 0.2), canvas.rays, canvas.camera), 1, stripes, 2)
    return canvas.scene(random)


def _rays(width: int, height: int, pitch: float) -> np.ndarray:
    """(H, W, 3): rays of depth 1 along the optical axis of a camera that looks down by `pitch`; x right, y up, z ahead."""
    x, y = np.meshgrid((np.arange(width) + 0.5 - width / 2) / (_FOCAL * width), (height / 2 - np.arange(height) - 0.5) / (_FOCAL * width))
    turned = (x, y * np.cos(pitch) - np.sin(pitch), y * np.sin(pitch) + np.cos(pitch))
    return np.stack(turned, -1)


def _plane_normal(axis: int) -> np.ndarray:
    return np.array((0.0, 1.0, 0.0)) if axis == 1 else np.array((0.0, 0.0, -1.0))


def _thing(
    kind: str, centre: np.ndarray, size: float, rays: np.ndarray, camera: np.ndarray, random: np.random.Generator
) -> Iterator[Surface]:
    """Distances along the rays to an object's parts, and their normals."""
    up = np.array((0.0, 1.0, 0.0))
    if kind == "ball":
        yield _ellipsoid(centre + size * up, np.full(3, size), rays, camera)
    elif kind == "box":
        yield _box(centre + size * 0.7 * up, np.array((1.0, 0.7, 0.6)) * size, random.uniform(0, 1.5), rays, camera)
    elif kind == "creature":
        yield _ellipsoid(centre + 0.6 * size * up, np.array((1.1, 0.6, 0.6)) * size, rays, camera)
        yield _ellipsoid(centre + np.array((0.8, 1.35, -0.1)) * size, np.full(3, 0.45 * size), rays, camera)
        yield _ellipsoid(centre + np.array((-1.2, 0.5, 0.1)) * size, np.array((0.6, 0.15, 0.15)) * size, rays, camera)
    else:
        yield _ring(centre, size, rays, camera)


def _ellipsoid(centre: np.ndarray, radii: np.ndarray, rays: np.ndarray, camera: np.ndarray) -> Surface:
    origin, along = (camera - centre) / radii, rays / radii
    a, b, c = (along**2).sum(-1), (along * origin).sum(-1), (origin**2).sum(-1) - 1
    root = b * b - a * c
    distance = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    facing = (origin + along * np.where(root > 0, distance, 0)[..., None]) / radii
    return distance, facing / np.linalg.norm(facing, axis=-1, keepdims=True)


def _box(centre: np.ndarray, half: np.ndarray, turn: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array(((cos, 0, -sin), (0, 1, 0), (sin, 0, cos)))
    origin, along = (camera - centre) @ rotation.T, rays @ rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - origin) / along, (half - origin) / along
    near, far = np.minimum(one, two), np.maximum(one, two)
    entered = near.max(-1)
    distance = np.where((entered < far.min(-1)) & (entered > 0), entered, np.inf)
    side = near.argmax(-1)
    facing = -np.sign(np.take_along_axis(along, side[..., None], -1)) * np.eye(3)[side]
    return distance, facing @ rotation


def _ring(centre: np.ndarray, size: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    thick = 0.35 * size

    def away(places: np.ndarray) -> np.ndarray:
        flat = np.hypot(places[..., 0] - centre[0], places[..., 2] - centre[2]) - size
        return np.hypot(flat, places[..., 1] - thick) - thick

    return _walked(away, rays, camera)


def _turned(axis: np.ndarray, line: Sequence[tuple[float, float]], thick: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    """A surface of revolution: sweeps a line of (radius, height) points about an upright axis; `thick` on both sides."""
    first, along = np.array(line[0]), np.subtract(line[1], line[0])

    def away(places: np.ndarray) -> np.ndarray:
        at = np.stack((np.hypot(places[..., 0] - axis[0], places[..., 2] - axis[2]), places[..., 1]), -1) - first
        share = np.clip(at @ along / (along @ along), 0, 1)
        return np.linalg.norm(at - share[..., None] * along, axis=-1) - thick

    return _walked(away, rays, camera)


def _rod(first: np.ndarray, last: np.ndarray, thick: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    along = last - first

    def away(places: np.ndarray) -> np.ndarray:
        share = np.clip((places - first) @ along / (along @ along), 0, 1)
        return np.linalg.norm(places - first - share[..., None] * along, axis=-1) - thick

    return _walked(away, rays, camera)


def _walked(away: Callable[[np.ndarray], np.ndarray], rays: np.ndarray, camera: np.ndarray) -> Surface:
    """A signed-distance surface, found by sphere tracing."""
    length = np.linalg.norm(rays, axis=-1)
    distance = np.full(rays.shape[:2], 0.5 if camera.ndim == 1 else 0.0)
    for _ in range(60):
        distance = distance + 0.9 * away(camera + rays * distance[..., None]) / length
    places = camera + rays * distance[..., None]
    hit = (np.abs(away(places)) < 0.004) & (distance < 12)
    small = 1e-3 * np.eye(3)
    facing = np.stack([away(places + each) - away(places - each) for each in small], -1)
    facing /= np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-9)
    return np.where(hit, distance, np.inf), facing


KINDS = {
    "room": partial(room, is_colourful=False),
    "colourful": partial(room, is_colourful=True),
    "portrait": portrait,
    "standing": standing,
    "cup": cup,
    "stand": stand,
    "touching": touching,
}

if __name__ == "__main__":
    main()
