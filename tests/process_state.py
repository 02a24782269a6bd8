"""What one test could leave changed for the next: the process's own settings, and those of the libraries."""

import locale
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch
from PIL import Image, ImageFile

# Modules of ComfyUI that tests stand in for: the pack takes their presence for ComfyUI's.
_HOST_MODULES = (
    "folder_paths",
    "comfy",
    "comfy.utils",
    "comfy.model_management",
    "comfy.model_patcher",
    "comfy_api.latest",
    "comfy_execution.utils",
    "nodes",
    "server",
)
_ABSENT = "absent"


def snapshot() -> dict[str, object]:
    """The state now, by names that say what to restore."""
    umask = os.umask(0)
    os.umask(umask)
    state: dict[str, object] = {
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "cv2.getNumThreads()": cv2.getNumThreads(),
        "PIL.Image.MAX_IMAGE_PIXELS": Image.MAX_IMAGE_PIXELS,
        "PIL.ImageFile.LOAD_TRUNCATED_IMAGES": ImageFile.LOAD_TRUNCATED_IMAGES,
        "the working directory": Path.cwd(),
        "os.umask()": oct(umask),
        "locale.setlocale()": locale.setlocale(locale.LC_ALL),
        "socket.getdefaulttimeout()": socket.getdefaulttimeout(),
        "logging.root.manager.disable": logging.root.manager.disable,
        "os.sched_getscheduler()": os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None,
    }
    # Libraries set these for good: torch for its compiler's processes and CUDA, controlnet-aux when it is imported.
    passing = (
        "PYTEST_CURRENT_TEST",
        "CUDA_MODULE_LOADING",
        "TORCHINDUCTOR_CACHE_DIR",
        "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",
        "KMP_DUPLICATE_LIB_OK",
    )
    state |= {f"os.environ[{name!r}]": value for name, value in os.environ.items() if name not in passing}
    state |= {f"sys.modules[{name!r}]": sys.modules[name] for name in _HOST_MODULES if name in sys.modules}
    state |= {f"signal.getsignal({name.name})": signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    for name in ("root", "depth_normal"):
        logger = logging.getLogger(None if name == "root" else name)
        handlers = tuple(each for each in logger.handlers if not type(each).__module__.startswith("_pytest"))
        state[f"the logger {name}"] = (logger.level, logger.propagate, logger.disabled, handlers)
    registry = sys.modules.get("depth_normal.annotators.registry")
    for name in ("MODELS", "FAMILIES") if registry else ():
        state[f"depth_normal.annotators.registry.{name}"] = dict(getattr(registry, name))
    return state


def changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """One line for each setting that is not as it was. The table of models counts only where it was imported before."""
    names = [name for name in {**before, **after} if name in before or "registry" not in name]
    return [
        f"{name}: {_shown(before.get(name, _ABSENT))} before, {_shown(after.get(name, _ABSENT))} now"
        for name in names
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    ]


@contextmanager
def unchanged(who: str) -> Iterator[None]:
    """Fails where the block leaves the state changed, and names what is."""
    before = snapshot()
    yield
    if found := changes(before, snapshot()):
        raise AssertionError(f"{who} leaves changed what the next test finds (monkeypatch restores it):\n" + "\n".join(found))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
