"""State between the segments of a video as a file: tensors and JSON only, no pickled code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...media import VideoError

_TENSOR, _CHANNELS_LAST = "tensor", "channels_last"


def state_to_bytes(state: Any) -> bytes:
    """A state (nested dicts, lists and tuples of tensors, numbers, text and None) as a safetensors file; the nesting is in its metadata."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    return save(tensors, {"state": json.dumps(_apart(state, tensors))})


def read_state(path: Path) -> Any:
    """Reads a state written by `state_to_bytes`; tuples become lists, tensors are on the CPU.

    Raises:
        VideoError: The file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            return _together(json.loads((file.metadata() or {})["state"]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise VideoError(f"{path} is damaged ({error})") from error


def _apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value with placeholders for tensors, which are moved to `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        # The memory format can change the last bits of results.
        last = not value.is_contiguous() and value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
        return {_TENSOR: name, _CHANNELS_LAST: last}
    if isinstance(value, dict):
        return {name: _apart(each, tensors) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_apart(each, tensors) for each in value]
    return value


def _together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_together(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR, _CHANNELS_LAST}:
        tensor = tensors[value[_TENSOR]]
        return tensor.contiguous(memory_format=torch.channels_last) if value[_CHANNELS_LAST] else tensor
    return {name: _together(each, tensors) for name, each in value.items()}
