"""Which way is near, up and white; normal maps converted, strengthened and blended."""

import pytest
import torch

from depth_normal.geometry.conventions import blend_normals, encode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.nodes.render import ConvertNormalMap, RenderDepth, RenderNormals
from depth_normal.options.map_images import CODINGS


def metric(*depth, mask=None):
    values = torch.tensor(depth, dtype=torch.float32).view(1, 1, 1, -1)
    return Estimate(values, Quantity.METRIC_DEPTH, mask=None if mask is None else torch.tensor(mask).view(1, 1, 1, -1))


def levels(image):
    assert image.shape[-1] == 3 and torch.equal(image[..., 0], image[..., 2])
    return image[..., 0].flatten().tolist()


METRES, RAMP = metric(1, 2, 4, 9), Estimate(torch.arange(101.0).view(1, 1, 1, 101), Quantity.DISPARITY)
CLIP = Estimate(torch.tensor([[0.0, 1.0], [2.0, 4.0]]).view(2, 1, 1, 2), Quantity.DISPARITY)
LINEAR = {"metric_as_disparity": False}


@pytest.mark.parametrize(
    ("geometry", "widgets", "expected"),
    [
        (metric(1, 2, 4), {}, [1, 1 / 3, 0]),  # disparities are 1, 1/2, 1/4: the middle lies at a third
        (metric(1, 2, 4), LINEAR, [1, 2 / 3, 0]),
        (metric(1, 2, 4), {**LINEAR, "near": "black"}, [0, 1 / 3, 1]),
        (METRES, {**LINEAR, "normalisation": "fixed", "range_low": 1.0, "range_high": 5.0}, [1, 0.75, 0.25, 0]),
        (CLIP, {"normalisation": "per_clip"}, [0, 0.25, 0.5, 1]),
        (CLIP, {}, [0, 1, 0, 1]),
        (RAMP, {"percentile_low": 10.0, "percentile_high": 60.0}, [0] * 11 + [each / 50 for each in range(1, 50)] + [1] * 41),
    ],
)
def test_each_widget_sets_the_range(geometry, widgets, expected):
    image, mask = RenderDepth().execute(geometry, **{"near": "white", "normalisation": "per_image", **widgets})
    assert levels(image) == pytest.approx(expected, abs=1e-6)
    assert mask.shape == image.shape[:3] and (mask == 1).all()


RIGHT, UP = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


def test_the_background_is_black_or_faces_the_viewer():
    vectors = torch.tensor([RIGHT, UP]).T.reshape(1, 3, 1, 2) * torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    estimate = Estimate(normals=vectors, axes=Axes.OPENCV, mask=torch.tensor([True, False]).view(1, 1, 1, 2))
    assert RenderNormals().execute(estimate, "opengl")[0][0, 0].tolist() == [[1, 0.5, 0.5], [0, 0, 0]]
    assert RenderNormals().execute(estimate, "opengl", "facing the viewer")[0][0, 0].tolist() == [[1, 0.5, 0.5], [0.5, 0.5, 1]]


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0)), dim=1)


def as_image(normals, coding="opengl"):
    return encode_normal_map(normals, coding).movedim(1, -1)


@pytest.mark.parametrize("source", CODINGS)
@pytest.mark.parametrize("target", CODINGS)
def test_any_coding_to_any_other(source, target):
    normals = unit(5, 7)
    (converted,) = ConvertNormalMap().execute(as_image(normals, source), source, target)
    assert torch.allclose(converted, as_image(normals, target), atol=1e-6)


def test_a_map_with_x_in_alpha_is_read():
    normals = unit(5, 7).abs()
    x, y, _ = as_image(normals).split(1, -1)
    (converted,) = ConvertNormalMap().execute(torch.cat((y, y, y, x), -1), "dxt5nm", "opengl")
    assert torch.allclose(converted, as_image(normals), atol=1e-3)


def test_detail_is_laid_on_the_shape():
    base, detail = unit(4, 4).abs(), unit(4, 4).abs().flip(1)
    (image,) = ConvertNormalMap().execute(as_image(base, "directx"), "directx", "opengl", detail=as_image(detail, "directx"))
    assert torch.allclose(image.movedim(-1, 1), encode_normal_map(blend_normals(base, detail)), atol=1e-5)
    (same,) = ConvertNormalMap().execute(as_image(base), "opengl", "opengl", detail=as_image(detail), detail_strength=0.0)
    assert torch.allclose(same, as_image(base), atol=1e-5), "a flat detail changes nothing"
    two = as_image(torch.cat((base, base.flip(2))))
    assert ConvertNormalMap().execute(two, "opengl", "opengl", detail=as_image(detail))[0].shape == (2, 4, 4, 3)


def test_black_stays_black():
    rendered = as_image(unit(2, 2))
    rendered[0, 0, 0] = 0
    (image,) = ConvertNormalMap().execute(rendered, "opengl", "directx", strength=3.0, detail=as_image(unit(2, 2)))
    assert image[0, 0, 0].tolist() == [0, 0, 0] and (image.flatten(0, 2)[1:].amax(1) > 0).all()
