"""The page's queue and results, asked over HTTP: what is made is what the command makes, and cancel is answered at once."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from safetensors.torch import load_file, save_file

pytest.importorskip("aiohttp", reason="the extra `ui`")

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch import per_image
from depth_normal.app.cli import main
from depth_normal.app.ui import jobs as page_jobs
from depth_normal.app.ui.downloads import Downloads
from depth_normal.app.ui.gate import HEADER as TOKEN_HEADER
from depth_normal.app.ui.job import options_of
from depth_normal.app.ui.jobs import MOST_JOBS
from depth_normal.geometry.files import load_estimate
from depth_normal.model_loader.weights.find import find_weights
from tests.slow_download import UseSlowDownload

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def roomy(serve):
    with serve() as client:
        yield client


@pytest.fixture
def videos():
    from tests import videos

    return videos


@pytest.fixture
def clip(videos, tmp_path):
    return videos.write_video(tmp_path / "clip.mp4", videos.moving_ball(4), rate=5)


def test_a_dropped_image_becomes_the_files_that_the_command_makes(client, photo, tmp_path, monkeypatch, out):
    status, sent = client.upload(photo, resolution="fast", coding="directx")
    assert status == 201 and sent["size"] == [64, 48]
    job = client.until(sent["id"])
    assert job["state"] == "done" and job["files"] == {"depth": "photo_depth.png", "normals": "photo_normals.png", "npz": "photo.npz"}
    assert {path.name for path in out.iterdir()} == {*job["files"].values(), ".depth-normal"}
    monkeypatch.chdir(tmp_path)
    words = shlex.split(job["command"])[1:]
    assert words[0] == "photo.png" and words[words.index("-o") + 1] == str(out)
    words[words.index("-o") + 1] = "by-command"
    assert main([*words, "--device", "cpu"]) == 0
    for name in job["files"].values():
        if name.endswith(".png"):
            assert (tmp_path / "by-command" / name).read_bytes() == (out / name).read_bytes(), name
    one, other = (load_estimate(folder / "photo.npz") for folder in (out, tmp_path / "by-command"))
    assert one.depth.equal(other.depth) and one.normals.equal(other.normals)


def test_the_same_name_again_replaces_nothing(client, photo):
    first, second = (client.upload(photo)[1]["id"] for _ in range(2))
    assert client.until(first)["files"]["depth"] == "photo_depth.png"
    assert client.until(second)["files"]["depth"] == "photo-2_depth.png"
    assert client.json("POST", f"/api/jobs/{second}/again", query={"coding": "directx"})[0] == 200
    third = client.until(client.state()["jobs"][-1]["id"])
    assert third["files"]["npz"] == "photo-3.npz" and "--coding directx" in third["command"]


@pytest.mark.slow("takes most of a second")
def test_another_server_with_the_same_folder_replaces_nothing(serve, photo, tmp_path):
    """Both have named their results before either has written them."""
    with serve() as one, serve("other uploads") as other:
        names = [each.made(photo)["files"].get("depth") for each in (one, other)]
        assert names == ["photo_depth.png", "photo-2_depth.png"]
        first, second = one.upload(photo, "again.png")[1]["id"], other.upload(photo, "again.png")[1]["id"]
        assert {one.until(first)["state"], other.until(second)["state"]} == {"done"}
    depths = sorted(path.name for path in (tmp_path / "out").glob("again*_depth.png"))
    assert depths == ["again-2_depth.png", "again_depth.png"]


def test_a_name_that_is_taken_while_the_network_runs_is_given_up(client, photo, tmp_path, monkeypatch):
    def estimate(*words):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "photo_depth.png").write_text("somebody's")
        return real(*words)

    real = per_image.estimate
    monkeypatch.setattr(per_image, "estimate", estimate)
    job = client.made(photo)
    assert job["state"] == "done" and job["files"]["depth"] == "photo-2_depth.png"
    assert (tmp_path / "out" / "photo_depth.png").read_text() == "somebody's"


def test_an_export_replaces_nobodys_file_without_asking(client, photo, tmp_path):
    """By the rule of the command line: what this image's run made and nobody changed is its own."""
    job = client.made(photo)["id"]
    for kind in ("html", "glb", "exr"):
        mine = tmp_path / "out" / f"photo.{kind}"
        mine.write_text("mine")
        status, said = client.json("POST", f"/api/jobs/{job}/files/{kind}")
        assert status == 409 and said["error"].endswith("Replace it?") and said["values"] == [str(mine)]
        assert mine.read_text() == "mine" and kind not in client.job(job)["files"]
        status, _, body = client.file(job, kind, overwrite="1")
        assert status == 200 and body == mine.read_bytes() != b"mine"
        assert client.file(job, kind)[0] == 200
        mine.write_text("mine again")
        assert client.file(job, kind)[0] == 409, "it was changed"
        mine.unlink()
        mine.mkdir()
        assert client.file(job, kind, overwrite="1")[0] == 422 and mine.is_dir()


def test_a_result_is_known_by_more_than_its_name(serve, photo, tmp_path):
    """Of two servers with one folder none shows what the other wrote under a name that was its own."""
    other_photo = tmp_path / "other" / "photo.png"
    other_photo.parent.mkdir()
    Image.open(photo).rotate(90, expand=True).save(other_photo)
    with serve() as one, serve("other uploads") as other:
        mine = one.upload(photo)[1]["id"]
        one.until(mine, "done")
        for path in (tmp_path / "out").glob("photo*"):
            path.unlink()
        theirs = other.upload(other_photo)[1]["id"]
        assert other.until(theirs, "done")["files"]["npz"] == "photo.npz"
        assert other.file(theirs, "html")[0] == 200
        assert one.ask("GET", f"/api/jobs/{mine}/view")[0] == 410
        assert {one.file(mine, kind)[0] for kind in ("depth", "normals", "npz")} == {404}
        assert one.json("POST", f"/api/jobs/{mine}/stereo")[0] == 410
        assert one.file(mine, "html")[0] == 410


def test_the_command_names_the_file_as_it_is_and_nothing_that_a_terminal_would_obey(client, photo):
    for name in ("IMG_1.PNG", 'it\'s "quoted".png', "-o.png", "$(touch boom).png", "写真.png"):
        sent = client.upload(photo.read_bytes(), f"folder/{name}")[1]
        assert shlex.split(sent["command"])[1] == (f"./{name}" if name.startswith("-") else name)
    for name in ("a\nb.png", "\u202egnp.png", "a\x1b[2J.png"):
        sent = client.upload(photo.read_bytes(), name)[1]
        assert sent["command"].isprintable()
    client.json("POST", "/api/cancel")


def test_results_are_seen_and_saved(client, photo, tmp_path):
    job = client.upload(photo)[1]["id"]
    assert client.json("GET", f"/api/jobs/{job}/view")[0] in (200, 404), "no result before the end"
    assert client.until(job)["exports"] == ["exr", "glb", "html"]
    status, payload = client.json("GET", f"/api/jobs/{job}/view")
    assert status == 200 and payload["full"] == [64, 48] and payload["image"] and payload["normals"]
    depth = np.load(tmp_path / "out" / "photo.npz")["depth"]
    assert (payload["depth"]["low"], payload["depth"]["high"]) == (pytest.approx(depth.min()), pytest.approx(depth.max()))
    assert client.ask("GET", f"/api/jobs/{job}/thumbnail")[2][:2] == b"\xff\xd8"
    beginnings = {"depth": b"\x89PNG", "normals": b"\x89PNG", "npz": b"PK", "glb": b"glTF", "html": b"<!DOCTYPE html>", "exr": b"v/1\x01"}
    for kind, beginning in beginnings.items():
        status, headers, body = client.file(job, kind)
        assert status == 200 and body.startswith(beginning), kind
        assert headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''photo") and "octet" in headers["Content-Type"]
        assert list((tmp_path / "out").glob(f"*.{kind}")) or kind in ("depth", "normals"), "the folder has it too"
    assert client.file(job, "stl")[0] == 404
    assert "attachment" in client.file(job, "html", show="1")[1]["Content-Disposition"], "no page of a result runs here"
    shutil.rmtree(tmp_path / "out")
    said = {json.dumps(client.json(*words)) for words in (("GET", f"/api/jobs/{job}/view"), ("POST", f"/api/jobs/{job}/stereo"))}
    assert len(said) == 1 and "was moved, removed or changed; run the image again" in said.pop()
    status, said = client.json("GET", f"/api/jobs/{job}/files/depth")
    assert status == 404 and said["error"].endswith("run the image again")


def test_the_state_is_sent_when_it_changes(client, photo, monkeypatch):
    searches, which = [], shutil.which
    monkeypatch.setattr(shutil, "which", lambda *words, **options: searches.append(words) or which(*words, **options))
    version = client.state()["version"]
    assert client.ask("GET", f"/api/state?since={version}")[0] == 204
    client.upload(photo)
    assert client.ask("GET", f"/api/state?since={version}")[0] == 200
    assert client.state()["jobs"][0]["command"] and len(searches) < 2, "the command's name is not searched for each time"


@pytest.mark.slow("takes most of a second")
def test_a_cancelled_run_frees_the_worker(roomy, large, photo, tmp_path):
    """In seconds of this process: on a busy machine the clock goes on. Whole it would take 10."""
    with Image.open(large) as image:
        image.resize((4800, 3200)).save(large)
    job = roomy.upload(large, refine="1")[1]["id"]
    roomy.until(job, "running")
    time.sleep(0.3)
    began = time.process_time()
    status, state = roomy.json("POST", f"/api/jobs/{job}/cancel")
    assert status == 200 and state["jobs"][0]["state"] == "cancelled"
    following = roomy.upload(photo)[1]["id"]
    assert roomy.until(following)["state"] == "done" and time.process_time() - began < 3, "the rest was not computed"
    assert roomy.job(job)["state"] == "cancelled" and not list((tmp_path / "out").glob("large*"))


@pytest.mark.slow("takes most of a second")
def test_all_are_cancelled_and_one_is_tried_again(roomy, large):
    jobs = [roomy.upload(large)[1]["id"] for _ in range(3)]
    roomy.json("POST", "/api/cancel")
    assert {job["state"] for job in roomy.state()["jobs"]} == {"cancelled"}
    roomy.json("POST", f"/api/jobs/{jobs[1]}/retry")
    assert [job["id"] for job in roomy.state()["jobs"]] == [jobs[0], jobs[2], jobs[1]], "it is the last now"
    assert roomy.until(jobs[1])["state"] == "done"


def test_what_is_removed_leaves_its_results(client, photo, tmp_path):
    job = client.made(photo)["id"]
    client.json("POST", f"/api/jobs/{job}/remove")
    assert client.state()["jobs"] == [] and list(client.jobs.uploads.iterdir()) == []
    assert (tmp_path / "out" / "photo_depth.png").exists()
    assert client.json("POST", f"/api/jobs/{job}/retry")[0] == 404


def test_a_damaged_image_fails_in_words_and_the_next_goes_on(client, photo):
    damaged = client.upload(photo.read_bytes()[:-60], "damaged.png")[1]["id"]
    good = client.upload(photo)[1]["id"]
    job = client.until(damaged)
    assert job["state"] == "failed" and "damaged" in job["error"]
    assert not job["error"].startswith("damaged.png:") and "uploads" not in job["error"]
    second = client.made(photo.read_bytes()[:-60], "damaged.png")
    assert second["error"] == job["error"], "though its results would be named damaged-2"
    assert client.until(good)["state"] == "done"


def test_an_upload_that_breaks_off_leaves_nothing_and_is_no_error(client, caplog):
    head = f"POST /api/upload?name=cut.png HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: 50000\r\n"
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(f"{head}X-Depth-Normal-Token: {client.token}\r\n\r\n".encode() + bytes(2000))
        client.wait(lambda: list(client.jobs.uploads.iterdir()))
    client.wait(lambda: not list(client.jobs.uploads.iterdir()))
    assert client.state()["jobs"] == [] and caplog.records == []


def test_a_file_in_the_folders_place_is_said(client, photo, tmp_path):
    (tmp_path / "out").write_text("mine")
    job = client.made(photo)
    assert job["state"] == "failed" and (tmp_path / "out").read_text() == "mine"
    assert re.fullmatch(r"cannot write to .*out: .*; free room there or change its permissions, then press Try again", job["error"])


def test_the_list_has_an_end(client, photo, monkeypatch):
    monkeypatch.setattr("depth_normal.app.ui.jobs.MOST_JOBS", 1)
    assert [client.upload(photo)[0] for _ in range(2)] == [201, 429] and MOST_JOBS > 1000


def test_the_models_are_listed_tiny_first(client):
    said = client.json("GET", "/api/models")[1]
    assert said["usual"] == {"divergence": 2.0, "convergence": 0.5, "amount": 0.03, "focus": 0.5}
    assert said["chosen"] == "tiny" and [model["id"] for model in said["models"]][:2] == ["tiny", "moge-2-vits-normal"]
    assert {model["id"] for model in said["models"]} == MODELS.keys() - {"da2", "marigold-iid-appearance", "depth-anything-v2-giant"}
    assert all(model["terms"] and model["size_in_words"] and model["page"].startswith("https://") for model in said["models"][1:])


@pytest.mark.slow("takes a second")
def test_weights_that_are_replaced_are_read_anew(client, photo, tmp_path, monkeypatch):
    spec, state, made = MODELS["tiny"], load_file(find_weights(MODELS["tiny"].file)), []
    own = replace(spec.file, filename="own.safetensors", url="https://example.org/own.safetensors", sha256=None, size=None)
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    monkeypatch.setitem(MODELS, SLOW, replace(spec, id=SLOW, files=(own, *spec.files[1:]), default_size=64))
    for scale in (1, 0.9):
        save_file({name: scale * value for name, value in state.items()}, tmp_path / "own.safetensors")
        made.append(client.file(client.made(photo, model=SLOW)["id"], "depth")[2])
    assert made[0] != made[1]


SLOW = "zoedepth-nyu"


@pytest.fixture
def slow_download(monkeypatch, tmp_path):
    """Lets the weights of a model come from a server of this machine, which takes twenty seconds for them."""
    for name in ("TORCH_HOME", "HF_HOME", "DEPTH_NORMAL_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "weights"))
    monkeypatch.setitem(MODELS, SLOW, MODELS[SLOW])  # what the node does is undone
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.is_offline", lambda: False)
    (node := UseSlowDownload()).execute()
    yield
    node.server.shutdown()
    node.server.server_close()


@pytest.mark.slow("watches a download")
def test_a_download_is_shown_and_cancelled(client, slow_download, tmp_path):
    client.json("POST", f"/api/models/{SLOW}/download")
    download = client.wait(lambda: (found := client.state()["downloads"].get(SLOW, {"done": 0}))["done"] and found)
    assert download["state"] == "running" and 0 < download["done"] < download["total"] == MODELS[SLOW].size
    assert client.json("POST", f"/api/models/{SLOW}/cancel")[1]["downloads"][SLOW]["state"] == "cancelled"
    assert client.json("POST", "/api/models/nothing/download")[0] == 404
    (part,) = (tmp_path / "weights").rglob("*.part")
    time.sleep(0.3)
    size = part.stat().st_size
    time.sleep(0.3)
    assert part.stat().st_size == size > 0, "it has ended, and what came is kept"


def test_a_download_beside_a_file_that_is_there_ends_at_its_total(monkeypatch, tmp_path):
    """LeReS with its boost shares a file with LeReS alone."""
    weights = MODELS["tiny"].file
    size = find_weights(weights).stat().st_size
    shutil.copy(find_weights(weights), tmp_path / "other.safetensors")
    for name in ("DEPTH_NORMAL_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "weights"))
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.is_offline", lambda: False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/other.safetensors"
        other = replace(weights, filename="other.safetensors", url=address, size=size, sha256=None, revision="main")
        monkeypatch.setitem(MODELS, SLOW, replace(MODELS[SLOW], files=(replace(weights, size=size), other)))
        download = (downloads := Downloads(lambda: None)).start(SLOW)
        downloads.wait(download, lambda: None)
        server.shutdown()
    assert download.done == download.total == 2 * size


def test_an_image_waits_for_its_models_download_and_can_be_cancelled(client, slow_download, photo):
    job = client.upload(photo, model=SLOW)[1]["id"]
    client.until(job, "downloading")
    client.json("POST", f"/api/jobs/{job}/cancel")
    assert client.job(job)["state"] == "cancelled"
    following = client.upload(photo)[1]["id"]
    assert client.until(following)["state"] == "done", "another model need not wait"


def test_no_network_is_said_on_the_job(client, slow_download, photo, monkeypatch):
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.is_offline", lambda: True)
    job = client.made(photo, model=SLOW)
    assert job["state"] == "failed" and "cannot be fetched: HF_HUB_OFFLINE forbids it; unset that variable" in job["error"]
    assert client.state()["downloads"][SLOW]["state"] == "failed"


@pytest.mark.parametrize(("pixels", "level"), [(np.full((9, 9), 128 * 257, np.uint16), 128), (np.zeros((9, 9, 4), np.uint8), 255)])
def test_a_small_image_has_all_bits_and_no_hidden_colours(client, tmp_path, pixels, level):
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    job = client.upload(tmp_path / "photo.png")[1]["id"]
    with Image.open(io.BytesIO(client.ask("GET", f"/api/jobs/{job}/thumbnail")[2])) as small:
        assert small.getextrema() == ((level, level),) * 3


def test_an_image_that_is_cut_off_has_no_small_image(client, photo, tmp_path):
    """Pillow raises what it likes, for AVIF a SyntaxError."""
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.open(photo).save(tmp_path / "whole.avif")
    job = client.upload((tmp_path / "whole.avif").read_bytes()[:-20], "cut.avif")[1]["id"]
    assert client.until(job)["state"] == "failed"
    assert client.ask("GET", f"/api/jobs/{job}/thumbnail")[0] == 404


@pytest.mark.parametrize("body", [b"hello", b"#EXTM3U\n/etc/passwd\n"])
def test_what_is_no_video_fails_in_words(client, videos, body):
    job = client.upload(body, "clip.mp4")[1]["id"]
    said = client.until(job)
    assert said["state"] == "failed" and said["error"] and "uploads" not in said["error"]
    assert client.ask("GET", f"/api/jobs/{job}/thumbnail")[0] == 404


@pytest.mark.slow("runs a video")
def test_a_video_that_ends_early_says_so(client, videos, tmp_path):
    whole = videos.write_video(tmp_path / "whole.mkv", videos.moving_ball(20), rate=5, options={"g": "1"})
    done = client.made(whole.read_bytes()[: whole.stat().st_size // 3], "clip.mkv")
    assert done["state"] == "done" and done["files"]
    assert "damaged or cut off" in done["error"] and done["error"].endswith("frames before that are kept")
    assert "uploads" not in done["error"] and not done["error"].startswith("clip")


@pytest.mark.slow("runs a video")
def test_a_video_replaces_nothing_that_came_while_it_was_made(client, clip, tmp_path, monkeypatch):
    def make_video(*words, **options):
        for name in ("clip_depth.mp4", "clip-2_normals.mp4"):
            (tmp_path / "out" / name).write_text("mine")
        return real(*words, **options)

    real = page_jobs.make_video
    monkeypatch.setattr(page_jobs, "make_video", make_video)
    done = client.made(clip)
    assert done["files"] == {"depth": "clip-3_depth.mp4", "normals": "clip-3_normals.mp4"}, done
    assert {path.read_bytes() for path in (tmp_path / "out").glob("clip*") if path.stat().st_size < 5} == {b"mine"}


def test_a_video_that_the_model_takes_none_of_is_refused_before_it_is_loaded(client, clip):
    model = next(spec.id for spec in MODELS.values() if spec.for_panoramas)
    failed = client.until(client.upload(clip, model=model)[1]["id"], "failed", "done", "downloading")
    assert failed["state"] == "failed" and failed["error"].startswith(f"{model} takes panoramas")


@pytest.mark.slow("runs a video twice")
def test_a_dropped_video_becomes_the_files_that_the_command_makes(client, clip, tmp_path, monkeypatch):
    done = client.made(clip)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(done["command"])[1:]
    words[words.index("-o") + 1] = "by-command/"
    assert main([*words, "--device", "cpu"]) == 0
    for name in done["files"].values():
        assert (tmp_path / "by-command" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


@pytest.mark.slow("runs a video twice")
def test_a_video_becomes_videos(serve, videos, tmp_path):
    clip = ROOT / "media" / "demo_files" / "breakfast.mp4"
    with serve() as client:
        job = client.upload(clip, resolution="fast")[1]["id"]
        client.until(job, "running", "done", "failed")
        client.json("POST", f"/api/jobs/{job}/cancel")
        assert client.job(job)["state"] == "cancelled"
        client.json("POST", f"/api/jobs/{job}/retry")
        done = client.until(job)
        assert done["state"] == "done" and done["files"] == {"depth": "breakfast_depth.mp4", "normals": "breakfast_normals.mp4"}
        assert client.ask("GET", f"/api/jobs/{job}/thumbnail")[2][:2] == b"\xff\xd8"
        address = client.json("POST", f"/api/jobs/{job}/files/depth", query={"show": "1"})[1]["address"]
        status, headers, body = client.ask("GET", address, headers={"Range": "bytes=0-99", TOKEN_HEADER: None})
        assert status == 206 and headers["Content-Type"] == "video/mp4" and len(body) == 100
        assert shlex.split(done["command"])[1:3] == ["video", "breakfast.mp4"]
    assert not list((tmp_path / "out").rglob("*.film"))


def test_the_settings_become_options(monkeypatch):
    assert options_of({}).size is None and options_of({}).spec.id == "tiny"
    spec = MODELS["depth-anything-v2-small"]
    sizes = {name: options_of({"model": spec.id, "resolution": name}).size for name in ("fast", "fine")}
    assert sizes["fast"] < spec.default_size < sizes["fine"] and all(size % spec.multiple_of == 0 for size in sizes.values())
    monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], default_size=256))
    assert options_of({"resolution": "fine"}).size == MODELS["tiny"].largest_size
    for spec in MODELS.values():
        assert options_of({"model": spec.id, "resolution": "fast", "refine": "1"}).refine


def test_every_text_of_the_page_is_in_every_language():
    page = ROOT / "app" / "ui" / "page"
    words = (ROOT / "web" / "words.mjs").read_text() + (page / "ui_words.js").read_text()
    known = {}
    for entry in re.split(r"^  (?=['\w])", words, flags=re.MULTILINE):
        if found := re.match(r"(?:'((?:[^'\\]|\\.)+)'|(\w+)): \{", entry):
            known[(found[1] or found[2]).replace("\\'", "'")] = set(re.findall(r"\b(zh|ja): '.", entry))
    said = set(re.findall(r"data-t(?: \w+)?>([^<]+)<", (html := (page / "index.html").read_text()).replace("&amp;", "&")))
    said |= set(re.findall(r'data-t-(?:label|title)="([^"]+)"', html))
    for path in page.glob("*.js"):
        if path.name != "ui_words.js":
            for call in re.findall(r"translated\(([^)]*)\)", path.read_text()):
                said |= set(re.findall(r"'((?:[^'\\]|\\.)+)'", call)) - {"metric_depth", "_", " ", "depth"}
    for path in (ROOT / "app" / "ui").glob("*.py"):
        said |= set(re.findall(r'Refusal\(\s*[^"]*?, "([^"]+)"', path.read_text())) - {"{0}"}
    from depth_normal.app.commands.models import GROUPS

    said |= set(GROUPS.values())
    assert len(said) > 60
    assert {text for text in said if known.get(text) != {"zh", "ja"}} == set()


def test_the_errors_that_the_page_translates_are_those_that_are_raised():
    text = (ROOT / "app" / "ui" / "page" / "ui_words.js").read_text().partition("UI_MESSAGES = {")[2]
    entries = re.findall(r"""^  (?:'(.+?)'|"(.+?)"): \{(.+?)\},?$""", text, re.MULTILINE | re.DOTALL)
    source = "".join(
        path.read_text() for folder in ("geometry", "media", "model_loader", "annotators", "app") for path in (ROOT / folder).rglob("*.py")
    )
    source = re.sub(r'"\s+f?"', "", source)  # texts over several lines
    assert len(entries) > 8
    for single, double, words in entries:
        english = single or double
        assert set(re.findall(r"\b(zh|ja): '.", words)) == {"zh", "ja"}, english
        for language in re.findall(r"'([^']+)'", words):
            assert set(re.findall(r"\{\d\}", language)) == set(re.findall(r"\{\d\}", english)), english
        if english not in map(os.strerror, (errno.ENOSPC, errno.EACCES)):
            for piece in re.split(r"\{\d\}|[;:.,()]| or |accepted are", english):  # messages are put together of these
                assert piece.strip() in source, piece
