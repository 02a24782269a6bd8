"""Weights files made to crash, to hang, to take all memory or to run programs: each gives an error in words, or harmless weights."""

import json
import os
import struct
import time
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.app.console.terminal import TerminatedError, terminable
from depth_normal.model_loader.weights.checkpoint import read_checkpoint, read_shapes
from tests.forked import event, forked, needs_fork
from tests.whole_files import refusal

NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


# --- pickles, by their steps ---


def text(words):
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def whole(number):
    return b"\x8a\x09" + number.to_bytes(9, "little", signed=True)


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(key="0", length=4, kind="FloatStorage"):
    return b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + whole(length) + b"tQ"


def sizes(numbers):
    return b"(" + b"".join(map(whole, numbers)) + b"t"


def call(module, name, *arguments):
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


ORDERED = named("collections", "OrderedDict") + b")R"


def tensor(shape=(4,), strides=(1,), offset=0, stored=None):
    return call("torch._utils", "_rebuild_tensor_v2", stored or storage(), whole(offset), sizes(shape), sizes(strides), b"\x89", ORDERED)


def doubled(times=60, open_=b"", close=b"\x86"):
    """A value that holds itself twice, and so on: 2^times when it is walked."""
    return b")" + b"".join(b"r" + struct.pack("<I", i) + open_ + (b"j" + struct.pack("<I", i)) + close for i in range(times))


DEEP = b")" + b"\x85" * 300_000
STATE = text("a") + tensor()


def weights(value):
    return b"}" + text("a") + value + b"s"


def entry(key, value=b"K\x01"):
    return b"}" + STATE + b"s" + key + value + b"s"


def plain(*more):
    return b"}" + STATE + b"s" + b"".join(text(f"x{i}") + value + b"s" for i, value in enumerate(more))


KEY = "it has a dictionary's key of the type {}; accepted are strings of up to 1000 characters and integers below 2^60".format
# The long ones are made where they are needed: here they would be held by all tests.
PICKLES = {
    "deep key": (entry(DEEP), KEY("tuple")),
    "deeper key": (entry(b")" + b"\x85" * 1_000_000), KEY("tuple")),
    "doubled key": (entry(doubled()), KEY("tuple")),
    "deep key of an ordered dictionary": (call("collections", "OrderedDict", b"](" + DEEP + b"K\x01\x86e"), KEY("tuple")),
    "tensor as a key": (entry(tensor()), KEY("Tensor")),
    "class as a key": (entry(named("torch", "Size")), KEY("_Name")),
    "deep values": (plain(DEEP, b"(]" + b"r\0\0\0\0]j\0\0\0\0ar\0\0\0\0" * 50_000 + b"t"), None),
    "doubled values": (
        plain(doubled(), call("builtins", "set", b"](" + doubled() + b"e"), call("collections", "Counter", doubled())),
        None,
    ),
    "call of a doubled value": (doubled() + b")R", "a call of what is no function"),
    "name of doubled values": (b"\x80\x04" + doubled() + doubled() + b"\x93", "STACK_GLOBAL requires str"),
    "class in a class": (
        call(
            "torch._tensor", "_rebuild_from_type_v2", named("torch._tensor", "_rebuild_from_type_v2"), named("torch", "Tensor"), b")", b"N"
        ),
        "missing 4 required positional arguments",
    ),
    "state dict with attributes": (ORDERED + STATE + b"s}" + text("items") + b"K\x01s" + text("get") + b"K\x01sb", None),
    "tensor with attributes": (
        weights(
            call(
                "torch._tensor",
                "_rebuild_from_type_v2",
                named("torch._utils", "_rebuild_tensor_v2"),
                named("torch", "Tensor"),
                b"(" + storage() + whole(0) + sizes((4,)) + sizes((1,)) + b"\x89" + ORDERED + b"t",
                b"}" + text("detach") + b"K\x01s" + text("__class__") + named("torch", "Size") + b"s",
            )
        ),
        None,
    ),
    "endless bytes": (plain(call("builtins", "bytearray", whole(2**40))), None),
    "endless tensor by its class": (plain(call("torch", "FloatTensor", whole(2**40))), "it would call torch.FloatTensor"),
    "slow codec": (plain(call("_codecs", "encode", text("\u03b1" * 200_000), text("idna"))), None),
    "one number without end": (weights(tensor((2**20, 2**20), (0, 0))), "a as a tensor of (1048576, 1048576)"),
    "more numbers than there are": (weights(tensor((2**62, 2**62), (0, 0))), "more numbers than any machine holds"),
    "empty and endless": (weights(tensor((0, 2**62), (0, 0))), "more numbers than any machine holds"),
    "beyond its storage": (weights(tensor((4,), (2,))), "a tensor that ends at number 7 of a storage of 4"),
    "beyond by its offset": (weights(tensor((4,), (1,), 2**60)), "of a storage of 4"),
    "before its storage": (weights(tensor((4,), (1,), -1)), "a tensor of impossible size"),
    "backwards": (weights(tensor((4,), (-1,), 3)), "a tensor of impossible size"),
    "many axes": (weights(tensor((1,) * 1000, (1,) * 1000)), "no size of a tensor"),
    "longer than the record": (weights(tensor(stored=storage(length=2**40))), f"a tensor has {2**40} numbers"),
    "no such record": (weights(tensor(stored=storage("1"))), "holds 0 bytes of them"),
    "two in one": (plain(tensor(stored=storage(kind="DoubleStorage", length=2), shape=(2,))), None),
    "negated view": (weights(tensor()[:-2] + b"}" + text("neg") + b"\x88stR"), "holds a as a conjugated or negated view"),
    "the same numbers in many tensors": (
        b"}" + b"".join(text(str(i)) + tensor((10_000,), (0,)) + b"s" for i in range(400)),
        "bytes with those before it, more than the",
    ),
    "unknown step": (plain(b"N0"), "it uses the step POP, which no state dict needs"),
    "a long list, again and again": (
        b"]("
        + b"".join(text(f"{i:02}") for i in range(99)) * 1000
        + b"er\0\0\0\0"
        + (named("collections", "OrderedDict") + b"j\0\0\0\0\x85R") * 100,
        "holds no weights",
    ),
    "long arguments, again and again": (
        b"(" + b"N" * 200_000 + b"tr\0\0\0\0" + (named("builtins", "set") + b"j\0\0\0\0R") * 100_000,
        "no function",
    ),
    "long keys, compared again and again": (
        lambda: b"}" + text("k" * 2**20) + b"Ns" + text("k" * (2**20 - 1) + "k") + b"r\0\0\0\0Ns" + b"j\0\0\0\0Ns" * 200_000,
        KEY("str"),
    ),
    "long name of a storage": (weights(tensor(stored=storage("k" * 2**20))), "an unknown persistent id"),
    "integers of one hash": (plain(b"}(" + b"".join(whole(i * (2**61 - 1)) + b"N" for i in range(1, 1025)) + b"u"), KEY("int")),
    "many steps": (plain(b"]" + b"Na" * 2_000_000), None),
    "a long pickle": (lambda: plain(text("x" * 2**26)), "it has a pickle of"),
    "a program": (call("posix", "system", text("true")), "loading it would call posix.system"),
}


def pack(path, pickled, entries=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + (pickled() if callable(pickled) else pickled) + b".")
        archive.writestr("archive/data/0", NUMBERS)
        archive.writestr("archive/version", "3")
        for name, content in entries:
            archive.writestr(name, content)


def read_alone(path, answer):
    """Writes what reading a file came to; in a process of its own, which may have a gigabyte more memory than it has."""
    resource = pytest.importorskip("resource")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30,) * 2)
    try:
        said = {name: value.tolist() for name, value in read_checkpoint(path).items()}
    except CheckpointError as error:
        said = str(error)
    answer.write_text(json.dumps(said))


@needs_fork
@pytest.mark.slow("starts other processes")
@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle(tmp_path, name):
    pickled, words = PICKLES[name]
    pack(tmp_path / "w.pt", pickled)
    with forked((read_alone, tmp_path / "w.pt", tmp_path / "answer"), seconds=60):
        pass
    assert (tmp_path / "answer").exists(), "its process crashed or never ended"
    said = json.loads((tmp_path / "answer").read_text())
    if words is None:
        assert said["a"] == [1.0, 2.0, 3.0, 4.0]
    else:
        assert words in said and "\n" not in said and len(said) < 600


@needs_fork
def test_sigterm_ends_the_reading_of_a_long_pickle(tmp_path):
    pack(tmp_path / "w.pt", PICKLES["many steps"][0])
    reading = event()

    def read():
        with pytest.raises(TerminatedError), terminable():
            reading.set()
            while True:
                with suppress(CheckpointError):
                    read_checkpoint(tmp_path / "w.pt")

    with forked((read,)) as (process,):
        assert reading.wait(60)
        time.sleep(0.1)
        process.terminate()
    assert process.exitcode == 0


# --- zip archives ---


def hidden(name, shown):
    """An entry that Python's zipfile calls `shown`, by its extra field 0x7075."""
    content = struct.pack("<BL", 1, zlib.crc32(name.encode())) + shown.encode()
    entry = zipfile.ZipInfo(name)
    entry.extra = struct.pack("<HH", 0x7075, len(content)) + content
    return entry


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux lists what is mapped")
@pytest.mark.parametrize("name", ["a program", "beyond its storage", "deep key", "no such record"])
def test_a_refused_file_is_not_held(tmp_path, name):
    """Windows neither moves nor deletes a file that is mapped."""
    pack(tmp_path / "w.pt", PICKLES[name][0])
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(CheckpointError) as caught:
            read(tmp_path / "w.pt")
        assert caught.value.__cause__
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_an_entry_goes_by_the_name_that_torch_reads(tmp_path):
    pack(tmp_path / "script.pt", plain(), [(hidden("archive/constants.pkl", "archive/notes.txt"), b"")])
    assert torch._C.PyTorchFileReader(str(tmp_path / "script.pt")).has_record("constants.pkl")
    assert "TorchScript" in refusal(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr(hidden("archive/data.pkl", "archive/other.pkl"), b"\x80\x02" + plain() + b".")
        archive.writestr(hidden("archive/other.pkl", "archive/data.pkl"), b"\x80\x02" + PICKLES["a program"][0] + b".")
        archive.writestr("archive/data/0", NUMBERS)
        archive.writestr("archive/version", "3")
    assert read_checkpoint(tmp_path / "w.pt")["a"].tolist() == [1, 2, 3, 4]
    assert torch.equal(torch.load(tmp_path / "w.pt", weights_only=True)["a"], read_checkpoint(tmp_path / "w.pt")["a"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice(tmp_path):
    for entry in (("archive/data/0", NUMBERS), ("other/data.pkl", b"")):
        pack(tmp_path / "w.pt", plain(), [entry])
        assert "holds an entry twice" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("signature", "position", "number"),
    [
        pytest.param(b"PK\x03\x04", 2, b"\t", id="signature"),
        pytest.param(b"PK\x03\x04", 27, b"\xff", id="name"),
        pytest.param(b"PK\x03\x04", 29, b"\xff", id="extra"),
        pytest.param(b"PK\x01\x02", 8, b"\x01", id="encrypted"),
        pytest.param(b"PK\x01\x02", 24, b"\0\0\0\x80", id="size"),
        pytest.param(b"PK\x01\x02", 42, b"\0\0\0\x80", id="start"),
    ],
)
def test_an_index_that_lies(tmp_path, signature, position, number):
    pack(tmp_path / "w.pt", plain())
    content = bytearray((tmp_path / "w.pt").read_bytes())
    begin = content.index(signature, content.index(signature) + 4) + position  # of the second entry, the numbers
    content[begin : begin + len(number)] = number
    (tmp_path / "w.pt").write_bytes(content)
    words = refusal(tmp_path / "w.pt")
    assert ("compressed zip" if position == 8 else "whose index does not fit its content") in words


def test_entries_that_say_they_are_the_same_bytes(tmp_path):
    """Where they do not lie as numbers must, each would be copied: a small file would fill the memory."""
    torch.save({str(i): torch.full((1000,), float(i)) for i in range(20)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    places = [i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02" and b"data/" in content[i + 46 : i + 80]]
    (first,) = struct.unpack_from("<I", content, places[0] + 42)
    for place in places:
        struct.pack_into("<I", content, place + 42, first)
    (tmp_path / "w.pt").write_bytes(content)
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(CheckpointError, match="entries overlap; get the original file"):
            read(tmp_path / "w.pt")


# --- files of before 2020 ---


KEYS = b"](" + text("0") + b"e"
DATA = struct.pack("<q", 4) + NUMBERS
LITTLE_ENDIAN = b"}" + text("little_endian") + b"\x88s"


def old(pickled, keys=KEYS, data=DATA, machine=LITTLE_ENDIAN):
    magic = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    return b"".join(b"\x80\x02" + each + b"." for each in (magic, b"M\xe9\x03", machine, pickled, keys)) + data


def old_tensor(part=b"N"):
    stored = storage()[:-2] + part + b"tQ"
    return b"}" + text("a") + tensor((2,), stored=stored) + b"s"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (old(old_tensor(), keys=b"](" + DEEP + b"e"), "other storages than its tensors have"),
        (old(old_tensor(), keys=b"](" + doubled() + text("0") + b"e"), "other storages than its tensors have"),
        (old(old_tensor(), keys=b"](" + text("0") * 2 + b"e"), "other storages than its tensors have"),
        (old(old_tensor(), keys=b"N"), "other storages than its tensors have"),
        (old(old_tensor(), data=struct.pack("<q", 2**40) + NUMBERS), "a tensor has 4 numbers, and does not hold them"),
        (old(old_tensor(), data=struct.pack("<q", 4) + NUMBERS[1:]), "a tensor has 4 numbers, and does not hold them"),
        (old(old_tensor(b"(" + text("v") + whole(2**62) + whole(2) + b"t")), "that ends at number"),
        (old(old_tensor(b"(" + text("v") + whole(-1) + whole(2) + b"t")), "begins nowhere"),
        (old(old_tensor(), machine=b"}" + text("little_endian") + b"\x89s"), "bytes have the other order"),
        (old(old_tensor(), machine=b"N"), "unknown version"),
        (old(old_tensor(), machine=b"}" + text("little_endian") + tensor() + b"s"), "bytes have the other order"),
        (b"\x80\x02" + tensor() + b".", "a pickle that torch.save did not write"),
        (old(b"}" + text("a") + tensor(stored=storage(length=2**40)) + b"s"), f"a tensor has {2**40} numbers"),
        (
            old(b"(" + text("module") + named("torch.nn.modules.linear", "Linear") + text("f.py") + text("") + b"tQ"),
            "modules.linear.Linear",
        ),
        (b"\x80\x02" + doubled() + b".", "a pickle that torch.save did not write"),
        (b"\x80\x02" + DEEP + b".", "a pickle that torch.save did not write"),
        (lambda: b"\x80\x02" + text("x" * 2**26) + b".", "makes no sense"),
    ],
)
def test_hostile_old_files(tmp_path, content, said):
    (tmp_path / "w.pt").write_bytes(content() if callable(content) else content)
    assert said in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("wrap", [old, lambda pickled: b"\x80\x02" + pickled + b"."])
def test_a_pickle_that_ends_anywhere(tmp_path, wrap):
    whole = wrap(old_tensor())
    for length in range(2, len(whole)):
        (tmp_path / "w.pt").write_bytes(whole[:length])
        words = refusal(tmp_path / "w.pt").removeprefix(str(tmp_path / "w.pt"))
        assert words.startswith((" is cut short or damaged", " is no state dict"))


def test_a_part_of_a_storage_in_an_old_file(tmp_path):
    (tmp_path / "w.pt").write_bytes(old(old_tensor(b"(" + text("v") + whole(1) + whole(2) + b"t")))
    assert read_checkpoint(tmp_path / "w.pt")["a"].tolist() == [2, 3]
    assert torch.load(tmp_path / "w.pt", weights_only=True)["a"].tolist() == [2, 3]


def test_many_tensors_of_one_unaligned_storage_are_read_once(tmp_path):
    shared = torch.arange(100_000.0)
    torch.save({str(i): shared[i:] for i in range(4)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    found = read_checkpoint(tmp_path / "w.pt")
    assert len({each.untyped_storage().data_ptr() for each in found.values()}) == 1
    assert all(torch.equal(found[str(i)], shared[i:]) for i in range(4))
