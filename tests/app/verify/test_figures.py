"""Stored figures: the same answer passes, another does not, and the file is safe to edit by hand."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from depth_normal.app.verify import figures
from depth_normal.app.verify.coffee_scene import photograph
from depth_normal.app.verify.sanity_checks import Grade
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader import load_model


@pytest.fixture(scope="module")
def right() -> Estimate:
    return load_model("tiny", device="cpu").estimate(photograph())


@pytest.fixture(scope="module")
def wrong() -> dict[str, Estimate]:
    """The same of the photograph as a wrong preprocessing would hand it over."""
    model, image = load_model("tiny", device="cpu"), photograph()
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = {"BGR": image.flip(1), "normalised twice": (image - mean) / std, "never": image * std + mean}
    return {name: model.estimate(each.clamp(0, 1)) for name, each in images.items()}


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_the_same_answer(dtype, request):
    if dtype == "bfloat16":
        request.getfixturevalue("torchs_own_bfloat16")
    stored = figures.read_figures(figures.STORED)["tiny"]
    found = load_model("tiny", device="cpu", dtype=dtype).estimate(photograph())
    assert figures.compare_figures(found, stored).grade is Grade.SOUND


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("name", ["BGR", "normalised twice", "never"])
def test_a_wrong_preprocessing_is_seen(right, wrong, name):
    found = figures.compare_figures(wrong[name], figures.figures_of(right, ""))
    assert found.grade is not Grade.SOUND and "correlation 0.9" in found.words


def test_another_kind_of_answer_is_wrong(right):
    entry = figures.figures_of(right, "")
    for other in (Estimate(normals=right.normals), Estimate(depth=right.depth, quantity=Quantity.DISPARITY)):
        assert figures.compare_figures(other, entry).grade is Grade.WRONG
    metric = Estimate(depth=right.depth - right.depth.min() + 1, quantity=Quantity.METRIC_DEPTH, normals=right.normals)
    assert figures.compare_figures(metric, entry).grade is Grade.WRONG


def test_holes_and_a_constant_map_have_figures():
    depth = torch.ones(1, 1, 64, 96)
    depth[..., :9, :9] = torch.inf
    estimate = Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH)
    entry = json.loads(json.dumps(figures.figures_of(estimate, ""), allow_nan=False))
    assert entry["range"] == [1.0, 1.0]
    assert figures.compare_figures(estimate, entry).grade is Grade.SOUND
    other = Estimate(depth=1 + torch.rand(1, 1, 64, 96), quantity=Quantity.METRIC_DEPTH)
    assert figures.compare_figures(other, entry).grade is Grade.WRONG


def test_writing_adds_to_what_is_there(tmp_path):
    path = tmp_path / "mine.json"
    figures.write_figures(path, {"a": {"of": "1"}})
    figures.write_figures(path, {"b": {"of": "2"}})
    assert figures.read_figures(path) == {"a": {"of": "1"}, "b": {"of": "2"}} == figures.read_figures(tmp_path / "none.json", path)


def test_of_several_who_write_at_once_no_entry_is_lost(tmp_path, monkeypatch):
    read = figures.read_figures
    monkeypatch.setattr(figures, "read_figures", lambda *paths: (read(*paths), time.sleep(0.01))[0])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: figures.write_figures(tmp_path / "mine.json", {name: {"of": name}}), "abcdefgh"))
    assert "".join(read(tmp_path / "mine.json")) == "abcdefgh"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"tiny": 3}'])
def test_a_file_that_holds_no_figures_is_named(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json"):
        figures.read_figures(tmp_path / "bad.json")


def test_damaged_figures_are_told(right):
    entry = figures.figures_of(right, "")
    for damage in ({"depth": "AAAA"}, {"normals": "not base64!"}, {"quantiles": "x"}, {"grid": [1]}):
        with pytest.raises(ValueError, match="record them anew"):
            figures.compare_figures(right, {**entry, **damage})
