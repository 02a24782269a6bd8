"""Models what torch.save writes to a pickle (storages, tensors, the functions that rebuild them) without running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

MAX_AXES = 64
MAX_NAME = 1000
_MAX_NUMBERS = 2**60

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}
"""By the names of torch's classes, in `torch`, `torch.cuda` or `torch.storage`."""


class PickleError(ValueError):
    """A pickle that holds no state dict as torch.save writes it; the message says what it does instead, in words that begin with "it"."""


class DamagedPickleError(PickleError):
    """A pickle that ends early, or that makes no sense."""


class UnsafePickleError(PickleError):
    """A pickle that would call what no state dict needs.

    Attributes:
        name: The function or class, with its module.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it would call {name}")
        self.name = name


@dataclass(frozen=True)
class Name:
    """A class or function, by its name and module. Nothing is imported."""

    name: str


@dataclass(frozen=True)
class Other:
    """An object that no weights are made of: a set, a device, a complex number."""


@dataclass(frozen=True)
class OtherTensor:
    """A tensor that is no plain view of a storage; `kind` says what, in words."""

    kind: str


@dataclass(frozen=True)
class Storage:
    """A row of numbers that lies outside the pickle.

    Attributes:
        key: Its name in the file.
        dtype: Of its numbers.
        length: How many there are.
        start: The number at which those tensors begin to count that have it: not 0 in old files' parts of a storage.
    """

    key: str
    dtype: torch.dtype
    length: int
    start: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return self.length * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a pickle describes it: a view of a storage, inside its bounds.

    Attributes:
        storage: Where its numbers are.
        dtype: Of its numbers.
        offset: The first one.
        shape: Of the tensor.
        strides: From one number to the next along each axis.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all its elements, those that share a number included."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_possible_shape(shape: Sequence[int]) -> bool:
    """True if a tensor can have this shape: torch counts axes and numbers with integers of its own, also of tensors that are empty."""
    return len(shape) <= MAX_AXES and math.prod(max(side, 1) for side in shape) < _MAX_NUMBERS


def is_known(name: str) -> bool:
    """True if torch.save names this class or function where it saves tensors."""
    return name in CALLS or name in _NAMES or _dtype_named(name) is not None or _storage_named(name) is not None


def storage_of(persistent_id: Any) -> Storage:
    """The storage that a persistent id means: ("storage", class, key, device, length), in old files with (key, start, length) of a part.

    Raises:
        TypeError: It means none.
    """
    if not isinstance(persistent_id, tuple) or len(persistent_id) not in (5, 6):
        raise TypeError("an unknown persistent id")
    word, kind, key, _device, length, *part = persistent_id
    dtype = _storage_named(kind.name) if isinstance(kind, Name) else None
    if word != "storage" or dtype is None or not isinstance(key, str) or len(key) > MAX_NAME or not _is_size(length):
        raise TypeError("an unknown persistent id")
    _key, start, _length = part[0] if part and part[0] is not None else (key, 0, length)
    if not _is_size(start):
        raise TypeError("a part of a storage that begins nowhere")
    return Storage(key, dtype, length, start)


def _size(sizes: Any = ()) -> tuple[int, ...]:
    if type(sizes) is not tuple or len(sizes) > MAX_AXES:
        raise TypeError("no size of a tensor")
    return sizes


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    _requires_grad: Any = False,
    _hooks: Any = None,
    metadata: Any = None,
    *,
    dtype: torch.dtype | None = None,
) -> StoredTensor | OtherTensor:
    """The result of torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    shape, strides = _size(shape), _size(strides)
    if not isinstance(storage, Storage) or len(shape) != len(strides) or not all(map(_is_size, (offset, *shape, *strides))):
        raise TypeError("a tensor of impossible size")
    if not is_possible_shape(shape):
        raise PickleError(f"it has a tensor of {shape}, more numbers than any machine holds")
    if metadata:
        return OtherTensor("a conjugated or negated view of a tensor")
    if 0 in shape:
        return StoredTensor(storage, dtype or storage.dtype, 0, shape, (0,) * len(shape))
    tensor = StoredTensor(storage, dtype or storage.dtype, storage.start + offset, shape, strides)
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if (last + 1) * tensor.dtype.itemsize > storage.nbytes:
        raise DamagedPickleError(f"it has a tensor that ends at number {last + 1} of a storage of {storage.length}")
    return tensor


def _tensor_of_dtype(*arguments: Any) -> StoredTensor | OtherTensor:
    """The result of torch._utils._rebuild_tensor_v3: a tensor of a dtype that has no storage class of its own."""
    *first, dtype = arguments[:7]
    named = _dtype_named(dtype.name) if isinstance(dtype, Name) else None
    if named is None:
        raise TypeError("a tensor of an unknown dtype")
    return _tensor(*first, *arguments[7:], dtype=named)


def _parameter(tensor: Any, *_more: Any) -> Any:
    return tensor


def _other_tensor(kind: str) -> Callable[..., OtherTensor]:
    return lambda *_: OtherTensor(kind)


def _other(*_: Any) -> Other:
    return Other()


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _dtype_named(name: str) -> torch.dtype | None:
    module, _, last = name.partition(".")
    found = getattr(torch, last, None) if module == "torch" else None
    return found if isinstance(found, torch.dtype) else None


def _storage_named(name: str) -> torch.dtype | None:
    module, _, last = name.rpartition(".")
    return _STORAGES.get(last) if module in ("torch", "torch.cuda", "torch.storage") else None


ORDERED_DICTIONARY = "collections.OrderedDict"
TENSOR_OF_CLASS = "torch._tensor._rebuild_from_type_v2"
"""Makes a tensor with attributes, or of a class of its own: (function that makes it, class, its arguments, attributes)."""

CALLS: dict[str, Callable[..., Any]] = {
    ORDERED_DICTIONARY: dict,
    "collections.Counter": _other,
    "builtins.set": _other,
    "builtins.complex": _other,
    "builtins.bytearray": _other,
    "_codecs.encode": _other,
    "torch.Size": _size,
    "torch.device": _other,
    "torch.serialization._get_layout": _other,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    TENSOR_OF_CLASS: _other,
    "torch._utils._rebuild_sparse_tensor": _other_tensor("a sparse tensor"),
    "torch._utils._rebuild_qtensor": _other_tensor("a quantised tensor"),
    "torch._utils._rebuild_nested_tensor": _other_tensor("a nested tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _other_tensor("a tensor without numbers (of torch's meta device)"),
    "torch._utils._rebuild_wrapper_subclass": _other_tensor("a tensor of a class of its own"),
    "torch._utils._rebuild_device_tensor_from_numpy": _other_tensor("a tensor of another device"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _other_tensor("a tensor of another device"),
}
"""Functions that are called in state dicts as torch.save writes them, and their stand-ins here."""
_NAMES = {
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    *(f"torch.{name.replace('Storage', 'Tensor')}" for name in _STORAGES),
    *(f"torch.per_{name}" for name in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric")),
    "torch.per_channel_affine_float_qparams",
}
"""Names in state dicts that are not called."""
