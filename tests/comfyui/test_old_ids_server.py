"""Two packs with the same node ids in one ComfyUI server: the workflows run, and the log says who serves which id."""

import os
from pathlib import Path

import cv2
import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from tests.prompts import chain, colour

ROOT = Path(__file__).resolve().parents[2]
OTHER = Path(__file__).with_name("other_pack.py")
WORKFLOW = ROOT / "workflows" / "MiDaS Depth and Normal Map.json"
OLD, OWN = "MiDaS-NormalMapPreprocessor", "DepthNormal_MiDaSNormalMap"
NODES = ("2", "3")
ZOE, LEFT = "Zoe-DepthMapPreprocessor", "DepthAnythingV2Preprocessor"
pytestmark = pytest.mark.comfyui


def other_pack(folder: Path, *, first: bool) -> Path:
    """The other pack under a name that ComfyUI, which loads packs as the folder lists them, loads before this one or after it."""
    probe = folder / "probe"
    probe.mkdir()
    (probe / "ComfyUI-Depth-Normal").symlink_to(ROOT)
    for number in range(20):
        pack = probe / f"other_{number}.py"
        pack.write_text(OTHER.read_text())
        names = [path.name for path in probe.iterdir()]
        if (names.index(pack.name) < names.index("ComfyUI-Depth-Normal")) == first:
            return pack
        pack.unlink()
    pytest.skip("this file system lists every new file on the same side of an old one")


def run_workflow(running, path: Path, out: Path, *models: str) -> list:
    """The images that come of it; `models` are the ids of the nodes that shall take tiny."""
    running.run_workflow(path, out, *(f'{node}.model="tiny"' for node in models), image=ROOT / "app" / "coffee.jpg")
    return [cv2.imread(str(each)) for each in out.glob("*.png")]


def said(running) -> str:
    """What the log says of the old ids, after all packs are loaded."""
    (line,) = [line for line in running.log.splitlines() if "old node ids: " in line]
    assert running.log.index(line) > running.log.index("Import times for custom nodes")
    return line


def test_alone_this_pack_serves_all(server):
    line, info = said(server), server.request("/object_info")
    assert "this pack serves" in line and OLD in line and "AIO_Preprocessor" in line
    assert "nobody" not in line and "other" not in line
    old, own = (info[node]["input"]["optional"] for node in (OLD, OWN))
    assert (old["model"][1].pop("default"), own["model"][1].pop("default")) == ("midas-dpt-hybrid", "midas-v2.1-small")
    assert own["model"][1].pop("depth_normal_as_before") == "midas-dpt-hybrid", "what the page takes where it replaces the old node"
    assert info[OLD]["input"] == info[OWN]["input"] and info[OLD]["display_name"] == info[OWN]["display_name"]
    assert not info[OLD].get("deprecated")


def test_a_depth_map_is_made_whatever_the_numbers_that_have_no_effect(server):
    """Graphs written by hand or by a chatbot have thresholds of 6.28."""
    server.finished(chain(colour(), "MiDaS-DepthMapPreprocessor", a=99.0, bg_threshold=6.28, resolution=64, model="tiny"))


def test_in_place_of_a_missing_node_with_a_prefixed_id_this_packs_is_offered_and_runs(server, tmp_path):
    prefixed = f"Inference_Core_{OLD}"
    assert prefixed not in server.request("/object_info")
    assert [each["new_node_id"] for each in server.request("/node_replacements")[prefixed]] == [OWN]
    assert server.finished(chain(colour(), prefixed, resolution=64, model="tiny"))["4"]["images"]


@pytest.fixture
def without_opencv(tmp_path, monkeypatch):
    """Which neither ComfyUI nor requirements.txt installs."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "cv2.py").write_text('raise ImportError("there is no OpenCV here")\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")])))


def test_beside_another_pack_the_workflows_run_and_the_log_says_who_serves(tmp_path, serving_beside, unpacked, without_opencv):
    """As from the registry: a folder of the files that it ships alone. The other is loaded after it, and ComfyUI takes its nodes."""
    pack = other_pack(tmp_path, first=False)
    with serving_beside(pack, pack=unpacked) as running:
        info, line = running.request("/object_info"), said(running)
        assert "IMPORT FAILED" not in running.log and not NODE_CLASS_MAPPINGS.keys() - info.keys()
        maps = run_workflow(running, WORKFLOW, tmp_path, *NODES)
        replacements = running.request("/node_replacements")
    assert info[OLD]["display_name"] == "Of another pack"
    assert f"{pack.stem} serves {OLD}, MiDaS-DepthMapPreprocessor, BAE-NormalMapPreprocessor;" in line
    assert "this pack serves" in line and LEFT in line and "DepthNormal_" in line
    assert len(maps) == 2 and all(each.std() > 5 for each in maps), "this pack's maps, not the other's black"
    assert [each["new_node_id"] for each in replacements[OLD]] == [OWN]


def test_the_old_ids_can_be_left_alone(tmp_path, serving_beside, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_OLD_IDS", "0")
    pack = other_pack(tmp_path, first=True)
    with serving_beside(pack) as running:
        info, line = running.request("/object_info"), said(running)
        assert len(run_workflow(running, WORKFLOW, tmp_path, *NODES)) == 2
        running.submit(chain(colour(), ZOE, resolution=64))  # is not refused: this pack's own takes the place of what nobody serves
    assert info[OLD]["display_name"] == "Of another pack" and LEFT not in info and "AIO_Preprocessor" not in info
    assert "this pack serves" not in line and f"{pack.stem} serves {OLD}" in line and f"nobody serves {ZOE}" in line
    assert "DEPTH_NORMAL_OLD_IDS" in line
