"""What every model family has in common: its entry in the table, and the way from a picture to an `Estimate`."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..geometry.camera import intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Axes, Estimate, Quantity
from .networks.names import StateDict
from .resizing import SHORT_SIDE, Fit, Resizing

MAX_NETWORK_PIXELS = 64 * 2**20
MAX_ASPECT = 1000
"""How many times as long as its shorter side a picture may be. Of a longer strip, most would be what a family adds by rounding sides up."""

RGB = tuple[float, float, float]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB values in [0, 1]."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that bring [0, 1] to [-1, 1]."""

Progress = Callable[[int, int], None]


class CheckpointError(ValueError):
    """A weights file that is damaged, unsafe, or of another model than the one asked for."""


def size_in_words(size: int, exact: bool = True) -> str:
    """A number of bytes for people: "493 MB", or "about 2.6 GB" where it is not exact."""
    number = f"{size / 1e9:.{2 if exact else 1}f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    return number if exact else f"about {number}"


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: where it comes from and how to know it.

    It is on the Hugging Face hub (`repo_id`), at an address (`url`), or beside this module as a part of the pack (neither).

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
        role: The part of the model that it fills: "network", "vae", ...
        folders: ComfyUI model folders in which users keep such a file, besides the pack's own.
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

    def __post_init__(self) -> None:
        if self.repo_id and self.url:
            raise ValueError(f"{self.filename}: a weights file has a repo_id or a url, not both; found {self.repo_id!r} and {self.url!r}")

    @property
    def name(self) -> str:
        """The plain file name."""
        return self.filename.rsplit("/", 1)[-1]

    @property
    def size_in_words(self) -> str:
        """Its length for people, as `size_in_words` says it."""
        size = self.size or self.approximate_size
        return size_in_words(size, exact=bool(self.size)) if size else "size unknown"

    @property
    def bundled(self) -> bool:
        """Whether it is a part of the pack."""
        return not self.repo_id and not self.url


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the table of models.

    Attributes:
        id: The name users type: `depth-normal estimate --model <id>`.
        family: The key of `registry.FAMILIES`.
        files: The weights; the first is the network.
        licence: SPDX identifier, or the name of the weights' licence.
        quantity: What its depth means; None if it gives none.
        axes: The native axes of its normals; None if it gives none.
        licence_url: Where to read (and, for a gated model, accept) the licence.
        auto_dtypes: The dtypes that "auto" may choose, where they are not the family's `auto_dtypes`; empty = the family's.
        multiple_of: Sides of the network's input are multiples of this.
        resizing: How pictures are brought to the size of the network's input, where the family has no way of its own.
        default_size: Height in pixels of the frame that `resizing` speaks of, or whatever side the family resizes by.
        config: The family's own description of the architecture.
    """

    id: str
    family: str
    files: tuple[WeightFile, ...]
    licence: str
    quantity: Quantity | None = None
    axes: Axes | None = None
    licence_url: str | None = None
    auto_dtypes: tuple[torch.dtype, ...] = ()
    multiple_of: int = 32
    resizing: Resizing = SHORT_SIDE
    default_size: int = 384
    config: Any = None

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
    def non_commercial(self) -> bool:
        """Whether the weights may not be used commercially."""
        return "NC" in self.licence.upper().split("-")

    @property
    def gives(self) -> str:
        """What comes out, in words: "disparity", "metric_depth, normals", ..."""
        return ", ".join(([self.quantity.value] if self.quantity else []) + (["normals"] if self.axes else []))


class Annotator(ABC):
    """A network with the pre- and post-processing of its family.

    A family implements `build` and `predict`. Where its authors resize in a way that no `Resizing` describes, it overrides `network_size`,
    `resize` or `run`; where the camera changes its numbers, `for_camera`.

    Attributes:
        spec: Its entry in the table.
        network: The module. The loader moves it between devices; nobody else does.
        bytes_per_pixel: Working memory per pixel of the network's input, in float32, as measured.
        auto_dtypes: The dtypes that "auto" may choose on devices that are fast in them, best first. In each of them the picture stays the
            same (benchmarks/families.py measures it). float32 comes last by itself.
        resampling: How its depth is brought to another size, "bilinear" or "bicubic", as its authors do.
    """

    bytes_per_pixel: ClassVar[int] = 2000
    auto_dtypes: ClassVar[tuple[torch.dtype, ...]] = ()
    resampling: ClassVar[str] = "bilinear"

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.eval().requires_grad_(False)

    @classmethod
    @abstractmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> Annotator:
        """Builds the network from its checkpoints, strictly, on the CPU.

        Args:
            spec: The entry of the table.
            states: State dict by the role of its file ("network" first of all), as read from disk, unwrapped.
            dtype: What the network computes in.

        Raises:
            CheckpointError: The tensors are not those of this architecture; the message names the first that differ.
        """

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """Imports the libraries that the family needs beyond torch, so that nothing is downloaded in vain.

        Raises:
            ImportError: One is absent or broken; the message says how to mend it.
        """
        return

    @classmethod
    def name_contradicts(cls, spec: ModelSpec, path: str) -> str | None:
        """What a file's name says against its being `spec`'s, for families whose models have tensors of the same names and shapes.

        Args:
            spec: The model that the file is to be loaded as.
            path: The file's name or path.

        Returns:
            A sentence for a warning; None where the name contradicts nothing.
        """
        return None

    @classmethod
    def knows_camera(cls, spec: ModelSpec) -> bool:
        """Whether its estimates have intrinsics even where nobody says which camera took the pictures."""
        return False

    @abstractmethod
    def predict(self, pixels: Tensor) -> Estimate:
        """Runs the network.

        Args:
            pixels: (B, 3, h, w) float32 RGB in [0, 1] on the network's device; h and w as `network_size` gave them.

        Returns:
            The raw estimate, float32, at the network's output size.
        """

    def normalised(self, pixels: Tensor, mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD) -> Tensor:
        """Pictures in [0, 1] as most networks take them: normalised, in the network's dtype, with channels last in memory."""
        subtracted, divisor = (pixels.new_tensor(value)[:, None, None] for value in (mean, std))
        dtype = next(self.network.parameters()).dtype
        return ((pixels - subtracted) / divisor).to(dtype).contiguous(memory_format=torch.channels_last)

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """(height, width) of the network's input for pictures of a size; `size` is the height of the frame of the spec's `resizing`."""
        return self.spec.resizing.input_size(height, width, size, self.spec.multiple_of)

    def resize(self, images: Tensor, height: int, width: int) -> Tensor:
        """Pictures (B, 3, H, W) at the network's size."""
        return self.spec.resizing.resample(images, height, width)

    def with_resizing(self, resizing: Resizing) -> Annotator:
        """The same network, fed with pictures that are resized in another way; families with a way of their own keep it."""
        other = copy.copy(self)
        other.spec = replace(self.spec, resizing=resizing)
        return other

    def estimate(
        self, images: Tensor, size: int | None = None, *, fov: float = 0.0, options: Any = None, progress: Progress | None = None
    ) -> Estimate:
        """Estimates a batch of pictures at once.

        Args:
            images: (B, 3, H, W) float32 RGB in [0, 1], on the network's device.
            size: What `network_size` takes; None = the spec's default.
            fov: Degrees that the longer side of the pictures spans, between 0 and 180 exclusive; 0 = not known.
            options: The family's own, where it has any.
            progress: Called with (passes done, passes in all) by families that take several for one picture.

        Returns:
            An estimate at the network's size, all maps float32 and finite.

        Raises:
            ValueError: The network's input would exceed MAX_NETWORK_PIXELS, or `fov` is out of range.
            TypeError: Options for a family that has none.
            ArithmeticError: The network gave NaN or infinity.
        """
        if options is not None:
            raise TypeError(f"{self.spec.id} takes no options; found {type(options).__name__}")
        return self._finished(self.run(images, size), images, fov)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """The raw estimate of pictures, at the network's size; at the pictures' own size where they are stretched to the network's.

        Args:
            images: As `estimate`.
            size: As `estimate`.
        """
        height, width = images.shape[-2:]
        estimate = self.predict(self.resize(images, *self.checked_network_size(height, width, size)))
        # normals that follow from a stretched map would lean
        return estimate.resized(height, width, self.resampling) if self.spec.resizing.fit is Fit.STRETCHED else estimate

    def checked_network_size(self, height: int, width: int, size: int | None) -> tuple[int, int]:
        """`network_size`; a ValueError where it is more than any machine holds, or where the picture is a mere line."""
        size = size or self.spec.default_size
        net_height, net_width = self.network_size(height, width, size)
        if net_height * net_width > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"a picture of {width}x{height} at resolution {size} makes {self.spec.id} run at {net_width}x{net_height}, "
                f"more than {MAX_NETWORK_PIXELS // 2**20} megapixels: lower the resolution or crop the picture"
            )
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ValueError(
                f"a picture of {width}x{height} has one side more than {MAX_ASPECT} times as long as the other: "
                "crop it, or cut it in pieces"
            )
        return net_height, net_width

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """The family's estimate, for the camera that took the pictures. Here the maps stay what they are, and the camera is noted.

        Args:
            estimate: What `run` gave.
            intrinsics: (B, 3, 3), in pixels of the estimate's size.
        """
        return replace(estimate, intrinsics=intrinsics)

    def _finished(self, estimate: Estimate, images: Tensor, fov: float) -> Estimate:
        """The estimate of pictures, checked, for the camera that took them. They have square pixels, the network's input has not quite."""
        self._check_finite(estimate)
        if not fov:
            return estimate
        height, width = images.shape[-2:]
        of_picture = intrinsics_from_fov(fov, height, width, batch=estimate.batch)
        intrinsics = resize_intrinsics(of_picture, (height, width), (estimate.height, estimate.width))
        return self.for_camera(estimate, intrinsics.to(estimate.device))

    def _check_finite(self, estimate: Estimate) -> None:
        maps = {name: value for name in ("depth", "normals") if (value := getattr(estimate, name)) is not None}
        finite = torch.stack([torch.isfinite(value).all() for value in maps.values()])
        if finite.all():  # a GPU is waited for here alone, once it has all its work
            return
        name = next(name for name, good in zip(maps, finite.tolist(), strict=True) if not good)
        dtype = next(self.network.parameters()).dtype
        raise ArithmeticError(f"{self.spec.id} in {dtype} gave {name} that is not finite: use float32, or check the weights file")


def count_keys(by_kind: Mapping[str, Iterable[str]]) -> list[str]:
    """In words how many keys of a checkpoint are of each kind, and the first of them; a kind without keys is left out."""
    ordered = {kind: sorted(keys) for kind, keys in by_kind.items()}
    return [f"{len(keys)} {kind} keys (first: {keys[0]})" for kind, keys in ordered.items() if keys]


def checkpoint_mismatch(expected: StateDict, found: StateDict) -> str | None:
    """Why `found` cannot be loaded as `expected`, in words; None if it can."""
    differing = sorted(key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape)
    parts = count_keys({"unexpected": found.keys() - expected.keys(), "missing": expected.keys() - found.keys()})
    if differing:
        key = differing[0]
        shapes = f"{tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        parts.append(f"{len(differing)} tensors of another shape (first: {key}, {shapes})")
    return ", ".join(parts) or None


def fill(network: nn.Module, state: StateDict, complaint: str) -> None:
    """Gives a network that was built on the meta device its tensors. They are taken as they are, not copied.

    Args:
        network: A module with no memory behind its parameters and buffers.
        state: What is to become of them.
        complaint: What to say of a file whose tensors are others: "not a checkpoint of tiny". The first that differ are added.

    Raises:
        CheckpointError: The tensors are not exactly the network's.
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"{complaint}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory"))
