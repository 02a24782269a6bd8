import pytest
import torch

from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.effects.relight import relight, relight_scene
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.sky import predicted_sky
from depth_normal.options.lights import LookOptions
from depth_normal.utils import resize_map

HEIGHT, WIDTH, HORIZON = 48, 64, 20
FAR = {Quantity.DISPARITY: -5.0, Quantity.METRIC_DEPTH: 1e6, Quantity.RELATIVE_DEPTH: 30.0}


def told(quantity=Quantity.DISPARITY, value=None):
    """A grey image without any sign of sky, and an estimate whose upper part is masked and has one value."""
    rows = torch.arange(HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH).float()
    clear = rows >= HORIZON
    near = (rows - HORIZON).clamp(min=0) + 1
    ground = near if quantity is Quantity.DISPARITY else 28 / near
    depth = torch.where(clear, ground, FAR[quantity] if value is None else value)
    return torch.full((1, 3, HEIGHT, WIDTH), 0.4), Estimate(depth, quantity, mask=clear), ~clear


@pytest.mark.parametrize("quantity", list(FAR), ids=lambda quantity: quantity.value)
@pytest.mark.parametrize("larger", [1, 2])
def test_told_sky_faces_the_viewer_and_is_lit(quantity, larger):
    image, estimate, above = told(quantity)
    image, above = (torch.nn.functional.interpolate(each.float(), scale_factor=larger) for each in (image, above))
    scene = lit_scene(image, estimate, (), sky=True)
    assert torch.equal(scene.sky > 0.5, above > 0.5)
    assert scene.mask.all()
    torch.testing.assert_close(scene.normals.where(scene.sky > 0.5, FACING), FACING.expand_as(scene.normals))
    assert (relight(**vars(scene), ambient=0.1) < image).all(), "the sky of a dark scene is dark, too"


@pytest.mark.parametrize("value", [float("nan"), 40.0], ids=["without a value", "near"])
def test_other_holes_stay_as_they_are(value):
    image, estimate, above = told(value=value)
    scene = lit_scene(image, estimate, (), sky=True)
    assert not scene.sky.any()
    assert torch.equal(scene.mask, ~above)
    assert torch.equal(relight(**vars(scene), ambient=0.1)[:, :, :HORIZON], image[:, :, :HORIZON])


def test_without_sky_masked_pixels_stay_and_a_mask_of_the_sky_is_believed():
    image, estimate, above = told(value=float("nan"))
    assert torch.equal(lit_scene(image, estimate, (), sky=False).mask, ~above)
    given = lit_scene(image, estimate, (), sky=above)
    assert given.mask.all()
    assert torch.isfinite(relight(**vars(given), ambient=0.1)).all()


def test_an_image_that_is_all_sky_is_all_lit():
    image, estimate, _ = told()
    whole = Estimate(estimate.depth, estimate.quantity, mask=torch.zeros_like(estimate.mask))
    assert (lit_scene(image, whole, (), sky=True).sky == 1).all()


def test_each_image_of_a_batch_tells_its_own_sky():
    """With sky, all sky, without sky, and without a value."""
    _, estimate, above = told(Quantity.METRIC_DEPTH)
    depth = torch.cat((estimate.depth, estimate.depth, estimate.depth, 0 * estimate.depth))
    masks = torch.cat((~above, above & ~above, above | ~above, above & ~above))
    found = predicted_sky(Estimate(depth, estimate.quantity, mask=masks))
    assert torch.equal(found[:1], above)
    assert found.flatten(1).float().mean(1)[1:].tolist() == [1, 0, 0]


FACING = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1)


def alike_in_rows(values, channels=1):
    """(1, channels, 240, W) of the values of a row (W,) or of each channel (3, W)."""
    return values.view(1, -1, 1, values.shape[-1]).expand(1, channels, 240, -1).contiguous()


def rising(wide):
    """Over 320 columns from 0 to 1: between two pixels (0), or over so many."""
    columns = torch.arange(320.0)
    return ((columns - 160 + wide / 2) / wide).clamp(0, 1) if wide else (columns >= 160).float()


def gloss_across(depth, normals):
    """The scene of a grey image, alike in all rows, and a row of its gloss."""
    estimate = Estimate(depth.expand(1, 1, 240, 320).contiguous(), Quantity.METRIC_DEPTH, normals.view(1, 3, 1, -1).expand(1, 3, 240, 320))
    scene = lit_scene(torch.full((1, 3, 240, 320), 0.4), estimate, (), sky=False)
    return scene, resize_map(scene.glossy, 240, 320)[0, 0, 120]


@pytest.mark.parametrize("wide", [0, 6])
def test_soft_edges_between_near_and_far_are_not_glossy(wide):
    """A step keeps its highlights; a ramp, whose normals lead from one thing to the other, loses them."""
    _, row = gloss_across(1 / (0.3 + 0.5 * rising(wide)), torch.tensor((0.0, 0.0, 1.0)))
    assert row[:140].min() == row[180:].min() == 1
    assert row[157:164].max() < 0.15 if wide else row.min() == 1


def under_a_candle(depth, image, kind="point"):
    """A scene whose normals face the viewer, and its image under a lamp in its middle."""
    normals = FACING.expand(1, 3, *depth.shape[-2:])
    plan = LightPlan(kind, x=0.5, y=0.5, depth=0.4, intensity=0.3)
    scene = lit_scene(image, Estimate(depth, Quantity.METRIC_DEPTH, normals), (plan,))
    return scene, relight(image, normals, scene.light, ambient=0.1, depth=scene.depth, intrinsics=scene.intrinsics)


def test_a_candle_lights_no_background_beside_a_near_thing_whose_depth_is_soft_and_wavers():
    """A dark post before a wall; the ramp of its depth lies up to 4 pixels beside the image's edge, to either side."""
    rows, columns = torch.meshgrid(torch.arange(240.0), torch.arange(400.0), indexing="ij")
    thing, shift = (columns - 200).abs() < 60, 4 * (rows / 15).sin()
    image = torch.where(thing, 0.3, 0.7).expand(1, 3, 240, 400).contiguous()
    share = ((60 - (columns - 200 - shift).abs()) / 6 + 0.5).clamp(0, 1)
    soft = 1 / (0.25 + 0.75 * share[None, None])
    _, found = under_a_candle(soft, image)
    _, truth = under_a_candle(torch.where(thing, 1.0, 4.0)[None, None], image)
    rims = ((columns - 200).abs() - 60).abs() < 8
    error = (found - truth)[0].abs().mean(0)[rims]
    assert error.mean() < 0.015, float(error.mean())  # 0.047 with steps in the middle of the ramp


def soft_post(wide=12, bulge=0.0):
    """A round post (or board) before a wall: image, soft depth, a network's normals, true ones, distances from the rim."""
    columns = torch.arange(400.0)
    across = (columns - 200) / 60
    thing, share = across.abs() < 1, ((1 - across.abs()) * 60 / wide + 0.5).clamp(0, 1)
    sideways = across.clamp(-1, 1)
    post = torch.stack((sideways, 0 * across, (1 - sideways**2).sqrt()))
    wall = torch.tensor([0.0, 0.6, 0.8])[:, None].expand(-1, 400)
    mixed = torch.nn.functional.normalize(torch.lerp(wall, post, share), dim=0)
    true = torch.where(thing, post, wall)
    estimate = Estimate(alike_in_rows(1 / (0.25 + (0.75 + bulge * post[2]) * share)), Quantity.METRIC_DEPTH, alike_in_rows(mixed, 3))
    return alike_in_rows(torch.where(thing, 0.3, 0.7), 3), estimate, true, (across.abs() - 1) * 60


@pytest.mark.parametrize("bulge", [0.0, 0.3])
def test_normals_at_silhouettes_are_those_of_one_thing_where_a_network_mixes_both(bulge):
    image, estimate, true, beyond = soft_post(bulge=bulge)
    found, mixed = lit_scene(image, estimate, ()).normals[0, :, 120], estimate.normals[0, :, 120]
    before, after = ((each * true).sum(0).clamp(-1, 1).acos().rad2deg() for each in (mixed, found))
    far, near = (beyond > 0.5) & (beyond < 5), (beyond < -0.5) & (beyond > -5)
    assert before[far].mean() > 20 and after[far].mean() < 5
    assert before[near].mean() > 15 and after[near].mean() < 6
    inside, elsewhere = (beyond < -7) & (beyond > -12), beyond.abs() > 20
    assert after[inside].mean() < 1, "a dark line beside a pale one"
    torch.testing.assert_close(found[:, elsewhere], mixed[:, elsewhere], atol=1e-6, rtol=0)


@pytest.mark.parametrize("wide", [1, 8])
def test_both_things_share_the_pixels_of_a_silhouette_as_the_image_s_colours_do(wide):
    _, estimate, _, beyond = soft_post()
    share = (0.5 - beyond / wide).clamp(0, 1)
    scene = lit_scene(alike_in_rows(0.7 - 0.4 * share, 3), estimate, (LightPlan(),))
    near = scene.edges.pixels.put_vectors(share.expand(1, 1, 240, 400), scene.edges.near)[0, 0, 120]
    assert (near - share).abs().max() < 0.2
    lit_post = (scene.depth > 2).float()  # the shadow lies on the wall alone
    assert (scene.edges.shadow(lit_post, scene.depth)[0, 0, 120] - (1 - share)).abs().max() < 0.2


def refined_post(ripple):
    """The post and its wall, with normals that ripple, and edges refined as `--refine` does."""
    image, estimate, true, beyond = soft_post()
    rows, columns = torch.meshgrid(torch.arange(240.0), torch.arange(400.0), indexing="ij")
    waves = ripple * torch.stack(((rows / 5).sin() * (columns / 6).cos(), (rows / 6).cos() * (columns / 5).sin(), 0 * rows))
    normals = torch.nn.functional.normalize(estimate.normals + waves, dim=1)
    return image, refine_geometry(Estimate(estimate.depth, estimate.quantity, normals), image), true, beyond


def test_a_network_whose_edges_were_refined_is_lit_as_one_that_was_not():
    image, refined, true, beyond = refined_post(0.03)
    scene = lit_scene(image, refined, (LightPlan(),))
    before, after = (torch.rad2deg((each[0, :, 120] * true).sum(0).clamp(-1, 1).acos()) for each in (refined.normals, scene.normals))
    far, near = (beyond > 1) & (beyond < 6), (beyond < -1) & (beyond > -6)
    assert scene.doubt > 0.9, "its ripples would cast shadows"
    assert after[far].mean() < 3 and after[near].mean() < before[near].mean() - 2
    flat = refined_post(0.0)[1]
    scene = lit_scene(image, flat, (LightPlan(),))
    assert scene.doubt < 0.1, "flat walls are rendered or measured"
    torch.testing.assert_close(scene.normals, flat.normals, atol=1e-5, rtol=0)


def test_edges_of_another_image_are_refused():
    image, estimate, *_ = soft_post()
    scene = vars(lit_scene(image, estimate, (LightPlan(),)))
    for other in ([2, 1, 1, 1], [1, 1, 2, 1]):
        repeated = {name: each.repeat(other) if getattr(each, "ndim", 0) and each.shape[-2] > 3 else each for name, each in scene.items()}
        with pytest.raises(ValueError, match="edges are those of one image"):
            relight(**repeated)


def test_true_edges_and_the_depth_for_distant_lights_stay_as_they_are():
    columns = torch.arange(320.0)
    image = alike_in_rows(torch.where((columns // 7) % 2 > 0, 0.2, 0.8), 3)
    step, ramp = (alike_in_rows(1 / (0.25 + 0.75 * rising(wide))) for wide in (0, 6))
    (candle, _), (sun, _) = under_a_candle(step, image), under_a_candle(ramp, image, "directional")
    assert torch.equal(candle.depth, under_a_candle(step, image, "directional")[0].depth)
    assert set(sun.depth.unique().tolist()) == {1.0, 4.0}


@pytest.mark.parametrize("wide", [0, 10])
def test_where_soft_normals_turn_less_is_mirrored_and_edges_keep_it(wide):
    """A bend over ten pixels is a network's, and may show the image's relief; an edge between two pixels is rendered or measured."""
    angle = torch.deg2rad(60 * rising(wide))
    scene, row = gloss_across(torch.ones(1), torch.stack((angle.sin(), 0 * angle, angle.cos())))
    assert scene.relief == float(wide > 0) and row[:140].min() > 1 - 1e-4 and row[180:].min() > 1 - 1e-4
    assert row[160] < 0.4 if wide else row.min() == 1


@pytest.mark.parametrize("brightest", [1.0, 2.0], ids=["image", "HDR image"])
def test_a_scene_is_relit_as_its_maps_are(brightest):
    image, estimate, _ = told()
    scene = lit_scene(image * brightest, estimate, (LightPlan(shadow=0.5), LightPlan("point", intensity=3.0)), sky=True)
    looks = {"specular": 0.3, "ambient": 0.2, "exposure": 0.5}
    torch.testing.assert_close(relight_scene(scene, LookOptions(**looks)), relight(**vars(scene), **looks))
