"""The nodes for textures as ComfyUI calls them: contract, any pack's images, raw geometry, batches, files, errors."""

import cv2
import pytest
import torch

from depth_normal import load_model
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.textures import detail
from depth_normal.geometry.textures.height import height_to_normals
from depth_normal.nodes import materials, saving, textures
from depth_normal.nodes.materials import MaterialFromPhoto


def bumps(side=40, batch=1, seamless=True):
    return 40 * blurred(torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(0)), 2.0, seamless)


def normal_map(coding="opengl", **options):
    return encode_normal_map(height_to_normals(bumps(**options), borders="seamless"), coding).movedim(1, -1)


def photo(batch=1, side=40):
    return torch.rand(batch, side, side, 3, generator=torch.Generator().manual_seed(1))


def geometry(batch=1):
    return Estimate(bumps(batch=batch) + 30, Quantity.METRIC_DEPTH, normals=height_to_normals(-bumps(batch=batch)))


@pytest.mark.parametrize("coding", ["opengl", "directx", "controlnet-1.0-normal"])
@pytest.mark.parametrize("derivative", ["central", "spline"])
def test_there_and_back(coding, derivative):
    settings = {"borders": "seamless", "derivative": derivative}
    given = normal_map(coding) if derivative == "central" else None
    if given is None:
        given, _ = textures.HeightToNormal().execute(bumps().movedim(1, -1) / 40, 40.0, coding, **settings)
    height, span, raw = textures.NormalToHeight().execute(given, normal_coding=coding, **settings)
    again, _ = textures.HeightToNormal().execute(height, span, coding, **settings)
    assert (again - given).abs().max() < 2e-3 and height.shape == (1, 40, 40, 3) and height.min() == 0 and height.max() == 1
    assert raw.quantity is Quantity.RELATIVE_DEPTH and (raw.depth.max() - raw.depth.min()).item() == pytest.approx(span, rel=1e-5)


def test_geometry_and_masks_and_batches():
    height, _, _ = textures.NormalToHeight().execute(geometry=geometry(3), mask=torch.ones(1, 20, 20))
    assert height.shape == (3, 40, 40, 3)
    hole = torch.ones(1, 40, 40)
    hole[:, 5:9] = 0
    held, _, raw = textures.NormalToHeight().execute(normal_map(), mask=hole)
    assert held.isfinite().all() and not raw.mask[0, 0, 5:9].any() and raw.mask[0, 0, 9:].all()
    depth_only = Estimate(geometry().depth, Quantity.METRIC_DEPTH)
    assert textures.NormalToHeight().execute(geometry=depth_only)[0].isfinite().all()


def test_curvature_of_each_kind_of_input():
    of_map = textures.Curvature().execute(normal_map(), borders="seamless")
    height, span, raw = textures.NormalToHeight().execute(normal_map(), borders="seamless")
    of_height = textures.Curvature().execute(height=height, height_range=span, borders="seamless")
    of_raw = textures.Curvature().execute(geometry=raw, borders="seamless")
    for ours in (of_height, of_raw):
        assert all((a - b).abs().mean() < 5e-3 for a, b in zip(ours, of_map, strict=True))
    assert torch.allclose(of_map[0], 0.5 + 0.5 * (of_map[1] - of_map[2]), atol=1e-6)


def test_a_coloured_image_is_no_height_map(caplog):
    for image, is_said in ((normal_map(), True), ((bumps() / 40).movedim(1, -1), False)):
        for node in (textures.HeightToNormal, textures.AmbientOcclusion):
            caplog.clear()
            node().execute(height=image)
            assert ("height is coloured, and a height map is grey; Normal to Height" in caplog.text) == is_said


def test_occlusion_of_heights_and_of_geometry():
    height = (bumps(batch=2) / 40).movedim(1, -1)
    (found,) = textures.AmbientOcclusion().execute(height, radius=16, height_range=80.0, borders="seamless")
    (darker,) = textures.AmbientOcclusion().execute(height, radius=16, height_range=80.0, borders="seamless", strength=2.0)
    assert found.shape == (2, 40, 40, 3) and found.min() < 0.9 and torch.allclose(darker, found**2, atol=1e-6)
    (in_view,) = textures.AmbientOcclusion().execute(geometry=geometry(2), radius=8)
    assert in_view.shape == (2, 40, 40, 3) and in_view.isfinite().all()
    (flat,) = textures.AmbientOcclusion().execute(torch.full((1, 1, 1, 1), 0.3))
    assert flat.item() == 1 if flat.numel() == 1 else bool((flat == 1).all())


def test_a_model_sees_beyond_the_seam(seam_step):
    tile = blurred(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), 2.0, True)
    image = ((tile - tile.min()) / (tile.max() - tile.min())).movedim(1, -1)
    found, texture = materials.SeamlessGeometry().execute(load_model("tiny"), image, resolution=64)
    assert found.batch == 2 and (found.height, found.width) == (64, 64) and torch.allclose(texture, image, atol=1e-6)
    for maps in (found.depth, found.normals):
        over, inside = seam_step(maps)
        assert over <= 1.5 * inside
    ramp = torch.linspace(0, 1, 48).view(1, 1, 48, 1).expand(1, 32, 48, 3)
    _, even = materials.SeamlessGeometry().execute(load_model("tiny"), ramp, even_borders=True, resolution=64)
    assert (even[:, :, 0] - even[:, :, -1]).abs().max() < 0.3
    with pytest.raises(ValueError, match=r"margin is 0\.7"):
        materials.SeamlessGeometry().execute(load_model("tiny"), ramp, margin=0.7)


def test_detail_of_what_is_linked():
    node = materials.DetailNormals()
    of_photo, raw = node.execute(photo())
    of_normals, _ = node.execute(geometry=geometry())
    both, _ = node.execute(photo(side=20), geometry=geometry(3))
    assert of_photo.shape == of_normals.shape == (1, 40, 40, 3) and both.shape == (3, 40, 40, 3)
    assert raw.normals is not None and not torch.allclose(of_photo, of_normals)
    assert torch.allclose(node.execute(photo(), geometry=geometry(), source="photo")[0], of_photo)
    flipped, _ = node.execute(photo(), coding="directx")
    assert torch.allclose(flipped[..., 1], 1 - of_photo[..., 1], atol=1e-6)


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "user_folder", lambda kind: tmp_path)
    return tmp_path


def test_textures_are_saved_in_16_bits(output):
    texture = torch.linspace(0, 1, 300).view(1, 1, 300, 1).expand(2, 4, 300, 3)
    shown = materials.SaveTexture().execute(texture, "walls/height")["ui"]["images"]
    assert [each["filename"] for each in shown] == ["height_00001.png", "height_00002.png"]
    read = cv2.imread(str(output / "walls" / "height_00001.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == "uint16" and read.ndim == 2 and len(set(read[0].tolist())) == 300
    materials.SaveTexture().execute(texture, "walls/height", grey=False)
    assert cv2.imread(str(output / "walls" / "height_00003.png"), cv2.IMREAD_UNCHANGED).shape == (4, 300, 3)
    for levels in (texture * 255, texture * 2 - 1):
        with pytest.raises(ValueError, match="few of them brighter"):
            materials.SaveTexture().execute(levels)
    materials.SaveTexture().execute(texture.where(texture < 0.5, torch.nan))
    assert materials.SaveTexture.VALIDATE_INPUTS("../outside") is not True and materials.SaveTexture.VALIDATE_INPUTS(None) is True


def test_textures_are_saved_as_floats(output):
    pytest.importorskip("OpenEXR")
    texture = torch.linspace(-2, 3, 12).view(1, 1, 12, 1).expand(1, 4, 12, 3)
    materials.SaveTexture().execute(texture, format="exr")
    found = load_estimate(output / "textures" / "texture_00001.exr", Quantity.RELATIVE_DEPTH)
    assert torch.equal(found.depth[0, 0], texture[0, ..., 0])


def test_in_doubt_the_node_shows_both_heights(comfyui, monkeypatch):
    from PIL import Image

    calls, lines, image = [], detail.bright_lines, photo(2)
    monkeypatch.setattr(detail, "bright_lines", lambda image: calls.append(image) or lines(image))
    answer = materials.DetailNormals().execute(image)
    shown = answer["ui"]["images"]
    high, low = (Image.open(comfyui / "temp" / entry["filename"]).convert("L") for entry in shown[1:])
    assert len(calls) == 2, "each photograph is looked through once, for its relief and its doubt"
    assert len(shown) == 3 and high.size == low.size == (40, 40) and high.tobytes() != low.tobytes()
    assert torch.equal(answer["result"][0], materials.DetailNormals().execute(image, bright="high")[0])
    with_normals = materials.DetailNormals().execute(image, geometry(2))
    assert len(with_normals["ui"]["images"]) == 3
    calls.clear()
    assert len(MaterialFromPhoto().execute(image, model="simple")["ui"]["images"]) == 3
    assert len(calls) == 2, "each photograph is looked through once, for its relief and its doubt"
    for settings in ({"bright": "low"}, {"relief": -1.0}):
        assert isinstance(materials.DetailNormals().execute(image, **settings), tuple), "nothing is in doubt"
    assert isinstance(materials.DetailNormals().execute(geometry=geometry()), tuple)
