"""The old pack's node for all preprocessors in a real ComfyUI server, without that pack and with one that has it."""

import json
import urllib.error

import pytest

AIO = "AIO_Preprocessor"
OTHER_PACK = """
class Other:
    CATEGORY, FUNCTION, RETURN_TYPES = "another pack", "execute", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

NODE_CLASS_MAPPINGS = {"AIO_Preprocessor": Other}
NODE_DISPLAY_NAME_MAPPINGS = {"AIO_Preprocessor": "Of another pack"}
"""
pytestmark = pytest.mark.comfyui


def graph(**widgets) -> dict:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 64, "batch_size": 2, "color": 255}},
        "2": {"class_type": AIO, "inputs": {"image": ["1", 0], **widgets}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def test_none_runs_and_the_list_has_the_other_packs_too(server):
    info = server.request(f"/object_info/{AIO}")[AIO]
    assert info["display_name"] == "AIO Aux Preprocessor" and info["category"] == "ControlNet Preprocessors"
    listed = info["input"]["optional"]["preprocessor"][0]
    assert {"none", "MiDaS-DepthMapPreprocessor", "CannyEdgePreprocessor"} <= set(listed)
    for widgets in ({}, {"preprocessor": "none", "resolution": 128}):
        assert len(server.finished(graph(**widgets))["3"]["images"]) == 2


@pytest.mark.parametrize("name", ["CannyEdgePreprocessor", "OfSomeLaterVersionPreprocessor"])
def test_another_packs_preprocessor_says_what_to_install_before_anything_runs(server, name):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.submit(graph(preprocessor=name))
    (error,) = json.loads(refused.value.read())["node_errors"]["2"]["errors"]
    assert f"install the pack comfyui_controlnet_aux (by ComfyUI Manager) for '{name}'" in error["details"]


def test_a_node_runs_through_it(server):
    words = server.error_of(graph(preprocessor="MiDaS-DepthMapPreprocessor"))
    assert "dpt_hybrid-midas-501f0c75.pt" in words, "the default of that node, whose file is not on this machine"


def test_a_pack_that_has_the_node_keeps_it(serving_beside, tmp_path):
    """Whichever is loaded first: that is how the folder lists them, and tests/nodes has both ways."""
    pack = tmp_path / "other.py"
    pack.write_text(OTHER_PACK)
    with serving_beside(pack) as running:
        info = running.request("/object_info")
    assert "IMPORT FAILED" not in running.log and "MiDaS-DepthMapPreprocessor" in info
    assert info[AIO]["category"] == "another pack" and info[AIO]["display_name"] == "Of another pack"
