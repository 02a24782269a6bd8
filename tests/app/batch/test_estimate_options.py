"""Options of `estimate` that change its maps: what they do, what a run records of them, and that `--resume` goes by that."""

import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

from depth_normal import estimate_folder, load_model
from depth_normal.annotators.base import _log_once, log_used_size
from depth_normal.annotators.moge import REFINED
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.records import RECORDS, read_record
from depth_normal.app.bench.timing import Bench
from depth_normal.app.cli import _parsed, main
from depth_normal.app.commands.arguments import chosen_model
from depth_normal.app.video.run import model_settings
from depth_normal.app.video.task import video_task
from depth_normal.geometry.files import load_estimate
from depth_normal.geometry.kinds import Projection
from depth_normal.model_loader.weights.integrity import BUNDLED_FOLDER
from depth_normal.options.estimate import REFINE_STEPS
from depth_normal.options.video import ClipOptions

SMALL = ("--model", "tiny", "--size", "32", "--write", "npz")
MOGE_3 = runpy.run_path(str(Path(__file__).resolve().parents[2] / "annotators" / "test_moge_3.py"))


@pytest.fixture(autouse=True)
def nothing_said_before():
    _log_once.cache_clear()


@pytest.fixture
def image(tmp_path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8))
    return tmp_path / "in" / "a.png"


def run(image, out, *words):
    """The depth that a run has written, the settings that it recorded, and when it wrote."""
    out = image.parents[1] / out
    assert main(["estimate", str(image), "--out", str(out), *words]) == 0
    record = read_record(out / RECORDS / "a.json")
    assert record is not None
    return np.load(out / "a.npz")["depth"], record["settings"], (out / "a.npz").stat().st_mtime_ns


@pytest.mark.slow("takes a second")
def test_tiles_are_those_of_the_model_and_an_option_of_the_run(image):
    _, settings, first = run(image, "out", *SMALL)
    assert not {"tiles", "refine"} & set(settings) and run(image, "out", *SMALL, "--resume")[2] == first
    found, settings, second = run(image, "out", *SMALL, "--resume", "--tiles", "2")
    assert settings["tiles"] == 2 and second != first
    expected = load_model("tiny").estimate(cv2.imread(str(image))[None, ..., ::-1].copy(), 32, tiles=2)
    np.testing.assert_allclose(found, expected.depth[0, 0], atol=1e-2, rtol=1e-4)
    assert run(image, "out", *SMALL, "--resume", "--tiles", "2")[2] == second
    assert run(image, "out", *SMALL, "--resume", "--tiles", "auto")[1]["tiles"] == "auto"
    plain, refined = (run(image, "out", *SMALL, "--resume", word) for word in ("--no-refine", "--refine"))
    assert (plain[1].get("refine"), refined[1].get("refine")) == (False, True) and not np.array_equal(plain[0], refined[0])


def test_a_folder_from_python_in_tiles(image):
    ((_, found),) = estimate_folder(image, model="tiny", size=32, tiles=2)
    ((_, whole),) = estimate_folder(image, model="tiny", size=32, tiles="off")
    assert found.depth.shape == whole.depth.shape and not np.array_equal(found.depth, whole.depth)
    with pytest.raises(ValueError, match="tiles is 'some'; accepted"):
        estimate_folder(image, model="tiny", tiles="some")


def test_python_says_once_which_size_it_uses(image, monkeypatch, caplog):
    monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], largest_size=64))
    for size in (4000, 4000, 64):
        load_model("tiny").estimate(cv2.imread(str(image))[None], size)
    for size in (512, 1536):
        log_used_size(MODELS["depth-pro"], size)
    said = [f"{words} in place of" for words in ("tiny runs at size 64, its largest,", "depth-pro runs at size 1536, its only one,")]
    assert caplog.messages == [f"{said[0]} 4000", f"{said[1]} 512"]


@pytest.mark.parametrize("spec", [each for each in MODELS.values() if each.family != "leres-boost"], ids=lambda spec: spec.id)
def test_no_network_stays_below_the_size_that_is_recorded(spec):
    """Where another family has a bound, its entry must say so."""
    annotator = object.__new__(FAMILIES[spec.family])
    annotator.spec = spec
    bound = spec.used_size(4000)
    if spec.smallest_size == spec.largest_size:
        assert spec.used_size(64) == bound and annotator.network_size(480, 640, 64) == (bound, bound)
        return
    below, at, above = (np.prod(annotator.network_size(480, 640, size)) for size in (bound - 64, bound, 8000))
    assert below < at and (at == above) == (spec.largest_size is not None)


@pytest.mark.parametrize("model", ["tiny", "moge-2-vits-normal", "depth-anything-v2-small", "moge-3-vitl"])
def test_what_is_typed_at_its_default_is_recorded_as_if_it_was_not(model):
    spec = MODELS[model]
    unset = Options(spec)
    typed = replace(unset, size=spec.default_size, refine_steps=REFINE_STEPS if spec in REFINED else None)
    assert typed.settings(()) == unset.settings(())
    assert replace(unset, size=spec.used_size(spec.default_size // 2)).settings(()) != unset.settings(())


@pytest.fixture
def third(tmp_path, monkeypatch):
    """A MoGe-3 of few channels in the table, and the words that choose it."""
    spec = MOGE_3["spec"]()
    monkeypatch.setitem(MODELS, spec.id, spec)
    monkeypatch.setattr("depth_normal.app.batch.options.REFINED", (spec,))
    state = {name: value.contiguous() for name, value in MOGE_3["published"](spec.config).items()}
    save_file(state, tmp_path / "moge_3.safetensors")
    return "--model", spec.id, "--weights", str(tmp_path / "moge_3.safetensors"), "--device", "cpu"


@pytest.mark.slow("takes a second")
def test_steps_of_refinement_change_the_depth_and_are_recorded(third, image):
    plain, settings, _ = run(image, "default", *third, "--write", "npz")
    assert "refine_steps" not in settings, "runs from before there were steps can be resumed"
    none, settings, _ = run(image, "none", *third, "--write", "npz", "--refine-steps", "0")
    assert settings["refine_steps"] == 0 and not np.allclose(none, plain)
    ((_, in_python),) = estimate_folder(image, model=third[1], weights=third[3], device="cpu", refine_steps=0)
    assert np.array_equal(in_python.depth[0, 0], none)
    image.rename(image.with_name("f_1.png"))
    for name, steps in (("none", "0"), ("some", "3")):
        read, written = (str(image.with_name(f"{each}_%d.png")) for each in ("f", name))
        assert main(["video", read, "-o", written, *third, "--refine-steps", steps]) == 0
    assert image.with_name("none_1.png").read_bytes() != image.with_name("some_1.png").read_bytes()
    task = video_task(image.with_name("f_%d.png"), image.with_name, ClipOptions())
    recorded = [model_settings(Options(MODELS[third[1]], refine_steps=steps), task).get("refine_steps") for steps in (None, 3, 0)]
    assert recorded == [None, None, 0]


@pytest.mark.slow("takes most of a second")
def test_maps_and_numbers_of_a_panorama_are_written_and_resumed(image, capsys):
    pytest.importorskip("OpenEXR")
    words, out = ("--model", "tiny", "--panorama", "--also", "npz,exr"), image.parents[1] / "out"
    _, settings, before = run(image, "out", *words)
    assert "the depth in .npz, .exr is distance along each ray up to an unknown scale, larger is farther" in capsys.readouterr().err
    assert {each.name for each in out.glob("a*")} == {"a_depth.png", "a_normals.png", "a.npz", "a.exr"} and settings["panorama"] is True
    for name in ("a.npz", "a.exr"):
        found = load_estimate(out / name)
        assert found.projection is Projection.EQUIRECTANGULAR and (found.height, found.width) == (48, 96)
    assert run(image, "out", *words, "--resume")[2] == before
    _, settings, _ = run(image, "out", "--model", "tiny", "--write", "npz", "--resume")
    assert load_estimate(out / "a.npz").projection is Projection.PERSPECTIVE, "other options: made again"
    assert not {"panorama", "any_aspect"} & settings.keys(), "records from before there were panoramas stay good"
    cv2.imwrite(str(image), cv2.imread(str(image))[:, :64])
    assert run(image, "photo", *words, "--any-aspect")[1]["any_aspect"] is True


@pytest.fixture
def own(tmp_path):
    """The pack's own weights under another name; the commands' default is another model."""
    return shutil.copy(BUNDLED_FOLDER / "tiny.safetensors", tmp_path / "own.bin")


def test_weights_alone_say_which_model_they_are_of(image, own, caplog):
    caplog.set_level("INFO")
    found, settings, written = run(image, "out", "--weights", str(own), "--write", "npz")
    assert f"{own} is recognised as tiny" in caplog.text
    assert settings["model"] == "tiny" and settings["weights"]["name"] == "own.bin"
    for more in ((), ("--model", "tiny")):
        assert run(image, "out", "--weights", str(own), "--write", "npz", "--resume", *more)[2] == written, "it was done before"
    # weights of one's own run without the head for edges, which fits the published ones
    assert np.array_equal(found, run(image, "named", "--model", "tiny", "--no-refine", "--write", "npz")[0])


@pytest.mark.slow("takes a second")
def test_stereo_videos_and_python_take_the_file_alone(image, own, tmp_path):
    assert main(["stereo", str(image), "-o", str(tmp_path / "out"), "--weights", str(own)]) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a_LRF_Full_SBS.png"]
    ((path, found),) = estimate_folder(image, tmp_path / "python", weights=own)
    assert path == image and found.normals is not None
    assert read_record(tmp_path / "python" / RECORDS / "a.json")["settings"]["model"] == "tiny"
    pytest.importorskip("av", reason="videos are read by PyAV")
    assert main(["video", str(image.parent), "-o", str(tmp_path / "depth_%d.png"), "--weights", str(own), "--size", "64"]) == 0
    assert (tmp_path / "depth_1.png").is_file()


def test_bench_speaks_of_the_model_that_the_file_is_of(own, monkeypatch):
    asked = []
    measured = "depth_normal.app.bench.timing.measure"
    monkeypatch.setattr(measured, lambda options, *_: asked.append((options.spec.id, options.weights)) or Bench({}, {}, {}))
    assert main(["bench", "--json", "--weights", str(own)]) == 0 and main(["bench", "--json"]) == 0
    assert asked[0] == ("tiny", own) and asked[1][0] in MODELS and asked[1][1] is None


@pytest.mark.parametrize("words", ["estimate a.png -o x", "stereo a.png -o x", "video a.mp4", "bench"])
def test_a_model_that_is_named_counts_more_than_a_file_and_neither_is_the_default(words):
    assert chosen_model(_parsed([*words.split(), "--model", "zoedepth-nyu", "--weights", "absent.pth"])) == "zoedepth-nyu"
    default = _parsed(words.split())
    expected = "video-depth-anything-small" if words.startswith("video") else "moge-2-vits-normal"
    assert chosen_model(default) == default.default_model == expected
