"""Views whose values are known up to scale and shift find both where they overlap."""

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.panorama.affine import affine_to_distances
from depth_normal.geometry.panorama.merge import View, merge_views
from depth_normal.geometry.sphere import panorama_directions, view_intrinsics, view_rotations

from .test_merge import box_room, errors, regions

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


def test_what_says_nothing_is_flat():
    values = [torch.full((1, 1, SIDE, SIDE), float(index)) for index in range(12)]
    for distance in affine_to_distances(values, everywhere(values), view_rotations(), True):
        assert torch.isfinite(distance).all() and (distance > 0).all()
        plane = F.normalize(pixel_rays(view_intrinsics(SIDE), SIDE, SIDE), dim=1)[:, 2:] * distance
        assert errors(plane, plane.median()).max() < 1e-4
