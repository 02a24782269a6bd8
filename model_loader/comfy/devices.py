"""Devices, dtypes and memory: ComfyUI's memory manager, or what replaces it outside ComfyUI."""

from __future__ import annotations

import sys
from typing import Any

import torch

from ..main_memory import free_main_memory

# Working memory for one forward on a CPU: larger batches are not faster there, and cannot be cancelled as soon.
CPU_WORKING_BYTES = 2**30


def memory_manager() -> Any | None:
    """ComfyUI's `comfy.model_management`, or None outside ComfyUI.

    ComfyUI has imported it before it loads any pack; importing it here would start ComfyUI where there is none.
    """
    return sys.modules.get("comfy.model_management")


def default_device() -> torch.device:
    """The device that models run on: ComfyUI's choice inside it, else the first of CUDA, MPS, CPU that there is."""
    if (manager := memory_manager()) is not None:
        return manager.get_torch_device()
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def image_placement() -> tuple[torch.device, torch.dtype]:
    """Device and dtype in which nodes hand images on."""
    if (manager := memory_manager()) is None:
        return torch.device("cpu"), torch.float32
    # intermediate_dtype came with ComfyUI 0.3.77
    dtype = manager.intermediate_dtype() if hasattr(manager, "intermediate_dtype") else torch.float32
    return manager.intermediate_device(), dtype


def is_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """True if the device computes in this dtype, and at least as fast as in float32."""
    if dtype == torch.float32:
        return True
    if device.type == "cpu":
        # AVX512-BF16 or AMX; float16 and emulated bfloat16 are many times slower than float32
        return dtype == torch.bfloat16 and torch.cpu._is_avx512_bf16_supported()
    if (manager := memory_manager()) is not None:
        return (manager.should_use_bf16 if dtype == torch.bfloat16 else manager.should_use_fp16)(device)
    if device.type == "cuda":
        # before Volta (7.0), float16 is up to 64 times slower than float32
        half = dtype == torch.float16 and torch.cuda.get_device_capability(device) >= (7, 0)
        return half or (dtype == torch.bfloat16 and torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def available_memory(device: torch.device) -> int:
    """Bytes that one forward may use on the device."""
    if device.type == "cpu":
        return CPU_WORKING_BYTES
    if (manager := memory_manager()) is not None:
        return int(manager.get_free_memory(device))
    if device.type == "cuda":
        # what torch holds and does not use counts as free: the device's own figure leaves it out
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return CPU_WORKING_BYTES


def available_main_memory() -> float:
    """Bytes of main memory that models may still take; outside ComfyUI that is the caller's business."""
    manager = memory_manager()
    # ComfyUI asks for the machine's memory, whatever the limit of its container
    return float("inf") if manager is None else min(manager.get_free_memory(torch.device("cpu")), free_main_memory())


def empty_cache() -> None:
    """Gives memory that torch keeps for later back to the device."""
    if (manager := memory_manager()) is not None:
        manager.soft_empty_cache()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()
