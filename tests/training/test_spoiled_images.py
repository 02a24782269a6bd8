"""What is done to images and labels before the network sees them."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip(
    "depth_normal.training.data", reason="training/ is not installed with the package: install it editable (pip install -e .)"
)

from depth_normal.annotators.tiny import with_far_sky
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.training import batches, data, evaluate, export, losses, skies, spoil
from depth_normal.training import measures as judged

CHANNELS = {"images": 3, "clean": 3, "disparity": 1, "normals": 3, "sky": 1, "features16": 64, "features32": 64}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_images(count=12):
    return torch.rand(count, 3, 48, 64, generator=generator(1))


def test_spoiled_images_repeat_and_stay_images():
    (first, inside), (second, _) = (spoil.spoil(make_images(), generator(3)) for _ in range(2))
    assert torch.equal(first, second) and first.min() >= 0 and first.max() <= 1
    assert first.shape == (12, 3, 48, 64) and inside.shape == (12, 1, 48, 64)


def test_what_is_painted_over_is_not_learned_from_and_the_rest_stays(monkeypatch):
    monkeypatch.setattr(spoil, "FRAMED", 1.0)
    monkeypatch.setattr(spoil, "CAPTIONED", 1.0)
    before = make_images()
    for step, some in ((spoil.frame, 12), (spoil.caption, 1)):
        after, clear = step(before, generator(), torch.arange(12))
        changed = (after != before).any(1, keepdim=True)
        assert changed.flatten(1).any(1).all() and changed.float().mean() < 0.6
        assert some <= (~clear).flatten(1).any(1).sum() <= max(some, 11)
        if step is spoil.frame:
            assert not (changed & clear).any()


def test_a_jpeg_is_near_to_its_image(monkeypatch):
    monkeypatch.setattr(spoil, "COMPRESSED", 1.0)
    smooth = torch.linspace(0, 1, 64).expand(8, 3, 48, 64)
    assert 0 < (spoil.compress(smooth, generator()) - smooth).abs().mean() < 0.05


def test_two_views_of_a_pair_have_one_frame_and_caption_but_each_its_noise():
    twice = make_images(4).repeat(2, 1, 1, 1)
    for seed in range(5):
        after, inside = spoil.spoil(twice, generator(seed), pairs=4)
        assert torch.equal(inside[:4], inside[4:])
    assert not torch.equal(after[:4], after[4:])


def test_what_is_in_the_frame_counts_for_no_loss():
    disparity, inside = torch.rand(2, 1, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    inside[..., 8:24, 8:24] = True
    target = losses.normalised_target(disparity, inside)
    assert target[inside].view(2, -1).median(1).values.abs().max() < 0.1
    other = torch.where(inside, target, 99.0)
    assert losses.gradient_loss(other, target, inside) == 0
    torch.testing.assert_close(losses.correlation(other, target, inside), torch.ones(2))
    assert losses.mean_inside((other - target).abs(), inside) == 0


def test_steady_is_what_changes_as_the_truth_does():
    truth, inside = torch.rand(4, 1, 8, 8), torch.ones(4, 1, 8, 8, dtype=torch.bool)
    assert losses.steady_loss(truth + 3, truth, inside, 2) < 1e-6
    flickering = truth + torch.tensor([0.0, 0, 1, 1]).view(4, 1, 1, 1)
    torch.testing.assert_close(losses.steady_loss(flickering, truth, inside, 2), torch.tensor(1.0))


def test_videos_are_drawn_as_pairs_of_frames(tmp_path):
    shape = (data.CROP_SHORT, data.CROP_LONG)
    for folder in ("labels", "renders", "films"):
        (tmp_path / folder).mkdir()
    brightness = np.array([50, 100, 150], np.uint8)[:, None, None, None]
    video = {"rgb": np.broadcast_to(brightness, (3, *shape, 3)).copy(), "disparity": np.ones((3, *shape), np.float16)}
    video["disparity"][:, :60] = 0
    video["normals"] = np.zeros((3, *shape, 3), np.int8)
    data.save_npz(tmp_path / "films" / "000000.npz", **video)
    data.save_npz(tmp_path / "renders" / "000000_0.npz", **{name: values[0] for name, values in video.items()})
    crops = batches.load_crops(tmp_path, "train", 0, 1)
    assert crops.counts() == (0, 1, 1)
    index, frame, window, turn = batches._places(crops.videos[0], 3, (96, 128), generator())
    (first, _, _, sky, *_), (second, *_) = (
        batches._windows(crops.videos[0], index, frame + step, window, turn, (96, 128)) for step in (0, 1)
    )
    torch.testing.assert_close(second - first, torch.full_like(first, 50 / 255), atol=1e-3, rtol=0)
    assert set(sky.unique().tolist()) >= {0.0, 1.0}, "disparity 0 is sky"
    assert batches.sample_batch(crops, 8, 96, 128, generator()).images.shape == (8, 3, 96, 128)


def test_skies_that_were_looked_at_are_believed():
    image = np.full((120, 160, 3), 60, np.uint8)
    image[:60] = (170, 200, 255)
    image[60:] += np.random.default_rng(0).integers(0, 60, (60, 160, 3), dtype=np.uint8)
    disparity = np.repeat(np.concatenate((np.zeros(60), np.linspace(0.2, 1, 60)))[:, None], 160, 1)
    label = skies.sky_label(image, disparity, None)
    assert (label[:50] == skies.YES).all() and (label[90:] == skies.NO).all() and (label[58:62] == skies.UNKNOWN).all()
    assert not (skies.sky_label(image, disparity, "wrong") == skies.YES).any()
    assert (skies.sky_label(image, disparity, "no") == skies.NO).all()
    assert set(skies.looked_at().values()) == {"no", "wrong", "yes"}


def test_a_still_network_does_not_flicker_and_a_nervous_one_does(tmp_path):
    (tmp_path / "clips").mkdir()
    truth = np.repeat(np.linspace(0, 1, 40, dtype=np.float16)[None, :, None], 4, 0).repeat(60, 2)
    data.save_npz(tmp_path / "clips" / "still.npz", rgb=np.full((4, 40, 60, 3), 128, np.uint8), disparity=truth)
    still = Estimate(torch.from_numpy(truth[:1, None].astype(np.float32)), Quantity.DISPARITY)
    jumps = iter(range(4))

    def nervous(_):
        return replace(still, depth=still.depth + next(jumps) % 2)

    found = judged.flicker({"still": lambda _: still, "nervous": nervous}, tmp_path)
    assert found == {"still": {"still": "0.00 / 0.00", "nervous": found["still"]["nervous"]}}
    alone, held = map(float, found["still"]["nervous"].split(" / "))
    assert alone > 100 and held < alone / 2


@pytest.mark.slow("takes a second")
def test_on_a_gpu_no_step_mixes_devices():
    device = torch.device("cuda:0" if torch.cuda.is_available() else "lazy:0")
    with FakeTensorMode():
        shown, like, random = torch.rand(4, 3, 48, 64, device=device), torch.arange(4), torch.Generator()
        for step in (spoil.recolour, spoil.vignette):
            shown = step(shown, random, like)
        for step in (spoil.frame, spoil.caption):
            shown, inside = step(shown, random, like)
            assert inside.device == device
        shown = spoil.add_noise(spoil.blur(shown, random), random)
        disparity = torch.rand(4, 1, 48, 64, device=device)
        target = losses.normalised_target(disparity, inside, 2)
        found = [loss(disparity, target, inside) for loss in (losses.gradient_loss, losses.correlation)]
        found += [losses.steady_loss(disparity, target, inside, 2), with_far_sky(disparity, inside)]
        rgb, depth = torch.zeros(3, 1, 60, 80, 3, dtype=torch.uint8, device=device), torch.zeros(3, 1, 60, 80, device=device).half()
        photographs = batches.Stack(rgb=rgb, disparity=depth, normals=None, sky=rgb[..., 0])
        passed = batches._pass_by(shown, photographs, 1, 2, (48, 64), random)
        assert {value.device for value in (shown, *found, *passed)} == {device}


@pytest.mark.slow("takes a second")
def test_on_a_gpu_teachers_mix_no_devices(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())  # it knows no device that is not there
    teacher = evaluate.load_tiny(export.SHIPPED, 64)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "lazy:0")
    with FakeTensorMode(allow_non_fake_inputs=True):
        teacher.network.to(device)
        maps = {name: torch.rand(4, count, 64, 96, device=device) for name, count in CHANNELS.items()}
        photographs, scaled = torch.arange(1, 3, device=device), torch.zeros(4, dtype=torch.bool, device=device)
        batch = batches.Batch(**maps, inside=maps["sky"] > 0, photographs=photographs, scaled=scaled)
        found = losses.taught(batch, [teacher], 0.35)
        assert found.disparity is not batch.disparity
        assert {value.device for value in (found.disparity, found.normals, found.scaled)} == {device}


def test_sky_is_judged_where_there_is_some_and_false_sky_where_there_is_none(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    for name, rows in (("000000_0", 4), ("000001_0", 0)):
        disparity = np.ones((12, 10), np.float16)
        disparity[:rows] = 0
        data.save_npz(tmp_path / "kept" / f"{name}.npz", rgb=np.zeros((12, 10, 3), np.uint8), disparity=disparity)
    grey = {name: np.full((12, 10, 3), len(name), np.uint8) for name in ("a", "bb", "c")}
    photographs = [SimpleNamespace(id=name, read=lambda _, name=name: grey[name]) for name in grey]
    monkeypatch.setattr(judged, "read_photos", lambda *_: photographs)
    monkeypatch.setattr(judged, "looked_at", lambda: {"a": "no", "bb": "no", "c": "wrong"})
    monkeypatch.setattr(judged, "sky_of", lambda _, image: (np.arange(12)[:, None].repeat(10, 1) < 3) & (image[..., 0] != 2))
    assert judged.sky_scores({"top": None}, tmp_path) == {"top": "0.750 / 0.250 / 2 of 3"}
    assert judged.false_skies({"top": None}, tmp_path) == {"top": "1 of 2"}
