"""Devices, dtypes and memory, from ComfyUI's memory manager or a substitute, and the main memory left to this process."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

# Memory budget of one forward pass on a CPU: larger batches are no faster there, and take longer to cancel.
CPU_WORKING_BYTES = 2**30


def memory_manager() -> Any | None:
    """ComfyUI's `comfy.model_management`, or None outside ComfyUI.

    ComfyUI imports it before it loads any custom node; an import here would start ComfyUI elsewhere.
    """
    return sys.modules.get("comfy.model_management")


def models_on_device() -> list[Any]:
    """ComfyUI's records of the models on its device, its own and other packs' included."""
    manager = memory_manager()
    return [] if manager is None else [each for each in manager.current_loaded_models if each.device == manager.get_torch_device()]


def default_device() -> torch.device:
    """The device to run models on: inside ComfyUI its choice, else the first available of CUDA, XPU, MPS and CPU."""
    if (manager := memory_manager()) is not None:
        return manager.get_torch_device()
    backends = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    return torch.device(next((name for name, backend in backends.items() if backend.is_available()), "cpu"))


def image_placement() -> tuple[torch.device, torch.dtype]:
    """Device and dtype of the images that nodes return."""
    if (manager := memory_manager()) is None:
        return torch.device("cpu"), torch.float32
    # intermediate_dtype came with ComfyUI 0.3.77
    dtype = manager.intermediate_dtype() if hasattr(manager, "intermediate_dtype") else torch.float32
    return manager.intermediate_device(), dtype


def is_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device supports this dtype and computes at least as fast as in float32."""
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
    """Bytes that one forward pass may use on the device."""
    if device.type == "cpu":
        return CPU_WORKING_BYTES
    if (manager := memory_manager()) is not None:
        return int(manager.get_free_memory(device))
    if device.type == "cuda":
        # the driver counts torch's unused cached memory as taken
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return CPU_WORKING_BYTES


def available_main_memory() -> float:
    """Bytes of main memory that models may still take; outside ComfyUI unlimited, as the caller decides."""
    manager = memory_manager()
    # ComfyUI ignores the limit of a container
    return float("inf") if manager is None else min(manager.get_free_memory(torch.device("cpu")), free_main_memory())


def empty_cache() -> None:
    """Returns memory cached by torch to the device."""
    if (manager := memory_manager()) is not None:
        manager.soft_empty_cache()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_main_memory(root: Path = Path("/")) -> float:
    """Bytes of main memory still available, including swap and reclaimable file cache; infinite if unknown.

    On Linux the minimum over the machine and every control group of the process (container, service, user) with its limit. `root` is the
    parent folder of `proc` and `sys`.
    """
    if sys.platform == "win32":
        return _windows_memory()
    try:
        fields = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        available, swap = (int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return math.inf  # macOS grows its swap as long as the disk has space
    left = (_left_of_v2(folder, swap) if version == 2 else _left_of_v1(folder, swap) for version, folder in _control_groups(root))
    return max(0.0, min(available + swap, *left, math.inf))


def _control_groups(root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of each control group, ancestors included, that limits the memory of this process.

    Source: man 7 cgroups, man 5 proc (/proc/pid/cgroup and mountinfo).
    """
    try:
        # each line: hierarchy number, controllers, path; version 2 has number 0 and no controllers
        lines = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
        mounts = [line.split(" ") for line in _lines(root / "proc/self/mountinfo")]
    except OSError:
        return
    paths = {2 if number == "0" else 1: path for number, controllers, path in lines if number == "0" or "memory" in controllers.split(",")}
    for mount in mounts:
        kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
        version = 2 if kind == "cgroup2" else 1 if kind == "cgroup" and "memory" in options else 0
        if version not in paths:
            continue
        # in a container, the mount may start at the container's own group, or the path may lie above the mount
        path, mounted = PurePosixPath(paths[version]), PurePosixPath(mount[3])
        inside = path.relative_to(mounted) if path.is_relative_to(mounted) else PurePosixPath()
        top = root / mount[4].replace("\\040", " ").lstrip("/")
        for folder in (inside, *inside.parents):
            yield version, top / folder


def _lines(path: Path) -> list[str]:
    """The lines of a file that contains file names, which may be any bytes."""
    return [line for line in os.fsdecode(path.read_bytes()).split("\n") if line]


def _left_of_v2(group: Path, swap: int) -> float:
    """Bytes left; `swap` is the machine's free swap."""
    limit, swap_limit = _number(group / "memory.max"), _number(group / "memory.swap.max")
    reclaimable = _reclaimable(group, ("inactive_file", "active_file", "slab_reclaimable"))
    swap_left = swap_limit - _number(group / "memory.swap.current", 0)
    return limit - _number(group / "memory.current", 0) + reclaimable + max(0, min(swap, swap_left))


def _left_of_v1(group: Path, swap: int) -> float:
    limit, both_limit = _number(group / "memory.limit_in_bytes"), _number(group / "memory.memsw.limit_in_bytes")
    reclaimable = _reclaimable(group, ("total_inactive_file", "total_active_file"))
    memory_left = limit - _number(group / "memory.usage_in_bytes", 0) + swap
    return min(memory_left, both_limit - _number(group / "memory.memsw.usage_in_bytes", 0)) + reclaimable


def _reclaimable(group: Path, names: tuple[str, ...]) -> int:
    """The group's file cache: it counts as used, but the kernel drops it on demand."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
        return sum(int(value) for name, value in map(str.split, lines) if name in names)
    except (OSError, ValueError):
        return 0


def _number(path: Path, otherwise: float = math.inf) -> float:
    """The number in a file; `otherwise` if the file is absent or says "max"."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return otherwise


def _windows_memory() -> float:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "more")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # pyright: ignore[reportAttributeAccessIssue]
        return math.inf
    return float(status.free_page)
