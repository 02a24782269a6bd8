"""The old pack's node for all preprocessors in a real ComfyUI server."""

import json
import urllib.error

import pytest

from tests.prompts import chain, colour

AIO = "AIO_Preprocessor"
pytestmark = pytest.mark.comfyui


def test_none_runs_and_the_list_has_the_other_packs_too(server):
    info = server.request(f"/object_info/{AIO}")[AIO]
    assert info["display_name"] == "AIO Aux Preprocessor" and info["category"] == "ControlNet Preprocessors"
    listed = info["input"]["optional"]["preprocessor"][0]
    assert {"none", "MiDaS-DepthMapPreprocessor", "CannyEdgePreprocessor"} <= set(listed)
    for widgets in ({}, {"preprocessor": "none", "resolution": 128}):
        assert len(server.finished(chain(colour(96, count=2), AIO, **widgets))["4"]["images"]) == 2


@pytest.mark.parametrize("name", ["CannyEdgePreprocessor", "OfSomeLaterVersionPreprocessor"])
def test_another_packs_preprocessor_says_what_to_install_before_anything_runs(server, name):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.submit(chain(colour(96, count=2), AIO, preprocessor=name))
    (error,) = json.loads(refused.value.read())["node_errors"]["3"]["errors"]
    assert f"install the pack comfyui_controlnet_aux (by ComfyUI Manager) for '{name}'" in error["details"]


def test_a_node_runs_through_it(server):
    words = server.error_of(chain(colour(96, count=2), AIO, preprocessor="MiDaS-DepthMapPreprocessor"))
    assert "dpt_hybrid-midas-501f0c75.pt" in words, "the default of that node, whose file is not on this machine"
