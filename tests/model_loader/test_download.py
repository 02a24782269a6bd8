import hashlib
import inspect
import logging
import os
import random
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest

from depth_normal.annotators.base import CheckpointError, WeightFile
from depth_normal.model_loader import download, find, release
from depth_normal.model_loader.download import bundled_weights, download_weights, verify
from depth_normal.model_loader.download_errors import AccessDeniedError, CorruptDownloadError, DiskFullError, DownloadError, NoNetworkError
from depth_normal.model_loader.find import download_path, find_weights

BODY = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
HUB = WeightFile("ckpt/hybrid.pt", repo_id="someone/Annotators", sha256=SHA256, size=len(BODY))
HUB_PATH = "/someone/Annotators/resolve/main/ckpt/hybrid.pt"


@pytest.fixture
def small(server):
    """A release file of the server."""
    server.serve("/v2_1/small.pt", BODY)
    return WeightFile("small.pt", url=f"{server.url}/v2_1/small.pt", sha256=SHA256, size=len(BODY))


@pytest.fixture(params=["release", "hub", "hub in ComfyUI"])
def kind(request, server, small):
    """Each of the ways a file comes: (the file, what the server serves for it)."""
    if request.param == "release":
        return small, server.files["/v2_1/small.pt"]
    if request.param == "hub in ComfyUI":
        request.getfixturevalue("comfyui")
    return HUB, server.serve_hub(HUB.repo_id, HUB.filename, BODY)


def unknown(file):
    """The same file when neither its size nor its hash is known."""
    return replace(file, size=None, sha256=None)


def leftovers(tmp_path):
    """Every file of substance anywhere: locks, markers and metadata apart."""
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000)


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


# --- every way ---


def test_a_file_comes_whole_and_is_found_again(kind, server, caplog):
    file, _ = kind
    with caplog.at_level(logging.INFO, "depth_normal"):
        path = download_weights(file, "Apache-2.0", "https://example.org/licence")
    assert path.read_bytes() == BODY
    assert find_weights(file) == path
    assert f"downloading {file.name} (3.0 MB) from {server.url}/" in caplog.text
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


def test_a_file_of_a_space(server):
    file = replace(HUB, repo_type="space")
    server.serve_hub("spaces/" + HUB.repo_id, HUB.filename, BODY)
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert find_weights(file).read_bytes() == BODY


def test_dropped_connections_are_taken_up_again(kind, server):
    file, served = kind
    served.drops = [1_000_000, 500_000]
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert len(server.gets()) == 3


def test_wrong_bytes_are_deleted_and_the_next_run_works(kind, tmp_path):
    file, served = kind
    served.body = OTHER
    with pytest.raises(CorruptDownloadError) as caught:
        download_weights(file, "MIT")
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert leftovers(tmp_path) == []
    assert find_weights(file) is None
    served.body = BODY
    assert download_weights(file, "MIT").read_bytes() == BODY


def test_another_size_is_not_taken(kind, tmp_path):
    file, served = kind
    served.body = BODY[:-1]
    with pytest.raises(CorruptDownloadError, match=r"2999999 bytes.*3000000"):
        download_weights(replace(file, sha256=None), "MIT")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream"])
def test_a_web_page_instead_of_the_file(kind, tmp_path, content_type):
    file, served = kind
    served.body = b"<!doctype html><title>Please sign in</title>" + b" " * 5000
    served.content_type = content_type
    with pytest.raises(CorruptDownloadError, match="web page"):
        download_weights(unknown(file), "MIT")
    assert leftovers(tmp_path) == []


def test_a_file_that_is_gone(kind, server):
    file, _ = kind
    server.files.clear()
    with pytest.raises(DownloadError, match=rf"{server.url}/.*{file.name} does not exist \(HTTP 404\)"):
        download_weights(file, "MIT")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_address_and_the_way_round(kind, status):
    file, served = kind
    served.statuses, served.always = [status], True
    with pytest.raises(AccessDeniedError, match=rf"HTTP {status}.*by hand and put it at .*{file.name}"):
        download_weights(file, "MIT")


def test_no_server(kind, server, tmp_path):
    file, _ = kind
    server.shutdown()
    server.server_close()
    with pytest.raises(NoNetworkError) as caught:
        download_weights(file, "MIT")
    message = str(caught.value)
    assert "looked in: " in message
    assert str(tmp_path / "home") in message
    assert "refused" in message
    assert f"download {server.url}/" in message
    assert f"by hand and put it at {download_path(file)}" in message
    assert leftovers(tmp_path) == []


def test_offline_by_choice(kind, server, monkeypatch):
    file, _ = kind
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NoNetworkError, match=rf"looked in: .*HF_HUB_OFFLINE.*{file.name} by hand"):
        download_weights(file, "MIT")
    assert server.requests == []


def test_a_disk_known_to_be_too_small_is_not_tried(kind, server):
    file, _ = kind
    with pytest.raises(DiskFullError, match=rf"{2**60} bytes are needed, \d+ are free"):
        download_weights(replace(file, size=2**60), "MIT")
    assert server.requests == []


def test_a_disk_that_fills_up(kind, tmp_path):
    file, _ = kind
    with largest_file(1_500_000), pytest.raises(DiskFullError, match=r"no room for .* in .*free some space"):
        download_weights(unknown(file), "MIT")
    assert leftovers(tmp_path) == []
    assert download_weights(file, "MIT").read_bytes() == BODY


def test_a_folder_that_takes_no_files(kind, tmp_path, monkeypatch):
    file, _ = kind
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "taken"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "taken"))
    if "folder_paths" in sys.modules:
        monkeypatch.setattr(sys.modules["folder_paths"], "models_dir", str(tmp_path / "taken"))
    with pytest.raises(DownloadError, match=rf"{file.name} cannot be stored below .*taken.*Make the folder writable"):
        download_weights(file, "MIT")


@pytest.fixture
def bundled(caches, tmp_path, monkeypatch):
    """A file of the pack itself, in a folder that stands in for the pack's."""
    monkeypatch.setattr(find, "BUNDLED_FOLDER", tmp_path)
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


# --- release files ---


class Stop(BaseException):
    """What ComfyUI raises to interrupt is no Exception."""


def stop_after(size):
    def progress(done, total):
        if done >= size:
            raise Stop

    return progress


def test_a_stopped_download_goes_on_where_it_was(server, small, caches):
    server.files["/v2_1/small.pt"].seconds = 1.0
    with pytest.raises(Stop):
        download_weights(small, "MIT", progress=stop_after(500_000))
    there = (caches.home / "small.pt.part").stat().st_size
    assert 500_000 <= there < len(BODY)
    assert find_weights(small) is None
    assert download_weights(small, "MIT").read_bytes() == BODY
    assert server.gets() == [None, f"bytes={there}-"]
    assert [path.name for path in caches.home.iterdir() if path.is_file()] == ["small.pt"]


def test_a_file_that_changed_in_between_is_begun_anew(server, small):
    server.files["/v2_1/small.pt"].seconds = 1.0
    with pytest.raises(Stop):
        download_weights(small, "MIT", progress=stop_after(500_000))
    server.serve("/v2_1/small.pt", OTHER)
    assert download_weights(replace(small, sha256=None), "MIT").read_bytes() == OTHER


@pytest.mark.parametrize("trouble", [{"ranges": False}, {"etag": 'W/"weak"'}])
def test_a_server_that_cannot_resume_sends_all_again(server, small, trouble):
    server.serve("/v2_1/small.pt", BODY, drops=[1_000_000], **trouble)
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_begun_anew(server, small, caches):
    caches.home.mkdir()
    (caches.home / "small.pt.part").write_bytes(BODY + b"more")
    (caches.home / "small.pt.part.etag").write_text(f'"{SHA256}"')
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_a_server_that_is_busy_is_asked_again(server, small):
    server.files["/v2_1/small.pt"].statuses = [503, 429]
    server.files["/v2_1/small.pt"].drops = [100]
    with pytest.raises(DownloadError, match="HTTP Error 429"):
        download_weights(small, "MIT")
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_giving_up_on_a_connection_that_always_breaks(server, small):
    server.files["/v2_1/small.pt"].drops = [1_000_000] + [0] * 20
    with pytest.raises(NoNetworkError, match="closed after"):
        download_weights(small, "MIT")
    assert len(server.gets()) == 5


def test_progress_is_told_about_ten_times_a_second(server, small):
    server.files["/v2_1/small.pt"].seconds = 1.0
    calls, began = [], time.monotonic()
    download_weights(small, "MIT", progress=lambda done, total: calls.append((done, total)))
    assert 5 <= len(calls) <= 10 * (time.monotonic() - began) + 3, "about ten times a second"
    assert calls == sorted(calls)
    assert calls[-1] == (len(BODY), len(BODY))


def test_a_server_that_does_not_speak_http(caches):
    class Babble(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(10_000)
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Babble) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with pytest.raises(NoNetworkError, match=r"SSH-2\.0"):
            download_weights(WeightFile("a.pt", url=f"http://127.0.0.1:{server.server_address[1]}/a.pt"), "MIT")
        server.shutdown()


def test_plain_http_is_only_for_this_machine(caches):
    with pytest.raises(DownloadError, match="only fetched over https"):
        download_weights(WeightFile("a.pt", url="http://example.org/a.pt"), "MIT")


def test_a_pause_can_be_stopped():
    began = time.monotonic()
    with pytest.raises(Stop):
        release.pause(60, partial(stop_after(0), 0, 0))
    assert time.monotonic() - began < 1


# --- hub files ---


def test_a_gated_model_says_where_to_accept_and_how_to_log_in(server, monkeypatch):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, token="hf_good")
    page = f"{server.url}/someone/Annotators"
    with pytest.raises(AccessDeniedError, match=rf"HTTP 403; no token was sent.*licence at {page} .*hf auth login.*HF_TOKEN"):
        download_weights(HUB, "other")
    with pytest.raises(AccessDeniedError, match=r"licence at https://example\.org/terms "):
        download_weights(HUB, "other", "https://example.org/terms")
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(AccessDeniedError, match="the token that was sent gives no access"):
        download_weights(HUB, "other")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert download_weights(HUB, "other").read_bytes() == BODY


@pytest.mark.parametrize("code", ["RepoNotFound", "RevisionNotFound"])
def test_a_repository_or_revision_that_is_gone(server, code):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, statuses=[404], always=True, error_code=code)
    with pytest.raises(DownloadError, match="HTTP 404"):
        download_weights(HUB, "MIT")


def test_a_server_that_is_no_hub(server):
    server.serve(HUB_PATH, b"<html>hotel wifi</html>", content_type="text/html")
    with pytest.raises(DownloadError, match=rf"{server.url}/someone.*cannot be fetched: "):
        download_weights(HUB, "MIT")


def test_progress_of_the_hub_and_stopping_it(server, tmp_path):
    if "tqdm_class" not in inspect.signature(huggingface_hub.hf_hub_download).parameters:
        pytest.skip("this huggingface_hub (< 1) takes no progress bar of ours: it only shows its own")
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    with pytest.raises(Stop):
        download_weights(HUB, "MIT", progress=stop_after(1))
    assert leftovers(tmp_path) == []
    calls = []
    download_weights(HUB, "MIT", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(BODY), len(BODY))


# --- two at once ---

WORKER = """
import os, sys
from depth_normal.annotators.base import WeightFile
from depth_normal.model_loader.download import download_weights
sha256, size, url = sys.argv[1], int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for file in (
    WeightFile("small.pt", url=url, sha256=sha256, size=size),
    WeightFile("ckpt/hybrid.pt", repo_id="someone/Annotators", sha256=sha256, size=size),
):
    print(download_weights(file, "MIT"), flush=True)
"""


def test_two_processes_that_want_the_same_files_fetch_them_once(server, small, tmp_path):
    server.files["/v2_1/small.pt"].seconds = 1.0
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, seconds=1.0)
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "DEPTH_NORMAL_HOME": str(tmp_path / "home")}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", WORKER, SHA256, str(len(BODY)), small.url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    outputs = []
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate(timeout=60)[0].split())
        assert worker.returncode == 0
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == str(tmp_path / "home" / "small.pt")
    assert outputs[0][1].startswith(str(tmp_path / "hf" / "hub"))
    assert all(Path(path).read_bytes() == BODY for path in outputs[0])
    assert server.gets() == [None, None], "one download of each file"


# --- files that users brought ---


def test_a_brought_file_that_differs_is_warned_about_once(tmp_path, caplog, monkeypatch):
    hashed = []
    real = hashlib.sha256
    monkeypatch.setattr(download.hashlib, "sha256", lambda *a: hashed.append(1) or real(*a))
    path = tmp_path / "hybrid.pt"
    path.write_bytes(OTHER)
    for _ in range(3):
        assert not verify(path, HUB)
    assert len(hashed) == 1
    assert caplog.text.count("WARNING") == 1
    assert SHA256 in caplog.text
    assert real(OTHER).hexdigest() in caplog.text
    path.write_bytes(BODY)
    os.utime(path, (1, 1))
    assert verify(path, HUB)


def test_another_size_is_enough_to_know(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(download.hashlib, "sha256", None)
    path = tmp_path / "hybrid.pt"
    path.write_bytes(BODY[:10])
    assert not verify(path, HUB)
    assert "it has 10 bytes, the published file 3000000" in caplog.text


def test_what_is_not_known_or_converted_is_not_held_against_a_file(tmp_path, caplog):
    for name in ("hybrid.pt", "hybrid.safetensors"):
        (tmp_path / name).write_bytes(OTHER)
    assert verify(tmp_path / "hybrid.pt", unknown(HUB))
    assert verify(tmp_path / "hybrid.safetensors", HUB)
    assert caplog.text == ""


def test_a_download_is_not_hashed_again(server, small, monkeypatch):
    path = download_weights(small, "MIT")
    monkeypatch.setattr(download.hashlib, "sha256", None)
    assert verify(path, small)
