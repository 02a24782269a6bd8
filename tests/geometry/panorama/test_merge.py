"""Views of rooms whose distances are known, merged into panoramas."""

import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.panorama.merge import View, merge_normals, merge_views
from depth_normal.geometry.sphere import panorama_directions, view_intrinsics, view_rotations
from depth_normal.geometry.surfaces.derive import panorama_normals

AXES = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
"""OPENCV to OPENGL and back."""


def box_room(directions, at=(0.4, 0.2, -0.3), half=(2.0, 1.4, 3.0)):
    """Distance and normals (OPENCV, facing the camera) of the walls of a box around the camera."""
    at, half = (torch.tensor(each).view(1, 3, 1, 1) for each in (at, half))
    safe = torch.where(directions.abs() > 1e-9, directions, 1e-9)
    distance, axis = ((torch.where(directions > 0, half, -half) - at) / safe).min(1, keepdim=True)
    normals = torch.zeros_like(directions).scatter_(1, axis, -directions.gather(1, axis).sign())
    return distance, normals


def views_of(scene, side=192, scales=None, mask=None):
    found = []
    for index, rotation in enumerate(view_rotations()):
        rays = F.normalize(pixel_rays(view_intrinsics(side), side, side), dim=1)
        directions = torch.einsum("rc,brhw->bchw", rotation, rays)
        distance, normals = scene(directions)
        valid = torch.ones_like(distance, dtype=torch.bool) if mask is None else mask(directions)
        scale = 1.0 if scales is None else scales[index]
        found.append(View(distance * scale, valid, rotation, torch.einsum("rc,bchw->brhw", rotation, normals)))
    return found


def errors(found, truth):
    return (found / truth).log().abs()


def regions(values):
    """All of a panorama, beside its seam, and around its poles."""
    rows, columns = values.shape[-2] // 16, values.shape[-1] // 32
    seam = torch.cat((values[..., :columns], values[..., -columns:]), -1)
    return {"all": values, "seam": seam, "zenith": values[..., :rows, :], "nadir": values[..., -rows:, :]}


def test_true_views_give_the_true_panorama():
    merged, valid = merge_views(views_of(box_room), 128, 256)
    assert bool(valid.all())
    for name, error in regions(errors(merged, box_room(panorama_directions(128, 256))[0])).items():
        assert error.median() < 1e-4 and error.mean() < 2e-3, name


def test_views_of_any_scale_give_the_true_shape_at_their_median_scale():
    scales = torch.randn(12, generator=torch.Generator().manual_seed(4)).mul(0.4).exp()
    merged, _ = merge_views(views_of(box_room, scales=scales), 128, 256)
    truth = box_room(panorama_directions(128, 256))[0] * torch.quantile(scales.log(), 0.5).exp()
    for name, error in regions(errors(merged, truth)).items():
        assert error.median() < 1e-3, name


def test_islands_between_holes_keep_their_distance():
    def ring_and_cap(directions):  # a horizontal ring and a cap, with a band between them that no view knows
        return (directions[:, 1:2].abs() < 0.4) | (directions[:, 1:2] < -0.7)

    scales = torch.linspace(0.8, 1.25, 12)
    directions = panorama_directions(128, 256)
    merged, valid = merge_views(views_of(box_room, mask=ring_and_cap), 128, 256)
    known = ring_and_cap(directions)
    assert (valid != known).float().mean() < 0.02
    both = valid & known
    assert errors(merged, box_room(directions)[0])[both].quantile(0.9) < 5e-3
    scaled, _ = merge_views(views_of(box_room, scales=scales, mask=ring_and_cap), 128, 256)
    ratio = (scaled / merged).log()[both]
    assert ratio.std() < 0.02, "one scale for the ring and the cap: the views that see both bring them together"


def test_a_scene_that_no_view_knows_is_refused():
    with pytest.raises(ValueError, match="no view of the panorama has a valid distance"):
        merge_views(views_of(box_room, mask=lambda directions: directions[:, :1] > 2), 32, 64)


def degrees(found, truth):
    return torch.rad2deg(torch.acos((found * truth).sum(1, keepdim=True).clamp(-1, 1)))


@pytest.mark.parametrize("scale", [None, 1.0, 20.0], ids=["of views", "of distances", "of larger distances"])
def test_normals_are_true_at_the_seam_and_the_poles_too(scale):
    distance, truth = box_room(panorama_directions(192, 384))
    found = merge_normals(views_of(box_room), 192, 384) if scale is None else panorama_normals(distance * scale) * AXES
    for name, error in regions(degrees(found, truth)).items():
        assert error.median() < 0.1 and (error > 3).float().mean() < 0.08, name


def test_normals_of_a_sphere_face_its_middle():
    found = panorama_normals(torch.full((1, 1, 64, 128), 2.0))
    assert degrees(found, -panorama_directions(64, 128) * AXES).max() < math.degrees(2 * math.pi / 128)


def test_holes_do_not_bend_the_normals_beside_them():
    distance, truth = box_room(panorama_directions(128, 256))
    known = torch.ones_like(distance, dtype=torch.bool)
    known[..., 40:80, 90:150] = False
    broken = distance.masked_fill(~known, torch.nan)
    for found in (panorama_normals(broken), panorama_normals(distance * (1 + 99 * ~known), known)):
        error = degrees(found, truth * AXES)[known]
        assert error.median() < 0.1 and (error > 3).float().mean() < 0.08
