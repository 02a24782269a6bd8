"""Two thousand damaged files through every reader: only the documented errors, no crash, no hang, no flood of memory.

What is read runs in a process of its own, since a crash would take the tests with it.
"""

import importlib.util
import io
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.geometry.files import FileFormatError, SaveOptions, load_estimate, read_image, save_estimate
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from tests.forked import needs_fork, printed_by
from tests.geometry.files.samples import full_estimate

COUNT = 2000
LONGEST_S = 5.0
MOST_MEGABYTES = 1500

TELLING_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Seed:
    """A whole file, what reads its values, and the only exception that a damaged one may raise."""

    name: str
    data: bytes
    read: Callable[[Path], list[np.ndarray]]
    error: type[Exception]


def read_pixels(path: Path) -> list[np.ndarray]:
    return [read_image(path)]


def make_images() -> Iterator[Seed]:
    levels = np.random.default_rng(0).integers(0, 256, (24, 32, 4)).astype(np.uint8)
    colour, alpha, grey = Image.fromarray(levels[..., :3]), Image.fromarray(levels), Image.fromarray(levels[..., 0])
    palette, deep = colour.quantize(16), Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    kinds: dict[str, tuple[Image.Image, dict]] = {
        **{"colour.png": (colour, {}), "alpha.png": (alpha, {}), "grey16.png": (deep, {}), "palette.png": (palette, {})},
        **{"baseline.jpeg": (colour, {"quality": 80}), "progressive.jpeg": (colour, {"quality": 80, "progressive": True})},
        **{"restarts.jpeg": (grey, {"restart_marker_blocks": 2}), "cmyk.jpeg": (colour.convert("CMYK"), {})},
        **{"lossy.webp": (colour, {}), "lossless.webp": (alpha, {"lossless": True})},
        **{"colour.bmp": (colour, {}), "palette.bmp": (palette, {}), "palette.gif": (palette, {}), "raw.tiff": (colour, {})},
        **{"lzw.tiff": (alpha, {"compression": "tiff_lzw"}), "jpeg.tiff": (colour, {"compression": "jpeg"})},
        **{"grey16.tiff": (deep, {"compression": "tiff_adobe_deflate"}), "floats.tiff": (deep.convert("F"), {})},
        **{"packed.tga": (colour, {"compression": "tga_rle"}), "blocks.dds": (alpha, {"pixel_format": "DXT5"})},
        **{"colour.ppm": (colour, {}), "grey16.ppm": (deep, {}), "tiles.jpeg2000": (colour, {"tile_size": (16, 16)})},
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, (image, options) in kinds.items():
        buffer = io.BytesIO()
        image.save(buffer, name.rpartition(".")[2], exif=exif, **options)
        yield Seed(name, buffer.getvalue(), read_pixels, FileFormatError)


def read_maps(path: Path) -> list[np.ndarray]:
    return [values.numpy() for values in load_estimate(path).maps.values()]


def estimates(folder: Path) -> Iterator[Seed]:
    full = full_estimate(24, 32)
    np.savez_compressed(folder / "packed.npz", depth=full.depth[0, 0].numpy(), quantity="metric_depth")
    paths = [folder / "packed.npz"]
    for name in ["full.npz", "values.png", "map.pfm", *(["full.exr", "half.exr"] if importlib.util.find_spec("OpenEXR") else [])]:
        paths += save_estimate(folder / name, full, SaveOptions(half=name == "half.exr"))
    for path in paths:
        yield Seed(path.name, path.read_bytes(), read_maps, FileFormatError)


def read_weights(path: Path) -> list[np.ndarray]:
    state = read_checkpoint(path)
    names = [np.frombuffer(name.encode(errors="surrogatepass"), np.uint8) for name in state]
    return names + [tensor.reshape(-1).view(torch.uint8).numpy().copy() for tensor in state.values()]


def checkpoints(folder: Path) -> Iterator[Seed]:
    from safetensors.torch import save_file

    state = {"first.weight": torch.arange(60.0).reshape(4, 3, 5), "second.bias": torch.ones(7, dtype=torch.float16)}
    save_file(state, folder / "a.safetensors")
    torch.save({"state_dict": state}, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "zip.pth", "legacy.pth"):
        yield Seed(name, (folder / name).read_bytes(), read_weights, CheckpointError)


def cut(chance: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: chance.choice((chance.randrange(len(data)), len(data) - 1 - chance.randrange(min(64, len(data)))))]


def flip(chance: random.Random, data: bytes, _: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 64))):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def edit_header(chance: random.Random, data: bytes, _: bytes) -> bytes:
    """Numbers that break parsers, near the beginning or, where zip and TIFF keep theirs, near the end."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 3))):
        width = chance.choice((1, 2, 4, 8))
        at = chance.randrange(min(len(data), 400))
        at = chance.choice((at, at, len(data) - 1 - at))
        number = chance.choice(TELLING_NUMBERS) & (1 << 8 * width) - 1
        damaged[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
    return bytes(damaged)


def splice(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at, length = chance.randrange(len(data)), chance.randrange(200)
    start = chance.randrange(len(other))
    inserted = chance.choice((other[start : start + length], bytes(length), data[:length], b""))
    return data[:at] + inserted + data[at + chance.choice((0, len(inserted), length)) :]


MUTATIONS = (cut, flip, edit_header, splice)


def read_damaged(folder: Path) -> None:
    chance = random.Random(0)
    whole = [*make_images(), *estimates(folder), *checkpoints(folder)]
    values = [seed.read(write(folder, seed, seed.data)) for seed in whole]
    before = peak_megabytes()
    faults, refused, slowest = [], 0, 0.0
    for number in range(COUNT):
        index = number % len(whole)
        seed, mutation = whole[index], MUTATIONS[number // len(whole) % len(MUTATIONS)]
        damaged = mutation(chance, seed.data, chance.choice(whole).data)
        path = write(folder, seed, damaged)
        started = time.process_time()
        try:
            found = seed.read(path)
        except seed.error as error:
            refused += 1
            if str(path.with_suffix("")) not in str(error):  # or the normals beside it, of another case
                faults.append(f"{number} {mutation.__name__} {seed.name}: the message does not name the file: {error}")
        except BaseException as error:  # noqa: BLE001  that is what is looked for
            faults.append(f"{number} {mutation.__name__} {seed.name}: {type(error).__name__}: {error}")
        else:
            if mutation is cut and not (len(found) == len(values[index]) and all(map(np.array_equal, found, values[index]))):
                faults.append(f"{number} cut {seed.name}: {len(damaged)} of {len(seed.data)} bytes were taken for a file")
        slowest = max(slowest, time.process_time() - started)
    assert not faults, "\n".join(faults)
    assert refused > COUNT / 2, "most damage is found"
    assert slowest < LONGEST_S and peak_megabytes() - before < MOST_MEGABYTES


def write(folder: Path, seed: Seed, data: bytes) -> Path:
    path = folder / f"case_{seed.name}"
    path.unlink(missing_ok=True)  # what is mapped stays as it was
    path.write_bytes(data)
    return path


def peak_megabytes() -> float:
    """Most memory this process ever held; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@needs_fork
@pytest.mark.slow("reads two thousand files")
def test_damaged_files_raise_the_documented_errors_and_nothing_else(tmp_path):
    code, printed = printed_by(read_damaged, tmp_path)
    at_hand = sorted(tmp_path.glob("case_*"), key=lambda path: path.stat().st_mtime_ns)[-1:]
    assert code == 0, f"exit code {code} (-9 where a reader hangs) at {at_hand}: {printed[-4000:]}"
