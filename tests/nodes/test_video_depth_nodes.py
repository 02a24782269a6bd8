"""The nodes of ComfyUI-Video-Depth-Anything: graphs saved with that pack open and run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.files import read_exr
from depth_normal.model_loader import free, load_model
from depth_normal.nodes import video_depth_anything as nodes
from tests import tiny_depth as TINY

SMALL, LARGE = "video_depth_anything_vits.pth", "video_depth_anything_vitl.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videodepthanything")
    for model_id in set(nodes.FILES.values()) - {"tiny"}:
        if "small" in model_id:
            spec = TINY.shrunk(MODELS[model_id])
            TINY.write_file(spec, folder / spec.file.name)
    return folder


@pytest.fixture(autouse=True)
def tiny(weights, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(weights))
    for model_id in set(nodes.FILES.values()) - {"tiny"}:
        monkeypatch.setitem(MODELS, model_id, TINY.shrunk(MODELS[model_id]))
    yield
    free()


def frames(total=3, height=60, width=90):
    coarse = torch.rand(total, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).movedim(1, -1)


def process(images=None, model=SMALL, **widgets):
    (chosen,) = nodes.LoadVideoDepthAnythingModel().execute(model)
    return nodes.VideoDepthAnythingProcess().execute(chosen, frames() if images is None else images, **{"input_size": 56, **widgets})[0]


def test_depth_of_a_video():
    found = process(frames(4))
    assert found.shape == (4, 60, 90) and found.dtype == np.float32
    model = load_model("video-depth-anything-small", "float32")
    expected = torch.cat([part.depth for part in model.estimate_video(frames(4).movedim(-1, 1).split(3), size=56)])[:, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * expected.max().item())


def test_the_longer_side_is_limited_as_in_the_old_node():
    assert process(frames(1, 60, 90), max_res=45).shape == (1, 30, 46)
    assert process(frames(1, 60, 90), max_res=0).shape == process(frames(1, 60, 90), max_res=-1).shape == (1, 60, 90)


def test_alpha_and_grey_frames_run():
    colour = frames(2)
    assert process(torch.cat((colour, torch.ones(2, 60, 90, 1)), -1)).shape == (2, 60, 90)
    assert process(colour[..., :1]).shape == (2, 60, 90)


def test_metric_models_give_metres():
    assert process(model="metric_" + SMALL).min() >= 0


def test_images_have_one_range():
    depths = np.stack([np.full((4, 6), value, np.float32) for value in (1.0, 2.0, 5.0)])
    (grey,) = nodes.VideoDepthAnythingOutput().execute(depths)
    assert grey.shape == (3, 4, 6, 3)
    torch.testing.assert_close(grey[:, 0, 0], torch.tensor([0.0, 0.25, 1.0])[:, None].expand(3, 3))
    (colours,) = nodes.VideoDepthAnythingOutput().execute(torch.from_numpy(depths), "inferno")
    assert colours[0, 0, 0].max() < 0.1 and colours[2, 0, 0, 0] > 0.9, "black, and bright yellow"
    (flat,) = nodes.VideoDepthAnythingOutput().execute(np.ones((2, 4, 6)))
    assert flat.unique().numel() == 1


@pytest.fixture
def output_folder(comfyui):
    return comfyui / "output"


def test_files_hold_the_numbers(output_folder):
    pytest.importorskip("OpenEXR", "3.4", reason="EXR files need OpenEXR 3.4")
    depths = np.random.default_rng(0).random((3, 5, 7), np.float32) * 9
    for _ in range(2):  # the second time they are replaced
        (folder,) = nodes.VideoDepthAnythingSaveEXR().execute(depths, "shot01/depth_raw")
    assert Path(folder) == (output_folder / "shot01" / "depth_raw").resolve()
    assert sorted(path.name for path in Path(folder).iterdir()) == ["frame_00000.exr", "frame_00001.exr", "frame_00002.exr"]
    found = read_exr(Path(folder, "frame_00002.exr"), Quantity.DISPARITY)
    assert found.quantity is Quantity.DISPARITY and np.array_equal(found.depth[0, 0].numpy(), depths[2])


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "C:\\outside", ""])
def test_files_stay_below_the_output_folder(output_folder, name):
    with pytest.raises(ValueError, match="the file name"):
        nodes.VideoDepthAnythingSaveEXR().execute(np.ones((1, 2, 2)), name)
    assert {path.name for path in output_folder.parent.rglob("*")} == {"input", "output", "temp"}


def test_what_is_not_accepted_is_named():
    with pytest.raises(TypeError, match=r"vda_model input is a dict; .*two packs have nodes of this name"):
        nodes.VideoDepthAnythingProcess().execute({}, frames())
    with pytest.raises(ValueError, match=r"model .*accepted"):
        nodes.LoadVideoDepthAnythingModel().execute("video_depth_anything_vitg.pth")
    with pytest.raises(ValueError, match="input_size"):
        process(input_size=3)
    with pytest.raises(ValueError, match="precision"):
        process(precision="fp8")
    with pytest.raises(TypeError, match="depths input is a list; expected an array"):
        nodes.VideoDepthAnythingOutput().execute([1, 2])
    with pytest.raises(ValueError, match=r"shape \(4, 6\); expected \(frames"):
        nodes.VideoDepthAnythingOutput().execute(np.ones((4, 6)))
