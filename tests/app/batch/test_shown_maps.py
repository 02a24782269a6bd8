"""Of an estimate, what files show is kept."""

from types import SimpleNamespace

import pytest
import torch

from depth_normal.app.batch.options import Options
from depth_normal.app.batch.per_image import estimate
from depth_normal.geometry.estimate import Estimate, Quantity

DEPTH = {"depth": torch.rand(1, 1, 5, 7), "quantity": Quantity.DISPARITY, "confidence": torch.rand(1, 1, 5, 7)}
NORMALS = {"normals": torch.rand(1, 3, 5, 7), "mask": torch.ones(1, 1, 5, 7, dtype=torch.bool)}


@pytest.mark.parametrize(
    ("writes", "predicted", "kept"),
    [
        (("depth",), {**DEPTH, **NORMALS}, {"depth", "mask"}),
        (("depth",), DEPTH, {"depth"}),
        (("full-sbs", "vr180-holes"), {**DEPTH, **NORMALS}, {"depth", "mask"}),
        (("normals",), {**DEPTH, **NORMALS}, {"normals", "mask"}),
        (("normals",), DEPTH, {"normals"}),
        (("normals", "anaglyph"), DEPTH, {"depth", "normals"}),
        (("depth", "exr"), DEPTH, {"depth", "normals", "confidence"}),
        (("parquet",), DEPTH, {"depth", "normals", "confidence"}),
        (("depth", "normals"), NORMALS, {"normals", "mask"}),
        ((), {**DEPTH, **NORMALS}, {"depth", "normals", "mask", "confidence"}),
    ],
)
@pytest.mark.parametrize("refine", [False, True])
def test_maps_that_no_file_shows_are_left_out(writes, predicted, kept, refine):
    model = SimpleNamespace(estimate=lambda images, size, *, derive, **_: derive(Estimate(**predicted)))
    assert set(estimate(model, torch.rand(1, 3, 5, 7), Options(refine=refine), writes).maps) == kept
