"""A loaded network, shared by all models of the same files: its device, batches, dtype and variations."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.choices import wording
from ...annotators.family import Progress, progress_of_part
from ...utils import images_to_rgb
from ..comfy import devices, feedback
from ..comfy.placement import Placement
from .memory_budget import (
    IMAGES_TO_MAKE_ROOM_FOR,
    check_network_fits,
    images_that_fit,
    in_batches,
    is_batch_too_large,
    without_traceback,
    working_bytes,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Variation = Callable[[Annotator], Annotator]
Images = Tensor | np.ndarray
"""A batch as `check_images` returns it: a tensor (B, C, H, W) or an array (B, H, W, C)."""

Sizes = tuple[int, int, int, int]
"""Height and width of the images, and of the network's input."""


@dataclass(frozen=True)
class InDtype:
    """A loaded network in one dtype; replaced as a whole by a fallback to float32."""

    annotator: Annotator  # the network with its family's pre- and postprocessing
    dtype: torch.dtype  # to compute in
    placement: Placement  # brings it to its device
    varies: InDtype | None = None  # the network that it is a variation of; None = it is the one in the files
    batch_limits: dict[Sizes, int] = field(default_factory=dict)  # per image size, after memory ran out; shared by all variations


@dataclass(frozen=True)
class Prepared:
    """A network on its device, with memory for images of one size."""

    network: InDtype
    device: torch.device
    height: int  # and `width`: of the network's input
    width: int
    fits: int  # number of images that fit in one batch, at least 1

    def halved(self, problem: Exception, size: int, divisible: bool = True) -> int:
        """The next batch size, half of one that ran out of memory, and logs it.

        Raises:
            MemoryError: The batch is a single image, or indivisible views of one scene.
        """
        devices.empty_cache()
        model, words = self.network.annotator.spec.id, wording()
        where = f"at {self.width}x{self.height}"
        if size == 1:
            advice = f"{words.lower_size}{words.where_size}, or free other models"
            raise MemoryError(f"{model} {where} does not fit in the memory of {self.device}: {advice}") from problem
        if not divisible:
            raise MemoryError(
                f"{size} views of one scene, which {model} processes in one batch, do not fit in the memory of {self.device} {where} each: "
                f"give fewer views, {words.lower_size}, or free other models"
            ) from problem
        logger.warning("out of memory: continuing with batches of %d: %s %s on %s", size // 2, model, where, self.device)
        return size // 2


class LoadedNetwork:
    """A network that moves to its device, splits batches that do not fit, and falls back to float32 where half precision overflows.

    Models of the same files share one, including its fallback. Variations (another resizing, a copy for another thread) share its weights.

    Args:
        annotator: The network, on the CPU.
        dtype: The dtype to compute in.
        device: The device to run on, if the network fits there.
        path: The file that it was read from.
        rebuild: Reads the files again in another dtype; None = no fallback.
    """

    def __init__(
        self,
        annotator: Annotator,
        dtype: torch.dtype,
        device: torch.device,
        path: Path,
        rebuild: Callable[[torch.dtype], Annotator] | None = None,
    ) -> None:
        self.spec = annotator.spec
        self.path = path
        self.device = device
        self.variations: tuple[Variation, ...] = ()  # turn an annotator into a variant that shares its weights
        self._shared: LoadedNetwork | None = None  # not `self`: a cycle would keep the weights until garbage collection
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self._current = InDtype(annotator, dtype, self._placement(annotator))

    @property
    def shared(self) -> LoadedNetwork:
        """The network in the files; itself unless it is a variation."""
        return self._shared or self

    @property
    def current(self) -> InDtype:
        """The network to run; replaced after a fallback."""
        if self._shared is None:
            return self._current
        with self._lock:
            if self._current.varies is not self._shared.current:
                self._current = self._varied(self._shared.current)
            return self._current

    @property
    def annotator(self) -> Annotator:
        """The annotator to run; replaced after a fallback."""
        return self.current.annotator

    @property
    def dtype(self) -> torch.dtype:
        """The dtype to compute in."""
        return self.shared.current.dtype

    def varied(self, variation: Variation) -> LoadedNetwork:
        """A copy with one more variation."""
        other = copy.copy(self)
        other._shared, other._lock = self.shared, threading.Lock()
        other.variations = (*self.variations, variation)
        other._current = other._varied(self.shared.current)
        return other

    def for_another_thread(self) -> LoadedNetwork:
        """This network for a second thread: itself if threads may share it, else a copy with its own module objects."""
        annotator = self.annotator
        return self if annotator.shareable or annotator.engine is not None else self.varied(_with_own_object)

    def run(self, call: Callable[[InDtype], T]) -> T:
        """Calls with the current network, and again in float32 if half precision overflows and there is a fallback."""
        network = self.current
        try:
            return call(network)
        except ArithmeticError as error:
            if not self._can_fall_back(network, error):
                raise
            problem = without_traceback(error)
        self._fall_back(network, problem)
        return self.run(call)

    def batches(
        self, method: str, images: Images, size: int | None, progress: Progress | None = None, divisible: bool = True, **arguments: Any
    ) -> Iterator[Any]:
        """Yields the results of an annotator's method on a batch. Falls back to float32 on overflow and to smaller parts on lack of memory.

        ComfyUI's user can interrupt between parts.

        Args:
            method: "estimate", "estimate_scene" or "estimate_materials".
            images: The batch; each part is converted to float32 RGB on the device separately.
            size: As `InferenceOptions.size`.
            progress: Called with (work done, total work), in images or a family's passes over them.
            divisible: Whether the batch may be split.
            arguments: The method's others.

        Raises:
            MemoryError: A part that cannot be split does not fit.
            ArithmeticError: The network's outputs are NaN or infinite, in float32 too.
        """
        total, height, width = batch_shape(images)
        room_for = min(total, IMAGES_TO_MAKE_ROOM_FOR) if divisible else total
        prepared = self.prepare(self.current, height, width, size, room_for)
        sizes = (height, width, prepared.height, prepared.width)

        def part(start: int, stop: int) -> Any:
            nonlocal prepared
            if prepared.network is not (current := self.current):  # after a fall-back
                prepared = self.prepare(current, height, width, size, room_for)
            passes = progress_of_part(progress, start, stop, total)
            with torch.no_grad():
                rgb = rgb_on_device(images[start:stop], prepared.device)
                return getattr(current.annotator, method)(rgb, size, progress=passes, **arguments)

        def can_mend(error: Exception) -> bool:
            return self._can_fall_back(prepared.network, error) or is_batch_too_large(error)

        def mend(problem: Exception, count: int) -> int:
            if isinstance(problem, ArithmeticError):
                self._fall_back(prepared.network, problem)
                return count
            limits = prepared.network.batch_limits
            limits[sizes] = prepared.halved(problem, count, divisible)
            return limits[sizes]

        at_once = min(total, prepared.fits, prepared.network.batch_limits.get(sizes, total)) if divisible else total
        yield from in_batches(part, total, at_once, mend, can_mend, progress)

    def prepare(
        self, network: InDtype, height: int, width: int, size: int | None, images: int, extra_bytes: Callable[[int, int], int] | None = None
    ) -> Prepared:
        """Brings the network to its device and frees memory for a run.

        Args:
            network: The current one.
            height, width, size: Of the images, and as `InferenceOptions.size`.
            images: Number of images to free memory for.
            extra_bytes: Additional bytes per batch, from height and width of the network's input.

        Raises:
            ValueError: The network's input would be too large for any machine.
            MemoryError: One image certainly does not fit, or the weights do not (`WeightsTooLargeError`).
        """
        annotator = network.annotator
        net_height, net_width = annotator.checked_network_size(height, width, size)
        check_network_fits(annotator, self.device, height, width, size, half=network.dtype != torch.float32)
        each = working_bytes(annotator, (height, width), (net_height, net_width))
        extra = extra_bytes(net_height, net_width) if extra_bytes is not None else 0
        device = network.placement.ready(extra + each * images)
        feedback.show_message(f"running {annotator.spec.id}")
        return Prepared(network, device, net_height, net_width, images_that_fit(devices.available_memory(device) - extra, each))

    def unload(self) -> None:
        """Removes the network from its device; the next run brings it back."""
        current = self.current
        current.batch_limits.clear()
        current.placement.unload()

    def _can_fall_back(self, failed: InDtype, error: Exception) -> bool:
        """Whether a network overflowed that can be rebuilt in float32."""
        return isinstance(error, ArithmeticError) and self._rebuild is not None and failed.dtype != torch.float32

    def _fall_back(self, failed: InDtype, reason: Exception) -> None:
        """Replaces an overflowed network by its float32 version for all that share it, unless another thread has; logs `reason`."""
        shared, failed = self.shared, failed.varies or failed
        with shared._lock:
            if shared._rebuild is None or shared._current is not failed:
                return
            logger.warning("computed again in float32, as is all that follows: %s", reason)
            failed.placement.unload()
            annotator = shared._rebuild(torch.float32)
            shared._current = InDtype(annotator, torch.float32, self._placement(annotator))

    def _varied(self, of: InDtype) -> InDtype:
        annotator = of.annotator
        for variation in self.variations:
            annotator = variation(annotator)
        placement = of.placement if annotator.network is of.annotator.network else self._placement(annotator)
        return InDtype(annotator, of.dtype, placement, of, of.batch_limits)

    def _placement(self, annotator: Annotator) -> Placement:
        return Placement(getattr(annotator.engine, "placed", annotator.network), self.device, self.spec.id)


@dataclass(frozen=True)
class WithSetting:
    """The variation by an annotator's method `with_...`; equal to others with the same method and value."""

    method: str
    value: Any

    def __call__(self, annotator: Annotator) -> Annotator:
        """Applies the setting."""
        return getattr(annotator, self.method)(self.value)


def _with_own_object(annotator: Annotator) -> Annotator:
    """A copy whose network is a new module object with the same weights.

    Networks of transformers and diffusers cache per-image state, so threads must not share one object.
    """
    network = annotator.network
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    other = copy.copy(annotator)
    other.network = copy.deepcopy(network, shared)
    return other


def batch_shape(images: Images) -> tuple[int, int, int]:
    """Number, height and width of the images."""
    height, width = images.shape[-2:] if isinstance(images, Tensor) else images.shape[1:3]
    return images.shape[0], height, width


def rgb_on_device(images: Images, device: torch.device) -> Tensor:
    """Images as inputs of the preprocessing: (B, 3, H, W) float32 in [0, 1], on the network's device."""
    # Copies from pinned memory run asynchronously.
    moved = images.to(device, torch.float32, non_blocking=device.type == "cuda") if isinstance(images, Tensor) else images
    return images_to_rgb(moved).to(device)
