"""Which images are meant by the files, folders, patterns and lists that a person names."""

import io
import logging
import os
import re
import socket
import sys
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from depth_normal.app.batch.sources import EXTENSIONS, Source, find_images
from depth_normal.app.console.terminal import quoted
from depth_normal.app.outcomes import DOCS
from depth_normal.options.outputs import IMAGES


def test_the_documents_name_all_extensions_and_no_other():
    text = (DOCS / "folders.md").read_text(encoding="utf-8")
    named = text[text.index("**Images in a folder**") : text.index("(HEIC:")]
    assert set(re.findall(r"\.[a-z0-9]+", named)) == EXTENSIONS


def test_the_extensions_are_those_of_the_kinds_that_are_read():
    """Pillow's own, but those of numbers and of animations of another kind."""
    Image.init()
    kinds = {Image.EXTENSION[each] for each in IMAGES if each in Image.EXTENSION}
    assert {extension for extension, kind in Image.EXTENSION.items() if kind in kinds} - {*IMAGES} <= {".pfm", ".avifs", ".heics", ".heifs"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*sources, **options):
    """What is found, as (path, path below the output); nothing may be wrong."""
    images, problems = find_images(sources, **options)
    assert problems == []
    return [(str(each.path), str(each.relative)) for each in images]


def test_a_pattern_is_expanded_where_no_file_has_that_name(here):
    touch("b.jpg", "a.jpg", "c.txt", "[x].jpg", "deep/er/d.jpg")
    assert found(str(here / "?.jpg")) == [(str(here / name), name) for name in ("a.jpg", "b.jpg")]
    assert found("[x].jpg") == [("[x].jpg", "[x].jpg")], "a file's own name"
    assert found("deep/**/*.jpg") == [("deep/er/d.jpg", "d.jpg")]
    assert find_images(["*.png"]) == ([], ["*.png: no file matches this pattern"])
    assert find_images([Path("*.jpg")]) == ([], ["*.jpg: there is no such file"]), "a Path is a name, not a pattern"


def test_a_folder_keeps_its_tree_and_a_file_its_name(here):
    touch("photos/b.JPG", "photos/a.png", "photos/sub/er/c.webp", "photos/sub/d.tiff")
    flat = [("photos/a.png", "a.png"), ("photos/b.JPG", "b.JPG")]
    assert found("photos") == flat
    assert found("photos", recursive=True) == [*flat, ("photos/sub/d.tiff", "sub/d.tiff"), ("photos/sub/er/c.webp", "sub/er/c.webp")]
    assert found("photos/sub/d.tiff") == [("photos/sub/d.tiff", "d.tiff")]
    assert find_images([Path("photos/a.png")])[0] == [Source(Path("photos/a.png"), Path("a.png"))]


def test_lists_are_read_as_tools_write_them(here, monkeypatch):
    """Paths count from the folder of the command, not of the list, and keep their folders below the output."""
    touch("photos/sub/a.png", "photos/b.png", "photos/c d.png", "lists/empty.txt")
    (here / "lists" / "l.txt").write_bytes("\ufeff# chosen\r\n\r\nphotos/sub/a.png\r\n  \nphotos/c d.png\r\nphotos/sub\n".encode())
    expected = [("photos/sub/a.png", "photos/sub/a.png"), ("photos/c d.png", "photos/c d.png")]
    assert found("@lists/l.txt") == expected
    (here / "powershell.txt").write_bytes("photos/b.png\r\n".encode("utf-16"))
    assert found("@powershell.txt") == [("photos/b.png", "photos/b.png")]
    for absolute in (here / "photos" / "b.png", Path("photos", "..", "photos", "b.png")):
        (here / "list").write_text(str(absolute))
        assert found("@list") == [(str(absolute), "b.png")], "no folders above the output"
    stdin = io.TextIOWrapper(io.BytesIO(b"photos/b.png\0photos/c d.png\0"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert found("-") == [("photos/b.png", "photos/b.png"), ("photos/c d.png", "photos/c d.png")], "find -print0"


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_names_of_any_kind_are_found_by_their_bytes(here):
    names = ["é" * 125 + "a.png", "深度.jpg", "a\nb.png", os.fsdecode(b"\xff\xfe.png"), "@x.png", "-.png", "[1].png", "#1.png", " .png"]
    kept = []
    (here / "photos").mkdir()
    for name in names:
        try:
            (here / "photos" / name).touch()
            kept.append(name)
        except OSError:  # disks that take Unicode alone
            continue
    assert len(kept) >= 6
    assert sorted(name for _, name in found("photos")) == sorted(kept)
    (here / "list").write_bytes(b"\0".join(os.fsencode(f"photos/{name}") for name in kept))
    assert [name for _, name in found("@list")] == [f"photos/{name}" for name in kept]
    touch("@x.png", "-")
    assert found("./@x.png", "./-") == [("@x.png", "@x.png"), ("-", "-")]


def test_a_list_that_is_none_is_refused_in_words(here, monkeypatch):
    Image.new("RGB", (8, 8)).save("a.png")
    touch("empty.txt")
    (here / "wrong.txt").write_text("\nabsent.png\n")
    said = find_images(["@a.png", "@absent.txt", "@empty.txt", "@wrong.txt", "@."])[1]
    assert said[0] == "@a.png: the list cannot be read: it is an image, not a list of paths; name the image itself"
    assert said[1].startswith("@absent.txt: the list cannot be read: ") and said[2] == "@empty.txt: the list is empty"
    assert said[3] == "absent.png: there is no such file (line 2 of wrong.txt; its paths count from the folder that the command runs in)"
    assert said[4].startswith("@.: the list cannot be read: ")
    for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff"):
        image = io.BytesIO()
        Image.new("RGB", (8, 8)).save(image, kind)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(image.getvalue())))
        assert "it is an image, not a list" in find_images(["-"])[1][0], "an image's bytes on stdin"
    touch("BMW/1.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"BMW/1.png\0")))
    assert found("-") == [("BMW/1.png", "BMW/1.png")]


def test_what_is_no_image_is_passed_over_in_folders_and_counted(here, caplog):
    caplog.set_level(logging.INFO)
    names = ["Thumbs.db", ".DS_Store", "._a.jpg", "a.xmp", "b.XMP", "c.txt", "film.mp4", "README", "a.xcf", "sub/x.png"]
    touch(*(f"photos/{name}" for name in (*names, "a.jpg", "@eaDir/a.jpg", ".cache/a.jpg", "__MACOSX/b.png")))
    assert found("photos") == [("photos/a.jpg", "a.jpg")]
    (message,) = caplog.messages
    start = "photos: passed over 9 other files (.xmp 2, hidden 2, .db 1, "
    assert sorted(message.partition("(")[2].split(")")[0].split(", ")[:2]) == [".xmp 2", "hidden 2"], message
    assert message.startswith(start[:34]) and message.endswith(", ...) and 1 folder (--recursive looks into them)")
    assert [name for _, name in found("photos", recursive=True)] == ["a.jpg", "sub/x.png"]
    assert found("photos/c.txt", "photos/README") == [("photos/c.txt", "c.txt"), ("photos/README", "README")], "named: always tried"


def test_folders_without_images_say_what_they_have(here):
    touch("raw/a.xcf", "raw/b.xcf", "tree/sub/a.png", "my clips/a.mp4")
    Path("empty").mkdir()
    empty, raw, tree, clips = find_images(["empty", "raw", "tree", "my clips"])[1]
    kinds = "(images in folders end with .apng, .avif, .bmp, "
    assert empty.startswith(f"empty: no images in it; name another folder, or files {kinds}")
    assert raw.startswith(f"raw: no images in it but 2 other files (.xcf 2); name another folder, or files {kinds}")
    assert tree.startswith(f"tree: no images in it but 1 folder; add --recursive to look into it {kinds}")
    assert clips.startswith(f"my clips: no images in it but 1 other file (.mp4 1); `depth-normal video {quoted('my clips')}` takes videos")
    assert find_images(["raw"], recursive=True)[1][0].startswith("raw: no images in it but 2 other files (.xcf 2); name another")


def test_the_folder_of_the_results_is_no_source(here):
    touch("photos/a.png", "photos/maps/a_depth.png")
    assert found("photos", recursive=True, out="photos/maps") == [("photos/a.png", "a.png")]
    assert found("photos", recursive=True, out=here / "photos" / "maps") == [("photos/a.png", "a.png")], "however it is spelled"
    assert found("photos", recursive=True, out="photos/absent")[1][1] == os.path.join("maps", "a_depth.png")  # noqa: PTH118
    images, (problem,) = find_images(["photos"], out=here / "photos")
    assert images == [] and problem.startswith("photos is where the results go (--out), and the next run would take them for images;")
    assert found("photos/a.png", out="photos") == [("photos/a.png", "a.png")], "a file that is named is meant"


def test_an_image_that_is_named_twice_is_found_once(here):
    touch("photos/a.png", "photos/b.png", "photos/sub/c.png", "photos/notes.txt")
    both = [("photos/a.png", "a.png"), ("photos/b.png", "b.png")]
    assert found("photos/a.png", "photos", str(here / "photos" / "b.png"), "photos/*.png", "photos/") == both
    assert found("photos", "photos/notes.txt")[2:] == [("photos/notes.txt", "notes.txt")]
    assert found("photos/sub", "photos", recursive=True) == [("photos/sub/c.png", "c.png"), *both], "as it was named first"
    assert found("photos", "photos/sub", recursive=True) == [*both, ("photos/sub/c.png", "sub/c.png")]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(here):
    touch("photos/a.png", "elsewhere/b.png")
    for name, target in (("loop", "."), ("up", ".."), ("far", here / "elsewhere"), ("again", here / "elsewhere"), ("self.png", "self.png")):
        Path("photos", name).symlink_to(target)
    Path("photos", "gone.png").symlink_to("nowhere.png")
    Path("photos", "one.png").symlink_to("a.png")
    images, problems = find_images(["photos"], recursive=True)
    assert {str(each.path) for each in images} == {"photos/a.png", "photos/one.png", "photos/again/b.png"}
    assert sorted(problems) == ["photos/gone.png: the link leads nowhere", "photos/self.png: the link leads nowhere"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_pipes_and_sockets_are_never_waited_for(here):
    touch("photos/a.png")
    os.mkfifo("photos/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("photos/socket.jpg")
        assert found("photos") == [("photos/a.png", "a.png")]
        said = [f"photos/{name} is not a file" for name in ("pipe.png", "socket.jpg")]
        assert find_images(["photos/pipe.png", "photos/socket.jpg"]) == ([], said)


def test_a_folder_that_may_not_be_read_is_said_and_the_rest_goes_on(here, forbidden):
    touch("photos/a.png", "photos/locked/b.png", "photos/open/c.png")
    here.chmod(0o755)
    with forbidden(Path("photos/locked"), 0, os.R_OK):
        images, problems = find_images(["photos", "photos/locked"], recursive=True)
    assert [str(each.relative) for each in images] == ["a.png", "open/c.png"]
    assert problems == ["photos/locked: the folder cannot be read: Permission denied"] * 2


def test_no_file_of_a_folder_is_looked_at_by_itself(here):
    """There may be a million."""
    touch(*(f"photos/{number}.jpg" for number in range(50)))
    with mock.patch("os.stat", wraps=os.stat) as watched:
        images, _ = find_images(["photos"], recursive=True)
    assert len(images) == 50 and watched.call_count < 10


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_patterns_end_where_links_lead_in_circles_and_pass_over_the_results(here):
    touch("a.png", "trip/b.png", "trip/far/c.png", ".hidden/d.png", "maps/a_depth.png")
    for name in ("one", "two", "trip/three"):
        Path(name).symlink_to(here, target_is_directory=True)
    for pattern in ("**/*.png", "**", "**/**/*.png"):
        images, problems = find_images([f"{here}/{pattern}"], out=here / "maps")
        assert {each.path.name for each in images} == {"a.png", "b.png", "c.png"}, pattern
        assert all("where the results go" in each for each in problems)
