"""A network that several models share, in the dtype that all of them run it in."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..annotators.base import Annotator
from . import host

logger = logging.getLogger(__name__)

Variation = Callable[[Annotator], Annotator]

Size = tuple[int, int, int, int]
"""Height and width of the images, and of the network's input."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network as it was read from its file.

    Attributes:
        annotator: The network with what its family does before and after it.
        dtype: What it computes in.
        placement: Brings it to its device.
        fitted: How many images of a size run at once since the memory could not hold more.
    """

    annotator: Annotator
    dtype: torch.dtype
    placement: host.Placement
    fitted: dict[Size, int] = field(default_factory=dict)


class SharedWeights:
    """A network that falls back to float32 where half precision is too small for its numbers: once, for all who share it.

    Attributes:
        device: Where it runs as long as there is room.
        loaded: The network as it is now.
    """

    def __init__(
        self, annotator: Annotator, dtype: torch.dtype, device: torch.device, rebuild: Callable[[torch.dtype], Annotator] | None
    ) -> None:
        """`rebuild` reads the file anew in a dtype; None = there is no other dtype to be had."""
        self.device = device
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self.loaded = self._placed(annotator, dtype)

    def can_fall_back(self, failed: LoadedNetwork) -> bool:
        """Whether there is a dtype of a wider range than the one in which a network failed."""
        return self._rebuild is not None and failed.dtype != torch.float32

    def fall_back(self, failed: LoadedNetwork, reason: Exception) -> None:
        """Reads the network in float32 in place of the half precision in which it failed, unless another thread has done so.

        Args:
            failed: What `loaded` was when it was run.
            reason: Why it failed, for the log.
        """
        with self._lock:
            if self._rebuild is None or self.loaded is not failed:
                return
            logger.warning("%s. Computed again in float32, as is all that follows", reason)
            failed.placement.unload()
            self.loaded = self._placed(self._rebuild(torch.float32), torch.float32)

    def _placed(self, annotator: Annotator, dtype: torch.dtype) -> LoadedNetwork:
        engine = annotator.engine
        if engine is None:
            host.make_interruptible(annotator.network)  # before it is traced or compiled it must not be
        return LoadedNetwork(annotator, dtype, host.Placement(getattr(engine, "placed", annotator.network), self.device))


@dataclass(frozen=True)
class RunnableNetwork:
    """A network as one model runs it.

    Attributes:
        loaded: The shared network that it was made of.
        annotator: With the model's variations.
        placement: Brings its network to the device.
    """

    loaded: LoadedNetwork
    annotator: Annotator
    placement: host.Placement


class NetworkVariant:
    """A variant of a shared network: resized in another way, with a copy for a thread of its own. It follows where the others fall back."""

    def __init__(self, shared: SharedWeights, variations: tuple[Variation, ...] = ()) -> None:
        self._shared = shared
        self._variations = variations
        self._network = self._made()

    def now(self) -> RunnableNetwork:
        """The network to run: another one after a fall-back."""
        if self._network.loaded is not self._shared.loaded:
            self._network = self._made()
        return self._network

    def varied(self, variation: Variation) -> NetworkVariant:
        """This one with one more variation."""
        return NetworkVariant(self._shared, (*self._variations, variation))

    def _made(self) -> RunnableNetwork:
        loaded = self._shared.loaded
        annotator = loaded.annotator
        for variation in self._variations:
            annotator = variation(annotator)
        is_own = annotator.network is not loaded.annotator.network
        placement = host.Placement(annotator.network, self._shared.device) if is_own else loaded.placement
        return RunnableNetwork(loaded, annotator, placement)


def with_own_network(annotator: Annotator) -> Annotator:
    """The same annotator with a network of its own that has the same weights: libraries' networks cache what belongs to one image."""
    network = annotator.network
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    other = copy.copy(annotator)
    other.network = copy.deepcopy(network, shared)
    return other
