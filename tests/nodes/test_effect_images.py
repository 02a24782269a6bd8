"""What all effects and textures do with what is linked: images, maps, masks and geometry of any kind, or refusals in words."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes.effects import NODE_OF, NODES
from depth_normal.nodes.geometry import RefineGeometry
from depth_normal.nodes.interop import ConvertGeometry, GeometryToDa3, GeometryToMoge
from depth_normal.nodes.materials import DetailNormals
from depth_normal.nodes.meshes import SaveMesh, SaveRelief
from depth_normal.nodes.preview import PreviewGeometry
from depth_normal.nodes.relight import Relight
from depth_normal.nodes.textures import AmbientOcclusion, Curvature, NormalToHeight
from depth_normal.nodes.views import DepthParallax, Stereo

MASK, CUTOUT, FOG, LENS = (NODE_OF[name] for name in ("mask", "cutout", "fog", "depth-of-field"))
ROOT = Path(__file__).parents[2]
SIZE = 24
# What each node is called with; and whether its first output is an image, in which the light of the input survives.
EFFECTS = {
    **{name: (node, {}, False) for name, node in NODE_OF.items()},
    "mask": (MASK, {"far": 60.0}, False),
    "cutout": (CUTOUT, {"far": 60.0}, True),
    "fog": (FOG, {"density": 0.01, "sky": "none"}, True),
    "depth-of-field": (LENS, {"focus": 100.0}, True),
    "relight": (Relight, {"ambient": 1.0, "intensity": 0.0}, True),
    "relight, clipped": (Relight, {"ambient": 1.0, "intensity": 1.0, "roll_off": False}, True),
    "parallax": (DepthParallax, {"frames": 2}, True),
    "stereo": (Stereo, {}, True),
    "stereo, half": (Stereo, {"layout": "half-sbs", "original": "left"}, True),
    "vr180": (Stereo, {"layout": "vr180", "eye_size": 64}, True),
}
every_effect = pytest.mark.parametrize("name", EFFECTS)
OF_DEPTH = (*NODES, Relight, Stereo, DepthParallax)


def result(made):
    return made["result"] if isinstance(made, dict) else made


def made(name, image, **others):
    node, options, _ = EFFECTS[name]
    return result(node().execute(image=image, **{"depth": slope(), **options, **others}))[0]


def slope(batch=1):
    return torch.linspace(0.2, 1, SIZE).view(1, 1, SIZE, 1).expand(batch, SIZE, SIZE, 3).contiguous()


def photo(batch=1, channels=3):
    return torch.rand(batch, SIZE, SIZE, channels, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def bright(channels=3):
    """A lamp on a wall."""
    image = photo(channels=channels)
    image[:, 14:20, 8:16, :3], image[..., 3:] = 6.0, 1.0
    return image


def geometry(quantity=Quantity.METRIC_DEPTH, dtype=torch.float32, normals=True, sides=(SIZE, SIZE)):
    depth = torch.linspace(1, 4, sides[0], dtype=dtype).view(1, 1, -1, 1).expand(1, 1, *sides)
    up = torch.tensor((0.0, 0.0, 1.0), dtype=dtype).view(1, 3, 1, 1).expand(1, 3, *sides)
    return Estimate(depth, quantity, up if normals else None)


# --- images ---


@pytest.mark.quick_cases(4)
@every_effect
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_brighter_than_white_stays_so(name, channels):
    image = bright(channels)
    found, plain = made(name, image), made(name, image.clamp(0, 1))
    assert found.shape == plain.shape and bool(found.isfinite().all())
    if EFFECTS[name][2]:
        assert 5 < found[..., :3].max() <= 6.001 and plain[..., :3].max() <= 1
        dim = plain[..., :3].amax(-1) < 0.8
        assert (found - plain)[dim].abs().mean() < 0.02, "what is not bright is as it is without a lamp"


@pytest.mark.quick_cases(4)
@every_effect
def test_grey_and_half_precision_are_taken_as_three_channels_in_float32(name):
    grey = photo(channels=1).half()
    torch.testing.assert_close(made(name, grey), made(name, grey.float().expand(-1, -1, -1, 3)))


@pytest.mark.parametrize("name", ["cutout", "fog", "depth-of-field", "relight", "parallax", "stereo"])
def test_alpha_is_kept(name):
    """A sprite whose hidden colour is green: none of it is seen, and neither is the white that networks see it on."""
    alpha = (slope()[..., :1] > 0.5).float()
    image = torch.cat((torch.where(alpha > 0, torch.tensor((0.6, 0.1, 0.1)), torch.tensor((0.0, 1.0, 0.0))), alpha), -1)
    found = made(name, image, **({"sky": "none"} if name == "relight" else {}))
    assert found.shape[-1] == 4 and found.isfinite().all() and found[..., :2, 3].max() < 0.05
    assert name == "cutout" or found[:, SIZE // 2, -3, 3].min() > 0.9
    seen = found[..., :3][found[..., 3] > 0.3]
    assert len(seen) and (seen[:, 1] < 0.75).all() and (seen[:, 0] > 0.02).all()
    if name not in ("stereo", "parallax"):
        assert (found[..., 3] > 0.5).sum() <= alpha.sum() + SIZE


@pytest.mark.quick_cases(4)
@every_effect
def test_autocast_of_the_caller_changes_nothing(name):
    plain = made(name, photo())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(made(name, photo()), plain)


# --- one for all, or one each ---


@pytest.mark.quick_cases(4)
@every_effect
def test_one_image_is_there_for_all_of_several_maps(name):
    known = Estimate.cat([Estimate(slope()[..., :1].movedim(-1, 1), Quantity.DISPARITY)] * 5)
    one, several = made(name, photo()), made(name, photo(), geometry=known)
    assert len(several) == 5 * len(one)
    torch.testing.assert_close(several[: len(one)], one)
    assert len(made(name, photo(), depth=slope(3))) == 3 * len(one)


@every_effect
def test_other_numbers_of_maps_than_of_images_are_named(name):
    with pytest.raises(ValueError, match="depth holds 2 images, image 3; accepted: one for all, or one each"):
        made(name, photo(3), depth=slope(2))


@pytest.mark.parametrize("node", [GeometryToMoge, GeometryToDa3, RefineGeometry])
def test_one_image_is_there_for_all_of_several_geometries(node):
    known = Estimate.cat([Estimate(slope()[..., :1].movedim(-1, 1), Quantity.METRIC_DEPTH)] * 5)
    (found,) = node().execute(image=photo(), geometry=known)
    assert (len(found["image"]) if isinstance(found, dict) else found.batch) == 5


# --- masks ---

MASKED = {
    "cutout": lambda mask, image: CUTOUT().execute(image, mask=mask),
    "normals": lambda mask, image: NormalToHeight().execute(image, mask=mask),
    "fog's sky": lambda mask, image: FOG().execute(image, depth=slope(), sky_mask=mask),
    "relight's sky": lambda mask, image: Relight().execute(image, geometry=geometry(), sky_mask=mask),
}
every_mask = pytest.mark.parametrize("use", MASKED.values(), ids=MASKED)


@every_mask
@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        ("a path", TypeError, "mask is of type str; expected a MASK"),
        (np.ones((1, 4, 4)), TypeError, "mask is of type ndarray"),
        (torch.ones(1, 4, 4, dtype=torch.uint8), TypeError, "mask is of type torch.uint8"),
        (torch.ones(4), ValueError, r"mask has shape \(4,\); expected \(batch, height, width\)"),
        (torch.ones(1, 4, 4, 1), ValueError, r"mask has shape \(1, 4, 4, 1\)"),
        (torch.ones(1, 0, 4), ValueError, r"mask has shape \(1, 0, 4\)"),
        (torch.full((1, 4, 4), torch.nan), ValueError, "mask holds 16 NaN values"),
        (torch.ones(3, 4, 4), ValueError, r"mask holds 3 images, .* 2; accepted: one for all, or one each"),
        (torch.zeros(1, 64, 64), ValueError, "black and 64x64, as Load Image gives it|the mask leaves no normal"),
    ],
)
def test_what_is_no_mask_of_the_images_is_named(use, mask, kind, message):
    with pytest.raises(kind, match=message):
        use(mask, photo(2))


@pytest.mark.quick_cases(2)
@every_mask
def test_masks_may_have_any_form_that_means_one(use):
    half = torch.zeros(1, SIZE, SIZE)
    half[..., : SIZE // 2] = 1
    expected = result(use(half, photo()))[0]
    for like in (half[0], half[None], half > 0.5, half.half(), half * 3 - 1):
        assert torch.equal(result(use(like, photo()))[0], expected)
    if use is not MASKED["normals"]:
        assert len(result(use(half.repeat(3, 1, 1), photo(channels=4)))[0]) == 3, "one image for all of several masks"


# --- geometry ---


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_geometry_of_other_numbers_is_taken(dtype):
    known, image = geometry(dtype=dtype), photo()
    for outputs in (
        Relight().execute(image, geometry=known),
        FOG().execute(image, geometry=known),
        MASK().execute(known, image=image),
        CUTOUT().execute(image, known),
        LENS().execute(image, known),
        Curvature().execute(geometry=known),
        AmbientOcclusion().execute(geometry=known, radius=4.0),
        DetailNormals().execute(geometry=known),
        DepthParallax().execute(image, "orbit", 2, geometry=known),
        RefineGeometry().execute(image, known),
    ):
        (first, *_) = result(outputs)
        assert (first.depth if isinstance(first, Estimate) else first).dtype == torch.float32


def test_relative_depth_without_normals_is_lit_as_the_other_effects_take_it():
    (lit,) = result(Relight().execute(photo(), geometry=geometry(Quantity.RELATIVE_DEPTH, normals=False)))
    assert torch.isfinite(lit).all() and not torch.allclose(lit, photo())


@pytest.mark.parametrize("node", [Relight, FOG, LENS, CUTOUT, RefineGeometry, SaveMesh, PreviewGeometry, GeometryToMoge, ConvertGeometry])
def test_geometry_of_another_image_is_refused_by_its_shape(node):
    tall = geometry(sides=(40, 10))
    with pytest.raises(ValueError, match="geometry has 10x40 pixels, the image 24x24: another shape"):
        node().execute(**{"image": photo(), "source" if node is ConvertGeometry else "geometry": tall})


def test_rounded_sides_are_no_other_shape():
    for sides in ((SIZE * 3, SIZE * 3), (SIZE // 2, SIZE // 2 + 1)):
        result(FOG().execute(photo(), geometry(sides=sides)))


@pytest.mark.parametrize("node", [Relight, FOG, LENS, RefineGeometry])
def test_an_image_beyond_the_memory_is_refused(node, monkeypatch):
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"an image of 24x24 takes at least .* make it smaller"):
        node().execute(image=photo(), geometry=geometry())


# --- depth maps ---


@pytest.mark.parametrize("node", OF_DEPTH)
@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (
            torch.cat((slope()[..., :1], 1 - slope()[..., :1], slope()[..., :1]), -1),
            "depth is coloured .*link a normal map to normal_map of Relight",
        ),
        (10 * slope(), "values of depth go from 2 to 10, grey levels from 0 to 1; if they are metres, .* values = metres"),
        (torch.full_like(slope(), torch.nan), "depth has no pixel with a value"),
    ],
)
def test_what_is_no_depth_map_is_named_by_every_effect(node, depth, message):
    """A colour map, metres of an EXR in Load Image: no mask that is white everywhere, and no stereo pair of two equal eyes."""
    image = {} if node is MASK else {"image": photo()}
    frames = {"frames": 1} if node is DepthParallax else {}
    with pytest.raises(ValueError, match=message):
        node().execute(**image, depth=depth, **frames)


@pytest.mark.parametrize("node", OF_DEPTH)
def test_an_effect_without_depth_says_what_to_link(node):
    image, normals = {} if node is MASK else {"image": photo()}, Estimate(normals=geometry().normals)
    with pytest.raises(ValueError, match=r"there is (no depth|neither depth nor a mask|nothing to light by): link "):
        node().execute(**image)
    if node is not Relight:
        with pytest.raises(ValueError, match="there are normals but no depth, and depth is needed here"):
            node().execute(**image, geometry=normals)


def test_a_map_of_another_shape_is_worth_a_word(caplog):
    FOG().execute(photo(), depth=slope()[:, :, : SIZE // 2])
    (said,) = caplog.messages
    assert said.startswith(f"depth is stretched: it has {SIZE // 2}x{SIZE} pixels, the image {SIZE}x{SIZE}, another shape")


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("node", [FOG, LENS, MASK, CUTOUT, SaveMesh, SaveRelief])
@pytest.mark.parametrize(("hole", "alpha"), [(0.0, 1.0), (torch.nan, 1.0), (1.0, 0.0)])
def test_an_image_of_a_batch_without_depth_is_named_and_stays_as_it_is_where_it_can(node, hole, alpha, comfyui, caplog):
    images, depth = photo(3, channels=4), geometry().depth.repeat(3, 1, 1, 1)
    depth[1], images[1, ..., 3] = hole, alpha
    batch = Estimate(depth, Quantity.METRIC_DEPTH)
    if node not in (FOG, LENS):
        with pytest.raises(ValueError, match=r"^image 2: no pixel .*all are transparent, masked"):
            node().execute(geometry=batch, image=images)
        return
    found, *masks = result(node().execute(geometry=batch, image=images))
    one, *_ = result(node().execute(geometry=geometry(normals=False), image=images[2:]))
    assert found[1].equal(images[1]) and found[2:].equal(one) and not found[2].equal(images[2])
    assert all(not mask[1].any() for mask in masks) and "the image is unchanged: image 2" in caplog.text


def test_geometry_of_the_copy_that_pip_installed_is_taken():
    """A custom node imports it, and ComfyUI has loaded this pack from its folder."""
    spec = importlib.util.spec_from_file_location("copied", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    before = {*sys.modules}
    sys.modules["copied"] = importlib.util.module_from_spec(spec)
    try:
        other = importlib.import_module("copied.geometry.estimate")
        foreign = other.Estimate(geometry().depth.repeat(2, 1, 1, 1), other.Quantity.METRIC_DEPTH)
        found = result(FOG().execute(photo(), geometry=foreign))[0]
        with pytest.raises(ValueError, match="link image"):
            ConvertGeometry().execute(foreign)
    finally:
        for name in {*sys.modules} - before:
            del sys.modules[name]
    assert found[1:].equal(result(FOG().execute(photo(), geometry=geometry(normals=False)))[0])
