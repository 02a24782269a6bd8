"""Reading weight files: by their content, whatever their extension, and without running any code in them."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import stat
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..annotators.specs.base import CheckpointError, shown

_WRAPPERS = ("model", "state_dict", "model_state_dict", "depth_model")
_MAX_HEADER = 20_000_000
"""Bytes. The format allows 100 million, which take minutes and gigabytes to read; the largest models' files have about one million."""
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
"""By the names that safetensors has for them."""
_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_LFS_POINTER = b"version https://git-lfs.github.com/spec"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OTHER_FORMATS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 (Keras) file",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a NumPy array",
}
_ONNX = rb"\x08[\x03-\x1f]\x12.[ -~]"
"""The format's version, and the name of what wrote the file."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a weights file onto the CPU, memory-mapped where the format allows.

    The format is known by the content: safetensors, or PyTorch's zip or legacy pickle, read by its restricted unpickler. A dictionary
    wrapped as "model", "state_dict", "model_state_dict" or "depth_model" is unwrapped, and a prefix "module." that all names share is
    dropped, as are entries that are no tensors.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: The file is missing, cannot be read, is damaged, holds code, is not a checkpoint, or holds tensors that are no
            weights (bool, complex, sparse, quantised, longer than the file); the message names the file, what was found and what to do.
    """
    head, size = _begin(path)
    if _is_safetensors(head):
        _check_safetensors(path, size, head)
        state = _read_safetensors(path)
    elif head.startswith(b"PK\x03\x04"):
        state = _read_zip(path, size)
    else:
        _check_claims(path, size)
        state = _torch_load(path, mmap=False)
    return _tensors(path, state, size)


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The names, shapes and dtypes of what `read_checkpoint` gives, as tensors of torch's meta device.

    The numbers are not read, and memory stays the same however long the file is; only PyTorch's pickles of before 2020 are read whole.

    Raises:
        CheckpointError: As `read_checkpoint`.
    """
    head, size = _begin(path)
    if not _is_safetensors(head):
        return {name: value.to("meta") for name, value in read_checkpoint(path).items()}
    _check_safetensors(path, size, head)
    tensors = _safetensors_shapes(path)
    if not tensors:
        raise CheckpointError(f"{path} holds no weights: there are no tensors in it")
    return _without_prefix(tensors)


def _safetensors_shapes(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as opened:  # its reader compares each tensor's shape with its place in the file
            found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            kinds = {name: (each.get_shape(), each.get_dtype()) for name, each in found.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged_safetensors(path, error) from error
    if strange := next((f"{dtype}, first: {shown(name)}" for name, (_, dtype) in kinds.items() if dtype not in _SAFETENSORS), None):
        raise CheckpointError(f"{path} holds tensors of a kind that is not known here ({strange}); get the weights as published")
    return {name: torch.empty(shape, dtype=_SAFETENSORS[dtype], device="meta") for name, (shape, dtype) in kinds.items()}


def _begin(path: Path) -> tuple[bytes, int]:
    """A file's first bytes and its length, if it may be weights."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe is waited for, a device may have no end
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
    """Whether a file that starts so is a web page, which is what a failed download often leaves."""
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
    """Refuses a file that is shorter than its header says; all else is its reader's to say.

    Raises:
        CheckpointError: It is, or the header cannot be read.
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


def _read_zip(path: Path, size: int) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # the last: an index of a later version, or a damaged one
        raise CheckpointError(
            f"{path} is cut short or damaged: found {size} bytes of a PyTorch (zip) file without the index at its end. "
            "Delete it and fetch it again"
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path} is a TorchScript program, not plain weights; get the state dict (.safetensors, .pth) of the model")
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(f"{path} is a zip archive without weights (first entries: {names[:3]}); unpack it and give the file inside")
    if packed:  # its size in memory is anybody's guess, and cannot be mapped
        raise CheckpointError(
            f"{path} is a compressed zip archive (first entry: {packed[0]}); PyTorch writes them plain. Get the original file"
        )
    return _torch_load(path, mmap=True)


def _check_claims(path: Path, size: int) -> None:
    """Refuses an old PyTorch file whose tensors are said to be longer than the file: torch takes the memory before it reads.

    Raises:
        CheckpointError: A tensor of more numbers than the file has bytes.
    """
    longest = number = 0
    with path.open("rb") as stream, suppress(Exception):  # what is damaged is torch's to say
        for _ in range(4):  # magic number, version, machine, and what was saved
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in _INTEGERS:
                    number = int(argument or 0)
                elif opcode.name == "BINPERSID":  # ends with the storage's length
                    longest = max(longest, number)
    if longest > size:
        raise CheckpointError(
            f"{path} is cut short or damaged: it says that a tensor has {longest} numbers, and the file has {size} bytes. "
            "Delete it and fetch it again"
        )


def _torch_load(path: Path, *, mmap: bool) -> Any:
    try:
        if mmap and path.suffix.lower() != ".safetensors":  # torch >= 2.13 goes by that extension
            return torch.load(os.fspath(path), map_location="cpu", mmap=True, weights_only=True)
        with path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle can raise anything
        message = str(error)
        forbidden = re.search(r"GLOBAL\s+([\w.]+)", message)
        if name := forbidden[1] if forbidden else _new_style_global(path):
            raise CheckpointError(
                f"{path} holds more than weights: loading it would call {name}, and such a file can run any program. "
                "It was not loaded; get the weights as .safetensors or as a plain state dict"
            ) from error
        if isinstance(error, pickle.UnpicklingError) and not re.search(r"EOF|truncated|ran out|not resizable", message):
            reason = re.search(r"WeightsUnpickler error: (.*)", message)
            raise CheckpointError(
                f"{path} is a pickle that PyTorch's safe reader refuses ({reason[1] if reason else _first_line(message)}). "
                "It was not loaded; get the weights as .safetensors or as a plain state dict saved by torch.save"
            ) from error
        raise CheckpointError(
            f"{path} is cut short or damaged: reading its {path.stat().st_size} bytes failed with {type(error).__name__}"
            f" ({_first_line(message)}). Delete it and fetch it again"
        ) from error


def _new_style_global(path: Path) -> str | None:
    """What a bare pickle of protocol 4 or later would call first; torch's reader gives up before it can tell."""
    strings: list[str] = []
    with path.open("rb") as stream, suppress(Exception):
        for opcode, argument, _ in pickletools.genops(stream):
            if isinstance(argument, str):
                strings.append(argument)
            if opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                return ".".join(strings[-2:])
    return None


def _first_line(message: str) -> str:
    return message.strip().split("\n", 1)[0][:200]


def _tensors(path: Path, state: Any, size: int) -> dict[str, Tensor]:
    for _ in range(3):  # a hostile file can hold itself
        if isinstance(state, Mapping):
            state = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not weights; expected a dictionary of tensors by name")
    tensors = {str(name): value.detach() for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(shown(str(key)) for key in list(state)[:5]) or "none"
        raise CheckpointError(
            f"{path} holds no weights: its keys ({keys}) lead to no tensors; expected a dictionary of tensors, "
            f"at the top or under one of {', '.join(_WRAPPERS)}"
        )
    for name, value in tensors.items():
        if problem := _problem(value, size):
            raise CheckpointError(
                f"{path} holds {shown(name)} as {problem}; expected plain tensors of floating point numbers or integers. "
                "It was not loaded; get the weights as they were published"
            )
    return _without_prefix(tensors)


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what training on several GPUs puts before all names."""
    if not all(name.startswith("module.") for name in tensors):
        return tensors
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _problem(value: Tensor, size: int) -> str | None:
    """What keeps a tensor from being weights, without looking at its numbers; None where nothing does."""
    if value.is_nested:
        return "a nested tensor"
    if value.layout != torch.strided:
        return f"a sparse tensor ({value.layout})"
    if value.is_quantized:
        return f"a quantised tensor ({value.dtype})"
    if value.is_meta:
        return "a tensor without numbers (of torch's meta device)"
    if value.is_complex() or value.dtype == torch.bool:
        return f"{value.dtype} values"
    if value.nbytes > size:  # one number, repeated without end
        return f"a tensor of {tuple(value.shape)}, {value.nbytes} bytes, more than the {size} of the whole file"
    return None
