"""`depth-normal verify`: sound models pass; what is broken on purpose, file or network, is found."""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from depth_normal.annotators.registry import MATERIAL_MODELS, MODELS, find_spec
from depth_normal.annotators.specs.base import WeightFile
from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.app import cli
from depth_normal.app.verify import verification
from depth_normal.app.verify.coffee_scene import photograph
from depth_normal.app.verify.figures import STORED, figures_of, read_figures
from depth_normal.app.verify.sanity_checks import Grade, evaluate_albedo
from depth_normal.model_loader import load_model
from depth_normal.model_loader.weights.integrity import BUNDLED_FOLDER, sha256_of

TINY = BUNDLED_FOLDER / "tiny.safetensors"


INFER = TinyAnnotator.infer


@pytest.fixture(scope="module", autouse=True)
def inferred_once():
    """What the network gives is computed once for equal pixels, weights and entries."""
    known = {}

    def infer(self, request):
        sums = (each.double().sum().item() for each in (request.images, *self.network.parameters()))
        key = (self.spec.axes, self.dtype, request.images.shape, *sums)
        if key not in known:
            known[key] = INFER(self, request)
        return replace(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyAnnotator, "infer", infer)
        yield


def check(model="tiny", stored=None, **how):
    return verification.check(find_spec(model), stored or {}, "cpu", **how)


def wrong(found):
    return {finding.name for finding in found.findings if finding.grade}


def grades(found):
    return {finding.name: finding.grade.name.lower() for finding in found.findings}


# --- what the network gives ---


def test_tiny_is_sound():
    stored = read_figures(STORED)
    found = check(stored=stored)
    assert found.verdict == "sound" and stored.keys() <= MODELS.keys()
    assert grades(found) == dict.fromkeys(("near/far", "likeness", "axes", "frame", "figures"), "sound")
    assert found.keys_ok and found.files[0].origin == "bundled" and found.files[0].size_ok and found.files[0].sha_ok
    assert found.runs["dtype"] == "float32" and 0 < found.runs["seconds"] < 600
    assert found.figures is None, "there are some"


@pytest.fixture
def broken(monkeypatch):
    """Changes what the network gives."""
    run = TinyAnnotator.infer
    return lambda change: monkeypatch.setattr(TinyAnnotator, "infer", lambda self, request: change(run(self, request)))


def x_flipped(found):
    return replace(found, normals=found.normals * torch.tensor((-1.0, 1.0, 1.0)).view(1, 3, 1, 1))


def test_numbers_that_are_not_finite_are_wrong(broken):
    broken(lambda found: replace(found, depth=found.depth * torch.nan, normals=found.normals * torch.nan))
    found = check()
    assert found.verdict == "wrong" and "not finite" in found.findings[0].words


def test_a_map_that_the_entry_does_not_promise_is_wrong(monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", replace(MODELS["tiny"], axes=None))
    assert "gives" in wrong(check())


@pytest.mark.slow("builds a diffusion model")
def test_a_random_network_of_materials_runs_and_its_albedo_is_wrong(monkeypatch, tmp_path):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    diffusion = runpy.run_path(str(Path(__file__).parents[2] / "tiny_diffusion.py"))
    (model,) = MATERIAL_MODELS
    spec = diffusion["shrunk"](replace(MATERIAL_MODELS[model], default_size=96))
    spec = replace(spec, files=tuple(replace(file, sha256=None, size=None) for file in spec.files))
    monkeypatch.setitem(MATERIAL_MODELS, model, spec)
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    diffusion["write_files"](spec, tmp_path)
    found = verification.check(spec, {}, "cpu")
    assert found.keys_ok and found.runs and found.problem is None and found.figures is None
    assert grades(found)["likeness"] in ("doubtful", "wrong")


def test_an_albedo_is_judged_by_its_likeness_to_the_photograph():
    image = verification.photograph()
    brighter = (image * 0.7 + 0.2).clamp(0, 1)
    assert evaluate_albedo(brighter, image).grade is Grade.SOUND
    assert evaluate_albedo(1 - image, image).grade is Grade.WRONG
    assert evaluate_albedo(torch.full_like(image, 0.5), image).words == "the albedo is the same everywhere"
    assert evaluate_albedo(torch.rand_like(image), image).grade is not Grade.SOUND


# --- files ---


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Where the file of a model, "small", is looked for, which is nowhere yet; published is tiny's, on a server."""
    for name in ("DEPTH_NORMAL_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    (tmp_path / "DEPTH_NORMAL_HOME").mkdir()
    file = WeightFile("small.safetensors", url="http://127.0.0.1:9/small.safetensors", sha256=sha256_of(TINY), size=TINY.stat().st_size)
    monkeypatch.setitem(MODELS, "small", replace(MODELS["tiny"], id="small", files=(file,)))
    return tmp_path / "DEPTH_NORMAL_HOME" / file.name


@pytest.fixture
def changed(small, monkeypatch):
    """The file, there in another writing, and what changes what is known of it."""
    save_file(load_file(TINY), small, metadata={"by": "another"})
    return lambda **known: monkeypatch.setitem(MODELS, "small", replace(MODELS["small"], files=(replace(MODELS["small"].file, **known),)))


def one_off(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("change", "verdict", "size_ok"), [(bytes, "sound", True), (lambda data: data[:-1000], "wrong", False), (one_off, "wrong", True)]
)
def test_a_file_that_is_here_is_looked_at(change, verdict, size_ok, small):
    """Whole, cut short, which is not run, and with one other number, of which the answer is as good as ever."""
    small.write_bytes(change(TINY.read_bytes()))
    found = check("small")
    (file,) = found.files
    assert (found.verdict, file.origin, file.path, file.size_ok) == (verdict, "here", small, size_ok)
    assert file.sha_ok is (verdict == "sound") if size_ok else (found.runs is None and "cut short" in file.problems[0])
    assert not wrong(found)


@pytest.mark.slow("takes most of a second")
def test_a_siblings_file_is_named_by_its_owner(small, changed, monkeypatch):
    sibling = WeightFile("sibling.safetensors", url="http://127.0.0.1:9/sibling", sha256=sha256_of(small), size=small.stat().st_size)
    monkeypatch.setitem(MODELS, "sibling", replace(MODELS["tiny"], id="sibling", files=(sibling,)))
    assert "it is the published file of sibling" in check("small").files[0].problems
    assert check("small", weights=small).verdict == "wrong"


@pytest.mark.slow("takes most of a second")
def test_a_file_of_another_network_has_wrong_keys(small, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    found = check("small", weights=tmp_path / "other.safetensors")
    assert found.keys_ok is False and found.verdict == "wrong" and "missing" in found.problem


def test_what_is_not_known_of_a_file_is_neither_right_nor_wrong(small, changed):
    changed(sha256=None, size=None)
    found = check("small")
    assert found.verdict == "sound" and (found.files[0].size_ok, found.files[0].sha_ok) == (None, None)
    assert found.files[0].sha256 == sha256_of(small), "for the table of models"


@pytest.mark.slow("takes most of a second")
def test_a_known_conversion_is_recognised_and_another_is_not_judged(small, changed):
    for copies, sha_ok in (((sha256_of(small),), True), (("1" * 64,), None)):
        changed(filename="model.safetensors", sha256="0" * 64, size=5, aliases=(small.name,), copies=copies)
        found = check("small")
        assert found.verdict == "sound" and (found.files[0].size_ok, found.files[0].sha_ok) == (None, sha_ok)


def test_what_is_missing_is_downloaded(small, monkeypatch):
    monkeypatch.setattr(verification, "find_or_download", lambda *_: Path(shutil.copy(TINY, small)))
    found = check("small")
    assert found.verdict == "sound" and found.files[0].origin == "downloaded"


# --- the command ---


def test_the_table_can_be_pasted(capsys):
    assert cli.main(["verify", "tiny", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 and len({len(row) for row in rows}) == 1 and "sound" in rows[2] and "cpu, float32" in rows[2]
    assert any(line.startswith("  - near/far: 12 of 12") for line in lines) and torch.__version__ in lines[-1]


@pytest.mark.slow("takes most of a second")
def test_files_whose_published_sha256_is_not_known_are_named(small, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = "sha256 of these files is not known"
    cli.main(["verify", "small", "tiny", "--device", "cpu"])
    assert said not in capsys.readouterr().out
    monkeypatch.setitem(MODELS, "small", replace(MODELS["small"], files=(replace(MODELS["small"].file, sha256=None),)))
    cli.main(["verify", "small", "tiny", "--device", "cpu"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if said in line)
    assert line.endswith(": small/small.safetensors"), "also where it could not be downloaded, and not the bundled one"


@pytest.mark.slow("takes most of a second")
def test_json_holds_the_same_and_the_figures_that_nobody_has(small, capsys):
    shutil.copy(TINY, small)
    assert cli.main(["verify", "small", "tiny", "--json", "--device", "cpu"]) == 0
    mine, tiny = json.loads(capsys.readouterr().out)
    assert (mine["verdict"], tiny["verdict"]) == ("sound", "sound")
    assert mine["files"][0]["sha256"] == sha256_of(TINY) and mine["findings"]["near/far"]["grade"] == "sound"
    found = {name: figures_of(load_model(name, device="cpu").estimate(photograph()), "")["depth"] for name in ("small", "tiny")}
    assert mine["figures"]["depth"] == found["small"] and tiny["figures"] is None
    assert read_figures(STORED)["tiny"]["depth"] == found["tiny"], "what is stored is what it gives"


def test_without_a_model_those_that_are_here_are_checked(small, capsys):
    assert cli.main(["verify", "--json", "--device", "cpu"]) == 0
    assert "tiny" in (here := [each["model"] for each in json.loads(capsys.readouterr().out)]) and "small" not in here


def test_what_cannot_be_downloaded_is_not_checked(small, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli.main(["verify", "small", "--device", "cpu"]) == 2
    assert "**not checked**" in capsys.readouterr().out
    assert cli.main(["verify", "small", "tiny", "--device", "cpu"]) == 1


@pytest.mark.slow("takes most of a second")
def test_all_says_first_how_much_is_to_be_downloaded(monkeypatch, caplog, small, capsys):
    monkeypatch.setattr("depth_normal.annotators.registry.MATERIAL_MODELS", {})
    monkeypatch.setattr("depth_normal.annotators.registry.MODELS", {model: MODELS[model] for model in ("tiny", "small")})
    said = []
    monkeypatch.setattr(verification, "find_or_download", lambda *_: said.append(caplog.text) or Path(shutil.copy(TINY, small)))
    with caplog.at_level("INFO"):
        assert cli.main(["verify", "--all", "--device", "cpu"]) == 0
    assert "1 file is not on this computer: 7 MB to download" in said[0]
    assert capsys.readouterr().out.count("| sound") == 2


@pytest.mark.slow("takes most of a second")
def test_figures_are_stored_of_sound_models_that_have_none(small, tmp_path, capsys):
    shutil.copy(TINY, small)
    path = tmp_path / "mine.json"
    words = ["verify", "small", "tiny", "--record", "--figures", str(path), "--device", "cpu"]
    assert cli.main(words) == 0 and list(json.loads(path.read_text())) == ["small"]
    before = path.read_bytes()
    capsys.readouterr()
    assert cli.main(words) == 0 and path.read_bytes() == before
    assert "none stored" not in capsys.readouterr().out


@pytest.mark.slow("takes most of a second")
def test_where_figures_cannot_be_stored_the_rest_is_done(small, tmp_path, capsys, caplog):
    shutil.copy(TINY, small)
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "mine.json"
    assert cli.main(["verify", "small", "tiny", "--record", "--figures", str(path), "--device", "cpu"]) == 0
    assert "--figures FILE" in caplog.text and capsys.readouterr().out.count("| sound") == 2


def test_a_wrong_model_leaves_no_figures(small, tmp_path, broken):
    shutil.copy(TINY, small)
    broken(x_flipped)
    assert cli.main(["verify", "small", "--record", "--figures", str(tmp_path / "mine.json"), "--device", "cpu"]) == 1
    assert not (tmp_path / "mine.json").exists()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_the_home_folder_is_not_told(small, capsys, monkeypatch, json):
    monkeypatch.setattr(Path, "home", lambda: small.parent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cli.main(["verify", "small", "--device", "cpu", *json])
    out = capsys.readouterr().out
    assert "looked in: ~" in out and str(small.parent) not in out
    shutil.copy(TINY, small)
    cli.main(["verify", "small", "--device", "cpu", *json])
    out = capsys.readouterr().out
    assert "~/small.safetensors" in out and str(small.parent) not in out


def test_a_file_says_by_its_tensors_which_model_is_checked(tmp_path, capsys):
    path = Path(shutil.copy(TINY, tmp_path / "mine.safetensors"))
    assert cli.main(["verify", "--weights", str(path), "--device", "cpu", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["model"] == "tiny" and found["files"][0]["origin"] == "given"


@pytest.mark.parametrize("stored", [True, False])
def test_an_answer_of_which_nothing_counts_is_wrong(stored, broken):
    broken(lambda found: replace(found, mask=torch.zeros_like(found.depth, dtype=torch.bool)))
    found = check(stored=read_figures(STORED) if stored else {})
    assert found.verdict == "wrong" and found.problem is None and found.figures is None
    (finding,) = found.findings
    assert "not one pixel of its depth and normals is valid" in finding.words


def test_damaged_figures_leave_the_other_checks():
    stored = {"tiny": {**read_figures(STORED)["tiny"], "quantiles": "x"}}
    found = check(stored=stored)
    assert found.verdict == "doubtful" and wrong(found) == {"figures"} and len(found.findings) == 5
    assert "record them anew" in found.findings[-1].words
