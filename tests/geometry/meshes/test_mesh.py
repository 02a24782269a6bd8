from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.meshes.mesh import MeshOptions, depth_to_mesh, depth_to_meshes, describe_source, with_common_texture
from tests.refusals import refuses

HEIGHT, WIDTH = 48, 64


GUESS = "guessed as 1:3; another near-far ratio changes it"


def slope(quantity=Quantity.METRIC_DEPTH, **more):
    """A wall that recedes to the right, from 2 to 4 m."""
    inverse = torch.linspace(0.5, 0.25, WIDTH).expand(1, 1, HEIGHT, WIDTH).contiguous()
    values = inverse if quantity is Quantity.DISPARITY else 1 / inverse
    return Estimate(values, quantity, **{"intrinsics": intrinsics_from_fov(60, HEIGHT, WIDTH)} | more)


@pytest.mark.parametrize(
    ("quantity", "ratio", "words"),
    [
        (Quantity.METRIC_DEPTH, 2, "metric depth, 2.02 to 3.94 m; field of view 60° (known)"),
        (
            Quantity.DISPARITY,
            None,
            "disparity: no metres, depth range guessed as 1:3; another near-far ratio changes it; field of view 55° (assumed)",
        ),
        (
            Quantity.RELATIVE_DEPTH,
            None,
            "relative depth: no metres, depth range guessed as 1:3; another near-far ratio changes it; field of view 55° (assumed)",
        ),
        (Quantity.RELATIVE_DEPTH, 5, "relative depth: no metres, depth range 1:5; field of view 55° (assumed)"),
    ],
)
def test_every_quantity_gives_a_mesh_and_says_of_what(quantity, ratio, words):
    is_metric = quantity is Quantity.METRIC_DEPTH
    estimate, options = slope(quantity, **({} if is_metric else {"intrinsics": None})), MeshOptions(near_far_ratio=ratio)
    assert describe_source(estimate, options) == words
    mesh = depth_to_mesh(estimate, options=options)
    depth = -mesh.points[:, 2]
    assert len(depth) == HEIGHT * WIDTH and depth.min() == pytest.approx(2 if is_metric else 1, rel=0.05)
    assert depth.max() / depth.min() == pytest.approx(ratio or 3, rel=0.1)


def test_fewer_points_lie_where_the_others_did():
    estimate, image = slope(normals=torch.randn(1, 3, HEIGHT, WIDTH), axes=Axes.OPENGL), torch.rand(1, 3, HEIGHT, WIDTH)
    (whole,), (fewer,) = depth_to_meshes(estimate, image), depth_to_meshes(estimate, image, MeshOptions(max_points=400))
    step, first = 3, 1
    assert len(fewer.points) <= 400
    kept = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)[first::step, first::step].reshape(-1)
    for name in ("points", "normals", "colours", "uvs"):
        np.testing.assert_allclose(getattr(fewer, name), getattr(whole, name)[kept], atol=2e-6, err_msg=name)
    np.testing.assert_allclose(np.linalg.norm(fewer.normals, axis=1), 1, atol=1e-6)
    assert fewer.texture.shape == (HEIGHT, WIDTH, 3)


def test_unused_points_are_left_out():
    depth = slope().depth.clone()
    depth[..., 10, 10] = 0.1  # alone before the wall
    mesh = depth_to_mesh(replace(slope(), depth=depth))
    assert len(mesh.points) == HEIGHT * WIDTH - 1 and mesh.points[:, 2].max() < -1
    assert np.array_equal(np.unique(mesh.triangles), np.arange(len(mesh.points)))


def test_maps_may_require_a_gradient():
    depth = slope().depth.clone().requires_grad_()
    assert len(depth_to_mesh(replace(slope(), depth=depth)).points) == HEIGHT * WIDTH


def test_the_sky_is_left_out():
    rows = torch.linspace(0, 1, HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    sky = rows < 0.4
    disparity = torch.where(sky, 0.02 * rows, rows)
    image = torch.where(sky, 0.9, 0.3).expand(1, 3, -1, -1)
    estimate = Estimate(disparity, Quantity.DISPARITY)
    lower, all_of_it = (depth_to_mesh(estimate, image, MeshOptions(drop_sky=drop, edges="sharp")) for drop in (True, False))
    assert len(lower.points) == pytest.approx(int((~sky).sum()), rel=0.05) and len(all_of_it.points) > 0.95 * HEIGHT * WIDTH


def test_the_farthest_points_are_finite_and_what_is_infinitely_far_is_left_out():
    mesh = depth_to_mesh(replace(slope(), depth=slope().depth * 3e5))
    assert np.isfinite(mesh.points).all() and mesh.points[:, 2].min() == pytest.approx(-1.2e6)
    depth = slope().depth.clone()
    depth[..., 5:, :] = 1e10
    assert len(depth_to_mesh(replace(slope(), depth=depth)).points) == 5 * WIDTH


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
@pytest.mark.parametrize("quantity", [Quantity.METRIC_DEPTH, Quantity.DISPARITY])
def test_tiny_and_constant_images(shape, quantity, caplog):
    image = torch.rand(1, 3, *(4 * side for side in shape))
    (mesh,) = depth_to_meshes(Estimate(torch.full((1, 1, *shape), 2.0), quantity), image, MeshOptions(fill_behind=45))
    assert np.ptp(mesh.points[:, 2]) == 0
    assert len(mesh.points) == shape[0] * shape[1] and len(mesh.triangles) == 2 * (shape[0] - 1) * (shape[1] - 1)
    assert ("no triangles, points alone" in caplog.text) == (min(shape) == 1)


def test_images_above_one_and_not_numbers_become_colours():
    image = torch.full((1, 3, 9, 12), 7.0)
    image[..., 0] = torch.nan
    mesh = depth_to_meshes(slope(), image, MeshOptions(drop_sky=False))[0]
    assert mesh.texture[:, 1:].min() == 255 and mesh.texture[:, 0].max() == 0


WRONG = {"max_jump": (-0.1, float("nan")), "max_points": (-1,), "edges": ("both",), "fill_behind": (-1, 46, float("nan"))}
test_wrong_options_are_refused = refuses(
    lambda options: MeshOptions(**options), *(({name: value}, name) for name, values in WRONG.items() for value in values)
)


def before_a_wall(**more):
    """A plate 2 m away before a wall at 4 m."""
    depth = torch.full((1, 1, HEIGHT, WIDTH), 4.0)
    depth[..., 12:36, 24:44] = 2.0
    return Estimate(depth, Quantity.METRIC_DEPTH, **{"intrinsics": intrinsics_from_fov(60, HEIGHT, WIDTH)} | more)


WALL, PLATE = (0.2, 0.4, 0.8), (0.9, 0.1, 0.1)


def picture_of(estimate):
    near = (estimate.depth < 3).float()
    return torch.tensor(PLATE).view(1, 3, 1, 1) * near + torch.tensor(WALL).view(1, 3, 1, 1) * (1 - near)


def worn(mesh):
    """The texture's colours at a mesh's points, (N, 3)."""
    height, width = mesh.texture.shape[:2]
    columns, rows = np.floor(mesh.uvs * (width, height)).astype(int).T
    return mesh.texture[rows, columns] / 255


def assert_wears(mesh, colour, chosen=slice(None), atol=0.02):
    for shown in (mesh.colours[chosen], worn(mesh)[chosen]):
        np.testing.assert_allclose(shown, np.broadcast_to(colour, shown.shape), atol=atol)


def enlarged(image, scale):
    return torch.nn.functional.interpolate(image, scale_factor=scale, mode="nearest")


SHARP = MeshOptions(drop_sky=False, edges="sharp")


@pytest.mark.parametrize(("degrees", "whole"), [(4, False), (30, True)])
def test_the_wall_goes_on_behind_a_near_thing(degrees, whole):
    estimate = before_a_wall()
    (front,) = depth_to_meshes(estimate, picture_of(estimate), SHARP)
    first, behind = depth_to_meshes(estimate, picture_of(estimate), replace(SHARP, fill_behind=degrees))
    for name in ("points", "triangles", "colours", "uvs", "texture"):
        assert np.array_equal(getattr(first, name), getattr(front, name)), name
    np.testing.assert_allclose(behind.points[:, 2], -4, rtol=0.002)
    assert behind.points[:, 2].max() < -4, "never before what is visible"
    assert np.array_equal(np.unique(behind.triangles), np.arange(len(behind.points)))
    assert_wears(behind, WALL)
    pixels = np.round(behind.uvs * (WIDTH, HEIGHT) - 0.5).astype(int)
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[pixels[:, 1], pixels[:, 0]] = True
    # by so many pixels a point at 2 m moves against one at 4 m; the view turns about what is as far as the mean of 1/2 and 1/4
    moves = float(estimate.intrinsics[0, 0, 0]) * np.tan(np.radians(degrees)) / 0.375 * 0.25
    deepest = 12 if whole else int(np.ceil(moves))
    core = np.zeros_like(covered)
    core[12 + deepest : 36 - deepest, 24 + deepest : 44 - deepest] = True
    assert covered[12:36, 24:44][~core[12:36, 24:44]].all() and not covered[core].any()


def test_hidden_surfaces_have_normals_and_colours_where_the_others_have_them():
    normals = torch.tensor([0.0, 0.6, 0.8]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH).half()
    _, behind = depth_to_meshes(before_a_wall(normals=normals, axes=Axes.OPENGL), None, replace(SHARP, fill_behind=20))
    np.testing.assert_allclose(behind.normals, np.broadcast_to((0, 0.6, 0.8), behind.normals.shape), atol=1e-3)
    assert behind.colours is None and behind.texture is None


def test_what_is_behind_two_things_is_there_behind_both():
    estimate = before_a_wall()
    estimate.depth[..., 4:44, 34:38] = 1.0  # a post before the plate
    _, plate, *walls = depth_to_meshes(estimate, None, replace(SHARP, fill_behind=20))
    assert {round(-float(z)) for z in plate.points[:, 2]} == {2, 4}
    assert walls and all((mesh.points[:, 2] < -2).all() for mesh in walls)
    # behind the post the plate goes on, and the wall behind it
    places = [np.round(mesh.points[:, :2] / mesh.points[:, 2:] * 1e3)[-mesh.points[:, 2] > 3] for mesh in (plate, *walls)]
    assert len(np.unique(np.concatenate(places), axis=0)) > 24 * 20


@pytest.mark.parametrize("wide", [False, True])
def test_nothing_of_the_sky_is_filled_behind_things(wide):
    """A tower stands on a hill and reaches into the sky, some of which has the hill's depth: a ramp, or a wide patch of its colour."""
    estimate = before_a_wall()
    estimate.depth[..., 4:36, 24:44] = 2.0
    sky = torch.zeros_like(estimate.depth, dtype=torch.bool)
    sky[..., :24, :24] = sky[..., :24, 44:] = sky[..., :4, :] = True
    image = torch.where(sky, torch.tensor(WALL).view(1, 3, 1, 1), torch.tensor((0.2, 0.5, 0.1)).view(1, 3, 1, 1))
    sky[..., 4:24, 20 if wide else 23 : 24] = False
    estimate = replace(estimate, mask=~sky)
    assert len(depth_to_meshes(estimate, None, replace(SHARP, fill_behind=20))[1].points) > 100
    _, behind = depth_to_meshes(estimate, image if wide else None, replace(SHARP, fill_behind=20, drop_sky=True))
    rows = HEIGHT / 2 - 0.5 - estimate.intrinsics[0, 1, 1].item() * behind.points[:, 1] / -behind.points[:, 2]
    assert len(behind.points) > 100 and rows.min() > 12, "the hill ends at row 24; some of it is behind the tower above that"


@pytest.mark.parametrize("most", [0, 1000])
def test_a_hidden_surface_shows_nothing_of_what_hides_it_beside_its_last_pixel(most):
    """Below the plate the wall's last pixels stand beside a post, which hides what follows them; the image is larger than the depth."""
    options = replace(SHARP, fill_behind=10, max_points=most)
    estimate = before_a_wall()
    _, behind = depth_to_meshes(estimate, enlarged(picture_of(estimate), 4), options)
    assert_wears(behind, WALL)
    estimate.depth[..., 4:44, 38:43] = 1.0
    image = picture_of(estimate)
    image[:, :, 4:44, 38:43] = torch.tensor((0.0, 1.0, 0.0)).view(3, 1, 1)
    _, behind, *_ = depth_to_meshes(estimate, enlarged(image, 4), options)
    shown = worn(behind)
    assert (shown[:, 1] < 0.6).all(), "green is the post's"
    assert (np.abs(shown - WALL).max(1) < 0.1)[behind.points[:, 2] < -3].mean() > 0.97


@pytest.mark.parametrize("scale", [1, 4])
def test_far_surfaces_beside_soft_edges_wear_nothing_of_the_near_thing(scale):
    """The lens mixes plate and wall over two pixels on both sides; the plate's rim keeps its share."""
    estimate = before_a_wall()
    image = torch.nn.functional.avg_pool2d(picture_of(estimate), 5, 1, 2, count_include_pad=False)
    image = enlarged(image, scale)
    soft = replace(estimate, depth=1 / torch.nn.functional.avg_pool2d(1 / estimate.depth, 3, 1, 1, count_include_pad=False))
    first, behind, *_ = depth_to_meshes(soft, image, replace(SHARP, edges="soft", fill_behind=20))
    shown = image[0].movedim(0, -1).numpy()
    places = tuple(np.floor(first.uvs * (WIDTH * scale, HEIGHT * scale)).astype(int).T[::-1])
    is_far, is_near = first.points[:, 2] < -3, first.points[:, 2] > -2.1
    assert (np.abs(shown[places] - WALL).max(1) > 0.1)[is_far].sum() > 20, "far pixels are mixed"
    assert_wears(first, WALL, is_far, 0.08)
    assert_wears(behind, WALL, behind.points[:, 2] < -3, 0.08)
    np.testing.assert_allclose(first.colours[is_near], shown[places][is_near], atol=1e-6)
    np.testing.assert_allclose(first.texture[places][is_near] / 255, shown[places][is_near], atol=0.003)
    (sharp,) = depth_to_meshes(soft, image, SHARP)
    assert np.array_equal(sharp.texture, (shown * 255).round().astype(np.uint8))


def test_only_one_image_of_a_perspective_camera_is_filled():
    views = Estimate(torch.ones(2, 1, 8, 8), Quantity.METRIC_DEPTH, extrinsics=torch.eye(4)[None, :3].repeat(2, 1, 1))
    panorama = Estimate(torch.ones(1, 1, 8, 16), Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR)
    for estimate, meshes in ((views, 2), (panorama, 1)):
        assert len(depth_to_meshes(estimate, None, MeshOptions(fill_behind=10))) == meshes


def test_textures_lie_below_each_other():
    estimate = before_a_wall()
    meshes = depth_to_meshes(estimate, picture_of(estimate), replace(SHARP, fill_behind=20))
    common = with_common_texture(meshes)
    assert common.texture.shape == (2 * HEIGHT, WIDTH, 3) and len(common.points) == sum(len(mesh.points) for mesh in meshes)
    np.testing.assert_allclose(worn(common), common.colours, atol=0.01)
    assert with_common_texture(depth_to_meshes(estimate, None, replace(SHARP, fill_behind=20))).texture is None
