"""The command line as people type it: what the words mean, and what is said of those that mean nothing. No model runs here."""

import argparse
import re
import subprocess
import sys

import pytest

from depth_normal.annotators.wording import NODES, wording
from depth_normal.app import arguments, cli, results
from depth_normal.app.arguments import NETWORK_OPTIONS
from depth_normal.app.parser import Parser

WRITERS = ("demo", "estimate", "video", "stereo", "relight", "mesh", "export", "refine")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working directory with photos, one of them named like a command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "other.jpg", "relight.png"):
        (tmp_path / name).touch()
    return tmp_path


def refused(words, capsys):
    """What is said of words that are refused by the parser."""
    with pytest.raises(SystemExit, match="2"):
        cli._parsed(words.split(" ") if isinstance(words, str) else words)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def every_parser():
    """All commands, those of `effect` and `texture` by their two words."""
    waiting = list(cli._parsers()[1].values())
    for parser in waiting:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return {parser.prog.removeprefix("depth-normal "): parser for parser in waiting}


@pytest.mark.parametrize(
    ("words", "images"),
    [
        ("photo.jpg", ["photo.jpg"]),
        ("photo.jpg --model tiny", ["photo.jpg"]),
        ("--model tiny photo.jpg", ["photo.jpg"]),
        ("photo.jpg other.jpg --model tiny --size 64", ["photo.jpg", "other.jpg"]),
        ("photo.jpg --model tiny other.jpg", ["photo.jpg", "other.jpg"]),
        ("estimate --model tiny photo.jpg", ["photo.jpg"]),
        ("photos --recursive --model tiny", ["photos"]),
        ("*.jpg --model tiny", ["*.jpg"]),
        ("@list.txt --model tiny", ["@list.txt"]),
        ("- --model tiny", ["-"]),
        ("--model tiny -", ["-"]),
        ("s3://photos/2024 --engine ray --model tiny", ["s3://photos/2024"]),
        ("--model tiny -- --odd-name.jpg", ["--odd-name.jpg"]),
    ],
)
def test_images_without_a_command_are_estimated(words, images, photos):
    parsed = cli._parsed(words.split())
    assert parsed.parser.prog == "depth-normal estimate" and parsed.pictures == images
    assert parsed.model == ("tiny" if "tiny" in words else None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("estmate photo.jpg", "'estmate' is neither a command nor a file here; did you mean estimate?"),
        ("xyzzy", "'xyzzy' is neither a command nor a file here; depth-normal --help lists the commands"),
        ("phto.jpg", "phto.jpg: there is no such file; did you mean photo.jpg?"),
        ("nowhere/photo.jpg", "nowhere/photo.jpg: there is no such file\n"),
        ("tiny photo.jpg", "'tiny' is a model; name an image before it: depth-normal photo.jpg --model tiny"),
        ([""], "the first word is empty"),
        ("--model tiny relight photo.jpg", "--model stands before the command; options follow it: depth-normal relight --model"),
        ("photo.jpg --light 1,2", "unrecognized arguments: --light 1,2; that is an option of relight\n"),
        ("video clip.mp4 depth.mp4", "depth.mp4 is one word too many; the name of the result follows -o"),
        ("photo.jpg -o depth.png", "depth.png is the name of a file, and this command may write several: name a folder, such as depth"),
        (["photo.jpg", "-o", ""], "the name is empty"),
        ("relight photo.jpg -o s3://maps/a.png", "only `estimate` writes to a store"),
        ("bench tiny --model midas-v2.1-small", "two models are named, tiny and midas-v2.1-small; this command takes one"),
        ("mesh photo.jpg --relief 6px", "'6px' is not a length; accepted: a number with mm, cm, m or in, such as 6mm"),
        ("texture pbr photo.jpg --relief 6mm", "'6mm' is not a number of pixels; accepted: a number, such as 6 or 6px"),
        ("effect mask photo.jpg --far deep", "'deep' is not a number"),
    ],
)
def test_words_that_mean_nothing_are_answered(words, said, photos, capsys):
    assert said in refused(words, capsys)


def test_a_file_named_like_a_command_is_meant_where_it_is_spelled_out(photos):
    assert cli._parsed(["relight.png"]).pictures == ["relight.png"]
    (photos / "relight").mkdir()
    assert cli._parsed(["relight", "photo.jpg"]).parser.prog == "depth-normal relight"
    assert cli._parsed(["./relight"]).pictures == ["./relight"]


def test_without_words_there_is_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([])
    said = capsys.readouterr().out
    places = [said.index(f"\n{title}:\n") for title in cli.GROUPS]
    assert places == sorted(places) and "depth-normal photo.jpg --model tiny" in said[: places[0]]
    for command in cli._parsers()[1]:
        assert f"\n  {command} " in said
    assert max(map(len, said.splitlines())) <= 100


TYPED = """
import sys
from depth_normal.app import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as stopped:
    print("code", stopped.code)
print("large:", *sorted({"torch", "numpy", "PIL", "cv2", "transformers", "tqdm"} & sys.modules.keys()))
"""


def test_words_are_answered_without_torch(tmp_path):
    for words, code in (([], 0), (["estmate"], 2), (["photo.jpgg"], 2), (["mesh", "--help-all"], 0)):
        run = subprocess.run([sys.executable, "-c", TYPED, *words], capture_output=True, text=True, cwd=tmp_path)
        assert run.stdout.splitlines()[-2:] == [f"code {code}", "large:"], run.stderr


@pytest.mark.parametrize("name", every_parser())
def test_the_help_shows_what_people_use_and_the_full_one_the_rest(name, capsys):
    parser = every_parser()[name]
    for option, everything in (("--help", False), ("--help-all", True)):
        with pytest.raises(SystemExit, match="0"):
            cli._parsed([*name.split(), option])
        said = capsys.readouterr().out
        listed = set(re.findall(r"--[\w-]+", " ".join(re.findall(r"^  (-.*?)(?:  |$)", said, re.M))))
        own = [action for action in parser._actions if action.option_strings]
        hidden = [action for action in own if parser.common and parser.common.isdisjoint(action.option_strings) and action.dest != "help"]
        hidden = [] if everything else hidden
        expected = {each for action in own if action not in hidden for each in action.option_strings if each.startswith("--")}
        assert listed | {"--help-all"} == expected | {"--help-all"} and len(own) - len(hidden) <= (100 if everything else 15)
        more = [int(number) for number in re.findall(r"^(\d+) more options: ", said, re.M)]
        assert more == ([len(hidden) - 1] if hidden else [])


def test_estimate_shows_twelve_options():
    parser = every_parser()["estimate"]
    assert len(parser.common) == 12 and {"--model", "--out", "--open", "--also", "--resume"} <= parser.common


def test_one_thing_has_one_name_in_every_command():
    parsers = every_parser()
    runs_a_model = {name for name in parsers if name.split()[0] in ("estimate", "stereo", "relight", "mesh") or name.startswith("effect ")}
    for name in (*runs_a_model, "texture pbr", "texture detail", "texture seamless"):
        assert {*NETWORK_OPTIONS, "--device"} <= parsers[name].options, name
    for name in ("video", "bench", "verify", "export", "download"):
        assert "--model" in parsers[name].options
    for name, parser in parsers.items():
        if name.split()[0] in WRITERS or " " in name:
            assert {"-o", "--out", "--open"} <= parser.options, name
            assert "depth-normal/" in _said_of(parser, "--out"), name
    assert {name for name, parser in parsers.items() if "--up" in parser.options} == {"estimate", "mesh"}
    assert {name for name, parser in parsers.items() if {"--sky", "--no-sky"} & parser.options} == {
        "effect",
        "effect fog",
        "relight",
        "mesh",
    }


def _said_of(parser: Parser, option):
    action = next(action for action in parser._actions if option in action.option_strings)
    return action.help % {"default": action.default}


@pytest.mark.parametrize("words", ["tiny", "--model tiny"])
def test_a_model_is_a_word_or_an_option(words):
    assert cli._parsed(["bench", *words.split()]).model == "tiny"
    assert cli._parsed(["export", *words.split(), "-o", "a.onnx"]).model == "tiny"
    assert cli._parsed(["download", *words.split(), "leres"]).models == ["tiny", "leres"]
    assert cli._parsed(["verify", *words.split(), "--json"]).models == ["tiny"]
    assert cli._parsed(["verify"]).models == [] and cli._parsed(["bench"]).model is None


@pytest.mark.parametrize("command", ["export", "download"])
def test_a_command_that_needs_a_model_says_so(command, capsys):
    assert cli.main([command]) == 2
    assert "no model is named; name one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"), [("6", 6), ("6mm", 6), ("0.8 cm", 8), ("1e1mm", 10), ("0.1m", 100), ("2IN", 50.8), ("-1mm", -1), (".5", 0.5)]
)
def test_lengths_have_units(text, value):
    assert arguments.millimetres(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "mm", "6 6", "six", "6mm2", "nan", "6 km", "1,5mm"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a length"):
        arguments.millimetres(text)


@pytest.mark.parametrize("text", ["", "6mm", "px", "nan"])
def test_what_is_no_number_of_pixels_is_refused(text):
    assert arguments.pixels("6px") == arguments.pixels("6 px") == arguments.pixels("6") == 6
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of pixels"):
        arguments.pixels(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("photo.jpg --divergence 3", "--divergence is for images for both eyes"),
        ("photo.jpg --shard-size 1GB", "--shard-size is for shards"),
        ("photo.jpg --workers 2", "--workers is for a Ray cluster"),
        ("photo.jpg --up z", "--up says how a PLY stands"),
        ("effect mask photo.jpg --tolerance 3", "--tolerance says how far"),
        ("effect cutout photo.jpg --point 0.5,0.5 --far 9", "--far says nothing beside --point"),
        ("effect depth-of-field photo.jpg --focal-length 50mm", "--focal-length is of a real lens"),
        ("effect depth-of-field photo.jpg --rotation 5", "--rotation turns the blades"),
        ("relight photo.jpg --coding directx", "--coding says how a --normal-map stores its vectors"),
        ("relight photo.jpg --geometry a.npz --tiles 3", "--tiles is for a model, and depth and normals come from a.npz"),
        ("mesh photo.jpg --normal-map n.png", "n.png has normals alone, and depth is needed"),
        ("mesh photo.jpg --width 80mm", "--width says nothing of a .glb; leave it out, or name another kind of file with -o"),
        ("texture detail photo.jpg --source photo --size 64", "--size says where normals come from, and --source photo takes none"),
        ("video photos --layout anaglyph", "--layout is for stereo, and --what names none"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(words, said, photos, capsys):
    assert cli.main(words.split()) == 2
    assert said in capsys.readouterr().err and not (photos / "depth-normal").exists()


def test_a_video_is_sent_to_its_command_before_a_model_is_loaded(photos, capsys):
    (photos / "my clip.mp4").touch()
    assert cli.main(["my clip.mp4"]) == 2
    assert "my clip.mp4 is a video; `depth-normal video 'my clip.mp4'` makes maps of it" in capsys.readouterr().err


def test_an_empty_name_is_not_the_working_directory(photos, capsys):
    assert cli.main(["estimate", "", "--model", "tiny"]) == 2
    assert "a name is empty" in capsys.readouterr().err and not (photos / "depth-normal").exists()


def test_messages_speak_of_options_while_a_command_runs(photos, capsys, monkeypatch):
    monkeypatch.setattr("depth_normal.app.compare.compare_files", lambda *_: pytest.fail(wording().choose("a", "b")))
    with pytest.raises(pytest.fail.Exception, match="choose --model a or --model b"):
        cli.main(["compare", "a.npz", "b.npz"])
    assert wording() is NODES and wording().choose("a", "b") == "choose the model 'a' or the model 'b'"


def test_the_places_of_results(photos):
    assert results.place("out/").is_folder and results.place("photos").is_folder and not results.place("out").is_folder
    assert results.place("out/").file("a.png").as_posix() == "out/a.png" and results.place("b.png").file("a.png").name == "b.png"


def test_help_is_a_command_too(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["help", "relight"])
    assert end.value.code == 0 and "depth-normal relight" in capsys.readouterr().out


def test_a_video_that_is_not_there_is_said_before_a_missing_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["video", "nothere.mp4", "--model", "tiny"]) == 2
    assert "nothere.mp4: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["photo.jpg", "tiny"], ["estimate", "photo.jpg", "--size", "64", "tiny"], ["effect", "fog", "photo.jpg", "tiny"]]
)
def test_a_model_without_its_option_is_no_image(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2 and "'tiny' is a model; name it behind --model: --model tiny" in capsys.readouterr().err
