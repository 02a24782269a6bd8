"""Files that lie on this computer: whether they are whole, whether they are the published ones."""

import hashlib
import os
from dataclasses import replace

import pytest
import torch

from depth_normal.model_loader.weights import integrity
from depth_normal.model_loader.weights.download import download_weights
from tests.whole_files import BODY, HUB, OTHER, SHA256, Stop, stop_after, unknown


def test_a_brought_file_that_differs_is_warned_about_once(tmp_path, caplog, monkeypatch):
    hashed, real = [], hashlib.sha256
    monkeypatch.setattr(integrity.hashlib, "sha256", lambda *a: hashed.append(1) or real(*a))
    path = tmp_path / "hybrid.pt"
    path.write_bytes(OTHER)
    with pytest.raises(Stop):
        integrity.verify(path, HUB, lambda: stop_after(0)(0, 0))
    for _ in range(3):
        assert not integrity.verify(path, HUB)
    assert len(hashed) == 2, "what was stopped is done again"
    assert caplog.text.count("WARNING") == 1 and SHA256 in caplog.text and real(OTHER).hexdigest() in caplog.text
    path.write_bytes(BODY)
    os.utime(path, (1, 1))
    assert integrity.verify(path, HUB)


@pytest.mark.parametrize(
    ("name", "content", "file", "said"),
    [
        ("hybrid.pt", BODY[:10], HUB, "it has 10 bytes, the published file 3000000"),
        ("Hybrid (1).pt", BODY[:10], HUB, "it has 10 bytes, the published file 3000000"),
        ("renamed.pt", OTHER, HUB, "its sha256 is"),
        ("renamed.pt", OTHER, replace(HUB, size=None), "its sha256 is"),
        ("hybrid.pt", OTHER, unknown(HUB), ""),
        ("hybrid.safetensors", OTHER, HUB, ""),
        ("hybrid.fp16.pt", OTHER[:-1], HUB, ""),  # as depth_pro.fp16.safetensors, whose published file is model.safetensors
    ],
    ids=["another size", "a second copy", "renamed", "of a size that is not known", "not known", "converted", "in half precision"],
)
def test_whether_a_file_is_the_published_one(tmp_path, caplog, monkeypatch, name, content, file, said):
    if "sha256" not in said:
        monkeypatch.setattr(integrity.hashlib, "sha256", None)
    (tmp_path / name).write_bytes(content)
    assert integrity.verify(tmp_path / name, file) == (not said)
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_a_download_is_not_hashed_again(server, small, monkeypatch):
    path = download_weights(small, "MIT")
    monkeypatch.setattr(integrity.hashlib, "sha256", None)
    assert integrity.verify(path, small)


@pytest.mark.parametrize(("content", "believed"), [(OTHER, True), (BODY[:-1], False)], ids=["name", "another size"])
def test_the_hubs_cache_is_believed_about_the_content_and_not_about_the_size(server, monkeypatch, content, believed):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    path = download_weights(HUB, "MIT")
    path.resolve().write_bytes(content)
    os.utime(path, (1, 1))
    monkeypatch.setattr(integrity, "sha256_of", None)
    assert integrity.verify(path, HUB) is believed


def test_a_link_named_like_the_hash_proves_nothing(tmp_path, caches, caplog):
    (tmp_path / SHA256).write_bytes(OTHER)
    path = tmp_path / "hybrid.pt"
    path.symlink_to(SHA256)
    assert not integrity.verify(path, HUB)
    assert "its sha256 is" in caplog.text


# --- structure ---


@pytest.mark.parametrize("content", [BODY[:-1], BODY + b"more"], ids=["cut short", "too long"])
def test_a_damaged_file_is_left_aside_with_one_warning_until_it_is_whole(content, tmp_path, caplog):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for _ in range(2):
        assert not integrity.is_usable(path)
    assert caplog.text.count("a weights file is left aside, as it ") == 1 and str(path) in caplog.text
    assert path.is_file(), "a user's file is never deleted"
    path.write_bytes(BODY)
    assert integrity.is_usable(path)
    path.unlink()
    assert not integrity.is_usable(path)
    assert caplog.text.count("WARNING") == 2


def test_a_whole_file_of_torch_is_usable(tmp_path, caplog):
    for zipped in (True, False):
        torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        assert integrity.is_usable(tmp_path / "a.pt")
    assert caplog.text == ""
