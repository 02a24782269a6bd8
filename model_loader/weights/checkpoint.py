"""Reads weights files by content, not extension, without running their code."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...annotators.specs.base import CheckpointError, printable
from .torch_files import OtherTensor, PickleError, is_possible_shape, read_torch_file

_WRAPPERS = ("model", "state_dict", "model_state_dict", "depth_model")
_MAX_HEADER = 20_000_000
"""Bytes. The format allows 100 million, which take minutes and gigabytes to parse; the largest models need about one million."""
_MAX_TENSORS = 50_000
_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtypes by their names in safetensors."""
_NUMBERS = {*_SAFETENSORS.values(), torch.uint16, torch.uint32, torch.uint64} - {torch.bool}
_MOST_SHARED = 4
"""Maximum ratio of all tensors' bytes to a PyTorch file's size: tensors can share storage."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec"
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_OTHER_FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 (Keras) file",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a NumPy array",
}
_ONNX = rb"\x08[\x03-\x1f]\x12.[ -~]"
"""The beginning of an ONNX file: the format's version, and the producer's name."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a weights file onto the CPU, memory-mapped where the format allows.

    The content decides the format: safetensors, or PyTorch's zip or older format, whose pickle is not executed (`torch_files`). Unwraps
    dictionaries under "model", "state_dict", "model_state_dict" or "depth_model", and drops a common prefix "module." and entries that are
    not tensors.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: The file is missing, unreadable, damaged, contains code, is no checkpoint, or holds unsupported tensors (bool,
            complex, sparse, quantised, larger than the file). The message names the file, the problem and the remedy.
    """
    return _read(path, _read_safetensors, "cpu")


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Names, shapes and dtypes as from `read_checkpoint`, as meta tensors. Reads no data.

    Raises:
        CheckpointError: As `read_checkpoint`.
    """
    return _read(path, _safetensors_shapes, "meta")


def _read(path: Path, read_safetensors: Callable[[Path], Mapping[str, Tensor]], device: str) -> dict[str, Tensor]:
    head, size = _begin(path)
    if not _is_safetensors(head):
        return _checked(path, _torch_tensors(path, size, device))
    _check_safetensors(path, size, head)
    return _checked(path, read_safetensors(path))


def _safetensors_shapes(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as opened:  # also compares each tensor's shape with its byte range
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            kinds = {name: (each.get_shape(), each.get_dtype()) for name, each in slices.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged_safetensors(path, error) from error
    if strange := next((f"{dtype}, first: {printable(name)}" for name, (_, dtype) in kinds.items() if dtype not in _SAFETENSORS), None):
        raise CheckpointError(f"{path} holds tensors of a kind that is not known here ({strange}); get the weights as published")
    return {name: torch.empty(shape, dtype=_SAFETENSORS[dtype], device="meta") for name, (shape, dtype) in kinds.items()}


def _begin(path: Path) -> tuple[bytes, int]:
    """A file's first bytes and its size, if it may be weights."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe blocks, a device may be endless
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
            raise CheckpointError(f"{path} is {kind}; expected a weights file (.safetensors, .pth, .pt, .bin)")
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; give the path of a weights file (.safetensors, .pth, .pt, .bin)") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}. Check the file's permissions and its disk") from error
    if not _is_safetensors(head) and not head.startswith(b"PK\x03\x04") and not (head.startswith(b"\x80") and head[1:2] <= b"\x05"):
        raise CheckpointError(f"{path} is {_describe(head, status.st_size)}")
    return head, status.st_size


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{"


def looks_like_html(head: bytes) -> bool:
    """Whether a file's beginning is HTML, which failed downloads often leave."""
    return (
        re.match(rb"\s*(<!--.*?-->\s*)?<(!doctype|html|head|\?xml)", head.removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE | re.DOTALL)
        is not None
    )


def _describe(head: bytes, size: int) -> str:
    if size == 0:
        return "empty (0 bytes): a download or copy that failed. Delete it and fetch it again"
    if looks_like_html(head):
        return f"a web page (HTML, {size} bytes), not weights: save the file itself, by the page's download link, not the page"
    if head.startswith(_LFS_POINTER):
        true_size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" of a file of {int(true_size[1])} bytes" if true_size else ""
        return f"only a Git LFS pointer ({size} bytes){of}: run `git lfs pull` in its repository, or download the file itself"
    if not any(head):
        return f"filled with zeros ({size} bytes): a download that reserved its space and never ended. Delete it and fetch it again"
    kinds = (kind for magic, kind in _OTHER_FORMATS.items() if head.startswith(magic))
    kind = next(kinds, "an ONNX file" if re.match(_ONNX, head) else f"{size} bytes starting with {head[:8]!r}")
    return f"{kind}, not a checkpoint; accepted are safetensors and PyTorch files (.pth, .pt, .bin, .ckpt)"


def _check_safetensors(path: Path, size: int, head: bytes) -> None:
    """Refuses a file shorter than its header claims; safetensors checks the rest.

    Raises:
        CheckpointError: It is, or the header is invalid.
    """
    header_length = int.from_bytes(head[:8], "little")
    if header_length > _MAX_HEADER:
        raise CheckpointError(
            f"{path} claims a safetensors header of {header_length} bytes, more than the {_MAX_HEADER} that any model needs: "
            "the file is damaged or is not safetensors. Fetch it again"
        )
    try:
        with path.open("rb") as stream:
            stream.seek(8)
            header = json.loads(stream.read(header_length)) if 8 + header_length <= size else {}
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        if len(entries) > _MAX_TENSORS:
            raise ValueError(f"it has {len(entries)} tensors")
        if odd := next((name for name, entry in entries.items() if not is_possible_shape(entry["shape"])), None):
            raise ValueError(f"{printable(odd)} has an impossible shape")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged_safetensors(path, error) from error
    if size < 8 + header_length + end:
        needed = f"its header says {8 + header_length + end}" if header else f"its header alone needs {8 + header_length}"
        raise CheckpointError(f"{path} is cut short: found {size} bytes, {needed}. Delete it and fetch it again")


def _damaged_safetensors(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is a damaged safetensors file ({error}). Delete it and fetch it again")


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged_safetensors(path, error) from error


def _torch_tensors(path: Path, size: int, device: str) -> dict[str, Tensor]:
    """The tensors of a PyTorch file by name, if all of them may be weights."""
    try:
        state = read_torch_file(path, device)
    except PickleError as error:
        raise CheckpointError(f"{path} {error.sentence.format(problem=error, size=size)}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Check the file's disk") from error

    for _ in range(3):  # a hostile file can contain itself
        if isinstance(state, dict):
            state = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not weights; expected a dictionary of tensors by name")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor | OtherTensor)}
    if not tensors:
        keys = ", ".join(printable(str(key)) for key in list(state)[:5]) or "none"
        raise CheckpointError(
            f"{path} holds no weights: its keys ({keys}) lead to no tensors; expected a dictionary of tensors, "
            f"at the top or under one of {', '.join(_WRAPPERS)}"
        )
    plain, total = {}, 0
    for name, value in tensors.items():
        if isinstance(value, OtherTensor):
            raise _no_weights(path, name, value.kind)
        plain[name], total = value, total + value.nbytes
        if value.nbytes > size or total > _MOST_SHARED * size:  # the same storage, many times
            bytes_each = f"{value.nbytes} bytes" if value.nbytes > size else f"{total} bytes with those before it"
            raise _no_weights(path, name, f"a tensor of {tuple(value.shape)}, {bytes_each}, more than the {size} of the whole file")
    return plain


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Checks dtypes and drops a prefix "module."."""
    if not tensors:
        raise CheckpointError(f"{path} holds no weights: there are no tensors in it")
    for name, value in tensors.items():
        if value.dtype not in _NUMBERS:
            raise _no_weights(path, name, f"{value.dtype} values")
    # DataParallel adds it to all names
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _no_weights(path: Path, name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {printable(name)} as {problem}; expected plain tensors of floating point numbers or integers. "
        "It was not loaded; get the weights as they were published"
    )
