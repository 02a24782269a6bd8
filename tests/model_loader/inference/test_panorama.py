"""Panoramas by models that know the truth, of each view or of the whole, so that cutting, merging and normals are judged alone."""

import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from PIL import Image
from torch import nn

import depth_normal
from depth_normal.annotators.base import Annotator
from depth_normal.annotators.preprocessing.resizing import WholeSphere, linear_antialiased
from depth_normal.annotators.preprocessing.steps import Resize
from depth_normal.annotators.registry import MODELS, find_spec
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import check_writes
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.effects.depths import check_metric, known_depths
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import load_estimate, read_image, save_estimate
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.comfy import interrupt
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.inference.panorama import blend_half_turn, borders_meet, check_panorama, merged_size
from depth_normal.nodes.demo import DEMO_IMAGES
from depth_normal.nodes.depth_and_normals import DEPTH_MODELS, DepthAndNormals, EstimatePanorama
from depth_normal.utils import resize_map
from tests import panorama_scenes as scenes
from tests.panorama_oracle import oracle

WIDTH, SIDE, WHOLE_WIDTH = 384, 192, 336
SLOW = pytest.mark.slow("traces and merges panoramas")
OPENGL = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def truths():
    return {name: scenes.panorama(things(), WIDTH) for name, things in scenes.SCENES.items()}


def regions(values, valid):
    """Valid values of all of a panorama, beside its seam, and around its poles."""
    rows, columns = values.shape[-2] // 12, values.shape[-1] // 24
    parts = {
        "all": (..., slice(None)),
        "left": (..., slice(0, columns)),
        "right": (..., slice(-columns, None)),
        "zenith": (..., slice(0, rows), slice(None)),
        "nadir": (..., slice(-rows, None), slice(None)),
    }
    found = {name: values[part][valid[part]] for name, part in parts.items()}
    return {name: part for name, part in found.items() if len(part)}


def angles(found, truth):
    """Degrees between the normals."""
    return torch.rad2deg(torch.acos((found.normals * truth.normals * OPENGL).sum(1, keepdim=True).clamp(-1, 1)))


def judge(found, truth):
    both = found.valid & truth.valid
    distance = (found.depth / truth.distance - 1).abs()
    angle = angles(found, truth)
    assert (found.valid != truth.valid).float().mean() < 0.005
    for name, error in regions(distance, both).items():
        assert error.median() < 0.01, f"distance, {name}"
    for name, error in regions(angle, both).items():
        assert error.median() < 3, f"normals, {name}"
    assert distance[both].quantile(0.99) < 0.05 and (angle[both] > 3).float().mean() < 0.06


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(("name", "normals"), [("room", False), ("street", True)], ids=["normals of the distances", "the model's normals"])
def test_true_views_become_the_true_panorama(name, normals, truths):
    model = oracle(scenes.SCENES[name](), normals=normals, side=SIDE)
    found = model.estimate_panorama(truths[name].image, derive=with_normals)
    assert (found.projection, found.quantity, found.axes) == (Projection.EQUIRECTANGULAR, Quantity.METRIC_DEPTH, Axes.OPENGL)
    assert (found.height, found.width) == (WIDTH // 2, WIDTH) and found.intrinsics is None
    assert set(model.annotator.fovs) == {90.0}
    judge(found, truths[name])


def test_the_panorama_of_a_model_without_metres_has_none(tmp_path):
    """Its views, which are disparity, become distances of an unknown unit."""
    found = load_model("tiny", "float32", "cpu").estimate_panorama(torch.rand(1, 3, 32, 64), 64)
    save_estimate(tmp_path / "found.npz", found)
    assert found.quantity is load_estimate(tmp_path / "found.npz").quantity is Quantity.SCALE_INVARIANT_DEPTH
    with pytest.raises(ValueError, match="the depth is not in metres"):
        check_metric(known_depths(found))


@SLOW
def test_tiny_rolled_by_half_a_turn_is_the_same_elsewhere(truths):
    model = load_model("tiny", "float32", "cpu")
    image = truths["street"].image
    plain, rolled = model.estimate_panorama(image, 128), model.estimate_panorama(image.roll(WIDTH // 2, 3), 128)
    # The icosahedron comes to itself by half a turn: the same views, in another order.
    back = rolled.depth.roll(-WIDTH // 2, 3)
    ratio = (back / plain.depth).log()[plain.valid]
    assert (ratio - ratio.median()).abs().median() < 0.01
    assert plain.quantity is Quantity.SCALE_INVARIANT_DEPTH and plain.normals is not None
    over, inside = (plain.depth[..., 0] / plain.depth[..., -1]).log().abs(), plain.depth.log().diff(dim=-1).abs()
    assert over.median() < 3 * inside.median() + 1e-3, "no step at the seam"


@SLOW
def test_large_panoramas_are_merged_smaller_and_enlarged():
    assert merged_size(512, 1024) == (512, 1024)
    assert merged_size(4096, 8192) == (1024, 2048)
    assert merged_size(2500, 5000) == (833, 1667)
    image = torch.rand(1, 3, 1536, 3072, generator=torch.Generator().manual_seed(0))
    found = oracle(scenes.room(), side=64).estimate_panorama(image)
    assert (found.height, found.width) == (1536, 3072)
    truth = scenes.panorama(scenes.room(), 384)
    error = (found.resized(192, 384).depth / truth.distance - 1).abs()
    assert error.median() < 0.01


@pytest.mark.parametrize("size", [(480, 640), (512, 512), (500, 1100)])
def test_other_sides_are_refused_and_taken_on_request(size):
    with pytest.raises(ValueError, match=f"{size[1]}x{size[0]} pixels; a panorama of the whole sphere .* turn on any_aspect"):
        check_panorama(*size, any_aspect=False)
    check_panorama(*size, any_aspect=True)
    check_panorama(500, 1001, any_aspect=False)
    with pytest.raises(ValueError, match="at least 16x8"):
        check_panorama(1, 2, any_aspect=True)


def photo(name):
    """The upper half and more of a bundled photo, 2:1."""
    image = torch.from_numpy(read_image(DEMO_IMAGES.get(name) or DEMO_IMAGE)).movedim(-1, 0)[None]
    return image[..., : image.shape[-1] // 2, :]


def test_borders_of_panoramas_meet_and_those_of_photos_do_not(truths):
    panorama = torch.from_numpy(read_image(DEMO_IMAGES["panorama.jpg"])).movedim(-1, 0)[None]
    for turn in range(0, panorama.shape[-1], panorama.shape[-1] // 12):
        assert borders_meet(panorama.roll(turn, 3))
    for turn in range(0, WIDTH, 16):
        assert borders_meet(truths["room"].image.roll(turn, 3))
    generator = torch.Generator().manual_seed(0)
    for plain in (torch.full((1, 3, 64, 128), 0.5), torch.zeros(1, 3, 8, 16), torch.rand(1, 3, 64, 128, generator=generator)):
        assert borders_meet(plain), "nothing says that they do not"
    for name in ("breakfast.jpg", "wall.jpg", "coffee.jpg"):
        assert not borders_meet(photo(name)), name
    assert not borders_meet(truths["room"].image[..., : WIDTH // 2]), "a half"


@pytest.mark.slow("takes most of a second")
def test_an_image_whose_borders_do_not_meet_is_taken_with_a_warning(truths, caplog):
    model = oracle(scenes.room(), side=64)
    room, both = (resize_map(image, 64, 128) for image in (truths["room"].image, photo("coffee.jpg").expand(2, -1, -1, -1)))
    model.estimate_panorama(room)
    model.estimate_panorama(both[:1], any_aspect=True)
    assert not caplog.records
    assert model.estimate_panorama(both).batch == 2
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["panorama 1 of 2", "panorama 2 of 2"]
    assert "perhaps a photo" in caplog.text


# --- models that take panoramas whole ---


@pytest.fixture(scope="module")
def small_room():
    return scenes.panorama(scenes.room(), WHOLE_WIDTH)


class Whole(Annotator):
    """Knows the true distances of a panorama and, as a network does, errs by the column: a ramp, which steps at the border.

    Rolled input is known by its pixels; each answer has a scale of its own.
    """

    bytes_per_pixel = 100

    def __init__(self, image, distance, slope=0.0):
        super().__init__(replace(find_spec("da2"), default_size=WHOLE_WIDTH), nn.Conv2d(3, 1, 1))
        self.image, self.distance, self.slope, self.asked = image, distance, slope, 0

    def preprocess(self, size):
        return (Resize(WholeSphere(size, 14), linear_antialiased),)

    def infer_resized(self, pixels, request=None):
        return Estimate.cat([self.one(each[None]) for each in pixels])

    def one(self, pixels):
        self.asked += 1
        shown = (pixels - pixels.mean()) / pixels.std()
        known = (self.image - self.image.mean()) / self.image.std()
        step = WHOLE_WIDTH // 8
        turn = min(range(0, WHOLE_WIDTH, step), key=lambda columns: float((known.roll(columns, -1) - shown).abs().mean()))
        ramp = torch.linspace(-self.slope, self.slope, WHOLE_WIDTH)
        depth = self.distance.roll(turn, -1) * ramp.exp() * (1 + 0.3 * (turn >= WHOLE_WIDTH // 2))
        return Estimate(depth, Quantity.SCALE_INVARIANT_DEPTH, projection=Projection.EQUIRECTANGULAR)


def whole(small_room, slope=0.0):
    return Model(LoadedNetwork(Whole(small_room.image, small_room.distance, slope), torch.float32, torch.device("cpu"), Path("whole.pt")))


def seam(depth):
    return float((depth[..., 0] / depth[..., -1]).log().abs().median())


def test_the_room_comes_back_with_its_normals_in_the_axes_of_panoramas(small_room):
    found = whole(small_room).estimate_panorama(small_room.image, derive=with_normals)
    assert (found.projection, found.quantity, found.axes) == (Projection.EQUIRECTANGULAR, Quantity.SCALE_INVARIANT_DEPTH, Axes.OPENGL)
    ratio = found.depth / small_room.distance
    assert (ratio / ratio.median() - 1).abs().max() < 1e-4
    assert all(part.median() < 3 for part in regions(angles(found, small_room), found.valid).values())


def test_the_step_at_the_border_is_gone(small_room):
    found = whole(small_room, 0.2).estimate_panorama(small_room.image).depth
    one = small_room.distance * torch.linspace(-0.2, 0.2, WHOLE_WIDTH).exp()
    assert seam(one) > 0.3 and seam(found) < 0.005
    ratio = found / small_room.distance
    assert (ratio / ratio.median()).log().abs().max() < 0.1, "and no other step has taken its place"
    assert ratio.log().diff(dim=-1).abs().max() < 0.01


def test_the_blend_takes_each_estimate_away_from_its_seam():
    plain, turned = torch.full((1, 1, 4, 64), 2.0), torch.full((1, 1, 4, 64), 8.0)
    assert torch.allclose(blend_half_turn(plain, turned), torch.tensor(4.0)), "up to scale they are the same"
    plain[..., :3] = 20
    assert (blend_half_turn(plain, turned)[..., :3] / 4 - 1).abs().max() < 0.05


@pytest.mark.parametrize("height, width", [(84, 168), (400, 800), (167, 335)])
def test_panoramas_of_any_size_come_back_at_their_size(small_room, height, width):
    image = torch.nn.functional.interpolate(small_room.image, (height, width), mode="bilinear", antialias=True)
    found = whole(small_room).estimate_panorama(image)
    assert (found.height, found.width) == (height, width)
    small = found.resized(84, 168).depth / replace(found, depth=small_room.distance, mask=None).resized(84, 168).depth
    assert (small / small.median() - 1).abs().median() < 0.02


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("model_of", "steps"), [("views", 4), ("whole panoramas", 2)])
def test_a_batch_is_estimated_one_panorama_after_another_with_progress_until_it_is_cancelled(small_room, monkeypatch, model_of, steps):
    told, model = [], oracle(scenes.room(), side=64) if model_of == "views" else whole(small_room)
    images = torch.cat([small_room.image] * 2)
    found = model.estimate_panorama(images, progress=lambda *done: told.append(done[0] / done[1]))
    assert found.batch == 2 and torch.allclose(found.depth[0], found.depth[1])
    assert told == sorted(told) and told[-1] == 1 and len(told) >= steps
    monkeypatch.setattr(interrupt, "throw_if_interrupted", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.estimate_panorama(images)


def test_panoramas_are_taken_and_photos_videos_and_scenes_are_refused_with_what_to_do(small_room):
    model, image = whole(small_room), torch.rand(1, 3, 64, 96)
    words = "takes panoramas of the whole sphere alone .* Estimate Panorama .* moge-2-vits-normal"
    for run in (model.estimate, model.estimates, model.estimate_scene, lambda images: next(model.estimate_video([images]))):
        with pytest.raises(ValueError, match=words):
            run(image)
    with pytest.raises(ValueError, match=words):
        check_writes(("depth",), Options(MODELS["da2"]))
    with pytest.raises(ValueError, match=words):
        DepthAndNormals().execute(image.movedim(1, -1), "da2")
    assert "da2" not in DEPTH_MODELS and "takes panoramas" in DepthAndNormals.VALIDATE_INPUTS("da2")
    with pytest.raises(ValueError, match="96x64 pixels; a panorama of the whole sphere"):
        model.estimate_panorama(image)
    assert EstimatePanorama.VALIDATE_INPUTS("da2") is True
    assert "da2" in str(EstimatePanorama.INPUT_TYPES()["optional"]["model"])
    check_writes(("depth", "normals", "npz"), Options(MODELS["da2"], panorama=True))


def test_folders_of_panoramas_from_python(small_room, tmp_path):
    pixels = (small_room.image[0].movedim(0, -1).numpy() * 255).astype("uint8")
    Image.fromarray(pixels[::4, ::4]).save(tmp_path / "room.png")
    ((path, found),) = depth_normal.estimate_folder(tmp_path, model="tiny", size=56, panorama=True)
    assert path.name == "room.png" and found.projection is Projection.EQUIRECTANGULAR and found.width == math.ceil(WHOLE_WIDTH / 4)
    for wrong, words in (({"any_aspect": True}, "add panorama=True"), ({"panorama": True, "fov": 60.0}, "fov cannot be used")):
        with pytest.raises(ValueError, match=words):
            depth_normal.estimate_folder(tmp_path, model="tiny", **wrong)
    with pytest.raises(ValueError, match="takes panoramas"):
        depth_normal.estimate_folder(tmp_path, model="da2")
