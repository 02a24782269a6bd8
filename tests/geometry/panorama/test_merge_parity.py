"""The merging of views beside the authors' `moge/utils/panorama.py`, on rooms whose distances are known."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from depth_normal.geometry.panorama.merge import merge_views
from depth_normal.geometry.sphere import panorama_directions, view_rotations

from .test_merge import box_room, regions, views_of

AUTHORS = os.environ.get("DEPTH_NORMAL_MOGE", "")
HEIGHT, WIDTH, SIDE = 128, 256, 192
# From a panorama's axes to theirs: z is up, and the middle of the panorama is at -x.
THEIRS = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])


def utils3d():
    """What their module takes from their package of that name: coordinates of pixels, of 0 to 1 across an image, and a projection."""
    package, functions = ModuleType("utils3d"), ModuleType("utils3d.np")

    def uv_map(height, width):
        across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
        return np.stack(np.meshgrid(across, down), -1)

    def project_cv(points, extrinsics, intrinsics):
        inside = points @ extrinsics[:3, :3].T @ intrinsics.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return inside[..., :2] / inside[..., 2:], inside[..., 2]

    def uv_to_pixel(uv, size):
        return uv * np.array(size[::-1]) - 0.5

    functions.uv_map, functions.project_cv, functions.uv_to_pixel = uv_map, project_cv, uv_to_pixel
    package.np = functions
    return package


@pytest.fixture
def authors(monkeypatch):
    if not AUTHORS:
        pytest.skip("DEPTH_NORMAL_MOGE does not name a folder of microsoft/MoGe")
    pytest.importorskip("scipy")
    monkeypatch.setitem(sys.modules, "utils3d", utils3d())
    spec = importlib.util.spec_from_file_location("moge_panorama", Path(AUTHORS, "moge", "utils", "panorama.py"))
    module = importlib.util.module_from_spec(spec)
    before = dict(os.environ)
    spec.loader.exec_module(module)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    return module


def test_directions_are_the_authors(authors):
    theirs = authors.spherical_uv_to_directions(authors.utils3d.np.uv_map(HEIGHT, WIDTH))
    ours = panorama_directions(HEIGHT, WIDTH)[0].movedim(0, -1).double().numpy()
    assert np.abs(ours @ THEIRS.T - theirs).max() < 1e-6
    corners = view_rotations()[:, 2].double().numpy() @ THEIRS.T
    golden = (1 + 5**0.5) / 2
    assert np.allclose(np.sort(np.abs(corners), 1), np.array([0, 1, golden]) / (1 + golden**2) ** 0.5, atol=1e-6), "an icosahedron's"


@pytest.mark.slow("solves the authors' systems")
@pytest.mark.parametrize("kind", ["true", "scaled", "bent"])
def test_views_become_as_good_a_panorama_as_the_authors(authors, kind):
    scales = torch.randn(12, generator=torch.Generator().manual_seed(1)).mul(0.3).exp() if kind != "true" else None
    views = views_of(box_room, SIDE, scales)
    if kind == "bent":  # each view errs by up to a tenth towards its border
        across = torch.linspace(-1, 1, SIDE)
        beyond = torch.maximum(across.abs()[:, None], across.abs()[None]) ** 2
        views = [type(each)(each.distance * (0.1 * beyond).exp(), each.valid, each.rotation) for each in views]
    extrinsics = [each.rotation.double().numpy() @ THEIRS.T for each in views]
    intrinsics = [np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]])] * len(views)
    distances, masks = (
        [np.ascontiguousarray(part[0, 0].numpy()) for part in parts]
        for parts in zip(*((each.distance, each.valid) for each in views), strict=True)
    )
    theirs, mask = authors.merge_panorama_depth(WIDTH, HEIGHT, distances, masks, extrinsics, intrinsics)
    ours, valid = merge_views(views, HEIGHT, WIDTH)
    assert mask.all() and bool(valid.all())
    truth = box_room(panorama_directions(HEIGHT, WIDTH))[0]
    found = {}
    for name, merged in (("ours", ours), ("theirs", torch.from_numpy(theirs)[None, None])):
        ratio = (merged / truth).log()
        found[name] = {part: float(error.median()) for part, error in regions((ratio - ratio.median()).abs()).items()}
    ratio = (ours[0, 0] / torch.from_numpy(theirs)).log()
    apart = float((ratio - ratio.median()).abs().median())
    for who, parts in found.items():
        print(kind, who, *(f"{part} {100 * each:.3f} %" for part, each in parts.items()), f"apart {100 * apart:.3f} %")
    assert apart < 0.02
    assert found["ours"]["all"] < found["theirs"]["all"]
