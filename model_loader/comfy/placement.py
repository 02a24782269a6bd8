"""Places networks on their devices with ComfyUI's memory manager."""

from __future__ import annotations

import logging
import sys
from typing import Any

import torch
from torch import nn

from ...annotators.base import is_out_of_memory
from ...annotators.choices import wording
from ...annotators.specs.base import size_in_words
from . import devices
from .interrupt import undisturbed

logger = logging.getLogger(__name__)


class WeightsTooLargeError(MemoryError):
    """A model's weights do not fit on its device, so no image can be estimated there."""


class Placement:
    """Moves a network to its device, inside ComfyUI through its memory manager.

    Inside ComfyUI, a network that does not fit on the device runs on the CPU: the graph waits for it. Outside, that is an error: a folder
    or a video would take many times as long as expected, and results would depend on free memory. `name` is the network's in messages.
    """

    def __init__(self, network: nn.Module, device: torch.device, name: str) -> None:
        self._network = network
        self._device = device
        self._name = name
        self._patcher: Any = None
        if (manager := devices.memory_manager()) is not None:
            patchers = sys.modules["comfy.model_patcher"]
            # read at call time: ComfyUI rebinds it at start-up
            patcher_class = getattr(patchers, "CoreModelPatcher", patchers.ModelPatcher)
            # Wrapped, because the manager sets attributes on the module, such as `device`, which transformers' models refuse.
            managed = nn.ModuleList([network])
            self._patcher = patcher_class(managed, load_device=device, offload_device=manager.unet_offload_device())

    def ready(self, working_bytes: int) -> torch.device:
        """Brings the network to its device, with free memory for a forward pass, and returns its actual device.

        Raises:
            WeightsTooLargeError: The weights do not fit on the device; only outside ComfyUI.
        """
        if self._patcher is None:
            if not self._move_to(self._device):
                raise WeightsTooLargeError(self._too_large())
            return self._device
        manager = devices.memory_manager()
        assert manager is not None
        with undisturbed():  # an interruption would leave ComfyUI's records inconsistent
            manager.load_models_gpu([self._patcher], memory_required=working_bytes, force_full_load=True)
        # ComfyUI leaves weights of plain torch modules in place under memory pressure and with --novram
        if self._move_to(target := self._patcher.load_device):
            return target
        logger.warning("%s does not fit on %s: running on the CPU", self._name, target)
        return torch.device("cpu")

    def _move_to(self, target: torch.device) -> bool:
        """Moves the network and returns whether it fits; if not, all of it is on the CPU."""
        if self._is_at(target):
            return True
        try:
            self._network.to(target)
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._network.to("cpu")  # parts of it may have moved
        devices.empty_cache()
        return False

    def _is_at(self, target: torch.device) -> bool:
        """Whether all weights are there. Even a no-op `.to` would take milliseconds."""
        places = {tensor.device for tensor in (*self._network.parameters(), *self._network.buffers())}
        return len(places) == 1 and all(at.type == target.type and target.index in (None, at.index) for at in places)

    def _too_large(self) -> str:
        tensors = {id(each): each for each in (*self._network.parameters(), *self._network.buffers())}.values()
        size = size_in_words(sum(each.numel() * each.element_size() for each in tensors))
        free = f", and {size_in_words(devices.available_memory(self._device))} are free" if self._device.type == "cuda" else ""
        return (
            f"{self._name} does not fit in the memory of {self._device}: its weights take {size}{free}; "
            f"choose a smaller model, {wording().use_cpu}, free other models, or close other programs that use the GPU"
        )

    def unload(self) -> None:
        """Removes the network from its device and from ComfyUI's list of loaded models; `ready` reverts both."""
        manager = devices.memory_manager()
        if release := getattr(self._network, "release", None):  # an engine's memory besides tensors, also on a CPU
            release()
        if self._patcher is None or manager is None:
            self._network.to("cpu")
        else:
            with undisturbed():
                for loaded in [entry for entry in manager.current_loaded_models if entry.model is self._patcher]:
                    loaded.model_unload()
                    manager.current_loaded_models.remove(loaded)
        devices.empty_cache()


def make_room(device: torch.device, needed: int) -> None:
    """Makes ComfyUI unload models until this many bytes are free on a GPU, if possible. Does nothing for CPUs and outside ComfyUI."""
    if device.type != "cpu" and (manager := devices.memory_manager()) is not None:
        with undisturbed():  # an interruption would leave ComfyUI's records inconsistent
            manager.free_memory(needed, device)
