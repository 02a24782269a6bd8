"""The entries of the table of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...geometry.kinds import ZERO_AT_CAMERA, Axes, Quantity
from ..preprocessing.resizing import SHORT_SIDE, Resizing

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""For RGB in [0, 1]."""
HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation that map [0, 1] to [-1, 1]."""

TELLING_PARTS = 5
"""Number of trailing components of a file's path to compare with models' names; those before may be anybody's."""


class CheckpointError(ValueError):
    """A weights file is damaged, unsafe, or of another model than requested."""

    __module__ = "depth_normal"


def size_in_words(size: int, exact: bool = True) -> str:
    """A number of bytes in words: "493 MB", or "about 2.6 GB" if not exact."""
    number = f"{size / 1e9:.{2 if exact else 1}f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    return number if exact else f"about {number}"


@dataclass(frozen=True)
class WeightFile:
    """A weights file: its source and how to recognise it.

    It comes from the Hugging Face hub (`repo_id`) or an address (`url`), or ships in the folder `annotators` (neither), unless its authors
    have not published it.
    """

    filename: str  # its path in the Hugging Face repository, or its plain name
    repo_id: str | None = None  # the Hugging Face repository, if any
    url: str | None = None  # HTTPS address of a release file, if any
    repo_type: str = "model"  # "model" or "space"
    revision: str = "main"  # the hub's commit. "main", where no commit is known, is whatever the owner uploads.
    sha256: str | None = None  # hex digest of the published file, if known
    size: int | None = None  # bytes, if known
    aliases: tuple[str, ...] = ()  # other file names in use, without folders
    conversions: tuple[WeightFile, ...] = ()  # files of the hub with the same weights in another form: found, never downloaded
    role: str = "network"  # the part of the model: "network", "vae", ...
    folders: tuple[str, ...] = ()  # ComfyUI model folders to search, besides the pack's own
    approximate_size: int | None = None  # bytes estimated from the number of parameters, if `size` is unknown
    copies: tuple[str, ...] = ()  # hex digests of known conversions. Only `verify` uses them.
    fits_published: bool = False  # whether it only fits the published network, and is omitted if the user gives other weights
    published: bool = True  # whether it can be downloaded; otherwise it is still found and recognised

    def __post_init__(self) -> None:
        if self.repo_id and self.url:
            raise ValueError(f"{self.filename}: a weights file has a repo_id or a url, not both; found {self.repo_id!r} and {self.url!r}")

    @property
    def name(self) -> str:
        """The plain file name."""
        return self.filename.rsplit("/", 1)[-1]

    @property
    def size_in_words(self) -> str:
        """Its size in words."""
        size = self.size or self.approximate_size
        return size_in_words(size, exact=bool(self.size)) if size else "size unknown"

    @property
    def bundled(self) -> bool:
        """Whether it ships with the pack."""
        return self.published and not self.repo_id and not self.url


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the table of models."""

    id: str  # the name users type: `depth-normal estimate --model <id>`
    family: str  # the key in `registry.FAMILIES`
    files: tuple[WeightFile, ...]  # the weights; the first file is the network's
    licence: str  # SPDX identifier, or the name of the weights' licence
    quantity: Quantity | None = None  # the meaning of its depth; None without depth
    axes: Axes | None = None  # the native axes of its normals; None without normals
    licence_url: str | None = None  # the page with the licence, if the file's own page states none or another; see `licence_page`
    commercial: str = ""  # whether commercial use is allowed, "yes", "no" or "unclear", if the licence's name does not say
    auto_dtypes: tuple[str, ...] = ()  # overrides the family's `auto_dtypes`; empty = the family's
    multiple_of: int = 32  # height and width of the network's input are multiples of this
    resizing: Resizing = SHORT_SIDE  # the resizing of images, if the family has no rule of its own
    default_size: int = 384  # height in pixels of the frame of `resizing`, or of the family's own measure of size
    config: Any = None  # the family's description of the architecture
    knows_camera: bool = False  # whether its estimates have intrinsics even for an unknown camera
    for_panoramas: bool = False  # whether the network takes only full-sphere panoramas
    largest_size: int | None = None  # and `smallest_size`: limits that `size` is clamped to; `largest_size` None = no limits
    smallest_size: int = 1
    materials: tuple[str, ...] = ()  # the maps of a material model, which has neither depth nor normals; else empty

    @property
    def file(self) -> WeightFile:
        """The network's weights."""
        return self.files[0]

    @property
    def size(self) -> int:
        """Total bytes of its files, as known or estimated."""
        return sum(file.size or file.approximate_size or 0 for file in self.files)

    @property
    def size_in_words(self) -> str:
        """`size` in words: "493 MB", or "about 2.6 GB" if partly estimated."""
        return size_in_words(self.size, exact=all(file.size for file in self.files))

    @property
    def commercial_use(self) -> str:
        """Whether commercial use is allowed: "yes", "no" or "unclear"."""
        return self.commercial or ("no" if "NC" in self.licence.upper().split("-") else "yes")

    @property
    def terms(self) -> str:
        """The licence, with what its name does not say: "CC-BY-NC-4.0, not for commercial use"."""
        suffixes = {"yes": "", "no": ", not for commercial use", "unclear": ", commercial use unclear"}
        return self.licence + suffixes[self.commercial_use]

    def used_size(self, size: int) -> int:
        """The size that the network runs at for a requested `size`."""
        return size if self.largest_size is None else min(max(size, self.smallest_size), self.largest_size)

    def size_in_record(self, size: int | None) -> int | None:
        """As `used_size`, but None if that is the default: both give the same maps."""
        used = self.used_size(size or self.default_size)
        return None if used == self.used_size(self.default_size) else used

    @property
    def licence_page(self) -> str:
        """The page that states the weights' licence: `licence_url`, or the file's own page."""
        if self.licence_url:
            return self.licence_url
        if self.file.repo_id:
            return f"https://huggingface.co/{'spaces/' if self.file.repo_type == 'space' else ''}{self.file.repo_id}"
        return str(self.file.url).partition("/releases/")[0]

    @property
    def gives(self) -> str:
        """The outputs: "disparity", "metric_depth, normals", ..."""
        depth = [self.quantity.value] if self.quantity else []
        return ", ".join(depth + (["normals"] if self.axes else []) + list(self.materials))

    def numbers_in_words(self, panorama: bool = False) -> str:
        """The meaning of its depth values: "disparity, no unit, larger is nearer; ..."; empty without depth."""
        if self.quantity is None:
            return ""
        if panorama or self.quantity in ZERO_AT_CAMERA:
            kind = "distance along each ray" if panorama else "depth"
            unit = "in metres" if self.quantity is Quantity.METRIC_DEPTH else "up to an unknown scale"
            return f"{kind} {unit}, larger is farther"
        larger = "nearer" if self.quantity is Quantity.DISPARITY else "farther"
        return f"{self.quantity.value.replace('_', ' ')}, no unit, larger is {larger}; its zero means nothing, so it may be negative"


def rows(table: str) -> list[list[str]]:
    """The words of each line of a table."""
    return [line.split() for line in table.strip().splitlines()]


def no_geometry(spec: ModelSpec) -> str:
    """The message if depth or normals are requested from a material model."""
    return (
        f"{spec.id} gives {spec.gives}, and neither depth nor normals: use the node Material from Photo (Marigold), or "
        f"`depth-normal texture pbr --materials {spec.id}`"
    )


def printable(key: str, most: int = 80) -> str:
    """A tensor's name, from an untrusted file, for a message: escaped and truncated."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in key[:most])
    return text + "..." * (len(key) > most)
