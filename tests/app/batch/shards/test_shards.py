"""Shards: what is in them, what a run may replace, and what a run that is killed leaves. The local engine writes them here."""

import json
import os
import sys
import tarfile
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import remote_files
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.records import RECORDS, mark
from depth_normal.app.batch.remote_files import as_path
from depth_normal.app.batch.run import Outcome
from depth_normal.app.batch.shards import catalogue, folder
from depth_normal.app.batch.shards.catalogue import MANIFEST, read_catalogue, shard_files
from depth_normal.app.batch.shards.folder import ShardFolder, provenance
from depth_normal.app.batch.shards.read import read_shards
from depth_normal.app.batch.shards.rows import estimate_of, row_of
from depth_normal.app.batch.shards.shard_formats import KINDS
from depth_normal.app.batch.shards.shard_store import open_store
from depth_normal.app.batch.shards.writer import ShardOptions, ShardRun, ShardWriter
from depth_normal.app.batch.sources import Source
from depth_normal.geometry.estimate import Axes, Estimate, Quantity

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'depth-normal[parquet]'")
from pyarrow import parquet

from tests.geometry.files.samples import assert_same_bits
from tests.tiny_s3 import tiny_s3

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
OPTIONS = Options(MODELS["tiny"], size=32)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("2024/a.png", "2024/b.png", "2025/c.png", "2025/d.png")):
        write_image(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


def write_image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 255, (6, 6, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (40, 32)))


def estimate(*words, kind="parquet"):
    return cli.main(["estimate", *map(str, words), "--model", "tiny", "--size", "32", "--device", "cpu", "--write", kind])


def depths_in(out):
    """The images and their depth, as docs/scale.md says how a reader that knows nothing of the pack sees them."""
    if not (shards := sorted(Path(out).glob("*.tar"))):
        rows = parquet.read_table(out).to_pylist()
        return [(row["path"], np.frombuffer(row["depth"], row["numbers"]).reshape(row["height"], row["width"])) for row in rows]
    found = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            files = {name: tar.extractfile(name).read() for name in tar.getnames()}
        stems = [name.removesuffix(".json") for name in files if name.endswith(".json")]
        found += [(json.loads(files[f"{stem}.json"])["path"], np.load(BytesIO(files[f"{stem}.depth.npy"]))) for stem in stems]
    return found


def names_in(out):
    return sorted(Path(path).name for path, _ in depths_in(out))


def rows_of(out):
    store = open_store(out)
    rows = (
        row for name in shard_files(store) for row in KINDS["webdataset" if name.endswith(".tar") else "parquet"].read(store.open(name))
    )
    return {Path(row["path"]).name: row for row in rows}


def files_in(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


@pytest.mark.slow("takes a second")
@EACH_KIND
def test_old_shards_are_removed_once_the_manifest_names_the_new_ones(kind, photos, out, monkeypatch):
    assert estimate(photos, "--recursive", "--out", out, kind=kind) == 0
    old, remove, named = set(shard_files(open_store(out))), folder.remove_shards, []
    monkeypatch.setattr(
        folder, "remove_shards", lambda store, names: named.append(set(catalogue.read_manifest(store))) or remove(store, names)
    )
    assert estimate(photos, "--recursive", "--out", out, kind=kind) == 0
    new = set(shard_files(open_store(out)))
    assert named == [new] and not old & new and names_in(out) == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.quick_cases(1)
@EACH_KIND
def test_rows_of_images_that_a_run_does_not_name_are_kept_bit_by_bit(kind, photos, out, capsys):
    assert estimate(photos, "--recursive", "--out", out, kind=kind) == 0
    (old,) = shard_files(open_store(out))
    rows, metadata = rows_of(out), metadata_of(out / old)
    assert estimate(photos / "2024", "--out", out, kind=kind) == 0
    assert names_in(out) == ["a.png", "b.png", "c.png", "d.png"] and not (out / old).exists()
    assert {name: rows_of(out)[name] for name in ("c.png", "d.png")} == {name: rows[name] for name in ("c.png", "d.png")}
    assert [metadata_of(path) for path in out.iterdir() if path.is_file()] == 2 * [metadata]
    assert "1 older shards have images that this run did not make again" in capsys.readouterr().err
    assert read_catalogue(open_store(out)).in_manifest == shard_files(open_store(out)).keys()


@pytest.mark.quick_cases(1)
@EACH_KIND
def test_resume_makes_only_what_is_not_there_or_has_changed(kind, photos, out, capsys):
    assert estimate(photos, "--recursive", "--out", out, kind=kind) == 0
    rows, made = rows_of(out), files_in(out)
    assert estimate(photos, "--recursive", "--out", out, "--resume", kind=kind) == 0
    assert files_in(out) == made
    write_image(photos / "2024/b.png", 7)
    capsys.readouterr()
    assert estimate(photos, "--recursive", "--out", out, "--resume", "--json-lines", kind=kind) == 0
    assert [json.loads(line)["image"] for line in capsys.readouterr().out.splitlines()] == [str(photos / "2024/b.png")]
    assert names_in(out) == ["a.png", "b.png", "c.png", "d.png"]
    assert [name for name, row in rows_of(out).items() if row != rows[name]] == ["b.png"]


def test_an_image_that_fails_now_keeps_its_old_row(photos, out):
    assert estimate(photos / "2024", "--out", out) == 0
    rows = rows_of(out)
    (photos / "2024/b.png").write_text("no image any more")
    assert estimate(photos / "2024", "--out", out) == 1
    assert names_in(out) == ["a.png", "b.png"] and rows_of(out)["b.png"] == rows["b.png"]


def others_shard(out):
    (out / "others.parquet").write_text("mine")


def shard_of_other_options(out):
    estimate(out.parent / "photos/2025", "--out", out, "--fov", "50")


def truncated_shard(out):
    estimate(out.parent / "photos/2025", "--out", out)
    (name,) = shard_files(open_store(out))
    os.truncate(out / name, 100)


UNWANTED = [
    (others_shard, "shards in --out not made by depth-normal: 1 (first: others.parquet)"),
    (shard_of_other_options, "shards in --out made with another model or options: 1"),
    (truncated_shard, "shards in --out not whole, though they hold images that are not named in this run: 1"),
]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("going_on", [(), ("--resume",)])
@pytest.mark.parametrize(("make", "words"), UNWANTED)
def test_what_is_no_shard_of_this_kind_is_removed_with_overwrite_alone(make, words, going_on, photos, out, capsys):
    out.mkdir()
    make(out)
    before = files_in(out)
    assert estimate(photos / "2024", "--out", out, *going_on) == 2
    assert words in capsys.readouterr().err and files_in(out) == before
    (photos / "bad.png").write_text("no image")
    assert estimate(photos / "bad.png", "--out", out, "--overwrite", *going_on) == 2
    assert before.items() <= files_in(out).items(), "nothing takes its place"
    assert estimate(photos / "2024", "--out", out, "--overwrite", *going_on) == 0
    assert names_in(out) == ["a.png", "b.png"]


def test_a_truncated_shard_is_made_again_of_its_images(photos, out):
    out.mkdir()
    truncated_shard(out)
    assert estimate(photos / "2025", "--out", out, "--resume") == 0
    assert names_in(out) == ["c.png", "d.png"]


class Hand:
    """An engine that writes the shards that it was made with, and answers for some of them alone."""

    def __init__(self, *shards):
        self.written = shards

    def run(self, todo, options, stop, marker, target):
        todo = {each.image.name: each for each in todo}
        for names, answers in self.written:
            with ShardWriter(target.store, replace(target.run, options=replace(target.run.options, size=2**40))) as shard:
                for name in names.split():
                    shard.add(name, row_of(str(todo[name].image), small_estimate(), "float32"), mark(todo[name].image))
                closed = shard.close()
            if answers:
                target.stored(closed.shard)
                yield from (Outcome(todo[name], (target.store.path(closed.shard.name),)) for name in closed.items)


def small_estimate():
    return Estimate(torch.rand(1, 1, 4, 5), Quantity.DISPARITY)


def planned(out, photos, names, going_on=False, kind="parquet", **options):
    results = ShardFolder(out, OPTIONS, ShardOptions(kind), **options)
    results.plan([Source(path, Path(path.name)) for path in sorted(photos.rglob("*.png")) if path.stem in names], going_on)
    return results


def carry_out(results, *shards):
    return list(results.run(Hand(*shards), Event(), None))


@EACH_KIND
def test_an_answer_that_was_lost_leaves_no_image_twice_and_loses_none(kind, photos, tmp_path):
    results = planned(tmp_path / "out", photos, "abcd", kind=kind)
    carry_out(results, ("a.png b.png", False), ("d.png", False), ("b.png c.png", True))
    assert names_in(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png"]
    again = ShardFolder(tmp_path / "out", OPTIONS, ShardOptions(kind))
    assert not again.plan([Source(path, Path(path.name)) for path in photos.rglob("*.png")], going_on=True).todo, "none is lost"


class KilledError(BaseException):
    """As a signal that nothing catches."""


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("step", ["write_manifest", "remove_shards", "_copy", "publish", "write", "remove"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_run_that_is_killed_at_any_moment_loses_nothing(step, call, photos, out, monkeypatch):
    carry_out(planned(out, photos, "abcd"), ("a.png b.png c.png", True), ("d.png", True))
    results = planned(out, photos, "bd")
    places = (folder, ShardFolder, type(open_store(out)))
    (place,) = (place for place in places if hasattr(place, step))
    original, calls = getattr(place, step), []

    def kill(*arguments):
        calls.append(step)
        if len(calls) == call:
            raise KilledError
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, step, kill)
        try:
            carry_out(results, ("b.png", True), ("d.png", True))
        except KilledError:
            assert set(names_in(out)) == {"a.png", "b.png", "c.png", "d.png"}
    again = planned(out, photos, "abcd", going_on=True)
    assert not again._plan.todo
    carry_out(again)
    assert names_in(out) == ["a.png", "b.png", "c.png", "d.png"]
    assert read_catalogue(open_store(out)).in_manifest == shard_files(open_store(out)).keys()


@pytest.mark.slow("runs several processes")
def test_runs_at_once_into_a_store_lose_nothing(photos, s3):
    place = as_path("s3://maps/at-once")
    carry_out(planned(place, photos, "abcd"), ("a.png b.png c.png d.png", True))
    runs = [planned(place, photos, names) for names in ("ab", "bc", "d")]
    for results, names in zip(runs, ("a.png b.png", "b.png c.png", "d.png"), strict=True):
        carry_out(results, (names, True))
    store = open_store(place)
    assert {Path(path).name for path, _ in read_shards(place)} == {"a.png", "b.png", "c.png", "d.png"}
    carry_out(planned(place, photos, "abcd", going_on=True))
    assert sorted(Path(path).name for path, _ in read_shards(place)) == ["a.png", "b.png", "c.png", "d.png"]
    assert read_catalogue(store).in_manifest == shard_files(store).keys()


@pytest.fixture
def s3(monkeypatch):
    """The requests to a store, and its files."""
    requests = []
    with tiny_s3(requests) as (environment, files):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        remote_files._filesystem.cache_clear()
        yield requests, files
        remote_files._filesystem.cache_clear()  # the next store of that name is another


DAMAGE = {
    "whole": lambda data: data,
    "missing": None,
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "another digest": lambda data: data.replace(b"a.png", b"x.png"),
    "no JSON": lambda data: b"\xff" * 100,
    "deep": lambda data: b"[" * 10**5,
    "another version": lambda data: data.replace(b'"version": 1', b'"version": 2', 1),
    "other values": lambda data: head_of(b'{"settings": [{}], "shards": {"a": [1, 2]}}'),
    "other types": lambda data: head_of(b'{"settings": 3, "shards": {"a": [1, 2, "3", 4, []]}}'),
    "a list": lambda data: head_of(b"[]"),
}


def head_of(body):
    return json.dumps(catalogue._manifest_head(body)).encode() + b"\n" + body


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_manifest_that_cannot_be_trusted_is_not(damage, photos, out):
    carry_out(planned(out, photos, "abcd"), ("a.png b.png", True), ("c.png", True), ("d.png", True))
    found = read_catalogue(open_store(out)).shards
    assert len(found) == 3
    data = (out / MANIFEST).read_bytes()
    (out / MANIFEST).unlink()
    if DAMAGE[damage]:
        (out / MANIFEST).write_bytes(DAMAGE[damage](data))
    again = read_catalogue(open_store(out))
    assert again.shards == found and bool(again.in_manifest) == (damage == "whole")
    assert estimate(photos, "--recursive", "--out", out, "--resume") == 0
    assert read_catalogue(open_store(out)).in_manifest == found.keys(), "written anew"


def test_a_manifest_from_before_counts_for_what_it_says(photos, out):
    carry_out(planned(out, photos, "ab"), ("a.png", True), ("b.png", True))
    before = (out / MANIFEST).read_bytes()
    carry_out(planned(out, photos, "abcd", going_on=True), ("c.png d.png", True))
    found = read_catalogue(open_store(out)).shards
    (out / MANIFEST).write_bytes(before)
    gone = next(iter(catalogue.read_manifest(open_store(out))))
    (out / gone).unlink()
    assert read_catalogue(open_store(out)).shards == {name: shard for name, shard in found.items() if name != gone}


def test_a_store_that_does_not_answer_is_not_a_store_without_records(photos, out, monkeypatch):
    """Else --overwrite would remove shards whose records could not be read at that moment."""
    carry_out(planned(out, photos, "ab"), ("a.png b.png", True))
    (out / MANIFEST).unlink()

    def fail(store, name):
        raise OSError("no answer")

    monkeypatch.setattr(type(open_store(out)), "open", fail)
    with pytest.raises(OSError, match="no answer"):
        planned(out, photos, "cd", overwrite=True)


@pytest.mark.slow("takes a second")
def test_a_resume_takes_one_read_for_all_shards(photos, s3):
    requests, files = s3
    store = open_store("s3://maps/many")
    shards = [catalogue.Shard(f"{number:04}.tar", 1, 0, "run", {}, {f"s3://photos/{number}.png": (1, 2)}) for number in range(2500)]
    for shard in shards:
        files[f"maps/many/{shard.name}"] = b"."
        files[f"maps/many/{catalogue.record_name(shard.name)}"] = shard.record()
    catalogue.write_manifest(store, shards[:-3])
    requests.clear()
    found = read_catalogue(store)
    assert found.shards == {shard.name: shard for shard in shards} and len(found.in_manifest) == 2497
    listings = [each for each in requests if each.endswith("?list")]
    assert len(listings) == 3, "a thousand names each"
    read = {each.partition(" ")[2] for each in requests if each not in listings}
    assert read - {"maps/many/.depth-normal/manifest.json"} == {f"maps/many/.depth-normal/{shard.name}.json" for shard in shards[-3:]}
    assert len(requests) - len(listings) <= 4 * 3


def test_a_long_run_writes_the_manifest_now_and_then(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_SHARDS_WITHOUT_MANIFEST", 2)
    seen = []

    class Watched(Hand):
        def run(self, *arguments):
            for outcome in super().run(*arguments):
                seen.append(len(catalogue.read_manifest(open_store(tmp_path / "out"))))
                yield outcome

    results = planned(tmp_path / "out", photos, "abcd")
    list(results.run(Watched(*((f"{name}.png", True) for name in "abcd")), Event(), None))
    assert seen == [0, 2, 2, 4]


@pytest.mark.slow("takes a second")
@EACH_KIND
def test_shards_to_a_store_by_the_local_engine(kind, photos, tmp_path, s3, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "home"))
    shards = []
    for words in ((photos / "2024",), (photos / "2025",), (photos, "--recursive", "--resume")):
        assert estimate(*words, "--out", "s3://maps/here", kind=kind) == 0
        shards.append({name: data for name, data in s3[1].items() if name.endswith(KINDS[kind].ending)})
    assert sorted(Path(path).name for path, _ in read_shards("s3://maps/here")) == ["a.png", "b.png", "c.png", "d.png"]
    assert shards[0].items() < shards[1].items() == shards[2].items() and len(shards[2]) == 2, "a second source leaves the first alone"


@pytest.mark.quick_cases(1)
@EACH_KIND
def test_what_is_read_back_is_what_the_network_gives(kind, photos, tmp_path, out):
    assert estimate(photos, "--recursive", "--out", out, kind=kind) == 0
    assert estimate(photos, "--recursive", "--out", tmp_path / "files", kind="npz") == 0
    for (path, found), (_, depth) in zip(read_shards(out), depths_in(out), strict=True):
        wanted = np.load(tmp_path / "files" / Path(path).relative_to(photos).with_suffix(".npz"))
        assert np.array_equal(found.depth[0, 0], wanted["depth"]) and np.array_equal(depth, wanted["depth"])
        assert np.array_equal(found.normals[0].movedim(0, -1), wanted["normals"])


def metadata_of(shard):
    """As docs/scale.md says how to read it."""
    if shard.suffix == ".tar":
        with tarfile.open(shard) as tar:
            return json.loads(tar.pax_headers["comment"])
    return json.loads(parquet.read_schema(shard).metadata[b"depth_normal"])


@EACH_KIND
def test_a_shard_says_how_it_was_made_and_under_which_licence(kind, photos, out):
    assert estimate(photos / "2024", "--out", out, kind=kind) == 0
    (name,) = shard_files(open_store(out))
    about = metadata_of(out / name)
    assert (about["model"], about["licence"], about["commercial_use"]) == ("tiny", "Apache-2.0", "yes")
    assert about["weights"][0]["file"] == "tiny.safetensors" and len(about["weights"][0]["sha256"]) == 64
    assert about["settings"]["size"] == 32 and about["depth_normal"].count(".") == 2
    assert all((row["model"], row["licence"]) == ("tiny", "Apache-2.0") for row in rows_of(out).values())


def test_maps_that_may_not_be_sold_say_so(tmp_path):
    (tmp_path / "large.pth").write_bytes(b"weights")
    about = provenance(Options(MODELS["depth-anything-v2-large"], weights=tmp_path / "large.pth"), {})
    assert (about["licence"], about["commercial_use"]) == ("CC-BY-NC-4.0", "no")
    assert about["licence_url"].startswith("https://huggingface.co/")
    assert about["weights"] == [{"file": "large.pth", "sha256": sha256(b"weights").hexdigest()}]


@EACH_KIND
def test_a_shard_is_closed_when_it_has_its_size(kind, tmp_path):
    rows = [row_of(f"{number}.png", small_estimate()) for number in range(7)]
    size = 2 * 4 * 5 * 4 + 1
    run = ShardRun(ShardOptions(kind, size=size), {}, {"model": "tiny", "licence": "Apache-2.0"}, "run", 0)
    with ShardWriter(open_store(tmp_path), run) as shards:
        closed = [shards.add(number, row, None) for number, row in enumerate(rows)] + [shards.close(), shards.close()]
    assert [each.items for each in closed if each] == [[0, 1, 2], [3, 4, 5], [6]]
    assert {path.name for path in tmp_path.iterdir()} == {RECORDS, *(each.shard.name for each in closed if each)}
    assert all(each.shard.bytes == (tmp_path / each.shard.name).stat().st_size for each in closed if each)


@EACH_KIND
def test_a_row_that_cannot_be_written_takes_no_other_with_it(kind, tmp_path):
    run = ShardRun(ShardOptions(kind), {}, {"model": "tiny", "licence": "Apache-2.0"}, "run", 0)
    with ShardWriter(open_store(tmp_path), run) as shards:
        shards.add("a", row_of("a.png", small_estimate()), None)
        with pytest.raises((ValueError, TypeError)):
            shards.add("b", {**row_of("b.png", small_estimate()), "height": "tall"}, None)
        if kind == "parquet":  # a tar holds any name
            with pytest.raises(ValueError, match="the name is not UTF-8"):
                shards.add("b", row_of("caf\udce9.png", small_estimate()), None)
        shards.add("c", row_of("c.png", small_estimate()), None)
        assert shards.close().items == ["a", "c"]
    assert names_in(tmp_path) == ["a.png", "c.png"]


@pytest.mark.quick_cases(1)
@EACH_KIND
def test_a_full_disk_ends_the_run_and_leaves_nothing_half(kind, photos, out, monkeypatch, capsys):

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(open_store(out)), "publish", full)
        assert estimate(photos, "--recursive", "--out", out, "--shard-size", "30kB", kind=kind) == 2
    said = capsys.readouterr().err
    assert f"cannot write to {out}: No space left on device; free room there" in said
    assert "run the same command with --resume to go on" in said
    assert not shard_files(open_store(out)) and not list((out / RECORDS).glob(".depth-normal-*"))
    assert estimate(photos, "--recursive", "--out", out, "--resume", kind=kind) == 0
    assert names_in(out) == ["a.png", "b.png", "c.png", "d.png"]
    capsys.readouterr()
    assert estimate(photos, "--recursive", "--out", photos / "2024" / "a.png" / "out", kind=kind) == 2
    assert "a.png is a file, not a folder" in (said := capsys.readouterr().err) and "loading" not in said


def test_a_run_that_is_stopped_keeps_what_is_done_and_removes_nothing(photos, tmp_path):
    out, stop = tmp_path / "out", Event()
    carry_out(planned(out, photos, "abcd"), ("a.png b.png c.png d.png", True))
    (old,) = shard_files(open_store(out))
    results = planned(out, photos, "abcd")
    for outcome in results.run(Hand(("a.png", True)), stop, None):
        assert outcome.failure is None
        stop.set()
    assert (out / old).exists() and len(shard_files(open_store(out))) == 2
    assert read_catalogue(open_store(out)).in_manifest == shard_files(open_store(out)).keys()


def test_pyarrow_is_needed_for_parquet_alone(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert estimate(photos / "2024", "--out", tmp_path / "out") == 2 and not (tmp_path / "out").exists()
    assert 'pip install "pyarrow>=17"' in capsys.readouterr().err
    assert estimate(photos / "2024", "--out", tmp_path / "out", kind="webdataset") == 0 and names_in(tmp_path / "out") == ["a.png", "b.png"]


def random_estimate():
    depth, normals = torch.rand(1, 1, 5, 7), torch.nn.functional.normalize(torch.randn(1, 3, 5, 7))
    return Estimate(depth, Quantity.METRIC_DEPTH, normals, Axes.OPENCV, depth > 0.5, torch.rand(1, 3, 3), torch.rand(1, 1, 5, 7))


@EACH_KIND
def test_every_map_goes_through_a_shard(kind, tmp_path):
    whole = random_estimate()
    estimates = [
        whole,
        replace(whole, depth=None, quantity=None, mask=None),
        replace(whole, normals=None, intrinsics=None, axes=Axes.OPENGL),
    ]
    shard = KINDS[kind].create(tmp_path / f"x{KINDS[kind].ending}", {"licence": "é"})
    for number, each in enumerate(estimates):
        shard.add(row_of(f"é/{number}.a.png", each))
    shard.close()
    for (path, found), (number, wanted) in zip(read_shards(tmp_path), enumerate(estimates), strict=True):
        assert path == f"é/{number}.a.png"
        assert_same_bits(found, wanted)


def test_a_row_is_one_image_and_not_where_its_camera_stands_in_a_scene():
    whole = random_estimate()
    assert row_of("a.png", replace(whole, extrinsics=torch.eye(3, 4)[None])) == row_of("a.png", whole)


def test_half_numbers_are_rounded_and_refused_where_they_end_but_for_a_sky():
    whole = random_estimate()
    found = estimate_of(row_of("a.png", whole, "float16"))
    assert torch.equal(found.depth, whole.depth.half().float()) and torch.equal(found.intrinsics, whole.intrinsics)
    with pytest.raises(ValueError, match=r"a.png: depth has numbers up to 70000, .* write them as float32"):
        row_of("a.png", replace(whole, depth=torch.full((1, 1, 5, 7), 7e4)), "float16")
    mask = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    mask[:, :, :2] = False  # a sky, which MoGe puts a million metres away
    depth = torch.full((1, 1, 5, 7), 3.0).masked_fill(~mask, 1e6)
    depth[0, 0, 0, 0] = torch.inf
    found = estimate_of(row_of("a.png", Estimate(depth, Quantity.METRIC_DEPTH, mask=mask), "float16"))
    assert torch.equal(found.mask, mask) and torch.equal(found.depth[mask], depth[mask])
    assert found.depth[0, 0, 0, 0].isinf() and found.depth[0, 0, 1, 1] == 65504


def test_a_second_run_into_a_folder_is_refused(photos, out, capsys):
    with open_store(out).alone():
        assert estimate(photos / "2024", "--out", out) == 2
    assert "another run writes shards to" in capsys.readouterr().err
    results = planned(out, photos, "ab")
    carry_out(planned(out, photos, "cd"), ("c.png d.png", True))
    with pytest.raises(RuntimeError, match=r"another run wrote shards to .* while this one began"):
        carry_out(results, ("a.png b.png", True))
    assert names_in(out) == ["c.png", "d.png"]


def test_where_nothing_is_to_do_a_second_run_is_no_matter(photos, out):
    carry_out(planned(out, photos, "ab"), ("a.png b.png", True))
    (out / MANIFEST).unlink()  # what there is to tidy can wait
    with open_store(out).alone():
        assert estimate(photos / "2024", "--out", out, "--resume") == 0
    assert not (out / MANIFEST).exists()
    assert estimate(photos / "2024", "--out", out, "--resume") == 0 and (out / MANIFEST).exists()
