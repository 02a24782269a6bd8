"""Videos: what was scaled and shifted comes back, what moves does not pull it, cuts start anew, and nothing grows or drifts."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.temporal import stabilization
from depth_normal.geometry.temporal.stabilization import VideoAligner
from depth_normal.options.video import VideoOptions
from tests.refusals import refuses

HEIGHT, WIDTH = 60, 80
RED = torch.tensor([0.9, 0.1, 0.2]).view(3, 1, 1)
ALIGN_ONLY, SMOOTH_ONLY = VideoOptions(smooth=0), VideoOptions("none", smooth=1)


def make_image(seed=0):
    random = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(1, 3, 9, 12, generator=random), size=(HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


def surface(seed=0):
    """Disparity from 0.2 to about 2: a slope with waves, and a step."""
    y, x = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij")
    return (0.5 + y + 0.3 * torch.sin(9 * x + seed) + (x > 0.6) * 0.2)[None, None]


def scene(frames, ball=True):
    """Images (T, 3, H, W) and disparity (T, 1, H, W) of a still scene before which a square moves, a quarter of the image's height."""
    images, depths = make_image().repeat(frames, 1, 1, 1), surface().repeat(frames, 1, 1, 1)
    for t in range(frames if ball else 0):
        left = (3 * t) % (WIDTH - 20)
        images[t, :, 20:40, left : left + 20] = RED
        depths[t, :, 20:40, left : left + 20] = 3.0 + 0.05 * t
    return images, depths


def disturbed(depths, seed=1):
    """Each frame times 0.4 to 2.5 plus -1 to 1."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.exp(torch.empty(len(depths), 1, 1, 1).uniform_(-0.9, 0.9, generator=random))
    return scale * depths + torch.empty(len(depths), 1, 1, 1).uniform_(-1, 1, generator=random)


def aligned(images, depths, options=ALIGN_ONLY, quantity=Quantity.DISPARITY, **more):
    return VideoAligner(options).push(images, Estimate(depths, quantity, **more)).depth


def brought_to_first(found, given, truth):
    """What was found, in the numbers of the truth: the first frame's own are kept."""
    scale = (truth[0].max() - truth[0].min()) / (given[0].max() - given[0].min())
    return scale * found + truth[0].min() - scale * given[0].min()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("quantity", [Quantity.DISPARITY, Quantity.RELATIVE_DEPTH])
@pytest.mark.parametrize("options", [ALIGN_ONLY, VideoOptions(smooth=1)], ids=["align", "smooth"])
def test_frames_of_random_scale_and_shift_come_back(quantity, options):
    images, truth = scene(24)
    given = disturbed(truth)
    found = brought_to_first(aligned(images, given, options, quantity), given, truth)
    still = torch.ones_like(truth, dtype=torch.bool)
    still[:, :, 10:50] = options == ALIGN_ONLY  # the smoothed edge of what moves is its own matter
    assert ((found - truth).abs() * still).max() < 1e-3


@pytest.mark.slow("takes a second")
def test_what_moves_does_not_pull_the_alignment():
    """The square comes and goes in depth by itself, and covers a quarter of the image."""
    images, truth = scene(30)
    truth = torch.where(truth > 2.9, 3 + 2 * torch.sin(torch.arange(30.0)).view(-1, 1, 1, 1), truth)
    given = disturbed(truth)
    assert (brought_to_first(aligned(images, given), given, truth) - truth).abs().max() < 1e-3


@pytest.mark.slow("takes most of a second")
def test_noise_does_not_wear_the_contrast_down():
    """Least squares on the frame before would lose the noise's share of the contrast, 4 % here, with every frame: all of it in 150."""
    random = torch.Generator().manual_seed(0)
    frames = 150
    noisy = surface() + 0.08 * torch.randn(frames, 1, HEIGHT, WIDTH, generator=random)
    found = aligned(make_image().expand(frames, -1, -1, -1), noisy)
    spread = (found * (surface() - surface().mean())).flatten(1).sum(1)
    assert spread[-1] / spread[0] == pytest.approx(1, abs=0.02)


@pytest.mark.slow("takes most of a second")
def test_metres_stay_the_networks_own_in_the_long_run():
    """One wrong frame at the start does not scale a whole video of metres; a tremble of a tenth is gone all the same."""
    random = torch.Generator().manual_seed(0)
    frames = 200
    factors = torch.exp(0.1 * torch.randn(frames, 1, 1, 1, generator=random))
    factors[0] = 1.5
    found = aligned(make_image().expand(frames, -1, -1, -1), 2 * surface() * factors, quantity=Quantity.METRIC_DEPTH)
    scales = (found / (2 * surface())).flatten(1)
    assert scales.std(1).max() < 1e-3, "metres are only scaled"
    assert scales[0].mean() == pytest.approx(1.5) and scales[-100:].mean() == pytest.approx(1, abs=0.08)
    steps = scales.mean(1).log().diff().abs().mean() / factors.flatten().log().diff().abs().mean()
    assert steps < 0.1


@pytest.mark.slow("takes two seconds")
def test_a_camera_that_comes_nearer_measures_less():
    """A wall, from 4 m to 1.6 m: metres follow, not worse than the network's own and stiller."""
    distance = torch.linspace(4, 1.6, 60).view(-1, 1, 1, 1)
    theta = torch.eye(2, 3)[None] * (distance / 4).view(-1, 1, 1)
    images = F.grid_sample(
        make_image().expand(60, -1, -1, -1), F.affine_grid(theta, [60, 3, HEIGHT, WIDTH], align_corners=False), align_corners=False
    )
    given = distance * torch.exp(0.1 * torch.randn(60, 1, 1, 1, generator=torch.Generator().manual_seed(2))).expand(-1, -1, HEIGHT, WIDTH)
    found = aligned(images, given, VideoOptions(), Quantity.METRIC_DEPTH)
    own, held = ((each / distance).log() for each in (given, found))
    # one frame's error at the beginning is led back slowly
    assert (held - own[0]).abs().mean() < 0.08 and held[30:].abs().mean() < 0.12
    assert held.diff(dim=0).abs().mean() < own.diff(dim=0).abs().mean() / 5


@pytest.mark.parametrize("cuts", [True, False])
def test_a_cut_starts_anew(cuts):
    images = torch.cat((make_image(0).repeat(6, 1, 1, 1), make_image(1).repeat(6, 1, 1, 1)))
    given = torch.cat((disturbed(surface().repeat(6, 1, 1, 1)), 50 + 9 * disturbed(surface(3).repeat(6, 1, 1, 1), 2)))
    found = aligned(images, given, VideoOptions(smooth=1, cuts=cuts))
    assert torch.equal(found[6], given[6]) == cuts
    torch.testing.assert_close(found[7:], found[6:7].expand(5, -1, -1, -1), rtol=1e-3, atol=1e-3)


def test_holes_neither_count_nor_spread():
    images, truth = scene(12, ball=False)
    given = disturbed(truth)
    holes = torch.zeros_like(given, dtype=torch.bool)
    for t in range(12):
        holes[t, :, 4 * t : 4 * t + 6, 10:70] = True
    mask = torch.rand(given.shape, generator=torch.Generator().manual_seed(5)) > 0.1
    with_holes = given.masked_fill(holes, torch.nan)
    with_holes[~mask & ~holes] = 1e6
    found = aligned(images, with_holes, VideoOptions(smooth=1), mask=mask)
    good = mask & ~holes
    assert ((brought_to_first(found, given, truth) - truth).abs() * good).where(good, 0).max() < 1e-3
    assert torch.equal(found.nan_to_num(-7)[~good], with_holes.nan_to_num(-7)[~good]), "what does not count stays as it is"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("quantity", "sign"), [(Quantity.DISPARITY, 1), (Quantity.RELATIVE_DEPTH, -1)])
@pytest.mark.parametrize("options", [ALIGN_ONLY, VideoOptions(smooth=1), SMOOTH_ONLY], ids=["align", "both", "smooth"])
def test_a_masked_sky_stays_as_far_as_anything(options, quantity, sign):
    images, truth = scene(12)
    mask = torch.ones_like(truth, dtype=torch.bool)
    mask[:, :, :15] = False
    land = sign * disturbed(truth)
    far = (sign * land).where(mask, torch.inf).amin((1, 2, 3), keepdim=True)
    found = sign * aligned(images, torch.where(mask, land, sign * far), options, quantity, mask=mask)
    sky, farthest = found[:, 0, 0, 0], found.where(mask, torch.inf).amin((1, 2, 3))
    torch.testing.assert_close(sky, farthest)
    assert (found[:, :, :15] == sky.view(-1, 1, 1, 1)).all()


def flickering_sky(seen):
    """Frames of a still scene, and estimates whose upper quarter is a masked sky in those frames alone where it is seen."""
    images, truth = scene(len(seen), ball=False)
    sky = torch.zeros_like(truth, dtype=torch.bool)
    sky[:, :, :15] = torch.tensor(seen, dtype=torch.bool).view(-1, 1, 1, 1)
    normals = F.normalize(torch.stack((truth, 1 - truth, 1 + 0 * truth), 1)[:, :, 0], dim=1)
    return images, Estimate(disturbed(truth).where(~sky, -5), Quantity.DISPARITY, normals, Axes.OPENGL, mask=~sky)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("first", [True, False])
def test_a_sky_that_is_seen_in_some_frames_only_neither_comes_nor_goes(first):
    images, estimate = flickering_sky([first, first, not first, first, not first, not first, first, first] * 2)
    found = VideoAligner().push(images, estimate)
    assert torch.equal(found.mask, estimate.mask[:1].expand_as(found.mask))
    changes = found.depth.diff(dim=0).abs().amax((1, 2, 3)) / found.depth.std()
    assert changes.max() < 0.01, "a point of the sky becomes nearer and farther"
    assert found.normals.diff(dim=0).abs().max() < 0.01
    assert torch.equal(VideoAligner(ALIGN_ONLY).push(images, estimate).mask, estimate.mask), "without smoothing each frame has its own"


@pytest.mark.slow("takes most of a second")
def test_a_sky_changes_where_most_frames_or_the_image_say_so():
    images, estimate = flickering_sky([True] * 8 + [False] * 20)
    masked = ~VideoAligner().push(images, estimate).mask[:, 0, 0, 0]
    assert masked[:10].all() and not masked[25:].any()
    images[8:] = make_image(seed=7)
    masked = ~VideoAligner(VideoOptions(cuts=False)).push(images, estimate).mask[:, 0, 0, 0]
    assert masked[:8].all() and not masked[9:].any()


def test_a_video_goes_on_in_parts_and_after_a_stop_as_at_once():
    """With its sky and normals."""
    images, estimate = flickering_sky([True, True, False, True, False, False, True, True])
    whole, aligner, parts = VideoAligner().push(images, estimate), VideoAligner(), []
    for start, stop in ((0, 1), (1, 4), (4, 8)):
        if start == 4:
            state, aligner = aligner.state_dict(), VideoAligner()
            aligner.load_state_dict(state)
        parts.append(aligner.push(images[start:stop], estimate.slice(start, stop)))
    joined = Estimate.cat(parts)
    assert all(torch.equal(getattr(joined, name), getattr(whole, name)) for name in ("depth", "normals", "mask"))


@pytest.mark.parametrize("value", [0.0, 7.0, torch.nan])
def test_constant_and_empty_frames_are_finite_where_they_were(value):
    found = aligned(make_image().repeat(3, 1, 1, 1), torch.full((3, 1, HEIGHT, WIDTH), value), VideoOptions())
    torch.testing.assert_close(found, torch.full_like(found, value), equal_nan=True)


def test_constant_frames_follow_the_first_and_wake_up_again():
    depths = torch.cat((torch.full((2, 1, HEIGHT, WIDTH), 4.0), torch.full((2, 1, HEIGHT, WIDTH), 9.0), surface().repeat(2, 1, 1, 1)))
    found = aligned(make_image().repeat(6, 1, 1, 1), depths)
    torch.testing.assert_close(found[:4], torch.full_like(found[:4], 4))
    assert found.isfinite().all() and found[5].std() > 0.05


def test_the_layout_of_images_in_memory_makes_no_difference():
    images, depths = scene(4)
    interleaved = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(aligned(interleaved, depths, SMOOTH_ONLY), aligned(images, depths, SMOOTH_ONLY))


def test_its_memory_does_not_grow():
    aligner = VideoAligner()
    sizes = []
    for _ in range(5):
        aligner.push(make_image().repeat(2, 1, 1, 1), Estimate(surface().repeat(2, 1, 1, 1), Quantity.DISPARITY))
        sizes.append(len(pickle.dumps(aligner)))
    assert sizes[-1] == sizes[1] < 10 * 4 * 3 * HEIGHT * WIDTH


@pytest.mark.slow("takes most of a second")
def test_large_maps_are_compared_by_smaller_images_as_well(monkeypatch):
    images, depths = (F.interpolate(each, scale_factor=3, mode="bilinear") for each in scene(12))
    depths = depths + 0.05 * torch.randn(depths.shape, generator=torch.Generator().manual_seed(0))
    aligner = VideoAligner(SMOOTH_ONLY)
    halved = aligner.push(images, Estimate(depths, Quantity.DISPARITY)).depth
    assert aligner.state_dict()["guide"][0].shape[-2:] == (90, 120), "half the map's size"
    monkeypatch.setattr(stabilization, "_HALVED_FROM", 1000)
    apart, smoothed = (halved - aligned(images, depths, SMOOTH_ONLY))[4:].abs(), (halved - depths)[4:].abs()
    assert apart.mean() < 0.1 * smoothed.mean()


@pytest.mark.slow("takes two seconds")
def test_smoothing_stills_what_trembles_and_leaves_what_moves():
    images, truth = scene(30)
    trembling = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    found = aligned(images, trembling, SMOOTH_ONLY)
    still = (slice(None), slice(None), slice(50, None))
    assert found[still].diff(dim=0).abs().mean() < trembling[still].diff(dim=0).abs().mean() / 5
    square = images[:, :1] == 0.9
    inner = F.avg_pool2d(square.float(), 13, 1, 6) == 1
    assert (found - trembling)[inner & square].abs().max() < 0.2, "the square is where it is now"
    left = aligned(images, trembling, VideoOptions("none", smooth=0))
    assert torch.equal(left, trembling), "and without options nothing is done"


def test_a_wall_beside_somebody_who_leaves_keeps_no_patches():
    """A network sees the wall nearer beside who moves, and, where it cannot know, in all of the frames that show him."""
    frames, width = 24, 12
    images, truth = make_image().repeat(frames, 1, 1, 1), surface().repeat(frames, 1, 1, 1)
    given = truth.clone()
    for t in range(frames // 2):
        left, halo = 6 * t + 8, slice(max(0, 6 * t - 8), 6 * t + width + 24)
        given[t, :, 20:, halo] += 0.4
        given[t, :, :20, 20:] += 0.4
        images[t, :, 20:, left : left + width] = RED
        given[t, :, 20:, left : left + width] = 4.0
    off = (aligned(images, given, SMOOTH_ONLY) - truth).abs()[frames // 2 + 3 :]
    assert off.flatten(1).amax(1)[0] < 0.1
    assert off.mean() < 0.02


def test_one_bad_frame_does_not_start_the_mean_anew():
    images, truth = scene(12, ball=False)
    given = truth.clone()
    given[8, :, 20:40, 20:40] += 1.0
    assert (aligned(images, given, SMOOTH_ONLY) - truth)[8:].abs().max() < 0.15


def test_normals_of_the_model_are_smoothed_alike():
    random = torch.Generator().manual_seed(0)
    normals = torch.tensor([0.0, 0.6, 0.8])[:, None, None] + 0.1 * torch.randn(20, 3, HEIGHT, WIDTH, generator=random)
    normals[3, :, :5] = torch.nan
    given = Estimate(normals=F.normalize(normals, dim=1), axes=Axes.SCANNET)
    found = VideoAligner(SMOOTH_ONLY).push(make_image().repeat(20, 1, 1, 1), given)
    assert found.axes is Axes.SCANNET and found.depth is None
    assert found.normals[3, :, :5].isnan().all() and found.normals[4:].isfinite().all()
    torch.testing.assert_close(found.normals[4:].norm(dim=1), torch.ones(16, HEIGHT, WIDTH))
    tremble = [each[5:].diff(dim=0).abs().mean() for each in (found.normals, given.normals)]
    assert tremble[0] < tremble[1] / 5


@pytest.mark.slow("takes a second")
def test_what_shakes_fast_keeps_its_rim():
    # Flow over six frames does not see it: it is back where it was.
    height, width = 160, 200
    random = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.rand(2, 3, height // 4, width // 4, generator=random), (height, width), mode="bicubic").clamp(0, 1)
    behind, before = patterns.split(1)
    thing = torch.zeros(1, 4, height, width)
    thing[..., 40:120, 60:140] = torch.cat((0.35 + 0.2 * before, torch.ones(1, 1, height, width)), 1)[..., 40:120, 60:140]
    images, depths = [], []
    for frame in range(16):
        shift = torch.tensor([[[1, 0, 2 * 1.5 * (-1) ** frame / width], [0, 1, 0]]])
        moved = F.grid_sample(thing, F.affine_grid(shift, [1, 4, height, width], align_corners=False), align_corners=False)
        alpha = moved[:, 3:]
        noise = 0.006 * torch.randn(1, 3, height, width, generator=random)
        images.append(((0.4 + 0.2 * behind) * (1 - alpha) + moved[:, :3] + noise).clamp(0, 1))
        depths.append(torch.lerp(torch.tensor(0.3), torch.tensor(0.9), alpha))
    true = torch.cat(depths)
    found = VideoAligner(SMOOTH_ONLY).push(torch.cat(images), Estimate(true, Quantity.DISPARITY)).depth
    rim = (F.max_pool2d(true, 9, 1, 4) + F.max_pool2d(-true, 9, 1, 4))[6:] > 0.5
    error = (found - true)[6:][rim].abs().mean()
    assert error < 0.004


STARTED = VideoAligner()
STARTED.push(make_image(), Estimate(surface(), Quantity.DISPARITY))
test_what_does_not_go_on_is_refused = refuses(
    STARTED.push,
    (torch.rand(2, 3, HEIGHT, WIDTH), Estimate(surface(), Quantity.DISPARITY), "2 frames and estimates of 1"),
    (make_image(), Estimate(surface()[..., :40], Quantity.DISPARITY), "80x60 pixels, the next has 40x60"),
    (make_image(), Estimate(normals=make_image()), "depth or normals"),
)
test_unknown_options_are_refused = refuses(
    lambda options: VideoOptions(**options),
    *(({name: value}, "accepted") for name, value in (("align", "affine"), ("smooth", 1.5), ("smooth", float("nan")))),
)
