"""The command line as people type it: what the words mean, and what is said of those that mean nothing. No model runs here."""

import argparse
import functools
import re
import subprocess
import sys
from types import ModuleType

import pytest
from PIL import Image

from depth_normal.annotators.choices import PYTHON, wording
from depth_normal.app import cli, outcomes
from depth_normal.app.commands import result_paths
from depth_normal.app.commands.arguments import NETWORK_OPTIONS
from depth_normal.app.commands.estimate import checked_options
from depth_normal.app.console import option_types
from depth_normal.app.console.parser import Parser

WRITERS = ("demo", "estimate", "video", "stereo", "relight", "mesh", "export", "refine")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working directory with photos, one of them named like a command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "other.jpg", "relight.png", "-x.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def refused(words, capsys):
    """What is said of words that are refused by the parser."""
    with pytest.raises(SystemExit, match="2"):
        cli._parsed(words.split(" ") if isinstance(words, str) else words)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


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
        ("--model tiny -- -x.jpg", ["-x.jpg"]),
        ("nope.jpg photo.jpg --model tiny", ["nope.jpg", "photo.jpg"]),
        ("nope.jpg --model tiny neither.png", ["nope.jpg", "neither.png"]),
    ],
)
def test_images_without_a_command_are_estimated(words, images, photos):
    parsed = cli._parsed(words.split())
    assert parsed.parser.prog == "depth-normal estimate" and parsed.images == images
    assert parsed.model == ("tiny" if "tiny" in words else None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("estmate photo.jpg", "'estmate' is neither a command nor a file here; did you mean estimate?"),
        ("xyzzy", "'xyzzy' is neither a command nor a file here; depth-normal --help lists the commands"),
        ("phto.jpg", "phto.jpg: there is no such file; did you mean photo.jpg?"),
        ("nofile.jpg", "nofile.jpg: there is no such file\n"),
        ("photo.jpeg", "photo.jpeg: there is no such file; did you mean photo.jpg?"),
        ("photo", "'photo' is neither a command nor a file here; did you mean photo.jpg?"),
        ("fog photo.jpg", "'fog' is neither a command nor a file here; did you mean effect fog?"),
        ("depth_of_field photo.jpg", "did you mean effect depth-of-field?"),
        ("effect depth_of_field photo.jpg", "; did you mean depth-of-field?"),
        ("effect xyzzy photo.jpg", "'depth-of-field')\n"),
        ("effect photo.jpg", "; the command stands before the file, as in: depth-normal effect cutout photo.jpg\n"),
        (["texture", "a wall.jpg", "--model", "tiny"], "as in: depth-normal texture pbr 'a wall.jpg'\n"),
        ("normals photo.jpg", "'normals' is no command; without one, depth and normals are written: depth-normal photo.jpg"),
        ("moge2", "for a model, name an image before it: depth-normal photo.jpg --model moge-2-vits-normal"),
        ("nowhere/photo.jpg", "nowhere/photo.jpg: there is no such file\n"),
        ("tiny photo.jpg", "'tiny' is a model; name an image before it: depth-normal photo.jpg --model tiny"),
        ([""], "the first word is empty"),
        ("--model tiny relight photo.jpg", "--model stands before the command; options follow it: depth-normal relight --model"),
        ("photo.jpg --light 1,2", "unrecognized arguments: --light 1,2; that is an option of relight\n"),
        ("mesh photo.jpg photo.glb", "photo.glb is one word too many; the name of the result follows -o"),
        ("texture pbr photo.jpg -o a.png", "a.png is the name of a file, and this command may write several: name a folder, such as a"),
        (["photo.jpg", "-o", ""], "the name is empty"),
        ("relight photo.jpg -o s3://maps/a.png", "only `estimate` writes to a store"),
        ("bench tiny --model midas-v2.1-small", "two models are named, tiny and midas-v2.1-small; this command takes one"),
        ("mesh photo.jpg --relief 6px", "'6px' is not a length; accepted: a number with mm, cm, m or in, such as 6mm"),
        ("texture pbr photo.jpg --relief 6mm", "'6mm' is not a number of pixels; accepted: a number, such as 6 or 6px"),
        ("effect mask photo.jpg --far deep", "'deep' is not a number"),
        ("effect mask photo.jpg --far 35%", "'35%' is not a number; percent are written without %: 35\n"),
        ("effect fog photo.jpg --density 3%", "'3%' is not a number\n"),
        ("effect mask photo.jpg --point 0.5 0.4", "'0.5' is not x,y: 2 numbers with commas between"),
        ("photo.jpg --sensor 24mm", "unrecognized arguments: --sensor 24mm; that is an option of effect depth-of-field\n"),
        ("photo.jpg --shape 9", "that is an option of texture detail, texture pbr\n"),
        ("-x.jpg --model tiny", "-x.jpg begins with a dash and so is taken for an option; a file of this name is typed ./-x.jpg"),
        ("mesh -x.jpg", "-x.jpg begins with a dash"),
        ("relight photo.jpg -o -lit.png", "expected one argument (one that begins with a dash is typed --out=-...)"),
        ("refine photo.jpg --geometry a.npz --radius 6mm", "'6mm' is not a number of pixels; accepted: a number, such as 6 or 6px"),
        ("refine photo.jpg --geometry a.npz --radius 1.5", "'1.5' is not a whole number of pixels"),
    ],
)
def test_words_that_mean_nothing_are_answered(words, said, photos, capsys):
    assert said in refused(words, capsys)


@pytest.mark.parametrize("command", ["effect fog", "stereo", "relight", "mesh", "video", "estimate other.jpg"])
def test_a_mistyped_file_is_answered_with_the_one_that_is_meant(command, photos, capsys):
    assert cli.main([*command.split(" "), "phto.jpg", "--model", "tiny"]) != 0
    assert "phto.jpg: there is no such file; did you mean photo.jpg?" in capsys.readouterr().err


def test_a_mistyped_file_of_maps_is_answered_too(photos, capsys):
    (photos / "maps.npz").touch()
    assert cli.main(["refine", "photo.jpg", "--geometry", "map.npz"]) == 2
    assert capsys.readouterr().err == "depth-normal: photo.jpg: the file is empty\n"
    Image.new("RGB", (8, 8)).save("photo.jpg")
    assert cli.main(["refine", "photo.jpg", "--geometry", "map.npz"]) == 2
    assert capsys.readouterr().err == "depth-normal: map.npz: there is no such file; did you mean maps.npz?\n"
    assert cli.main(["effect", "fog", "photo.jpg", "--depth", "map.npz"]) == 2
    assert "did you mean maps.npz?" in capsys.readouterr().err


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


TYPED = """
import sys
from depth_normal.app import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as stopped:
    print("code", stopped.code)
print("large:", *sorted({"torch", "numpy", "PIL", "cv2", "transformers", "tqdm"} & sys.modules.keys()))
"""


@pytest.mark.slow("takes most of a second")
def test_words_are_answered_without_torch(tmp_path):
    for words, code in (([], 0), (["estmate"], 2), (["photo.jpgg"], 2), (["mesh", "--help-all"], 0)):
        run = subprocess.run([sys.executable, "-c", TYPED, *words], capture_output=True, text=True, cwd=tmp_path)
        assert run.stdout.splitlines()[-2:] == [f"code {code}", "large:"], run.stderr


@pytest.mark.parametrize("name", [name for name, parser in every_parser().items() if "--overwrite" in parser._option_string_actions])
def test_the_help_of_overwrite_says_the_rule(name):
    """That of `overwriting.reasons_not_to_replace`, which tests/app/commands/test_result_paths.py holds the commands to."""
    (action,) = (each for each in every_parser()[name]._actions if "--overwrite" in each.option_strings)
    of = {"video": "video", "export": "model", "view": "file", "convert": "file"}.get(name, "image")
    own = "none is replaced" if name == "compare" else f"only an unchanged result of the same {of} is replaced"
    assert action.help.startswith(f"overwrite existing files, never inputs; without it, {own}")
    if name == "convert":  # its result is a word, not an option
        return
    (out,) = (each for each in every_parser()[name]._actions if "--out" in each.option_strings)
    takes_a_file = out.type is not result_paths.folder and name != "compare"
    assert ("of the same command and kind where -o names the file" in action.help) is takes_a_file
    assert out.metavar == ("FOLDER" if out.type is result_paths.folder else "PATH")


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


def test_an_option_that_a_command_has_not_is_no_unchanged_one():
    parser = every_parser()["estimate"]
    arguments = cli._parsed(["estimate", "a.png", "--fov", "50"])
    assert parser.is_changed(arguments, "--fov") and not parser.is_changed(arguments, "--size")
    with pytest.raises(KeyError, match="--fvo"):
        parser.is_changed(arguments, "--fvo")


def test_estimate_shows_thirteen_options():
    parser = every_parser()["estimate"]
    assert len(parser.common) == 13 and {"--model", "--out", "--open", "--also", "--resume"} <= parser.common


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


@pytest.mark.parametrize("command", ["export", "download"])
def test_a_command_that_needs_a_model_says_so(command, capsys):
    assert cli.main([command]) == 2
    assert "no model is named; name one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"), [("6", 6), ("6mm", 6), ("0.8 cm", 8), ("1e1mm", 10), ("0.1m", 100), ("2IN", 50.8), ("-1mm", -1), (".5", 0.5)]
)
def test_lengths_have_units(text, value):
    assert option_types.millimetres(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "mm", "6 6", "six", "6mm2", "nan", "6 km", "1,5mm"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a length"):
        option_types.millimetres(text)


@pytest.mark.parametrize("text", ["", "6mm", "px", "nan"])
def test_what_is_no_number_of_pixels_is_refused(text):
    assert option_types.pixels("6px") == option_types.pixels("6 px") == option_types.pixels("6") == 6
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of pixels"):
        option_types.pixels(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("photo.jpg --divergence 3", "--divergence is for images for both eyes"),
        ("photo.jpg --shard-size 1GB", "--shard-size is for shards"),
        ("photo.jpg --workers 2", "--workers is for a Ray cluster"),
        ("photo.jpg --up z", "--up is for a PLY"),
        ("effect mask photo.jpg --tolerance 3", "--tolerance says how far"),
        ("effect mask photo.jpg --select object", "--select says what --point selects"),
        ("effect mask photo.jpg --box 0,0,0.5,1 --point 0.6,0.5", "the point (0.6, 0.5) of the object is outside the box"),
        ("effect mask photo.jpg --box 0,0,0.5,1 --point 0.5,0.5 --not-point 0.5,0.5", "is both in the object and not in it"),
        ("effect mask photo.jpg --not-point 0.5,0.5", "--not-point is beside the object at --point"),
        ("effect mask photo.jpg --point 0.5,0.5 --not-point 0.1,0.1", "--not-point removes parts of an object; add --select object"),
        ("effect mask photo.jpg --point 0.5,0.5 --point 0.5,1.2", "the point is at (0.5, 1.2)"),
        ("effect mask photo.jpg --box 0,0,0.5,1 --far 9", "--far has no effect on the object in a --box"),
        ("effect mask photo.jpg --point 0.5,0.5 --select object --unit metres", "--unit has no effect on a whole object"),
        ("effect mask photo.jpg --box 0,0,0.5,2", "the box is from (0, 0) to (0.5, 2)"),
        ("effect cutout photo.jpg --point 0.5,0.5 --far 9", "--far has no effect beside --point"),
        ("effect depth-of-field photo.jpg --focal-length 50mm", "--focal-length is of a real lens"),
        ("effect depth-of-field photo.jpg --rotation 5", "--rotation turns the blades"),
        ("relight photo.jpg --coding directx", "--coding says how a --normal-map stores its vectors"),
        ("relight photo.jpg --geometry a.npz --tiles 3", "--tiles is for a model, and depth and normals come from a.npz"),
        ("mesh photo.jpg --normal-map n.png", "n.png has normals alone, and depth is needed"),
        ("mesh photo.jpg --width 80mm", "--width has no effect on a .glb; leave it out, or name another kind of file with -o"),
        ("texture detail photo.jpg --source photo --size 64", "--size says where normals come from, and --source photo takes none"),
        ("video photos --layout anaglyph", "--layout is for stereo, and --what names none"),
        ("photo.jpg --write depth --near-far-ratio 9 --model tiny", "--near-far-ratio is for normals and meshes, and depth is neither"),
        ("photo.jpg --write depth,anaglyph --fov 60 --model tiny", "--fov is for normals, meshes and metres, and tiny gives depth without"),
        ("texture detail photo.jpg --source normals --relief 2 --model tiny", "--relief says how high the photo's contrast is"),
        ("texture pbr photo.jpg --margin 0.5 --model tiny", "--margin says how far a model sees beyond the borders"),
        ("texture pbr photo.jpg --source photo --margin 0.5", "--margin says where normals come from, and --source photo takes none"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(words, said, photos, capsys):
    assert cli.main(words.split()) == 2
    assert said in capsys.readouterr().err and not (photos / "depth-normal").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stereo clip.mp4", "clip.mp4 is a video; `depth-normal video clip.mp4 --what stereo` makes images for both eyes of it"),
        ("stereo clip.mp4 --layout anaglyph", "`depth-normal video clip.mp4 --what stereo --layout anaglyph`"),
        ("effect fog clip.mp4", "clip.mp4 is a video, and this command takes images; `depth-normal video clip.mp4` makes depth"),
        ("relight clip.mp4", "with --what normals, stereo or parallax these"),
        ("mesh clip.mp4", "with --what normals, stereo or parallax these"),
    ],
)
def test_a_video_is_sent_to_the_command_that_makes_the_same_of_videos(words, said, photos, capsys):
    (photos / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    assert cli.main([*words.split(), "--model", "tiny"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["my clip.MP4"], ["estimate", "my clip.MP4", "--out", "maps"]])
def test_a_video_is_sent_to_its_command_before_a_model_is_loaded(words, photos, capsys):
    (photos / "my clip.MP4").touch()
    assert cli.main(words) == 2
    assert "my clip.MP4 is a video; `depth-normal video 'my clip.MP4'` makes maps of it" in capsys.readouterr().err


def test_an_empty_name_is_not_the_working_directory(photos, capsys):
    assert cli.main(["estimate", "", "--model", "tiny"]) == 2
    assert "a name is empty" in capsys.readouterr().err and not (photos / "depth-normal").exists()


def test_messages_speak_of_options_while_a_command_runs(photos, capsys, monkeypatch):
    monkeypatch.setattr("depth_normal.app.differences.read_both", lambda *_: pytest.fail(wording().choose("a", "b")))
    with pytest.raises(pytest.fail.Exception, match="choose --model a or --model b"):
        cli.main(["compare", "a.npz", "b.npz"])
    assert wording() is PYTHON


def test_messages_speak_of_widgets_within_comfyui_and_of_arguments_outside(monkeypatch):
    assert wording().choose("a", "b") == 'choose load_model("a") or load_model("b")'
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("comfy.model_management"))
    assert wording().choose("a", "b") == "choose the model 'a' or the model 'b'"


def test_the_places_of_results(photos):
    assert result_paths.place("out/").is_folder and result_paths.place("photos").is_folder and not result_paths.place("out").is_folder
    assert result_paths.place("out/").file("a.png").as_posix() == "out/a.png" and result_paths.place("b.png").file("a.png").name == "b.png"


def test_a_video_that_is_not_there_is_said_before_a_missing_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["video", "nothere.mp4", "--model", "tiny"]) == 2
    assert "nothere.mp4: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["photo.jpg", "tiny"], ["estimate", "photo.jpg", "--size", "64", "tiny"], ["effect", "fog", "photo.jpg", "tiny"]]
)
def test_a_model_without_its_option_is_no_image(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2 and "'tiny' is a model; name it behind --model: --model tiny" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mesh photo.jpg -o a.stl --width -1mm", "--width is -1.0; accepted: 1 to 10000"),
        ("mesh photo.jpg --max-jump -1", "--max-jump is -1.0; accepted: 0 to 1"),
        ("effect cutout photo.jpg --edge 400", "--edge is 400.0"),
        ("effect fog photo.jpg --height-falloff -1", "--height-falloff is -1.0; accepted: 0 and above"),
        ("effect depth-of-field photo.jpg --f-number -1", "--f-number is -1.0"),
        ("effect mask photo.jpg photos --feather -1", "--feather is -1.0"),
        ("relight photo.jpg --light 0,91", "--light: the elevation is 91.0; accepted: -90 to 90"),
        ("relight photo.jpg --light-size -1", "--light-size is -1.0; accepted: 0 and above"),
        ("relight photo.jpg --shadows 2", "--shadows is 2.0; accepted: 0 to 1"),
        ("texture pbr photo.jpg --shape 0.5", "--shape is 0.5"),
        ("texture pbr photo.jpg --radius 0.5", "--radius is 0.5"),
        ("stereo photo.jpg --divergence 99", "--divergence is 99.0"),
    ],
)
def test_a_number_out_of_range_is_named_by_its_option(words, said, photos, capsys):
    assert cli.main([*words.split(), "--model", "tiny"]) == 2
    assert f"depth-normal: {said}" in capsys.readouterr().err and not (photos / "depth-normal").exists()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_is_not_wider_than_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, parser in {"": cli._parser(), **every_parser()}.items():
        long = [line for line in parser.format_help(everything=True).splitlines() if len(line) > min(columns, 100)]
        assert not [line for line in long if len(line.split()) > 1 and str(outcomes.DOCS) not in line], name


def test_a_missing_image_among_several_is_named_and_the_rest_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((48, 32), 60).convert("RGB").save("photo.jpg")
    assert cli.main(["nope.jpg", "photo.jpg", "--model", "tiny", "--size", "32"]) == 1
    assert "nope.jpg: there is no such file" in capsys.readouterr().err
    assert (tmp_path / "depth-normal" / "photo_depth.png").exists()


@pytest.mark.parametrize(
    ("words", "more"),
    [("mesh photo.png --geometry photo.png", ": name it behind --depth (near = white)"), ("compare photo.png photo.png", "")],
)
def test_an_image_given_as_geometry_is_sent_to_its_option(words, more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((48, 32), 60).save("photo.png")
    assert cli.main(words.split()) == 2
    said = capsys.readouterr().err
    assert f"use it as a depth image or a normal map instead, or save the geometry as EXR or NPZ{more}" in said
