"""The engine for a cluster, on a Ray of this machine: what it gives is what the local engine gives, whatever happens meanwhile."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import per_image
from depth_normal.app.batch.local_engine import estimate_files
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import Outputs, plan_outputs
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.batch.remote_files import find_sources, local_copy
from depth_normal.app.batch.shards.read import read_shards
from depth_normal.app.batch.shards.shard_store import open_store
from depth_normal.app.batch.shards.writer import ShardOptions, ShardRun, ShardWriter
from depth_normal.app.batch.sources import Source, find_images
from depth_normal.app.cluster import engine, steps
from depth_normal.app.cluster.engine import RayEngine
from depth_normal.app.cluster.local_ray import import_ray, local_ray, session
from depth_normal.app.console import terminal
from depth_normal.options.runs import RayOptions

pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'depth-normal[ray]'")
from psutil import process_iter

from tests.forked import end_of
from tests.geometry.files.samples import assert_same_bits
from tests.tiny_s3 import tiny_s3

OPTIONS = Options(MODELS["tiny"], size=64)
SIDES = ((48, 64), (64, 48), (60, 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images of three sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        write_image(folder / f"p{number:02}.png", number)
    (folder / "broken.png").write_text("not an image")
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As every engine takes for tiny: with more the last bits differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Ray's variables, which the import sets for its process, are gone afterwards."""
    with mock.patch.dict(os.environ, RAY_worker_niceness="0"):  # its workers wait for whatever else runs on a machine
        import_ray()
        yield


def made_with_ray(todo, options, spread, stop=None):
    return RayEngine(spread).run(todo, options, stop or Event(), None, None)


def write_image(path, number):
    noise = np.random.default_rng(number).integers(0, 255, (6, 6, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, SIDES[number % 3]))


@pytest.fixture(scope="module")
def s3():
    with tiny_s3() as (environment, files):
        before = dict(os.environ)
        os.environ.update(environment)
        yield files
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def cluster(s3):
    """Two cores and a small object store; its processes inherit the way to the store."""
    with local_ray(num_cpus=2, object_store_memory=150 * 2**20) as ray:
        yield ray


@pytest.fixture(scope="module")
def expected(folder):
    model = OPTIONS.load("cpu")
    return {path.name: per_image.estimate(model, per_image.read(path), OPTIONS) for path in sorted(folder.glob("p*.png"))}


def command(*words):
    return cli.main(["estimate", *map(str, words), "--model", "tiny", "--size", "64", "--device", "cpu"])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow("waits until nobody has answered")
def test_an_address_where_nobody_answers_is_said_in_seconds(folder, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
        for address in (closed, f"ray://{closed}", "nobody"):
            started = time.monotonic()
            assert command(folder, "--out", tmp_path / "out", "--engine", "ray", "--address", address) == 2
            assert time.monotonic() - started < 25
            said = capsys.readouterr().err
            assert address in said and "Traceback" not in said
            assert ("no Ray cluster answers at" in said) == (address != "nobody")


def test_files_are_those_of_the_local_engine_and_are_made_once(folder, tmp_path, cluster, capsys):
    words = (folder, "--write", "depth,normals,npz,full-sbs", "--keep-extension")
    assert command(*words, "--out", tmp_path / "here") == 1
    with_ray = (*words, "--out", tmp_path / "ray", "--engine", "ray", "--workers", "2")
    assert command(*with_ray) == 1
    made = contents(tmp_path / "ray")
    assert made == contents(tmp_path / "here") and len(made) == 48
    (failure,) = (tmp_path / "ray" / RECORDS / "failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["image"] == str(folder / "broken.png") and "not an image" in failure
    said = capsys.readouterr().err
    assert "12 done, 1 failed of 13 images" in said and "starting Ray's workers, each of which loads tiny" in said
    (tmp_path / "ray" / "p03.png.npz").unlink()
    assert command(*with_ray, "--workers", "1", "--resume", "--json-lines") == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {each["image"]: each["status"] for each in said} == {str(folder / "p03.png"): "done", str(folder / "broken.png"): "failed"}
    assert contents(tmp_path / "ray") == made


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("writes", "travels"),
    [
        (("normals",), {"normals", "mask"}),
        (("full-sbs", "depth"), {"depth", "mask", "pixels"}),
        (("depth", "npz"), {"depth", "normals", "mask"}),
    ],
)
def test_only_maps_that_are_written_travel_between_the_steps(writes, travels, folder, tmp_path):
    sources = [Source(path, Path(path.name)) for path in sorted(folder.glob("p*.png"))[:3]]
    todo = plan_outputs(sources, tmp_path / "steps", writes).todo
    job = steps.Job(OPTIONS, writes, OPTIONS.settings(writes), device="cpu")
    worker = steps.Worker(job)
    for read in steps.read_rows(*engine._blocks(todo, range(3), 3), job):
        for batch in worker(read):
            maps = (each.name for each in batch.schema if str(each.type) == "large_binary")
            assert {name for name in maps if not batch[name].null_count} == travels
            assert steps.write_rows(batch, job)["failure"].null_count == 1
    list(estimate_files(OPTIONS.load("cpu"), plan_outputs(sources, tmp_path / "here", writes).todo, OPTIONS))
    assert contents(tmp_path / "steps") == contents(tmp_path / "here") and len(contents(tmp_path / "steps")) == 3 * len(writes)


def workers():
    processes = process_iter(["cmdline", "ppid"])
    return [each.pid for each in processes if "ray::MapWorker" in " ".join(each.info["cmdline"] or ()) and each.info["ppid"]]


def test_a_lost_worker_loses_nothing(tmp_path, cluster):
    images = [tmp_path / f"p{number:02}.png" for number in range(16)]
    for number, path in enumerate(images):
        write_image(path, number)
    slow = replace(OPTIONS, size=640)  # so that it is at work when the first answer is here
    before = set(workers())
    plan = plan_outputs([Source(path, Path(path.name)) for path in images], tmp_path / "out", ("npz",))
    done, killed = [], []
    for outcome in made_with_ray(plan.todo, slow, RayOptions(workers=1, device="cpu")):
        assert outcome.failure is None
        done.append(outcome.item.image)
        if len(done) == 1:
            killed = [process for process in workers() if process not in before]
            for process in killed:
                os.kill(process, signal.SIGKILL)
    assert killed and sorted(done) == images
    model = OPTIONS.load("cpu")
    for path in images:
        found = np.load(tmp_path / "out" / f"{path.stem}.npz")
        assert np.array_equal(found["depth"], per_image.estimate(model, per_image.read(path), slow).depth[0, 0].numpy())
    assert len(list((tmp_path / "out").iterdir())) == 17


def test_what_was_lost_with_its_worker_is_tried_once_more_alone(folder, tmp_path, monkeypatch):
    todo = plan_outputs([Source(path, Path(path.name)) for path in sorted(folder.glob("p*.png"))], tmp_path / "out").todo
    asked = []

    def rows(ray, blocks, job, options):
        """Of a Ray that loses the images 3, 4 and 5 the first time, and always 5."""
        indices = [row["index"] for block in blocks for row in block.to_pylist()]
        asked.append((indices, options.batch_size))
        lost = (3, 4, 5) if len(asked) == 1 else (5,)
        yield [{"index": index, "files": [], "failure": None} for index in indices[:6] if index not in lost]
        yield [{"index": index, "files": [], "failure": None} for index in indices[6:] if index not in lost]

    monkeypatch.setattr(engine, "session", lambda address: nullcontext((SimpleNamespace(cluster_resources=dict), False)))
    monkeypatch.setattr(engine, "_rows", rows)
    outcomes = list(made_with_ray(todo, OPTIONS, RayOptions(batch_size=4)))
    assert asked == [(list(range(12)), 4), ([3, 4, 5], 1)]
    assert [each.item for each in outcomes if each.failure] == [todo[5]] and outcomes[-1].failure.retryable
    assert sorted(each.item.image for each in outcomes) == [each.image for each in todo]
    stop, asked[:] = Event(), []
    for done in (counted := made_with_ray(todo, OPTIONS, RayOptions(), stop)):
        stop.set()
        assert done.item == todo[0]
        break
    assert [each.item for each in counted] == todo[1:3], "what is written is counted"
    assert not list(made_with_ray(todo, OPTIONS, RayOptions(), stop)) and len(asked) == 1, "stopped while Ray started"


def test_from_a_store_to_a_store(folder, s3, tmp_path, cluster, expected, monkeypatch, capsys):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    s3.clear()
    for name in ("p00.png", "p01.png", "p02.png", "broken.png"):
        s3[f"photos/a b/{name}"] = (folder / name).read_bytes()
    words = ("s3://photos", "--recursive", "--out", "s3://maps/all", "--engine", "ray", "--workers", "1", "--write", "parquet")
    assert command(*words) == 1
    found = dict(read_shards("s3://maps/all"))
    assert sorted(found) == [f"s3://photos/a b/p0{number}.png" for number in range(3)]
    for path, estimate in found.items():
        assert_same_bits(estimate, expected[Path(path).name])
    assert "s3://photos/a b/broken.png: not an image" in capsys.readouterr().err
    shards = {name: data for name, data in s3.items() if name.startswith("maps/")}
    assert command(*words, "--resume") == 1
    assert {name: data for name, data in s3.items() if name.startswith("maps/")} == shards
    s3["photos/a b/broken.png"] = s3["photos/a b/p00.png"]
    capsys.readouterr()
    retried = ("--retry-failed", "--out", "s3://maps/all", "--engine", "ray", "--workers", "1", "--write", "parquet")
    assert command(*retried) == 0
    assert_same_bits(dict(read_shards("s3://maps/all"))["s3://photos/a b/broken.png"], expected["p00.png"])
    assert command(*retried) == 0 and "no failure is left" in capsys.readouterr().err
    assert command(*words, "--resume", "--fov", "50") == 2
    assert "made with another model or options" in capsys.readouterr().err


def test_a_worker_without_the_file_says_on_which_machine(folder, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(engine, "find_weights_files", lambda *_: [])  # this machine has it
    todo = [Outputs(folder / "p00.png", tmp_path)]
    options = replace(OPTIONS, weights=tmp_path / "weights.safetensors")
    with pytest.raises(RuntimeError, match=rf"(?s)machine {socket.gethostname()} cannot load the model: .*weights\.safetensors"):
        list(made_with_ray(todo, options, RayOptions(workers=1)))


def test_a_fault_of_the_program_reaches_the_report_with_its_place(folder, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("nobody expected this")

    row = {"index": 0, "path": str(folder / "p00.png"), "folder": str(tmp_path), "source_mark": None, "failure": None}
    run = ShardRun(ShardOptions("parquet"), {}, {}, "run", 0)
    job = steps.Job(OPTIONS, ("parquet",), device="cpu", shards=run, place=str(tmp_path / "shards"))
    read = steps._read_row(row, job)
    (found,) = next(steps.Worker(job)(steps._table([read]))).to_pylist()
    for name in ("read_with_alpha", "estimate", "write"):
        monkeypatch.setattr(per_image, name, fail)
    monkeypatch.setattr(ShardWriter, "add", fail)
    (estimated,) = next(steps.Worker(job)(steps._table([read]))).to_pylist()
    (in_a_shard,) = steps.write_rows_as_shards(steps._table([found]), job).to_pylist()
    for failed in (steps._read_row(row, job), estimated, steps._written(found, job), in_a_shard):
        reason = json.loads(failed["failure"])["reason"]
        assert reason.startswith(row["path"]) and "KeyError: 'nobody expected this' (test_ray.py, line" in reason


def test_gpus_that_never_come_are_not_waited_for(cluster):
    for asked in (None, 0.0):
        engine._check_gpus(cluster, RayOptions(gpus_per_worker=asked), cluster=False)
    with pytest.raises(ValueError, match=r"--gpus-per-worker 1: Ray knows of 0 GPUs"):
        engine._check_gpus(cluster, RayOptions(gpus_per_worker=1.0), cluster=False)


def test_only_results_go_to_stdout(capsys):
    with terminal.stdout_for_results():
        print("(raylet) a worker died")
        terminal.echo("{}")
    terminal.echo("[]")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("{}\n[]\n", "(raylet) a worker died\n")


def heirs_of(folder):
    """The processes that inherited the variable of the test of this folder; a zombie's are not told."""
    processes = process_iter(["cmdline", "environ"])
    return [each.info["cmdline"] for each in processes if (each.info["environ"] or {}).get("DEPTH_NORMAL_TEST") == str(folder)]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in Linux's /proc")
@pytest.mark.slow("starts a Ray cluster")
def test_ctrl_c_ends_a_run_of_its_own_ray_and_leaves_nothing_half(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(1000):
        write_image(tmp_path / "in" / f"p{number:03}.png", number)
    words = (tmp_path / "in", "--out", tmp_path / "out", "--model", "tiny", "--size", "64", "--write", "npz", "--engine", "ray")
    command = (sys.executable, "-m", "depth_normal.app.cli", "estimate", *map(str, words), "--workers", "1", "--json-lines")
    environment = {**os.environ, "DEPTH_NORMAL_TEST": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = end_of(process, 280)
    assert process.returncode == 130, err
    said = [json.loads(line) for line in (first, *out.splitlines())]
    assert 0 < len(said) < 1000 and {each["status"] for each in said} == {"done"}
    assert "run the same command with --resume to go on" in err and "Traceback" not in err
    for path in (tmp_path / "out").iterdir():
        assert path.name == RECORDS or np.load(path)["depth"].ndim == 2
    assert {each for each in (tmp_path / "out" / RECORDS).iterdir() if each.is_dir()} == set(), "nothing half"
    deadline = time.monotonic() + 60
    while heirs_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_folder_that_a_worker_does_not_see_is_not_written_to(folder, tmp_path):
    job = steps.Job(OPTIONS, ("npz",), cluster=True, marker=tmp_path / RECORDS / "run-1")
    row = {"index": 0, "path": str(folder / "p00.png"), "folder": str(tmp_path), "failure": None, "source_mark": "null", "pixels": None}
    answer = steps._written(row, job)
    assert "does not see the folder" in answer["failure"] and list(tmp_path.iterdir()) == []


def test_a_list_may_name_urls(s3, folder, tmp_path):
    s3.clear()
    for name in ("one.png", "sub/two.png"):
        s3[f"photos/{name}"] = b"..."
    lines = ("s3://photos/one.png", "s3://photos/gone.png", str(folder / "p00.png"), "s3://photos/sub", "s3://photos/one.png")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found, problems = find_sources([f"@{tmp_path / 'list.txt'}", "s3://photos/sub/two.png"])
    assert [str(source.path) for source in found] == [*lines[:3], "s3://photos/sub/two.png"] and not problems
    # A million are not asked for one by one: who reads the image finds that it is gone.
    row = steps._read_row({"index": 0, "path": lines[1], "folder": "", "source_mark": None}, steps.Job(OPTIONS, ("npz",)))
    assert lines[1] in json.loads(row["failure"])["reason"]


def test_any_store_that_fsspec_knows(folder):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    store = open_store("memory://bucket/maps")
    store.write("a/b.png", (folder / "p00.png").read_bytes())
    assert list(open_store("memory://bucket/maps/a").sizes()) == ["b.png"] and store.sizes() == {}
    with pytest.raises(FileNotFoundError):
        store.read("a/c.png")
    store.remove("a/c.png")
    (source,), problems = find_sources(["memory://bucket/maps"], recursive=True)
    assert str(source.path) == "memory://bucket/maps/a/b.png" and source.relative == Path("a/b.png") and not problems
    with local_copy(source.path) as copy:
        assert copy.read_bytes() == (folder / "p00.png").read_bytes()
    assert not copy.exists()
    with pytest.raises(ValueError, match=r"nonsense://x.*accepted are paths"):
        open_store("nonsense://x/y")


def test_a_ray_that_is_killed_is_told_in_words(monkeypatch):
    exceptions = import_ray().exceptions
    running = SimpleNamespace(is_initialized=lambda: True, exceptions=exceptions)
    monkeypatch.setattr("depth_normal.app.cluster.local_ray.import_ray", lambda: running)
    with pytest.raises(ConnectionError, match="--resume"), session(None):
        raise exceptions.LocalRayletDiedError


def test_ray_gives_the_bytes_of_the_local_engine_on_a_busy_machine(cluster, folder, two_threads, tmp_path, midas_small):
    """Of the same four images four times, whether one thread runs the network or all; Ray would have its workers take one thread each."""
    options = Options(MODELS["midas-v2.1-small"], midas_small, size=64)
    images = sorted(folder.glob("p*.png"))[:4]
    for copy in range(4):
        (copies := tmp_path / "photos" / str(copy)).mkdir(parents=True)
        for path in images:
            shutil.copy2(path, copies)
    todo = plan_outputs(find_images([tmp_path / "photos"], recursive=True)[0], tmp_path / "ray", ("npz", "depth", "normals")).todo
    local = plan_outputs(find_images([tmp_path / "photos" / "0"])[0], tmp_path / "local", ("npz", "depth", "normals")).todo
    program = subprocess.Popen([sys.executable, "-c", "import os\nos.nice(19)\nwhile True: pass"])  # Ray lowers its workers too
    try:
        outcomes = [
            *estimate_files(options.load("cpu"), local, options),
            *made_with_ray(todo, options, RayOptions(workers=1, device="cpu")),
        ]
    finally:
        program.kill()
        program.wait()
    assert not [outcome.failure for outcome in outcomes if outcome.failure]
    expected, copies = contents(tmp_path / "local"), [contents(tmp_path / "ray" / str(copy)) for copy in range(4)]
    assert len(expected) == 12 and copies == 4 * [expected]
