"""What each way asks of a GPU, counted on a modelled one: no more launches, waits and copies than its budget in benchmarks/gpu_model.py."""

import importlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from depth_normal.annotators.detail import guided_upsample
from depth_normal.geometry.assumptions import filled_depth
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.edges.depth_edges import colour_fit, sharpen_known_depth
from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.effects.lights import Light
from depth_normal.geometry.effects.shadows import cast_shadows
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, save_estimate
from depth_normal.geometry.filters.box import box_means
from depth_normal.geometry.filters.chosen_pixels import pixels_where
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear
from depth_normal.geometry.levels import measure_range, measure_range_of_samples
from depth_normal.geometry.panorama.merge import affine_to_distances
from depth_normal.geometry.regions.objects import foreground_object
from depth_normal.geometry.sphere import view_rotations
from depth_normal.geometry.surfaces.upsampling import Line, smoothings
from depth_normal.geometry.temporal.camera_motion import camera_motion
from depth_normal.utils import resize_map, unit_vectors

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("da2", "leres", "bae-normal")
QUARTER = (
    *("depth-anything-small", "depth-anything-v2-metric-indoor-small", "midas-v2.1-small"),
    *("video-depth-anything-metric-small", "zipdepth-base", "depth-anything-v2-small"),
)
"""At a quarter of their sizes they ask the same; the others' narrow networks are small, or ask otherwise."""
OF_THE_BUDGETS_SIZE_ALONE = {
    "relight, sun (node)",
    "relight, low sun (node)",
    "relight, candle (node)",
    "relight, three lamps (node)",
    "parallax, a frame of 8",
    "cut-out, by distance (node)",
}
"""Effects that take long are counted once, in the slow test of all of them."""


with pytest.MonkeyPatch.context() as _patch:
    _patch.syspath_prepend(str(ROOT / "benchmarks"))
    gpu_model = importlib.import_module("gpu_model")
    families = gpu_model.families


@pytest.fixture(scope="module")
def gpu():
    return gpu_model.Gpu()


@pytest.fixture(scope="module")
def rows(gpu):
    return gpu_model.effect_rows(gpu, 72, 128)


NETWORKS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow("takes a second")) for name in gpu_model.NETWORKS]


@contextmanager
def small(name):
    """Makes a model small; gives the height and width of its image."""
    with families.narrow([name]):
        spec, quarter = families.MODELS[name], 4 if name in QUARTER else 1
        size = spec.default_size // quarter // spec.multiple_of * spec.multiple_of
        with patch.dict(families.MODELS, {name: replace(spec, default_size=size)}):
            yield 480 // quarter, 640 // quarter


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_asks_no_more_of_a_gpu_than_its_budget(name, gpu):
    with small(name) as size:
        gpu_model.count_network(name, gpu, *size)
    assert not gpu.exceeds(gpu_model.NETWORKS[name])


@pytest.mark.slow("aligns six frames")
@pytest.mark.parametrize("name", gpu_model.VIDEOS)
def test_a_frame_of_a_video_asks_no_more_of_a_gpu_than_its_budget(name, gpu):
    with small(name) as size:
        gpu_model.count_video(name, gpu, *size)
    assert not gpu.exceeds(gpu_model.VIDEOS[name], gpu_model.FRAMES)


def exceeds(gpu, count, name):
    """What an effect asks too much, without Triton and with it. Whatever is made once, and kept, does not count."""
    all_over = []
    for gpu.kernels, budgets in ((False, gpu_model.EAGER), (True, gpu_model.EFFECTS)):
        over = ["not counted"] * (name in budgets)
        for _ in range(2):
            if over:
                count(times=1)
                over = gpu.exceeds(budgets[name], gpu_model.images_of(name))
        all_over += over
    return all_over


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", [name for name in gpu_model.EFFECTS if name not in OF_THE_BUDGETS_SIZE_ALONE])
def test_an_effect_asks_no_more_of_a_gpu_than_its_budget(name, gpu, rows):
    assert not exceeds(gpu, rows[name], name)


@pytest.mark.slow("all effects at the size of the budgets")
def test_effects_keep_their_budgets_at_the_size_that_these_are_for(gpu):
    made = gpu_model.effect_rows(gpu, 270, 480)
    assert gpu_model.EFFECTS.keys() == made.keys() - {gpu_model.effects.UNIT}
    over = {name: exceeds(gpu, made[name], name) for name in gpu_model.EFFECTS}
    assert not any(over.values()), over


def test_a_stretched_map_that_is_not_finite_is_refused_on_a_gpu(gpu):
    with families.narrow(["leres"]), gpu_model.pack_on(gpu), torch.no_grad():
        model = families.load("leres", "float32")
        for parameter in model.annotator.network.parameters():
            parameter.fill_(torch.nan)
        with pytest.raises(ArithmeticError, match="gave depth that is not finite"):
            model.estimate(torch.rand(1, 3, 48, 64))


def test_every_family_has_a_budget():
    named = {families.MODELS[name].family for name in gpu_model.NETWORKS}
    assert named == {spec.family for spec in families.MODELS.values() if not families.is_diffusion(spec)}, (
        "NETWORKS in benchmarks/gpu_model.py"
    )


def test_it_counts_launches_waits_and_copies(gpu):
    with gpu:
        gpu.reset()
        values = torch.ones(3, 4).to(gpu_model.DEVICE)
        values = (values[:2] + 1).mul_(2)
        assert gpu.outside == 2 and gpu.copies == 1 and not gpu.waits
        assert values.sum().item() == 32 and gpu.waits == 1
        assert values.cpu().tolist() == [[4] * 4] * 2 and gpu.copies == 2 and gpu.waits == 2
        with pytest.raises(RuntimeError, match="same device"):
            values + torch.ones(4)
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())(values)
        assert gpu.network == 2 and gpu.launches == 5
    assert gpu.exceeds(gpu_model.Budget(2, 2, 2)) and not gpu.exceeds(gpu_model.Budget(3, 2, 2))


def test_an_estimate_comes_from_a_gpu_as_it_is_in_one_copy(gpu):
    known = Estimate(torch.rand(2, 1, 5, 7), Quantity.METRIC_DEPTH, normals=torch.rand(2, 3, 5, 7), mask=torch.rand(2, 1, 5, 7) > 0.5)
    with gpu:
        there = replace(known, **{name: gpu.put(value) for name, value in known.maps.items()})
        gpu.reset()
        back = there.to("cpu")
    assert gpu.copies == gpu.waits == 1
    assert all(torch.equal(value, back.maps[name]) for name, value in known.maps.items())


CAMERA = torch.tensor(((50.0, 0.0, 30.0), (0.0, 50.0, 20.0), (0.0, 0.0, 1.0)))[None]
LAMPS = (Light((0.5, 0.2, 0.3), size=0.2), Light((0.1, 0.2, 0.3), is_point=True, size=0.1), Light((-1.0, 0.0, 0.2)))
LINES = (Line((1, 4, 6, 4, 1), 2), Line((1, 2, 1)))
VECTORS = torch.cat((torch.randn(1, 3, 4, 6), torch.tensor((0.0, 1e-30, 1e30, torch.inf, torch.nan, 1)).expand(1, 3, 2, 6)), 2)


def no_sky(disparity):
    return Estimate(disparity, Quantity.DISPARITY, mask=disparity > -1)


def where_bright(maps):
    places, pixels = pixels_where(maps.transpose(0, 1) > 0.9)
    return torch.stack((places, *pixels)).float()


BOTH_WAYS = {
    "resize_map, smaller": lambda maps: resize_map(maps, 17, 23),
    "resize_map, larger": lambda maps: resize_map(maps, 47, 91),
    "unit_normals": lambda maps: unit_normals(VECTORS.to(maps)),
    "unit_vectors": lambda maps: unit_vectors(maps),
    "pixels_where": where_bright,
    "guided_upsample": lambda maps: guided_upsample(maps[..., ::2, ::2], maps[:, :1], 2, 0.01),
    "camera_motion": lambda maps: camera_motion(maps, maps.roll(1, 3)),
    "srgb": lambda maps: torch.cat((srgb_to_linear(maps - 0.1), linear_to_srgb(maps - 0.1))).clamp(min=0),
    "colour_fit": lambda maps: colour_fit(maps, maps[:, :1], maps[:, 1:2] + 0.1, 3),
    "sharpen_known_depth": lambda maps: sharpen_known_depth(1 + box_means(maps[:, :1].round(), 2), 3),
    "smoothings": lambda maps: torch.cat([each(maps) for each in smoothings(maps[:, :1] / 9 + 1, LINES)]),
    "cast_shadows": lambda maps: cast_shadows(maps[:, :1] / 9 + 1, CAMERA.to(maps), LAMPS, doubt=CAMERA[:, :1, :1, None].sign().to(maps)),
    "filled_depth, no sky": lambda maps: filled_depth(no_sky(torch.cat((maps[:, :1, :4] / 99, maps[:, :1] + 0.5), 2))),
    "measure_range": lambda maps: torch.cat(measure_range(maps[:, :1], maps[:, 1:2] > 0.6, (5.0, 95.0))),
    "measure_range_of_samples": lambda maps: torch.cat(measure_range_of_samples(maps[:, :1], None, (5.0, 95.0))),
}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_the_way_of_a_gpu_gives_what_that_of_a_cpu_does(name, gpu):
    maps = torch.rand(1, 3, 41, 60)
    with gpu:
        found = BOTH_WAYS[name](gpu.put(maps)).cpu()
    torch.testing.assert_close(found, BOTH_WAYS[name](maps), rtol=1e-4, atol=1e-5)


def test_refining_on_a_gpu_refuses_what_is_no_camera(gpu):
    with gpu:
        one = Estimate(gpu.put(torch.rand(1, 1, 8, 8)), Quantity.DISPARITY, intrinsics=gpu.put(torch.full((1, 3, 3), torch.nan)))
        with pytest.raises(ValueError, match="not a camera's"):
            refine_geometry(one, gpu.put(torch.rand(1, 3, 16, 16)))


@pytest.mark.slow("finds an object on the modelled card")
def test_what_is_computed_on_the_cpu_takes_no_default_device(gpu, tmp_path):
    """With `torch.set_default_device("cuda")`, tensors made without a device are on the GPU, and cannot meet those on the CPU."""
    torch.manual_seed(0)
    views, known = torch.rand(2, 1, 1, 64, 64).unbind(), torch.ones(2, 1, 1, 64, 64, dtype=torch.bool).unbind()
    image, corner = torch.rand(1, 3, 32, 32), torch.arange(32.0) < 12
    depth = torch.where(corner[:, None] & corner, 1.0, 3.0)[None, None]
    scene = Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(60.0, 32, 32))
    with gpu, gpu_model.DEVICE:
        for path in (tmp_path / "scene.glb", tmp_path / "scene.npz", tmp_path / "scene.png"):
            save_estimate(path, scene)
        read = load_estimate(path)
        made = [*affine_to_distances(views, known, view_rotations()[:2], True), foreground_object(depth, image)[1], *read.maps.values()]
    assert len(made) == 5 and {each.device.type for each in made} == {"cpu"}
