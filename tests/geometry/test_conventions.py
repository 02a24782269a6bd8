"""Conventions: which way is left, up and towards the viewer, on a sphere whose normals everybody knows."""

import math

import pytest
import torch

from depth_normal.geometry.conventions import (
    NormalMapCoding,
    blend_normals,
    camera_to_world_normals,
    convert_normals,
    decode_normal_map,
    encode_normal_map,
    scale_normal_strength,
    unit_normals,
    world_to_camera_normals,
)
from depth_normal.geometry.estimate import Axes
from tests.refusals import refusals

LEFT, RIGHT, UP, DOWN = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
FACING, AWAY = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)


def vectors(*rows):
    """(1, 3, 1, N) of N vectors."""
    return torch.tensor(rows).T.reshape(1, 3, 1, -1)


def random_units(count=500, seed=0, facing=False):
    values = torch.randn(1, 3, 1, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if facing:
        values[:, 2] = values[:, 2].abs() + 0.1
    return values / torch.linalg.vector_norm(values, dim=1, keepdim=True)


TARGETS = {
    "opengl": (LEFT, UP, FACING),
    "directx": (LEFT, DOWN, FACING),
    "opencv": (LEFT, DOWN, AWAY),
    "scannet": (RIGHT, UP, FACING),
    "controlnet-normalbae": (RIGHT, UP, FACING),
    "controlnet-1.0-normal": (FACING, UP, RIGHT),  # its colours are blue, green, red
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_names_and_colours_left_up_and_the_viewer_its_own_way(target):
    seen, expected = vectors(LEFT, UP, FACING), vectors(*TARGETS[target])
    torch.testing.assert_close(encode_normal_map(seen, target), expected / 2 + 0.5)
    if target in list(Axes):
        torch.testing.assert_close(convert_normals(seen, Axes.OPENGL, target), expected)


@pytest.mark.parametrize("target", list(NormalMapCoding))
@pytest.mark.parametrize("axes", list(Axes))
def test_the_way_there_and_back_gives_back_the_same(target, axes):
    normals = random_units()
    torch.testing.assert_close(decode_normal_map(encode_normal_map(normals, target, axes), target, axes), normals, atol=1e-12, rtol=0)
    if target.value in list(Axes):
        assert torch.equal(convert_normals(convert_normals(normals, axes, target.value), target.value, axes), normals)


def test_mid_grey_decodes_to_the_viewer_not_to_nan():
    assert decode_normal_map(torch.full((1, 3, 1, 1), 0.5)).flatten().tolist() == [0, 0, 1]
    assert decode_normal_map(torch.full((1, 3, 1, 1), 0.5), "opencv", Axes.OPENCV).flatten().tolist() == [0, 0, -1]


def test_unit_normals_survive_tiny_huge_and_broken_vectors():
    broken = vectors((0.0, 0.0, 0.0), (math.nan, 1.0, 0.0), (math.inf, 0.0, 0.0), (3e-30, 4e-30, 0.0), (0.0, 3e30, -4e30))
    expected = torch.tensor([FACING, FACING, FACING, (0.6, 0.8, 0.0), (0.0, 0.6, -0.8)])
    torch.testing.assert_close(unit_normals(broken)[0, :, 0].T, expected)


@pytest.mark.parametrize("axes", list(Axes))
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e25])
def test_ordinary_vectors_become_what_they_are_beside_broken_ones(axes, scale):
    ordinary = scale * torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    broken = ordinary.clone()
    broken[0, :, 0, 0] = torch.tensor((math.nan, 1.0, 0.0))
    alone, beside = unit_normals(ordinary, axes), unit_normals(broken, axes)
    torch.testing.assert_close(alone.flatten(2)[..., 1:], beside.flatten(2)[..., 1:], atol=5e-7, rtol=0)
    assert beside[0, :, 0, 0].tolist() == [0, 0, -1 if axes is Axes.OPENCV else 1]
    torch.testing.assert_close(torch.linalg.vector_norm(alone.double(), dim=1), torch.ones(2, 6, 5, dtype=torch.float64), atol=5e-7, rtol=0)


def test_a_camera_looking_along_world_minus_x_sees_world_x_as_facing():
    # Columns: where the camera's right, up and backwards point in the world (Z up).
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    pose[:3, 3] = torch.tensor([5.0, 1, 2])
    world = camera_to_world_normals(vectors(FACING, UP, RIGHT), pose)[0, :, 0].T
    torch.testing.assert_close(world, torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]))
    torch.testing.assert_close(world_to_camera_normals(world.T.reshape(1, 3, 1, 3), pose), vectors(FACING, UP, RIGHT))


@pytest.mark.parametrize("axes", list(Axes))
def test_strength_scales_the_slope(axes):
    half = math.atan(0.5)
    normal = convert_normals(vectors((math.sin(half), 0.0, math.cos(half))), Axes.OPENGL, axes)
    double = convert_normals(scale_normal_strength(normal, 2, axes), axes, Axes.OPENGL)
    torch.testing.assert_close(double, vectors((math.sqrt(0.5), 0.0, math.sqrt(0.5))))
    torch.testing.assert_close(convert_normals(scale_normal_strength(normal, 0, axes), axes, Axes.OPENGL), vectors(FACING))
    torch.testing.assert_close(scale_normal_strength(normal, 1, axes), normal)


@pytest.mark.parametrize("axes", list(Axes))
def test_blending_with_flat_changes_nothing(axes):
    normals = convert_normals(random_units(facing=True), Axes.OPENGL, axes)
    flat = convert_normals(vectors(FACING).double().expand_as(normals), Axes.OPENGL, axes)
    torch.testing.assert_close(blend_normals(normals, flat, axes), normals)
    torch.testing.assert_close(blend_normals(flat, normals, axes), normals)


def test_blending_turns_the_detail_by_the_rotation_that_tilts_the_base():
    angle = math.radians(40)
    base = vectors((math.sin(angle), 0.0, math.cos(angle))).double()
    detail = random_units(50, seed=3, facing=True)
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]], dtype=torch.float64)
    expected = torch.einsum("ij,bjhw->bihw", turn, detail)
    torch.testing.assert_close(blend_normals(base.expand_as(detail), detail), expected)


def test_blending_with_a_base_that_faces_away_stays_finite():
    assert torch.isfinite(blend_normals(-vectors(FACING), vectors(UP))).all()


test_what_is_no_normal_map_is_refused = refusals(
    *(
        (lambda matrix=matrix: camera_to_world_normals(random_units(), matrix), "camera_to_world")
        for matrix in (torch.eye(3) * 2, torch.ones(3, 4), torch.eye(3).expand(5, 3, 3))
    ),
    (lambda: convert_normals(torch.zeros(1, 4, 2, 2), Axes.OPENGL, Axes.OPENCV), r"\(1, 4, 2, 2\)"),
    (lambda: convert_normals(torch.zeros(1, 3, 2, 2), "upside-down", Axes.OPENCV), "upside-down"),
    (lambda: encode_normal_map(torch.zeros(3, 2, 2)), r"\(3, 2, 2\)"),
    (lambda: encode_normal_map(torch.zeros(1, 3, 2, 2), "unity"), "coding is 'unity'; accepted: opengl, directx, opencv, scannet, contr"),
    (lambda: decode_normal_map(torch.zeros(1, 2, 2, 3)), r"\(1, 2, 2, 3\)"),
    (lambda: blend_normals(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 3)), "resize"),
)
