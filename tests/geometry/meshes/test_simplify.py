import numpy as np
import pytest
import torch

from depth_normal.geometry.meshes.mesh_cuts import Joins, find_joins, grid_triangles
from depth_normal.geometry.meshes.simplify import EVEN, even_triangles

HEIGHT, WIDTH = 70, 101


def scene():
    """Inverse depth of a slanted wall with a bump, before it a box with a hole, and what of it is joined."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    inverse = 0.2 + 0.001 * u + 0.002 * v + 0.05 * np.exp(-((u - 75) ** 2 + (v - 20) ** 2) / 60)
    inverse[20:50, 10:55] = 1.0
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[30:33, 20:23] = False
    return inverse, find_joins(torch.from_numpy(1 / inverse), valid)


def all_joined(height, width):
    return Joins(torch.ones(height, width - 1, dtype=torch.bool), torch.ones(height - 1, width, dtype=torch.bool))


def areas(used, triangles):
    """Twice the areas in pixels; positive where counter-clockwise seen from the camera."""
    rows, columns = (each[triangles] for each in np.nonzero(used))
    return (rows[:, 1] - rows[:, 0]) * (columns[:, 2] - columns[:, 0]) - (rows[:, 2] - rows[:, 0]) * (columns[:, 1] - columns[:, 0])


def departures(inverse, used, triangles):
    """By how much each triangle's plane leaves the inverse depth of pixels in it, as a share."""
    most = 0.0
    for corners in np.argwhere(used)[triangles]:
        (top, left), (bottom, right) = corners.min(0), corners.max(0)
        points = np.mgrid[top : bottom + 1, left : right + 1].reshape(2, -1)
        weights = np.linalg.solve(np.vstack((corners.T, np.ones(3))), np.vstack((points, np.ones(points.shape[1]))))
        inside = (weights > -1e-9).all(0)
        most = max(most, np.abs(inverse[tuple(corners.T)] @ weights / inverse[tuple(points)] - 1)[inside].max())
    return most


def test_the_same_surface_has_fewer_triangles_and_no_cracks():
    inverse, joins = scene()
    before, after = grid_triangles(1 / inverse, joins), even_triangles(inverse, joins)
    assert len(after[1]) < len(before[1]) / 4 and after[0].sum() < before[0].sum() / 4
    assert (areas(*after) > 0).all() and areas(*after).sum() == areas(*before).sum(), "nothing twice, nothing left out"
    assert (before[0] | ~after[0]).all(), "only points of the grid"
    edges = np.sort(after[1][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert counts.max() == 2, "triangles meet at whole edges"
    assert 0 < departures(inverse, *after) < 2 * EVEN


def test_cuts_and_what_is_not_even_keep_every_pixel():
    inverse, joins = scene()
    used, _ = even_triangles(inverse, joins)
    assert used[16:24, 71:79].mean() > 0.9 > 0.2 > used[55:69, 60:].mean(), "the bump, not the wall"
    noise = np.random.default_rng(0).uniform(1, 1.1, inverse.shape) * inverse
    assert np.array_equal(even_triangles(noise, joins)[1], grid_triangles(1 / noise, joins)[1])
    assert np.array_equal(even_triangles(inverse, joins, even=0)[1], grid_triangles(1 / inverse, joins)[1])


def test_normals_have_to_be_even_too():
    inverse, joins = np.ones((HEIGHT, WIDTH)), all_joined(HEIGHT, WIDTH)
    normals = np.zeros((3, HEIGHT, WIDTH))
    normals[0] = np.where(np.arange(WIDTH) % 8 < 4, 0.3, -0.3)
    normals[2] = np.sqrt(1 - normals[0] ** 2)
    assert len(even_triangles(inverse, joins)[1]) < 500 < len(even_triangles(inverse, joins, normals)[1])


@pytest.mark.parametrize(("size", "count"), [((2, 2), 2), ((1, 5), 0), ((3, 2), 4), ((33, 65), 4)])
def test_small_grids(size, count):
    used, triangles = even_triangles(np.ones(size), all_joined(*size))
    assert len(triangles) == count and used.any() == (count > 0)
