"""Reads PyTorch weights files (zip archives, or the format before 2020) without running their code; tensors are memory-mapped.

A pickle is a program. torch's own reader with `weights_only` is not enough: it hashes any dictionary key, so that a file can crash or hang
it, it reads all data of old files even for shapes alone, and with torch 2.7 to 2.9 files can corrupt memory (CVE-2026-24747).
"""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
import struct
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import torch
from torch import Tensor

from ...annotators.specs.base import printable

_MAX_PICKLE = 2**22
"""Bytes. A state dict takes about 120 per tensor."""
_MAX_AXES = 64
_MAX_NAME = 1000
_MAX_KEY = 2**60
"""From about here on, Python hashes different integers alike: a dictionary of n of them takes n^2 steps."""
_MAX_ARGUMENTS = 16
_MAX_NUMBERS = 2**60
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""Of the old format."""
_COUNT = struct.Struct("<q")
"""Precedes the data of a storage in old files."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Precedes the content of a zip entry: a signature, and the lengths of the name and extra field that follow."""
_ALIGNMENT = 64
"""In bytes: torch's alignment, in memory and in the zip archives that it writes."""


class PickleError(ValueError):
    """A pickle that is not a state dict by torch.save; the message ("it has ...") is a clause about it, `sentence` follows the path."""

    sentence = (
        "is no state dict that can be read safely: {problem}. "
        "It was not loaded; get the weights as .safetensors or as a plain state dict saved by torch.save"
    )


class DamagedPickleError(PickleError):
    """A truncated or malformed pickle."""

    sentence = "is cut short or damaged: found {size} bytes, and {problem}. Delete it and fetch it again"


class UnsafePickleError(PickleError):
    """A pickle that calls something no state dict needs; the message is the name of the function or class, with its module."""

    sentence = (
        "holds more than weights: loading it would call {problem}, and such a file can run any program. "
        "It was not loaded; get the weights as .safetensors or as a plain state dict"
    )


class NotWeightsError(PickleError):
    """A file that does not hold weights; the message is the sentence."""

    sentence = "{problem}"


class OtherTensor(NamedTuple):
    """A tensor that is not a plain view of a storage; `kind` describes it."""

    kind: str


class _Other:
    """An object that does not belong in weights: a set, a device, a complex number."""


class _Name(NamedTuple):
    """The name of a class or function in a pickle; it is not imported."""

    name: str


class _Storage(NamedTuple):
    """A storage; in old files the part that begins at element `start`."""

    content: torch.UntypedStorage
    dtype: torch.dtype
    start: int


def is_possible_shape(shape: Sequence[int]) -> bool:
    """Whether torch allows this shape: it counts axes and elements in fixed-size integers, even of empty tensors."""
    return len(shape) <= _MAX_AXES and math.prod(max(side, 1) for side in shape) < _MAX_NUMBERS


def read_torch_file(path: Path, device: str = "cpu") -> Any:
    """Reads dictionaries, lists, tuples, strings, numbers and tensors; other objects are not built.

    Args:
        path: The file.
        device: "cpu": tensors are read from disk on first access (at once for the old format), and writing to them does not change the
            file. "meta": names, shapes and dtypes only.

    Returns:
        The saved object; special tensors (sparse, quantised, ...) as `OtherTensor`.

    Raises:
        PickleError: The pickle calls something unknown, is damaged, uses opcodes that no state dict needs, or lacks data that it claims;
            another zip archive, TorchScript, a compressed archive, or another byte order.
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        try:
            return _read_zip(stream, mapped, device) if mapped[:4] == b"PK\x03\x04" else _read_old(mapped, device)
        except ValueError as error:
            del mapped
            _forget_values(error)
            raise


def _forget_values(error: BaseException | None) -> None:
    """Releases the mapped file from the error's frames: Windows can neither move nor delete it otherwise."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _read_zip(stream: BinaryIO, mapped: mmap.mmap, device: str) -> Any:
    records = _records(stream, mapped)
    order = records.get("byteorder", range(0))
    if order and mapped[order.start : order.stop] != sys.byteorder.encode():
        raise NotWeightsError(_OTHER_ORDER)
    pickled = records["data.pkl"]
    if len(pickled) > _MAX_PICKLE:
        raise PickleError(f"it has a pickle of {len(pickled)} bytes; the largest models need less than {_MAX_PICKLE}")
    file = torch.frombuffer(mapped, dtype=torch.uint8).untyped_storage() if device == "cpu" else None
    return _Unpickler(BytesIO(mapped[pickled.start : pickled.stop]), partial(_storage_in_zip, file, records, {})).load()


def _storage_in_zip(
    file: torch.UntypedStorage | None,
    records: Mapping[str, range],
    storages: dict[str, torch.UntypedStorage],
    key: str,
    length: int,
    dtype: torch.dtype,
) -> torch.UntypedStorage:
    record = records.get(f"data/{key}", range(0))
    if len(record) < length * dtype.itemsize:
        raise DamagedPickleError(f"it says that a tensor has {length} numbers, and holds {len(record)} bytes of them")
    if file is None:
        return torch.UntypedStorage(len(record), device="meta")
    if key not in storages:
        part = file[record.start : record.stop]
        storages[key] = part.clone() if record.start % _ALIGNMENT else part  # unaligned, in archives repacked by another program
    return storages[key]


def _records(stream: BinaryIO, mapped: mmap.mmap) -> dict[str, range]:
    """The byte range of each zip entry, by its name without the common folder."""
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # the last: a later zip version, or damage
        raise DamagedPickleError("it is a PyTorch (zip) file without the index at its end") from error
    # `orig_filename` is the name in the index; `filename` may come from a field that PyTorch ignores
    names = [entry.orig_filename for entry in entries]
    folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if not folders:
        first = [printable(name) for name in names[:3]]
        raise NotWeightsError(f"is a zip archive without weights (first entries: {first}); unpack it and give the file inside")
    if len(set(names)) < len(names) or len(folders) > 1:
        raise NotWeightsError("is a zip archive that holds an entry twice; get the original file")
    if folders[0] + "constants.pkl" in names:
        raise NotWeightsError("is a TorchScript program, not plain weights; get the state dict (.safetensors, .pth) of the model")
    if packed := next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1), None):
        # its size in memory is anybody's guess, and it cannot be mapped
        raise NotWeightsError(
            f"is a compressed zip archive (first entry: {printable(packed.orig_filename)}); PyTorch writes them plain. "
            "Get the original file"
        )
    inside = [entry for entry in entries if entry.orig_filename.startswith(folders[0])]
    records = {entry.orig_filename.removeprefix(folders[0]): _content(entry, mapped) for entry in inside}
    # Overlapping entries could be copied many times over: a small file would fill the memory.
    places = sorted((record.start, record.stop) for record in records.values() if record)
    if any(start < stop for (_, stop), (start, _) in pairwise(places)):
        raise NotWeightsError("is a zip archive whose entries overlap; get the original file")
    return records


def _content(entry: zipfile.ZipInfo, mapped: mmap.mmap) -> range:
    """The byte range of an entry's content."""
    begin = entry.header_offset + _LOCAL_HEADER.size
    if entry.header_offset >= 0 and begin <= len(mapped):
        signature, name, extra = _LOCAL_HEADER.unpack_from(mapped, entry.header_offset)
        begin += name + extra
        if signature == b"PK\x03\x04" and begin + entry.file_size <= len(mapped):
            return range(begin, begin + entry.file_size)
    raise DamagedPickleError("it is a PyTorch (zip) file whose index does not fit its content")


def _read_old(mapped: mmap.mmap, device: str) -> Any:
    stream = BytesIO(mapped[:_MAX_PICKLE])
    storages: dict[str, tuple[torch.UntypedStorage, int]] = {}
    total = 0

    def storage(key: str, length: int, dtype: torch.dtype) -> torch.UntypedStorage:
        nonlocal total
        if key not in storages:
            total += length * dtype.itemsize
            if total > len(mapped):
                raise DamagedPickleError(f"it says that a tensor has {length} numbers, and does not hold them")
            storages[key] = torch.UntypedStorage(length * dtype.itemsize, device=device), length
        content, known_length = storages[key]
        if (known_length, known_length * dtype.itemsize) != (length, content.nbytes()):
            raise DamagedPickleError("it says of one storage that it is two")
        return content

    magic = _Unpickler(stream, storage).load()
    if not isinstance(magic, int) or magic != _MAGIC:  # comparing a tensor would take long
        raise PickleError("it is a pickle that torch.save did not write")
    version, machine = (_Unpickler(stream, storage).load() for _ in range(2))
    if not isinstance(version, int) or version != _VERSION or not isinstance(machine, dict):
        raise DamagedPickleError("it is of an unknown version of PyTorch's old format")
    if machine.get("little_endian", True) is not (sys.byteorder == "little"):
        raise NotWeightsError(_OTHER_ORDER)
    saved, keys = (_Unpickler(stream, storage).load() for _ in range(2))
    if not isinstance(keys, list) or {key for key in keys if isinstance(key, str)} != storages.keys() or len(keys) != len(storages):
        raise DamagedPickleError("it names other storages than its tensors have")
    begin = stream.tell()
    file = torch.frombuffer(mapped, dtype=torch.uint8).untyped_storage()
    for content, length in (storages[key] for key in keys):
        end = begin + _COUNT.size + content.nbytes()
        if end > len(mapped) or _COUNT.unpack_from(mapped, begin) != (length,):
            raise DamagedPickleError(f"it says that a tensor has {length} numbers, and does not hold them")
        if device == "cpu" and length:  # unaligned, so they cannot be mapped
            content.copy_(file[begin + _COUNT.size : end])
        begin = end
    return saved


_OTHER_ORDER = "was saved on a machine whose bytes have the other order; save it anew, as .safetensors"


class _Steps(dict[int, Callable[[Any], None]]):
    """The opcodes that are supported."""

    def __missing__(self, code: int) -> NoReturn:
        name = next((step.name for step in pickletools.opcodes if step.code == chr(code)), f"{code}")
        raise PickleError(f"it uses the step {name}, which no state dict needs")


_PYTHONS_OWN: Any = pickle._Unpickler  # the C version hashes any key
_STEPS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT "
    "BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL BINPERSID"
)
"""Opcodes of Python's unpickler that neither call, import nor hash anything."""
_SENSELESS = (
    *(LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, EOFError),
    *(pickle.PickleError, struct.error),
)
"""Errors of opcodes that cannot be executed."""


class _Unpickler(_PYTHONS_OWN):
    """Builds dictionaries, lists, tuples, strings, numbers and tensors.

    It imports nothing, calls only the stand-ins in `_CALLS`, hashes only short strings and integers, and does not recurse: time and memory
    are linear in the pickle's length.

    Args:
        stream: Positioned at the pickle; afterwards just behind it.
        storage: Returns a storage by key, length and dtype.
    """

    def __init__(self, stream: BytesIO, storage: Callable[[str, int, torch.dtype], torch.UntypedStorage]) -> None:
        super().__init__(stream, encoding="latin1")
        self._storage = storage

    def load(self) -> Any:
        try:
            return super().load()
        except PickleError:
            raise
        except _SENSELESS as error:
            message = printable(str(error), 200)
            raise DamagedPickleError(f"it makes no sense as a pickle ({type(error).__name__}: {message})") from error

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        return _Name(f"{_RENAMED.get(module, module)}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage of ("storage", class, key, device, length); old files append (key, start, length) of a part."""
        if not isinstance(pid, tuple) or len(pid) < 4:
            raise TypeError("an unknown persistent id")
        if isinstance(pid[1], _Name):  # a pickled network with its source code
            raise UnsafePickleError(printable(pid[1].name))
        word, dtype, key, _device, length, *part = pid
        is_named = word == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str) and len(key) <= _MAX_NAME
        if not is_named or not _is_size(length):
            raise TypeError("an unknown persistent id")
        _key, start, _length = part[0] if part and part[0] is not None else (key, 0, length)
        if not _is_size(start):
            raise TypeError("a part of a storage that begins nowhere")
        return _Storage(self._storage(key, length, dtype), dtype, start)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        self.stack[-1] = _call(function, arguments)

    def load_build(self) -> None:
        """Ignores an object's attributes: a state dict's version numbers, notes on a tensor."""
        self.stack.pop()

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _update(self.stack[-1], [(key, value)])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _update(self.stack[-1], list(zip(items[::2], items[1::2], strict=True)))

    def load_empty_set(self) -> None:
        self.append(_Other())

    def load_additems(self) -> None:
        self.pop_mark()

    dispatch = _Steps(
        {getattr(pickle, step)[0]: _PYTHONS_OWN.dispatch[getattr(pickle, step)[0]] for step in _STEPS.split()}
        | {
            pickle.REDUCE[0]: load_reduce,
            pickle.NEWOBJ[0]: load_reduce,
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.EMPTY_SET[0]: load_empty_set,
            pickle.ADDITEMS[0]: load_additems,
            # Python's own opcode allocates the claimed length before reading
            pickle.BYTEARRAY8[0]: _PYTHONS_OWN.load_binbytes8,
        }
    )


def _update(target: Any, pairs: Sequence[Any]) -> None:
    if type(target) is not dict:
        raise TypeError("entries of what holds none")
    for key, value in pairs:
        # each lookup compares the whole of a string
        if not (len(key) <= _MAX_NAME if type(key) is str else type(key) is int and abs(key) < _MAX_KEY):
            accepted = f"strings of up to {_MAX_NAME} characters and integers below 2^{_MAX_KEY.bit_length() - 1}"
            raise PickleError(f"it has a dictionary's key of the type {type(key).__name__}; accepted are {accepted}")
        target[key] = value


def _call(function: Any, arguments: Any) -> Any:
    """Calls the stand-in of a named function."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
        raise TypeError("a call of what is no function")
    if stand_in := _CALLS.get(function.name):
        return stand_in(*arguments)
    if function.name.startswith(_REBUILD):
        return OtherTensor(f"a special tensor ({function.name.removeprefix(_REBUILD)})")
    raise UnsafePickleError(printable(function.name))


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _ordered_dictionary(pairs: Any = ()) -> dict[Any, Any]:
    entries: dict[Any, Any] = {}
    if pairs:  # as Python 2 wrote it
        _update(entries, pairs)
        pairs.clear()  # else a list could be reused endlessly
    return entries


def _size(sizes: Any = ()) -> tuple[int, ...]:
    if type(sizes) is not tuple or len(sizes) > _MAX_AXES:
        raise TypeError("no size of a tensor")
    return sizes


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = False, _hooks: Any = None, metadata: Any = None, dtype: Any = None
) -> Tensor | OtherTensor:
    shape, strides = _size(shape), _size(strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or not all(map(_is_size, (offset, *shape, *strides))):
        raise TypeError("a tensor of impossible size")
    if not is_possible_shape(shape):
        raise PickleError(f"it has a tensor of {shape}, more numbers than any machine holds")
    if metadata:
        return OtherTensor("a conjugated or negated view of a tensor")
    dtype, first, device = dtype or storage.dtype, storage.start + offset, storage.content.device
    if 0 in shape:
        return torch.empty(shape, dtype=dtype, device=device)
    last = first + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if (last + 1) * dtype.itemsize > storage.content.nbytes():
        length = storage.content.nbytes() // storage.dtype.itemsize
        raise DamagedPickleError(f"it has a tensor that ends at number {last + 1} of a storage of {length}")
    return torch.empty(0, dtype=dtype, device=device).set_(storage.content, first, shape, strides)


def _tensor_of_dtype(storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, *more: Any) -> Any:
    """A tensor of a dtype without a storage class."""
    if not isinstance(dtype, torch.dtype):
        raise TypeError("a tensor of an unknown dtype")
    return _tensor(storage, offset, shape, strides, metadata=any(more), dtype=dtype)


_RENAMED = {"__builtin__": "builtins", "torch.tensor": "torch._tensor"}
"""Names of modules in Python 2 and in torch before 1.9, and today's."""
_REBUILD = "torch._utils._rebuild_"
_OTHERS = (
    *("collections.Counter", "builtins.set", "builtins.complex", "builtins.bytearray", "_codecs.encode"),
    *("torch.device", "torch.serialization._get_layout", "numpy.dtype"),
    # scores and states of random numbers, which trainers save beside the weights
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
)
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dictionary,
    "torch.Size": _size,
    f"{_REBUILD}tensor": _tensor,
    f"{_REBUILD}tensor_v2": _tensor,
    f"{_REBUILD}tensor_v3": _tensor_of_dtype,
    **dict.fromkeys((f"{_REBUILD}parameter", f"{_REBUILD}parameter_with_state"), lambda tensor, *_: tensor),
    # a tensor with attributes, or of a subclass
    "torch._tensor._rebuild_from_type_v2": lambda function, _class, arguments, _attributes: _call(function, arguments),
    **dict.fromkeys(_OTHERS, lambda *_: _Other()),
}
"""Functions that torch.save's state dicts call, and their stand-ins."""
_STORAGES = {
    **{f"{name}Storage": getattr(torch, name.lower()) for name in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Bool")},
    **{"CharStorage": torch.int8, "ByteStorage": torch.uint8, "UntypedStorage": torch.uint8},
    **{"ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128},
    **{f"Q{name}Storage": getattr(torch, f"q{name.lower()}") for name in ("Int8", "UInt8", "Int32")},
}
"""Dtypes by torch's storage class, in `torch`, `torch.cuda` or `torch.storage`."""
