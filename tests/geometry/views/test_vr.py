"""Both eyes' half spheres and panoramas against rays that are traced from the eyes themselves."""

import math

import pytest
import torch
from torch.nn.functional import grid_sample, normalize

from depth_normal.geometry.assumptions import NEAR_FAR_RATIO
from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.srgb import linear_to_srgb
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.sphere import panorama_directions, with_surroundings
from depth_normal.geometry.views import vr
from depth_normal.geometry.views.spherical_camera import TAPER
from depth_normal.geometry.views.vr import NEAR_END, pair_for, vr_pair
from depth_normal.options.views import AROUND_LAYOUTS, FLAT_LAYOUTS, VR_LAYOUTS, StereoOptions
from tests import panorama_scenes
from tests.refusals import refusals

WIDTH = 384
DISTANCE = 63.0
PIXEL = 2 * math.pi / WIDTH


def panorama_of(traced):
    return Estimate(traced.distance, Quantity.METRIC_DEPTH, mask=traced.valid, projection=Projection.EQUIRECTANGULAR)


def coded(directions):
    """Unit vectors as colours: what a pixel shows tells its source."""
    return directions * 0.5 + 0.5


def eye_rays(layout, side, height=WIDTH // 2, width=WIDTH):
    """Unit rays of an eye's pixels, and where they start."""
    rays = panorama_directions(height, width)
    latitude = torch.asin(-rays[:, 1:2]).abs()
    start, end = (math.radians(each) for each in TAPER)
    taper = (1 + (((latitude - start) / (end - start)).clamp(0, 1) * math.pi).cos()) / 2
    right = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand_as(rays)
    if layout in AROUND_LAYOUTS:  # the eye beside each column's own direction
        level = normalize(rays * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1), dim=1)
        right = torch.stack((level[:, 2], torch.zeros_like(level[:, 0]), -level[:, 0]), 1)
    eyes = right * (side * DISTANCE / 2000 * taper)
    if layout == "vr180":
        front = slice(width // 4, 3 * width // 4)
        return rays[..., front], eyes[..., front]
    return rays, eyes


def angles(shown, rays):
    """Between the colour-coded vectors and the true ones, in pixels."""
    found = normalize((shown - 0.5) * 2, dim=1)
    return 2 * torch.asin((found - rays).norm(dim=1, keepdim=True).clamp(max=2) / 2) / PIXEL


@pytest.fixture(scope="module", params=list(panorama_scenes.SCENES))
def scene(request):
    things = panorama_scenes.SCENES[request.param]()
    return things, panorama_scenes.panorama(things, WIDTH)


def seen_by_both(things, rays, eyes, source_at):
    """The unit vectors from the camera to what an eye's rays meet, and where the camera sees it too."""
    truth = panorama_scenes.traced(things, rays, eyes)
    points = eyes + rays * torch.where(truth.valid, truth.distance, 1e4)
    known = source_at(points)
    near = points.norm(dim=1, keepdim=True)
    return normalize(points, dim=1), ~truth.valid | ((known - near).abs() < 0.02 * near)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("layout", ["vr180", "360-tb"])
def test_panoramas_agree_with_rays_from_the_eyes(scene, layout):
    things, traced = scene
    pair = vr_pair(coded(panorama_directions(WIDTH // 2, WIDTH)), panorama_of(traced), layout)

    def distance_at(points):
        x, y, z = normalize(points, dim=1).unbind(1)
        margin = 2
        around = with_surroundings(torch.where(traced.valid, traced.distance, 1e4), margin)
        column, row = (torch.atan2(x, z) / PIXEL + WIDTH / 2 + margin), (torch.asin(y) / PIXEL + WIDTH / 4 + margin)
        places = torch.stack((column / around.shape[-1], row / around.shape[-2]), -1) * 2 - 1
        return grid_sample(around, places, "nearest", "border", align_corners=False)

    for shown, holes, side in ((pair.left, pair.holes_left, -1), (pair.right, pair.holes_right, 1)):
        truth, seen = seen_by_both(things, *eye_rays(layout, side), distance_at)
        error, without = (angles(image, truth)[seen & ~holes] for image in (shown, coded(eye_rays(layout, side)[0])))
        assert error.median() < 0.05 and error.quantile(0.98) < 1 and without.quantile(0.75) > 5 * error.quantile(0.75)
        assert 0 < holes.float().mean() < 0.01


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("layout", AROUND_LAYOUTS)
def test_the_border_is_like_any_other_column_in_one_band_or_many(scene, layout, monkeypatch):
    _, traced = scene
    turn = WIDTH // 3 - 1  # where a thing's edge lies beside the border
    rolled = panorama_scenes.Traced(*(each.roll(turn, -1) for each in (traced.image, traced.distance, traced.normals)))
    pair = vr_pair(traced.image, panorama_of(traced), layout)
    monkeypatch.setattr(vr, "_BAND", 1)
    other = vr_pair(rolled.image, panorama_of(rolled), layout)
    for eye, again in ((pair.left, other.left), (pair.right, other.right)):
        assert (eye.roll(turn, -1) - again).abs().max() < 0.01
    assert torch.equal(pair.holes_left.roll(turn, -1), other.holes_left)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("layout", ["vr180", "360-tb"])
def test_poles_are_seen_alike(scene, layout):
    """Beyond 80 degrees the eye distance is 0."""
    _, traced = scene
    pair = vr_pair(traced.image, panorama_of(traced), layout)
    count = WIDTH // 40
    rows = torch.cat((torch.arange(0, count), torch.arange(WIDTH // 2 - count, WIDTH // 2)))
    shown = traced.image if layout != "vr180" else traced.image[..., WIDTH // 4 : 3 * WIDTH // 4]
    assert max((eye - shown)[..., rows, :].abs().max() for eye in (pair.left, pair.right)) < 1e-3
    assert (pair.left - pair.right).abs().mean() > 1e-3


@pytest.mark.parametrize("size", [0, 400])
def test_a_plane_lies_at_its_angle_for_each_eye(size):
    """A stripe on a wall 2 m ahead, 0.5 m to the right of the axis: atan((0.5 -+ half the eye distance) / 2)."""
    height, width, fov = 240, 320, 60.0
    camera = intrinsics_from_fov(fov, height, width)
    stripe = (pixel_rays(camera, height, width)[:, :1] * 2 - 0.5).abs() < 0.03
    wall = Estimate(torch.full((1, 1, height, width), 2.0), Quantity.METRIC_DEPTH, intrinsics=camera)
    options = StereoOptions(eye_distance=200.0, eye_size=size)
    pair = vr_pair(stripe.float().expand(-1, 3, -1, -1) * 0.9 + 0.1, wall, "vr180", options)
    side = size or round(math.pi * float(camera[0, 0, 0]) / 2) * 2
    assert pair.left.shape == (1, 3, side, side)
    degrees = (torch.arange(side) + 0.5) / side * 180 - 90
    for eye, offset in ((pair.left, -0.1), (pair.right, 0.1)):
        row = (eye[0, 0, side // 2] - 0.1).clamp(min=0)
        at = float((row * degrees).sum() / row.sum())
        assert at == pytest.approx(math.degrees(math.atan((0.5 - offset) / 2)), abs=0.3 * 180 / side)
        across, down = eye[0].amax((0, 1)) > 0, eye[0].amax((0, 2)) > 0
        assert float(across.float().mean()) * 180 == pytest.approx(fov, abs=2 * 180 / side)
        vertical = 2 * math.degrees(math.atan(math.tan(math.radians(fov / 2)) * height / width))
        assert float(down.float().mean()) * 180 == pytest.approx(vertical, abs=2 * 180 / side)


@pytest.mark.quick_cases(1)
def test_photos_agree_with_rays_from_the_eyes(scene):
    things, _ = scene
    height, width = 180, 240
    camera = intrinsics_from_fov(90.0, height, width)
    rays = pixel_rays(camera, height, width)
    photo = panorama_scenes.traced(things, normalize(rays, dim=1))
    depth = photo.distance / rays.norm(dim=1, keepdim=True)
    estimate = Estimate(depth, Quantity.METRIC_DEPTH, mask=photo.valid, intrinsics=camera)
    pair = vr_pair(coded(normalize(rays, dim=1)), estimate, "vr180", StereoOptions(eye_size=WIDTH // 2))

    def distance_at(points):
        x, y, z = points.unbind(1)
        places = torch.stack((x / z / rays[0, 0].max() * (width - 1) / width, y / z / rays[0, 1].max() * (height - 1) / height), -1)
        found = grid_sample(torch.where(photo.valid, photo.distance, 1e4), places, "nearest", "zeros", align_corners=False)
        return torch.where((z > 0)[:, None], found, 0)

    for shown, holes, side in ((pair.left, pair.holes_left, -1), (pair.right, pair.holes_right, 1)):
        truth, seen = seen_by_both(things, *eye_rays("vr180", side), distance_at)
        seen &= (shown.amax(1, keepdim=True) > 0) & ~holes & (truth[:, 2:] > 0.3)
        error = angles(shown, truth)[seen]
        assert seen.float().mean() > 0.1 and error.median() < 0.1 and error.quantile(0.97) < 1


def test_soft_rims_of_a_photo_move_with_their_thing():
    """A bar that a lens blurred, before a plain wall: each eye sees it rise and fall once, without a ghost where it was."""
    height, width = 120, 320
    camera = intrinsics_from_fov(60.0, height, width)
    columns = torch.arange(width).float()
    bar = (torch.special.ndtr((columns - 129.5) / 2) - torch.special.ndtr((columns - 189.5) / 2)).expand(1, 3, height, width)
    depth = torch.where((columns > 127) & (columns < 192), 0.8, 4.0).expand(1, 1, height, width)
    image = linear_to_srgb(0.1 + 0.6 * bar)
    pair = vr_pair(image, Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=camera), "vr180", StereoOptions(eye_distance=200.0))
    for eye in (pair.left, pair.right):
        row = eye[0, 0, eye.shape[-2] // 2]
        row = row[row > 0.05][4:-4]
        assert row.diff().abs().sum() < 2.05 * (row.max() - row.min())  # 2.2 with rims that stay behind


@pytest.mark.quick_cases(1)
def test_no_eye_distance_is_the_image_itself(scene):
    _, traced = scene
    pair = pair_for(traced.image, panorama_of(traced), "360-sbs", StereoOptions(eye_distance=0.0))
    assert (pair.left - traced.image).abs().max() < 1e-4 and torch.equal(pair.left, pair.right) and not pair.holes_left.any()
    small = vr_pair(traced.image, panorama_of(traced), "vr180", StereoOptions(eye_distance=0.0, eye_size=100))
    assert small.left.shape == (1, 3, 100, 100)
    together = vr_pair(torch.cat((traced.image, traced.image.flip(1))), panorama_of(traced), "360-sbs", StereoOptions(eye_distance=0.0))
    assert torch.equal(together.left[:1], pair.left), "one panorama for all images"


@pytest.mark.parametrize("projection", list(Projection))
def test_a_scene_without_depth_and_a_large_eye_distance(projection):
    image = torch.rand(1, 3, 8, 16)
    for depth in (torch.rand(1, 1, 8, 16), torch.full((1, 1, 8, 16), math.nan)):
        estimate = Estimate(depth, Quantity.METRIC_DEPTH, projection=projection)
        for layout in VR_LAYOUTS if projection is Projection.EQUIRECTANGULAR else VR_LAYOUTS[:1]:
            pair = vr_pair(image, estimate, layout, StereoOptions(eye_distance=500.0))
            assert torch.isfinite(pair.left).all() and torch.isfinite(pair.right).all()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("quantity", [Quantity.DISPARITY, Quantity.RELATIVE_DEPTH, Quantity.SCALE_INVARIANT_DEPTH])
@pytest.mark.parametrize(
    ("layout", "projection"),
    [("vr180", Projection.PERSPECTIVE), ("vr180", Projection.EQUIRECTANGULAR), ("360-tb", Projection.EQUIRECTANGULAR)],
)
def test_depth_without_metres_has_its_near_things_near(quantity, layout, projection):
    """The same scene in metres, from the assumed near end to the assumed far end, gives the same pair."""
    height, width = 96, 192
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    distance = torch.full((1, 1, height, width), NEAR_END * NEAR_FAR_RATIO)
    distance[..., height // 4 : 3 * height // 4, width // 3 : width // 2] = NEAR_END
    values, ends = 7 + 40 / distance, [7 + 40 / (NEAR_END * end) for end in (NEAR_FAR_RATIO, 1)]
    if quantity is Quantity.RELATIVE_DEPTH:
        values, ends = 12 * distance - 5, [-(12 * NEAR_END * end - 5) for end in (NEAR_FAR_RATIO, 1)]
    if quantity is Quantity.SCALE_INVARIANT_DEPTH:
        values, ends = 12 * distance, [1 / (12 * NEAR_END * end) for end in (NEAR_FAR_RATIO, 1)]
    depths = ((distance, Quantity.METRIC_DEPTH), (values, quantity))
    metric, other = (Estimate(*depth, projection=projection) for depth in depths)
    expected, pair = vr_pair(image, metric, layout), vr_pair(image, other, layout, depth_range=ends)
    for found, true in ((pair.left, expected.left), (pair.right, expected.right)):
        assert (found - true).abs().max() < 1e-3
    assert (pair.left - pair.right).abs().max() > 0.1
    without = vr_pair(image, other, layout)
    assert (without.left - expected.left).abs().max() < 1e-3, "its own 2nd and 98th percentile are these ends"


IMAGE = torch.rand(1, 3, 60, 120)
PHOTO, PANORAMA = (Estimate(torch.ones(1, 1, 60, 120), Quantity.METRIC_DEPTH, projection=each) for each in Projection)
test_eyes_that_cannot_be_made_are_refused = refusals(
    (lambda: StereoOptions(eye_distance=-1.0), "accepted: 0 to 1000"),
    (lambda: StereoOptions(eye_size=10), "accepted: 64 to 8192"),
    (lambda: StereoOptions(eye_size=65), "even"),
    (
        lambda: vr_pair(IMAGE, PANORAMA, "360-tb", StereoOptions(eye_size=8192)),
        "eye_size is 8192, and the image has 120x60 pixels; accepted: to 2048",
    ),
    (lambda: pair_for(IMAGE, PHOTO, "360-tb"), "360-tb is for 360° panoramas"),
    *(
        (lambda layout=each: pair_for(IMAGE, PANORAMA, layout), r"stereo needs images of a perspective camera.*vr180")
        for each in FLAT_LAYOUTS
    ),
    (lambda: vr_pair(IMAGE.expand(3, -1, -1, -1), PANORAMA.expanded(2), "vr180"), "expected as many, or one for all"),
)
