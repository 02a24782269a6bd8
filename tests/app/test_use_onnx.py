"""docs/use_onnx.py, which knows nothing but an exported file's metadata: it gives the maps that the pack gives, for every family."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from depth_normal.annotators.detail import grown_sky, sky_by_colours, with_clouds
from depth_normal.annotators.moge import _is_first
from depth_normal.annotators.preprocessing.resizing import KERNELS
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.annotators.tiny import sky_of
from depth_normal.app import onnx_export as exporting
from depth_normal.app.batch import per_image
from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.files import read_npz
from depth_normal.model_loader import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.utils import resize_image
from tests import graph_families as SHRUNK

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "use_onnx.py"
NEW = pytest.mark.skipif(**SHRUNK.OLD_EXPORTER)
LIMIT = 1e-3
"""Of the range of disparity and relative depth, of metres themselves; ten times as many degrees of normals."""
FIXED = {"moge-1": (70, 98), "zoedepth-nyu": (96, 128)}
"""Height and width of networks whose files hold for one size."""


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("onnxruntime")
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def numbers():
    """Those by which the sky of the bundled network is found, as an exported file states them."""
    return SHRUNK.annotator("tiny-2").postprocess_metadata()[0]["sky"]


def images():
    """Of several aspects, larger and smaller than the networks, of odd sides, with and without sky."""
    photo = per_image.read(exporting.DEMO_IMAGE)
    return {
        "photo": photo,
        "small": resize_image(photo, 31, 47),
        "upright": photo[..., :397, 120:331],
        "panorama": resize_image(photo[..., 200:241, :200], 41, 163),
        "landscape": landscape(),
    }


def landscape():
    """A blue gradient above a ridge, texture below it: what *tiny* takes for sky, and for land."""
    height, width = 241, 357
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    sky = torch.stack((0.35 + 0.4 * down, 0.6 + 0.3 * down, 0.95 - 0.05 * down))
    texture = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    land = 0.4 * resize_image(texture, height, width)[0] + torch.tensor((0.15, 0.2, 0.08))[:, None, None]
    above = down < 0.5 + 0.06 * torch.sin(torch.linspace(0, 9, width))
    return torch.where(above, sky, land)[None]


class Session:
    """What `onnxruntime.InferenceSession` is to the script; torch runs the network."""

    def __init__(self, annotator, size):
        self.graph = annotator.graph()
        self.metadata = {
            **{name: json.dumps(getattr(self.graph, name)) for name in ("mean", "std")},
            "preprocess": json.dumps(annotator.preprocess_metadata(size)),
            "postprocess": json.dumps(annotator.postprocess_metadata()),
        }

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map=self.metadata)

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self.graph.outputs]

    @torch.no_grad()
    def run(self, _, inputs):
        return [each.numpy() for each in self.graph.module(*(torch.from_numpy(inputs[name]) for name in self.graph.inputs))]


def assert_same(found, true):
    valid = true.valid[0, 0].numpy()
    assert ("mask" in found) == (true.mask is not None)
    if true.mask is not None:
        assert np.mean(found["mask"] != true.mask[0, 0].numpy()) < 1e-3
        valid &= found["mask"]
    assert valid.any()
    if true.depth is not None:
        depth = true.depth[0, 0].numpy()[valid]
        metres = np.abs(depth).clip(0.01 * depth.max())  # a random network's may be 0
        limit = LIMIT * (metres if true.quantity is Quantity.METRIC_DEPTH else np.ptp(depth))
        assert (np.abs(found["depth"][valid] - depth) <= limit).all()
    if true.normals is not None:
        mine, others = (each[valid].astype(float) for each in (found["normals"], true.normals[0].movedim(0, -1).numpy()))
        degrees = np.degrees(np.arctan2(np.linalg.norm(np.cross(mine, others), axis=-1), (mine * others).sum(-1)))
        assert degrees.max() <= 10 * LIMIT
    if true.confidence is not None:
        confidence = true.confidence[0, 0].numpy()
        assert np.abs(found["confidence"] - confidence)[valid].max() <= LIMIT * np.ptp(confidence[valid])


def size_of(annotator):
    """A small `size` of a network's input; those of a frame of their own are small already."""
    default = annotator.spec.default_size
    return 112 if default > 250 and annotator.spec.family != "metric3d" else default


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", [*SHRUNK.DINO, *SHRUNK.OTHERS, *SHRUNK.SLOW])
def test_its_maps_are_the_packs(script, name):
    annotator = SHRUNK.annotator(name)
    if name in FIXED:
        annotator = annotator.for_input_size(*FIXED[name])
    size = size_of(annotator)
    model, session = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), SCRIPT)), Session(annotator, size)
    for image in images().values():
        found = script.estimate(session, image[0].movedim(0, -1).numpy())
        if name == "tiny-2":  # whose random sky is at its threshold everywhere
            assert found.keys() == {"depth", "normals", "mask"}
            continue
        assert_same(found, model.estimate(image, size))


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    "colours", [((0.1, 0.2, 0.4), (0.3, 0.3, 0.3)), ((0.6, 0.6, 0.6), (0.3, 0.3, 0.3)), ((0.6, 0.8, 0.7), (0.3, 0.3, 0.3))]
)
@pytest.mark.parametrize("steepness", [3, 4, 5, 6, 8, 12])
def test_a_sky_of_which_the_bundled_network_is_unsure_is_the_packs(script, numbers, steepness, colours):
    sky, land = (torch.tensor(each).view(1, 3, 1, 1).expand(1, 3, 30, 40) for each in colours)
    image = torch.cat((sky, land), 2)
    image[..., :30, 5:8], image[..., :30, 9:12] = 0.3, 0.85  # a thing before the sky, and haze
    share = 0.7 * (steepness * torch.linspace(1, -1, 60)).sigmoid().view(1, 1, 60, 1).expand(1, 1, 60, 40)
    for each in (share, (share / 0.7).clamp(max=1)):
        found = script.sky_of(each[0].movedim(0, -1).numpy(), image[0].movedim(0, -1).numpy(), numbers)
        assert np.array_equal(found[..., 0], sky_of(each, image)[0, 0].numpy())


def test_colours_decide_of_a_sky_as_in_the_pack(script, numbers):
    image = landscape()
    share = (6 * torch.linspace(0.62, -0.38, 240)).sigmoid().view(1, 1, 240, 1) * torch.linspace(0.3, 1, 356)
    image = resize_image(image, 240, 356)
    found = script.sky_by_colours(*(each[0].movedim(0, -1).numpy() for each in (share, image)), numbers["by_colours"])
    expected = sky_by_colours(share, image)
    assert (expected - share).abs().max() > 0.2
    assert np.abs(found[..., 0] - expected[0, 0].numpy()).max() < 1e-3


def test_clouds_are_filled_as_in_the_pack(script, numbers):
    sky = (torch.arange(240) < 150).view(1, 1, -1, 1) & torch.ones(1, 1, 240, 356, dtype=torch.bool)
    sky[..., 30:61, 41:120] = sky[..., 40:80, 200:230] = sky[..., 100:150, 300:310] = False
    share = torch.where(sky, 0.9, 0.3)
    share[..., 50:60, 205:215] = share[..., 200:, :] = 0.02
    found = script.with_clouds(*(each[0].movedim(0, -1).numpy() for each in (sky, share)), numbers["by_colours"])
    expected = with_clouds(sky, share)
    assert (expected & ~sky).any() and np.array_equal(found[..., 0], expected[0, 0].numpy())


@pytest.mark.parametrize("colour", [(0.7, 0.75, 0.8), (0.97, 0.97, 0.97), (0.9, 0.8, 0.7)], ids=["cloud", "white", "warm"])
def test_a_sky_grows_as_in_the_pack(script, numbers, colour):
    clouds = resize_image(torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0)), 256, 320) - 0.5
    image = (torch.tensor(colour).view(3, 1, 1) + 0.1 * clouds).clamp(0, 1)
    image[..., 200:, :], image[..., 60:, 140:180] = 0.3, 0.4
    suspected = (torch.arange(256) < 210).view(1, 1, -1, 1).expand(1, 1, 256, 320)
    sky = suspected & (torch.arange(256) < 80).view(-1, 1)
    found = script.grown_sky(*(each[0].movedim(0, -1).numpy() for each in (sky, suspected, image)), numbers["growth"])
    expected = grown_sky(sky, suspected, image)
    assert (expected & ~sky).any() == (colour[0] == 0.7)
    assert np.mean(found[..., 0] != expected[0, 0].numpy()) < 1e-3


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("name", "sides", "size"), [("moge-1", (100, 140), 83), ("zoedepth-nyu", (120, 160), 96)])
def test_a_file_of_one_size_gives_the_packs_own_maps_of_images_that_the_pack_runs_at_it(script, name, sides, size):
    annotator = SHRUNK.annotator(name)
    image = resize_image(per_image.read(exporting.DEMO_IMAGE), *sides)
    assert annotator.network_size(*sides, size) == FIXED[name]
    session = Session(annotator.for_input_size(*FIXED[name]), size)
    found = script.estimate(session, image[0].movedim(0, -1).numpy())
    assert_same(found, Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), SCRIPT)).estimate(image, size))


class Unbuilt(nn.Module):
    """Stands in for networks of any family, of which *tiny*'s declares its outputs by whether it has this part."""

    fine = None


def exported_models():
    """One of all models that are prepared alike, by what a file of it would state."""
    alike = {}
    for spec in MODELS.values():
        if FAMILIES[spec.family].why_no_graph(spec) is None and not (spec.family == "moge" and _is_first(spec)):
            annotator = FAMILIES[spec.family](spec, Unbuilt())
            alike.setdefault(json.dumps(annotator.preprocess_metadata(spec.default_size)), annotator)
    return list(alike.values())


@pytest.mark.parametrize("annotator", exported_models(), ids=lambda annotator: annotator.spec.id)
def test_networks_get_the_sizes_that_their_files_state(script, annotator):
    generator = np.random.default_rng(0)
    steps = annotator.preprocess_steps(annotator.spec.default_size)
    for height, width in [*generator.integers(1, 3000, (300, 2)).tolist(), (1, 900), (900, 1), (518, 518), (1080, 1920)]:
        expected = found = (height, width)
        for step in steps:
            expected = step.size(*expected)
            stated = step.metadata()
            found = script.network_size(stated, *found) if stated["step"] == "resize" else expected
            assert found == expected, (height, width, stated)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: KERNELS[kernel][0])
@pytest.mark.parametrize("size", [(29, 71), (80, 40), (61, 20), (131, 150), (1, 1)], ids=str)
def test_its_kernels_are_the_packs(script, kernel, size):
    image = torch.rand(1, 3, 61, 83, generator=torch.Generator().manual_seed(1))
    name = KERNELS[kernel][0]
    found = script.resize(image[0].movedim(0, -1).numpy(), *size, name)
    if name in ("area_cubic", "cubic_or_area"):
        found = found.clip(0, 1)
    np.testing.assert_allclose(found, kernel(image, *size)[0].movedim(0, -1).numpy(), atol=2e-5)


def run_script(model, folder, photos):
    code = f"""
import runpy, sys
script = runpy.run_path({str(SCRIPT)!r})
for photo in {photos!r}:
    script["main"]({str(model)!r}, photo, photo + ".npz")
strangers = {{"torch", "depth_normal", "cv2", "onnx"}} & sys.modules.keys()
assert not strangers, strangers
"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return {photo: dict(np.load(folder / f"{photo}.npz")) for photo in photos}


def write_photos(folder):
    for name, image in images().items():
        pixels = (image[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return [f"{name}.png" for name in images()]


def test_the_bundled_models_file_gives_the_maps_that_the_command_writes(exported_tiny, tmp_path):
    photos = write_photos(tmp_path)
    found = run_script(exported_tiny, tmp_path, photos)
    words = ["--out", str(tmp_path / "maps"), "--model", "tiny", "--write", "npz", "--device", "cpu", "--dtype", "float32"]
    assert main(["estimate", *(str(tmp_path / photo) for photo in photos), *words]) == 0
    for photo in photos:
        assert_same(found[photo], read_npz(tmp_path / "maps" / f"{Path(photo).stem}.npz"))
    assert not found["landscape.png"]["mask"].all() and found["photo.png"]["mask"].all()


SIDES = {"midas-v2.1-small": (96, 128), "dsine": (96, 128), "metric3d": (112, 196), "depth-anything-3-small": (70, 98), **FIXED}
"""Height and width of the files' inputs; for all sizes, as in the one that is not here, the exporter takes four times as long."""
WRITTEN = ("depth-anything-v2-small", "depth-anything-3-small", "metric3d", "dsine", "zoedepth-nyu", "midas-v2.1-small")
"""Networks that have all operations of all families, but for those whose files other tests write."""


class Operations(TorchDispatchMode):
    """Those that torch is asked for, with what they take in words; in place or not, which files do not know."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        words = (str(each) for each in (*arguments, *(options or {}).values()) if isinstance(each, (bool, str)))
        self.seen.add((str(function).replace("_.", "."), *words))
        return function(*arguments, **(options or {}))


@torch.no_grad()
def operations(name):
    """A network's, as exporters trace it."""
    graph = SHRUNK.annotator(name).for_input_size(96, 128).graph() if name in FIXED else SHRUNK.annotator(name).graph()
    side = graph.multiple_of if graph.multiple_of > 1 else 16
    with mock.patch("torch.compiler.is_compiling", lambda: True), Operations() as asked:
        graph.module(*graph.example(1, 6 * side, 8 * side))
    return asked.seen


@pytest.mark.slow("builds a network of each family")
def test_each_operation_of_a_network_is_in_a_file_that_is_written():
    written = set().union(*map(operations, (*WRITTEN, "tiny-edges", "moge", "moge-1")))  # the last three by other tests
    lacking = {name: operations(name) - written for name in (*SHRUNK.DINO, *SHRUNK.OTHERS, *SHRUNK.SLOW)}
    assert not any(lacking.values()), lacking


@NEW
@pytest.mark.slow("exports networks to ONNX")
@pytest.mark.parametrize("name", WRITTEN)
def test_a_real_file_gives_the_packs_maps(script, name, tmp_path, monkeypatch):
    annotator, sides = SHRUNK.annotator(name), SIDES.get(name)
    size = size_of(annotator)
    model = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), SCRIPT))
    exporting.export_model(model, annotator, tmp_path / "small.onnx", size, sides, batch=1)
    if sides:
        model = Model(LoadedNetwork(annotator.for_input_size(*sides), torch.float32, torch.device("cpu"), SCRIPT))
    for photo in write_photos(tmp_path):
        script.main(str(tmp_path / "small.onnx"), tmp_path / photo, tmp_path / "maps.npz")
        assert_same(dict(np.load(tmp_path / "maps.npz")), model.estimate(per_image.read(tmp_path / photo), size))
    if name == "depth-anything-v2-small":
        monkeypatch.chdir(tmp_path)
        assert_lines_on_the_page_give(model, size)


def test_lines_on_the_page_give_the_packs_depth(tmp_path, monkeypatch):
    """With torch in the place of ONNX Runtime, which `test_a_real_file_gives_the_packs_maps` gives them."""
    annotator = SHRUNK.annotator("depth-anything-v2-small")
    size = size_of(annotator)
    model, session = Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), SCRIPT)), Session(annotator, size)
    monkeypatch.setattr(pytest.importorskip("onnxruntime"), "InferenceSession", {"small.onnx": session}.__getitem__)
    monkeypatch.chdir(tmp_path)
    assert_lines_on_the_page_give(model, size)


def assert_lines_on_the_page_give(model, size):
    """Those for Depth Anything V2 in docs/export.md, in the working directory."""
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)
    assert re.findall(r"import (\w+)", lines) == ["json", "cv2", "numpy", "onnxruntime"]
    for photo in write_photos(Path())[:3]:
        estimate = model.estimate(per_image.read(Path(photo)), size)
        Path(photo).replace("photo.jpg")
        exec(lines, found := {})
        assert_same({"depth": found["disparity"]}, estimate)
        assert Path("depth.png").stat().st_size > 100
