"""What is asked is checked before anything runs; the modules of the package use each other in one direction."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import inference
from depth_normal.model_loader.inference.stages import InferenceOptions, finish, finished_parts

FOLDER = Path(inference.__file__).parent


@pytest.mark.parametrize("fov", [-1.0, 180.0, float("nan")])
def test_a_field_of_view_out_of_range_is_refused_before_anything_runs(load, family, fov):
    model, images = load(), torch.rand(1, 3, 32, 64)
    for run in (model.estimate, model.estimates, model.estimate_scene, lambda frames, fov: model.estimate_video([frames], fov=fov)):
        with pytest.raises(ValueError, match=r"the field of view is .* degrees; expected between 0 and 180"):
            run(images, fov=fov)
    assert family.batches == []


def test_tiles_have_one_form_inside_and_others_are_refused():
    assert [InferenceOptions(tiles=tiles).tiles for tiles in (None, "3", "auto")] == [0, 3, "auto"]
    with pytest.raises(ValueError, match="tiles is 'many'; accepted: 'auto', 'off'"):
        InferenceOptions(tiles="many")


def test_normals_are_derived_before_the_depth_is_enlarged():
    sizes = []

    def derive(estimate):
        sizes.append((estimate.height, estimate.width))
        return with_normals(estimate)

    options = InferenceOptions(derive=derive)
    estimate = Estimate(torch.rand(1, 1, 16, 24) + 1, Quantity.DISPARITY)
    found = finish(estimate, options, 64, 96, "bilinear")
    assert sizes == [(16, 24)] and found.normals is not None and (found.height, found.width) == (64, 96)


def test_an_estimate_without_depth_is_resampled_where_others_are_refined():
    up = torch.zeros(1, 3, 16, 24)
    up[:, 2] = 1
    found = finish(Estimate(normals=up), InferenceOptions(refine=True), 64, 96, "bilinear", torch.rand(1, 3, 64, 96))
    assert found.depth is None and torch.equal(found.normals, torch.nn.functional.interpolate(up, (64, 96)))


def test_the_modules_use_each_other_in_one_direction():
    """`static_order` raises where there is a circle; imports for type checkers alone are seen too."""
    used = {}
    for path in FOLDER.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        used[path.stem] = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1}
    assert list(TopologicalSorter(used).static_order())[-1] in ("model", "__init__")
    assert not [name for name, others in used.items() if "model" in others], "sources and stages know nothing of the model"


def test_maps_that_do_not_fit_on_a_full_gpu_are_enlarged_on_the_cpu(caplog):
    class OnGpu(Estimate):
        device = torch.device("cuda:0")

        def to(self, device):
            return self if torch.device(device).type == "cuda" else Estimate(self.depth, self.quantity)

        def resized(self, *_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 70.00 MiB.")

    part = OnGpu(torch.ones(1, 1, 16, 24), Quantity.DISPARITY)
    (found,) = finished_parts([part], torch.rand(1, 3, 64, 96), InferenceOptions(), "bilinear")
    assert torch.equal(found.depth, torch.ones(1, 1, 64, 96))
    assert caplog.messages == ["the memory of cuda:0 is full: the maps are enlarged on the CPU"]
