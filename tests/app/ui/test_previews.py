"""Stereo images and camera moves of a result, asked over HTTP: what is refused, cancelled, replaced, kept and removed."""

import shlex
import shutil

import pytest
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra `ui`")
pytest.importorskip("av", reason="writes videos")

from depth_normal.app.cli import main
from depth_normal.app.ui import previews

ENDED = ("done", "failed", "cancelled")


@pytest.fixture
def done(client, photo):
    return client.made(photo)["id"]


def ask(client, job, kind, **values):
    return client.json("POST", f"/api/jobs/{job}/{kind}", query=values)


def until_over(client, preview):
    return client.wait(lambda: (found := client.json("GET", f"/api/previews/{preview['id']}")[1])["state"] in ENDED and found)


def test_the_same_is_made_once_and_kept_once(client, done, out):
    status, asked = ask(client, done, "stereo", layout="half-sbs")
    assert status == 200 and " stereo photo.png --model tiny --layout half-sbs --divergence 2 --convergence 0.5 -o " in asked["command"]
    made = until_over(client, asked)
    assert made["state"] == "done" and made["name"] == "photo_LR.png"
    assert not (out / made["name"]).exists(), "what is looked at alone stays out of the folder"
    assert ask(client, done, "stereo", layout="half-sbs", divergence="2.0")[1]["id"] == made["id"]
    status, headers, shown = client.ask("GET", f"/api/previews/{made['id']}/file")
    assert status == 200 and headers["Content-Disposition"].startswith("inline") and headers["Content-Type"] == "image/png"
    assert not (out / made["name"]).exists()
    (out / made["name"]).write_text("somebody's")
    for _ in range(2):
        status, headers, kept = client.signed(f"/api/previews/{made['id']}/file")
        assert status == 200 and kept == shown and "attachment; filename*=UTF-8''photo-2_LR.png" in headers["Content-Disposition"]
    assert (out / made["name"]).read_text() == "somebody's" and (out / "photo-2_LR.png").read_bytes() == shown
    assert not list(out.glob("photo-3*"))


@pytest.mark.slow("runs a command beside the page")
@pytest.mark.parametrize("kind", ["stereo", "parallax"])
def test_a_transparent_image_is_shown_as_by_the_command(client, photo, tmp_path, kind):
    image = Image.open(photo).convert("RGBA")
    image.paste((200, 40, 0, 0), (0, 0, 24, 48))
    image.save(photo)
    made = until_over(client, ask(client, client.made(photo)["id"], kind)[1])
    words = shlex.split(made["command"])[1:]
    words[words.index("photo.png")], words[words.index("-o") + 1] = str(photo), f"{tmp_path / 'by hand'}/"
    assert main(words) == 0
    assert client.ask("GET", f"/api/previews/{made['id']}/file")[2] == (tmp_path / "by hand" / made["name"]).read_bytes()


def test_settings_that_the_page_has_not_are_refused(client, done):
    for kind, values, said in (
        ("stereo", {"layout": "../../etc"}, "{0} is no {1}; reload the page"),
        ("stereo", {"divergence": "21"}, "{0} is no {1}; reload the page"),
        ("stereo", {"convergence": "nan"}, "{0} is no {1}; reload the page"),
        ("parallax", {"move": "jump"}, "{0} is no {1}; reload the page"),
        ("parallax", {"amount": "-1"}, "{0} is no {1}; reload the page"),
        ("parallax", {"side": "99999"}, "{0} is no {1}; reload the page"),
        ("relight", {"x": "4"}, "{0}"),
        ("relight", {"depth": "0", "plan": "1"}, "{0}"),
        ("relight", {"colour": "no colour; rm -rf"}, "{0}"),
    ):
        status, answer = ask(client, done, kind, **values)
        assert status == 400 and answer["error"] == said, values


def test_what_has_no_result_and_what_is_not_there_is_refused(client, done):
    assert ask(client, "nothing", "stereo")[0] == 404
    assert client.ask("GET", "/api/previews/nothing")[0] == 404
    assert client.ask("GET", "/api/previews/nothing/file")[0] == 404
    assert ask(client, done, "depth")[0] in (404, 405)
    client.jobs.get(done).quantity = None
    status, answer = ask(client, done, "parallax")
    assert status == 404 and answer["error"] == "{0} has no depth to show this of"


@pytest.mark.slow("takes most of a second")
def test_another_request_takes_the_place_of_the_one_at_work(client, photo):
    Image.open(photo).resize((600, 400)).save(photo)
    job = client.made(photo)["id"]
    first = ask(client, job, "parallax", move="dolly")[1]
    second = ask(client, job, "parallax", move="swing")[1]
    assert client.json("GET", f"/api/previews/{first['id']}")[1]["state"] == "cancelled"
    stopped = client.json("POST", f"/api/previews/{second['id']}/cancel")[1]
    assert stopped["state"] == "cancelled"
    status, answer = client.json("GET", f"/api/previews/{second['id']}/file")
    assert status == 404 and answer["error"] == "{0} has no result yet"
    assert until_over(client, ask(client, job, "stereo")[1])["state"] == "done", "the thread goes on"
    folder = client.jobs.get(job).source.parent
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {ask(client, job, "stereo")[1]["id"]}, "nothing of them is left"


def test_one_that_is_cancelled_at_its_end_leaves_nothing(client, done, monkeypatch):
    make = client.jobs.previews._make

    def cancelled(preview):
        make(preview)
        preview.end("cancelled")

    monkeypatch.setattr(client.jobs.previews, "_make", cancelled)
    preview = client.jobs.previews.get(ask(client, done, "stereo")[1]["id"])
    client.wait(lambda: preview.state == "cancelled")
    client.wait(lambda: not preview.folder.exists())


def test_what_cannot_be_made_is_said(client, done, tmp_path):
    shutil.rmtree(client.jobs.uploads)
    failed = until_over(client, ask(client, done, "stereo")[1])
    assert failed["state"] == "failed" and failed["error"].startswith("the file is no longer in the temporary folder")
    (tmp_path / "out" / "photo.npz").write_bytes(b"somebody's")
    status, said = ask(client, done, "stereo")
    assert status == 410 and "was moved, removed or changed" in said["error"]


@pytest.mark.slow("takes most of a second")
def test_old_ones_make_room_and_a_removed_image_takes_all_along(client, done, monkeypatch):
    monkeypatch.setattr(previews, "_KEPT_OF_A_JOB", 2)
    made = [until_over(client, ask(client, done, "stereo", divergence=str(number))[1]) for number in range(5)]
    there = [client.ask("GET", f"/api/previews/{each['id']}")[0] for each in made]
    assert there == [404, 404, 200, 200, 200]
    folder = client.jobs.get(done).source.parent
    assert client.json("POST", f"/api/jobs/{done}/remove")[0] == 200
    assert not folder.exists() and client.ask("GET", f"/api/previews/{made[-1]['id']}")[0] == 404
