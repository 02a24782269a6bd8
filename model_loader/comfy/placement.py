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
    """The weights of a model do not fit on its device, so that no image can be estimated there."""


class Placement:
    """Moves a network to where it can run: through ComfyUI's memory manager inside ComfyUI, else on one device.

    Inside ComfyUI, a network whose weights do not fit on the device runs on the CPU, as one graph waits for it. Outside, that is an error:
    a folder or a video would take many times as long as expected, and its results would depend on the memory that was free.

    Args:
        network: The network.
        device: Where it runs.
        name: What messages call it.
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
            # In a module of torch's own: the manager sets attributes on it, `device` too, which transformers' models refuse.
            managed = nn.ModuleList([network])
            self._patcher = patcher_class(managed, load_device=device, offload_device=manager.unet_offload_device())

    def ready(self, working_bytes: int) -> torch.device:
        """Brings the network to its device, with room for a forward, and returns where it is.

        Raises:
            WeightsTooLargeError: Outside ComfyUI: its weights do not fit on the device.
        """
        if self._patcher is None:
            if not self._move_to(self._device):
                raise WeightsTooLargeError(self._too_large())
            return self._device
        manager = devices.memory_manager()
        assert manager is not None
        with undisturbed():  # ComfyUI's notes of what is where hold only at the end
            manager.load_models_gpu([self._patcher], memory_required=working_bytes, force_full_load=True)
        return self._gather()

    def _gather(self) -> torch.device:
        """Under memory pressure, and with --novram, ComfyUI leaves a plain torch module's weights where they were: moves them."""
        target = self._patcher.load_device
        if self._move_to(target):
            return target
        logger.warning("%s does not fit on %s: running on the CPU", self._name, target)
        return torch.device("cpu")

    def _move_to(self, target: torch.device) -> bool:
        """Moves the network, and says whether it fits; where it does not, all of it is on the CPU."""
        if self._is_at(target):
            return True
        try:
            self._network.to(target)
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._network.to("cpu")  # a part of it was moved
        devices.empty_cache()
        return False

    def _is_at(self, target: torch.device) -> bool:
        """Whether all weights are there. Moving them again would take milliseconds, even where nothing moves."""
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
        """Takes the network off its device and out of ComfyUI's list of loaded models; `ready` brings it back the same way."""
        manager = devices.memory_manager()
        if release := getattr(self._network, "release", None):  # what an engine holds beside tensors, on a CPU too
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
    """Has ComfyUI unload models until so many bytes are free on a GPU, as far as there are any; elsewhere that is the caller's business."""
    if device.type != "cpu" and (manager := devices.memory_manager()) is not None:
        with undisturbed():  # ComfyUI's notes of what is where hold only at the end
            manager.free_memory(needed, device)
