"""Names of files in ComfyUI's output folder: what core's savers fill in, and what other nodes' values may do in them."""

from datetime import datetime

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import saving
from depth_normal.nodes.files import SaveGeometry
from depth_normal.nodes.materials import SaveTexture
from depth_normal.nodes.meshes import SaveMesh, SaveRelief

RAMP = Estimate(1 + torch.arange(24.0).view(1, 1, 4, 6) / 24, Quantity.METRIC_DEPTH)
NOW = datetime(2026, 3, 7, 9, 5, 4)
PROMPT = {
    "4": {"class_type": "KSampler", "inputs": {"seed": 42, "model": ["1", 0]}, "_meta": {"title": "My sampler"}},
    "7": {"class_type": "LoadImage", "inputs": {"image": "sub/cat:1.png"}},
}
GRAPH = {"workflow": {"nodes": [{"id": 4, "properties": {"Node name for S&R": "Sampler one"}}, {"id": 9}]}}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("plain", "plain"),
        ("%date:yyyy-MM-dd%/x", "2026-03-07/x"),
        ("%date:yy_M_d hh-mm-ss%", "26_3_7 09-05-04"),
        ("%year%%month%%day%-%hour%%minute%%second%", "20260307-090504"),
        ("%width%x%height%", "640x480"),
        ("%Sampler one.seed%", "42"),
        ("%My sampler.seed%-%KSampler.seed%-%4.seed%", "42-42-42"),
        ("%LoadImage.image%", "sub_cat_1.png"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("100% and %unknown%", "100% and %unknown%"),
    ],
)
def test_names_are_filled_in_as_by_cores_savers(pattern, name):
    assert saving.fill_in(pattern, 640, 480, PROMPT, GRAPH, NOW) == name


def test_every_saver_fills_its_name_in(comfyui):
    for node in (SaveGeometry, SaveMesh, SaveRelief, SaveTexture):
        assert node.VALIDATE_INPUTS("%date:yyyy-MM-dd%/%width%_%KSampler.seed%") is True
        assert "file name" in node.VALIDATE_INPUTS("%year%/../../x")
        kinds = node.INPUT_TYPES()
        assert kinds["hidden"] == {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        given = torch.rand(1, 4, 6, 3) if node is SaveTexture else RAMP
        node().execute(given, filename_prefix=f"{node.__name__}/%width%x%height%_%KSampler.seed%", prompt=PROMPT, extra_pnginfo=GRAPH)
        (made,) = (comfyui / "output" / node.__name__).iterdir()
        assert made.name.startswith("6x4_42_00001.")


def test_a_value_of_another_node_cannot_lead_out_of_the_folder(comfyui):
    prompt = {"1": {"class_type": "Text", "inputs": {"text": "../../x"}}}
    SaveGeometry().execute(RAMP, "%Text.text%", "npz", prompt=prompt)
    assert [path.name for path in (comfyui / "output").iterdir()] == [".._.._x_00001.npz"]
