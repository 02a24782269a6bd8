import numpy as np
import pytest

from depth_normal.geometry.files import load_estimate

# Camera settings of the scenes in inside_blender.py: size, lens and sensor in mm, fit, pixel aspect (x, y), shift (x, y).
CAMERAS = {
    "cube_shifted": (64, 48, 50, 36, "H", (1, 1), (0.15, -0.08)),
    "cube_vertical_fit": (65, 48, 30, 18, "V", (1, 1.5), (-0.1, 0.05)),
    "cube_portrait": (40, 64, 50, 36, "H", (2, 1), (0, 0.1)),
}
CENTRE = 5e-5
"""Relative depth error allowed: the ray of Cycles' narrowest filter meets the pixel 0.0005 px off its centre; half a pixel gives 5e-3."""
PLAIN = (64, 48, 50, 36, "H", (1, 1), (0, 0))


def expected_intrinsics(name):
    """The pinhole camera by Blender's manual: the sensor spans the fitted side, and shift is in units of that side."""
    width, height, lens, sensor, fit, (aspect_x, aspect_y), (shift_x, shift_y) = CAMERAS.get(name, PLAIN)
    fitted = width * aspect_x if fit == "H" else height * aspect_y
    focal = lens / sensor * fitted
    return np.array(
        [
            [focal / aspect_x, 0, (width - 1) / 2 - shift_x * fitted / aspect_x],
            [0, focal / aspect_y, (height - 1) / 2 + shift_y * fitted / aspect_y],
            [0, 0, 1],
        ]
    ), (height, width)


def rays(name, camera):
    """Origin, rotation, and (H, W, 3) world directions of the pixels' centres, with length 1 along the optical axis."""
    k, (height, width) = expected_intrinsics(name)
    v, u = np.mgrid[0:height, 0:width]
    local = np.stack(((u - k[0, 2]) / k[0, 0], (k[1, 2] - v) / k[1, 1], -np.ones_like(u)), -1)
    return camera[:3, 3], camera[:3, :3], local @ camera[:3, :3].T


def box_truth(origin, directions, half, inside=False):
    """Depth (inf = missed) and world normals of an axis-aligned box around the origin, seen from outside or inside."""
    with np.errstate(divide="ignore"):
        low, high = np.sort(np.stack(((-half - origin) / directions, (half - origin) / directions)), axis=0)
    near, far = low.max(-1), high.min(-1)
    depth = far if inside else np.where((near < far) & (near > 0), near, np.inf)
    axis = high.argmin(-1) if inside else low.argmax(-1)
    return depth, -np.eye(3)[axis] * np.sign(np.take_along_axis(directions, axis[..., None], -1))


def angles(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


@pytest.fixture(scope="module")
def rendered(inside_blender, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    return folder, inside_blender("render", folder)


def load(rendered, name):
    folder, cameras = rendered
    with np.load(folder / f"{name}.npz") as archive:
        return dict(archive), np.array(cameras[name])


CUBES = ["cube", *(f"cube_{each}" for each in ("shifted", "vertical_fit", "portrait", "in_centimetres", "moved_camera", "mirrored_camera"))]
SEEN_THROUGH = [f"cube_{each}" for each in ("in_a_foggy_world", "in_fog", "behind_a_cloud", "half_transparent", "behind_leaves")]


@pytest.mark.parametrize("name", CUBES + SEEN_THROUGH)
def test_a_cube_has_its_true_depth_normals_and_intrinsics(rendered, name):
    """Fog, clouds and what alpha cuts away are looked through, a half transparent surface is not."""
    found, camera = load(rendered, name)
    intrinsics, shape = expected_intrinsics(name)
    np.testing.assert_allclose(found["intrinsics"], intrinsics, rtol=1e-5, atol=1e-4)
    origin, rotation, directions = rays(name, camera)
    depth, normals = box_truth(origin, directions, 1.0)
    assert found["depth"].shape == shape
    hit = np.isfinite(depth)
    # A ray that grazes the outline may hit or miss by rounding; no other may differ.
    assert (found["mask"] != hit).sum() <= 2
    hit &= found["mask"]
    assert hit.sum() > 200
    metres = 0.01 if name == "cube_in_centimetres" else 1.0
    error = np.abs(found["depth"][hit] / metres - depth[hit]) / depth[hit]
    angle = angles(found["normals"][hit], normals[hit] @ rotation)
    on_edge = angle > 1
    assert on_edge.sum() <= 2 and angle[~on_edge].max() < 0.05 and error[~on_edge].max() < CENTRE
    assert not found["depth"][~found["mask"]].any() and not found["normals"][~found["mask"]].any()


def test_a_tilted_plane_is_right_in_every_pixel(rendered):
    found, camera = load(rendered, "tilted_plane")
    origin, rotation, directions = rays("tilted_plane", camera)
    assert found["mask"].all()
    np.testing.assert_allclose(found["depth"], -origin[2] / directions[..., 2], rtol=CENTRE)
    assert angles(found["normals"], np.array([0, 0, 1]) @ rotation).max() < 0.05


def test_a_smooth_sphere_is_round(rendered):
    found, camera = load(rendered, "sphere")
    origin, rotation, directions = rays("sphere", camera)
    a, b, c = (directions**2).sum(-1), directions @ origin, origin @ origin - 1
    root = b**2 - a * c
    hit = found["mask"] & (root > 0)
    depth = (-b - np.sqrt(np.where(hit, root, 0))) / a
    normals = origin + depth[..., None] * directions
    facing = hit & (-(normals * directions).sum(-1) / np.sqrt(a) > 0.3)
    assert facing.sum() > 500
    # The mesh has 256 segments: its facets lie up to 1 - cos(pi / 256) = 7.5e-5 below the sphere, 2.5e-4 on a ray at 0.3.
    assert np.abs(found["depth"] - depth)[facing].max() < 6e-4
    assert angles(found["normals"], normals @ rotation)[facing].max() < 0.1


def test_walls_seen_from_inside_face_the_viewer(rendered):
    found, camera = load(rendered, "inside_box")
    origin, rotation, directions = rays("inside_box", camera)
    depth, normals = box_truth(origin, directions, 3.0, inside=True)
    assert found["mask"].all()
    np.testing.assert_allclose(found["depth"], depth, rtol=CENTRE)
    assert np.sort(angles(found["normals"], normals @ rotation).ravel())[-3] < 0.05


@pytest.mark.parametrize("suffix", [".npz", ".exr"])
def test_the_pack_reads_the_files(rendered, suffix):
    found, _ = load(rendered, "cube_in_centimetres")
    estimate = load_estimate(rendered[0] / f"cube_in_centimetres{suffix}")
    assert (estimate.quantity, estimate.axes) == ("metric_depth", "opengl")
    np.testing.assert_array_equal(estimate.depth[0, 0], found["depth"])
    np.testing.assert_array_equal(estimate.normals[0].movedim(0, -1), found["normals"])
    np.testing.assert_array_equal(estimate.mask[0, 0], found["mask"])
    np.testing.assert_array_equal(estimate.intrinsics[0], found["intrinsics"])


def test_the_tutorials_archive_is_read_by_the_pack_and_has_its_keys(rendered):
    folder, cameras = rendered
    found, _ = load(rendered, list(cameras)[-1])
    with np.load(folder / "d.npz") as tutorial:
        np.testing.assert_array_equal(tutorial["dmap"], found["depth"])
        np.testing.assert_array_equal(tutorial["nmap"], found["normals"])
    estimate = load_estimate(folder / "d.npz")
    np.testing.assert_array_equal(estimate.depth[0, 0], found["depth"])
    np.testing.assert_array_equal(estimate.normals[0].movedim(0, -1), found["normals"])


def test_the_scene_is_left_as_it_was(inside_blender, tmp_path):
    states = inside_blender("restore", tmp_path)
    assert states["failed"] == "disk full" and states["after"] == states["after_failure"] == states["before"]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no camera", "no camera"),
        ("light as camera", "LIGHT"),
        ("orthographic", "ORTHO"),
        ("panoramic", "PANO"),
        ("no pixels", "image of 0x0 pixels"),
        ("layer", "Nowhere"),
        ("sheared", "'Camera' is sheared by the uneven scale of 'Rig'"),
        ("mesh at a sheared camera", "'Camera' is sheared by the uneven scale of 'Rig'"),
        ("no scale", "a scale of 0"),
    ],
)
def test_what_cannot_be_rendered_is_said(refused, case, words):
    assert words in refused[case]


@pytest.fixture(scope="module")
def refused(inside_blender, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    messages = inside_blender("errors", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["flat.npz", "result.json"]
    return messages
