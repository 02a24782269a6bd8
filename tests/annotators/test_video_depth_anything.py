import gc
import weakref
from dataclasses import replace

import pytest
import torch

from depth_normal.annotators import video_depth_anything as windows
from depth_normal.annotators.base import LEAST_METRES
from depth_normal.annotators.networks import depth_anything as motion
from depth_normal.annotators.networks.dpt import DptConfig
from depth_normal.annotators.networks.vit import VitConfig
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.video_depth_anything import VideoDepthAnythingAnnotator, shots
from tests import video_depth_oracle as ORACLE

VIT, DPT = VitConfig(32, 4, 2, (0, 1, 2, 3), grid=5), DptConfig((16, 24, 64, 128), 64)
RELATIVE, METRIC = MODELS["video-depth-anything-small"], MODELS["video-depth-anything-metric-small"]
HEIGHT, WIDTH, SIZE = 28, 42, 28


def four_at_once(step, total):
    """The simplest `InChunks`."""
    for start in range(0, total, 4):
        step(start, min(start + 4, total))


ONE_SHOT = {"size": None, "fov": 0.0, "is_cut": None, "in_chunks": four_at_once}


def shrunk(spec):
    return replace(spec, config=replace(spec.config, vit=VIT, dpt=DPT), default_size=SIZE)


def build(spec=RELATIVE):
    spec = shrunk(spec)
    return VideoDepthAnythingAnnotator.build(spec, {"network": ORACLE.random_state(spec.config)}, torch.float32)


@pytest.fixture(scope="module")
def annotator():
    return build()


def clip(total, height=HEIGHT, width=WIDTH, seed=1):
    """A pan over a soft image, with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(height + total, width + total), mode="bicubic").clamp(0, 1)
    frames = [image[0, :, i // 2 : i // 2 + height, i : i + width] for i in range(total)]
    return (torch.stack(frames) + 0.02 * torch.randn(total, 3, height, width, generator=generator)).clamp(0, 1)


@torch.no_grad()
def depth_of_video(annotator, frames, chunk=7, **more):
    return torch.cat([estimate.depth for estimate in annotator.estimate_video(frames.split(chunk), **{**ONE_SHOT, **more})])


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


def one_at_a_time(step, total):
    for index in range(total):
        step(index, index + 1)


def all_at_once(step, total):
    step(0, total)


@pytest.mark.quick_cases(2)
@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 5, 32])
def test_the_network_is_the_papers(annotator, frames, is_the_authors):
    pixels = torch.cat((annotator.normalised(clip(frames)), annotator.normalised(clip(frames, seed=2))))
    is_the_authors(f"video-depth-anything, frames: {frames}", depth=annotator.network(pixels, frames)[:: max(1, frames // 4)])


def by_windows(annotator, pixels):
    """The depth of normalised frames of one window."""
    return torch.relu(annotator.network(pixels, len(pixels)))


def test_a_module_sees_as_many_pixels_at_once_as_memory_holds(monkeypatch):
    torch.manual_seed(0)
    module = motion.MotionModule(32).requires_grad_(False)
    x = torch.randn(2 * 5, 32, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = module(x, 5)
    monkeypatch.setattr(motion, "VALUES_AT_ONCE", 5 * 32 * 4)  # 4 pixels of the 42
    torch.testing.assert_close(module(x, 5), expected)
    assert not torch.allclose(module(x.flip(0), 5).flip(0), expected, atol=1e-3), "time has a direction"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("spec", "total"),
    [*((RELATIVE, total) for total in (7, 1, 24, 25, 32, 56, 70)), (METRIC, 56)],
    ids=lambda value: value if isinstance(value, int) else value.quantity.value,
)
def test_a_video_is_the_published_scheme(spec, total):
    annotator, frames = build(spec), clip(total)
    with torch.no_grad():
        expected = ORACLE.video(lambda window: by_windows(annotator, annotator.normalised(window)), frames, metric=spec is METRIC)
    chunks = {1: one_at_a_time, 70: all_at_once}.get(total, four_at_once)
    estimates = list(annotator.estimate_video(frames.split(5), **{**ONE_SHOT, "in_chunks": chunks}))
    assert {estimate.quantity for estimate in estimates} == {spec.quantity}
    close(torch.cat([estimate.depth for estimate in estimates]), expected.clamp(min=LEAST_METRES) if spec is METRIC else expected)


@pytest.mark.slow("takes seconds")
@pytest.mark.parametrize(("height", "width", "total"), [(112, 126, 33), (150, 100, 33), (240, 100, 33), (100, 150, 70)])
def test_windows_aligned_at_the_networks_size_are_nearly_those_aligned_enlarged(annotator, height, width, total):
    """Prints by how much; docs/parity.md has the figures."""
    frames = clip(total, height, width)

    def enlarged(window):
        maps = by_windows(annotator, annotator.normalised(annotator.resize_images(window, 2 * SIZE)))
        return torch.nn.functional.interpolate(maps, (height, width), mode="bilinear").clamp(min=0)

    expected = ORACLE.video(enlarged, frames, metric=False)
    found = torch.nn.functional.interpolate(depth_of_video(annotator, frames, size=2 * SIZE), (height, width), mode="bilinear")
    apart = (found - expected).abs() / expected.abs().max()
    print(f"{height}x{width}, {total} frames: {apart.max():.1e} of the largest value, {apart.mean():.1e} on average")
    assert apart.max() < 2e-2 and apart.mean() < 2e-3


def test_near_stays_near_where_a_window_runs_against_the_ones_before():
    joined = windows.JoinedWindows(aligned=True)
    depth = torch.rand(32, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    joined.push(depth)
    turned = joined.push(1 - depth)
    assert turned.isfinite().all() and turned[8:].std() < 1e-6


@pytest.mark.slow("takes most of a second")
def test_a_cut_begins_anew(annotator):
    first, second = clip(26), clip(40, seed=5)
    at = iter([False] * 26 + [True] + [False] * 39)
    is_cut = lambda frames: torch.tensor([next(at) for _ in frames])  # noqa: E731
    found = depth_of_video(annotator, torch.cat((first, second)), is_cut=is_cut)
    close(found, torch.cat((depth_of_video(annotator, first), depth_of_video(annotator, second))))


def test_pieces_end_at_cuts():
    frames = torch.arange(6.0)[:, None, None, None].expand(6, 3, 1, 1)
    marks = {0.0: False, 1.0: True, 2.0: False, 3.0: True, 4.0: True, 5.0: False}
    is_cut = lambda chunk: torch.tensor([marks[value] for value in chunk[:, 0, 0, 0].tolist()])  # noqa: E731
    pieces = [(piece[:, 0, 0, 0].tolist(), begins) for piece, begins in shots(frames.split(3), is_cut)]
    assert pieces == [([0.0], False), ([1.0, 2.0], True), ([3.0], True), ([4.0, 5.0], True)]
    assert [(len(piece), begins) for piece, begins in shots(frames.split(4), None)] == [(4, False), (2, False)]


class Video:
    """Chunks of a video, of which it counts those that are alive, at most."""

    def __init__(self, total, chunk):
        self.total, self.chunk, self.alive, self.most, self.read = total, chunk, weakref.WeakSet(), 0, 0

    def __iter__(self):
        for start in range(0, self.total, self.chunk):
            frames = clip(self.chunk, seed=start)
            self.alive.add(frames)
            self.read += self.chunk
            self.most = max(self.most, len(self.alive))
            yield frames
            del frames


@torch.no_grad()
@pytest.mark.slow("takes most of a second")
def test_what_is_held_does_not_grow_with_the_video(annotator, monkeypatch):
    # the network's own memory is that of a window; here the frames and the depth are counted
    monkeypatch.setattr(annotator.network, "through_time", lambda features, frames: features[2])
    monkeypatch.setattr(
        annotator.network, "finish", lambda path, features: features[0].mean((1, 2, 3), keepdim=True).expand(-1, 1, HEIGHT, WIDTH)
    )
    most = {}
    for total in (100, 400):
        video, behind, given, depth = Video(total, 4), 0, 0, 0
        for estimate in annotator.estimate_video(video, **ONE_SHOT):
            given += estimate.batch
            depth = max(depth, estimate.batch)
            behind = max(behind, video.read - given)
        gc.collect()
        assert given == total and not video.alive
        most[total] = (video.most, behind, depth)
    assert most[100] == most[400]
    assert most[400][0] <= 2, "two chunks: the one in work and the one asked for"
    assert most[400][1] <= 8 + 4 and most[400][2] <= 24


def test_a_video_without_frames_gives_nothing(annotator):
    assert list(annotator.estimate_video([], **ONE_SHOT)) == []


def test_the_camera_is_noted(annotator):
    estimate = next(annotator.estimate_video([clip(3, 112, 168)], **{**ONE_SHOT, "fov": 60.0}))
    assert estimate.intrinsics.shape == (3, 3, 3)
    assert estimate.intrinsics[0, 0, 0].item() == pytest.approx(WIDTH / 2 / torch.tan(torch.tensor(torch.pi / 6)).item(), rel=1e-4)
