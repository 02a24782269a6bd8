"""The nodes of ComfyUI-DepthAnythingV2 and ComfyUI-Video-Depth-Anything: graphs saved with those packs open and run."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import depth_normal
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.files import read_exr
from depth_normal.model_loader import load_model
from depth_normal.model_loader.weights import find
from depth_normal.nodes import NODES, loading, old_ids
from depth_normal.nodes import depth_anything_v2 as nodes
from depth_normal.nodes import video_depth_anything as vda
from tests import tiny_depth as TINY
from tests.whole_files import largest_file

LOADER, RUN = (depth_normal.NODE_CLASS_MAPPINGS[node_id] for node_id in ("DownloadAndLoadDepthAnythingV2Model", "DepthAnything_V2"))
OLD_FILES = list(nodes.FILES)[:-1]  # the last is tiny
MEAN, STD = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


MODEL_OF = {name: model for name, model in (nodes.FILES | vda.FILES).items() if model != "tiny"}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with the files that users of the old packs have, tiny; of Video Depth Anything's the small ones."""
    folder = tmp_path_factory.mktemp("depthanything")
    for name, model in MODEL_OF.items():
        if name in nodes.FILES or "small" in model:
            TINY.write_file(TINY.shrunk(MODELS[model]), folder / name)
    return folder


@pytest.fixture
def tiny(weights, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(weights))
    for model in set(MODEL_OF.values()):
        monkeypatch.setitem(MODELS, model, TINY.shrunk(MODELS[model]))
    yield
    depth_normal.free()


def images(count=2, height=61, width=83):
    coarse = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(5))
    return F.interpolate(coarse, size=(height, width), mode="bilinear").movedim(1, -1)


def run(name, batch):
    (chosen,) = LOADER().execute(name)
    return RUN().execute(chosen, batch)[0]


def as_documented(name, batch):
    """The old pack's steps in its order, on the same network."""
    annotator = depth_normal.load_model(nodes.FILES[name], "float32").annotator
    height, width = batch.shape[1:3]
    pixels = batch.movedim(-1, 1)
    pixels = F.interpolate(pixels, size=(height - height % 14, width - width % 14), mode="bilinear")
    found = []
    for each in ((pixels - MEAN) / STD).split(1):
        (depth,) = annotator.predict(each)
        depth = depth.reshape(1, 1, *each.shape[-2:])
        found.append((depth - depth.min()) / (depth.max() - depth.min()))
    maps = F.interpolate(torch.cat(found), size=(height // 2 * 2, width // 2 * 2), mode="bilinear")
    maps = (maps - maps.min()) / (maps.max() - maps.min())
    maps = 1 - maps if "metric" in name else maps
    return maps.movedim(1, -1).expand(-1, -1, -1, 3)


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("name", [OLD_FILES[1], OLD_FILES[6]])
@pytest.mark.parametrize("size", [(61, 83), (70, 84), (33, 120)])
@torch.no_grad()
def test_numbers_are_those_of_the_old_packs_steps(tiny, name, size):
    batch = images(2, *size)
    found = run(name, batch)
    assert found.shape == (2, size[0] // 2 * 2, size[1] // 2 * 2, 3)
    torch.testing.assert_close(found, as_documented(name, batch), atol=1e-5, rtol=0)
    assert found.min() == 0 and found.max() == 1 and found.std() > 0.05


def test_a_constant_map_is_black(tiny, monkeypatch):
    network = depth_normal.load_model(nodes.FILES[OLD_FILES[1]], "float32").annotator.network
    monkeypatch.setattr(type(network), "forward", lambda self, pixels: torch.full_like(pixels[:, :1], 3.0))
    assert not run(OLD_FILES[1], images()).any()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", OLD_FILES)
def test_the_file_of_the_chosen_name_is_used(weights, tiny, name, monkeypatch):
    used = []

    def load(model, precision, weights=None, runtime="torch"):
        used.append((model, precision, weights))
        return original(model, precision, weights=weights, runtime=runtime)

    original = depth_normal.load_model
    monkeypatch.setattr(loading.model_loader, "load_model", load)
    run(name, images(1))
    assert used == [(nodes.FILES[name], "float32", weights / name)], "half precision is slow on a CPU"
    before, before_if_linked = map(LOADER.IS_CHANGED, (name, None))
    (weights / name).touch()
    assert LOADER.IS_CHANGED(name) != before and LOADER.IS_CHANGED(None) != before_if_linked


def test_without_that_file_the_models_own_weights_are_used(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    name = "depth_anything_v2_vits.pth"
    TINY.write_file(MODELS["depth-anything-v2-small"], tmp_path / name)
    assert find.find_weights(MODELS["depth-anything-v2-small"].file) == tmp_path / name
    assert run(OLD_FILES[0], images(1)).std() > 0.05


def test_tiny_runs_at_its_own_size():
    found = run("tiny", images(1, 201, 301))
    assert found.shape == (1, 200, 300, 3) and found.std() > 0.01


def test_a_network_of_the_other_pack_is_refused():
    with pytest.raises(TypeError, match="both nodes must be from the same pack"):
        RUN().execute({"model": None, "dtype": torch.float32, "is_metric": False}, images())
    with pytest.raises(ValueError, match=r"'other\.pth'"):
        LOADER().execute("other.pth")


@pytest.mark.parametrize("theirs", [True, False])
def test_the_ids_are_left_to_their_pack_where_it_is_installed(monkeypatch, theirs):
    loaded = dict.fromkeys(old_ids.LEFT_TO_THEIR_PACK, object()) if theirs else {}
    monkeypatch.setitem(sys.modules, "nodes", SimpleNamespace(NODE_CLASS_MAPPINGS={**loaded, "MiDaS-DepthMapPreprocessor": object()}))
    found = old_ids.with_twins(NODES, old=True)
    assert bool(set(old_ids.LEFT_TO_THEIR_PACK) & set(found)) == (not theirs)
    assert {old_ids.OWN_IDS[node_id] for node_id in old_ids.LEFT_TO_THEIR_PACK} <= set(found)
    assert "MiDaS-DepthMapPreprocessor" in found, "comfyui_controlnet_aux's ids are served beside it"


# --- ComfyUI-Video-Depth-Anything ---


SMALL = "video_depth_anything_vits.pth"


def frames(total=3, height=60, width=90):
    return images(total, height, width)


def process(images=None, model=SMALL, **widgets):
    (chosen,) = vda.LoadVideoDepthAnythingModel().execute(model)
    return vda.VideoDepthAnythingProcess().execute(chosen, frames() if images is None else images, **{"input_size": 56, **widgets})[0]


def test_depth_of_a_video(tiny):
    found = process(frames(4))
    assert found.shape == (4, 60, 90) and found.dtype == np.float32
    model = load_model("video-depth-anything-small", "float32")
    expected = torch.cat([part.depth for part in model.estimate_video(frames(4).movedim(-1, 1).split(3), size=56)])[:, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * expected.max().item())


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("images", "widgets", "size"),
    [
        (frames(), {"model": "metric_" + SMALL}, (60, 90)),
        (frames(), {"max_res": 45}, (30, 46)),
        (frames(1, 1), {"max_res": 30}, (2, 30)),
        (frames(), {"max_res": 0}, (60, 90)),
        (frames(), {"max_res": -1}, (60, 90)),
        (frames()[..., :1], {}, (60, 90)),
        (torch.cat((frames(), torch.ones(3, 60, 90, 1)), -1), {}, (60, 90)),
    ],
    ids=["metres", "limited", "a line", "no limit", "below no limit", "grey", "alpha"],
)
def test_the_longer_side_is_limited_as_in_the_old_node(tiny, images, widgets, size):
    found = process(images, **widgets)
    assert found.shape == (len(images), *size) and ("model" not in widgets or found.min() >= 0)


def test_images_have_one_range():
    depths = np.stack([np.full((4, 6), value, np.float32) for value in (1.0, 2.0, 5.0)])
    (grey,) = vda.VideoDepthAnythingOutput().execute(depths)
    assert grey.shape == (3, 4, 6, 3)
    torch.testing.assert_close(grey[:, 0, 0], torch.tensor([0.0, 0.25, 1.0])[:, None].expand(3, 3))
    (colours,) = vda.VideoDepthAnythingOutput().execute(torch.from_numpy(depths), "inferno")
    assert colours[0, 0, 0].max() < 0.1 and colours[2, 0, 0, 0] > 0.9, "black, and bright yellow"
    (flat,) = vda.VideoDepthAnythingOutput().execute(np.ones((2, 4, 6)))
    assert flat.unique().numel() == 1


def test_files_hold_the_numbers(comfyui):
    pytest.importorskip("OpenEXR", "3.4", reason="EXR files need OpenEXR 3.4")
    depths = np.random.default_rng(0).random((3, 5, 7), np.float32) * 9
    for _ in range(2):  # the second time they are replaced
        (folder,) = vda.VideoDepthAnythingSaveEXR().execute(depths, "shot01/depth_raw")
    assert Path(folder) == (comfyui / "output" / "shot01" / "depth_raw").resolve()
    assert sorted(path.name for path in Path(folder).iterdir()) == ["frame_00000.exr", "frame_00001.exr", "frame_00002.exr"]
    found = read_exr(Path(folder, "frame_00002.exr"), Quantity.DISPARITY)
    assert found.quantity is Quantity.DISPARITY and np.array_equal(found.depth[0, 0].numpy(), depths[2])


def test_of_a_sequence_that_does_not_fit_nothing_stays(comfyui):
    depths = np.random.default_rng(0).random((2, 64, 64), np.float32)
    depths[0] = 1  # which fits
    with largest_file(4000), pytest.raises(OSError, match=r"cannot be saved in .*raw: File too large.* or choose another folder_name"):
        vda.VideoDepthAnythingSaveEXR().execute(depths, "raw")
    assert not list((comfyui / "output" / "raw").iterdir())


def test_frames_of_a_longer_video_are_noted(comfyui, caplog):
    save = vda.VideoDepthAnythingSaveEXR().execute
    for count in (3, 3, 2):
        assert not caplog.text
        save(np.ones((count, 2, 2)), "raw")
    assert "frames of a longer video follow: " in caplog.text and "frame_00002.exr" in caplog.text


def test_files_stay_below_the_output_folder(comfyui):
    with pytest.raises(ValueError, match="the file name"):
        vda.VideoDepthAnythingSaveEXR().execute(np.ones((1, 2, 2)), "../outside")
    assert {path.name for path in comfyui.rglob("*")} == {"input", "output", "temp"}


def test_what_is_not_accepted_is_named(tiny):
    with pytest.raises(TypeError, match=r"vda_model input is a dict; .*two packs have nodes of this name"):
        vda.VideoDepthAnythingProcess().execute({}, frames())
    with pytest.raises(ValueError, match="input_size"):
        process(input_size=3)
    with pytest.raises(ValueError, match="precision"):
        process(precision="fp8")
    with pytest.raises(TypeError, match="depths input is a list; expected an array"):
        vda.VideoDepthAnythingOutput().execute([1, 2])
    with pytest.raises(ValueError, match=r"shape \(4, 6\); expected \(frames"):
        vda.VideoDepthAnythingOutput().execute(np.ones((4, 6)))
