import json
import os
import pickle
import socket
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

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "conv.bias": torch.tensor([1, 2], dtype=torch.float16)}


def torch_zip(state, path):
    torch.save(state, path)


def torch_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def assert_is_state(found):
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
        assert not found[name].requires_grad


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("extension", [".pth", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("save", [torch_zip, torch_legacy, save_file])
def test_the_content_tells_the_format_whatever_the_extension(tmp_path, save, extension):
    path = tmp_path / f"weights{extension}"
    save(STATE, path)
    assert_is_state(read_checkpoint(path))


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
    assert_is_state(read_checkpoint(tmp_path / "w.pt"))


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
    assert_is_state(read_checkpoint(path))


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "w.pt")
    assert read_checkpoint(tmp_path / "w.pt").keys() == {"module.a", "b"}


def test_a_network_with_a_part_called_model_is_not_unwrapped(tmp_path):
    torch.save({"model": torch.zeros(1), "state_dict.x": torch.zeros(1)}, tmp_path / "w.pt")
    assert read_checkpoint(tmp_path / "w.pt").keys() == {"model", "state_dict.x"}


def test_a_dictionary_that_holds_itself_ends(tmp_path):
    circle = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "w.pt")
    assert "no tensors" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty (0 bytes)"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\n  <html lang='en'>\n", "web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:501f\nsize 492757791\n",
            "Git LFS pointer (74 bytes) of a file of 492757791",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (bytes(4096), "filled with zeros (4096 bytes)"),
        (b"hello, world", "12 bytes starting with b'hello, w'"),
        (b"\x08\x03\x12\x07pytorch\x1a\x031.0", "an ONNX file"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\x80", "1 bytes"),
    ],
    ids=["empty", "html", "html-indented", "lfs", "png", "zeros", "text", "onnx", "npy", "one-byte"],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, said):
    path = tmp_path / "dpt_hybrid.pth"
    path.write_bytes(content)
    assert said in refusal(path)


def test_no_file_a_folder_and_a_forbidden_file(tmp_path, monkeypatch):
    assert "does not exist" in refusal(tmp_path / "none.pt")
    assert "is a folder" in refusal(tmp_path)
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, monkeypatch, kind):
    path = tmp_path / "w.pt"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(tmp_path)  # a socket's address is at most about 100 characters long
            listener.bind(path.name)
    with pytest.raises(CheckpointError, match=f"{path} is {kind}; expected a weights file"):
        read_checkpoint(path)
    assert structure_problem(path).startswith(f"it is {kind}")


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


def test_absurd_safetensors_headers(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**50) + b'{"a":1}')
    assert f"{2**50} bytes" in refusal(path)
    path.write_bytes(struct.pack("<Q", 5000) + b'{"a":1}')
    assert "needs 5008" in refusal(path)


@pytest.mark.parametrize(
    "header",
    [
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
    ],
    ids=lambda header: header[:60].decode(),
)
def test_damaged_safetensors_headers(tmp_path, header):
    """In the same words whether the tensors or only their shapes are asked for, and in one line."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert "damaged safetensors" in refusal(path)
    with pytest.raises(CheckpointError, match="damaged safetensors") as error:
        read_shapes(path)
    assert "\n" not in str(error.value)


def test_a_header_of_many_megabytes_is_not_read(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 90_000_000) + b'{"a":')
    with path.open("r+b") as stream:
        stream.truncate(100_000_000)
    assert "claims a safetensors header of 90000000 bytes" in refusal(path)


def test_safetensors_without_tensors(tmp_path):
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "holds no weights" in refusal(tmp_path / "w.safetensors")


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


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "w.pt")


def test_a_torchscript_program_and_a_plain_zip(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")
    assert "TorchScript" in refusal(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "['readme.txt']" in refusal(tmp_path / "w.zip")


@pytest.mark.parametrize(("content", "said"), [([1, 2], "a list"), (torch.zeros(2), "a Tensor"), ({"a": 1}, "(a)"), ({}, "(none)")])
def test_a_file_without_named_tensors(tmp_path, content, said):
    torch.save(content, tmp_path / "w.pt")
    assert said in refusal(tmp_path / "w.pt")


def test_an_index_of_an_unknown_version(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(8)}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\x01\x02") + 6] = 108  # "version needed to extract" of the index's first entry
    path.write_bytes(whole)
    assert "cut short or damaged" in refusal(path)


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
    ],
    ids=["bool", "complex", "sparse", "csr", "quantised", "meta", "endless"],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, save, make, said):
    save({**STATE, "odd.weight": make()}, tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert f"holds odd.weight as {said}" in message
    assert "get the weights as they were published" in message


def test_odd_tensors_of_a_safetensors_file(tmp_path):
    save_file({"odd": torch.ones(3, dtype=torch.bool)}, tmp_path / "w.safetensors")
    assert "holds odd as torch.bool values" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_tensors_may_share_memory_and_lie_in_any_order(tmp_path, save):
    numbers = torch.arange(6.0)
    state = {"head": numbers[:4], "tail": numbers[2:], "turned": numbers.view(2, 3).T, "every": numbers[::2], "same": numbers[:4]}
    save(state, tmp_path / "w.pt")
    found = read_checkpoint(tmp_path / "w.pt")
    assert all(torch.equal(found[name], value) for name, value in state.items())


def with_length(content, old, new):
    """A pickle in which a tensor of `old` numbers says that it has `new`."""
    short = b"M" + struct.pack("<H", old)
    assert short in content
    return content.replace(short, b"\x8a\x08" + struct.pack("<q", new))


@pytest.mark.parametrize("length", [2**20, 2**33, 2**45])
def test_an_old_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path, length):
    torch_legacy({"a": torch.arange(7777.0)}, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(with_length((tmp_path / "w.pt").read_bytes(), 7777, length))
    assert f"a tensor has {length} numbers" in refusal(tmp_path / "w.pt")


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """Writes a PyTorch zip anew with its pickle changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("length", [2**20, 2**33, 2**45])
def test_a_zip_that_claims_more_than_it_holds(tmp_path, name, length):
    torch_zip({"a": torch.arange(7777.0)}, tmp_path / name)
    rewritten(tmp_path / name, lambda content: with_length(content, 7777, length))
    assert f"a tensor has {length} numbers, and holds {4 * 7777} bytes of them" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_zip_that_grows_in_memory_is_refused(tmp_path, name):
    torch_zip({"a": torch.zeros(2**22)}, tmp_path / name)
    rewritten(tmp_path / name, lambda content: content, zipfile.ZIP_DEFLATED)
    assert (tmp_path / name).stat().st_size < 2**16
    assert "compressed zip" in refusal(tmp_path / name)


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
