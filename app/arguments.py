"""What the commands have in common: exit codes, the errors that a person may cause, options and their types. Imports nothing large."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..annotators.choices import DEVICE_CHOICES, DTYPE_CHOICES, RUNTIME_CHOICES, TORCH

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
EXIT_CODES = """exit codes: 0 all done; 1 some failed, the others are done; 2 nothing could be done;
130 stopped by Ctrl-C, 143 by SIGTERM: what was finished before stays"""

DOCS = Path(__file__).resolve().parents[1] / "docs"
"""The folder of the documentation, in a clone and in an installed package."""

# What a bad picture, file, model or machine raises; anything else is a fault of this program and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


CODING_CHOICES = ("opengl", "directx", "opencv", "scannet", "controlnet-normalbae", "controlnet-1.0-normal")
"""Those of `geometry.conventions.NormalMapCoding`, which imports torch; a test compares them."""

LAYOUT_CHOICES = ("full-sbs", "half-sbs", "full-tb", "half-tb", "cross-eyed", "anaglyph")
"""Those of `geometry.stereo`, which imports torch; a test compares them. Also its `ORIGINALS`:"""

ORIGINAL_CHOICES = ("middle", "left", "right")

HOLES = "-holes"
"""What follows a layout's name where the mask of what was filled in is meant."""

STEREO_CHOICES = (*LAYOUT_CHOICES, *(f"{layout}{HOLES}" for layout in LAYOUT_CHOICES))
"""What can be written for both eyes."""

WRITE_CHOICES = ("depth", "normals", "npz", "exr", "pfm", "ply", "glb", "stl", *STEREO_CHOICES)
"""What can be written of a picture: two pictures to look at, the formats of `geometry.files` by their extensions, and stereo."""

MOST_TILES = 64
"""As `annotators.tiles` has it, which imports torch; a test compares them."""

DEFAULT_WRITES = WRITE_CHOICES[:2]
"""What is written if nobody says what."""

SIZE = (
    "network's side in pixels, as its authors count (default: theirs); less is faster. MoGe-2: 840 is its resolution level 9, 485 level 0"
)
"""What --size does."""

TILES = (
    "for large pictures: see them as a whole and again in overlapping tiles, for sharper edges and more detail; N along the longer side, "
    "or auto (of about the network's own size, at most 4)"
)
"""What --tiles does."""

SHARD_CHOICES = ("parquet", "webdataset")
"""What can be written instead of these: shards, with many pictures in each file."""

NUMBER_CHOICES = ("float32", "float16")
"""Of the numbers in shards."""

SHARD_BYTES = 256 * 10**6
"""How large shards become if nobody says how large."""

_UNITS = {f"{prefix}{unit}".lower(): base**power for unit, base in (("B", 1000), ("iB", 1024)) for power, prefix in enumerate("KMGT", 1)}


_NUMBERED = ("cuda", "mps")
DEVICE_WORDS = f"{', '.join(DEVICE_CHOICES)}, or cuda:N for the GPU of that number, from 0"
"""What --device takes."""


def add_model(parser: argparse._ActionsContainer, default: str) -> None:
    """Adds --model and --weights; `chosen_model` says which model they mean."""
    model = f"see `depth-normal models` (default: the one that --weights are of, else {default})"
    parser.add_argument("--model", metavar="ID", help=model)
    weights = "weights to use in place of the published file; without --model their tensors say which model it is"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    parser.set_defaults(default_model=default)


def chosen_model(arguments: argparse.Namespace) -> str:
    """The id of the model that is asked for.

    Raises:
        ValueError: The weights cannot be read, or are of no known model.
    """
    if arguments.model is not None:
        return arguments.model
    if arguments.weights is None:
        return arguments.default_model
    from ..model_loader.recognise import recognise

    return recognise(arguments.weights).id


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help="replace also what this command did not make, or made of another picture")


def add_device(parser: argparse._ActionsContainer) -> None:
    """Adds --device and --dtype."""
    where = f"where the network runs: {DEVICE_WORDS} (default: auto, the GPU where there is one)"
    parser.add_argument("--device", default="auto", type=device, metavar="NAME", help=where)
    dtype = "what the network computes in (default: auto, the fastest in which the picture stays the same)"
    parser.add_argument("--dtype", default="auto", choices=DTYPE_CHOICES, help=dtype)


def device(text: str) -> str:
    """A name that `load_model` takes for a device, be it there or not."""
    kind, divider, index = text.partition(":")
    if kind not in DEVICE_CHOICES or (divider and not (kind in _NUMBERED and index.isdecimal() and index.isascii())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device; accepted: {DEVICE_WORDS}")
    return text


ALL = "all"
"""Of the runtimes: all that are here."""

_RUNTIME = "what runs the network: torch (the default), or one of docs/runtimes.md, which is built once and left for torch if it fails"


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """Adds --runtime."""
    parser.add_argument("--runtime", default=TORCH, choices=RUNTIME_CHOICES, help=_RUNTIME)


def add_runtimes(parser: argparse._ActionsContainer) -> None:
    """Adds --runtime for one or several."""
    runtime = f"{_RUNTIME}; several: each beside torch, printed once measured; {ALL}: all that are here (of {', '.join(RUNTIME_CHOICES)})"
    names = several_of((*RUNTIME_CHOICES, ALL))
    parser.add_argument("--runtime", nargs="+", default=[(TORCH,)], type=names, metavar="NAME", help=runtime)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def several_of(choices: Sequence[str], shown: Sequence[str] = ()) -> Callable[[str], tuple[str, ...]]:
    """The type of an option that takes one or several words, with commas between.

    Args:
        choices: The words.
        shown: Those that an error names; none = all.
    """

    def words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if wrong := [word for word in found if word not in choices]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(shown or choices)} (several: with commas, no spaces)")
        return found

    return words


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Adds --numbers and --shard-size."""
    title = f"for --write {' or '.join(SHARD_CHOICES)}"
    group = parser.add_argument_group(title, "the raw maps of many images in each file (docs/scale.md)")
    numbers = "of depth and normals in shards (default: %(default)s, bit for bit)"
    group.add_argument("--numbers", choices=NUMBER_CHOICES, default=NUMBER_CHOICES[0], help=numbers)
    size = f"a shard is closed as soon as its maps have this size (default: {SHARD_BYTES // 10**6}MB)"
    group.add_argument("--shard-size", type=byte_size, default=SHARD_BYTES, metavar="SIZE", help=size)


def byte_size(text: str) -> int:
    """A number of bytes with its unit: 256MB, 1.5GB, 64MiB."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?) ?([a-z]+)", text.lower(), re.ASCII)
    if not match or match[2] not in _UNITS or not (size := int(float(match[1]) * _UNITS[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: a number above 0 with its unit, such as 256MB or 1GB")
    return size


def add_depth_of_stereo(parser: argparse._ActionsContainer) -> None:
    """Adds what every command that makes stereo asks: how deep, and where the screen is."""
    divergence = "how deep: by how much the eyes' pictures of near and far part, in percent of the width, 0 to 20 (default: %(default)s)"
    parser.add_argument("--divergence", type=number, default=2.0, metavar="PERCENT", help=divergence)
    convergence = "what lies on the screen: 0 the farthest, 1 the nearest (default: %(default)s)"
    parser.add_argument("--convergence", type=number, default=0.5, metavar="SHARE", help=convergence)
    original = "which eye sees the picture unchanged; middle: neither, both are made (default: %(default)s)"
    parser.add_argument("--original", default=ORIGINAL_CHOICES[0], choices=ORIGINAL_CHOICES, help=original)


def place(text: str) -> Path:
    """A folder; the URL of one stays as it was typed (`stores.Url`)."""
    if "://" not in text:
        return Path(text)
    from .stores import as_path

    return as_path(text)


def positive(text: str) -> int:
    """A whole number of pixels."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of pixels above 0")
    return int(text)


def tiles(text: str) -> int | str:
    """How many tiles along the longer side: a number from 2 on, or auto."""
    if text != "auto" and (not text.isdecimal() or not 2 <= int(text) <= MOST_TILES):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 2 to {MOST_TILES}")
    return text if text == "auto" else int(text)


def degrees(text: str) -> float:
    """An angle of view."""
    if not 0 < (angle := number(text)) < 180:
        raise argparse.ArgumentTypeError(f"{text!r} is not an angle between 0 and 180 degrees")
    return angle


def near_far_ratio(text: str) -> float:
    """How many times farther the far end is."""
    if not 1 < (value := number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 1")
    return value


def point(text: str) -> tuple[float, ...]:
    """A place in the picture."""
    return numbers(text, ("x", "y"))


def numbers(text: str, names: Sequence[str]) -> tuple[float, ...]:
    """As many numbers as there are names, with commas between."""
    found = tuple(map(number, text.split(",")))
    if len(found) != len(names) or any(map(math.isnan, found)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {','.join(names)}: {len(names)} numbers with commas between, no spaces")
    return found


def number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
