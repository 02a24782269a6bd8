"""`depth-normal video --resume` on pieces that a power failure, a disk or a person has changed: made again, or said in words."""

import errno
import functools
import io
import json
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import torch

from depth_normal.app import cli
from depth_normal.app.batch.records import digest_of_marks
from depth_normal.app.video import run as video_run
from depth_normal.app.video import segments
from depth_normal.app.video.segment_record import read_state, state_to_bytes
from depth_normal.media import VideoWriter
from depth_normal.media.library import video_errors
from depth_normal.model_loader import Model
from tests.videos import frames_of, moving_ball, stop_after, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "in.mkv", moving_ball(28))


def run(video, out, *more) -> int:
    return cli.main(["video", str(video), "-o", str(out), "--model", "tiny", "--size", "32", "--segment", "8", *map(str, more)])


@pytest.fixture(scope="module")
def stopped_folder(video, tmp_path_factory):
    """Gives a folder with what a run left that was stopped behind 24 frames, three pieces; in `whole` what it should be."""

    @functools.cache
    def folder(name, codec) -> Path:
        made = tmp_path_factory.mktemp("stopped")
        assert run(video, made / "whole" / name, *codec) == 0
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, 24)
            assert run(video, made / name, *codec) == 130
        return made

    return folder


@pytest.fixture
def stopped(request, stopped_folder, video, tmp_path):
    """A copy of such a folder; `pieces`, where its pieces are; `resume`, which goes on; and `is_whole`, whether all is made."""
    name = getattr(request, "param", "out.mkv")
    codec = ("--codec", "ffv1") if name == "out.mkv" else ()
    shutil.copytree(stopped_folder(name, codec), tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    pattern = name.replace("%03d", "*")

    def is_whole() -> bool:
        found, expected = ([frames_of(path) for path in sorted(folder.glob(pattern))] for folder in (tmp_path, tmp_path / "whole"))
        return found == expected

    (pieces,) = (tmp_path / ".depth-normal").glob("*.film")
    files = sorted(pieces.glob("*_depth.mkv")) or [tmp_path / f"d_{number:03d}.png" for number in (1, 9, 17)]
    resume = functools.partial(run, video, tmp_path / name, *codec, "--resume")
    return SimpleNamespace(folder=tmp_path, pieces=pieces, files=files, resume=resume, is_whole=is_whole)


def state_of(stopped, number: int) -> Path:
    return stopped.pieces / f"{number:05d}_state.safetensors"


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


in_videos_and_files = pytest.mark.parametrize("stopped", ["out.mkv", "d_%03d.png"], indirect=True)


@pytest.mark.slow("takes most of a second")
def test_pieces_of_an_older_version_are_made_again(stopped, caplog):
    """Their encoder had other settings, and what differs in these cannot be joined."""
    path = stopped.pieces / "pieces.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 4}))
    replaced(stopped.files[0])
    assert stopped.resume() == 0
    assert "was begun by another version" in caplog.text
    assert stopped.is_whole()


@pytest.mark.quick_cases(1)
@in_videos_and_files
@pytest.mark.parametrize(
    "damage", [halved, gone, *(pytest.param(each, marks=pytest.mark.slow("more damage")) for each in (emptied, replaced))]
)
@pytest.mark.parametrize("what", ["piece", "state"])
def test_a_newest_piece_that_is_damaged_is_made_again(stopped, damage, what, caplog):
    damage(stopped.files[2] if what == "piece" else state_of(stopped, 3))
    assert stopped.resume() == 0
    assert "the newest 8 frames are not there as they were made; they are made again" in caplog.text
    assert stopped.is_whole()


@pytest.mark.slow("takes most of a second")
def test_an_only_piece_that_is_damaged_is_made_again(video, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        assert run(video, tmp_path / "d_%03d.png") == 130
    emptied(tmp_path / "d_003.png")
    assert run(video, tmp_path / "d_%03d.png", "--resume") == 0 and len(list(tmp_path.glob("*.png"))) == 28


@pytest.mark.slow("takes most of a second")
def test_a_full_disk_is_no_end_of_the_source(video, tmp_path, monkeypatch, capsys):
    write, written = VideoWriter.write, []

    def full(self, *words):
        written.append(1)
        if len(written) > 12:
            with video_errors(self._path, "it cannot be written"):
                raise av.error.OSError(errno.ENOSPC, "No space left on device")
        write(self, *words)

    monkeypatch.setattr(VideoWriter, "write", full)
    assert run(video, tmp_path / "out.mkv", "--codec", "ffv1") == 2 and not (tmp_path / "out.mkv").exists()
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out.mkv'}: No space left" in said and "8 frames are finished; the same command with --resume" in said
    kept = {path.name for path in (tmp_path / ".depth-normal").glob("out.mkv.film/*")}
    assert kept == {"00000_depth.mkv", "00001_state.safetensors", "pieces.json"}, "and nothing of the unfinished piece"


@pytest.mark.quick_cases(1)
@in_videos_and_files
@pytest.mark.parametrize("damage", [emptied, gone, replaced])
def test_an_earlier_piece_that_is_damaged_is_said_and_nothing_is_lost(stopped, damage, capsys):
    kept = stopped.files[1].with_name("kept")
    shutil.copy2(stopped.files[1], kept)
    damage(stopped.files[1])
    before = sorted(path.name for path in stopped.pieces.iterdir())
    assert stopped.resume() == 2
    said = capsys.readouterr().err
    assert "the piece behind frame 8 is missing or was changed, and what follows depends on it; put it back, or run without" in said
    assert sorted(path.name for path in stopped.pieces.iterdir()) == before
    shutil.move(kept, stopped.files[1])
    assert stopped.resume() == 0
    assert stopped.is_whole()


def test_two_states_are_kept_and_if_both_are_damaged_that_is_said(stopped, capsys):
    assert [path.name for path in sorted(stopped.pieces.glob("*.safetensors"))] == ["00002_state.safetensors", "00003_state.safetensors"]
    emptied(state_of(stopped, 3))
    emptied(state_of(stopped, 2))
    assert stopped.resume() == 2
    assert "00003_state.safetensors is missing or was changed" in capsys.readouterr().err
    assert stopped.resume("--overwrite") == 2, "what is finished is not thrown away by the way"


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize(
    "damage",
    [
        lambda found: "",
        lambda found: nested(100_000),
        lambda found: "[]",
        lambda found: {**found, "pieces": 7},
        lambda found: {**found, "pieces": [7]},
        lambda found: {**found, "settings": nested(200)},
        {"frames": 10**30}, {"frames": -8}, {"frames": True}, {"frames": 8.0}, {"frames": "8"},
        {"time": "1/0"}, {"time": "1e999999999"}, {"time": "9" * 5000}, {"end": None},
        {"files": {"depth": "../../../in.mkv"}}, {"files": {"depth": "/etc/passwd"}}, {"files": ["a"]}, {"files": {"depth": 3}},
        {"numbered": "depth"}, {"numbered": [["depth"]]}, {"numbered": ["colour"]},
        {"ranges": [[0, 1]]}, {"ranges": [[0, "1"]] * 8}, {"black_and_white": 3}, {"ends": [3]},
        {"quantity": "colour"}, {"quantity": ["a"]}, {"dtype": 3}, {"state": 3}, {"digest": None}, {"more": 1},
    ],
    ids=lambda damage: str(damage)[:40],
)  # fmt: skip
def test_a_record_that_is_not_ours_is_said(stopped, damage, capsys):
    path = stopped.pieces / "pieces.json"
    found = json.loads(path.read_bytes())
    if isinstance(damage, dict):
        found["pieces"][0] |= damage
    else:
        found = damage(found)
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    assert stopped.resume() == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and "without --resume" in said


class Executed:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def bomb() -> bytes:
    """A file of some kilobytes that torch.load would unpack to gigabytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "data/0"):
            archive.writestr(f"archive/{name}", bytes(2**24))
    return content.getvalue()


def with_header(header: str, content: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + content


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 100, pickle.dumps(Executed()), bomb(), (2**60).to_bytes(8, "little") + b"{}",
        with_header(nested(100_000)), with_header("{}"), with_header('{"__metadata__":{}}'),
        with_header('{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        with_header('{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,4]}}', bytes(4)),
        with_header(json.dumps({"__metadata__": {"state": nested(100_000)}})),
        with_header(json.dumps({"__metadata__": {"state": '{"film": {"tensor": "none", "channels_last": false}}'}})),
        state_to_bytes([]), state_to_bytes({"film": None}), state_to_bytes({"film": {"aligner": 3, "windows": {}, "at_once": 0}}),
        state_to_bytes({"film": {"aligner": {}, "windows": {}, "at_once": -3}, "ranges": {}}),
        state_to_bytes({"film": {"aligner": {"guide": torch.zeros(3)}, "windows": {}, "at_once": 0}, "ranges": {"depth": {}}}),
    ],
    ids=lambda content: str(content[:30]),
)  # fmt: skip
def test_a_state_that_is_not_ours_is_said(stopped, content, capsys, monkeypatch):
    monkeypatch.chdir(stopped.folder)
    path, record = state_of(stopped, 3), stopped.pieces / "pieces.json"
    path.write_bytes(content)
    found = json.loads(record.read_bytes())
    found["pieces"][2]["state"] = digest_of_marks([path])
    record.write_text(json.dumps(found))
    assert stopped.resume() == 2
    said = capsys.readouterr().err
    assert "damaged" in said and "Traceback" not in said
    assert not Path("executed").exists() and len(list(stopped.pieces.iterdir())) >= 3


@pytest.mark.slow("takes most of a second")
def test_a_run_goes_on_after_its_engine_was_updated(video, tmp_path, monkeypatch, caplog):
    out, words = tmp_path / "out.mkv", ("--codec", "ffv1")
    with monkeypatch.context() as patch:
        patch.setattr(Model, "runtime", "ONNX Runtime 1.30.0, CPU")
        patch.setattr(Model, "engine", SimpleNamespace(runtime="onnx"))
        stop_after(patch, 12)
        assert run(video, out, *words) == 130
    (record,) = (tmp_path / ".depth-normal").glob("*/pieces.json")
    found = json.loads(record.read_text())
    assert (found["settings"]["runtime"], found["settings"]["engine"]) == ("onnx", "ONNX Runtime 1.30.0, CPU")
    monkeypatch.setattr(Model, "runtime", "ONNX Runtime 1.31.1, CPU")
    monkeypatch.setattr(Model, "engine", SimpleNamespace(runtime="onnx"))
    assert run(video, out, *words, "--resume") == 0
    assert "was begun with ONNX Runtime 1.30.0, CPU, and goes on with ONNX Runtime 1.31.1, CPU" in caplog.text


@pytest.mark.slow("takes most of a second")
def test_ctrl_c_while_its_pieces_are_removed_leaves_no_lock(video, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(segments, "rmtree", interrupted)
    assert run(video, tmp_path / "out.mkv") == 130
    assert [path.name for path in (tmp_path / ".depth-normal").iterdir()] == ["out.mkv.film"]


@pytest.mark.slow("makes videos of numbered images")
@pytest.mark.parametrize("damage", [halved, gone])
def test_what_cannot_be_read_a_second_time_ends_no_video_early(video, tmp_path, monkeypatch, capsys, damage):
    """The pass that needs the range of the whole video finds the source damaged, or shorter."""
    frames, out, kept = tmp_path / "frames", tmp_path / "out.mkv", tmp_path / "kept.png"
    assert run(video, frames / "f_%03d.png") == 0
    last, words = frames / "f_028.png", ("--codec", "ffv1", "--normalise", "per-clip")
    assert run(frames, tmp_path / "whole.mkv", *words) == 0
    shutil.copy2(last, kept)
    second = video_run._second_pass

    def after_damage(*rest):
        damage(last)
        return second(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(video_run, "_second_pass", after_damage)
        assert run(frames, out, *words) == 2 and not out.exists()
    said = capsys.readouterr().err
    assert ("f_028.png" if damage is halved else "28 frames were read first, and 27 now") in said
    assert "28 frames are finished; the same command with --resume" in said
    shutil.copy2(kept, last)
    assert run(frames, out, *words, "--resume") == 0 and frames_of(out) == frames_of(tmp_path / "whole.mkv")


@pytest.mark.slow("takes a second")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to a process itself")
def test_no_video_is_closed_while_a_frame_of_it_is_encoded(video, tmp_path, monkeypatch):
    """However often Ctrl-C is pressed; FFmpeg would crash."""
    write, leave, begun, encoding, closed = VideoWriter.write, VideoWriter.__exit__, [], threading.Event(), []

    def press():
        for _ in range(3):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

    def slow(self, *words):
        if not begun:
            begun.append(1)
            encoding.set()
            threading.Thread(target=press).start()
            time.sleep(1.2)
            encoding.clear()
        write(self, *words)

    def watched(self, *words):
        closed.append(encoding.is_set())
        leave(self, *words)

    monkeypatch.setattr(VideoWriter, "write", slow)
    monkeypatch.setattr(VideoWriter, "__exit__", watched)
    assert run(video, tmp_path / "out.mkv", "--codec", "ffv1") == 130
    for thread in threading.enumerate():
        if thread.name == "depth-normal writing behind":
            thread.join()
    assert True not in closed


def test_a_state_comes_back_in_its_order_of_memory(tmp_path):
    """Another one changes the last bits of the frames after a --resume."""
    state, path = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), tmp_path / "state"
    path.write_bytes(state_to_bytes({"last": state}))
    again = read_state(path)["last"]
    assert torch.equal(again, state) and again.stride() == state.stride()


def test_a_record_of_absurdly_many_frames_is_another_videos(video, tmp_path, capsys):
    assert run(video, tmp_path / "d_%03d.png", "--frames", 3, "--resume") == 0
    (record,) = (tmp_path / ".depth-normal").glob("*.json")
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"frames": 10**15}))
    assert run(video, tmp_path / "d_%03d.png", "--frames", 3, "--resume") == 2
    assert "was changed since it was made, or lacks files" in capsys.readouterr().err
