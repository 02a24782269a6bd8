import hashlib
import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch

from depth_normal.annotators.choices import NODES, worded
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError, WeightFile
from depth_normal.model_loader.weights import find, integrity
from depth_normal.model_loader.weights.download import (
    AccessDeniedError,
    CorruptDownloadError,
    DiskFullError,
    NoNetworkError,
    download_weights,
)
from depth_normal.model_loader.weights.find import download_path, find_weights
from depth_normal.model_loader.weights.integrity import bundled_weights
from tests.forked import event, forked, needs_fork
from tests.whole_files import BODY, HUB, HUB_PATH, SHA256, assert_refused, largest_file, leftovers, unknown

# --- every way ---


def test_a_file_comes_whole_and_is_found_again(kind, server, caplog):
    file, _ = kind
    with caplog.at_level(logging.INFO, "depth_normal"):
        path = download_weights(file, "Apache-2.0", "https://example.org/licence")
    assert path.read_bytes() == BODY
    assert find_weights(file) == path
    assert f"downloading {file.name} (3 MB) from {server.url}/" in caplog.text
    assert "licence: Apache-2.0 (https://example.org/licence)" in caplog.text
    asked = len(server.requests)
    assert download_weights(file, "Apache-2.0") == path
    assert len(server.requests) == asked, "a file that is there needs no network"


def test_where_files_go(server, caches, comfyui, small, monkeypatch):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    assert download_weights(HUB, "MIT") == comfyui.models / "depth_normal" / "someone" / "Annotators" / "ckpt" / "hybrid.pt"
    assert download_weights(small, "MIT") == comfyui.models / "depth_normal" / "small.pt"
    monkeypatch.delitem(sys.modules, "folder_paths")
    assert download_weights(HUB, "MIT").is_relative_to(caches.hub / "models--someone--Annotators" / "snapshots")
    assert download_weights(small, "MIT") == caches.home / "small.pt"


def test_no_server(kind, server, tmp_path):
    file, _ = kind
    server.shutdown()
    server.server_close()
    words = f"refused .* download {server.url}/.* put it at {download_path(file)}.*looked in: .*{tmp_path / 'home'}"
    assert_refused(file, words, NoNetworkError)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_by_choice(kind, server, monkeypatch, variable):
    file, _ = kind
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_refused(file, rf"{variable} forbids .* download .*{file.name} by hand.*looked in: ", NoNetworkError)
    assert server.requests == []


def test_a_disk_known_to_be_too_small_is_not_tried(kind, server):
    file, _ = kind
    assert_refused(replace(file, size=2**60), r"1152921504\.61 GB are needed, [\d.]+ [MG]B are free", DiskFullError)
    assert server.requests == []


def test_a_disk_that_fills_up(kind, tmp_path):
    file, _ = kind
    with largest_file(1_500_000):
        assert_refused(unknown(file), r"no room for .* in .*free some space", DiskFullError)
    assert leftovers(tmp_path) == []
    assert download_weights(file, "MIT").read_bytes() == BODY


def test_a_folder_that_takes_no_files(kind, tmp_path, monkeypatch):
    file, _ = kind
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "taken"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "taken"))
    if "folder_paths" in sys.modules:
        monkeypatch.setattr(sys.modules["folder_paths"], "models_dir", str(tmp_path / "taken"))
    assert_refused(file, rf"{file.name} cannot be stored below .*taken.*Make the folder writable, or set DEPTH_NORMAL_HOME")
    with worded(NODES):  # which store below ComfyUI's folders, whatever the variables say
        assert_refused(file, "writable, or name another folder as depth_normal in extra_model_paths.yaml")


def test_a_file_that_its_authors_have_not_published(server, caches):
    file = MODELS["depth-anything-v2-giant"].file
    assert_refused(file, f"its authors have not published it.* at {download_path(file)}")
    assert not server.requests
    download_path(file).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"a": torch.zeros(1)}, download_path(file))
    assert find_weights(file) == download_path(file)


@pytest.fixture
def bundled(caches, tmp_path, monkeypatch):
    """A file of the pack itself, in a folder that stands in for the pack's."""
    monkeypatch.setattr(integrity, "BUNDLED_FOLDER", tmp_path)
    content = b"weights of the pack"
    (tmp_path / "own.safetensors").write_bytes(content)
    return WeightFile("own.safetensors", sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def test_a_file_of_the_pack_is_taken_from_nowhere_else(bundled, server, tmp_path):
    assert find.find_weights(bundled) == bundled_weights(bundled) == download_weights(bundled, "MIT") == tmp_path / "own.safetensors"
    (tmp_path / "home").mkdir()
    (tmp_path / "own.safetensors").rename(tmp_path / "home" / "own.safetensors")
    assert find.find_weights(bundled) is None
    for fetch in (bundled_weights, lambda file: download_weights(file, "MIT")):
        with pytest.raises(CheckpointError, match=r"own.safetensors is not the file .*: it is missing. Install the pack again"):
            fetch(bundled)
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"weights of the p", "it has 16 bytes, the published file 19"), (b"wEights of the pack", "its sha256 is "), (b"", "it has 0 bytes")],
)
def test_a_damaged_file_of_the_pack_is_named(bundled, tmp_path, content, words):
    (tmp_path / "own.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/own.safetensors is not the file .*: {words}.*Install the pack again"):
        bundled_weights(bundled)


# --- hub files ---


def test_a_gated_model_says_where_to_accept_and_how_to_log_in(server, monkeypatch):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, token="hf_good")
    words = f"HTTP 403; no token was sent.*licence at {server.url}/someone/Annotators .*hf auth login.*HF_TOKEN"
    with pytest.raises(AccessDeniedError, match=words):
        download_weights(HUB, "other", "https://example.org/terms")  # it is accepted on the hub, whatever page states it
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    assert_refused(HUB, "the token that was sent gives no access", AccessDeniedError)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        assert_refused(HUB, "no token was sent", AccessDeniedError)
    assert server.tokens == [None, "Bearer hf_bad", None]
    assert download_weights(HUB, "other").read_bytes() == BODY


def test_a_server_that_is_no_hub(server):
    for commit in (None, "../../../elsewhere"):
        server.serve(HUB_PATH, BODY, commit=commit)
        assert_refused(HUB, "it is no hub: it names no commit", CorruptDownloadError)


def layout(caches):
    """Every file and link of the hub's cache, links with what they lead to, without the locks."""
    paths = [path for path in caches.hub.glob("*--someone--Annotators/**/*") if path.is_file()]
    return {path.relative_to(caches.hub).as_posix(): path.readlink().as_posix() if path.is_symlink() else "" for path in paths}


@pytest.mark.parametrize(("repo_type", "revision"), [("model", "main"), ("model", "c" * 40), ("space", "main")])
def test_the_hubs_cache_is_laid_out_as_huggingface_hub_does(server, caches, repo_type, revision):
    file, asked_for = replace(HUB, revision=revision, repo_type=repo_type), {"revision": revision, "repo_type": repo_type}
    server.serve_hub(("spaces/" if repo_type == "space" else "") + HUB.repo_id, HUB.filename, BODY, revision=revision)
    ours = download_weights(file, "MIT")
    found = layout(caches)
    assert find_weights(file) == ours and ours.read_bytes() == BODY
    assert huggingface_hub.try_to_load_from_cache(HUB.repo_id, HUB.filename, **asked_for) == str(ours)
    asked = len(server.gets())
    assert huggingface_hub.hf_hub_download(HUB.repo_id, HUB.filename, **asked_for) == str(ours)
    assert len(server.gets()) == asked, "huggingface_hub takes the file that is there"
    scanned = huggingface_hub.scan_cache_dir(caches.hub)
    assert scanned.warnings == []
    assert [repo.size_on_disk for repo in scanned.repos] == [len(BODY)]
    shutil.rmtree(caches.hub)
    assert huggingface_hub.hf_hub_download(HUB.repo_id, HUB.filename, **asked_for) == str(ours)
    assert layout(caches) == found


def test_a_file_system_without_links(server, caches, monkeypatch):
    def refused(*_, **__):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    path = download_weights(HUB, "MIT")
    assert path.read_bytes() == BODY
    assert not path.is_symlink()
    assert find_weights(HUB) == path
    assert all("/blobs/" not in name for name in layout(caches))


@pytest.mark.parametrize("etag", ['"../../../../evil"', '"a/b"', '""', f'"{"x" * 300}"'])
def test_a_hostile_name_of_the_content_leaves_no_trace_elsewhere(server, caches, tmp_path, etag):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, etag=etag)
    path = download_weights(HUB, "MIT")
    assert path.resolve() == caches.hub / "models--someone--Annotators" / "blobs" / SHA256
    assert list(tmp_path.rglob("*evil*")) == []


def test_where_a_file_came_from_is_noted(server, comfyui, small):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    download_weights(unknown(HUB), "MIT")
    notes = comfyui.models / "depth_normal" / ".downloads"
    note = json.loads((notes / "someone--Annotators--ckpt--hybrid.pt.json").read_text())
    expected = {"commit": "c" * 40, "sha256": SHA256, "size": len(BODY), "url": server.url + HUB_PATH}
    assert note.items() >= expected.items()
    download_weights(small, "MIT")
    assert json.loads((notes / "web--small.pt.json").read_text())["url"] == small.url


# --- a file that is there and broken ---


def test_a_broken_download_is_fetched_anew(kind, caplog):
    file, _ = kind
    path = download_weights(file, "MIT")
    path.write_bytes(BODY[:1000])
    assert find_weights(file) is None
    assert "left aside, as it is cut short" in caplog.text and str(path) in caplog.text
    assert download_weights(file, "MIT") == path
    assert path.read_bytes() == BODY
    assert find_weights(file) == path


@pytest.mark.parametrize("kind", ["web", "hub in ComfyUI"], indirect=True)
def test_a_users_broken_file_is_named_and_left_alone(kind, server):
    file, _ = kind
    path = download_path(file)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"error": "no"}')
    assert find_weights(file) is None
    assert_refused(file, rf"{path} cannot be read as weights \(it is .*\) and was not downloaded.*move it away")
    assert path.read_bytes() == b'{"error": "no"}'
    assert server.requests == []


def test_what_an_older_version_of_the_pack_downloaded_is_its_own(server, comfyui):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    root = comfyui.models / "depth_normal" / "someone" / "Annotators"
    huggingface_hub.hf_hub_download(HUB.repo_id, HUB.filename, local_dir=root)
    (root / HUB.filename).write_bytes(b"<html>")
    assert download_weights(HUB, "MIT").read_bytes() == BODY


# --- two at once ---


@needs_fork
def test_two_processes_that_want_the_same_files_fetch_them_once(server, small, caches):
    server.files["/v2_1/small.pt"].seconds = 0.5
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, seconds=0.5)
    go = event()

    def fetch():
        go.wait(60)
        assert download_weights(small, "MIT") == caches.home / "small.pt"
        assert download_weights(HUB, "MIT").is_relative_to(caches.hub)

    with forked((fetch,), (fetch,)) as processes:
        go.set()
    assert [process.exitcode for process in processes] == [0, 0]
    assert find_weights(small).read_bytes() == find_weights(HUB).read_bytes() == BODY
    assert server.gets() == [None, None], "one download of each file"
