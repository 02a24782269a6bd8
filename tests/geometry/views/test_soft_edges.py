"""Soft silhouettes, against a disc that a lens blurred: what a second camera sees is known."""

import logging

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import intrinsics_from_focal_length
from depth_normal.geometry.edges.depth_edges import depth_at_image_edges
from depth_normal.geometry.filters import kernels
from depth_normal.geometry.filters.box import box_means
from depth_normal.geometry.images.srgb import linear_to_srgb
from depth_normal.geometry.views import soft_edges
from depth_normal.geometry.views.disocclusion import fill_uncovered
from depth_normal.geometry.views.forward_warp import render_layer, with_margin
from depth_normal.geometry.views.parallax import parallax_frames
from depth_normal.geometry.views.soft_edges import lay_over, split_soft_edges
from tests.geometry.views.moved_cameras import moved_camera

HEIGHT, WIDTH, RADIUS = 120, 180, 30.0
NEAR, FAR, MOVE = 1.0, 3.0, 12.0
INTRINSICS = intrinsics_from_focal_length(MOVE, HEIGHT, WIDTH)
ROWS, COLUMNS = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")


def wall(moved=0.0):
    """(3, H, W) a coloured gradient in linear light that is `moved` pixels to the left."""
    return torch.stack((0.1 + (COLUMNS + moved) / WIDTH * 0.2, 0.5 + ROWS / HEIGHT * 0.2, torch.full_like(ROWS, 0.6)))


def scene(blur, moved=0.0, far_moved=0.0):
    """The image (1, 3, H, W) and depth of a red disc before a wall; its edge is blurred by so many pixels."""
    away = torch.hypot(ROWS - HEIGHT / 2, COLUMNS - WIDTH / 2 + moved) - RADIUS
    alpha = torch.special.ndtr(-away / blur)
    light = alpha * torch.tensor((0.6, 0.1, 0.05)).view(3, 1, 1) + (1 - alpha) * wall(far_moved)
    return linear_to_srgb(light)[None], torch.where(away < 0, NEAR, FAR)[None, None]


def hair(blur, seed):
    """The image and depth of dark strands before a pale wall: their outline is uneven, and so is their depth, by 8 %."""
    generator = torch.Generator().manual_seed(seed)

    def field(size):
        values = torch.rand(1, 1, HEIGHT // size, WIDTH // size, generator=generator)
        return F.interpolate(values, (HEIGHT, WIDTH), mode="bicubic")[0, 0].clamp(0, 1)

    away = torch.hypot(ROWS - HEIGHT / 2, COLUMNS - WIDTH / 2) - RADIUS + 4 * field(6) - 2
    alpha = torch.special.ndtr(-away / blur)
    light = alpha * (0.02 + 0.12 * field(2)) + (1 - alpha) * 0.7
    depth = torch.where(away < 0, NEAR / (1 - 0.08 * field(3)), FAR)
    return linear_to_srgb(light).expand(1, 3, -1, -1), depth[None, None]


def specks(view):
    """How many pixels are brighter than all but two of those around them, by 0.15."""
    values = view.mean(1, keepdim=True)
    around = F.unfold(F.pad(values, (1, 1, 1, 1), mode="reflect"), 3).view(9, *values.shape[-2:])
    third = torch.cat((around[:4], around[5:])).sort(0).values[5]
    return int((values[0, 0] > third + 0.15).sum())


def error_near_the_edge(view, true):
    near = (torch.hypot(ROWS - HEIGHT / 2, COLUMNS - WIDTH / 2 + MOVE) - RADIUS).abs() < 6
    return float((view - true)[0][:, near].square().mean().sqrt())


def unsplit(image, depth, move):
    rendered = render_layer(with_margin(image, 1 / depth, (20, 0)), moved_camera(move), HEIGHT, WIDTH)
    return fill_uncovered(rendered.colour, rendered.inverse, sideways=True)


@pytest.mark.parametrize("blur", [1.0, 1.5, 2.0])
def test_a_blurred_edge_lets_the_new_background_through(blur):
    image, depth = scene(blur)
    depth = depth_at_image_edges(depth, image)
    true, _ = scene(blur, MOVE / NEAR, MOVE / FAR)
    (view,) = parallax_frames(image, depth, INTRINSICS, torch.tensor([[1.0, 0.0, 0.0]]))
    assert error_near_the_edge(view, true) < 0.6 * error_near_the_edge(unsplit(image, depth, MOVE), true)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("blur", [1.0, 1.5])
@pytest.mark.parametrize("position", [(3.0, 0.0, 0.0), (2.0, 2.0, 0.0)])
def test_no_crack_opens_beside_the_rim_of_hair(blur, position):
    """Moved by 36 pixels, strands part by up to 3: the wall behind does not show between them, nor between them and their rim."""
    for seed in range(3):
        image, depth = hair(blur, seed)
        (view,) = parallax_frames(image, depth_at_image_edges(depth, image), INTRINSICS, torch.tensor([position]))
        assert specks(view) == specks(image) == 0


@pytest.mark.parametrize("beyond", [2, 3])
def test_no_faint_line_keeps_the_depth_of_the_thing_beside_it(beyond):
    """Depth that reaches a few pixels beyond a disc before black takes the faint end of its blur for the disc."""
    away = torch.hypot(ROWS - HEIGHT / 2, COLUMNS - WIDTH / 2) - RADIUS
    light = torch.special.ndtr(-away / 1.2) * torch.tensor((0.6, 0.05, 0.0)).view(3, 1, 1)
    depth = torch.where(away < beyond, NEAR, FAR)[None, None]
    rest, _ = split_soft_edges(linear_to_srgb(light)[None], 1 / depth, (0, 0))
    assert away[rest.inverse[0, 0] > 0.9].max() < 1


@pytest.mark.parametrize("brightness", [0.02, 0.8])
def test_no_fringe_of_a_sharpened_image_stays_on_the_background(brightness):
    """The edge of the depth wavers about that of the image by 3 pixels."""
    rows, columns = torch.meshgrid(torch.arange(300.0) - 150, torch.arange(1200.0) - 600, indexing="ij")
    away, far = torch.hypot(rows, columns) - 100, 0.3
    alpha = torch.special.ndtr(-away / 2)
    grain = torch.randn(away.shape, generator=torch.Generator().manual_seed(0)) * 0.004
    image = linear_to_srgb(alpha * brightness + (1 - alpha) * far + grain).expand(1, 3, -1, -1)
    image = (image + 1.5 * (image - box_means(box_means(image, 1), 1))).clamp(0, 1)
    depth = torch.where(away < 3 * (8 * torch.atan2(rows, columns)).sin(), NEAR, FAR)[None, None]
    rest, _ = split_soft_edges(image, 1 / depth_at_image_edges(depth, image), (0, 0))
    shown = (rest.inverse > 0) & (rest.inverse < 0.5)
    wrong = (rest.colour - linear_to_srgb(torch.tensor(far))).abs().amax(1, keepdim=True)
    assert wrong[shown].max() < 0.045  # the grain


def sharp():
    image, depth = scene(0.2)
    return image, depth_at_image_edges(depth, image)


def textured():
    image, depth = scene(0.2)
    return torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 0.5 + image * 0.3, depth


def level():
    return scene(2.0)[0], torch.ones(1, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize("unsplit", [sharp, textured, level])
def test_what_has_no_soft_edges_of_depth_is_not_split(unsplit):
    image, depth = unsplit()
    rest, rims = split_soft_edges(image, 1 / depth, (0, 0))
    assert not rims.alpha.any() and torch.equal(rest.colour, image) and torch.equal(rest.inverse, 1 / depth)
    assert torch.equal(lay_over(rims, moved_camera(), image, 1 / depth), image)


def test_rims_laid_over_unmoved_are_the_image():
    image, depth = scene(1.5)
    rest, rims = split_soft_edges(image, 1 / depth_at_image_edges(depth, image), (5, 3))
    assert (rims.alpha > 0).sum() > 300
    view = moved_camera(sideways=False)
    # The far surface's colour is known everywhere but under the most opaque pixels.
    rendered = render_layer(rest, view, HEIGHT, WIDTH)
    filled = fill_uncovered(rendered.colour, rendered.inverse)
    difference = (lay_over(rims, view, filled, rendered.inverse) - image).abs().amax(1)
    assert difference[rendered.inverse[:, 0] > 0].max() < 1e-3
    assert difference.max() < 0.1


def test_nearer_things_hide_rims():
    image, depth = scene(1.5)
    _, rims = split_soft_edges(image, 1 / depth_at_image_edges(depth, image), (0, 0))
    before = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lay_over(rims, moved_camera(), before, torch.full_like(depth, 2 / NEAR)), before)


@pytest.mark.parametrize("margin", [(13, 7), (WIDTH - 1, HEIGHT - 1)])
def test_a_camera_that_needs_a_wider_margin_finds_the_same_rims(margin):
    """So a move changes no rim while a video plays, and the other images of a batch do not either."""
    image, depth = scene(1.5)
    inverse = 1 / depth_at_image_edges(depth, image)
    (rest, rims), (wide_rest, wide_rims) = (split_soft_edges(image, inverse, each) for each in ((0, 0), margin))
    columns, rows = slice(margin[0], margin[0] + WIDTH), slice(margin[1], margin[1] + HEIGHT)
    assert torch.equal(wide_rest.colour[..., rows, columns], rest.colour)
    assert torch.equal(wide_rest.inverse[..., rows, columns], rest.inverse)
    inside = (wide_rims.row >= 0) & (wide_rims.row < HEIGHT) & (wide_rims.column >= 0) & (wide_rims.column < WIDTH)
    for name in ("row", "column", "inverse", "alpha"):
        assert torch.equal(getattr(wide_rims, name)[..., inside], getattr(rims, name)), name
    # Powers of numbers that do not fill a vector, at the end of each thread's share, are rounded differently.
    torch.testing.assert_close(wide_rims.colour[:, inside], rims.colour, rtol=1e-6, atol=1e-7)


def test_grain_does_not_switch_between_mixtures():
    image, depth = scene(1.0)  # between two of the widths that are tried
    depth, opacities = depth_at_image_edges(depth, image), []
    for seed in range(6):
        grain = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * 2 / 255
        _, rims = split_soft_edges((image + grain).clamp(0, 1), 1 / depth, (0, 0))
        opacities.append(torch.zeros(HEIGHT * WIDTH).index_copy(0, (rims.row * WIDTH + rims.column), rims.alpha))
    opacity = torch.stack(opacities)
    opacity = opacity * (opacity < 1)  # without the whole surface beside the rims
    assert (opacity > 0).sum() > 1000
    assert opacity.std(0)[(opacity > 0).any(0)].mean() < 0.014


@pytest.mark.slow("interprets kernels")
def test_kernels_separate_soft_edges_as_the_eager_way_does(monkeypatch, caplog):
    """By Triton's interpreter; which kernel differs by more, or raises, is in the log."""
    pytest.importorskip("triton")
    from depth_normal.geometry.views import soft_edges_kernel

    monkeypatch.setattr(soft_edges_kernel, "_PIXELS", 1024)  # which takes a tenth of the time
    image, depth = hair(1.5, 0)
    rest, rims = split_soft_edges(image, 1 / depth, (6, 0))
    functions = soft_edges._beside, soft_edges._completed, soft_edges._expected, soft_edges._separated
    monkeypatch.setattr(kernels, "runs_kernels", lambda _: True)
    monkeypatch.setattr(kernels, "_RUNS_BEFORE", 0)
    monkeypatch.setattr(soft_edges, "places_where", lambda chosen: torch.arange(chosen.numel()))  # as on a GPU, which does not select
    for function in functions:
        monkeypatch.setattr(function, "_proven", set())
        monkeypatch.setattr(function, "_failed", set())
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            by_kernels = split_soft_edges(image, 1 / depth, (6, 0))
    assert not caplog.records and all(function._proven for function in functions)
    assert len(rims.inverse) > 1000
    torch.testing.assert_close((*by_kernels[0][:2], *by_kernels[1][:-1]), (*rest[:2], *rims[:-1]), rtol=0, atol=1e-5)
