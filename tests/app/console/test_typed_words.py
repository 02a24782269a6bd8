"""The command line as people type it: what the words mean, and what is said of those that mean nothing. No model runs here."""

import functools
import re
import sys
from types import ModuleType

import pytest

from depth_normal.annotators.choices import PYTHON, wording
from depth_normal.app import cli, outcomes
from depth_normal.app.commands.arguments import NETWORK_OPTIONS
from depth_normal.app.commands.estimate import checked_options
from depth_normal.app.console.parser import Parser

WRITERS = ("demo", "estimate", "video", "stereo", "relight", "mesh", "export", "refine")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "other.jpg", "relight.png", "-x.jpg"):
        (tmp_path / name).touch()
    return tmp_path


@functools.cache
def every_parser():
    """All commands, those of `effect` and `texture` by their two words."""
    waiting = list(cli._parser().commands.values())
    for parser in waiting:
        waiting += parser.commands.values()
    return {parser.prog.removeprefix("depth-normal "): parser for parser in waiting}


@pytest.mark.parametrize(
    ("words", "images"),
    [
        ("photo.jpg", ["photo.jpg"]),
        ("--model tiny photo.jpg", ["photo.jpg"]),
        ("photo.jpg other.jpg --model tiny --size 64", ["photo.jpg", "other.jpg"]),
        ("photo.jpg --model tiny other.jpg", ["photo.jpg", "other.jpg"]),
        ("photos --recursive --model tiny", ["photos"]),
        ("*.jpg --model tiny", ["*.jpg"]),
        ("@list.txt --model tiny", ["@list.txt"]),
        ("- --model tiny", ["-"]),
        ("s3://photos/2024 --engine ray --model tiny", ["s3://photos/2024"]),
        ("--model tiny -- --odd-name.jpg", ["--odd-name.jpg"]),
        ("nope.jpg photo.jpg --model tiny", ["nope.jpg", "photo.jpg"]),
    ],
)
def test_images_without_a_command_are_estimated(words, images, photos):
    parsed = cli._parsed(words.split())
    assert parsed.parser.prog == "depth-normal estimate" and parsed.images == images
    assert parsed.model == ("tiny" if "tiny" in words else None)


def test_a_file_named_like_a_command_is_meant_where_it_is_spelled_out(photos):
    assert cli._parsed(["relight.png"]).images == ["relight.png"]
    (photos / "relight").mkdir()
    assert cli._parsed(["relight", "photo.jpg"]).parser.prog == "depth-normal relight"
    assert cli._parsed(["./relight"]).images == ["./relight"]


def test_without_words_there_is_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([])
    said = capsys.readouterr().out
    places = [said.index(f"\n{title}:\n") for title in cli.GROUPS]
    assert places == sorted(places) and "depth-normal photo.jpg --model tiny" in said[: places[0]]
    for command in cli._parser().commands:
        assert f"\n  {command} " in said
    assert max(map(len, said.splitlines())) <= 100


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
        assert listed | {"--help-all"} == expected | {"--help-all"} and len(own) - len(hidden) <= (100 if everything else 1 + 15), (
            "one of them is -h"
        )
        more = [int(number) for number in re.findall(r"^(\d+) more options: ", said, re.M)]
        assert more == ([len(hidden) - 1] if hidden else [])


def test_the_help_shows_how_to_go_on():
    for name, parser in every_parser().items():
        assert not parser.common or "--resume" not in parser.options or "--resume" in parser.common, name


def test_one_thing_has_one_name_in_every_command():
    parsers = every_parser()
    runs_a_model = {
        name for name in parsers if name.split()[0] in ("estimate", "stereo", "parallax", "relight", "mesh") or name.startswith("effect ")
    }
    for name in (*runs_a_model, "texture pbr", "texture detail", "texture seamless"):
        assert {*NETWORK_OPTIONS, "--device"} <= parsers[name].options, name
    for name in ("video", "bench", "verify", "export", "download"):
        assert "--model" in parsers[name].options
    for name, parser in parsers.items():
        if name.split()[0] in WRITERS or " " in name:
            assert {"-o", "--out", "--open"} <= parser.options, name
            assert "depth-normal/" in _said_of(parser, "--out"), name
    assert {name for name, parser in parsers.items() if "--up" in parser.options} == {"estimate", "mesh", "convert"}
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


def test_messages_speak_of_options_while_a_command_runs(monkeypatch):
    monkeypatch.setattr("depth_normal.app.differences.read_both", lambda *_: pytest.fail(wording().choose("a", "b")))
    with pytest.raises(pytest.fail.Exception, match="choose --model a or --model b"):
        cli.main(["compare", "a.npz", "b.npz"])
    assert wording() is PYTHON


def test_messages_speak_of_widgets_within_comfyui_and_of_arguments_outside(monkeypatch):
    assert wording().choose("a", "b") == 'choose load_model("a") or load_model("b")'
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("comfy.model_management"))
    assert wording().choose("a", "b") == "choose the model 'a' or the model 'b'"


def test_a_video_that_is_not_there_is_said_before_a_missing_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["video", "nothere.mp4", "--model", "tiny"]) == 2
    assert "nothere.mp4: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    ["photo.jpg --write depth --fov 60", "photo.jpg --write depth,npz --fov 60 --near-far-ratio 9 --model tiny", "photo.jpg --fov 60"],
)
def test_an_option_that_changes_something_is_taken(words, photos):
    checked_options(cli._parsed(words.split()))


def test_an_option_that_is_given_again_adds_to_what_was_given(photos):
    words = ["photo.jpg", "--write", "depth", "--write", "npz,depth", "--also", "glb"]
    assert checked_options(cli._parsed(words)).writes == ("depth", "npz", "glb")
    assert cli._parsed(["video", "photos", "--what", "depth", "--what", "normals,stereo"]).what == ["depth", "normals", "stereo"]
    assert cli._parsed(["bench", "tiny", "--runtime", "onnx", "--runtime", "compile"]).runtime == [("onnx",), ("compile",)]


def test_values_may_be_negative(photos):
    assert cli._parsed(["relight", "photo.jpg", "--light", "-30,10"]).lamps[0]["azimuth"] == -30
    assert cli._parsed(["mesh", "photo.jpg", "--width", "-1mm"]).width == -1
    assert cli._parsed(["effect", "mask", "photo.jpg", "--near", "-.5"]).near == -0.5
    assert cli._parsed(["refine", "photo.jpg", "--geometry", "a.npz", "--radius", "6px"]).radius == 6


def test_help_is_not_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for name, parser in {"": cli._parser(), **every_parser()}.items():
        lines = parser.format_help(everything=True).splitlines()
        long = [line for line in lines if len(line) > 60 and len(line.split()) > 1]
        assert not [line for line in long if str(outcomes.DOCS) not in line], name
        assert not [line for line in lines if re.search(r"\w-$", line)], f"{name}: a path or an option is broken at its hyphen"
