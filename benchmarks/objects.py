"""How well *Depth Mask* takes in one thing around a point or in a box, and nothing else.

    python benchmarks/objects.py [--side 480] [--first 0] [--scenes 12] [--select object ...] [--pictures OUT]

Balls, boxes, rings and creatures of three balls stand on a floor before a wall, lie on a table, or touch one another; textured, lit, and
seen in perspective. Their depth is the true one, or soft and warped as a network's: of a quarter of the size, and without units. `overlap`
is the mean intersection over union with the thing's true mask, of five points inside each thing, by `surface` and by `object`, and of a box
around it, wider than the thing by 5 and by 15 % on each side; `lost` the share of points or boxes whose overlap is below a half.

The numbers in `geometry/regions/` were chosen on the scenes 0 to 11, and those for points also on 100 to 111; `--first 12 --scenes 24` is
of others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from depth_normal.geometry.effects.depth_mask import MaskChoice
from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.estimate import Estimate, Quantity

_FOCAL = 1.1  # of the longer side
_BOXES = {"box 5 %": 0.05, "box 15 %": 0.15}  # how much wider on each side
_SMALLEST = 0.004  # share of the image that is seen of a thing

# A point, or a box of four sides, and the mask that it selects.
Shown = tuple[tuple[float, ...], np.ndarray]
# Distances along rays and what else is drawn with them; surfaces as (distance, normals).
Surface = tuple[np.ndarray, np.ndarray]


class Scene(NamedTuple):
    """A rendered scene.

    Attributes:
        image: (H, W, 3) in [0, 1].
        depth: (H, W), metres.
        thing: (H, W) int: 0 the floor, the table and the wall, else the number of a thing.
    """

    image: np.ndarray
    depth: np.ndarray
    thing: np.ndarray


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=480, help="pixels of the images' longer side (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=12, help="how many (default: %(default)s)")
    choices = ("surface", "object", *_BOXES)
    parser.add_argument("--select", nargs="+", choices=choices, default=choices, help="what is tried (default: all)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the images with their masks")
    arguments = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = {}
    for number in range(arguments.first, arguments.first + arguments.scenes):
        scene = render(np.random.default_rng(number), arguments.side)
        for depth in ("true", "network"):
            estimate = as_estimate(scene, depth, number)
            for select in arguments.select:
                masks = list(measure(scene, estimate, select, number, figures.setdefault((depth, select), [])))
                if arguments.pictures:
                    save(arguments.pictures / f"{number}_{depth}_{select.replace(' %', '').replace(' ', '_')}.png", scene, masks)
    print(f"{'depth':10}{'select':10}{'overlap':>8}{'lost':>8}")
    for (depth, select), overlaps in figures.items():
        print(f"{depth:10}{select:10}{np.mean(overlaps):8.3f}{np.mean(np.less(overlaps, 0.5)):8.1%}")


def measure(scene: Scene, estimate: Estimate, select: str, seed: int, overlaps: list[float]) -> Iterator[Shown]:
    """Adds the overlaps of a scene to a list; yields the last point or box that was tried of each thing, and its mask."""
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
        if select in _BOXES:
            places = [box_around(truth, _BOXES[select])]
        else:
            places = [((columns[at] + 0.5) / width, (rows[at] + 0.5) / height) for at in random.integers(len(rows), size=5)]
        for place in places:
            mask = choice_of(select, place).mask(depths, image)[0, 0].numpy() > 0.5
            overlaps.append(float((mask & truth).sum() / max(1, (mask | truth).sum())))
            if place is places[-1]:
                yield place, mask


def box_around(thing: np.ndarray, margin: float) -> tuple[float, ...]:
    """Left, top, right and bottom of a thing (H, W), 0 to 1, wider on each side by a share of its size."""
    sides = []
    for places, length in zip(np.nonzero(thing)[::-1], thing.shape[::-1], strict=True):
        first, last = int(places.min()), int(places.max()) + 1
        more = margin * (last - first)
        sides.append((max(0.0, (first - more) / length), min(1.0, (last + more) / length)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def choice_of(select: str, place: tuple[float, ...]) -> MaskChoice:
    """What the node's default values select at a point or in a box."""
    if len(place) == 4:
        return MaskChoice(box=place)
    x, y = place
    return MaskChoice(point=(x, y), tolerance=8.0, feather=2.0, select=select)


def as_estimate(scene: Scene, kind: str, seed: int) -> Estimate:
    """The scene's depth as metres, or as a network without units predicts it."""
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
    """The image beside its things, outlined as the masks have them."""
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


def render(random: np.random.Generator, side: int) -> Scene:
    """A floor or a table, a wall, and two to five things that stand on it; some touch."""
    width, height = side, side * 3 // 4
    pitch = random.uniform(0.15, 0.6)
    rays = _rays(width, height, pitch)
    camera = np.array((0.0, 1.5, 0.0))
    best = np.full((height, width), np.inf)
    thing = np.zeros((height, width), int)
    normal, colour = np.zeros((height, width, 3)), np.zeros((height, width, 3))
    maps = (best, thing, normal, colour)
    wall = random.uniform(5, 9)
    palette = random.uniform(0.15, 0.95, (12, 3))
    for at, (axis, place) in enumerate(((1, 0.0), (2, wall))):
        with np.errstate(divide="ignore"):
            distance = (place - camera[axis]) / rays[..., axis]
        _paint((distance, _plane_normal(axis)), at, rays, camera, palette[at], maps, 0)
    spread = random.uniform(0.35, 1.2)
    for number in range(1, random.integers(3, 7)):
        kind = random.choice(["ball", "box", "creature", "ring"])
        size = random.uniform(0.18, 0.45)
        centre = np.array((random.normal(0, spread), 0, random.uniform(2.3, 4.2)))
        paint = palette[2 + number] if random.random() < 0.8 else palette[0] * random.uniform(0.85, 1.15)
        for surface in _thing(kind, centre, size, rays, camera, random):
            _paint(surface, 1 + number, rays, camera, paint, maps, number)
    forward = np.array((0.0, -np.sin(pitch), np.cos(pitch)))
    depth = best * (rays @ forward)
    light = np.array((0.5, 0.7, -0.5)) / np.linalg.norm((0.5, 0.7, -0.5))
    shade = 0.35 + 0.65 * np.clip(normal @ light, 0, 1)
    image = np.clip(colour * shade[..., None] + random.normal(0, 0.01, colour.shape), 0, 1)
    return Scene(image, depth, thing)


def _rays(width: int, height: int, pitch: float) -> np.ndarray:
    """(H, W, 3), x right, y up, z ahead; each with 1 along the camera's axis."""
    x, y = np.meshgrid((np.arange(width) + 0.5 - width / 2) / (_FOCAL * width), (height / 2 - np.arange(height) - 0.5) / (_FOCAL * width))
    turned = (x, y * np.cos(pitch) - np.sin(pitch), y * np.sin(pitch) + np.cos(pitch))
    return np.stack(turned, -1)


def _plane_normal(axis: int) -> np.ndarray:
    return np.array((0.0, 1.0, 0.0)) if axis == 1 else np.array((0.0, 0.0, -1.0))


def _paint(
    surface: Surface, texture: int, rays: np.ndarray, camera: np.ndarray, paint: np.ndarray, maps: tuple[np.ndarray, ...], number: int
) -> None:
    """Draws a surface where it is the nearest so far."""
    (distance, facing), (best, thing, normal, colour) = surface, maps
    nearer = (distance > 0.05) & (distance < best)
    best[nearer], thing[nearer] = distance[nearer], number
    normal[nearer] = facing[nearer] if facing.ndim == 3 else facing
    places = camera + rays[nearer] * distance[nearer][:, None]
    waves = np.random.default_rng(texture).normal(0, 1, (4, 3)) * (3, 9, 20, 45)[texture % 4]
    pattern = np.sin(places @ waves.T).mean(-1, keepdims=True)
    colour[nearer] = paint * (1 + 0.25 * pattern)


def _thing(
    kind: str, centre: np.ndarray, size: float, rays: np.ndarray, camera: np.ndarray, random: np.random.Generator
) -> Iterator[Surface]:
    """Distances along the rays to a thing's parts, and normals there."""
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
    a, b, c = (along**2).sum(-1), along @ origin, origin @ origin - 1
    root = b * b - a * c
    distance = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    facing = (origin + along * np.where(root > 0, distance, 0)[..., None]) / radii
    return distance, facing / np.linalg.norm(facing, axis=-1, keepdims=True)


def _box(centre: np.ndarray, half: np.ndarray, turn: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array(((cos, 0, -sin), (0, 1, 0), (sin, 0, cos)))
    origin, along = rotation @ (camera - centre), rays @ rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - origin) / along, (half - origin) / along
    near, far = np.minimum(one, two), np.maximum(one, two)
    entered = near.max(-1)
    distance = np.where((entered < far.min(-1)) & (entered > 0), entered, np.inf)
    side = near.argmax(-1)
    facing = -np.sign(np.take_along_axis(along, side[..., None], -1)) * np.eye(3)[side]
    return distance, facing @ rotation


def _ring(centre: np.ndarray, size: float, rays: np.ndarray, camera: np.ndarray) -> Surface:
    """A ring that lies on the floor: a torus, found by walking along the rays."""
    thick = 0.35 * size

    def away(places: np.ndarray) -> np.ndarray:
        flat = np.hypot(places[..., 0] - centre[0], places[..., 2] - centre[2]) - size
        return np.hypot(flat, places[..., 1] - thick) - thick

    length = np.linalg.norm(rays, axis=-1)
    distance = np.full(rays.shape[:2], 0.5)
    for _ in range(60):
        distance = distance + 0.9 * away(camera + rays * distance[..., None]) / length
    places = camera + rays * distance[..., None]
    hit = (np.abs(away(places)) < 0.004) & (distance < 12)
    small = 1e-3 * np.eye(3)
    facing = np.stack([away(places + each) - away(places - each) for each in small], -1)
    facing /= np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-9)
    return np.where(hit, distance, np.inf), facing


if __name__ == "__main__":
    main()
