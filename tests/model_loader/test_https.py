"""Troubles of the network, with every way in which a file comes, against a real local server."""

import email.utils
import hashlib
import io
import logging
import os
import runpy
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from depth_normal.annotators.base import WeightFile
from depth_normal.model_loader import https
from depth_normal.model_loader.download import download_weights
from depth_normal.model_loader.download_errors import AccessDeniedError, CorruptDownloadError, DiskFullError, DownloadError, NoNetworkError
from depth_normal.model_loader.find import find_weights

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "whole_files.py")))
BODY, OTHER, SHA256, HUB, HUB_PATH, Stop = FILES.BODY, FILES.OTHER, FILES.SHA256, FILES.HUB, FILES.HUB_PATH, FILES.Stop
SMALL_PATH = "/v2_1/small.pt"


def parts(tmp_path):
    """Every unfinished download anywhere."""
    return sorted(tmp_path.rglob("*.part"))


@contextmanager
def stopped_after(seconds, within):
    """Expects `Stop` no later than `within` seconds after a cancel at `seconds`; gives the progress function that cancels."""
    began = time.monotonic()

    def progress(done, total):
        if time.monotonic() - began >= seconds:
            raise Stop

    with pytest.raises(Stop):
        yield progress
    assert time.monotonic() - began < seconds + within


# --- breaks, and going on ---


def test_dropped_connections_are_taken_up_where_they_broke(kind, server):
    file, served = kind
    served.drops = [1_000_000, 500_000]
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert server.gets() == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_stopped_download_goes_on_where_it_was(kind, server, tmp_path):
    file, served = kind
    served.seconds = 1.0
    with pytest.raises(Stop):
        download_weights(file, "MIT", progress=FILES.stop_after(500_000))
    (part,) = parts(tmp_path)
    there = part.stat().st_size
    assert 500_000 <= there < len(BODY)
    assert find_weights(file) is None
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert server.gets() == [None, f"bytes={there}-"]
    assert list(tmp_path.rglob("*.part*")) == []


def test_a_file_that_changed_in_between_is_begun_anew(kind, tmp_path):
    file, served = kind
    served.seconds = 0.5
    with pytest.raises(Stop):
        download_weights(file, "MIT", progress=FILES.stop_after(500_000))
    served.body = OTHER
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == OTHER
    assert parts(tmp_path) == []


def test_a_file_that_changes_while_its_connection_is_broken(kind, server):
    file, served = kind
    served.drops = [1_000_000]

    class Changing(list):
        def pop(self, *_):
            served.body, served.drops = OTHER, []
            return 1_000_000

    served.drops = Changing([1])
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == OTHER
    assert len(server.gets()) == 2


@pytest.mark.parametrize("trouble", [{"ranges": False}, {"etag": 'W/"weak"'}])
def test_a_server_that_cannot_resume_sends_all_again(server, small, trouble):
    server.serve(SMALL_PATH, BODY, drops=[1_000_000], **trouble)
    assert download_weights(small, "MIT").read_bytes() == BODY


@pytest.mark.parametrize(("body", "trouble"), [(OTHER, {"deaf_to_if_range": True}), (BODY, {"off_by": 7})])
def test_a_server_that_resumes_something_else_is_not_trusted(server, small, body, trouble):
    server.serve(SMALL_PATH, BODY, seconds=0.5)
    with pytest.raises(Stop):
        download_weights(FILES.unknown(small), "MIT", progress=FILES.stop_after(500_000))
    server.serve(SMALL_PATH, body, **trouble)
    assert download_weights(FILES.unknown(small), "MIT").read_bytes() == body
    assert len(server.gets()) == 3


def test_a_part_longer_than_the_file_is_begun_anew(server, small, caches):
    caches.home.mkdir()
    (caches.home / "small.pt.part").write_bytes(BODY + b"more")
    (caches.home / "small.pt.part.etag").write_text(f'"{SHA256}"')
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_giving_up_on_a_connection_that_always_breaks(kind, server):
    file, served = kind
    served.drops = [1_000_000] + [0] * 20
    with pytest.raises(NoNetworkError, match="closed after"):
        download_weights(file, "MIT")
    assert len(server.gets()) == 5


def test_giving_up_on_a_body_that_is_cut_a_little_later_each_time_and_always_begins_anew(server, small, tmp_path):
    served = server.serve(SMALL_PATH, BODY, etag='W/"weak"', drops=[1000 * i for i in range(1, 2000)])
    with pytest.raises(NoNetworkError, match="closed after 5000 of 3000000 bytes"):
        download_weights(small, "MIT")
    assert len(server.gets()) == 5
    served.drops = []
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_giving_up_on_a_body_that_always_ends_at_the_same_byte(kind, server, tmp_path):
    file, served = kind
    head = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {'c' * 40}\r\nContent-Length: {len(BODY) + 10}\r\n\r\n"
    served.raw = head.encode() + BODY
    with pytest.raises(CorruptDownloadError, match=r"it ends after 3000000 bytes each time .*closed after 3000000 of 3000010"):
        download_weights(FILES.unknown(file), "MIT")
    assert len(server.gets()) == 2
    assert FILES.leftovers(tmp_path) == []


def test_a_body_without_end_is_cut_at_the_files_size(kind, server, tmp_path):
    file, served = kind
    served.endless = True
    told = []
    with pytest.raises(CorruptDownloadError, match="it sends more than the 3000000 bytes that the file has"):
        download_weights(file, "MIT", progress=lambda done, total: told.append(done))
    assert max(told) <= len(BODY)
    assert len(server.gets()) == 1
    assert FILES.leftovers(tmp_path) == []


def test_a_body_without_end_of_unknown_size_leaves_room_on_the_disk(kind, tmp_path, monkeypatch):
    file, served = kind
    served.endless = True
    monkeypatch.setattr(https, "KEPT_FREE", shutil.disk_usage(tmp_path).free - 50_000_000)
    told = []
    with pytest.raises(DiskFullError, match=r"the size is not known, and [0-9.]+ GB are kept free"):
        download_weights(FILES.unknown(file), "MIT", progress=lambda done, total: told.append(done))
    assert max(told) < 10**9
    assert FILES.leftovers(tmp_path) == []


@pytest.mark.parametrize("seed", [0, 2])
def test_a_body_cut_short_whose_length_nobody_told(kind, tmp_path, seed):
    file, served = kind
    served.length, served.body = False, FILES.weights(seed)[:-1000]
    with pytest.raises(CorruptDownloadError, match="it is cut short"):
        download_weights(FILES.unknown(file), "MIT")
    assert FILES.leftovers(tmp_path) == []
    assert find_weights(file) is None
    served.body = BODY
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == BODY


def test_the_length_that_the_hub_states_holds_where_the_body_has_none(server, tmp_path):
    headers = {"X-Linked-Size": str(len(BODY)), "X-Linked-Etag": f'"{SHA256}"'}
    served = server.serve_hub(HUB.repo_id, HUB.filename, BODY, length=False, headers=headers, drops=[1_000_000])
    assert download_weights(FILES.unknown(HUB), "MIT").read_bytes() == BODY
    assert server.gets() == [None, "bytes=1000000-"]
    assert served.drops == []


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
@pytest.mark.parametrize("body", [b'{"error": "Rate limited"}', b"{}", b"\0" * 5000, b"version https://git-lfs.github.com/spec/v1\n"])
def test_an_answer_that_is_no_weights_is_never_kept(kind, tmp_path, body, content_type):
    file, served = kind
    good, served.body, served.content_type = served.body, body, content_type
    with pytest.raises(CorruptDownloadError, match="not the published"):
        download_weights(FILES.unknown(file), "MIT")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == body] == []
    assert find_weights(file) is None
    served.body, served.content_type = good, "application/octet-stream"
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == BODY


# --- no answer ---


def test_a_server_that_never_answers(kind, caplog, monkeypatch):
    file, served = kind
    served.silent = True
    monkeypatch.setattr(https, "ANSWER_WITHIN", 1.0)
    began = time.monotonic()
    with (
        caplog.at_level(logging.INFO, "depth_normal"),
        pytest.raises(NoNetworkError, match=r"127\.0\.0\.1 did not answer within 1 seconds"),
    ):
        download_weights(file, "MIT")
    assert time.monotonic() - began < 2
    assert "connecting to 127.0.0.1" in caplog.text


def test_the_answer_is_waited_for_less_than_ten_seconds():
    assert https.ANSWER_WITHIN < 10


def test_a_server_that_answers_and_sends_nothing(kind, server, monkeypatch):
    file, served = kind
    served.stalls = True
    monkeypatch.setattr(https, "ANSWER_WITHIN", 1.0)
    began = time.monotonic()
    with pytest.raises(NoNetworkError, match=r"127\.0\.0\.1 answered, and nothing of the file came within 1 seconds"):
        download_weights(file, "MIT")
    assert time.monotonic() - began < 2
    assert len(server.gets()) == 1


def test_cancelling_while_nobody_answers(kind):
    file, served = kind
    served.silent = True
    with stopped_after(0.3, within=1.0) as progress:
        download_weights(file, "MIT", progress=progress)


def test_cancelling_while_a_connection_cannot_be_made(caches, monkeypatch):
    with socket.socket() as full:  # a backlog that is full takes no connection and refuses none
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        file = WeightFile("a.pt", url=f"http://127.0.0.1:{full.getsockname()[1]}/a.pt")
        with stopped_after(0.3, within=1.0) as progress:
            download_weights(file, "MIT", progress=progress)
        monkeypatch.setattr(https, "ANSWER_WITHIN", 0.5)
        with pytest.raises(NoNetworkError, match="did not answer within"):
            download_weights(file, "MIT")
        for each in waiting:
            each.close()


@pytest.fixture
def expired_token(server, tmp_path, monkeypatch):
    """A login of huggingface_hub whose token has run out, at a hub that never gives the next one."""
    if not hasattr(huggingface_hub.utils._auth, "_refresh_oauth_token_if_needed"):
        pytest.skip("this huggingface_hub has no tokens that expire")
    (tmp_path / "token").write_text(f"hf_{tmp_path.name}")
    stored = tmp_path / "stored_tokens"
    stored.write_text(f"[me]\nhf_token = hf_{tmp_path.name}\nrefresh_token = next\nexpires_at = 1\n")
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(stored))
    server.serve("/oauth/token", b"", silent=True)
    return server.serve_hub(HUB.repo_id, HUB.filename, BODY)


def test_cancelling_while_the_token_is_renewed(expired_token, server):
    with stopped_after(0.3, within=1.0) as progress:
        download_weights(HUB, "MIT", progress=progress)
    assert [path for _, path, _ in server.requests] == ["/oauth/token"]


def test_a_token_that_is_never_renewed(expired_token, monkeypatch):
    monkeypatch.setattr(https, "ANSWER_WITHIN", 1.0)
    with pytest.raises(NoNetworkError, match=r"127\.0\.0\.1 did not answer within 1 seconds"):
        download_weights(HUB, "MIT")


@pytest.mark.parametrize("stage", ["checked", "hashed"])
def test_cancelling_while_a_file_is(stage, server, caches):
    if stage == "hashed":
        header = b'{"weight":{"dtype":"U8","shape":[400000000],"data_offsets":[0,400000000]}}'
        body = len(header).to_bytes(8, "little") + header + bytes(400_000_000)
    else:
        stream = io.BytesIO()
        torch.save({str(i): torch.zeros(1) for i in range(10_000)}, stream, _use_new_zipfile_serialization=False)
        body = stream.getvalue()
    server.serve("/big.pt", body, etag='"big"')
    complete = []

    def progress(done, total):
        complete.append(done == len(body))
        if complete.count(True) > 1:  # the first is the last byte's
            raise Stop

    with pytest.raises(Stop):
        download_weights(WeightFile("big.pt", url=f"{server.url}/big.pt"), "MIT", progress=progress)


def test_cancelling_while_a_body_trickles(kind):
    file, served = kind
    served.seconds = 20.0
    with stopped_after(0.5, within=1.0) as progress:
        download_weights(file, "MIT", progress=progress)


def test_a_body_that_stops_coming_is_taken_up_again(kind, server, monkeypatch):
    file, served = kind
    monkeypatch.setattr(https, "SILENCE", 0.3)
    served.seconds = 20.0  # a piece a second

    class Once(float):
        def __truediv__(self, other):
            served.seconds = 0.0
            return 1.0

    served.seconds = Once(20)
    assert download_weights(file, "MIT").read_bytes() == BODY
    first, second = server.gets()
    assert first is None
    assert second.startswith("bytes=")


INTERRUPTED = """
import logging, sys
from depth_normal.annotators.base import WeightFile
from depth_normal.model_loader.download import download_weights
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
try:
    download_weights(WeightFile("small.pt", url=sys.argv[1]), "MIT")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process on Windows")
def test_control_c_while_nobody_answers(server, small, tmp_path):
    server.files[SMALL_PATH].silent = True
    command = [sys.executable, "-u", "-c", INTERRUPTED, small.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while "connecting to" not in process.stdout.readline():
            assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopped\n"
        assert time.monotonic() - began < 1
        assert process.wait(timeout=30) == 0


TERMINATED = """
import sys
from depth_normal.app import cli
from depth_normal.annotators.base import WeightFile
from depth_normal.model_loader.download import download_weights
cli._models = lambda _: download_weights(WeightFile("small.pt", url=sys.argv[1]), "MIT")
sys.exit(cli.main(["models"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_terminated_download_leaves_only_what_it_goes_on_from(server, small, caches):
    server.files[SMALL_PATH].seconds = 20.0
    command = [sys.executable, "-c", TERMINATED, small.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        part = caches.home / "small.pt.part"
        while not (part.is_file() and part.stat().st_size):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert "depth-normal: stopped" in process.communicate(timeout=60)[1]
    assert sorted(path.name for path in caches.home.iterdir() if path.is_file()) == ["small.pt.part", "small.pt.part.etag"]
    server.files[SMALL_PATH].seconds = 0.0
    assert download_weights(small, "MIT").read_bytes() == BODY
    assert server.gets()[1].startswith("bytes=")


# --- a server that is busy ---


def test_a_server_that_is_busy_is_asked_again(kind):
    file, served = kind
    served.statuses = [503]
    assert download_weights(file, "MIT").read_bytes() == BODY


def test_a_server_that_stays_busy_is_not_asked_for_ever(kind, server):
    file, served = kind
    served.statuses, served.always = [503], True
    with pytest.raises(DownloadError, match="HTTP Error 503"):
        download_weights(file, "MIT")
    assert len(server.gets()) == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_wait_that_a_busy_server_asks_for(kind, form):
    file, served = kind
    began = time.time()
    # a date has whole seconds
    served.headers = {"Retry-After": "1" if form == "seconds" else email.utils.formatdate(int(began) + 2, usegmt=True)}
    served.statuses = [429]
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert time.time() - began >= (1 if form == "seconds" else int(began) + 2 - began)


def test_a_busy_server_that_says_how_long_is_asked_more_often(kind):
    file, served = kind
    served.statuses, served.headers = [429, 503, 429], {"Retry-After": "0"}
    assert download_weights(file, "MIT").read_bytes() == BODY


def test_a_wait_that_nobody_has_time_for(kind):
    file, served = kind
    served.statuses, served.headers = [429], {"Retry-After": "3600"}
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"busy \(HTTP 429\) and asks to wait 3600 s: try again then"):
        download_weights(file, "MIT")
    assert time.monotonic() - began < 1


# --- numbers that are none ---

NINES = "9" * 5000


@pytest.mark.parametrize(
    ("status", "header"),
    [
        ("200 OK", f"Content-Length: {NINES}"),
        ("200 OK", "Content-Length: \xb2"),
        ("200 OK", "Content-Length: -5"),
        ("200 OK", "X-Linked-Size: \xb2"),
        ("200 OK", f"X-Linked-Size: {NINES}"),
        ("206 Partial Content", f"Content-Range: bytes 0-{NINES}/{NINES}"),
    ],
    ids=lambda value: value[:24],
)
def test_a_number_that_is_none_counts_as_not_told(kind, status, header):
    file, served = kind
    served.raw = f"HTTP/1.1 {status}\r\nX-Repo-Commit: {'c' * 40}\r\n{header}\r\n\r\n".encode("latin-1") + BODY
    for each in (FILES.unknown(file), file):
        path = download_weights(each, "MIT")
        assert path.read_bytes() == BODY
        path.unlink()


@pytest.mark.parametrize("first", [NINES, "\xb2", "", "0x0"])
def test_a_rest_that_begins_nowhere_is_not_taken(kind, first):
    file, served = kind
    served.raw = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-\r\n\r\n".encode("latin-1") + BODY
    with pytest.raises(DownloadError, match="asked for the bytes from 0, got 'bytes ") as caught:
        download_weights(file, "MIT")
    assert NINES not in str(caught.value)


@pytest.mark.parametrize("value", [NINES, "\xb2", "-1", "1e9", "Fri, 99 Foo 99999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -2359"])
def test_a_wait_that_is_no_number(kind, value):
    file, served = kind
    served.statuses, served.headers = [429], {"Retry-After": value}
    assert download_weights(file, "MIT").read_bytes() == BODY


# --- redirects, and what must not be told ---


HUB_ALONE = """
import sys
from depth_normal.annotators.base import WeightFile
from depth_normal.model_loader.download import download_weights
download_weights(WeightFile("ckpt/hybrid.pt", repo_id="someone/Annotators"), "MIT")
"""


def test_the_hub_is_asked_for_the_file_and_for_nothing_else(server, tmp_path):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "new"), "HF_TOKEN": "hf_good"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", HUB_ALONE], env=environment, check=True, timeout=60)
    assert [path for _, path, _ in server.requests] == [HUB_PATH]
    assert server.tokens == ["Bearer hf_good"]


def test_a_user_who_sends_no_token(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, token="hf_good")
    with pytest.raises(AccessDeniedError, match="no token was sent"):
        download_weights(HUB, "MIT")
    assert server.tokens == [None]


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xfe", "token cannot be had"), ("hf_\xfc".encode(), "the token is not one")])
def test_a_token_that_is_none(server, tmp_path, content, words):
    (tmp_path / "token").write_bytes(content)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    with pytest.raises(DownloadError, match=f"hybrid.pt cannot be fetched: .*{words}.*"):
        download_weights(HUB, "MIT")
    assert server.requests == []


@pytest.fixture
def sent_on(server, elsewhere):
    """The hub as it is: it answers with the file's names and sends on to another host, where the bytes are."""
    elsewhere.serve("/bytes", BODY, etag='"of-the-storage"')
    headers = {"X-Linked-Size": str(len(BODY)), "X-Linked-Etag": f'"{SHA256}"', "X-Repo-Commit": "c" * 40}
    return server.serve(HUB_PATH, b"", redirect=f"{elsewhere.url}/bytes?signature=secret", headers=headers)


def test_the_token_goes_to_the_hub_and_nowhere_else(server, elsewhere, sent_on, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert download_weights(FILES.unknown(HUB), "MIT").read_bytes() == BODY
    assert server.tokens == ["Bearer hf_good"]
    assert elsewhere.tokens == [None]


def test_a_redirect_within_the_hub_keeps_the_token(server, sent_on, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve(HUB_PATH, b"", redirect="/renamed/resolve/x")
    server.serve("/renamed/resolve/x", BODY, token="hf_good", commit="c" * 40)
    assert download_weights(HUB, "MIT").read_bytes() == BODY


def test_a_download_from_another_host_is_resumed_by_the_hubs_name_of_the_file(elsewhere, sent_on, server):
    elsewhere.files["/bytes"].drops = [1_000_000]
    assert download_weights(FILES.unknown(HUB), "MIT").read_bytes() == BODY
    assert [span for _, _, span in elsewhere.requests] == [None, "bytes=1000000-"]


def test_another_file_of_the_hub_is_not_patched_onto_the_first(elsewhere, sent_on):
    elsewhere.files["/bytes"].seconds = 0.5
    with pytest.raises(Stop):
        download_weights(FILES.unknown(HUB), "MIT", progress=FILES.stop_after(500_000))
    elsewhere.serve("/bytes", OTHER, etag='"of-the-storage"')
    sent_on.headers["X-Linked-Etag"] = f'"{hashlib.sha256(OTHER).hexdigest()}"'
    assert download_weights(FILES.unknown(HUB), "MIT").read_bytes() == OTHER


def test_the_hubs_own_sha256_holds_where_the_table_has_none(elsewhere, sent_on, tmp_path):
    elsewhere.files["/bytes"].body = OTHER
    with pytest.raises(CorruptDownloadError, match=SHA256):
        download_weights(FILES.unknown(HUB), "MIT")
    assert FILES.leftovers(tmp_path) == []


def test_another_sha256_than_the_tables_is_refused_before_the_body_comes(elsewhere, sent_on):
    with pytest.raises(CorruptDownloadError, match=f"its sha256 is {SHA256}, the published file's {'0' * 64}"):
        download_weights(replace(HUB, sha256="0" * 64), "MIT")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.org:port/x", "not an address that can be gone to"),
        ("https://example.org:99999/x", "not an address that can be gone to"),
        ("https://[::1/x", "not an address that can be gone to"),
        ("https:///x", "it names no host"),
        (f"https://{'a' * 70}.example/x", "cannot be"),
        ("ftp://example.org/x", "only fetched over https"),
        ("file:///etc/passwd", "only fetched over https"),
        ("javascript:alert(1)", "only fetched over https"),
        ("http://example.org/x", "only fetched over https"),
    ],
)
def test_a_hostile_redirect(kind, address, words):
    file, served = kind
    served.redirect = address
    with pytest.raises(DownloadError, match=words):
        download_weights(file, "MIT")


def test_a_redirect_in_a_circle(kind, server):
    file, served = kind
    served.redirect = next(path for path in server.files if server.files[path] is served)
    with pytest.raises(DownloadError, match="redirects more than 8 times"):
        download_weights(file, "MIT")


def test_an_encrypted_address_never_leads_to_one_that_is_not(encrypted, server, monkeypatch):
    secure, certificate = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.serve("/bytes", BODY)
    secure.serve("/a.pt", b"", redirect=f"{server.url}/bytes")
    with pytest.raises(DownloadError, match=rf"{secure.url}/a\.pt redirects to {server.url}/bytes.*only fetched over https"):
        download_weights(WeightFile("a.pt", url=f"{secure.url}/a.pt"), "MIT")
    assert server.requests == []


def test_an_encrypted_server(encrypted, monkeypatch):
    secure, certificate = encrypted
    secure.serve("/a.pt", BODY, drops=[1_000_000])
    file = WeightFile("a.pt", url=f"{secure.url}/a.pt")
    with pytest.raises(DownloadError, match="certificate is not believed: self-signed"):
        download_weights(file, "MIT")
    assert secure.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert secure.gets() == [None, "bytes=1000000-"]


def test_plain_http_is_only_for_this_machine(caches):
    with pytest.raises(DownloadError, match="only fetched over https"):
        download_weights(WeightFile("a.pt", url="http://example.org/a.pt"), "MIT")


def test_a_password_in_the_hubs_address_is_sent_and_never_shown(server, caplog, monkeypatch):
    """As HF_ENDPOINT=https://user:password@mirror.example."""
    secret = server.url.replace("http://", "http://user:pass%40word@")
    monkeypatch.setattr(constants, "ENDPOINT", secret)
    template = secret + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, sys.modules["huggingface_hub.file_download"]):
        if hasattr(module, "HUGGINGFACE_CO_URL_TEMPLATE"):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    served = server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    messages = []
    for trouble in ({"statuses": [403]}, {"statuses": [404]}, {"statuses": [500, 500]}, {"redirect": "https://a:secret@b:port/"}):
        for name, value in trouble.items():
            setattr(served, name, value)
        with caplog.at_level(logging.INFO), pytest.raises(DownloadError) as caught:
            download_weights(HUB, "MIT")
        served.statuses = []
        messages.append(str(caught.value))
    served.redirect = None
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert set(server.tokens) == {"Basic dXNlcjpwYXNzQHdvcmQ="}
    text = "\n".join((*messages, caplog.text))
    assert server.url in text
    assert "pass@" not in text
    assert "pass%40" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@host/x", "https://host/x"),
        ("cannot open https://user:p@ss/w?o#rd@host:1/x now", "cannot open https://host:1/x now"),
        ("https://host/x?Signature=abc&Key=1 failed", "https://host/x failed"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_what_is_shown_of_an_address(text, shown):
    assert https.without_credentials(text) == shown


# --- the rest ---


def test_progress_is_told_about_ten_times_a_second(kind):
    file, served = kind
    served.seconds = 1.0
    calls, began = [], time.monotonic()
    download_weights(file, "MIT", progress=lambda done, total: calls.append((done, total)))
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


def test_a_pause_can_be_stopped():
    began = time.monotonic()
    with pytest.raises(Stop):
        https.pause(60, partial(FILES.stop_after(0), 0, 0))
    assert time.monotonic() - began < 1
