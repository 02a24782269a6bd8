"""The interface of a model family: from files to a network, and from images to an estimate.

A new family reads like its paper. It derives from `base.Annotator`, which runs it, and writes what differs from the defaults of `Family`:
`network_of` (or `build`), `could_be`, `preprocess`, `predict`, `postprocess`, and `for_camera` where depth depends on the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..geometry.estimate import Axes, Estimate
from .building import build_published
from .graphs import Signature
from .networks.published import StateDict
from .preprocessing.resizing import Size
from .preprocessing.steps import Resize, Steps
from .specs.base import ModelSpec

Progress = Callable[[int, int], None]
"""Called with (passes done, passes in all)."""


def progress_of_part(progress: Progress | None, start: int, stop: int, total: int) -> Progress | None:
    """Reports the progress of one part of a job as progress of the whole job.

    Args:
        progress: Called with (work done, work in all) of the whole job; None = nobody.
        start, stop: Which of `total` units of the job the part is; `stop` is not included.
        total: Units of the whole job.
    """
    if progress is None:
        return None
    return lambda done, parts: progress(start * parts + done * (stop - start), total * parts)


@dataclass(frozen=True)
class Request:
    """The inputs of one call.

    Attributes:
        images: (B, 3, H, W) float32 RGB in [0, 1], on the network's device.
        size: What the family resizes by; see `ModelSpec.default_size`.
        fov: Degrees that the longer side of the images spans; 0 = not known.
        options: Of the family's `options_type`; None = it has no options.
        progress: For families that take several passes for one image.
        normals: Whether normals are of use; a family that gives depth too may leave them out where they are not.
        sharp: Whether a family that can shall make depth follow the images' edges; frame by frame of a video, edges would flicker.
    """

    images: Tensor
    size: int
    fov: float = 0.0
    options: Any = None
    progress: Progress | None = None
    normals: bool = True
    sharp: bool = False

    @property
    def image_size(self) -> Size:
        """Height and width of the images."""
        return self.images.shape[-2], self.images.shape[-1]


class Family:
    """A network with the pre- and post-processing of its authors. All but `network_of` (or `build`) have a default.

    Attributes:
        spec: The model's entry in the table of models.
        network: The bare network, an `nn.Module` in eval mode without gradients. Only the loader moves it between devices.
        bytes_per_pixel: Working memory per pixel of the network's input, in float32, as measured.
        needs_by_size: Whether the network takes that much at every `network_size`; else it may take much less.
        auto_dtypes: Dtypes that "auto" may choose on devices that are fast in them, by the names of DTYPE_CHOICES, best first. In these the
            resulting image stays the same (benchmarks/families.py measures it). float32 is always the last choice.
        resampling: How its depth is resampled to another size, "bilinear" or "bicubic", as its authors do.
        options_type: The class of the `options` that `estimate` takes; None = the family has none.
        max_depth: Metres at which the authors clamp; None = they do not.
        undoes_stretching: Whether `postprocess` gives maps of the image's aspect even where the network's input has another.
    """

    bytes_per_pixel: ClassVar[int] = 2000
    needs_by_size: ClassVar[bool] = True
    auto_dtypes: ClassVar[tuple[str, ...]] = ()
    resampling: ClassVar[str] = "bilinear"
    options_type: ClassVar[type | None] = None
    max_depth: ClassVar[float | None] = None
    undoes_stretching: ClassVar[bool] = False

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.train(False).requires_grad_(False)

    # From files to a network

    @classmethod
    def network_of(cls, spec: ModelSpec) -> Any:
        """The bare network of a spec, a `published.PublishedNetwork`; for `build`, which calls it with torch's meta device."""
        raise NotImplementedError(f"{cls.__name__} has neither network_of nor build")

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> Any:
        """Builds the network from its checkpoints, strictly, on the CPU. By default from one file, by `network_of`.

        Args:
            states: State dict by the role of its file ("network" first of all), as read from disk, unwrapped.
            dtype: What the network computes in.

        Raises:
            CheckpointError: The tensors are not those of this architecture; the message names the first that differ.
        """
        network = build_published(lambda: cls.network_of(spec), states[spec.file.role], dtype, f"not a checkpoint of {spec.id}")
        return cls(spec, network)

    @classmethod
    def could_be(cls, spec: ModelSpec, names: Collection[str]) -> bool:
        """True if tensors of these names may be `spec`'s. It returns at once and imports no library."""
        return True

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        """Refuses what is not the file of `spec`'s network, by the names and shapes of its tensors alone.

        A family whose `build` needs more than that overrides it.

        Args:
            state: As `build`'s for the role of the network, on torch's meta device.

        Raises:
            CheckpointError: As `build`.
        """
        cls.build(spec, {spec.file.role: state}, torch.float32)

    @classmethod
    def name_contradicts(cls, spec: ModelSpec, path: str) -> str | None:
        """A warning where a file's name contradicts `spec`; for families whose models have tensors of the same names and shapes.

        Args:
            spec: The model that the file is to be loaded as.
            path: The file's name or path.

        Returns:
            A sentence; None where the name contradicts nothing.
        """
        return None

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """Imports the libraries that the family needs beyond torch, before anything is downloaded.

        Raises:
            ImportError: One is absent or broken; the message says how to fix it.
        """
        return

    # From images to an estimate

    def reduced_size(self, height: int, width: int, size: int) -> Size | None:
        """The size to which images of height x width may be averaged by area first: the maps are the same up to rounding. None = no such.

        Not for a known field of view: the pixels of reduced images need not be square.

        Args:
            size: As `Request.size`.
        """
        return None

    def preprocess(self, size: int) -> Steps:
        """The steps from an image to the network's input; normalisation follows by the `signature`.

        Args:
            size: As `Request.size`; by default the height of the frame of the spec's `resizing`.
        """
        resizing = self.spec.resizing
        return (Resize(resizing.rule(size, self.spec.multiple_of), resizing.resample),)

    def scalar_inputs(self, request: Request) -> tuple[float, ...]:
        """The network's inputs beside the images: values of `Signature.scalar_inputs`."""
        return ()

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The network's outputs, before any cast to float32. This is what exporters trace.

        Args:
            inputs: (B, 3, h, w), resized and normalised, in the network's dtype.
            scalar_inputs: Of `Signature.scalar_inputs`; numbers, or tensors without axes.

        Returns:
            The outputs that the `signature` names, in order.
        """
        return (self.network(inputs),)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """The raw estimate, float32, that outputs of the network stand for; by default, the outputs under the names of the `signature`."""
        maps = {name: output.float().contiguous() for name, output in zip(self.signature().outputs, outputs, strict=True)}
        quantity = self.spec.quantity
        depth = None if quantity is None else maps[quantity.value]
        return Estimate(depth, quantity, normals=maps.get("normals"), axes=self.spec.axes or Axes.OPENGL, confidence=maps.get("confidence"))

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """The estimate for a known camera. By default the maps stay as they are, and the camera is noted.

        Args:
            estimate: As `postprocess` returned it.
            intrinsics: (B, 3, 3), in pixels of the estimate's size.
        """
        return replace(estimate, intrinsics=intrinsics)

    # Declarations

    def signature(self) -> Signature:
        """Inputs and outputs of the network as exporters and engines need them."""
        return Signature.of(self.spec)

    def for_export(self) -> Any:
        """The annotator that an exported file stands for: one whose graph gives what the pack gives of images. By default this one."""
        return self

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        """The reason, in words, why the network is not one function of one tensor; None if it is."""
        return None

    @classmethod
    def sees_scenes(cls, spec: ModelSpec) -> bool:
        """True if it can process several images in one batch as views of one scene: see `Annotator.estimate_scene`."""
        return False
