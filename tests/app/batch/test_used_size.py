"""A size larger than any that a network runs at: the run says what is used, once, and records that."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from depth_normal import load_model
from depth_normal.annotators.checks import _log_once, log_used_size
from depth_normal.annotators.moge import REFINED
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.records import read_record
from depth_normal.app.cli import main
from depth_normal.options.estimate import REFINE_STEPS

SAID = "tiny runs at size 256, its largest, in place of 4000"


@pytest.fixture(autouse=True)
def nothing_said_before():
    _log_once.cache_clear()


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8))
    return tmp_path / "in"


@pytest.mark.slow("takes most of a second")
def test_a_run_says_once_which_size_it_uses_and_records_it(photos, tmp_path, capsys, caplog):
    command = ["estimate", str(photos), "--out", str(tmp_path / "out"), "--model", "tiny", "--size"]
    assert main([*command, "4000"]) == 0
    assert caplog.text.count(SAID) == 1
    caplog.clear()
    record = read_record(tmp_path / "out" / ".depth-normal" / "a.json")
    assert record is not None and record["settings"]["size"] == 256
    assert main([*command, "256", "--resume"]) == 0
    assert "3 skipped" in capsys.readouterr().err and "largest" not in caplog.text


@pytest.mark.slow("takes most of a second")
def test_python_says_it_too(caplog):
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    model = load_model("tiny", device="cpu")
    found, largest = (model.estimate(image, size) for size in (4000, 256))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [SAID]
    assert found.depth is not None and largest.depth is not None and torch.equal(found.depth, largest.depth)


def test_a_network_of_one_size_says_which(caplog):
    log_used_size(MODELS["depth-pro"], 512)
    log_used_size(MODELS["depth-pro"], 1536)
    assert caplog.messages == ["depth-pro runs at size 1536, its only one, in place of 512"]


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
