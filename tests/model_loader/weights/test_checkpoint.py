import os
import pickle
import stat
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.model_loader.weights.checkpoint import read_checkpoint, read_shapes
from depth_normal.model_loader.weights.integrity import structure_problem
from tests.whole_files import refusal

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "conv.bias": torch.tensor([1, 2], dtype=torch.float16)}


def torch_zip(state, path):
    torch.save(state, path)


def torch_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def parallel(state, path):
    save_file({f"module.{name}": value for name, value in state.items()}, path)


def assert_is_state(path):
    found, shapes = read_checkpoint(path), read_shapes(path)
    assert found.keys() == shapes.keys() == STATE.keys()
    for name, value in STATE.items():
        assert found[name].dtype == shapes[name].dtype == value.dtype
        assert torch.equal(found[name], value) and not found[name].requires_grad
        assert shapes[name].shape == value.shape and shapes[name].is_meta


@pytest.mark.parametrize("extension", [".pth", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("save", [torch_zip, torch_legacy, save_file, parallel])
def test_the_content_tells_the_format_whatever_the_extension(tmp_path, save, extension):
    path = tmp_path / f"weights{extension}"
    save(STATE, path)
    assert_is_state(path)


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": OrderedDict(s), "optimizer": {"state": {}}},
        lambda s: {"model_state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {k: torch.nn.Parameter(v) for k, v in s.items()},
        lambda s: {**s, "version": 2, "name": "x"},
    ],
    ids=["model", "state_dict", "module-prefix", "twice", "parameters", "extras"],
)
def test_wrappers_come_off(tmp_path, save, wrap):
    save(wrap(STATE), tmp_path / "w.pt")
    assert_is_state(tmp_path / "w.pt")


def noted(tensor):
    tensor.note = {"of": "somebody"}
    return tensor


def training():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 3, 9, 9)).sum().backward()
    optimizer.step()
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4]).state_dict()
    more = {"rng": torch.get_rng_state(), "set": {1, 2}, "size": torch.Size([1]), "device": torch.device("cpu"), "dtype": torch.float16}
    other = {
        "bytes": b"x",
        "array": bytearray(b"x"),
        "none": None,
        "deep": (1, (2, [{3: {4}}])),
        "complex": 1j,
        "loss": [0.1, float("nan")],
        "best": {"rmse": np.float32(0.3), "numpy's numbers": np.random.RandomState(0).get_state()},
    }
    return {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "schedule": steps, **more, **other}


NUMBERS = torch.arange(60.0).reshape(3, 4, 5)
SAVED = {
    "views": lambda: {"a": NUMBERS, "b": NUMBERS[1], "c": NUMBERS.permute(2, 0, 1), "d": NUMBERS[:, ::2], "e": torch.ones(1).expand(5)},
    "sizes": lambda: {"scalar": torch.tensor(3.0), "empty": torch.zeros(0), "emptier": torch.zeros(0, 5)},
    "floats": lambda: {str(dtype): NUMBERS.to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)},
    "integers": lambda: {str(dtype): NUMBERS.to(dtype) for dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)},
    "attributes": lambda: {"a": noted(torch.ones(3)), "b": noted(nn.Parameter(torch.ones(2))), "c": nn.Parameter(torch.ones(2))},
    "numbered": lambda: {0: torch.ones(1), 1: torch.zeros(2)},
    "training": training,
}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}, {"pickle_protocol": 5}])
@pytest.mark.parametrize("name", SAVED)
def test_the_same_tensors_as_torch_reads(tmp_path, name, options):
    torch.save(SAVED[name](), tmp_path / "w.pt", **options)
    expected = torch.load(tmp_path / "w.pt", weights_only=False)
    expected = {str(key): value.detach() for key, value in expected.get("model", expected).items()}
    found, shapes = read_checkpoint(tmp_path / "w.pt"), read_shapes(tmp_path / "w.pt")
    assert found.keys() == shapes.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value)
        assert (type(found[key]), found[key].dtype, found[key].stride()) == (torch.Tensor, value.dtype, value.stride()) or not value.numel()
        assert (shapes[key].shape, shapes[key].dtype) == (value.shape, value.dtype)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_dtypes_without_a_storage_class(tmp_path, dtype):
    numbers = torch.arange(6.0).to(dtype)
    torch.save({"a": numbers, "b": numbers[2:]}, tmp_path / "w.pt")
    found = read_checkpoint(tmp_path / "w.pt")
    assert found["b"].dtype == dtype
    assert found["b"].float().tolist() == [2, 3, 4, 5]


def test_writing_to_a_tensor_leaves_its_file_as_it_is(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    before = (tmp_path / "w.pt").read_bytes()
    read_checkpoint(tmp_path / "w.pt")["conv.weight"].zero_()
    assert (tmp_path / "w.pt").read_bytes() == before


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_a_file_whose_name_is_no_text(tmp_path, save):
    path = tmp_path / os.fsdecode(b"w\xff.pt")
    try:
        save(STATE, path)
    except (OSError, RuntimeError, UnicodeEncodeError):  # file systems, and torch's own writer, may refuse such names
        save(STATE, tmp_path / "w.pt")
        (tmp_path / "w.pt").rename(path)
    assert_is_state(path)


@pytest.mark.parametrize("names", [{"module.a", "b"}, {"model", "state_dict.x"}], ids=["prefix of some", "tensor called model"])
def test_names_that_are_no_wrapper_stay(tmp_path, names):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "w.pt")
    assert read_checkpoint(tmp_path / "w.pt").keys() == names


def written(content):
    return lambda path: path.write_bytes(content)


def safetensors(header, length=None):
    return written(struct.pack("<Q", len(header) if length is None else length) + header + bytes(4))


def saved(content):
    return lambda path: torch.save(content, path)


def circle(path):
    content = {}
    content["model"] = content
    torch.save(content, path)


def script(path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)


def plain_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")


def packed_zip(path):
    """Of a kilobyte, and in memory of 16 MB."""
    torch.save({"a": torch.zeros(2**22)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def later_index(path):
    torch.save({"a": torch.zeros(8)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 108  # "version needed to extract" of the index's first entry
    path.write_bytes(content)


def header_of_many_megabytes(path):
    path.write_bytes(struct.pack("<Q", 90_000_000) + b'{"a":')
    with path.open("r+b") as stream:
        stream.truncate(100_000_000)


DAMAGED_HEADERS = [
    b'{"a":1}',
    b'{"a":{"dtype":"F32"}}',
    b"{not json",
    b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":"xy"}}',
    b'{"a":' * 50000,
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}',
    b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[1e30],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}',
    b'{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[' + b"1," * 99 + b'1],"data_offsets":[0,4]}}',
    b"{" + b"".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},' % i for i in range(50_001)) + b'"a":{"dtype":"F32",'
    b'"shape":[1],"data_offsets":[0,4]}}',
    b'{"__metadata__":' + b"[" * 50000,
]
REFUSED = {
    "empty": (written(b""), "empty (0 bytes)"),
    "html": (written(b"<!DOCTYPE html><html><body>Sign in</body></html>"), "web page"),
    "html, indented": (written(b"\n  <html lang='en'>\n"), "web page"),
    "LFS pointer": (
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:501f\nsize 492757791\n"),
        "Git LFS pointer (74 bytes) of a file of 492757791",
    ),
    "PNG": (written(b"\x89PNG\r\n\x1a\n" + bytes(100)), "a PNG image"),
    "zeros": (written(bytes(4096)), "filled with zeros (4096 bytes)"),
    "text": (written(b"hello, world"), "12 bytes starting with b'hello, w'"),
    "ONNX": (written(b"\x08\x03\x12\x07pytorch\x1a\x031.0"), "an ONNX file"),
    "NumPy": (written(b"\x93NUMPY\x01\x00"), "a NumPy array"),
    "one byte": (written(b"\x80"), "1 bytes"),
    "nothing": (lambda path: None, "does not exist"),
    "a folder": (lambda path: path.mkdir(), "is a folder; expected a weights file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device; expected"),
    "a pipe": (lambda path: os.mkfifo(path), "is a pipe; expected"),
    "a socket": (lambda path: os.mknod(path, stat.S_IFSOCK), "is a socket; expected"),
    "an endless header": (safetensors(b'{"a":1}', 2**50), f"{2**50} bytes"),
    "a header of many megabytes": (header_of_many_megabytes, "claims a safetensors header of 90000000 bytes"),
    "a header cut short": (safetensors(b'{"a":', 5000), "needs 5008"),
    **{f"header {header[:60].decode()}": (safetensors(header), "damaged safetensors") for header in DAMAGED_HEADERS},
    "no tensors in safetensors": (
        lambda path: path.write_bytes(struct.pack("<Q", 33) + b'{"__metadata__":{"format":"pt"}} '),
        "holds no weights",
    ),
    "no entries in safetensors": (written(struct.pack("<Q", 2) + b"{}"), "holds no weights"),
    "bool in safetensors": (lambda path: save_file({"odd": torch.ones(3, dtype=torch.bool)}, path), "holds odd as torch.bool values"),
    "a whole network": (saved(nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "TorchScript": (script, "TorchScript"),
    "another zip": (plain_zip, "['readme.txt']"),
    "a packed zip": (packed_zip, "compressed zip"),
    "a zip whose index is of a later version": (later_index, "cut short or damaged"),
    "a list": (saved([1, 2]), "a list"),
    "a tensor": (saved(torch.zeros(2)), "a Tensor"),
    "no tensors": (saved({"a": 1}), "(a)"),
    "an empty dictionary": (saved({}), "(none)"),
    "a dictionary that holds itself": (circle, "no tensors"),
}


@pytest.mark.filterwarnings("ignore:.*(deprecated)")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(tmp_path, name):
    make, said = REFUSED[name]
    if sys.platform == "win32" and name in ("a device", "a pipe", "a socket"):
        pytest.skip("Windows has no such files")
    path = tmp_path / "dpt_hybrid.pth"
    make(path)
    assert said in refusal(path)
    assert said in (structure_problem(path) or "no problem"), "what is refused later is not kept as a download"


def test_a_forbidden_file(tmp_path, monkeypatch):
    path = tmp_path / "locked.pt"
    torch.save(STATE, path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def forbidden(self, *_, **__):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(type(path), "open", forbidden)
    message = refusal(path)
    assert "Permission denied" in message
    assert "permissions" in message
    assert structure_problem(path) == message.replace(str(path), "it", 1)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("save", [torch_zip, torch_legacy, save_file])
def test_a_file_cut_short_says_how_much_was_found(tmp_path, save, keep):
    path = tmp_path / "w.pt"
    save({"a": torch.randn(4000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(10, int(len(whole) * keep))])
    message = refusal(path)
    assert "cut short" in message
    assert str(path.stat().st_size) in message
    if save is save_file and keep > 0.02:
        assert str(len(whole)) in message


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("disguise", ["zip", "legacy", "pickle2", "pickle4"])
def test_code_in_a_pickle_is_never_run(tmp_path, disguise):
    marker, path = tmp_path / "ran", tmp_path / "w.pt"
    state = {**STATE, "payload": Payload(marker)}
    if disguise == "zip":
        torch_zip(state, path)
    elif disguise == "legacy":
        torch_legacy(state, path)
    else:
        path.write_bytes(pickle.dumps({"payload": Payload(marker)}, protocol=int(disguise[-1])))
    message = refusal(path)
    assert not marker.exists()
    assert f"call {os.system.__module__}.system" in message
    assert "It was not loaded" in message
    torch.load(path, weights_only=False) if disguise in ("zip", "legacy") else pickle.loads(path.read_bytes())
    assert marker.exists(), "the pickle was harmless"


@pytest.mark.filterwarnings("ignore:.*(Sparse CSR|nested|deprecated)")
@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.ones(3, dtype=torch.bool), "torch.bool values"),
        (lambda: torch.ones(3, dtype=torch.complex64), "torch.complex64 values"),
        (lambda: torch.eye(3).to_sparse(), "a special tensor (sparse_tensor)"),
        (lambda: torch.eye(3).to_sparse_csr(), "a special tensor (sparse_tensor)"),
        (lambda: torch.quantize_per_tensor(torch.rand(3, 3), 0.1, 0, torch.qint8), "a special tensor (qtensor)"),
        (lambda: torch.zeros(3, device="meta"), "a special tensor (meta_tensor_no_storage)"),
        (lambda: torch.zeros(1).expand(2**20, 2**16), f"a tensor of ({2**20}, {2**16}), {2**38} bytes, more than the"),
        pytest.param(
            lambda: torch.zeros(16, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
            "torch.float4_e2m1fn_x2 values",
            marks=pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="torch 2.8 and newer"),
        ),
    ],
    ids=["bool", "complex", "sparse", "csr", "quantised", "meta", "endless", "float4"],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, save, make, said):
    save({**STATE, "odd.weight": make()}, tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert f"holds odd.weight as {said}" in message
    assert "get the weights as they were published" in message


def test_random_damage_is_a_clear_error_or_a_dictionary(tmp_path):
    rng = np.random.default_rng(0)
    for save in (torch_zip, torch_legacy, save_file):
        path = tmp_path / "w"
        save({"a": torch.zeros(8)}, path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[rng.integers(len(whole), size=8)] = rng.integers(256, size=8)
            path.write_bytes(damaged.tobytes())
            try:
                assert isinstance(read_checkpoint(path), dict)
            except CheckpointError as error:
                assert str(path) in str(error)
