"""What is asked is checked before anything runs; a batch gives the same estimate whichever parts the memory made of it."""

from dataclasses import replace

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.inference.stages import InferenceOptions, finish, finished_parts
from depth_normal.options.video import VideoOptions


@pytest.mark.parametrize("fov", [-1.0, 180.0, float("nan")])
def test_a_field_of_view_out_of_range_is_refused_before_anything_runs(load, family, fov):
    model, images = load(), torch.rand(1, 3, 32, 64)
    for run in (model.estimate, model.estimates, model.estimate_scene, lambda frames, fov: model.estimate_video([frames], fov=fov)):
        with pytest.raises(ValueError, match=r"the field of view is .* degrees; expected between 0 and 180"):
            run(images, fov=fov)
    assert family.batches == []


@pytest.mark.parametrize("wrong", [{"size": True}, {"size": -1}, {"size": "big"}, {"size": 200.5}, {"fov": "60"}, {"fov": True}], ids=str)
def test_sizes_and_fields_of_view_of_another_type_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is {value!r}; accepted: "):
        InferenceOptions(**wrong)


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


# --- a batch in parts ---


DARK = 0.2


def images():
    """Five images; the second and the fourth have a dark spot."""
    found = 0.3 + 0.7 * torch.rand(5, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    found[1, :, 4:12, 8:20] = found[3, :, 20:28, 40:60] = 0.1
    return found


def without_the_dark(estimate: Estimate) -> Estimate:
    """Adds normals, and masks what is far; parts without any get no mask, as `with_normals` does it."""
    near = estimate.depth > 1 + DARK
    return replace(with_normals(estimate), mask=None if bool(near.all()) else near)


@pytest.fixture
def estimated(load, family, monkeypatch):
    """The estimate of the images, in batches of at most so many."""

    def estimated(at_once, **settings):
        each = 32 * 64 * (family.bytes_per_pixel + 64)
        monkeypatch.setattr(devices, "available_memory", lambda _device: at_once * each + 1)
        return load().estimate(images(), 32, derive=without_the_dark, **settings)

    return estimated


def assert_same(found: Estimate, expected: Estimate):
    assert found.maps.keys() == expected.maps.keys()
    for name, value in expected.maps.items():
        torch.testing.assert_close(found.maps[name], value)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("settings", [{}, {"tiles": 2}, {"refine": True}, {"tiles": 2, "refine": True}], ids=str)
def test_masks_of_some_images_do_not_depend_on_the_size_of_batches(estimated, settings):
    whole = estimated(5, **settings)
    assert [bool(each.all()) for each in whole.mask] == [True, False, True, False, True]
    for at_once in (1, 2, 3, 4):
        assert_same(estimated(at_once, **settings), whole)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("sizes", [[5], [1, 1, 1, 1, 1], [2, 3], [1, 3, 1], [4, 1]], ids=str)
def test_frames_are_joined_alike_however_the_video_was_cut(load, sizes):
    parts = load().estimate_video(images().split(sizes), VideoOptions("none", smooth=0), size=32, derive=without_the_dark)
    whole = Estimate.cat(parts, 5)
    assert [bool(each.all()) for each in whole.mask] == [True, False, True, False, True]
    assert_same(whole, load().estimate(images(), 32, derive=without_the_dark))
