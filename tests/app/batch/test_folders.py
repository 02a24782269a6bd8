"""Many images: what is done at once, what is left out, what is told, and what an end by force, a full disk or a neighbour changes."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import depth_normal
from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import engines, local_engine, name_locks, per_image, staging
from depth_normal.app.batch.failures import FailureLog, failure_of
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import plan_outputs
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.batch.sources import find_images
from depth_normal.app.batch.staging import check_run_marker, open_run_marker
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import FileFormatError, file_lock, paths, read_image
from depth_normal.model_loader.comfy.placement import Placement
from tests.forked import COMMAND, end_of, forked, needs_fork, python

SMALL, OPTIONS = ("--model", "tiny", "--size", "64"), Options(MODELS["tiny"], size=64)
DISK_SIZE = "600k"
PROCESSES = "starts other processes"
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")


@pytest.fixture
def photos(tmp_path):
    return save_photos(tmp_path / "photos", 4)


def save_photos(folder, count, height=32, width=48):
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for name in range(count):
        coarse = numbers.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name:03}.png"), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return folder


def todo(photos):
    return plan_outputs(find_images([photos])[0], photos.parent / "out").todo


def estimate(source, out, *words):
    return cli.main(["estimate", str(source), "--out", str(out), *SMALL, *words])


def made(folder):
    """Every result below a folder, with its bytes; what is beside them is looked at too."""
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".json") and path.name != "lock"]
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def test_resume_makes_only_what_is_missing_or_was_made_otherwise(photos, out, capsys):
    assert estimate(photos, out) == 0
    before = times(out)
    (out / "001_depth.png").unlink()
    (out / "002_normals.png").write_bytes((out / "002_normals.png").read_bytes() + b"edited")
    assert estimate(photos, out, "--resume") == 1
    assert "002_normals.png is there already" in capsys.readouterr().err, "an edited file stays"
    after = times(out)
    assert {path.name for path in after if after[path] != before.get(path)} == {"001_depth.png", "001_normals.png", "002_normals.png"}
    (photos / "003.png").write_bytes((photos / "000.png").read_bytes())
    assert estimate(photos, out, "--resume", "--overwrite") == 0
    assert "2 done, 2 skipped (done before), 0 failed of 4 images" in capsys.readouterr().err
    assert (out / "003_depth.png").read_bytes() == (out / "000_depth.png").read_bytes(), "of an image that was changed"
    assert not (out / RECORDS / "failures.jsonl").exists()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("words", "done"),
    [((), 0), (("--write", "depth"), 0), (("--also", "npz"), 4), (("--fov", "50"), 4), (("--dtype", "float32"), 4), (("--size", "128"), 4)],
)
def test_resume_goes_by_model_and_options(photos, tmp_path, monkeypatch, capsys, words, done):
    assert estimate(photos, tmp_path / "out") == 0
    capsys.readouterr()
    if not done:
        monkeypatch.setattr("depth_normal.app.batch.options.load_model", lambda *_: pytest.fail("a model was asked for"))
    assert estimate(photos, tmp_path / "out", "--resume", *words) == 0
    assert len(capsys.readouterr().out.splitlines()) == done


def test_resume_does_not_believe_what_other_published_weights_made(photos, tmp_path):
    assert estimate(photos, tmp_path / "out") == 0
    sources, _ = find_images([photos])

    def left(spec):
        done_by = Options(spec, size=64).settings(("depth",))
        return len(plan_outputs(sources, tmp_path / "out", ("depth",), done_by=done_by).todo)

    spec = MODELS["tiny"]
    assert left(spec) == 0
    assert left(replace(spec, files=(replace(spec.file, sha256="0" * 64),))) == 4


def test_an_image_that_changes_while_it_is_estimated_is_made_again(photos, tmp_path, monkeypatch):
    read = per_image.read_with_alpha

    def read_and_change(path):
        image = read(path)
        if path.name == "002.png":
            os.utime(path, (1, 1))
        return image

    with monkeypatch.context() as while_it_runs:
        while_it_runs.setattr(per_image, "read_with_alpha", read_and_change)
        assert estimate(photos, tmp_path / "out") == 0
    before = times(tmp_path / "out")
    assert estimate(photos, tmp_path / "out", "--resume") == 0
    after = times(tmp_path / "out")
    assert {path.name for path in after if after[path] != before[path]} == {"002_depth.png", "002_normals.png"}


def test_what_vanishes_or_changes_after_it_was_found_loses_nothing_else(photos, out, monkeypatch, capsys):
    def then(*words, **options):
        found = find_images(*words, **options)
        (photos / "001.png").unlink()
        cv2.imwrite(str(photos / "002.png"), np.zeros((60, 20, 3), np.uint8))
        return found

    monkeypatch.setattr(engines, "find_images", then)
    assert estimate(photos, out) == 1
    assert capsys.readouterr().err.count(f"{photos / '001.png'}: there is no such file") == 1
    shapes = [cv2.imread(str(out / f"{name}_depth.png"), cv2.IMREAD_UNCHANGED).shape for name in ("000", "002", "003")]
    assert shapes == [(32, 48), (60, 20), (32, 48)], "as it is when it is read"


def test_an_only_image_that_is_cut_off_leaves_nothing_but_what_was_there(photos, out, capsys):
    image, listed = photos / "000.png", out / RECORDS / "failures.jsonl"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    assert estimate(image, out) == 2 and "cut off" in capsys.readouterr().err and not out.exists()
    assert (estimate(photos, out), estimate(image, out)) == (1, 2) and len(listed.read_text().splitlines()) == 1, "not twice"
    image.write_bytes(whole)
    assert estimate(image, out) == 0 and not listed.exists()


def test_json_lines_tell_what_fails_and_what_is_not_there_too(photos, tmp_path, capsys):
    (photos / "bad.png").write_text("not an image")
    absent = str(tmp_path / "absent.png")
    assert estimate(photos, tmp_path / "out", "--json-lines", absent) == 1
    missing, *lines = sorted(map(json.loads, capsys.readouterr().out.splitlines()), key=lambda line: line["image"] or "")
    assert (missing["image"], missing["status"], missing["again"]) == (None, "failed", False) and absent in missing["reason"]
    lines = {Path(line["image"]).name: line for line in lines}
    assert len(lines) == 5 and lines["bad.png"]["status"] == "failed" and lines["bad.png"]["again"] is False
    assert str(photos / "bad.png") in lines["bad.png"]["reason"]
    assert estimate(absent, tmp_path / "out", "--json-lines") == 2 and json.loads(capsys.readouterr().out) == missing
    assert lines["000.png"]["status"] == "done" and all(Path(path).is_file() for path in lines["000.png"]["files"])


def test_a_halted_neighbour_costs_one_image_and_ends_nothing(photos, out, monkeypatch, capsys):
    monkeypatch.setattr(name_locks, "_PATIENCE_SECONDS", 0.2)
    (out / RECORDS).mkdir(parents=True)
    with name_locks.locked_names(out, ["001_depth.png"]):
        assert estimate(photos, out) == 1
    said = capsys.readouterr().err
    assert said.count("another process has been writing the same results") == 1 and "not begun" not in said
    assert "3 done, 1 failed of 4 images" in said and len(list(out.glob("*.png"))) == 6
    assert estimate(photos, out, "--retry-failed") == 0 and len(made(out)) == 8


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def no_locks(request, monkeypatch):
    """Every disk is as one without locks, as some network shares are."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has no disks without locks")
    number = getattr(errno, request.param)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(file_lock, "_warned", set())


@pytest.mark.parametrize("no_locks", ["ENOLCK"], indirect=True)
def test_a_run_on_a_disk_without_locks_says_so_once(no_locks, photos, tmp_path, capsys, caplog):
    assert estimate(photos, tmp_path / "out") == 0 and len(made(tmp_path / "out")) == 8
    said = capsys.readouterr().err + caplog.text
    assert said.count("has no locks: two runs at once must not make the same results there") == 1


def test_a_long_run_on_a_disk_without_locks_is_not_taken_for_a_leftover(no_locks, tmp_path, monkeypatch):
    """Also where a single video takes longer than a day."""
    monkeypatch.setattr(staging, "_BEAT_SECONDS", 0.01)
    with open_run_marker(tmp_path / "out") as marker:
        yesterday = time.time() - 90_000
        os.utime(marker, (yesterday, yesterday))
        while marker.stat().st_mtime < yesterday + 1:
            time.sleep(0.01)
        paths.remove_leftovers(marker.parent)  # what another command does first
        check_run_marker(marker)


def test_a_disk_that_does_not_know_its_size_is_not_full(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    error = PermissionError(13, "not yours")
    for total, full in ((0, False), (usage.total, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, total=total: usage._replace(total=total, free=0))
        assert failure_of("a.png", error, written_to=tmp_path).stops_run is full


def test_failures_are_kept_and_tried_again_where_that_makes_sense(photos, out, capsys):
    (photos / "bad.png").write_text("not an image")
    whole = (photos / "001.png").read_bytes()
    sources, _ = find_images([photos])
    (photos / "001.png").unlink()
    log = FailureLog(out)
    for outcome in local_engine.estimate_files(OPTIONS.load(), plan_outputs(sources, out).todo, OPTIONS):
        if outcome.failure:
            log.add(outcome.item.image, out, outcome.failure)
    entries = {Path(line["image"]).name: line for line in map(json.loads, log.path.read_text().splitlines())}
    assert {name: entry["again"] for name, entry in entries.items()} == {"001.png": True, "bad.png": False}
    assert entries["bad.png"]["relative"] == "bad.png" and entries["bad.png"]["bytes"] == 12
    (photos / "001.png").write_bytes(whole)
    capsys.readouterr()
    assert cli.main(["estimate", "--out", str(out), *SMALL, "--retry-failed"]) == 0
    assert capsys.readouterr().out.startswith(f"{photos / '001.png'}: "), "the damaged one has not changed"
    assert [json.loads(line)["image"] for line in log.path.read_text().splitlines()] == [str(photos / "bad.png")]
    (photos / "bad.png").write_bytes(whole)
    assert estimate(photos / ".." / photos.name, out, "--retry-failed") == 0
    assert not log.path.exists() and len(made(out)) == 10
    assert cli.main(["estimate", "--out", str(out), *SMALL, "--retry-failed"]) == 0
    assert "no failure is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (FileFormatError("damaged"), False),
        (PermissionError(13, "not yours"), False),
        (FileExistsError("a_depth.png is there already"), False),
        (FileNotFoundError(2, "gone"), True),
        (TimeoutError("the share does not answer"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (ArithmeticError("NaN"), False),
        (OSError("a.png: damaged"), True),
        (MemoryError(), True),
    ],
)
def test_what_trying_again_is_worth(error, again, tmp_path):
    failure = failure_of("a.png", error)
    assert failure.retryable is again and failure.reason.count("a.png: ") == 1
    assert failure_of("a.png", error, written_to=tmp_path).stops_run is False


def test_what_is_made_anew_takes_the_place_of_the_old_whole(photos, tmp_path):
    """A second name of a result or a record still shows the old one: nothing was written into it."""
    out = tmp_path / "out"
    assert estimate(photos, out) == 0
    old = {path: path.read_bytes() for path in (out / "000_depth.png", out / RECORDS / "000.json")}
    for path in old:
        (tmp_path / path.name).hardlink_to(path)
    assert estimate(photos, out, "--size", "128") == 0
    assert all((tmp_path / path.name).read_bytes() == data != path.read_bytes() for path, data in old.items())


def test_of_a_list_of_failures_lines_that_are_damaged_or_lead_elsewhere_are_passed_over(photos, tmp_path):
    log = FailureLog(tmp_path)
    (source,) = find_images([photos / "000.png"])[0]
    log.add(source.path, tmp_path, failure_of("000.png", OSError("gone")))
    others = [([1], "a.png"), (5, "a.png"), ("/a.png", 7), *(("/a.png", path) for path in ("../elsewhere/a.png", "/elsewhere/a.png", ""))]
    with log.path.open("a") as file:
        file.writelines(json.dumps({"image": image, "relative": relative, "again": True}) + "\n" for image, relative in others)
        file.write('[]\n{"image": "/a"}\n{"image": "/half')
    assert [each.path for each in FailureLog(tmp_path).worth_trying()] == [photos / "000.png"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("way", ["command", "python"])
def test_a_folder_that_goes_away_is_not_made_again(photos, tmp_path, monkeypatch, capsys, way):
    """As a drive that is unmounted: below the name lies another, empty folder."""
    out, run = tmp_path / "out", per_image.estimate

    def unmount(*words):
        if not (tmp_path / "drive").exists():
            out.rename(tmp_path / "drive")
            out.mkdir()
        return run(*words)

    monkeypatch.setattr(per_image, "estimate", unmount)
    if way == "command":
        assert estimate(photos, out) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "not begun" in said and "its drive is gone" in said and said.endswith("with --resume to go on")
    else:
        with pytest.raises(OSError, match="its drive is gone"):
            list(depth_normal.estimate_folder(photos, out, model="tiny", size=64))
    assert list(out.iterdir()) == []
    monkeypatch.undo()
    shutil.rmtree(out)
    (tmp_path / "drive").rename(out)
    paths._remove_leftovers_once.cache_clear()  # as in a new process
    assert estimate(photos, out, "--resume") == 0 and len(made(out)) == 8


@needs_signals
@pytest.mark.parametrize("closed", ["<&- >/dev/full", "<&- >&- 2>&-"])
@pytest.mark.slow(PROCESSES)
def test_streams_that_are_closed_or_full_end_nothing(photos, tmp_path, closed):
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    words = [sys.executable, "-m", "depth_normal.app.cli", "estimate", str(photos), "--out", str(tmp_path / "out"), *SMALL]
    run = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], stderr=subprocess.PIPE, text=True, timeout=300)
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    assert len(made(tmp_path / "out")) == 8


def test_python_says_at_once_what_is_wrong(photos, tmp_path, monkeypatch, capsys):
    for words in (
        {"model": "nope"},
        {"model": "tiny", "writes": ("tga",)},
        {"model": "tiny", "writes": "npz"},
        {"model": "tiny", "coding": "dx"},
        {"model": "tiny", "device": "gpu"},
        {"model": "tiny", "runtime": "warp"},
        {"model": "tiny", "resume": "no"},
    ):
        said = r"nope|choose of|unknown .*dx|unknown device 'gpu'|unknown runtime 'warp'; accepted: torch|'no'; accepted: True and False"
        with pytest.raises(ValueError, match=said):
            depth_normal.estimate_folder(photos, tmp_path / "out", **words)
    with pytest.raises(ValueError, match="nope"):
        depth_normal.estimate_folder(photos, model="nope")
    (photos / "000.jpg").write_bytes((photos / "000.png").read_bytes())
    assert len(list(depth_normal.estimate_folder(photos, tmp_path / "out", model="tiny", size=64))) == 4
    lines = [json.loads(line) for line in (tmp_path / "out" / RECORDS / "failures.jsonl").read_text().splitlines()]
    assert ["would write the same files" in line["reason"] for line in lines] == [True]
    both = {path.name for path, _ in depth_normal.estimate_folder(photos, tmp_path / "both", model="tiny", size=32, keep_extension=True)}
    assert both == {path.name for path in photos.iterdir()} and (tmp_path / "both" / "000.jpg_depth.png").is_file()
    assert estimate(photos, tmp_path / "both", "--size", "32", "--resume", "--keep-extension") == 0
    assert "0 done, 5 skipped (done before)" in capsys.readouterr().err
    asked, named = [], "depth_normal.app.batch.options.load_model"
    monkeypatch.setattr(named, lambda *words: asked.append(words[-1]) or depth_normal.load_model("tiny"))
    assert list(depth_normal.estimate_folder(photos, tmp_path / "out", model="tiny", size=64, resume=True)) == asked == []
    assert len(list(depth_normal.estimate_folder(photos / "000.png", model="tiny", size=32, runtime="onnx"))) == 1 and asked == ["onnx"]


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("writes", [("depth",), ("normals",)])
def test_python_gets_all_maps_whatever_is_written(photos, tmp_path, midas_small, writes):
    named = {"model": "midas-v2.1-small", "weights": midas_small, "size": 64}
    unwritten = dict(depth_normal.estimate_folder(photos, **named))
    found = dict(depth_normal.estimate_folder(photos, tmp_path / "maps", **named, writes=writes))
    assert {path: set(each.maps) for path, each in found.items()} == {path: {"depth", "normals"} for path in unwritten}


@pytest.mark.slow("takes most of a second")
def test_batches_of_like_size_give_what_single_images_give(tmp_path, monkeypatch):
    """Three sizes in turn, so that batches form out of order; one image is bad, and large batches do not fit."""
    paths = []
    for number in range(30):
        (folder := tmp_path / f"{number:02}").mkdir()
        sides = ((32, 48), (48, 32), (40, 40))[number % 3]
        paths += save_photos(folder / "in", 1, *sides).iterdir()
    paths[7].write_text("not an image")
    expected = {path: each.depth for path, each in depth_normal.estimate_folder(paths, model="tiny", size=64)}
    sizes = []
    monkeypatch.setitem(local_engine._FULL_BATCH, "cpu", 8)
    estimate = per_image.estimate

    def watch(model, images, *words):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return estimate(model, images, *words)

    monkeypatch.setattr(per_image, "estimate", watch)
    found = {path: each.depth for path, each in depth_normal.estimate_folder(paths, model="tiny", size=64)}
    assert len(found) == 29 and found.keys() == expected.keys()
    worst = max((found[path] - expected[path]).abs().max() / expected[path].abs().max() for path in found)
    assert worst < 1e-5
    assert sum(size > 2 for size in sizes) == 3 * len("844"), "of each size once: what did not fit is remembered"


def test_weights_that_do_not_fit_on_the_device_end_the_run_at_once(photos, monkeypatch):
    model, moved = OPTIONS.load("cpu"), []

    def full(device):
        moved.append(device)
        if len(moved) % 2:  # there, and not back again
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(model.network, "to", full)
    monkeypatch.setattr(Placement, "_is_at", lambda *_: False)
    monkeypatch.setitem(local_engine._FULL_BATCH, "cpu", 8)  # as on a GPU
    (outcome,) = local_engine.estimate_files(model, todo(photos), OPTIONS)
    assert outcome.failure is not None and outcome.failure.stops_run and outcome.failure.retryable
    assert "000.png: tiny does not fit in the memory of cpu: its weights take" in outcome.failure.reason
    assert len(moved) == 2


def test_what_is_rendered_where_a_gpu_is_full_is_rendered_on_the_cpu(photos):
    class OnGpu(Estimate):
        device = torch.device("cuda")

        def to(self, device):
            return self if torch.device(device).type == "cuda" else Estimate(self.depth, self.quantity)

    def finish(item, estimate):
        if estimate.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        return "on the CPU"

    pipeline = local_engine._Pipeline(OPTIONS.load("cpu"), OPTIONS, finish, threading.Event(), only_shown=False)
    item = local_engine.InFlight(todo(photos)[0], None, torch.ones(1, 3, 32, 48))
    assert pipeline._finish(item, OnGpu(torch.ones(1, 1, 32, 48), Quantity.DISPARITY)) == "on the CPU"
    pipeline.close()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("shareable", [True, False])
def test_on_a_cpu_networks_run_side_by_side(photos, two_threads, monkeypatch, shareable):
    """Each in its own thread, whose results are those of one thread; what keeps notes of an image, as libraries' networks do, twice."""
    model = OPTIONS.load()
    monkeypatch.setattr(type(model.annotator), "shareable", shareable)
    torch.set_num_threads(1)
    alone = {outputs.image: per_image.estimate(model, per_image.read(outputs.image), OPTIONS) for outputs in todo(photos)}
    torch.set_num_threads(2)
    inside, most, met, networks = 0, 0, threading.Barrier(2), set()

    def enter(network, _):
        nonlocal inside, most
        networks.add(network)
        inside += 1
        most = max(most, inside)
        with suppress(threading.BrokenBarrierError):
            met.wait(timeout=5)

    def leave(*_):
        nonlocal inside
        inside -= 1

    hooks = [model.annotator.network.register_forward_pre_hook(enter), model.annotator.network.register_forward_hook(leave)]
    try:
        found = {outputs.image: each for outputs, each in local_engine.process(model, todo(photos), OPTIONS, lambda _, found: found)}
    finally:
        [hook.remove() for hook in hooks]
    assert most == 2 and found.keys() == alone.keys()
    for path, each in found.items():
        torch.testing.assert_close(each.depth, alone[path].depth)
    assert len(networks) == (1 if shareable else 2)
    assert len({each.last.weight.data_ptr() for each in networks}) == 1, "no weight is held twice"


@pytest.mark.slow("takes most of a second")
def test_memory_between_reading_and_writing_is_bounded(photos, monkeypatch):
    held, most = set(), 0
    monkeypatch.setattr(local_engine, "_PIXELS", 3 * 32 * 48)
    read = local_engine.per_image.read

    def count(path):
        nonlocal most
        image = read(path)
        held.add(id(image))
        most = max(most, len(held))
        return image

    def finish(item, _):
        time.sleep(0.01)
        held.discard(id(item.image))

    monkeypatch.setattr(local_engine.per_image, "read_with_alpha", count)
    assert len(list(local_engine.process(OPTIONS.load(), 10 * todo(photos), OPTIONS, finish))) == 40
    assert most <= 5


def test_python_gets_the_same_with_the_files(photos, tmp_path, out):
    (photos / "bad.png").write_text("not an image")
    found = dict(depth_normal.estimate_folder(photos, out, model="tiny", size=64))
    assert [path.name for path in found] == ["000.png", "001.png", "002.png", "003.png"]
    model = depth_normal.load_model("tiny")
    for path, estimate in found.items():
        difference = (estimate.depth - model.estimate(read_image(path), 64).depth).abs().max()
        assert difference < 1e-5 * estimate.depth.abs().max(), "networks run side by side on a CPU, with fewer threads each"
        assert estimate.normals.shape == (1, 3, 32, 48)
    assert len(made_pngs := list(out.glob("*.png"))) == 8, made_pngs
    assert json.loads((out / RECORDS / "failures.jsonl").read_text())["image"] == str(photos / "bad.png")
    assert list(depth_normal.estimate_folder(photos, out, model="tiny", size=64, resume=True)) == []
    assert next(depth_normal.estimate_folder(photos, model="tiny", size=64))[0].name == "000.png", "one may stop early"
    with pytest.raises(ValueError, match="no such file"):
        depth_normal.estimate_folder(tmp_path / "nowhere")


@pytest.mark.slow(PROCESSES)
def test_a_log_has_no_progress_bar_and_complaints_have_lines_of_their_own(photos, tmp_path):
    (photos / "002.png").write_text("no image")
    words = ("estimate", photos, "--out", tmp_path / "out", *SMALL)
    with python(COMMAND, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        results, said = (stream.decode() for stream in end_of(run))
    assert run.returncode == 1 and "\r" not in said
    loading, bad, last = said.splitlines()
    assert loading.startswith("loading") and last.startswith("depth-normal: 3 done")
    assert bad.startswith(f"depth-normal: {photos / '002.png'}")
    assert [line.split(":")[0] for line in results.splitlines()] == [str(photos / f"00{number}.png") for number in (0, 1, 3)]


@needs_signals
@pytest.mark.slow(PROCESSES)
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_the_images_in_hand_are_finished_and_the_rest_can_go_on(tmp_path, name, code):
    """Of so many images that the pipe is full long before the last, so that the run cannot end by itself."""
    photos, out = save_photos(tmp_path / "photos", 1000), tmp_path / "out"
    words = ("estimate", photos, "--out", out, *SMALL)
    with (tmp_path / "said").open("w") as stderr, python(COMMAND, *words, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        assert process.stdout.readline().startswith(str(photos / "000.png"))
        for _ in range(1 + (name == "SIGHUP")):  # closing a terminal often sends two
            process.send_signal(getattr(signal, name))
        said = process.stdout.read()
    complaints = (tmp_path / "said").read_text()
    assert process.returncode == code and "Traceback" not in complaints
    last = complaints.splitlines()[-1]
    done = 1 + len(said.splitlines())
    assert last == f"depth-normal: stopped with {1000 - done} images not begun; run the same command with --resume to go on", complaints
    assert len(made(out)) == 2 * done < 2000 and not any(path.is_dir() for path in (out / RECORDS).iterdir())


@needs_signals
@pytest.mark.slow("starts other processes")
def test_a_second_ctrl_c_stops_at_once(tmp_path):
    photos = save_photos(tmp_path / "photos", 2)
    program = "import sys, time\nfrom depth_normal.app import cli; from depth_normal.app.batch import per_image as work\n"
    program += "work.estimate = lambda *_: print('.', file=sys.__stdout__, flush=True) or time.sleep(60)\n"
    program += f"sys.argv[1:] = ['estimate', {str(photos)!r}, '--out', {str(tmp_path / 'out')!r}, *{SMALL}]; cli.run()"
    with python(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == ".\n"
        process.send_signal(signal.SIGINT)
        while "once more stops at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert end_of(process, 30)[1].splitlines()[-1] == "depth-normal: stopped"
    assert process.returncode == 130


@needs_signals
@pytest.mark.slow(PROCESSES)
def test_killed_four_times_every_output_is_there_once_and_whole(tmp_path):
    photos, out = save_photos(tmp_path / "photos", 45), tmp_path / "out"
    assert estimate(photos, tmp_path / "undisturbed") == 0
    expected = made(tmp_path / "undisturbed")
    chance = random.Random(12)
    words = ("estimate", photos, "--out", out, *SMALL, "--resume")
    told = []
    for _ in range(4):
        with python(COMMAND, *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            told += [process.stdout.readline() for _ in range(chance.randrange(1, 12))]
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            told += process.stdout.read().splitlines(keepends=True)
    assert 4 <= len(told) < 45
    assert estimate(photos, out, "--resume") == 0
    images = [line.partition(": ")[0] for line in told if line.endswith("\n")]
    assert len(set(images)) == len(images), "nothing that was done is done twice"
    assert made(out) == expected and len(expected) == 90
    assert len(list((out / RECORDS).glob("*.json"))) == 45
    assert {path.name for path in (out / RECORDS).iterdir() if path.suffix != ".json"} <= {"lock"}, "nothing is left of the dead"


@pytest.mark.slow(PROCESSES)
def test_two_processes_into_one_folder(tmp_path):
    photos, out = save_photos(tmp_path / "photos", 20), tmp_path / "out"
    words = ("estimate", photos, "--out", out, *SMALL)
    both = [python(COMMAND, *words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [end_of(process)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert estimate(photos, tmp_path / "alone") == 0
    assert made(out) == made(tmp_path / "alone")
    before = times(out)
    assert estimate(photos, out, "--resume") == 0 and times(out) == before


def _killed_in(records):
    with paths.temporary_folder(records):
        os.kill(os.getpid(), signal.SIGKILL)


@needs_fork
def test_a_dead_run_leaves_nothing_where_the_next_one_has_nothing_to_do(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in "ab":
        save_photos(photos / name, 1)
    (photos / "b" / "000.png").write_text("damaged")
    for killed in (0, 2):
        with forked(*((_killed_in, out / name / RECORDS) for name in "ab"[:killed])):
            pass
        assert len(list(out.glob(f"*/{RECORDS}/.depth-normal-*.lock"))) == killed
        assert estimate(photos, out, "--recursive", "--resume") == 1
        assert {path.name for path in (out / "a" / RECORDS).iterdir()} == {"lock", "000.json"}
        assert not (out / "b" / RECORDS).exists()


@pytest.mark.slow("takes most of a second")
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path, small_disk, capsys):
    photos, out = save_photos(tmp_path / "photos", 40), small_disk / "out"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    assert estimate(photos, out) == 1
    said = capsys.readouterr()
    done, last = len(said.out.splitlines()), said.err.splitlines()[-1]
    assert 0 < done < 38 and "No space left on device" in last and last.endswith("run the same command with --resume to go on")
    assert said.err.count("No space left on device") <= 6, "not once for each image"
    ballast.unlink()
    before = times(out)
    assert estimate(photos, out, "--resume") == 0
    assert all(times(out)[path] == before[path] for path in list(before)[: 2 * done])
    assert estimate(photos, tmp_path / "undisturbed") == 0
    assert made(out) == made(tmp_path / "undisturbed")
