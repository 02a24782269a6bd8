"""The recipe's parts, without bpy, photographs or the teacher's weights."""

import argparse
import signal
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip(
    "depth_normal.training.data", reason="training/ is not installed with the package: install it editable (pip install -e .)"
)


from depth_normal.annotators.networks.configs import TINY_2
from depth_normal.annotators.networks.tiny import SharpHead, TinyNetwork
from depth_normal.training import batches, data, drawn, ensemble, evaluate, export, losses, parts, teacher, train
from depth_normal.training import losses as teaching
from depth_normal.training.sharp import TrainedHead, kept
from tests.refusals import refuses

CLEAR_LICENCES = {"MIT", "Apache-2.0", "0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "CC-BY-4.0"}


@pytest.fixture(autouse=True)
def one_thread():
    """As the commands of training/ take for their process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def crop(rng, normals=False):
    image = rng.integers(0, 255, (data.CROP_SHORT, data.CROP_LONG, 3), dtype=np.uint8)
    disparity = np.repeat(np.linspace(0, 1, data.CROP_SHORT, dtype=np.float16)[:, None], data.CROP_LONG, 1)
    maps = {"rgb": image, "disparity": disparity}
    if normals:
        maps["normals"] = np.broadcast_to(np.array([76, 0, 101], np.int8), image.shape).copy()
    return maps


def save(path, **maps):
    path.parent.mkdir(exist_ok=True)
    data.save_npz(path, **maps)


@pytest.fixture
def prepared(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for photo in data.read_photos(split=split)[:2]:
            save(tmp_path / "labels" / f"{photo.id}_0.npz", **crop(rng))
    save(tmp_path / "renders" / "000000_0.npz", **crop(rng, normals=True))
    return tmp_path


def test_the_list_has_clear_licences_and_enough_kept_out():
    photos = data.read_photos()
    assert {photo.licence for photo in photos} <= CLEAR_LICENCES and {photo.registry for photo in photos} <= data.COMMANDS.keys()
    assert len({photo.id for photo in photos}) == len(photos)
    assert all(len(data.read_photos(split=split)) >= 30 for split in ("test", "val"))
    assert not any("nyu" in photo.file.lower() or "motorcycle" in photo.file.lower() for photo in photos)


@pytest.mark.parametrize(("shape", "expected"), [((320, 500), (240, 320)), ((500, 320), (320, 240))])
def test_crops_lie_as_the_photograph_and_repeat(shape, expected):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    for index in (0, 1):
        first = data.random_crop(image, "name", index)
        assert first.shape[:2] == expected
        np.testing.assert_array_equal(first, data.random_crop(image, "name", index))
    assert not np.array_equal(data.random_crop(image, "name", 1), data.random_crop(image, "name", 2))
    wide = np.pad(np.full((240, 320, 3), 200, np.uint8), ((0, 0), (160, 160), (0, 0)))
    assert (data.random_crop(wide, "name", 0) == 200).all(), "the first is the middle"


def test_the_target_has_median_zero_and_deviation_one():
    disparity = 7 + 3 * torch.rand(2, 1, 40, 50)
    target = losses.normalised_target(disparity)
    assert target.flatten(1).median(1).values.abs().max() < 1e-6
    torch.testing.assert_close(target.abs().mean((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(losses.correlation(target, disparity), torch.ones(2), atol=1e-5, rtol=0)


def test_a_right_answer_costs_nothing_and_a_wrong_one_does():
    disparity, normals = torch.rand(2, 1, 32, 32), torch.zeros(2, 3, 32, 32)
    normals[:, 2] = 1
    everywhere = torch.ones_like(disparity, dtype=torch.bool)
    told = {"features16": torch.rand(2, 64, 2, 2), "features32": torch.rand(2, 64, 1, 1)}
    images, nobody = torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.bool)
    maps = {"disparity": disparity, "normals": normals, "sky": torch.zeros_like(disparity), "inside": everywhere, **told}
    batch = batches.Batch(images, **maps, clean=images, photographs=torch.zeros(0, dtype=torch.long), scaled=nobody)
    right = torch.cat((losses.normalised_target(disparity), 5 * normals, torch.full_like(disparity, -20)), 1)
    assert losses.training_loss(right, batch, told)[0] < 1e-4
    wrong = {name: values + 1 for name, values in told.items()}
    assert losses.training_loss(right, batch, wrong)[1]["features"] == pytest.approx(losses.FEATURE_WEIGHT)
    unknown = replace(batch, features16=0 * told["features16"], features32=0 * told["features32"])
    assert losses.training_loss(right, unknown, wrong)[1]["features"] == 0
    _, figures = losses.training_loss(-right, batch)
    assert figures["correlation"] == pytest.approx(2, abs=1e-4)
    assert figures["normal"] == pytest.approx(2 * losses.NORMAL_WEIGHT, abs=1e-4)
    assert figures["sky"] == pytest.approx(20 * losses.SKY_WEIGHT, abs=1e-3)
    assert losses.training_loss(right, replace(batch, normals=0 * normals))[1]["normal"] == 0
    assert losses.training_loss(-right, replace(batch, sky=-torch.ones_like(disparity)))[1]["sky"] == 0


def test_disparity_that_has_its_scale_keeps_it(prepared):
    batch = batches.sample_batch(batches.load_crops(prepared, "train", 0, 1), 4, 96, 128, torch.Generator().manual_seed(3), plain=True)
    third = torch.cat((batch.disparity / 3, torch.zeros(4, 4, 96, 128)), 1)
    scaled = replace(batch, disparity=batch.disparity / 3, scaled=torch.ones(4, dtype=torch.bool))
    assert losses.training_loss(third, scaled)[1]["l1"] == 0
    assert losses.training_loss(third, batch)[1]["l1"] > 0.3


def test_a_ramp_gradient_is_measured_at_every_scale():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    # one per pixel, two per pixel of half the size, ...: (1 + 2 + 4 + 8) / 4
    torch.testing.assert_close(losses.gradient_loss(ramp, torch.zeros_like(ramp)), torch.tensor(3.75))


def test_batches_repeat_and_mirrored_normals_turn(prepared):
    crops = batches.load_crops(prepared, "train", 0, 1)
    first, second = (batches.sample_batch(crops, 16, 96, 128, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(vars(first), vars(second))
    assert first.images.shape == (16, 3, 96, 128) and first.pairs == 4
    assert first.disparity.shape == first.sky.shape == first.inside.shape == (16, 1, 96, 128)
    known = first.normals.flatten(1).abs().amax(1) > 0
    rendered = first.normals[known]
    assert known.nonzero().flatten().tolist() in (list(range(12, 16)), list(range(11, 16)))
    assert {round(float(value), 1) for value in rendered[:, 0, 0, 0]} == {-0.6, 0.6}
    assert (rendered[:, 2] > 0.79).all()


@pytest.mark.slow("takes most of a second")
def test_small_batches_have_their_share_of_videos(prepared):
    (prepared / "renders" / "000000_0.npz").unlink()
    views = [crop(np.random.default_rng(0), normals=True) for _ in range(3)]
    save(prepared / "films" / "000000.npz", **{name: np.stack([view[name] for view in views]) for name in views[0]})
    crops, random = batches.load_crops(prepared, "train", 0, 1), torch.Generator().manual_seed(0)
    from_videos = [batches.sample_batch(crops, 8, 64, 64, random).normals[:2].flatten(1).abs().amax(1) > 0 for _ in range(40)]
    assert torch.stack(from_videos).float().mean() == pytest.approx(batches.VIDEO_SHARE, abs=0.15)


def test_normals_tilt_with_their_image(tmp_path):
    """Disparity that grows to the right belongs to a surface that looks left; both lean the same way in every window."""
    tilted = crop(np.random.default_rng(0), normals=True)
    tilted["disparity"] = np.repeat(np.linspace(0, 1, data.CROP_LONG, dtype=np.float16)[None], data.CROP_SHORT, 0)
    tilted["normals"][..., 0] *= -1
    save(tmp_path / "renders" / "000000_0.npz", **tilted)
    crops = batches.load_crops(tmp_path, "train", 0, 1)
    batch = batches.sample_batch(crops, 32, 96, 128, torch.Generator().manual_seed(5))
    right = batch.disparity.diff(dim=-1).mean((1, 2, 3))
    up = -batch.disparity.diff(dim=-2).mean((1, 2, 3))
    x, y = batch.normals[:, :2].mean((2, 3)).unbind(1)
    leaning = y.abs() > 0.01
    assert leaning.sum() > 16
    assert torch.equal(x.sign(), -right.sign())
    assert torch.equal(y.sign()[leaning], -up.sign()[leaning])


def test_features_go_with_their_image(prepared):
    """Features that grow to the right, as the disparity of the same crop does, do so in every window, mirrored or not."""
    for path in (prepared / "labels").iterdir():
        maps = crop(np.random.default_rng(0))
        maps["disparity"] = np.repeat(np.linspace(0, 1, data.CROP_LONG, dtype=np.float16)[None], data.CROP_SHORT, 0)
        save(path, **maps)
        ramps = {name: np.linspace(0, 1, data.TEACHER_LONG // cell, dtype=np.float16) for name, (cell, _) in data.FEATURES.items()}
        features = {name: np.broadcast_to(ramp, (64, len(ramp) * 8 // 11, len(ramp))) for name, ramp in ramps.items()}
        save(prepared / "features" / path.name, **features)
    batch = batches.sample_batch(batches.load_crops(prepared, "train", 0, 1), 16, 96, 128, torch.Generator().manual_seed(5))
    assert batch.features16.shape == (16, 64, 6, 8)
    assert batch.features32.shape == (16, 64, 3, 4)
    known = batch.normals.flatten(1).abs().amax(1) == 0  # of the render there are none
    assert not batch.features16[~known].any()
    right = batch.disparity[known].diff(dim=-1).mean((1, 2, 3)).sign()
    for features in (batch.features16, batch.features32):
        assert torch.equal(features[known].diff(dim=-1).mean((1, 2, 3)).sign(), right)


def test_the_ensemble_is_mixed_into_the_labels_of_photographs_alone(prepared):
    """Of the first photograph it says the opposite of the teacher, and has normals; of the others it was not asked."""
    before = batches.load_crops(prepared, "train", 0, 1)
    first = next(
        path for path in sorted((prepared / "labels").iterdir()) if path.stem[:14] in {p.id for p in data.read_photos(split="train")}
    )
    said = {"disparity": 1 - crop(np.random.default_rng(0))["disparity"], "normals": np.full((240, 320, 3), 73, np.int8)}
    save(prepared / "ensemble" / first.name, **said)
    crops = batches.load_crops(prepared, "train", 0, 1)
    photographs, renders = crops.photographs[0], crops.renders[0]
    expected = before.photographs[0].disparity.clone()
    expected[0] += batches.ENSEMBLE_SHARE * (1 - 2 * expected[0])
    torch.testing.assert_close(photographs.disparity, expected)
    assert (photographs.normals[0] == 73).all() and not photographs.normals[1].any()
    torch.testing.assert_close(renders.disparity, before.renders[0].disparity)
    assert batches.load_crops(prepared, "val", 0, 1).photographs[0].normals is not None


def test_the_sky_of_photographs_has_no_normals(prepared):
    sky = np.zeros((240, 320), np.uint8)
    sky[:100] = 1
    for path in (prepared / "labels").iterdir():
        said = {"disparity": crop(np.random.default_rng(0))["disparity"], "normals": np.full((240, 320, 3), 73, np.int8)}
        save(prepared / "ensemble" / path.name, **said)
        save(prepared / "skies" / path.name, sky=sky)
    normals = batches.load_crops(prepared, "train", 0, 1).photographs[0].normals
    assert not normals[:, :, :100].any() and (normals[:, :, 100:] == 73).all()


def test_all_parts_together_are_the_whole():
    shares = [parts.part(text) for text in ("0/3", "1/3", "2/3")]
    assert sorted(number for share in shares for number in share.of(range(10))) == list(range(10))


NO_PARTS = ((text, f"'{text}' is no part; expected i/n with i from 0 to n - 1") for text in ("2/2", "-1/2", "1", "0/0", "/", "a/b"))
test_what_is_no_part_is_refused = refuses(parts.part, *NO_PARTS, error=argparse.ArgumentTypeError)


def first_version(folder):
    """A file of the shipped weights that the network's first version has too."""
    later = ("fine.", "attention.2.", "attention.3.")
    export.save_file(
        {name: value for name, value in export.read_state(export.SHIPPED).items() if not name.startswith(later)},
        folder / "first.safetensors",
    )
    return folder / "first.safetensors"


def forget_what_is_finer(tiny):
    """Than half the size of the images: it is said of the image alone, not of its mirror image."""
    for value in tiny.network.fine.last.parameters():
        value.detach().zero_()


@pytest.mark.slow("takes a second")
def test_the_ensemble_says_of_a_mirror_image_the_mirror_image():
    networks = [evaluate.load_tiny(export.SHIPPED, mirrored=True)]
    forget_what_is_finer(networks[0])
    images = torch.rand(2, 3, 240, 320, generator=torch.Generator().manual_seed(0))
    images[:, :, :, 160:] *= 0.3
    disparity, normals = ensemble.mean_answers(networks, images)
    assert disparity.shape == (2, 240, 320)
    torch.testing.assert_close(disparity.abs().mean((1, 2)), torch.ones(2))
    torch.testing.assert_close(normals.norm(dim=3), torch.ones(2, 240, 320))
    other, turned = ensemble.mean_answers(networks, images.flip(3))
    torch.testing.assert_close(other.flip(2), disparity, atol=0.02, rtol=0)
    torch.testing.assert_close(turned.flip(2) * torch.tensor([-1.0, 1, 1]), normals, atol=0.02, rtol=0)


@pytest.mark.slow("takes most of a second")
def test_teachers_say_of_a_mirror_image_the_mirror_image(prepared, tmp_path):
    """Of photographs alone, as they were before anything was set before them; renders keep their truth."""
    teachers = teaching.load_teachers(((export.SHIPPED, 96), (first_version(tmp_path), 64)), torch.device("cpu"))
    forget_what_is_finer(teachers[0])
    batch = batches.sample_batch(batches.load_crops(prepared, "train", 0, 1), 16, 96, 128, torch.Generator().manual_seed(3))
    photographs, rest = batch.photographs.tolist(), sorted(set(range(16)) - set(batch.photographs.tolist()))
    assert len(photographs) in (11, 12) and rest, "four pairs and three or four of a render"
    batch.sky[photographs[0]] = 1
    said, mirrored = (teaching.taught(replace(batch, clean=clean), teachers) for clean in (batch.clean, batch.clean.flip(3)))
    assert said.scaled.nonzero().flatten().tolist() == photographs
    for values, other, sign in ((said.disparity, mirrored.disparity, 1), (said.normals, mirrored.normals, torch.tensor([-1.0, 1, 1]))):
        turned = other[photographs].flip(3) * torch.as_tensor(sign).view(-1, 1, 1)
        torch.testing.assert_close(turned[1:], values[photographs][1:], atol=0.02, rtol=0)
    torch.testing.assert_close(said.normals[photographs[1:]].norm(dim=1), torch.ones(len(photographs) - 1, 96, 128))
    assert not said.normals[photographs[0]].any(), "all sky"
    for name in ("disparity", "normals"):
        assert torch.equal(getattr(said, name)[rest], getattr(batch, name)[rest])
        assert not torch.equal(getattr(said, name)[photographs], getattr(batch, name)[photographs])
    assert teaching.taught(batch, []) is batch
    half, kept = (teaching.taught(batch, teachers, share).disparity for share in (0.5, 1))
    label = losses.normalised_target(batch.disparity, pairs=batch.pairs)
    torch.testing.assert_close(kept[photographs], label[photographs])
    torch.testing.assert_close(half[photographs], (said.disparity + label)[photographs] / 2)
    assert torch.equal(kept[rest], batch.disparity[rest])
    covered = replace(batch, inside=torch.zeros_like(batch.inside))
    assert torch.equal(teaching.taught(covered, teachers, 1).disparity[photographs], kept[photographs]), "whatever passes by"


def test_the_head_that_is_trained_holds_the_one_that_is_kept():
    head = SharpHead()
    head.load_state_dict({**head.state_dict(), **kept(TrainedHead().state_dict())})


def test_sharp_crops_show_the_place_of_their_labels(tmp_path):
    """Only where the photograph is; mixed ones, whose larger image nobody made, are enlarged."""
    photos = data.read_photos(split="train")[:2]
    (tmp_path / "photos").mkdir()
    rows, columns = np.indices((320, 500)) / np.array([[[320]], [[500]]])
    image = (255 * np.stack((rows, columns, rows * columns), -1)).astype(np.uint8)
    cv2.imwrite(str(photos[0].path(tmp_path)), image[..., ::-1])
    maps = {"rgb": data.random_crop(image, photos[0].id, 1), "disparity": np.zeros((240, 320), np.float16)}
    for name in (f"{photos[0].id}_1", f"{photos[0].id}_mixed0", f"{photos[1].id}_0"):
        save(tmp_path / "labels" / f"{name}.npz", **maps)
    answers = {"disparity": np.ones((240, 320), np.float16), "normals": np.full((240, 320, 3), 73, np.int8)}
    save(tmp_path / "ensemble" / f"{photos[0].id}_1.npz", **answers)
    plain, sharp = (batches.load_crops(tmp_path, "train", 0, 1, sharp=larger).photographs[0] for larger in (False, True))
    assert plain.rgb.shape == (3, 1, 240, 320, 3) and sharp.rgb.shape == (2, 1, 288, 384, 3)
    assert sharp.disparity.shape == (2, 1, 240, 320)
    assert sharp.normals is None and not sharp.disparity.any() and plain.disparity.any(), "the ensemble's"
    for rgb in sharp.rgb[:, 0].numpy():
        smaller = cv2.resize(rgb, (320, 240), interpolation=cv2.INTER_AREA)
        assert np.abs(smaller.astype(int) - maps["rgb"]).max() <= 6


@pytest.mark.slow("takes most of a second")
def test_a_run_goes_on_with_who_taught_it(prepared, tmp_path):
    begun = replace(options(prepared, tmp_path / "run", 2), begin=export.SHIPPED, teach=((export.SHIPPED, 96),))
    train.save(train.Run(begun, 0).state(), tmp_path / "run" / "checkpoint.pt")
    assert train.Run(begun, 0).step == 0
    refusal = r"run was taught by tiny\.safetensors@96: go on with the same --teach and --label-share, or take another --run"
    for other in (replace(begun, teach=()), replace(begun, label_share=0.5)):
        with pytest.raises(ValueError, match=refusal):
            train.Run(other, 0)


@pytest.mark.slow("takes most of a second")
def test_a_network_learns_from_itself(prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(train.IMAGES, "cpu", 2)
    monkeypatch.setattr(train, "WARM_CURRICULUM", ((1.0, ((96, 128),)),))
    told = replace(options(prepared, tmp_path / "run", 2), begin=export.SHIPPED, teach=((export.SHIPPED, 96),), peak_rate=1e-5)
    crops = batches.load_crops(prepared, "train", 0, 1)
    taught, labelled = (train.Run(replace(told, label_share=share), 0).train_step(crops, crops)["l1"] for share in (0.0, 1.0))
    assert taught < 0.5 * labelled, "of noise it knows what it says itself, not what its label says"


@pytest.mark.slow("takes most of a second")
def test_most_images_of_plain_batches_are_as_they_were_taken(tmp_path):
    grey = crop(np.random.default_rng(0)) | {"rgb": np.full((240, 320, 3), 51, np.uint8)}
    save(tmp_path / "labels" / f"{data.read_photos(split='train')[0].id}_0.npz", **grey)
    crops = batches.load_crops(tmp_path, "train", 0, 1)
    plain, changed = (batches.sample_batch(crops, 200, 48, 64, torch.Generator().manual_seed(3), is_plain) for is_plain in (True, False))
    spared, fewer = (int(((batch.images - 0.2).abs().amax((1, 2, 3)) < 1e-6).sum()) for batch in (plain, changed))
    assert 150 < spared < 190 and 60 < fewer < 110


def test_what_passes_by_moves_and_what_is_behind_stays(prepared):
    crops = batches.load_crops(prepared, "train", 0, 1)
    grey = torch.full((8, 3, 96, 128), 0.5)
    images, clear = batches._pass_by(grey, crops.photographs[0], 3, 4, (96, 128), torch.Generator().manual_seed(0))
    assert (images == grey)[clear.expand_as(grey)].all() and (grey == 0.5).all()
    assert clear[3].all() and clear[7].all(), "the fourth pair is of videos"
    passed = ~clear.flatten(1).all(1)
    both = passed[:4] & passed[4:]
    assert both.any() and (clear[:4] != clear[4:]).flatten(1).any(1)[both].all()


def test_halved_crops_are_the_means_of_four_pixels(prepared):
    crops = batches.load_crops(prepared, "train", 0, 1)
    whole, half = crops.photographs[0], crops.halved().photographs[0]
    torch.testing.assert_close(half.rgb[0, 0, 0, 0].float(), whole.rgb[0, 0, :2, :2].float().mean((0, 1)).round())
    assert half.disparity.shape == half.sky.shape == (2, 1, 120, 160)


FLAT = {"disparity": np.zeros((240, 320), np.float16), "normals": np.zeros((240, 320, 3), np.int8)}
FEATURES = {"features16": np.zeros((64, 16, 22), np.float16), "features32": np.zeros((64, 8, 11), np.float16)}
KINDS = r"holds .*; expected float16 disparity and int8 normals of \(240, 320\)"
SHAPES = r"holds .*; expected .*64, 16, 22.*: delete it and make it again"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("folder", "maps", "words"),
    [
        ("renders", {"rgb": np.zeros((8, 8, 3), np.uint8), "disparity": np.zeros((8, 8), np.float16)}, r"is \(8, 8\); expected 240x320"),
        ("ensemble", FLAT | {"disparity": np.full((240, 320), np.inf, np.float16)}, "disparity that is not finite"),
        ("ensemble", FLAT | {"normals": np.ones((240, 320, 3), np.float32)}, KINDS),
        ("ensemble", {"disparity": FLAT["disparity"]}, KINDS),
        ("features", FEATURES | {"features16": np.zeros((64, 15, 20))}, SHAPES),
        ("features", {"features16": FEATURES["features16"]}, SHAPES),
    ],
)
def test_files_of_another_kind_are_refused(prepared, folder, maps, words):
    known, other, _ = (path.name for path in sorted((prepared / "labels").iterdir())[:3])
    if folder == "features":
        save(prepared / folder / known, **FEATURES)
        batches.load_crops(prepared, "train", 0, 1)  # of the others they are unknown
    for name in (known, other):
        save(prepared / folder / name, **maps)
    with pytest.raises(ValueError, match=rf"{folder}.*{words}"):
        batches.load_crops(prepared, "train", 0, 1)


@pytest.mark.parametrize("folder", ["labels", "skies", "features", "ensemble"])
def test_a_damaged_file_is_named(prepared, folder):
    path = prepared / folder / next((prepared / "labels").glob(f"{data.read_photos(split='train')[0].id}*")).name
    path.parent.mkdir(exist_ok=True)
    save(path, rgb=np.zeros((240, 320, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{folder}.{path.name} is damaged .*: delete it and make it again"):
        batches.load_crops(prepared, "train", 0, 1)


@pytest.fixture
def worker():
    """`train.work` is the whole of a process, with its own way to be stopped."""
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield train.work
    for each, handler in handlers.items():
        signal.signal(each, handler)


def options(prepared, run, steps):
    run.mkdir(exist_ok=True)
    return train.Options(prepared, run, 1, steps, 1, 0, 99, 5e-4)


@pytest.mark.slow("takes most of a second")
def test_a_run_goes_on_where_it_was_stopped(prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(train.IMAGES, "cpu", 1)
    monkeypatch.setattr(train, "CURRICULUM", ((1.0, ((96, 128),)),))
    crops = batches.load_crops(prepared, "train", 0, 1)
    small = crops.halved()

    def trained(folder, steps):
        run = train.Run(options(prepared, tmp_path / folder, 4), 0)
        for _ in range(steps):
            run.train_step(crops, small)
        return run

    straight = trained("a", 4)
    train.save(trained("b", 2).state(), tmp_path / "b" / "checkpoint.pt")
    resumed = trained("b", 2)
    assert resumed.step == 4
    for key in ("network", "average"):
        torch.testing.assert_close(resumed.state()[key], straight.state()[key], atol=1e-5, rtol=1e-3)


@pytest.mark.slow("takes a second")
def test_statistics_that_were_counted_before_are_kept(prepared, tmp_path, monkeypatch):
    """Those of the layers that the weights begun from lack are counted."""
    monkeypatch.setitem(train.IMAGES, "cpu", 1)
    known = {name: value for name, value in export.read_state(export.SHIPPED).items() if not name.startswith("fine.")}
    export.save_file(known, tmp_path / "old.safetensors")
    run = train.Run(replace(options(prepared, tmp_path / "run", 1), begin=tmp_path / "old.safetensors"), 0)
    before, after = weights_of_steps(run, prepared, 1)
    for name in after:
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(before[name], after[name]) == (name in known), name
    assert not torch.equal(before["stem.0.weight"], after["stem.0.weight"])


def weights_of_steps(run, prepared, steps):
    """The weights before and after."""
    crops = batches.load_crops(prepared, "train", 0, 1)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    for _ in range(steps):
        run.train_step(crops, crops)
    return before, run.network.state_dict()


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(("only", "layers"), [("all", ("sky", "scene", "last")), ("scene", ("scene",))])
def test_the_sky_or_what_the_scene_says_of_it_is_learned_alone(only, layers, prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(train.IMAGES, "cpu", 2)
    run = train.Run(replace(options(prepared, tmp_path / "run", 2), begin=export.SHIPPED, only_sky=only), 0)
    before, after = weights_of_steps(run, prepared, 2)
    changed = {name for name in after if not torch.equal(before[name], after[name])} | {"fine.scene.bias"}  # far from where it matters
    assert changed == {f"fine.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        torch.testing.assert_close(before[f"fine.last.{kind}"][:4], after[f"fine.last.{kind}"][:4], rtol=0, atol=0)
    train.save(run.state(), tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(ValueError, match=f"was begun with --only-sky {only}: take another --run"):
        train.Run(replace(run.options, only_sky=""), 0)


@pytest.mark.slow("takes most of a second")
def test_what_is_drawn_is_learned_from_for_the_sky_alone(prepared, tmp_path, monkeypatch, worker):
    photograph = np.full((320, 480, 3), 90, np.uint8)
    images = [drawn.Artist(seed, [photograph]).draw() for seed in range(20)]
    for image, sky in images:
        above, below = (image[sky == kind].astype(float) for kind in (drawn.YES, drawn.NO))
        assert len(above) == 0 or np.abs(above.mean(0) - below.mean(0)).max() > 3
    (prepared / "drawn").mkdir()
    image, sky = next(each for each in images if (each[1] == drawn.YES).mean() > 0.2)
    drawn.save(prepared / "drawn" / "000000.npz", image, sky)
    loaded, step = [], train.Run.train_step
    monkeypatch.setattr(train.Run, "train_step", lambda run, crops, small: loaded.append(crops) or step(run, crops, small))
    monkeypatch.setitem(train.IMAGES, "cpu", 1)
    for only in ("", "all"):
        worker(0, replace(options(prepared, tmp_path / f"run{only}", 1), begin=export.SHIPPED, only_sky=only))
    without, together = loaded
    assert together.counts()[1] == without.counts()[1] + 1
    assert torch.equal(together.renders[0].sky[1, 0], torch.from_numpy(sky)), "with what is unknown"


def test_a_sky_that_nobody_told_is_not_learned(prepared, tmp_path, worker):
    (prepared / "renders" / "000000_0.npz").unlink()
    with pytest.raises(ValueError, match=r"does not say where the sky is: run training\.skies or training\.scenes first"):
        worker(0, replace(options(prepared, tmp_path / "run", 1), begin=export.SHIPPED, only_sky="all"))


@pytest.mark.slow("takes most of a second")
def test_no_process_leaves_before_the_first_has_saved(prepared, tmp_path, monkeypatch, worker):
    """Its connection would end while the first still counts on it."""
    done = []
    for name in ("init_process_group", "barrier", "destroy_process_group"):
        monkeypatch.setattr(train.dist, name, lambda *_, name=name, **__: done.append(name))
    monkeypatch.setattr(train.dist, "all_reduce", lambda values: values)
    monkeypatch.setattr(train.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(train, "checkpoint", lambda *_: done.append("saved"))
    monkeypatch.setitem(train.IMAGES, "cpu", 1)
    worker(0, replace(options(prepared, tmp_path / "run", 1), processes=2))
    assert done == ["init_process_group", "saved", "barrier", "destroy_process_group"]


@pytest.mark.parametrize("whole", [False, True])
def test_weights_lie_between_those_begun_from_and_those_learned(tmp_path, whole):
    export.save_file({"stem.weight": torch.tensor([1.0, 3.0]).half()}, tmp_path / "old.safetensors")
    average = {"stem.weight": torch.tensor([2.0, 7.0]), "fine.bias": torch.tensor([5.0])}
    torch.save({"average": average, "step": 3} if whole else average, tmp_path / "best.pt")
    export.export(tmp_path / "best.pt", tmp_path / "out.safetensors", tmp_path / "old.safetensors", 0.75)
    found = export.read_state(tmp_path / "out.safetensors")
    assert {name: values.tolist() for name, values in found.items()} == {"stem.weight": [1.75, 6.0], "fine.bias": [5.0]}


test_what_is_not_between_two_weights_is_refused = refuses(
    lambda first, share: export.between(first, {"stem.weight": torch.zeros(2)}, share),
    ({"stem.weight": torch.ones(2)}, 1.5, "a share of 1.5 .* expected 0 to 1"),
    ({"stem.weight": torch.ones(2)}, float("nan"), "a share of nan"),
    ({"conv.weight": torch.ones(2)}, 0.5, r"did not begin from these weights: their conv.weight is \(2,\), the run's none"),
    ({"stem.weight": torch.ones(1)}, 0.5, r"their stem.weight is \(1,\), the run's \(2,\)"),
)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--share", "0.5"], "name the weights that the run began from"), ([], "best.pt is no file: --run is the folder of a run")],
)
def test_an_export_of_nothing_is_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["export", "--run", str(tmp_path / "run"), *words])
    with pytest.raises(SystemExit):
        export.main()
    assert said in capsys.readouterr().err


def test_more_of_the_sky_counts_by_a_number_in_the_weights(tmp_path):
    target = tmp_path / "tiny.safetensors"
    export.export(export.SHIPPED, target, sky=0.25)
    before, after = (export.read_state(path)["fine.sky.bias"].float() for path in (export.SHIPPED, target))
    torch.testing.assert_close(after, before + 0.25, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("state", "sky", "words"),
    [
        *((empty, 0.0, "holds no weights") for empty in ({}, {"average": None}, {"average": torch.zeros(2)}, [torch.zeros(2)])),
        ({"stem.weight": torch.zeros(2)}, 0.25, "tells no sky, to which 0.25 could be added"),
        ({"stem.weight": torch.zeros(2)}, float("nan"), "nan cannot be added to the logit of the sky"),
        ({"step": 3, "network": {}}, 0.0, r"holds more than weights \(step, for one\)"),
        ({"stem.weight": torch.tensor([1e6])}, 0.0, "stem.weight of .*best.pt does not fit fp16"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, state, sky, words):
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(ValueError, match=words):
        export.export(tmp_path / "best.pt", tmp_path / "tiny.safetensors", sky=sky)
    assert not (tmp_path / "tiny.safetensors").exists()


def test_the_filter_keeps_what_is_linear_in_its_guide():
    guide = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    np.testing.assert_allclose(teacher.guided_filter(3 * guide + 1, guide, 4, 0.0), 3 * guide + 1, atol=1e-3)
    np.testing.assert_allclose(teacher.guided_filter(np.full_like(guide, 2), guide, 4, 0.05), 2, atol=1e-4)


def test_what_is_near_is_set_before_another_image():
    """A sixth of the other image is near and white."""
    other, disparity = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.float32)
    other[80:160, 80:240], disparity[80:160, 80:240] = 255, 1
    mixed = teacher.set_before(np.full((320, 240, 3), 100, np.uint8), other, disparity, np.random.default_rng(0))
    assert 0.03 < (mixed == 255).all(-1).mean() < 0.3 and (mixed == 100).all(-1).mean() > 0.6


def test_scores_of_known_maps():
    truth = 1 + np.random.default_rng(0).random((20, 30))
    valid = np.ones_like(truth, bool)
    assert evaluate.aligned_depth_scores(5 * truth - 2, truth, valid) == pytest.approx((1, 0), abs=1e-9)
    assert evaluate.spearman(np.exp(truth), truth) == pytest.approx(1)
    assert evaluate.spearman(-(truth**3), truth) == pytest.approx(-1)
    error = evaluate.angular_error(np.array([0.0, 0, 1]), np.array([[0.0, 0, 1], [1.0, 0, 0], [0, 0.5**0.5, 0.5**0.5]]))
    np.testing.assert_allclose(error, [0, 90, 45], atol=1e-9)


def test_a_grown_network_gives_the_maps_of_the_one_it_grew_from_enlarged():
    torch.manual_seed(0)
    first, second = TinyNetwork().eval(), TinyNetwork(TINY_2).eval()
    train.grow(second, first.state_dict())
    pixels = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        maps, enlarged = first(pixels), second(pixels)
    expected = torch.nn.functional.interpolate(maps, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(enlarged[:, :4], expected, atol=1e-5, rtol=1e-5)
    assert (enlarged[:, 4] < 0).all(), "and sees no sky"
    with pytest.raises(ValueError, match=r"1 weights have no place in the network \(first: other\)"):
        train.grow(second, {**first.state_dict(), "other": torch.zeros(1)})
