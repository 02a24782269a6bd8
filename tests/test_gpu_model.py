"""What each way asks of a GPU, counted on a modelled one: no more launches, waits and copies than its budget in benchmarks/gpu_model.py."""

import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
LONG = (
    "depth-anything-small",
    "depth-anything-v2-metric-indoor-small",
    "depth-anything-3-small",
    "leres-boost",
    "moge-vitl",
    "moge-3-vitl",
    "midas-v2.1-small",
    "video-depth-anything-metric-small",
    "zoedepth-nyu",
    "zoe-depth-anything-indoor",
    "depth-pro",
    "zipdepth-base",
    "relight, low sun (node)",
    "relight, candle (node)",
    "relight, three lamps (node)",
    "parallax, a frame of 8",
    "cut-out, by distance (node)",
)


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


def named(budgets):
    return [pytest.param(name, marks=pytest.mark.slow("takes a second") if name in LONG else ()) for name in budgets]


@pytest.mark.parametrize("name", named(gpu_model.NETWORKS))
def test_a_model_asks_no_more_of_a_gpu_than_its_budget(name, gpu):
    width = 960 if families.MODELS[name].for_panoramas else 640
    with families.narrow([name]):
        gpu_model.count_network(name, gpu, 480, width)
    assert not gpu.exceeds(gpu_model.NETWORKS[name])


@pytest.mark.slow("aligns eight frames")
@pytest.mark.parametrize("name", gpu_model.VIDEOS)
def test_a_frame_of_a_video_asks_no_more_of_a_gpu_than_its_budget(name, gpu):
    with families.narrow([name]):
        gpu_model.count_video(name, gpu, 480, 640)
    assert not gpu.exceeds(gpu_model.VIDEOS[name], gpu_model.FRAMES)


@pytest.mark.parametrize("name", named(gpu_model.EFFECTS))
def test_an_effect_asks_no_more_of_a_gpu_than_its_budget(name, gpu, rows):
    rows[name]()
    assert not gpu.exceeds(gpu_model.EFFECTS[name], gpu_model.images_of(name))


@pytest.mark.slow("all effects at the size of the budgets")
def test_effects_keep_their_budgets_at_the_size_that_these_are_for(gpu):
    made = gpu_model.effect_rows(gpu, 270, 480)
    assert gpu_model.EFFECTS.keys() == made.keys() - {gpu_model.effects.UNIT}
    over = {}
    for name, budget in gpu_model.EFFECTS.items():
        made[name]()
        over[name] = gpu.exceeds(budget, gpu_model.images_of(name))
    assert not any(over.values()), over


def test_every_family_has_a_budget():
    named = {families.MODELS[name].family for name in gpu_model.NETWORKS}
    assert named == {spec.family for spec in families.MODELS.values() if not families.is_diffusion(spec)}


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
