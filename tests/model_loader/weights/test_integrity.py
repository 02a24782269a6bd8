"""Files that lie on this computer: whether they are whole, whether they are the published ones."""

import hashlib
import os

import pytest
import torch

from depth_normal.model_loader.weights import integrity
from depth_normal.model_loader.weights.download import download_weights
from depth_normal.model_loader.weights.integrity import structure_problem
from tests.whole_files import BODY, HUB, OTHER, SHA256, Stop, unknown, weights


def test_a_brought_file_that_differs_is_warned_about_once(tmp_path, caplog, monkeypatch):
    hashed = []
    real = hashlib.sha256
    monkeypatch.setattr(integrity.hashlib, "sha256", lambda *a: hashed.append(1) or real(*a))
    path = tmp_path / "hybrid.pt"
    path.write_bytes(OTHER)
    for _ in range(3):
        assert not integrity.verify(path, HUB)
    assert len(hashed) == 1
    assert caplog.text.count("WARNING") == 1
    assert SHA256 in caplog.text
    assert real(OTHER).hexdigest() in caplog.text
    path.write_bytes(BODY)
    os.utime(path, (1, 1))
    assert integrity.verify(path, HUB)


def test_comparing_a_brought_file_can_be_stopped_and_is_done_again(tmp_path, caplog):
    def stop():
        raise Stop

    path = tmp_path / "hybrid.pt"
    path.write_bytes(OTHER)
    with pytest.raises(Stop):
        integrity.verify(path, HUB, stop)
    assert not integrity.verify(path, HUB)


def test_another_size_is_enough_to_know(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(integrity.hashlib, "sha256", None)
    path = tmp_path / "hybrid.pt"
    path.write_bytes(BODY[:10])
    assert not integrity.verify(path, HUB)
    assert "it has 10 bytes, the published file 3000000" in caplog.text


def test_what_is_not_known_or_converted_is_not_held_against_a_file(tmp_path, caplog):
    for name in ("hybrid.pt", "hybrid.safetensors"):
        (tmp_path / name).write_bytes(OTHER)
    assert integrity.verify(tmp_path / "hybrid.pt", unknown(HUB))
    assert integrity.verify(tmp_path / "hybrid.safetensors", HUB)
    assert caplog.text == ""


def test_a_download_is_not_hashed_again(server, small, monkeypatch):
    path = download_weights(small, "MIT")
    monkeypatch.setattr(integrity.hashlib, "sha256", None)
    assert integrity.verify(path, small)


def hub_link(caches, file, name, content):
    """A file in the hub's cache as huggingface_hub lays it, under a blob of the given name."""
    folder = caches.hub / f"models--{file.repo_id.replace('/', '--')}"
    path = folder / "snapshots" / ("a" * 40) / file.filename
    for parent in (folder / "blobs", path.parent):
        parent.mkdir(parents=True)
    (folder / "blobs" / name).write_bytes(content)
    path.symlink_to(os.path.relpath(folder / "blobs" / name, path.parent))
    return path


def test_the_hubs_cache_is_believed(caches, monkeypatch):
    path = hub_link(caches, HUB, SHA256, OTHER)
    monkeypatch.setattr(integrity, "sha256_of", None)
    assert integrity.verify(path, HUB)


def test_the_hubs_cache_is_not_believed_about_another_size(caches, caplog):
    assert not integrity.verify(hub_link(caches, HUB, SHA256, BODY[:-1]), HUB)
    assert "it has 2999999 bytes" in caplog.text


def test_a_link_named_like_the_hash_proves_nothing(tmp_path, caches, caplog):
    (tmp_path / SHA256).write_bytes(OTHER)
    path = tmp_path / "hybrid.pt"
    path.symlink_to(SHA256)
    assert not integrity.verify(path, HUB)
    assert "its sha256 is" in caplog.text


# --- structure ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One whole file of each format."""
    folder = tmp_path_factory.mktemp("whole")
    state = {"weight": torch.arange(1000.0), "bias": torch.ones(3, dtype=torch.float16)}
    (folder / "a.safetensors").write_bytes(weights(0, 10_000))
    torch.save(state, folder / "zip.pt")
    torch.save({"model": state}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    return folder


@pytest.mark.parametrize("name", ["a.safetensors", "zip.pt", "legacy.pt"])
def test_a_whole_file_is_usable(whole, name, caplog):
    assert structure_problem(whole / name) is None
    assert integrity.is_usable(whole / name)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["a.safetensors", "zip.pt", "legacy.pt"])
@pytest.mark.parametrize("missing", [1, 500, 3000])
def test_a_file_cut_short_is_not(whole, tmp_path, name, missing, caplog):
    path = tmp_path / name
    path.write_bytes((whole / name).read_bytes()[:-missing])
    assert structure_problem(path).startswith("it ")
    for _ in range(2):
        assert not integrity.is_usable(path)
    assert caplog.text.count(f"{path} is left aside: it ") == 1
    assert path.is_file(), "a user's file is never deleted"
    path.write_bytes((whole / name).read_bytes())
    assert integrity.is_usable(path)


def test_bytes_after_the_end_of_safetensors(whole, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((whole / "a.safetensors").read_bytes() + b"more")
    assert structure_problem(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"error": "no"}', b"<html>", b"\x02\0\0\0\0\0\0\0{}", b"\0" * 100, b"PK\x03\x04", b"\x80\x02"]
)
def test_what_is_no_checkpoint_at_all(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    assert structure_problem(path)


def test_a_file_that_vanishes_is_not_usable(tmp_path):
    assert not integrity.is_usable(tmp_path / "gone.pt")
