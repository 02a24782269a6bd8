"""Panoramas by a model that takes them whole: the seam, the axes, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import depth_normal
from depth_normal.annotators.base import Annotator
from depth_normal.annotators.preprocessing.resizing import WholeSphere, linear_antialiased
from depth_normal.annotators.preprocessing.steps import Resize
from depth_normal.annotators.registry import MODELS, find_spec
from depth_normal.app.batch.check_outputs import check_writes
from depth_normal.app.batch.options import Options
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import Model
from depth_normal.model_loader.comfy import interrupt
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.inference.panorama import blend_half_turn
from depth_normal.nodes.depth_and_normals import DEPTH_MODELS, DepthAndNormals
from depth_normal.nodes.panorama import EstimatePanorama
from tests import panorama_scenes as scenes

WIDTH = 336
OPENGL = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def truth():
    return scenes.panorama(scenes.room(), WIDTH)


class Whole(Annotator):
    """Knows the true distances of a panorama and, as a network does, errs by the column: a ramp, which steps at the border.

    Rolled input is known by its pixels; each answer has a scale of its own.
    """

    bytes_per_pixel = 100

    def __init__(self, image, distance, slope=0.0):
        super().__init__(replace(find_spec("da2"), default_size=WIDTH), nn.Conv2d(3, 1, 1))
        self.image, self.distance, self.slope, self.asked = image, distance, slope, 0

    def preprocess(self, size):
        return (Resize(WholeSphere(size, 14), linear_antialiased),)

    def infer_resized(self, pixels, request=None):
        return Estimate.cat([self.one(each[None]) for each in pixels])

    def one(self, pixels):
        self.asked += 1
        shown = (pixels - pixels.mean()) / pixels.std()
        known = (self.image - self.image.mean()) / self.image.std()
        step = WIDTH // 8
        turn = min(range(0, WIDTH, step), key=lambda columns: float((known.roll(columns, -1) - shown).abs().mean()))
        ramp = torch.linspace(-self.slope, self.slope, WIDTH)
        depth = self.distance.roll(turn, -1) * ramp.exp() * (1 + 0.3 * (turn >= WIDTH // 2))
        return Estimate(depth, Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR)


def whole(truth, slope=0.0):
    return Model(LoadedNetwork(Whole(truth.image, truth.distance, slope), torch.float32, torch.device("cpu"), Path("whole.pt")))


def seam(depth):
    return float((depth[..., 0] / depth[..., -1]).log().abs().median())


def test_the_room_comes_back_with_its_normals_in_the_axes_of_panoramas(truth):
    found = whole(truth).estimate_panorama(truth.image, derive=with_normals)
    assert (found.projection, found.quantity, found.axes) == (Projection.EQUIRECTANGULAR, Quantity.METRIC_DEPTH, Axes.OPENGL)
    ratio = found.depth / truth.distance
    assert (ratio / ratio.median() - 1).abs().max() < 1e-4
    angle = torch.rad2deg(torch.acos((found.normals * truth.normals * OPENGL).sum(1).clamp(-1, 1)))
    rows, columns = WIDTH // 24, WIDTH // 24
    for part in (angle, angle[..., :columns], angle[..., -columns:], angle[:, :rows], angle[:, -rows:]):
        assert part.median() < 3


def test_the_step_at_the_border_is_gone(truth):
    found = whole(truth, 0.2).estimate_panorama(truth.image).depth
    one = truth.distance * torch.linspace(-0.2, 0.2, WIDTH).exp()
    assert seam(one) > 0.3 and seam(found) < 0.005
    ratio = found / truth.distance
    assert (ratio / ratio.median()).log().abs().max() < 0.1, "and no other step has taken its place"
    assert ratio.log().diff(dim=-1).abs().max() < 0.01


def test_a_panorama_rolled_by_half_a_turn_gives_the_rolled_estimate(truth):
    model = whole(truth, 0.2)
    plain = model.estimate_panorama(truth.image).depth
    rolled = model.estimate_panorama(truth.image.roll(WIDTH // 2, -1)).depth.roll(-(WIDTH // 2), -1)
    assert (rolled / plain - 1).abs().max() < 1e-5


def test_a_panorama_rolled_by_a_quarter_differs_by_what_the_network_errs(truth):
    model = whole(truth, 0.2)
    plain = model.estimate_panorama(truth.image).depth
    rolled = model.estimate_panorama(truth.image.roll(WIDTH // 4, -1)).depth.roll(-(WIDTH // 4), -1)
    ratio = (rolled / plain).log()
    alone = (torch.linspace(-0.2, 0.2, WIDTH).roll(-(WIDTH // 4)) - torch.linspace(-0.2, 0.2, WIDTH)).abs().max()
    assert (ratio - ratio.median()).abs().max() < 0.4 * alone


def test_the_blend_takes_each_estimate_away_from_its_seam():
    plain, turned = torch.full((1, 1, 4, 64), 2.0), torch.full((1, 1, 4, 64), 8.0)
    assert torch.allclose(blend_half_turn(plain, turned), torch.tensor(4.0)), "up to scale they are the same"
    plain[..., :3] = 20
    assert (blend_half_turn(plain, turned)[..., :3] / 4 - 1).abs().max() < 0.05


@pytest.mark.parametrize("height, width", [(84, 168), (400, 800), (167, 335)])
def test_panoramas_of_any_size_come_back_at_their_size(truth, height, width):
    image = torch.nn.functional.interpolate(truth.image, (height, width), mode="bilinear", antialias=True)
    found = whole(truth).estimate_panorama(image)
    assert (found.height, found.width) == (height, width)
    small = found.resized(84, 168).depth / replace(found, depth=truth.distance, mask=None).resized(84, 168).depth
    assert (small / small.median() - 1).abs().median() < 0.02


def test_progress_and_cancelling(truth, monkeypatch):
    told = []
    model = whole(truth)
    model.estimate_panorama(truth.image.expand(2, -1, -1, -1), progress=lambda *done: told.append(done[0] / done[1]))
    assert told == sorted(told) and told[-1] == 1

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupt, "throw_if_interrupted", stop)
    with pytest.raises(KeyboardInterrupt):
        model.estimate_panorama(truth.image)


def test_photos_videos_and_scenes_are_refused_with_what_to_do(truth):
    model, image = whole(truth), torch.rand(1, 3, 64, 96)
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


def test_panoramas_are_taken_by_the_node_and_the_command(truth):
    assert EstimatePanorama.VALIDATE_INPUTS("da2") is True
    assert "da2" in str(EstimatePanorama.INPUT_TYPES()["optional"]["model"])
    check_writes(("depth", "normals", "npz"), Options(MODELS["da2"], panorama=True))


def test_folders_of_panoramas_from_python(truth, tmp_path):
    from PIL import Image

    pixels = (truth.image[0].movedim(0, -1).numpy() * 255).astype("uint8")
    Image.fromarray(pixels[::4, ::4]).save(tmp_path / "room.png")
    ((path, found),) = depth_normal.estimate_folder(tmp_path, model="tiny", size=56, panorama=True)
    assert path.name == "room.png" and found.projection is Projection.EQUIRECTANGULAR and found.width == math.ceil(WIDTH / 4)
    for wrong, words in (({"any_aspect": True}, "add panorama=True"), ({"panorama": True, "fov": 60.0}, "fov cannot be used")):
        with pytest.raises(ValueError, match=words):
            depth_normal.estimate_folder(tmp_path, model="tiny", **wrong)
    with pytest.raises(ValueError, match="takes panoramas"):
        depth_normal.estimate_folder(tmp_path, model="da2")
