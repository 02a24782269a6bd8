import contextlib
import os
from pathlib import Path

import pytest

from depth_normal.geometry.files import atomic_path, paths, resolve_inside


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_atomic_path_moves_the_whole_file_into_place_or_leaves_nothing_behind(tmp_path, error):
    target = tmp_path / "map.npz"
    target.write_bytes(b"old")
    with pytest.raises(error) if error else contextlib.nullcontext(), atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".npz"
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        if error:
            raise error
    assert target.read_bytes() == (b"old" if error else b"new") and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", ["files", "folders"])
def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path, kind):
    tmp_path = tmp_path / kind  # leftovers are looked for once in each folder, and pytest gives a folder's name again
    tmp_path.mkdir()
    old, new = (tmp_path / f".depth-normal-{number:012x}" for number in (1, 2))
    foreign = tmp_path / ".depth-normal-backup"
    for path in (old, new, foreign):
        if kind == "folders":
            path.mkdir()
            (path / "maps.npz").write_bytes(b"half")
        else:
            path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (1e9, 1e9))
    with atomic_path(tmp_path / "a.npz") if kind == "files" else paths.temporary_folder(tmp_path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.startswith(".depth-normal-")
        (temporary if kind == "files" else temporary / "maps.npz").write_bytes(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, foreign.name, *["a.npz"] * (kind == "files")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("library", ["python", "av"])
def test_a_full_disk_is_said_with_the_name_that_was_asked_for(tmp_path, library):
    if library == "av":
        av = pytest.importorskip("av", reason="writes videos")
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "out.mp4") as temporary:
        temporary.symlink_to("/dev/full")
        if library == "python":
            temporary.write_bytes(bytes(2**16))
        else:
            with av.open(f"file:{temporary}", "w", format="matroska") as container:
                container.add_stream("ffv1", rate=25)
                container.start_encoding()
    assert caught.value.filename == str(tmp_path / "out.mp4") and list(tmp_path.iterdir()) == []


def test_atomic_path_names_the_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic_path(tmp_path / "nowhere" / "map.npz"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")
def test_written_files_get_the_permissions_that_others_get(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.touch()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "name", ["a.npz", "sub/a.npz", "sub\\a.npz", "unicode é 深度.exr", ".hidden", "comma,;'()[] {}.png", "con_fused.npz", "a..b.npz"]
)
def test_plain_names_resolve_below_the_folder(tmp_path, name):
    assert resolve_inside(tmp_path, name) == tmp_path.resolve().joinpath(*name.replace("\\", "/").split("/"))


ODD_NAMES = (
    *("", ".", "..", "../a.npz", "sub/../../a.npz", "sub/../a.npz", "..\\a.npz", "a//b", "a/./b", "a/"),
    *("/etc/passwd", "\\a.npz", "\\\\server\\share\\a.npz", "//server/share", "C:\\a.npz", "c:a.npz", "a.npz:stream"),
    *("CON", "con.npz", "sub/NUL.tar.gz", "aux .npz", "COM1.exr", "lpt¹.exr", "CONIN$", "a.npz.", "a.npz ", "what?.npz", "a*.npz", "a|b"),
    *("a\0.npz", "a\n.npz", "a\ud800.npz", "x" * 256, "深" * 86),
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_leave_the_folder_or_are_odd_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="give a path below"):
        resolve_inside(tmp_path, name)


@pytest.fixture
def link():
    def make(path, target):
        try:
            path.symlink_to(target)
        except OSError as error:
            pytest.skip(f"this account may not make links: {error}")

    return make


def test_links_are_followed_only_inside_the_folder(tmp_path, link):
    folder, outside = tmp_path / "in", tmp_path / "out"
    for each in (folder, outside):
        each.mkdir()
    (folder / "real.npz").touch()
    for name, target in {"inner.npz": folder / "real.npz", "outer": outside, "dangling.npz": outside / "none.npz", "self": folder}.items():
        link(folder / name, target)
    link(tmp_path / "link", folder)
    for inside in (folder, tmp_path / "link"):  # the folder itself may be a link
        assert resolve_inside(inside, "inner.npz") == resolve_inside(inside, "real.npz") == (folder / "real.npz").resolve()
        for name in ("outer/a.npz", "outer", "dangling.npz", "self"):
            with pytest.raises(ValueError, match="through a link; give a path without it"):
                resolve_inside(inside, name)


@pytest.mark.parametrize("name", ["self", "self/a.npz", "there", "there/a.npz"])
def test_links_that_go_in_a_circle_are_refused(tmp_path, name, link):
    for start, target in (("self", tmp_path / "self"), ("there", "back"), ("back", "there")):
        link(tmp_path / start, target)
    with pytest.raises(ValueError, match="cannot be followed"):
        resolve_inside(tmp_path, name)
