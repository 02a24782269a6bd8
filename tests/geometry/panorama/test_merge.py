from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.panorama.merge import View, affine_to_distances, merge_normals, merge_views
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


@pytest.mark.parametrize(("spread", "error"), [(0.0, 1e-4), (0.4, 1e-3)])
def test_views_of_any_scale_give_the_true_panorama_at_their_median_scale(spread, error):
    scales = torch.randn(12, generator=torch.Generator().manual_seed(4)).mul(spread).exp()
    merged, valid = merge_views(views_of(box_room, scales=scales), 128, 256)
    truth = box_room(panorama_directions(128, 256))[0] * torch.quantile(scales.log(), 0.5).exp()
    assert bool(valid.all())
    for name, part in regions(errors(merged, truth)).items():
        assert part.median() < error and (spread or part.mean() < 2e-3), name


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


def test_views_that_disagree_leave_no_seams():
    """Each is too near on its left and too far on its right; what they know is a ring."""
    views = views_of(box_room, mask=lambda directions: directions[:, 1:2].abs() < 0.4)
    views = [replace(each, distance=each.distance * torch.linspace(0.5, 1.5, 192)) for each in views]
    merged, truth = merge_views(views, 128, 256)[0], box_room(panorama_directions(128, 256))[0]
    found, expected = (each[..., 50:78, :].log().diff(dim=-1) for each in (merged, truth))
    assert (found - expected).abs().mean() < 0.004  # 0.012 of the views' mean


def test_views_that_bend_become_a_better_panorama_than_by_the_authors():
    """Each view errs by up to a tenth towards its border; `merge_panorama_depth` of microsoft/MoGe, 0744441, errs by 0.00587."""
    across = torch.linspace(-1, 1, 192).abs()
    beyond = torch.maximum(across[:, None], across[None]) ** 2
    views = [replace(each, distance=each.distance * (0.1 * beyond).exp()) for each in views_of(box_room)]
    merged, valid = merge_views(views, 128, 256)
    ratio = (merged / box_room(panorama_directions(128, 256))[0]).log()
    assert bool(valid.all()) and (ratio - ratio.median()).abs().median() < 0.0055


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


def test_holes_do_not_bend_the_normals_beside_them():
    distance, truth = box_room(panorama_directions(128, 256))
    known = torch.ones_like(distance, dtype=torch.bool)
    known[..., 40:80, 90:150] = False
    pair = torch.cat((distance.masked_fill(~known, torch.nan), distance * (1 + 99 * ~known)))
    errors = degrees(panorama_normals(pair, torch.cat((known | True, known))), truth * AXES)
    for error in (errors[:1][known], errors[1:][known]):
        assert error.median() < 0.1 and (error > 3).float().mean() < 0.08


SIDE = 128


def view_of_room(rotation, *room):
    """Depth and distance of a view of a room, and its normals."""
    rays = pixel_rays(view_intrinsics(SIDE), SIDE, SIDE)
    length = rays.norm(dim=1, keepdim=True)
    distance, normals = box_room(torch.einsum("rc,brhw->bchw", rotation, rays / length), *room)
    return distance / length, distance, normals


def everywhere(values):
    return [torch.ones_like(value, dtype=torch.bool) for value in values]


def affine_views(inverse, seed=1):
    """Disparity or relative depth of the twelve views of a room, each of its own scale and shift."""
    random = torch.Generator().manual_seed(seed)
    values = []
    for rotation in view_rotations():
        depth, *_ = view_of_room(rotation)
        scale, shift = 0.2 + 5 * torch.rand((), generator=random), 3 * torch.randn((), generator=random)
        values.append((1 / depth if inverse else depth) * scale + shift)
    return values


def errors_of_merged(values, valid, inverse):
    """Of the logarithms of distances, but for one factor; and where distances are known."""
    rotations = view_rotations()
    distances = affine_to_distances(values, valid, rotations, inverse)
    merged, known = merge_views([View(*each) for each in zip(distances, valid, rotations, strict=True)], 64, 128)
    error = (merged / box_room(panorama_directions(64, 128))[0]).log()
    return (error - error[known].median()).abs(), known


@pytest.mark.parametrize("inverse", [True, False], ids=["disparity", "relative depth"])
def test_scale_and_shift_of_each_view_are_found(inverse):
    values = affine_views(inverse)
    error, _ = errors_of_merged(values, everywhere(values), inverse)
    for name, part in regions(error).items():
        assert part.median() < 0.02, name
    assert error.quantile(0.95) < 0.05


@pytest.mark.parametrize("inverse", [True, False], ids=["disparity", "relative depth"])
def test_normals_tell_the_shift_of_views_that_overlaps_do_not_tell(inverse):
    """One view alone, of a wall and a floor: nothing overlaps."""
    depth, distance, normals = view_of_room(torch.eye(3), (0.0, 0.0, 0.0), (9.0, 1.2, 4.0))
    values = [(1 / depth if inverse else depth) * 3 + 5]
    errors = []
    for told in ([[normals]], []):
        (found,) = affine_to_distances(values, everywhere(values), torch.eye(3)[None], inverse, *told)
        error = (found / distance).log()
        errors.append((error - error.median()).abs().quantile(0.9))
    assert errors[0] < 0.1 < errors[1]


def test_a_masked_view_and_holes_do_not_disturb_the_others():
    values = affine_views(True)
    valid = everywhere(values)
    valid[4][:] = valid[7][..., :40, :] = False
    values[4], values[7] = values[4] + torch.nan, values[7].masked_fill(~valid[7], torch.inf)
    error, known = errors_of_merged(values, valid, True)
    assert error[known].median() < 0.03


def test_what_would_lie_beyond_infinity_is_fifty_times_as_far_as_the_rest():
    value = torch.zeros(1, 1, 65, 65)
    value[..., 32, 32] = -1
    (found,) = affine_to_distances([value], everywhere([value]), torch.eye(3)[None], True)
    assert found[..., 32, 32].item() == pytest.approx(50) and found[..., 31, 32].item() == pytest.approx(1, abs=0.01)


def test_what_says_nothing_is_flat():
    values = [torch.full((1, 1, SIDE, SIDE), float(index)) for index in range(12)]
    for distance in affine_to_distances(values, everywhere(values), view_rotations(), True):
        assert torch.isfinite(distance).all() and (distance > 0).all()
        plane = F.normalize(pixel_rays(view_intrinsics(SIDE), SIDE, SIDE), dim=1)[:, 2:] * distance
        assert errors(plane, plane.median()).max() < 1e-4
