"""What scripts and other packs link to the nodes of effects, textures and meshes: refused with words, or taken as meant."""

import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files.paths import resolve_inside
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes.effects import NODE_OF, NODES
from depth_normal.nodes.files import SaveGeometry
from depth_normal.nodes.interop import ConvertGeometry, GeometryToMoge
from depth_normal.nodes.materials import DetailNormals
from depth_normal.nodes.meshes import SaveMesh
from depth_normal.nodes.parallax import DepthParallax
from depth_normal.nodes.preview import PreviewGeometry
from depth_normal.nodes.refine import RefineGeometry
from depth_normal.nodes.relight import Relight
from depth_normal.nodes.stereo import Stereo
from depth_normal.nodes.textures import AmbientOcclusion, Curvature, NormalToHeight

MASK, CUTOUT, FOG, LENS = (NODE_OF[name] for name in ("mask", "cutout", "fog", "depth-of-field"))
HEIGHT, WIDTH = 12, 16
IMAGE = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))


def geometry(quantity=Quantity.METRIC_DEPTH, dtype=torch.float32, normals=True, sides=(HEIGHT, WIDTH)):
    depth = torch.linspace(1, 4, sides[0], dtype=dtype).view(1, 1, -1, 1).expand(1, 1, *sides)
    up = torch.tensor((0.0, 0.0, 1.0), dtype=dtype).view(1, 3, 1, 1).expand(1, 3, *sides)
    return Estimate(depth, quantity, up if normals else None)


def result(made):
    return made["result"] if isinstance(made, dict) else made


MASKED = {
    "mask": lambda mask, image=IMAGE: CUTOUT().execute(image, mask=mask),
    "the normals' mask": lambda mask, image=IMAGE: NormalToHeight().execute(image, mask=mask),
    "sky_mask": lambda mask, image=IMAGE: Relight().execute(image, geometry=geometry(), sky_mask=mask),
}


@pytest.mark.parametrize("use", MASKED.values(), ids=MASKED)
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
    ],
)
def test_what_is_no_mask_is_named(use, mask, kind, message):
    with pytest.raises(kind, match=message):
        use(mask)


@pytest.mark.parametrize("use", MASKED.values(), ids=MASKED)
def test_masks_of_another_number_of_images_are_named(use):
    with pytest.raises(ValueError, match=r"mask holds 3 images, .* 2; accepted: one for all, or one each"):
        use(torch.ones(3, 4, 4), IMAGE.expand(2, -1, -1, -1))


@pytest.mark.parametrize("use", MASKED.values(), ids=MASKED)
def test_masks_may_have_any_form_that_means_one(use):
    half = torch.zeros(1, HEIGHT, WIDTH)
    half[..., : WIDTH // 2] = 1
    expected = result(use(half))[0]
    for like in (half[0], half[None], half > 0.5, half.half(), half * 3 - 1):
        assert torch.equal(result(use(like))[0], expected)


def test_load_images_empty_mask_is_no_mask_to_cut_out_by():
    with pytest.raises(ValueError, match="black and 64x64, as Load Image gives it"):
        CUTOUT().execute(IMAGE, mask=torch.zeros(1, 64, 64))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_geometry_of_other_numbers_is_taken(dtype):
    known = geometry(dtype=dtype)
    for made in (
        Relight().execute(IMAGE, geometry=known),
        FOG().execute(IMAGE, geometry=known),
        MASK().execute(known, image=IMAGE),
        CUTOUT().execute(IMAGE, known),
        LENS().execute(IMAGE, known),
        Curvature().execute(geometry=known),
        AmbientOcclusion().execute(geometry=known, radius=4.0),
        DetailNormals().execute(geometry=known),
        DepthParallax().execute(IMAGE, "orbit", 2, geometry=known),
        RefineGeometry().execute(IMAGE, known),
    ):
        (first, *_) = result(made)
        assert (first.depth if isinstance(first, Estimate) else first).dtype == torch.float32


def test_relative_depth_without_normals_is_lit_as_the_other_effects_take_it():
    (lit,) = result(Relight().execute(IMAGE, geometry=geometry(Quantity.RELATIVE_DEPTH, normals=False)))
    assert torch.isfinite(lit).all() and not torch.allclose(lit, IMAGE)


@pytest.mark.parametrize("node", [Relight, FOG, LENS, CUTOUT, RefineGeometry, SaveMesh, PreviewGeometry, GeometryToMoge, ConvertGeometry])
def test_geometry_of_another_image_is_refused_by_its_shape(node):
    tall = geometry(sides=(40, 10))
    with pytest.raises(ValueError, match="geometry has 10x40 pixels, the image 16x12: another shape"):
        node().execute(**{"image": IMAGE, "source" if node is ConvertGeometry else "geometry": tall})


def test_rounded_sides_are_no_other_shape():
    for sides in ((HEIGHT * 3, WIDTH * 3), (HEIGHT // 2, WIDTH // 2 + 1)):
        result(FOG().execute(IMAGE, geometry(sides=sides)))


def test_a_closed_lens_leaves_the_image():
    depth = torch.rand(1, HEIGHT, WIDTH, 1)
    assert torch.equal(result(LENS().execute(IMAGE, depth=depth, blur=0.0))[0], IMAGE)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: AmbientOcclusion().execute(IMAGE, directions=16.5), "directions is 16.5; accepted: whole numbers"),
        (lambda: RefineGeometry().execute(IMAGE, geometry(), radius=1.5), "radius is 1.5; accepted: whole numbers"),
    ],
)
def test_widgets_values_of_another_kind_are_named(use, message):
    with pytest.raises(ValueError, match=message):
        use()


def test_a_name_that_is_no_text_is_named(tmp_path):
    with pytest.raises(TypeError, match="the file name is 5, of type int; give text"):
        resolve_inside(tmp_path, 5)


@pytest.mark.parametrize("node", [Relight, FOG, LENS, RefineGeometry])
def test_an_image_beyond_the_memory_is_refused(node, monkeypatch):
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"an image of 16x12 takes at least .* make it smaller"):
        node().execute(image=IMAGE, geometry=geometry())


GREY = torch.linspace(0, 1, WIDTH).view(1, 1, WIDTH, 1).expand(1, HEIGHT, WIDTH, 3)
OF_DEPTH = (*NODES, Relight, Stereo, DepthParallax)


@pytest.mark.parametrize("node", OF_DEPTH)
@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (
            torch.cat((GREY[..., :1], 1 - GREY[..., :1], GREY[..., :1]), -1),
            "depth is coloured .*link a normal map to normal_map of Relight",
        ),
        (1 + 9 * GREY, "values of depth go from 1 to 10, grey levels from 0 to 1; if they are metres, .* values = metres"),
        (torch.full_like(GREY, torch.nan), "depth has no pixel with a value"),
    ],
)
def test_what_is_no_depth_map_is_named_by_every_effect(node, depth, message):
    """A colour map, metres of an EXR in Load Image: no mask that is white everywhere, and no stereo pair of two equal eyes."""
    image = {} if node is MASK else {"image": IMAGE}
    frames = {"frames": 1} if node is DepthParallax else {}
    with pytest.raises(ValueError, match=message):
        node().execute(**image, depth=depth, **frames)


@pytest.mark.parametrize("node", OF_DEPTH)
def test_an_effect_without_depth_says_what_to_link(node):
    image, normals = {} if node is MASK else {"image": IMAGE}, Estimate(normals=geometry().normals)
    with pytest.raises(ValueError, match=r"there is (no depth|neither depth nor a mask|nothing to light by): link "):
        node().execute(**image)
    if node is not Relight:
        with pytest.raises(ValueError, match="there are normals but no depth, and depth is needed here"):
            node().execute(**image, geometry=normals)


def test_a_map_of_another_shape_is_worth_a_word(caplog):
    FOG().execute(IMAGE, depth=GREY[:, :, : WIDTH // 2])
    assert f"depth has {WIDTH // 2}x{HEIGHT} pixels, the image {WIDTH}x{HEIGHT}: another shape" in caplog.text


@pytest.mark.parametrize("node", [CUTOUT, FOG, LENS, Relight, Stereo])
def test_what_is_transparent_stays_so_in_every_effect(node):
    """A sprite whose hidden colour is green: none of it is seen, and neither is the white that networks see it on."""
    alpha = (GREY[..., :1] > 0.5).float()
    image = torch.cat((torch.where(alpha > 0, torch.tensor((0.6, 0.1, 0.1)), torch.tensor((0.0, 1.0, 0.0))), alpha), -1)
    calm = {"sky": "none"} if node in (FOG, Relight) else {}
    made = result(node().execute(image, depth=GREY, **calm))[0]
    assert made.shape[-1] == 4 and made[..., :2, 3].max() < 0.05
    seen = made[..., :3][made[..., 3] > 0.3]
    assert len(seen) and (seen[:, 1] < 0.75).all() and (seen[:, 0] > 0.02).all()
    if node is not Stereo:
        assert (made[..., 3] > 0.5).sum() <= alpha.sum() + HEIGHT


@pytest.mark.parametrize(("node", "name"), [(MASK, "more_points"), (CUTOUT, "not_points"), (SaveMesh, "filename_prefix")])
@pytest.mark.parametrize("value", [["0.5,0.5"], 5, None])
def test_what_is_no_text_is_refused(node, name, value):
    inputs = {"geometry": geometry()} if node is SaveMesh else {"image": IMAGE, "geometry": geometry()}
    with pytest.raises(TypeError, match=f"{name} is of the type {type(value).__name__}; expected text"):
        node().execute(**inputs, **{name: value})


@pytest.mark.parametrize(("node", "name"), [(CUTOUT, "decontaminate"), (Relight, "roll_off"), (SaveGeometry, "half")])
def test_what_is_no_switch_is_refused(node, name):
    """The text "False" of a node of any type would be True."""
    inputs = {"image": IMAGE, "geometry": geometry()}
    for value in ("False", None, IMAGE, IMAGE.numpy()):
        with pytest.raises(TypeError, match=f"{name} is of the type {type(value).__name__}; expected True or False"):
            node().execute(**inputs, **{name: value})
