"""Who may use the page's server: nobody but the browser that was given the token, and no file but the page's own and the results."""

import gzip
import socket
import struct
import sys
import zlib
from contextlib import suppress
from http.client import HTTPConnection
from itertools import product

import pytest
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra `ui`")

from depth_normal.app.ui import gate
from depth_normal.app.ui.gate import HEADER
from depth_normal.app.ui.job import clean_name, free_name
from depth_normal.app.ui.server import Limits
from tests.geometry.files.samples import png_bytes, png_chunk

STATE = ("GET", "/api/state")


def status(client, method, path, **headers):
    return client.ask(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})[0]


def test_the_token_lets_in_by_its_header_alone(client):
    """A cookie would be sent to every port of the computer, and an address stays in logs and histories."""
    assert status(client, *STATE) == 200
    without = {"X_Depth_Normal_Token": None}
    for cookie in (f"depth_normal_{client.port}={client.token}", f"X-Depth-Normal-Token={client.token}"):
        assert status(client, *STATE, **without, Cookie=cookie) == 403
    assert status(client, "GET", f"/api/state?token={client.token}", **without) == 403


def test_the_page_itself_is_for_everybody_and_holds_no_secret(client):
    for path in ("/", "/page/main.js", "/web/words.mjs"):
        answer, headers, body = client.ask("GET", path, headers={HEADER: None})
        assert answer == 200 and client.token.encode() not in body and "Set-Cookie" not in headers
    assert "<main>" in client.ask("GET", "/", headers={HEADER: None})[2].decode()
    assert client.ui.gate.address == f"http://127.0.0.1:{client.port}/#token={client.token}", "browsers send nobody what is behind the #"


def test_what_is_not_of_the_page_is_refused(client):
    hosts = ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", ""]
    hosts += ["localhost:{port}", "[::1]:{port}"]
    origins = ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}"]
    cookies = ['settings={"theme": "dark"}', "other; =;;", f"long={'x' * 100_000}"]
    wrong = [
        *({"X_Depth_Normal_Token": token} for token in (None, "", "x", "\xc3\xa9", "\xe9")),
        *({"Host": host.format(port=client.port)} for host in hosts),
        *({"Origin": origin.format(port=client.port)} for origin in origins),
        *({"Sec_Fetch_Site": site} for site in ("cross-site", "same-site")),
        *({"Cookie": cookie, "X_Depth_Normal_Token": None} for cookie in cookies),
    ]
    assert [headers for headers in wrong if status(client, *STATE, **headers) != 403] == []
    assert {status(client, "POST", "/api/cancel", **headers) for headers in wrong if "Origin" in headers} == {403}
    assert {status(client, "GET", "/web/maps.mjs", **headers) for headers in wrong if "Sec_Fetch_Site" in headers} == {403}
    assert {status(client, *STATE, Cookie=cookie) for cookie in cookies} == {200}
    assert status(client, "POST", "/api/cancel", Origin=f"http://127.0.0.1:{client.port}") == 200
    answer, _, said = client.ask("GET", "/", headers={"Host": f"localhost:{client.port}"})
    assert answer == 403 and f"127.0.0.1:{client.port} alone" in said.decode()


def test_a_signed_address_opens_one_file_for_a_while(client, photo, monkeypatch):
    first, second = (client.upload(photo)[1]["id"] for _ in range(2))
    client.until(second, "done")
    addresses = {}
    for job, kind in ((first, "depth"), (first, "npz"), (second, "depth")):
        answer, said = client.json("POST", f"/api/jobs/{job}/files/{kind}")
        addresses[job, kind] = said["address"]
        assert answer == 200 and client.token not in said["address"]
        assert client.ask("GET", said["address"], headers={HEADER: None})[0] == 200
    path, query = addresses[first, "depth"].split("?")
    forged = [
        path,
        f"{path}?{query.partition('&sign=')[0]}",
        f"{path}?{query[:-1]}",
        f"{path}?{query}&show=1",
        f"{path}?show=1&{query}",
        f"{path}?until=99999999999&sign={query.partition('&sign=')[2]}",
        f"/api/state?{query}",
        *(f"{other.partition('?')[0]}?{query}" for key, other in addresses.items() if key != (first, "depth")),
    ]
    assert [client.ask("GET", address, headers={HEADER: None})[0] for address in forged] == [403] * len(forged)
    assert client.ask("POST", addresses[first, "depth"], headers={HEADER: None})[0] == 403, "it is to be read alone"
    assert client.ask("GET", addresses[first, "depth"], headers={HEADER: None, "Sec-Fetch-Site": "same-site"})[0] == 403
    monkeypatch.setattr("depth_normal.app.ui.gate.SIGNED_SECONDS", -1)
    assert client.file(first, "depth")[0] == 403, "its time is over"


def test_compressed_bodies_are_refused(client, caplog):
    bodies = [b"no gzip at all", gzip.compress(bytes(1000)), gzip.compress(bytes(1000))[:-12]]
    for encoding, body, path in product(("gzip", "deflate", "br"), bodies, ("/api/upload?name=a.png", "/api/cancel")):
        answer, said = client.json("POST", path, body=body, headers={"Content-Encoding": encoding})
        assert answer == 400 and encoding in said["values"]
    assert caplog.records == [] and list(client.jobs.uploads.iterdir()) == []


def test_nobody_without_a_token_makes_the_terminal_show_a_traceback(client, caplog):
    targets = ["/?token=", "/?token=%ff", "/\xff", "/%ff", "*", "//", "http://[", f"/{'a' * 9000}", "/api/jobs/%00/view"]
    host = f"Host: 127.0.0.1:{client.port}\r\n"
    heads = [host, "", f"{host}Content-Encoding: gzip\r\nContent-Length: 2\r\n", f"{host}Transfer-Encoding: chunked\r\n"]
    for target, method, head in product(targets, ("GET", "POST", "OPTIONS", "CONNECT", "\x16\x03"), heads):
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
            connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\nzz\r\n".encode("latin-1"))
            answer = connection.recv(100)
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 200")), (target, method, head)
    assert [record.getMessage() for record in caplog.records] == []


def test_connections_without_a_token_are_bounded(client, monkeypatch):
    """Whoever has an account could open so many that the page gets none."""
    monkeypatch.setattr(gate, "STRANGERS", 3)
    page = HTTPConnection("127.0.0.1", client.port, timeout=20)
    strangers = []
    for _ in range(20):
        page.request("GET", "/api/state", headers={HEADER: client.token})
        assert page.getresponse().read(), "whoever showed the token keeps the connection"
        strangers.append(socket.create_connection(("127.0.0.1", client.port), timeout=1))
        strangers[-1].sendall(b"GET / HTTP/1.1\r\n")
    assert [each.recv(1) for each in strangers[:16]] == [b""] * 16
    with pytest.raises(TimeoutError):
        strangers[-1].recv(1)
    for each in (*strangers, page):
        each.close()


def test_answers_forbid_the_browser_everything_else(client):
    for path in ("/", "/page/main.js", "/api/state", "/nothing"):
        headers = client.ask("GET", path)[1]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"


def test_no_path_leads_out_of_the_page_or_names_a_job_that_is_not_there(client):
    paths = [
        *("/page/../server.py", "/page/..%2fserver.py", "/page/%2fetc%2fpasswd", "/page/main.js%00.html", "/web//etc/passwd"),
        *("/web/%2e%2e/pyproject.toml", "/web/..%5c..%5cpyproject.toml", "/web/languages/..%2f..%2f..%2fpyproject.toml"),
        *(f"/api/jobs/{each}" for each in ("../view", "%2e%2e/view", "x/files/..%2f..%2fphoto", "x/view")),
    ]
    assert [path for path in paths if client.ask("GET", path)[0] != 404] == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("photo.JPG", "photo.jpg"),
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Windows\\a.png", "a.png"),
        ("a\x00b\nc\u202e.png", "a_b_c_.png"),
        ("..png", "image.png"),
        (".png", "image.png"),
        ("", "image"),
        ("CON.png", "_CON.png"),
        ("nul.tar.png", "_nul.tar.png"),
        ("conin$.png", "_conin$.png"),
        ("aux .png", "_aux.png"),
        ('a?*<>|":.png', "a_______.png"),
        ("e\u0301t\u00e9.png", "\u00e9t\u00e9.png"),
        ("写真.png", "写真.png"),
        ("\ud800.png", "_.png"),
        ("name. .png", "name.png"),
        ("a.p/n g", "n g"),
        ("\u00e9" * 300 + ".png", "\u00e9" * 60 + ".png"),
    ],
)
def test_names_are_made_harmless(sent, kept):
    assert clean_name(sent) == kept


def test_results_get_a_free_name(tmp_path):
    (tmp_path / "photo_depth.png").touch()
    assert free_name("photo.png", {"photo-2"}, tmp_path, ["_depth.png"]) == "photo-3.png"
    assert free_name("Photo.png", {"photo"}, tmp_path / "none", ["_depth.png"]) == "Photo-2.png"


def test_an_upload_lands_in_its_own_folder_whatever_it_is_called(client, photo):
    status, job = client.upload(photo, "../../../../tmp/evil.png")
    assert status == 201 and job["name"] == "evil.png"
    (path,) = client.jobs.uploads.glob("*/*")
    assert path.name == "evil.png"


def test_too_many_bytes_are_refused_and_nothing_is_kept(client):
    """Also in chunks, as a client sends that does not say how many bytes there are."""
    status, said = client.upload(b"\x89PNG" + bytes(2**20), "large.png")
    assert status == 413 and said["values"] == ["large.png", "1"] and "is larger than" in said["error"]
    with suppress(OSError):  # the server hangs up while the client still sends
        assert client.ask("POST", "/api/upload?name=a.png", body=(bytes(2**18) for _ in range(8)))[0] == 413
    assert list(client.jobs.uploads.iterdir()) == [] and client.state()["jobs"] == []


def test_too_many_pixels_are_refused_by_the_header_though_it_may_lie(client, tmp_path):
    Image.new("1", (4000, 300)).save(tmp_path / "wide.png")
    status, said = client.upload(tmp_path / "wide.png")
    assert status == 413 and said["values"] == ["wide.png", "4000x300", "1"]
    Image.new("1", (8, 8)).save(tmp_path / "bomb.png")
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    status, said = client.upload(bytes(data), "bomb.png")
    assert status == 413, said
    assert list(client.jobs.uploads.iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_written(serve, photo):
    with serve(limits=Limits(free_bytes=2**60)) as client:
        status, said = client.upload(photo)
    assert status == 507 and said["error"].startswith("no room for {0}")


def test_what_is_no_image_is_refused_in_words(client):
    for body, name in ((b"hello", "a.png"), (b"", "a.png"), (b"hello", "a.txt"), (b"GIF89a", "a.gif"), (b"hello", "")):
        status, said = client.upload(body, name)
        assert status == 415 and said["values"], said
        assert str(client.jobs.uploads) not in str(said), "the server's folders are nobody's business"
    status, said = client.upload(b"#?RADIANCE\n", "a.hdr")  # which browsers cannot show
    assert status == 415 and said["error"].startswith("{0} is no image or video that this page reads")
    assert list(client.jobs.uploads.iterdir()) == []


def test_every_damaged_header_is_refused_and_none_is_an_error_of_the_server(client):
    """Decoders raise errors of many kinds."""
    rows, short = bytes(3 * 4), png_chunk(b"IHDR", bytes(5))
    for body in (
        b"\x89PNG\r\n\x1a\n" + short,
        png_bytes(1, 3, rows=rows, before=png_chunk(b"acTL", b"")),
        png_bytes(1, 3, rows=rows, before=png_chunk(b"gAMA", b"")),
        b"II*\0\x08\0\0\0\1\0" + bytes(12) + b"\xff" * 4,
        b"P6 1 x 255\n",
    ):
        status, said = client.upload(body, "a.png")
        assert status == 415 and said["values"], said
    assert list(client.jobs.uploads.iterdir()) == []


def test_an_image_with_a_large_workflow_is_taken(client):
    text = png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(2**21)))
    assert client.made(png_bytes(64, 48, rows=bytes((1 + 3 * 64) * 48), before=text), "workflow.png")["state"] == "done"


def test_unknown_settings_are_refused(client, photo):
    assert {client.upload(photo, **settings)[0] for settings in ({"model": "../x"}, {"resolution": "huge"}, {"coding": "x"})} == {400}


def test_it_listens_on_this_computer_alone(client):
    """On every address of the computer but 127.0.0.1, the port is free."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            other.bind(("127.0.0.2", client.port))
            other.listen()
