"""Refine Geometry, and `refine` of Depth & Normals (advanced), as ComfyUI calls them."""

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes.refine import RefineGeometry


def scene(batch=1):
    """A near left half before a far right one: an image of 64x48, and its depth of a half of that size."""
    image = torch.zeros(batch, 48, 64, 3)
    image[:, :, :33] = 0.8
    depth = torch.where(image[..., :1] > 0, 2.0, 5.0).movedim(-1, 1)
    return image, Estimate(1 / F.avg_pool2d(1 / depth, 2), Quantity.METRIC_DEPTH), depth


@pytest.mark.parametrize("batch", [1, 2])
def test_depth_ends_where_the_image_says(batch):
    image, geometry, depth = scene(batch)
    (refined,) = RefineGeometry().execute(image, geometry)
    assert torch.allclose(refined.depth, depth, rtol=0.02)
    assert refined.normals is not None and refined.normals[:, 2].min() > 0.9
    (bare,) = RefineGeometry().execute(image, geometry, normals="as they are")
    assert bare.normals is None


def test_one_geometry_serves_a_batch_and_others_are_refused():
    image, geometry, depth = scene()
    (refined,) = RefineGeometry().execute(image.expand(3, -1, -1, -1), geometry)
    assert refined.batch == 3 and torch.allclose(refined.depth, depth.expand(3, -1, -1, -1), rtol=0.02)
    with pytest.raises(ValueError, match="geometry holds 2 images, image 3"):
        RefineGeometry().execute(torch.rand(3, 48, 64, 3), scene(2)[1])
    with pytest.raises(ValueError, match="another shape"):
        RefineGeometry().execute(torch.rand(1, 64, 48, 3), geometry)
    with pytest.raises(ValueError, match="strength is 9"):
        RefineGeometry().execute(image, geometry, strength=9.0)
    with pytest.raises(ValueError, match="normals is 'x'; accepted: auto, as they are"):
        RefineGeometry().execute(image, geometry, normals="x")
