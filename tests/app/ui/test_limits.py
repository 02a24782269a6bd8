"""What the page's server does when a disk is full, its temporary folder is emptied, or too much is asked for at once."""

import shutil
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra `ui`")

from depth_normal.app.ui import results
from depth_normal.app.ui.gate import HEADER
from depth_normal.app.ui.server import Limits

DISK_SIZE = "8m"
FULL = "no room for {0} on the disk of {1}; free some space there"


@pytest.fixture
def noise(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def fill(folder, left=0):
    with suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        while (free := shutil.disk_usage(folder).free - left) > 0:
            file.write(bytes(free))


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(small_disk, serve, is_chunked):
    with serve("disk/uploads", limits=Limits(free_bytes=2**18)) as client:
        body = (bytes(2**17) for _ in range(128)) if is_chunked else bytes(2**24)
        try:
            status, said = client.json("POST", "/api/upload", body=body, query={"name": "a.png"})
        except OSError:  # the server hangs up while the client still sends
            status, said = 507, {"error": FULL}
        assert status == 507 and said["error"] == FULL
        assert list(client.jobs.uploads.iterdir()) == [] and client.state()["jobs"] == []


def test_the_room_that_stays_free_counts_all_that_is_uploaded(small_disk, serve, photo):
    """Each of them would fit alone."""
    with serve("disk/uploads", limits=Limits(free_bytes=2**20)) as client:
        fill(small_disk, left=2**20 + 2**16)
        assert client.upload(photo)[0] == 201
        fill(small_disk, left=2**20)
        assert client.upload(photo)[0] == 507
        assert len(list(client.jobs.uploads.iterdir())) == 1


def test_a_full_temporary_disk_is_said_of_copies(small_disk, serve, photo):
    with serve("disk/uploads", limits=Limits(free_bytes=0)) as client:
        job = client.made(photo)["id"]
        fill(small_disk)
        for path in ("/api/demo", f"/api/jobs/{job}/again"):
            status, said = client.json("POST", path)
            assert status == 507 and said["error"] == FULL, path
        assert [path.name for path in client.jobs.uploads.iterdir()] == [job]


@pytest.mark.slow("takes a second")
def test_a_full_disk_of_the_results_is_said_and_leaves_nothing(small_disk, serve, noise):
    out = small_disk / "out"
    with serve(out="disk/out") as client:
        job = client.upload(noise)[1]["id"]
        assert client.until(job)["state"] == "done"
        before = {path for path in out.rglob("*") if path.is_file()}
        fill(small_disk)
        for kind in ("exr", "glb", "html"):
            status, said = client.json("POST", f"/api/jobs/{job}/files/{kind}")
            assert status == 507 and said["error"] == FULL and said["values"] == [f"noise.{kind}", str(out)]
        failed = client.made(noise)
        assert failed["state"] == "failed" and "No space left on device" in failed["error"]
        assert {path for path in out.rglob("*") if path.is_file()} == before


def test_a_temporary_folder_that_was_emptied_is_made_again(client, photo):
    old = client.made(photo)["id"]
    before = client.jobs.uploads
    shutil.rmtree(before)
    assert client.ask("GET", f"/api/jobs/{old}/thumbnail")[0] == 404
    for method, path in (("GET", f"jobs/{old}/view"), ("POST", f"jobs/{old}/again"), ("POST", f"jobs/{old}/files/glb")):
        status, said = client.json(method, f"/api/{path}")
        assert status in (410, 422) and "add it again" in said["values"][0], path
    assert client.file(old, "depth")[0] == 200, "results lie elsewhere"
    client.json("POST", f"/api/jobs/{old}/remove")
    before.symlink_to(photo.parent)  # somebody else's folder, under the old name
    new = client.made(photo)
    assert new["state"] == "done" and client.jobs.uploads != before
    assert client.jobs.uploads.stat().st_mode & 0o777 == 0o700
    folder = client.jobs.uploads
    client.jobs.close()
    assert not folder.exists()


@pytest.fixture
def views(monkeypatch):
    """How many views are made at the same time, and in all; each waits until `go` is set."""
    seen = {"now": 0, "most": 0, "all": 0, "go": threading.Event()}
    payload = results.page_payload

    def counted(*words):
        seen["now"] += 1
        seen["all"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        seen["go"].wait(20)
        try:
            return payload(*words)
        finally:
            seen["now"] -= 1

    monkeypatch.setattr(results, "page_payload", counted)
    return seen


def begin_view(client, job):
    connection = HTTPConnection("127.0.0.1", client.port, timeout=20)
    connection.request("GET", f"/api/jobs/{job}/view", headers={HEADER: client.token})
    return connection


def test_views_are_made_one_at_a_time_and_small_images_do_not_wait(client, photo, views):
    job = client.made(photo)["id"]
    connections = [begin_view(client, job) for _ in range(10)]
    began = time.monotonic()
    assert client.ask("GET", f"/api/jobs/{job}/thumbnail")[0] == 200 and time.monotonic() - began < 5
    views["go"].set()
    assert [connection.getresponse().status for connection in connections] == [200] * 10
    assert views["most"] == 1 and views["all"] == 10


def test_a_large_image_does_not_hold_up_the_views_of_others(client, photo, views):
    large, small = (client.jobs.get(client.made(photo)["id"]) for _ in range(2))
    large.size = (4096, 3328)  # a real one takes half a minute
    held = [begin_view(client, each.id) for each in (large, small)]
    client.wait(lambda: views["now"] == 2)
    views["go"].set()
    assert [each.getresponse().status for each in held] == [200, 200]


def test_views_that_nobody_waits_for_are_not_made(client, photo, views):
    job = client.made(photo)["id"]
    connections = [begin_view(client, job) for _ in range(10)]
    while not views["now"]:
        time.sleep(0.01)
    for connection in connections[:-1]:
        connection.close()
    time.sleep(0.2)  # until the server has noticed
    views["go"].set()
    assert connections[-1].getresponse().status == 200
    assert views["all"] == 2, "the one at work, and the one that is waited for"
