import json

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_exr, write_compositing_exr
from depth_normal.geometry.images.srgb import srgb_to_linear
from depth_normal.geometry.surfaces.derive import with_normals

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module", params=[False, True], ids=["float", "half"])
def seen(request, inside_blender, tmp_path_factory):
    pytest.importorskip("OpenEXR")
    folder = tmp_path_factory.mktemp("comp")
    depth = torch.linspace(2, 5, HEIGHT).flip(0).view(1, 1, HEIGHT, 1).expand(1, 1, HEIGHT, WIDTH).contiguous()
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., :3, :] = False
    known = with_normals(Estimate(depth, Quantity.METRIC_DEPTH, mask=mask, intrinsics=intrinsics_from_fov(50.0, HEIGHT, WIDTH)))
    image = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    (folder / "size.json").write_text(json.dumps([WIDTH, HEIGHT]))
    write_compositing_exr(folder / "comp.exr", known, image, request.param)
    found = {name: np.array(pixels) for name, pixels in inside_blender("composited", folder).items()}
    return known, image, read_exr(folder / "comp.exr"), found


def test_every_layer_has_its_name_and_the_numbers_that_were_written(seen):
    known, image, back, found = seen
    assert {"Combined", "Depth", "N", "P", "mask", "sky"} <= set(found)
    inside = known.mask[0, 0].numpy()
    np.testing.assert_allclose(found["Depth"][..., 0][inside], known.depth[0, 0].numpy()[inside], rtol=1e-6)
    assert (found["Depth"][..., 0][~inside] > 1e9).all() and torch.equal(back.mask, known.mask)
    np.testing.assert_allclose(found["mask"][..., 0], inside)
    normals = known.normals[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(found["N"][..., :3][inside], normals[inside], atol=1e-3)
    np.testing.assert_allclose(found["Combined"][..., :3], srgb_to_linear(image)[0].movedim(0, -1), atol=1e-3)
    focal, _, across = known.intrinsics[0, 0].tolist()
    x, y, z = found["P"][inside][:, :3].T
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(z, -found["Depth"][..., 0][inside], rtol=1e-6)
    np.testing.assert_allclose(focal * x / -z + across, columns, atol=1e-3)
    assert (np.sign(y) == np.sign((HEIGHT - 1) / 2 - rows)).all()
