"""The network of a model, from what all models of the same files share to what runs on images of one size.

    SharedNetwork    the network that the files hold, for all models made of them; falls back to float32 once for all
    NetworkInDtype   the same in one dtype; another one after the fall-back
    NetworkVariant   the same with the variations of one model (another resizing, an object for another thread)
    PreparedNetwork  the same on its device, for images of one size

A `ModelNetwork` is what a model holds: the shared network and its own variations, of which it gives the variant to run now.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ...annotators.base import Annotator
from ..comfy import devices, feedback, interrupt
from ..comfy.placement import Placement
from .memory_budget import check_network_fits, images_that_fit, too_large, without_traceback, working_bytes

logger = logging.getLogger(__name__)

T = TypeVar("T")
Variation = Callable[[Annotator], Annotator]

Sizes = tuple[int, int, int, int]
"""Height and width of the images, and of the network's input."""


@dataclass(frozen=True)
class NetworkInDtype:
    """A network in one dtype.

    Attributes:
        annotator: The network with its family's pre- and postprocessing.
        dtype: What it computes in.
        placement: Brings it to its device.
        batch_limits: How many images of a size fit in one batch, where memory was found to be short.
    """

    annotator: Annotator
    dtype: torch.dtype
    placement: Placement
    batch_limits: dict[Sizes, int] = field(default_factory=dict)


class SharedNetwork:
    """A network that falls back to float32 where half precision overflows: once, for all who share it.

    Args:
        annotator: The network, on the CPU.
        dtype: What it computes in.
        device: Where it runs as long as it fits there.
        path: The file that it was read from.
        rebuild: Reads the files again in another dtype; None = there is no fall-back.

    Attributes:
        spec: Its entry in the table of models.
        in_dtype: The network in its current dtype.
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
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self.in_dtype = self._placed(annotator, dtype)

    def can_fall_back(self, failed: NetworkInDtype) -> bool:
        """True if there is a dtype of a wider range than that of a network that failed."""
        return self._rebuild is not None and failed.dtype != torch.float32

    def fall_back(self, failed: NetworkInDtype, reason: Exception) -> None:
        """Replaces a network that overflowed by one in float32, unless another thread has done so; `reason` is logged."""
        with self._lock:
            if self._rebuild is None or self.in_dtype is not failed:
                return
            logger.warning("%s. Computed again in float32, as is all that follows", reason)
            failed.placement.unload()
            self.in_dtype = self._placed(self._rebuild(torch.float32), torch.float32)

    def _placed(self, annotator: Annotator, dtype: torch.dtype) -> NetworkInDtype:
        engine = annotator.engine
        if engine is None:
            interrupt.make_interruptible(annotator.network)  # not before it is traced or compiled
        return NetworkInDtype(annotator, dtype, Placement(getattr(engine, "placed", annotator.network), self.device, self.spec.id))


@dataclass(frozen=True)
class NetworkVariant:
    """A network in one dtype, with the variations of one model.

    Attributes:
        in_dtype: What it was made of.
        annotator: The network with its family's pre- and postprocessing.
        placement: Brings its network to the device.
        device: Where it runs as long as it fits there.
    """

    in_dtype: NetworkInDtype
    annotator: Annotator
    placement: Placement
    device: torch.device

    def prepare(
        self,
        height: int,
        width: int,
        size: int | None,
        images: int,
        extra_bytes: Callable[[int, int], int] | None = None,
    ) -> PreparedNetwork:
        """Brings the network to its device, with memory for a run.

        Args:
            height: Of the images.
            width: Of the images.
            size: As `InferenceOptions.size`.
            images: The number of images that memory is made free for.
            extra_bytes: Further bytes of a batch, for a height and width of the network's input.

        Raises:
            ValueError: The network's input would be larger than any machine holds.
            MemoryError: One image certainly does not fit, or the weights do not (`WeightsTooLargeError`).
        """
        annotator = self.annotator
        net_height, net_width = annotator.checked_network_size(height, width, size)
        check_network_fits(annotator, self.device, height, width, size, half=self.in_dtype.dtype != torch.float32)
        each = working_bytes(annotator, (height, width), (net_height, net_width))
        extra = extra_bytes(net_height, net_width) if extra_bytes is not None else 0
        device = self.placement.ready(extra + each * images)
        feedback.show_message(f"running {annotator.spec.id}")
        return PreparedNetwork(self, device, net_height, net_width, images_that_fit(devices.available_memory(device) - extra, each))


@dataclass(frozen=True)
class PreparedNetwork:
    """A network on its device, ready for images of one size.

    Attributes:
        network: What is ready.
        device: Where it is.
        height: Of the network's input.
        width: Of the network's input.
        fits: How many images fit in one batch, at least 1.
    """

    network: NetworkVariant
    device: torch.device
    height: int
    width: int
    fits: int

    def __str__(self) -> str:
        return f"{self.network.annotator.spec.id} at {self.width}x{self.height} on {self.device}"

    def too_large(self, views: int = 1) -> str:
        """The message where a batch that cannot be divided does not fit: one image, or so many views of one scene."""
        return too_large(self.network.annotator.spec, self.height, self.width, self.device, views)


class ModelNetwork:
    """A shared network with the variations of one model; after a fall-back to float32, the one in float32.

    Args:
        shared: The network that it shares.
        variations: Each makes a variant of an annotator that shares its weights: another resizing, a network for another thread.
    """

    def __init__(self, shared: SharedNetwork, variations: tuple[Variation, ...] = ()) -> None:
        self.shared = shared
        self.variations = variations
        self._lock = threading.Lock()
        self._current = self._varied(shared.in_dtype)

    @property
    def current(self) -> NetworkVariant:
        """The network to run; another one after a fall-back."""
        with self._lock:
            if self._current.in_dtype is not self.shared.in_dtype:
                self._current = self._varied(self.shared.in_dtype)
            return self._current

    @property
    def annotator(self) -> Annotator:
        """The annotator to run; another one after a fall-back."""
        return self.current.annotator

    def run(self, call: Callable[[NetworkVariant], T]) -> T:
        """Calls with the current network, and again in float32 where half precision overflows.

        Raises:
            ArithmeticError: float32 overflows too, or cannot be had.
        """
        while True:
            network = self.current
            try:
                return call(network)
            except ArithmeticError as error:
                if not self.shared.can_fall_back(network.in_dtype):
                    raise
                problem = without_traceback(error)
            self.shared.fall_back(network.in_dtype, problem)

    def _varied(self, in_dtype: NetworkInDtype) -> NetworkVariant:
        annotator = in_dtype.annotator
        for variation in self.variations:
            annotator = variation(annotator)
        device, is_own = self.shared.device, annotator.network is not in_dtype.annotator.network
        placement = Placement(annotator.network, device, annotator.spec.id) if is_own else in_dtype.placement
        return NetworkVariant(in_dtype, annotator, placement, device)


@dataclass(frozen=True)
class WithSetting:
    """The variation by one of an annotator's methods `with_...`; equal to another one with an equal value.

    Attributes:
        method: Name of the method.
        value: Its argument.
    """

    method: str
    value: Any

    def __call__(self, annotator: Annotator) -> Annotator:
        """The annotator with the setting."""
        return getattr(annotator, self.method)(self.value)


def with_own_network(annotator: Annotator) -> Annotator:
    """The same annotator with a network object of its own, for another thread, that shares all weights.

    Libraries' networks cache what belongs to one image, so one object is not safe in two threads.
    """
    network = annotator.network
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    other = copy.copy(annotator)
    other.network = copy.deepcopy(network, shared)
    return other
