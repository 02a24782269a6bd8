"""What a request says and what an answer claims: waits, numbers, tokens, redirects, addresses."""

import email.utils
import hashlib
import importlib
import logging
import os
import socketserver
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
from huggingface_hub import constants

from depth_normal.annotators.specs.base import WeightFile
from depth_normal.model_loader.weights import transfer
from depth_normal.model_loader.weights.download import (
    AccessDeniedError,
    CorruptDownloadError,
    DownloadError,
    NoNetworkError,
    download_weights,
)
from depth_normal.model_loader.weights.network import without_credentials
from tests.forked import needs_fork, printed_by
from tests.whole_files import BODY, HUB, HUB_PATH, OTHER, SHA256, Stop, in_turn, leftovers, stop_after, unknown

SMALL_PATH = "/v2_1/small.pt"
NINES = "9" * 5000


# --- a server that is busy ---


@pytest.mark.parametrize(
    ("kind", "statuses", "headers"),
    in_turn(
        [
            pytest.param([503], {}, id="503"),
            pytest.param([429, 503, 429], {"Retry-After": "0"}, id="three times"),
            *(
                pytest.param([429], {"Retry-After": no_number}, id=no_number[:24])
                for no_number in (NINES, "\xb2", "-1", "1e9", "Fri, 99 Foo 99999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -2359")
            ),
        ]
    ),
    indirect=["kind"],
)
def test_a_server_that_is_busy_is_asked_again(kind, statuses, headers):
    """More often where it says how long it is."""
    file, served = kind
    served.statuses, served.headers = statuses, headers
    assert download_weights(file, "MIT").read_bytes() == BODY


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_wait_that_a_busy_server_asks_for(kind, form):
    file, served = kind
    began = time.time()
    # a date has whole seconds
    served.headers = {"Retry-After": "1" if form == "seconds" else email.utils.formatdate(int(began) + 2, usegmt=True)}
    served.statuses = [429]
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert time.time() - began >= (1 if form == "seconds" else int(began) + 2 - began)


# --- numbers that are none ---


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
    for each in (unknown(file), file):
        path = download_weights(each, "MIT")
        assert path.read_bytes() == BODY
        path.unlink()


# --- redirects, and what must not be told ---


def with_a_new_hub(work, **environment):
    """The exit code of a function in a process that has yet to import huggingface_hub, with this environment, and what it prints."""

    def alone():
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_HUB_", "TRANSFORMERS_OFFLINE"))]:
            del os.environ[name]
        os.environ.update(environment)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("huggingface_hub", "depth_normal")]:
            del sys.modules[name]
        work()

    return printed_by(alone)


@needs_fork
def test_the_hub_is_asked_for_the_file_and_for_nothing_else(server, tmp_path):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)

    def fetch():
        download = importlib.import_module("depth_normal.model_loader.weights.download")
        download.download_weights(unknown(HUB), "MIT")

    assert with_a_new_hub(fetch, HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "new"), HF_TOKEN="hf_good")[0] == 0
    assert [path for _, path, _ in server.requests] == [HUB_PATH]
    assert server.tokens == ["Bearer hf_good"]


def test_a_user_who_sends_no_token(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY, token="hf_good")
    with pytest.raises(AccessDeniedError, match="no token was sent"):
        download_weights(HUB, "MIT")
    assert server.tokens == [None]


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xfe", "token cannot be read"), ("hf_\xfc".encode(), "the token is not valid")])
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
    assert download_weights(unknown(HUB), "MIT").read_bytes() == BODY
    assert server.tokens == ["Bearer hf_good"]
    assert elsewhere.tokens == [None]


def test_a_redirect_within_the_hub_keeps_the_token(server, sent_on, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve(HUB_PATH, b"", redirect="/renamed/resolve/x")
    server.serve("/renamed/resolve/x", BODY, token="hf_good", commit="c" * 40)
    assert download_weights(HUB, "MIT").read_bytes() == BODY


def test_a_download_from_another_host_is_resumed_by_the_hubs_name_of_the_file(elsewhere, sent_on, server):
    elsewhere.files["/bytes"].drops = [1_000_000]
    assert download_weights(unknown(HUB), "MIT").read_bytes() == BODY
    assert [span for _, _, span in elsewhere.requests] == [None, "bytes=1000000-"]


def test_another_file_of_the_hub_is_not_patched_onto_the_first(elsewhere, sent_on):
    elsewhere.files["/bytes"].seconds = 0.5
    with pytest.raises(Stop):
        download_weights(unknown(HUB), "MIT", progress=stop_after(500_000))
    elsewhere.serve("/bytes", OTHER, etag='"of-the-storage"')
    sent_on.headers["X-Linked-Etag"] = f'"{hashlib.sha256(OTHER).hexdigest()}"'
    assert download_weights(unknown(HUB), "MIT").read_bytes() == OTHER


def test_the_hubs_own_sha256_holds_where_the_table_has_none(elsewhere, sent_on, tmp_path):
    elsewhere.files["/bytes"].body = OTHER
    with pytest.raises(CorruptDownloadError, match=SHA256):
        download_weights(unknown(HUB), "MIT")
    assert leftovers(tmp_path) == []


def test_another_sha256_than_the_tables_is_refused_before_the_body_comes(elsewhere, sent_on):
    with pytest.raises(CorruptDownloadError, match=f"its sha256 is {SHA256}, the published file's {'0' * 64}"):
        download_weights(replace(HUB, sha256="0" * 64), "MIT")


@pytest.mark.parametrize(
    ("kind", "address", "words"),
    in_turn(
        pytest.param(address, words, id=address[:24])
        for address, words in (
            ("https://example.org:port/x", "not a valid address"),
            ("https://example.org:99999/x", "not a valid address"),
            ("https://[::1/x", "not a valid address"),
            ("https:///x", "it names no host"),
            (f"https://{'a' * 70}.example/x", "cannot be"),
            ("ftp://example.org/x", "only fetched over https"),
            ("file:///etc/passwd", "only fetched over https"),
            ("javascript:alert(1)", "only fetched over https"),
            ("http://example.org/x", "only fetched over https"),
        )
    ),
    indirect=["kind"],
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


@pytest.mark.slow("takes most of a second")
def test_an_encrypted_server(encrypted, monkeypatch):
    secure, certificate = encrypted
    secure.serve("/a.pt", BODY, drops=[1_000_000])
    file = WeightFile("a.pt", url=f"{secure.url}/a.pt")
    with pytest.raises(DownloadError, match="certificate is not trusted: self-signed"):
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


@needs_fork
@pytest.mark.parametrize(
    ("command", "name", "value", "said"),
    [
        (["download", "dsine"], "HF_ENDPOINT", "http://[", "HF_ENDPOINT is 'http://[', which is no address"),
        (["models"], "HF_ENDPOINT", "https://me:secret@h:99999", "HF_ENDPOINT is 'https://h:99999', which is no address"),
        (["models"], "HF_HUB_DOWNLOAD_TIMEOUT", "a while", "set in the environment: HF_HOME, HF_HUB_DOWNLOAD_TIMEOUT"),
    ],
)
def test_a_setting_with_which_huggingface_hub_cannot_be_imported(caches, tmp_path, command, name, value, said):
    def run():
        sys.exit(importlib.import_module("depth_normal.app.cli").main(command))

    code, printed = with_a_new_hub(run, HF_HOME=str(tmp_path / "hf"), **{name: value})
    assert code == 2
    assert said in printed
    assert "Traceback" not in printed and "secret" not in printed


@pytest.mark.parametrize("url", ["https://ex..ample/x.pt", "https://[::1/x.pt"])
def test_an_address_that_cannot_be_gone_to_is_tried_once(caches, caplog, url):
    with pytest.raises(DownloadError, match="is not a valid address"):
        download_weights(WeightFile("x.pt", url=url), "MIT")
    assert "trying again" not in caplog.text


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
    assert without_credentials(text) == shown


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
        transfer.pause(60, partial(stop_after(0), 0, 0))
    assert time.monotonic() - began < 20
