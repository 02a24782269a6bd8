"""A model's network as read from its files, shared by all that run it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...annotators.base import Annotator
from ..comfy import interrupt
from ..comfy.placement import Placement

logger = logging.getLogger(__name__)

Sizes = tuple[int, int, int, int]
"""Height and width of the images, and of the network's input."""


@dataclass(frozen=True)
class LoadedNetwork:
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


class Weights:
    """A network that falls back to float32 where half precision overflows: once, for all who share it.

    Attributes:
        spec: Its entry in the table of models.
        path: The file that the network was read from.
        device: Where it runs as long as it fits there.
        loaded: The network in its current dtype.
    """

    def __init__(
        self,
        annotator: Annotator,
        dtype: torch.dtype,
        device: torch.device,
        path: Path,
        rebuild: Callable[[torch.dtype], Annotator] | None = None,
    ) -> None:
        """Takes a network that was just read.

        Args:
            annotator: The network, on the CPU.
            dtype: What it computes in.
            device: Where it is to run.
            path: The file that it was read from.
            rebuild: Reads the files again in another dtype; None = there is no fall-back.
        """
        self.spec = annotator.spec
        self.path = path
        self.device = device
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self.loaded = self._placed(annotator, dtype)

    def can_fall_back(self, failed: LoadedNetwork) -> bool:
        """Whether there is a dtype of a wider range than that of a network that failed."""
        return self._rebuild is not None and failed.dtype != torch.float32

    def fall_back(self, failed: LoadedNetwork, reason: Exception) -> None:
        """Replaces a network that overflowed by one in float32, unless another thread has done so.

        Args:
            failed: The network that overflowed.
            reason: The error, for the log.
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
            interrupt.make_interruptible(annotator.network)  # not before it is traced or compiled
        return LoadedNetwork(annotator, dtype, Placement(getattr(engine, "placed", annotator.network), self.device))
