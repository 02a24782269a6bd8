"""The interface of a model family: from files to a network, and from images to an estimate.

A new family derives from `base.Annotator`, which runs it, and overrides only what differs from the defaults of `Family`:
`network_class` (or `build`), `tensors`, `preprocess`, `predict`, `postprocess`, and `for_camera` if depth depends on the camera.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..geometry.estimate import Axes, Estimate
from .building import build_published
from .graphs import Signature
from .networks.published import PublishedNetwork, StateDict
from .preprocessing.resizing import Size
from .preprocessing.steps import Resize, Steps
from .specs.base import TELLING_PARTS, ModelSpec

Progress = Callable[[int, int], None]
"""Called with (passes done, total passes)."""


def progress_of_part(progress: Progress | None, start: int, stop: int, total: int) -> Progress | None:
    """Maps the progress of the part [start, stop) of a job's `total` units to that of the whole job."""
    if progress is None:
        return None
    return lambda done, parts: progress(start * parts + done * (stop - start), total * parts)


def counted(progress: Progress | None, total: int) -> Callable[..., None]:
    """A callback that takes the number of passes since its last call, by default 1, and reports their sum as progress."""
    done = 0

    def passed(passes: int = 1) -> None:
        nonlocal done
        done += passes
        if progress is not None:
            progress(done, total)

    return passed


@dataclass(frozen=True)
class Request:
    """The inputs of one call."""

    images: Tensor  # (B, 3, H, W) float32 RGB in [0, 1], on the network's device
    size: int  # what the family resizes by; see `ModelSpec.default_size`
    fov: float = 0.0  # field of view along the longer side, in degrees; 0 = unknown
    options: Any = None  # of the family's `options_type`; None = it has no options
    progress: Progress | None = None  # for families that need several passes per image
    normals: bool = True  # whether the caller needs normals; a family that predicts depth too may skip them otherwise
    sharp: bool = False  # whether to align depth to image edges, where the family can. Off for single video frames: edges would flicker.

    @property
    def image_size(self) -> Size:
        """Height and width of the images."""
        return self.images.shape[-2], self.images.shape[-1]


class Family:
    """A network with its authors' pre- and post-processing. Everything but `network_class` (or `build`) has a default."""

    bytes_per_pixel: ClassVar[int] = 2000  # measured working memory per pixel of the network's input, in float32
    needs_by_size: ClassVar[bool] = True  # whether that holds at every `network_size`; else it may take much less
    # dtypes that "auto" may choose on devices that are fast in them, named as in DTYPE_CHOICES, best first; then float32. The resulting
    # 8-bit image must not change (measured by benchmarks/families.py).
    auto_dtypes: ClassVar[tuple[str, ...]] = ()
    resampling: ClassVar[str] = "bilinear"  # how the authors resize depth: or "bicubic"
    options_type: ClassVar[type | None] = None  # the class of `estimate`'s `options`; None = the family has none
    max_depth: ClassVar[float | None] = None  # the authors' upper clamp, in metres; None = no clamp
    undoes_stretching: ClassVar[bool] = False  # whether `postprocess` restores the image's aspect where the network's input has another
    network_class: ClassVar[type[PublishedNetwork]]  # made of the spec's `config`, unless `network_of` or `build` is overridden
    tensors: ClassVar[str] = ""  # regular expression found in a tensor's name, the authors' or the network's own, of each file
    no_graph: ClassVar[str | None] = None  # why the network cannot be exported as one function of one tensor; None = it can

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.train(False).requires_grad_(False)  # only the loader moves it between devices

    # From files to a network

    @classmethod
    def network_of(cls, spec: ModelSpec) -> Any:
        """The bare network of a spec, a `published.PublishedNetwork`; `build` calls this under torch's meta device."""
        return cls.network_class(spec.config)

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> Any:
        """Builds the network on the CPU, strictly, from unwrapped state dicts by their files' roles; by default one file for `network_of`.

        Raises:
            CheckpointError: The tensors do not fit this architecture; the message names the first mismatch.
        """
        network = build_published(lambda: cls.network_of(spec), states[spec.file.role], dtype, f"not a checkpoint of {spec.id}")
        return cls(spec, network)

    @classmethod
    def could_be(cls, spec: ModelSpec, names: Collection[str]) -> bool:
        """Whether tensors of these names may be `spec`'s. Must be fast and import no library."""
        return any(re.search(cls.tensors, name) for name in names)

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        """Checks the file of `spec`'s network by its tensors on torch's meta device; raises as `build`.

        Override it if `build` needs more than names and shapes.
        """
        cls.build(spec, {spec.file.role: state}, torch.float32)

    @classmethod
    def name_contradicts(cls, spec: ModelSpec, path: str) -> str | None:
        """A sentence if a file's name, or for generic names the nearest folder's that says anything, contradicts `spec`; else None."""
        expected = cls.claims(spec.file.name) or cls.claims((spec.file.repo_id or "").rsplit("/", 1)[-1])
        parts = PurePath(path.replace("\\", "/")).parts[: -TELLING_PARTS - 1 : -1]
        claimed = next((claims for part in parts if (claims := cls.claims(part))), {})
        wrong = [f"{claimed[kind]} instead of {expected[kind]}" for kind in claimed if claimed[kind] != expected.get(kind, claimed[kind])]
        if not wrong:
            return None
        return (
            f"the file's name says {' and '.join(wrong)}: the tensors of {spec.id} have the same names and shapes, so it loads, "
            f"but the result is wrong unless the file was misnamed; name the model that the file is of: {path}"
        )

    @classmethod
    def claims(cls, name: str) -> Mapping[str, str]:
        """What a file's or folder's name says of the model inside, by aspect, where models share names and shapes of tensors."""
        return {}

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """Imports the libraries that the family needs beyond torch, before any download.

        Raises:
            ImportError: One is missing or broken; the message says how to fix it.
        """

    # From images to an estimate

    def reduced_size(self, height: int, width: int, size: int) -> Size | None:
        """The size to which larger images may first be reduced by area average without changing the maps beyond rounding; None = none.

        Not for a known field of view: pixels of the reduced images need not be square. `size` is as in `Request`.
        """
        return None

    def preprocess(self, size: int) -> Steps:
        """The steps to the network's input, before the `signature`'s normalisation; by default the spec's `resizing` to `Request.size`."""
        resizing = self.spec.resizing
        return (Resize(resizing.rule(size, self.spec.multiple_of), resizing.resample),)

    def scalar_inputs(self, request: Request) -> tuple[Any, ...]:
        """The values of `Signature.scalar_inputs`, then what else `predict` takes by torch, such as a callback after each pass."""
        return ()

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The outputs that the `signature` names, in order, before any cast to float32. Exporters trace this method.

        Args:
            inputs: (B, 3, h, w), resized and normalised, in the network's dtype.
            scalar_inputs: Values of `Signature.scalar_inputs`: numbers or 0-dimensional tensors.
        """
        return (self.network(inputs),)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """Turns outputs into a raw float32 estimate; by default takes them by their names in the `signature`."""
        maps = {name: output.float().contiguous() for name, output in zip(self.signature().outputs, outputs, strict=True)}
        quantity = self.spec.quantity
        depth = None if quantity is None else maps[quantity.value]
        return Estimate(depth, quantity, normals=maps.get("normals"), axes=self.spec.axes or Axes.OPENGL, confidence=maps.get("confidence"))

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """Adapts an estimate to a known camera, by intrinsics (B, 3, 3) at its size. By default only records the camera."""
        return replace(estimate, intrinsics=intrinsics)

    # Declarations

    def signature(self) -> Signature:
        """The network's inputs and outputs, for exporters and engines."""
        return Signature.of(self.spec)

    def for_export(self) -> Any:
        """The annotator to export: its graph must return the same maps as the pack. By default this one."""
        return self

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        """`no_graph`, unless it depends on the spec."""
        return cls.no_graph

    @classmethod
    def sees_scenes(cls, spec: ModelSpec) -> bool:
        """Whether it can process a batch as views of one scene: see `Annotator.estimate_scene`."""
        return False
