"""Reads PyTorch weights files, zip archives or the format before 2020; tensors are memory-mapped."""

from __future__ import annotations

import mmap
import struct
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...annotators.specs.base import printable
from .pickled_values import DamagedPickleError, PickleError, Storage, StoredTensor
from .pickles import read_pickle

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""Of the old format."""
_MAX_PICKLE = 2**25
"""Bytes. A state dict takes about 120 a tensor."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Before the content of a zip's entry: a signature, and the lengths of the name and of the extra field that follow."""
_ALIGNMENT = 64
"""Bytes: torch's own, in memory and in the zip archives that it writes."""
_COUNT = struct.Struct("<q")
"""Before the numbers of an old file's storage."""


class NotWeightsError(ValueError):
    """A file that holds something else than weights; the message says what, in words that begin with "is"."""


class TorchFile:
    """A weights file whose numbers have not been read.

    Attributes:
        content: What was saved, as `pickles.read_pickle` gives it.
    """

    def __init__(self, content: Any, places: Mapping[str, int], mapped: mmap.mmap) -> None:
        """`places` are the bytes of the file at which its storages begin, by their keys."""
        self.content = content
        self._places = places
        self._bytes = torch.frombuffer(mapped, dtype=torch.uint8).untyped_storage()
        self._storages: dict[str, torch.UntypedStorage] = {}

    def tensor(self, stored: StoredTensor) -> Tensor:
        """A tensor of the file, on the CPU, read from the disk where it is touched. Writing to it leaves the file as it is."""
        key = stored.storage.key
        if key not in self._storages:
            begin = self._places[key]
            part = self._bytes[begin : begin + stored.storage.nbytes]
            # in old files, and in zips that another program packed, numbers lie at any byte
            self._storages[key] = part.clone() if begin % _ALIGNMENT else part
        return torch.empty(0, dtype=stored.dtype).set_(self._storages[key], stored.offset, stored.shape, stored.strides)


def open_torch_file(path: Path) -> TorchFile:
    """Reads what a file of PyTorch holds, without its numbers and without running its pickle.

    Raises:
        NotWeightsError: Another zip archive, TorchScript, a packed one, or a machine's whose bytes have the other order.
        PickleError: As `read_pickle`; also where the file does not hold the numbers that it says it holds.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        try:
            content, places = _read_zip(stream, mapped) if mapped[:4] == b"PK\x03\x04" else _read_old(mapped)
        except BaseException:
            mapped.close()  # Windows neither moves nor deletes a file that is mapped
            raise
    return TorchFile(content, places, mapped)


def _read_zip(stream: BinaryIO, mapped: mmap.mmap) -> tuple[Any, dict[str, int]]:
    records = _records(stream, mapped)
    order = records.get("byteorder", range(0))
    if order and mapped[order.start : order.stop] != sys.byteorder.encode():
        raise NotWeightsError(_OTHER_ORDER)
    pickled = records["data.pkl"]
    if len(pickled) > _MAX_PICKLE:
        raise PickleError(f"it has a pickle of {len(pickled)} bytes; the largest models need less than {_MAX_PICKLE}")
    content, storages = read_pickle(BytesIO(mapped[pickled.start : pickled.stop]))
    places = {}
    for key, storage in storages.items():
        record = records.get(f"data/{key}", range(0))
        if len(record) < storage.nbytes:
            raise DamagedPickleError(f"it says that a tensor has {storage.length} numbers, and holds {len(record)} bytes of them")
        places[key] = record.start
    return content, places


def _records(stream: BinaryIO, mapped: mmap.mmap) -> dict[str, range]:
    """The place of each entry of a zip archive, by its name without the folder that all are in."""
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # the last: an index of a later version, or a damaged one
        raise DamagedPickleError("it is a PyTorch (zip) file without the index at its end") from error
    # `orig_filename` is the name that stands in the index; `filename` may be another one, from a field that PyTorch does not read
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
    return {entry.orig_filename.removeprefix(folders[0]): _content(entry, mapped) for entry in inside}


def _content(entry: zipfile.ZipInfo, mapped: mmap.mmap) -> range:
    """The bytes of the file that are an entry's content."""
    begin = entry.header_offset + _LOCAL_HEADER.size
    if entry.header_offset >= 0 and begin <= len(mapped):
        signature, name, extra = _LOCAL_HEADER.unpack_from(mapped, entry.header_offset)
        begin += name + extra
        if signature == b"PK\x03\x04" and begin + entry.file_size <= len(mapped):
            return range(begin, begin + entry.file_size)
    raise DamagedPickleError("it is a PyTorch (zip) file whose index does not fit its content")


def _read_old(mapped: mmap.mmap) -> tuple[Any, dict[str, int]]:
    stream = BytesIO(mapped[:_MAX_PICKLE])
    magic, _ = read_pickle(stream)
    if magic != _MAGIC:
        raise PickleError("it is a pickle that torch.save did not write")
    version, _ = read_pickle(stream)
    machine, _ = read_pickle(stream)
    if version != _VERSION or not isinstance(machine, dict):
        raise DamagedPickleError("it is of an unknown version of PyTorch's old format")
    if machine.get("little_endian", True) != (sys.byteorder == "little"):
        raise NotWeightsError(_OTHER_ORDER)
    content, storages = read_pickle(stream)
    keys, _ = read_pickle(stream)
    return content, _places_in_turn(keys, storages, stream.tell(), mapped)


def _places_in_turn(keys: Any, storages: Mapping[str, Storage], begin: int, mapped: mmap.mmap) -> dict[str, int]:
    """The places of the storages of an old file: one behind the other in the order of their keys, each after the count of its numbers."""
    if not isinstance(keys, list) or {key for key in keys if isinstance(key, str)} != storages.keys() or len(keys) != len(storages):
        raise DamagedPickleError("it names other storages than its tensors have")
    places = {}
    for key in keys:
        places[key] = begin + _COUNT.size
        end = places[key] + storages[key].nbytes
        if end > len(mapped) or _COUNT.unpack_from(mapped, begin) != (storages[key].length,):
            raise DamagedPickleError(f"it says that a tensor has {storages[key].length} numbers, and does not hold them")
        begin = end
    return places


_OTHER_ORDER = "was saved on a machine whose bytes have the other order; save it anew, as .safetensors"
