"""The entries of the table of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...geometry.kinds import Axes, Quantity
from ..preprocessing.resizing import SHORT_SIDE, Resizing

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB values in [0, 1]."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that bring [0, 1] to [-1, 1]."""


class CheckpointError(ValueError):
    """A weights file that is damaged, unsafe, or of another model than the one requested."""

    __module__ = "depth_normal"


def size_in_words(size: int, exact: bool = True) -> str:
    """A number of bytes for people: "493 MB", or "about 2.6 GB" where it is not exact."""
    number = f"{size / 1e9:.{2 if exact else 1}f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    return number if exact else f"about {number}"


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: where it comes from and how to know it.

    It is on the Hugging Face hub (`repo_id`), at an address (`url`), or in the folder `annotators` as a part of the pack (neither), unless
    its authors have not published it.

    Attributes:
        filename: Its path inside the Hugging Face repository, or its plain name.
        repo_id: The Hugging Face repository; None for the others.
        url: HTTPS address of a release file; None for the others.
        repo_type: "model" or "space".
        revision: The commit to take from the hub. "main" stands where no commit is known: it is whatever the owner puts there.
        sha256: Hex digest of the published file, where it is known.
        size: Bytes, where known.
        approximate_size: Bytes by the number of parameters, where `size` is not known.
        aliases: Other names that users have the file under: plain names, no folders.
        fits_published: Whether it fits the published network alone, and is left out where a user gives other weights.
        copies: Hex digests of known conversions that users have under those names. Only `verify` compares with them.
        role: The part of the model that it fills: "network", "vae", ...
        folders: ComfyUI model folders in which users keep such a file, besides the pack's own.
        published: Whether it can be downloaded; one that cannot is still found and recognised.
    """

    filename: str
    repo_id: str | None = None
    url: str | None = None
    repo_type: str = "model"
    revision: str = "main"
    sha256: str | None = None
    size: int | None = None
    aliases: tuple[str, ...] = ()
    role: str = "network"
    folders: tuple[str, ...] = ()
    approximate_size: int | None = None
    copies: tuple[str, ...] = ()
    fits_published: bool = False
    published: bool = True

    def __post_init__(self) -> None:
        if self.repo_id and self.url:
            raise ValueError(f"{self.filename}: a weights file has a repo_id or a url, not both; found {self.repo_id!r} and {self.url!r}")

    @property
    def name(self) -> str:
        """The plain file name."""
        return self.filename.rsplit("/", 1)[-1]

    @property
    def size_in_words(self) -> str:
        """Its length for people, by `size_in_words`."""
        size = self.size or self.approximate_size
        return size_in_words(size, exact=bool(self.size)) if size else "size unknown"

    @property
    def bundled(self) -> bool:
        """True if it is a part of the pack."""
        return self.published and not self.repo_id and not self.url


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the table of models.

    Attributes:
        id: The name users type: `depth-normal estimate --model <id>`.
        family: The key of `registry.FAMILIES`.
        files: The weights; the first is the network.
        licence: SPDX identifier, or the name of the weights' licence.
        quantity: What its depth means; None if it has no depth.
        up_to_scale: Whether its metric depth has no unit: see `Quantity.METRIC_DEPTH`.
        axes: The native axes of its normals; None if it has none.
        licence_url: Where to read the licence, where the page that the file comes from does not state it, or states another; see
            `licence_page`.
        commercial: "yes", "no" or "unclear": whether the weights may be used commercially, where the licence's name does not state it.
        auto_dtypes: As the family's `auto_dtypes`, where they are others; empty = the family's.
        multiple_of: Sides of the network's input are multiples of this.
        resizing: How images are resized for the network, where the family has no rule of its own.
        default_size: Height in pixels of the frame of `resizing`, or whatever side the family resizes by.
        knows_camera: Whether its estimates have intrinsics even where the camera is not known.
        for_panoramas: Whether the network takes panoramas of the whole sphere, and no other images.
        largest_size: The largest `size` that the network runs at; every larger one counts as this. None = there is none.
        smallest_size: The same for the smallest one.
        materials: The maps of a model that gives materials in place of depth and normals; empty for all others.
        config: The family's own description of the architecture.
    """

    id: str
    family: str
    files: tuple[WeightFile, ...]
    licence: str
    quantity: Quantity | None = None
    axes: Axes | None = None
    licence_url: str | None = None
    commercial: str = ""
    auto_dtypes: tuple[str, ...] = ()
    multiple_of: int = 32
    resizing: Resizing = SHORT_SIDE
    default_size: int = 384
    config: Any = None
    up_to_scale: bool = False
    knows_camera: bool = False
    for_panoramas: bool = False
    largest_size: int | None = None
    smallest_size: int = 1
    materials: tuple[str, ...] = ()

    @property
    def file(self) -> WeightFile:
        """The network's weights."""
        return self.files[0]

    @property
    def size(self) -> int:
        """Bytes of all its files together, as far as they are known or estimated."""
        return sum(file.size or file.approximate_size or 0 for file in self.files)

    @property
    def size_in_words(self) -> str:
        """The same for people: "493 MB", or "about 2.6 GB" where a part is estimated."""
        return size_in_words(self.size, exact=all(file.size for file in self.files))

    @property
    def commercial_use(self) -> str:
        """Permission to use the weights commercially: "yes", "no" or "unclear"."""
        return self.commercial or ("no" if "NC" in self.licence.upper().split("-") else "yes")

    @property
    def terms(self) -> str:
        """The licence for people, with what its name does not state: "CC-BY-NC-4.0, not for commercial use"."""
        suffixes = {"yes": "", "no": ", not for commercial use", "unclear": ", commercial use unclear"}
        return self.licence + suffixes[self.commercial_use]

    def used_size(self, size: int) -> int:
        """The `size` that the network runs at if this one is requested."""
        return size if self.largest_size is None else min(max(size, self.smallest_size), self.largest_size)

    def size_in_record(self, size: int | None) -> int | None:
        """The size that the network runs at if this one is requested, None where that is its default: both give the same maps."""
        used = self.used_size(size or self.default_size)
        return None if used == self.used_size(self.default_size) else used

    @property
    def licence_page(self) -> str:
        """The page that states the licence of the weights: `licence_url`, or the page that the file comes from."""
        if self.licence_url:
            return self.licence_url
        if self.file.repo_id:
            return f"https://huggingface.co/{'spaces/' if self.file.repo_type == 'space' else ''}{self.file.repo_id}"
        return str(self.file.url).partition("/releases/")[0]

    @property
    def in_metres(self) -> bool:
        """True if its depth is in metres."""
        return self.quantity is Quantity.METRIC_DEPTH and not self.up_to_scale

    @property
    def gives(self) -> str:
        """The outputs in words: "disparity", "metric_depth, normals", "metric_depth (up to scale)", ..."""
        depth = [self.quantity.value + " (up to scale)" * self.up_to_scale] if self.quantity else []
        return ", ".join(depth + (["normals"] if self.axes else []) + list(self.materials))

    @property
    def numbers_in_words(self) -> str:
        """What the numbers of its depth are, for people: "disparity, no unit, larger is nearer; ..."; empty for a model without depth."""
        if self.quantity is None:
            return ""
        if self.quantity is Quantity.METRIC_DEPTH:
            return f"depth {'up to an unknown scale' if self.up_to_scale else 'in metres'}, larger is farther"
        larger = "nearer" if self.quantity is Quantity.DISPARITY else "farther"
        return f"{self.quantity.value.replace('_', ' ')}, no unit, larger is {larger}; its zero means nothing, so it may be negative"


def no_geometry(spec: ModelSpec) -> str:
    """The message where depth or normals are wanted of a model of materials."""
    return (
        f"{spec.id} gives {spec.gives}, and neither depth nor normals: use the node Material from Photo (Marigold), or "
        f"`depth-normal texture pbr --materials {spec.id}`"
    )


def printable(key: str, most: int = 80) -> str:
    """A tensor's name as a message can hold it, whatever a file calls its tensors: without control characters, and not too long."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in key[:most])
    return text + "..." * (len(key) > most)
