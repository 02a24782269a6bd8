"""Weight files that are whole and random, and what the tests of downloads do with them."""

import hashlib
import itertools
import random
from contextlib import contextmanager
from dataclasses import replace

import pytest

from depth_normal.annotators.specs.base import CheckpointError, WeightFile
from depth_normal.model_loader.weights.checkpoint import read_checkpoint, read_shapes
from depth_normal.model_loader.weights.download import DownloadError, download_weights


def weights(seed, length=3_000_000):
    """A whole safetensors file of one tensor, `length` bytes long."""
    header = b'{"weight":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}'
    size = length - 8 - len(header % (10**6, 10**6))
    header %= (size, size)
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)


BODY, OTHER = weights(0), weights(1)
SHA256 = hashlib.sha256(BODY).hexdigest()
HUB = WeightFile("ckpt/hybrid.pt", repo_id="someone/Annotators", sha256=SHA256, size=len(BODY))
HUB_PATH = "/someone/Annotators/resolve/main/ckpt/hybrid.pt"


def unknown(file):
    """The same file when neither its size nor its hash is known."""
    return replace(file, size=None, sha256=None)


def leftovers(tmp_path):
    """Every file of substance anywhere: locks, markers and metadata apart."""
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000)


def assert_refused(file, words, error=DownloadError):
    """The download of a file fails with this error; gives its message."""
    with pytest.raises(error, match=words) as caught:
        download_weights(file, "MIT")
    return str(caught.value)


def refusal(path):
    """The one line in which a file is refused, by its tensors and by their shapes alike."""
    lines = []
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        lines.append(str(caught.value))
        assert str(path) in lines[-1] and "\n" not in lines[-1]

    # safetensors names any of several entries that are wrong
    assert len({line.partition(" (")[0] if "safetensors" in line else line for line in lines}) == 1
    return lines[0]


@contextmanager
def largest_file(size):
    """Lets the operating system refuse to write beyond a size, as a full disk does."""
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of a file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Stop(BaseException):
    """What ComfyUI raises to interrupt is no Exception."""


def stop_after(size):
    def progress(done, total):
        if done >= size:
            raise Stop

    return progress


def in_turn(cases):
    """For `pytest.mark.parametrize` with `indirect=["kind"]`: each case with one of the ways a file comes, by turns."""
    kinds = itertools.cycle(("web", "hub", "hub in ComfyUI"))
    return [pytest.param(kind, *case.values, id=f"{kind}-{case.id or case.values[0]}") for kind, case in zip(kinds, cases, strict=False)]
