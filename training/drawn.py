"""Draws objects before a plain wall, and land below a sky, to train the sky alone: an even background is not always sky.

    python -m training.drawn --data DIR [--images 3000]

Writes DIR/drawn/, a .npz each with `rgb` (240, 320, 3) uint8 and `sky` (240, 320) uint8, of which 1 is sky, 0 none and 2 unknown. Some
surfaces have the pattern of a photograph of the train split in DIR/photos/. Existing files are not made again.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .data import CROP_LONG, CROP_SHORT, Photo, read_photos, save_npz
from .parts import data_parser
from .skies import NO, UNKNOWN, YES

RIM = 2  # unlabelled pixels at the sky's border
WALLS = 0.55  # share of images that show a wall
# from the zenith to the horizon
SKIES = (
    ((60, 110, 200), (185, 210, 235)),
    ((110, 150, 210), (220, 230, 238)),
    ((30, 60, 130), (90, 130, 190)),
    ((205, 210, 217), (238, 239, 240)),
    ((150, 156, 165), (215, 218, 222)),
    ((190, 191, 193), (160, 161, 163)),
    ((90, 100, 150), (225, 155, 115)),
    ((70, 50, 80), (240, 150, 70)),
    ((25, 28, 60), (110, 95, 115)),
    ((6, 7, 14), (24, 24, 40)),
)


class Artist:
    """Draws an image.

    Args:
        seed: The only source of randomness.
        photographs: Sources of textures, (H, W, 3) uint8 images.
    """

    def __init__(self, seed: int, photographs: list[np.ndarray]) -> None:
        self.random = np.random.default_rng(seed)
        self.photographs = photographs
        self.size = (CROP_SHORT, CROP_LONG)
        rows, columns = np.mgrid[0 : self.size[0], 0 : self.size[1]].astype(np.float32)
        self.rows, self.columns = rows / self.size[0], columns / self.size[1]

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (240, 320, 3) uint8 and its sky labels (240, 320) uint8; see the module."""
        wall = self.random.random() < WALLS
        image, sky = self.wall() if wall else self.land()
        image = image + self.random.normal(0, self.random.choice((0.5, 2, 4)), image.shape)
        if self.random.random() < 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.random.uniform(0.4, 1.2))
        return image.clip(0, 255).round().astype(np.uint8), sky

    def wall(self) -> tuple[np.ndarray, np.ndarray]:
        """Objects on a floor before a wall of one colour under some light, without sky."""
        random = self.random
        light = random.uniform(90, 250)
        grey = random.random() < 0.55
        wall = light * (random.uniform(0.88, 1, 3) if grey else random.uniform(0.3, 1, 3))
        image = wall * self._light()[..., None]
        if random.random() < 0.3:
            image = image + random.uniform(2, 10) * self._cloudy(random.uniform(2, 12))[..., None]
        edge = random.uniform(0.35, 0.95) + random.normal(0, 0.04) * (self.columns - 0.5)
        if random.random() < 0.85:
            below = self._soft(self.rows - edge, random.choice((0.003, 0.003, 0.03)))
            floor = wall * random.uniform(0.5, 1.1) if random.random() < 0.25 else self._surface()
            image = image + below[..., None] * (floor * self._light()[..., None] - image)
            if random.random() < 0.2:
                image = image * (1 - 0.4 * np.exp(-(((self.rows - edge) / 0.012) ** 2)))[..., None]
        for _ in range(random.choice((0, 1, 1, 1, 2, 3, 5))):
            image = self._thing(image, float(np.mean(edge)))
        return image, np.full(self.size, NO, np.uint8)

    def land(self) -> tuple[np.ndarray, np.ndarray]:
        """Land with a rough, wooded, built-up or flat horizon below a sky."""
        random = self.random
        top, horizon = (np.array(colour) * random.uniform(0.85, 1.1, 3) for colour in SKIES[random.integers(len(SKIES))])
        line = np.full(self.size[1], random.uniform(0.25, 0.85))
        kind = random.choice(("hills", "hills", "roofs", "roofs", "trees", "trees", "flat"))
        columns = np.linspace(0, 1, self.size[1])
        if kind != "flat":
            for octave in range(1, 7):
                phase, height = random.uniform(0, 6.3, 2)
                line = line + random.uniform(0, 0.12) / octave * np.sin(columns * 3 * 2**octave * 0.6 + phase + height)
        for _ in range(random.integers(2, 9) if kind == "roofs" else 0):
            left, wide, tall = random.uniform(-0.1, 1), random.uniform(0.05, 0.3), random.uniform(0.05, 0.35)
            inside = (columns > left) & (columns < left + wide)
            gable = random.choice((0, 0.5)) * wide * (1 - np.abs(columns - left - wide / 2) / wide * 2)
            line = np.where(inside, np.minimum(line, line.mean() - tall - gable), line)
        near = (self.rows > line[None]).astype(np.float32)
        for _ in range(random.integers(1, 12) if kind == "trees" else 0):
            near = self._tree(near, line)
        if random.random() < 0.3:  # a wire
            start, end = (tuple(int(v) for v in random.uniform(0, 1, 2) * self.size[::-1]) for _ in range(2))
            near = cv2.line(near.copy(), start, end, (1.0,), int(random.integers(1, 4)), cv2.LINE_AA)
        height = (self.rows / max(0.1, float(line.max()))).clip(0, 1)[..., None]
        sky = top + (horizon - top) * height ** random.uniform(0.6, 2)
        if random.random() < 0.5:
            clouds = (self._cloudy(random.uniform(2, 8)) + random.uniform(-0.6, 0.4)).clip(0, 1)[..., None]
            sky = sky + clouds * (np.array(random.choice((250, 225, 130)) * random.uniform(0.9, 1, 3)) - sky) * random.uniform(0.3, 0.9)
        ground = self._surface() * self._light()[..., None] * random.uniform(0.3, 1)
        alpha = cv2.GaussianBlur(near, (0, 0), 0.6)[..., None]
        if random.random() < 0.3:  # haze in the distance
            ground = ground + (horizon - ground) * (random.uniform(0.2, 0.8) * (1 - self.rows) ** 2)[..., None]
        image = sky + alpha * (ground - sky)
        square = np.ones((2 * RIM + 1,) * 2, np.uint8)
        rim = cv2.dilate(near, square) - cv2.erode(near, square) > 0.02
        label = np.where(near > 0.5, NO, YES).astype(np.uint8)
        label[rim] = UNKNOWN
        before = image
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            image = self._tower(image, line)
        for _ in range(random.choice((0, 0, 0, 1))):
            image = self._thing(image, float(line.mean()))
        label[np.abs(image - before).max(2) > 8] = NO
        return image, label

    def _light(self) -> np.ndarray:
        """Illumination: from a side, from a lamp, darker corners."""
        random = self.random
        turn, strength = random.uniform(0, 6.3), random.uniform(0, 0.35)
        along = np.cos(turn) * (self.columns - 0.5) + np.sin(turn) * (self.rows - 0.5)
        x, y, wide = random.uniform(-0.2, 1.2), random.uniform(-0.3, 1), random.uniform(0.3, 1)
        spot = random.choice((0, 0.3)) * np.exp(-((self.columns - x) ** 2 + (self.rows - y) ** 2) / wide**2)
        dark = random.choice((0, 0.3)) * ((self.columns - 0.5) ** 2 + (self.rows - 0.5) ** 2)
        return (1 + strength * along + spot - dark) / (1 + 0.5 * spot.mean())

    def _cloudy(self, fine: float) -> np.ndarray:
        """Multi-scale noise, -1 to 1."""
        total, weight = np.zeros(self.size, np.float32), 0.0
        for octave in range(4):
            cells = max(2, int(fine * 2**octave))
            noise = self.random.uniform(-1, 1, (cells, cells + 1)).astype(np.float32)
            total += cv2.resize(noise, self.size[::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
            weight += 0.5**octave
        return total / weight

    def _surface(self) -> np.ndarray:
        """(H, W, 3): a ground of plain or rough colour, or from a photograph."""
        random = self.random
        colour = random.uniform(20, 230) * random.uniform(0.5, 1, 3)
        kind = random.choice(("plain", "rough", "photograph"))
        if kind == "photograph" and self.photographs:
            photograph = self.photographs[random.integers(len(self.photographs))]
            low = photograph[photograph.shape[0] // 2 :]
            return cv2.resize(low, self.size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        rough = 0.0 if kind == "plain" else random.uniform(5, 40)
        return colour + rough * self._cloudy(random.uniform(5, 60))[..., None]

    def _thing(self, image: np.ndarray, edge: float) -> np.ndarray:
        """Draws a ball, a block or another shape on the ground, shaded or flat, with or without a shadow."""
        random = self.random
        size = random.uniform(0.06, 0.3)
        x, y = random.uniform(0.05, 0.95), random.uniform(edge - 0.6 * size, min(1.0, edge + 0.4))
        ratio = self.size[1] / self.size[0]
        across, down = (self.columns - x) * ratio / size, (self.rows - y) / size
        kind = random.choice(("ball", "ball", "block", "bottle"))
        if kind == "ball":
            away = np.hypot(across, down)
        elif kind == "block":
            turn = random.normal(0, 0.1)
            away = np.maximum(np.abs(across + turn * down) / random.uniform(0.4, 1.2), np.abs(down - turn * across))
        else:
            away = np.maximum(np.abs(across) / np.interp(down, (-1, -0.4, 0, 1), (0.12, 0.15, 0.45, 0.5)), np.abs(down))
        if random.random() < 0.6:
            shade = np.exp(-((across / 1.2) ** 2 + ((down - 0.95) / 0.2) ** 2)) * random.uniform(0.2, 0.7)
            image = image * (1 - shade)[..., None]
        inside = self._soft(1 - away, 0.02)
        surface = (
            self._surface() if random.random() < 0.4 else np.broadcast_to(random.uniform(10, 250) * random.uniform(0.3, 1, 3), image.shape)
        )
        if random.random() < 0.7:
            light = random.uniform(-1, 1, 2)
            shading = 0.75 + 0.35 * (across * light[0] - down * abs(light[1])) - 0.3 * np.minimum(away, 1) ** 2
            surface = surface * shading.clip(0.1, 1.4)[..., None]
        return image + inside[..., None] * (surface - image)

    def _tower(self, image: np.ndarray, line: np.ndarray) -> np.ndarray:
        """Draws a mast, a chimney or a spire before the sky, dark or lit."""
        random = self.random
        x, half, top = random.uniform(0.03, 0.97), random.choice((0.004, 0.012, 0.03)) * random.uniform(0.6, 1.4), random.uniform(0.03, 0.5)
        foot = float(line[int(x * (len(line) - 1))]) + random.uniform(0, 0.2)
        tip = random.choice((0.002, 3 * half, 6 * half))
        wide = half * ((self.rows - top) / tip).clip(0, 1)
        inside = self._soft(wide - np.abs(self.columns - x), 0.5 / self.size[1]) * self._soft(foot - self.rows, 0.004)
        lit = 1 + random.uniform(-0.5, 0.5) * ((self.columns - x) / half).clip(-1, 1)
        colour = random.uniform(10, 250) * random.uniform(0.7, 1, 3)
        return image + inside[..., None] * (colour * lit[..., None] - image)

    def _tree(self, near: np.ndarray, line: np.ndarray) -> np.ndarray:
        """Draws a crown of leaves on the horizon."""
        random = self.random
        x, size = random.uniform(0, 1), random.uniform(0.04, 0.2)
        y = float(line[int(x * (len(line) - 1))]) - 0.6 * size
        noise = self._cloudy(random.uniform(8, 30))
        away = np.hypot((self.columns - x) * self.size[1] / self.size[0], (self.rows - y) * random.uniform(0.6, 1.2)) / size
        return np.maximum(near, self._soft(1 - away + 0.5 * noise, 0.05).astype(np.float32))

    def _soft(self, inside: np.ndarray, wide: float) -> np.ndarray:
        return (0.5 + inside / (2 * wide)).clip(0, 1)


def some_photographs(data: Path, most: int = 400) -> list[np.ndarray]:
    """Some of the train split's downloaded photographs."""
    there: list[Photo] = [photo for photo in read_photos(split="train") if photo.path(data).exists()]
    return [photo.read(data) for photo in there[:most]]


def save(path: Path, image: np.ndarray, sky: np.ndarray) -> None:
    """Writes an image as a render: disparity 1, in the sky 0, instead of a true one; normals 0, unknown."""
    save_npz(path, rgb=image, disparity=(sky != YES).astype(np.float16), normals=np.zeros((*sky.shape, 3), np.int8), sky=sky)


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--images", type=int, default=3000)
    arguments = parser.parse_args()
    (arguments.data / "drawn").mkdir(parents=True, exist_ok=True)
    photographs = some_photographs(arguments.data)
    for number in tqdm(range(arguments.images), desc="drawn"):
        target = arguments.data / "drawn" / f"{number:06d}.npz"
        if not target.exists():
            save(target, *Artist(number, photographs).draw())


if __name__ == "__main__":
    main()
