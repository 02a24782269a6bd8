"""The camera move against planes whose motion is known."""

import math
from fractions import Fraction
from functools import partial

import pytest
import torch

from depth_normal.geometry.assumptions import DEFAULT_FOV
from depth_normal.geometry.camera import intrinsics_from_focal_length, intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.views import parallax
from depth_normal.geometry.views.parallax import (
    LARGEST_ZOOM,
    MOVES,
    camera_path,
    looped_positions,
    parallax_frames,
    parallax_of_clip,
    parallax_of_estimate,
)
from depth_normal.geometry.views.soft_edges import split_soft_edges
from depth_normal.options.views import LoopOptions
from tests.refusals import refusals, refuses

HEIGHT, WIDTH, FOCAL = 60, 100, 100.0
INTRINSICS = intrinsics_from_focal_length(FOCAL, HEIGHT, WIDTH)
RED, GREEN = torch.tensor((1.0, 0.0, 0.0)).view(3, 1, 1), torch.tensor((0.0, 1.0, 0.0)).view(3, 1, 1)


def view(image, depth, position, focus=math.inf, intrinsics=INTRINSICS):
    (frame,) = parallax_frames(image, depth, intrinsics, torch.tensor([position], dtype=torch.float32), focus)
    return frame


def noise(seed=0, batch=1):
    return torch.rand(batch, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def ramp():
    """Red grows by 0.005 a column, green by 0.01 a row: between pixels, bilinear reading is exact."""
    columns, rows = torch.arange(WIDTH).expand(HEIGHT, WIDTH), torch.arange(HEIGHT)[:, None].expand(HEIGHT, WIDTH)
    return torch.stack((columns * 0.005, rows * 0.01, torch.zeros(HEIGHT, WIDTH)))[None]


def columns_at(scale):
    """Red of `ramp` in an image of it that is scaled around its middle: each of its columns shows these."""
    middle = (WIDTH - 1) / 2
    return (middle + (torch.arange(WIDTH) - middle) * scale) * 0.005


def wall(depth):
    return torch.full((1, 1, HEIGHT, WIDTH), float(depth))


def plate_before_wall():
    """A red plate at depth 1, columns 30 to 69 and rows 15 to 44, before a green wall at depth 4."""
    image, depth = GREEN.expand(3, HEIGHT, WIDTH)[None].clone(), wall(4)
    image[..., 15:45, 30:70], depth[..., 15:45, 30:70] = RED, 1.0
    return image, depth


def test_all_frames_of_an_orbit_are_made_by_one_rule():
    """Its first position lies level with the source, by coincidence: the next is a millionth of the radius below."""
    image, depth = plate_before_wall()
    image = (image + noise()) / 2
    first, again = parallax_frames(image, depth, INTRINSICS, torch.tensor([(0.08, 0.0, 0.0), (0.08, 8e-8, 0.0)]))
    assert (first - again).abs().max() < 1e-3, "0.2 where holes are filled along rows alone"
    known, move = Estimate(depth, Quantity.METRIC_DEPTH), LoopOptions("orbit", 0.08)
    together = list(parallax_of_clip(torch.cat((image, image)), Estimate.cat([known, known]), move, (0, 6e-7)))
    assert (together[0] - together[1]).abs().max() < 1e-3
    (alone,) = parallax_of_clip(image, known, move, (0,))
    assert (alone - together[0]).abs().max() < 1e-5, "whichever part of the move a chunk of the video is"


@pytest.mark.parametrize("focus", [math.inf, 1.5])
def test_no_move_is_the_identity(focus):
    depth = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    image = noise()
    assert (view(image, depth, (0, 0, 0), focus) - image).abs().max() < 1e-6


@pytest.mark.parametrize("pixels", [3, -5])
def test_a_wall_moves_by_focal_length_times_move_over_depth(pixels):
    """To the right by f t / Z = 100 * 0.06 / 2 = 3: the image moves 3 to the left. Down likewise."""
    image, move = noise(), pixels * 2 / FOCAL
    inside = slice(8, -8)
    across = view(image, wall(2), (move, 0, 0))
    assert (across - image.roll(-pixels, 3))[..., inside].abs().max() < 1e-4
    down = view(image, wall(2), (0, move, 0))
    assert (down - image.roll(-pixels, 2))[..., inside, :].abs().max() < 1e-4


def test_the_focus_stays():
    image = noise()
    assert (view(image, wall(2), (0.1, -0.07, 0), focus=2.0) - image).abs().max() < 1e-4
    assert (view(image, wall(2), (0.1, 0, 0), focus=1.0) - image.roll(5, 3))[..., 8:-8].abs().max() < 1e-4, (
        "behind it, along with the camera"
    )


def test_a_dolly_magnifies_by_what_the_depth_becomes():
    """From 2 to 1.5: column x shows what was at middle + (x - middle) * 0.75. Back from 1 to 1.5, before a far end: times 1.5."""
    assert (view(ramp(), wall(2), (0, 0, 0.5))[0, 0] - columns_at(0.75)).abs().max() < 1e-5
    depth = wall(1)
    depth[..., :8] = 50
    back = next(parallax_of_estimate(ramp(), Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=INTRINSICS), torch.tensor([[0, 0, -0.5]])))
    assert (back[0, 0] - columns_at(1.5))[:, 40:-40].abs().max() < 1e-4


def test_a_camera_that_goes_close_leaves_no_holes():
    """From 2 to 0.24: everything is eight times as large, and a far wall behind the near one must not shine through."""
    depth = wall(2)
    depth[..., :3, :] = 40.0
    assert (view(ramp(), depth, (0, 0, 1.76))[0, 0, 10:] - columns_at(0.12)).abs().max() < 1e-5


@pytest.mark.parametrize("position", [(0.08, 0, 0), (-0.05, 0.06, 0), (0.03, 0.02, 0.25)])
def test_a_tilted_plane_has_no_cracks(position):
    """Inverse depth q = 0.3 + 0.004 u + 0.002 v seen from t: a point's new place is known, and so is the colour it carries there."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT, dtype=torch.float64), torch.arange(WIDTH, dtype=torch.float64), indexing="ij")
    frame = view(ramp(), (1 / (0.3 + 0.004 * columns + 0.002 * rows)).float()[None, None], position)[0].double()
    across, down, forward = position[0] * FOCAL, position[1] * FOCAL, position[2]
    u, v = columns.clone(), rows.clone()
    for _ in range(60):  # the place that moves here, by fixed point
        q = 0.3 + 0.004 * u + 0.002 * v
        u = 49.5 + across * q + (columns - 49.5) * (1 - forward * q)
        v = 29.5 + down * q + (rows - 29.5) * (1 - forward * q)
    inside = (u > 0) & (u < WIDTH - 1) & (v > 0) & (v < HEIGHT - 1)
    assert inside.float().mean() > 0.7
    assert (frame[0] - u * 0.005).abs()[inside].max() < 0.2 * 0.005 and (frame[1] - v * 0.01).abs()[inside].max() < 0.2 * 0.01


@pytest.mark.parametrize(("right", "down"), [(8, 0), (-8, 0), (0, 8), (0, -8), (8, 8), (-8, 4), (4, -8)])
def test_behind_a_plate_the_background_appears(right, down):
    """8 pixels for the plate, 2 for the wall: red exactly where the plate is now, green everywhere else, nothing in between."""
    image, depth = plate_before_wall()
    frame = view(image, depth, (right / FOCAL, down / FOCAL, 0))[0]
    expected = GREEN.expand(3, HEIGHT, WIDTH).clone()
    expected[:, 15 - down : 45 - down, 30 - right : 70 - right] = RED
    assert (frame - expected).abs().max() < 1e-4


def test_what_appears_continues_the_background_of_that_side():
    """A thin post between blue on its left and green on its right: a camera to the right sees more green."""
    image, depth = torch.zeros(1, 3, HEIGHT, WIDTH), wall(4)
    image[:, 2, :, :48], image[:, 1, :, 48:] = 1, 1
    image[..., 48:54], depth[..., 48:54] = RED, 1.0
    frame = view(image, depth, (0.12, 0, 0))[0]
    assert (frame[:, :, 36:42] - RED).abs().max() < 1e-4
    assert (frame[:, :, 54:] - GREEN).abs().max() < 1e-4 and frame[1, :, 48:54].mean() > 0.9, frame[:, 30, 40:56]


def test_moves_loop_and_swing_and_dolly_begin_at_rest():
    for move in MOVES:
        path = camera_path(move, 8, 0.3)
        assert path.shape == (8, 3) and torch.allclose(torch.linalg.vector_norm(path, dim=1).max(), torch.tensor(0.3))
        steps = torch.linalg.vector_norm(path - path.roll(1, 0), dim=1)
        assert steps.max() < 0.3, "no jump, not even from the last to the first"
    assert not camera_path("swing", 8, 0.3)[0].any() and not camera_path("dolly", 8, 0.3)[0].any()
    assert camera_path("swing", 8, 0.3)[2, 0] == pytest.approx(0.3) and (camera_path("dolly", 8, 0.3)[:, 2] >= 0).all()


test_bad_input_is_named = refuses(
    lambda depth, path: next(parallax_frames(noise(), depth, INTRINSICS, path)),
    (wall(2)[..., :-1], torch.zeros(1, 3), "resize one of them first"),
    (wall(0), torch.zeros(1, 3), "not positive and finite"),
    (wall(2), torch.zeros(3), "path has shape"),
    (wall(2), torch.tensor([[0, 0, 1.9]]), "into what stands at 2"),
)


WRONG = ({"move": "up"}, {"amount": 0.5}, {"focus": -1}, {"loop": 0}, {"loop": math.nan}, {"border": "cut"})
test_bad_moves_are_named = refusals(
    (lambda: camera_path("fly", 3, 0.1), "accepted: orbit, swing, dolly"),
    (lambda: camera_path("orbit", 0, 0.1), "expected at least 1 frame"),
    (lambda: camera_path("swing", 3, math.nan), "expected .* a finite number"),
    *((partial(LoopOptions, **each), next(iter(each))) for each in WRONG),
    (lambda: next(parallax_of_clip(*clip(2), LoopOptions(), (0,))), "as many of each"),
)


def clip(frames: int) -> tuple[torch.Tensor, Estimate]:
    """A still scene of three planes with stripes: disparity 3 on the left, then 2, then 1."""
    columns = torch.arange(96.0)
    image = (0.5 + 0.4 * torch.sin(columns / 3)).expand(1, 3, 64, 96)
    disparity = torch.where(columns < 36, 3.0, torch.where(columns < 72, 2.0, 1.0)).expand(1, 1, 64, 96)
    return image.expand(frames, -1, -1, -1), Estimate(disparity.expand(frames, -1, -1, -1).clone(), Quantity.DISPARITY)


@pytest.mark.parametrize(
    ("quantity", "values", "depths"),
    [
        (Quantity.DISPARITY, (3.0, 2.0, 1.0), (1.0, 1.5, 3.0)),
        (Quantity.METRIC_DEPTH, (2.0, 5.0, 20.0), (1.0, 2.5, 10.0)),
        (Quantity.RELATIVE_DEPTH, (0.0, 1.0, 2.0), (1.0, 2.0, 3.0)),
    ],
)
def test_the_planes_of_a_clip_move_as_their_depth_says(quantity, values, depths):
    images, found = clip(2)
    moves = (LoopOptions("swing", 0.1, 1.0, "mirror"), 1), (LoopOptions("dolly", 0.1, 1.0, "mirror"), 2)
    intrinsics = intrinsics_from_fov(DEFAULT_FOV, 64, 96)
    near, middle, far = ((found.depth == level) for level in (3, 2, 1))
    estimate = Estimate(near * values[0] + middle * values[1] + far * values[2], quantity)
    depth = near * depths[0] + middle * depths[1] + far * depths[2]
    made = [next(parallax_of_clip(images[:1], estimate.slice(0, 1), move, (time,))) for move, time in moves]
    true = [next(parallax_frames(images[:1], depth[:1], intrinsics, looped_positions(move, [time]), 1.0)) for move, time in moves]
    # Away from the edges, which are sharpened along those of the image.
    for columns in (slice(8, 24), slice(50, 60), slice(84, 90)):
        for one, other in zip(made, true, strict=True):
            torch.testing.assert_close(one[..., columns], other[..., columns], atol=1e-4, rtol=0)


def test_what_comes_near_does_not_push_the_rest_where_the_range_is_given():
    images, found = clip(2)
    found.depth[1, :, :32, :12] = 6
    move, times = LoopOptions("swing", 0.1, 1.0, "mirror"), (1, 1)
    middle = (..., slice(50, 60))
    first, second = parallax_of_clip(images, found, move, times, (1.0, 3.0))
    torch.testing.assert_close(first[middle], second[middle], atol=1e-4, rtol=0)
    first, second = parallax_of_clip(images, found, move, times)
    assert (first[middle] - second[middle]).abs().max() > 1e-2, "a range of each frame's own moves it"


def test_a_camera_repeats_its_loop():
    move = LoopOptions("orbit", 0.2, loop=2)
    times = [Fraction(frame, 24) for frame in range(48)]
    torch.testing.assert_close(looped_positions(move, times), camera_path("orbit", 48, 0.2))
    late = [time + 2 * 10**6 for time in times]
    assert looped_positions(move, late).equal(looped_positions(move, times)), "after weeks too"


def slope() -> tuple[torch.Tensor, Estimate]:
    """A wall whose colours tell each column and row, near on the left and far on the right."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 60), torch.linspace(0, 1, 100), indexing="ij")
    image = torch.stack((columns, rows, columns * 0))[None] * 0.8 + 0.1
    return image, Estimate((3 - 2 * columns)[None, None].clone(), Quantity.DISPARITY)


def shown_of(frame: torch.Tensor) -> list[float]:
    """The columns and rows of `slope` at the middles of a frame's left, right, upper and lower border, as shares."""
    edges = frame[0, 0, 30, 0], frame[0, 0, 30, -1], frame[0, 1, 0, 50], frame[0, 1, -1, 50]
    return [(float(edge) - 0.1) / 0.8 for edge in edges]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("move", ["orbit", "swing"])
@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0])
def test_what_is_cropped_shows_nothing_beside_the_image(move, focus):
    """Colours on the slope keep falling and rising to the border of each frame: nothing is mirrored there."""
    image, found = slope()
    path = camera_path(move, 8, 0.08)
    cropped = list(parallax_of_estimate(image, found, path, focus))
    times = [Fraction(frame, 2) for frame in range(8)]
    clip = parallax_of_clip(image.expand(8, -1, -1, -1), Estimate.cat([found] * 8), LoopOptions(move, 0.08, focus), times)
    for frame in (*cropped, *clip):
        assert frame.shape == image.shape
        assert (frame[0, 0].diff(dim=1) > 1e-3).all() and (frame[0, 1].diff(dim=0) > 1e-3).all()
    mirrored = torch.cat(list(parallax_of_estimate(image, found, path, focus, "mirror")))
    assert (mirrored[:, 0].diff(dim=2) < 0).any(), "a mirrored column runs the other way"
    left, right, _, _ = torch.tensor([shown_of(frame) for frame in cropped]).T
    assert (move, focus) != ("swing", 0.5) or (left.min() < 0.01 and right.max() > 0.99), "no more is cut off than has to be"


def test_a_dolly_is_not_cropped_and_the_largest_move_within_bounds():
    image, found = slope()
    first, _ = parallax_of_estimate(image, found, camera_path("dolly", 2, 0.1))
    assert torch.equal(first, image)
    frame, *_ = parallax_of_estimate(image, found, camera_path("swing", 4, 0.4), 1.0)
    left, right, _, _ = shown_of(frame)
    assert right - left == pytest.approx(1 / LARGEST_ZOOM, abs=0.03)


@pytest.mark.parametrize(("move", "most"), [("orbit", 3.0), ("swing", 3.0), ("dolly", 100.0)])
def test_far_things_have_edges_only_where_a_move_shows_them(move, most, monkeypatch):
    """Edges are found in depth whose far end is three times as far as its near end, where only differences of inverse depth count."""
    image, _ = slope()
    depth = (1 / torch.linspace(1, 0.01, 100)).expand(1, 1, 60, 100)
    found = Estimate(depth, Quantity.METRIC_DEPTH)
    handed, with_steps = [], parallax._with_steps
    monkeypatch.setattr(parallax, "_with_steps", lambda depth, *rest: handed.append(depth) or with_steps(depth, *rest))
    list(parallax_of_estimate(image, found, camera_path(move, 2, 0.05)))
    list(parallax_of_clip(image, found, LoopOptions(move), (0,)))
    for each in handed:
        assert float(each.amax() / each.amin()) == pytest.approx(most, rel=0.1)


def test_planes_of_an_image_move_as_their_depth_says_however_far_they_are():
    """By f t / Z, against the focus at the far end."""
    image, depth = ramp(), wall(50)
    depth[..., :50] = 1.0
    found = Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=INTRINSICS)
    moved = (next(parallax_of_estimate(image, found, torch.tensor([[0.05, 0.0, 0.0]]), 0.0, "mirror")) - image)[:, 0] / 0.005
    assert (moved[..., 8:36] - 0.05 * FOCAL * (1 - 1 / 50)).abs().max() < 2e-3 > moved[..., 64:-4].abs().max()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("fov", [0.0, 25.0])
def test_a_clip_is_cropped_as_its_camera_needs(fov):
    """A long lens moves the image farther; where it is not given, the first frame's is that of all."""
    image, found = slope()
    found = Estimate(found.depth, found.quantity, intrinsics=intrinsics_from_fov(25.0 if fov == 0 else 80.0, HEIGHT, WIDTH))
    times = [Fraction(frame, 2) for frame in range(8)]
    other = Estimate(found.depth, found.quantity, intrinsics=intrinsics_from_fov(20.0, HEIGHT, WIDTH))
    known = Estimate.cat([found, *[other] * 7])
    for frame in parallax_of_clip(image.expand(8, -1, -1, -1), known, LoopOptions("swing", 0.05), times, fov=fov):
        assert (frame[0, 0].diff(dim=1) > 1e-3).all()


@pytest.mark.parametrize("move", MOVES)
def test_frames_rendered_together_are_those_rendered_one_by_one(move):
    """A GPU renders several at once: each must be what it is alone."""
    image, depth = plate_before_wall()
    image, path = (image + noise() * 0.2).clamp(0, 1), camera_path(move, 5, 0.15)[1:]
    layer, rims = split_soft_edges(image, 1 / depth, (40, 20))
    render, focus = partial(parallax._rendered, layer, rims, height=HEIGHT, width=WIDTH), torch.full((1, 1, 1, 1), 0.5)
    together, *alone = (
        render(parallax._views(part, INTRINSICS, focus, move == "swing", 2))
        for part in (path.tolist(), *([each] for each in path.tolist()))
    )
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    assert (together - image).abs().amax((1, 2, 3)).min() > 0.5
