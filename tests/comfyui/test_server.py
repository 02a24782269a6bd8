"""The pack in a real ComfyUI server: loads, runs old graphs and the bundled workflow, loads once, stops when told."""

import json
import time
from pathlib import Path

import cv2
import pytest

from tests.prompts import chain

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.comfyui

SMALL = "midas-v2.1-small"
NORMAL, DEPTH = "MiDaS-NormalMapPreprocessor", "MiDaS-DepthMapPreprocessor"
OWN_NORMAL, OWN_DEPTH = "DepthNormal_MiDaSNormalMap", "DepthNormal_MiDaSDepthMap"


@pytest.fixture(scope="module")
def image_name(server, photo) -> str:
    cv2.imwrite(str(server.base / "input" / "astronaut.png"), photo[64:448, :, ::-1])
    return "astronaut.png"


def test_the_pack_is_imported(server):
    assert "IMPORT FAILED" not in server.log
    assert "ComfyUI-Depth-Normal" in server.log


def test_describing_the_nodes_creates_nothing(server):
    before = sorted(server.base.rglob("models/**/*"))
    info = server.request("/object_info")
    assert sorted(server.base.rglob("models/**/*")) == before
    assert not (server.base / "cache").exists() and not (server.base / "hf").exists()
    assert info[NORMAL]["display_name"] == "MiDaS Normal Map" and info[NORMAL]["description"]
    assert list(info[NORMAL]["input"]["optional"])[:3] == ["a", "bg_threshold", "resolution"]


def test_the_bundled_workflow_runs(server, image_name, tmp_path):
    workflow = ROOT / "workflows" / "MiDaS Depth and Normal Map.json"
    image = server.base / "input" / image_name
    server.run_workflow(workflow, tmp_path, f'2.model="{SMALL}"', f'3.model="{SMALL}"', image=image)
    normal, depth = (cv2.imread(str(path)) for path in sorted(tmp_path.glob("*.png")))
    assert normal.shape == depth.shape == (512, 683, 3)
    assert depth[..., 0].min() == 0 and depth[..., 0].max() >= 253 and (depth[..., 0] == depth[..., 1]).all()
    assert normal[..., 2].mean() > 127, "red holds the axis to the viewer"


def test_the_second_run_reads_no_weights(server, image_name):
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=128))
    loads, read = server.log.count(f"loading {SMALL}"), server.bytes_read()
    server.finished(chain(image_name, NORMAL, model=SMALL, resolution=192, a=5.0))
    assert server.log.count(f"loading {SMALL}") == loads == 1
    assert server.bytes_read() - read < 20e6, "the weights alone are 86 MB"


def test_a_graph_saved_before_resolution_existed_opens(server, image_name, tmp_path):
    saved = json.loads((ROOT / "workflows" / "MiDaS Depth and Normal Map.json").read_text())
    for node in saved["nodes"]:
        if node["type"] in (OWN_NORMAL, OWN_DEPTH):
            node["type"] = NORMAL if node["type"] == OWN_NORMAL else DEPTH
            node["widgets_values"] = node["widgets_values"][:2]
            node["inputs"] = node["inputs"][:1]
    (tmp_path / "old.json").write_text(json.dumps(saved))
    settings = (f'{node}.model="{SMALL}"' for node in "23")
    server.run_workflow(tmp_path / "old.json", tmp_path, *settings, image=server.base / "input" / image_name)
    assert all(cv2.imread(str(path)).shape == (512, 683, 3) for path in tmp_path.glob("*.png"))


def test_cancel_stops_long_before_the_end(server, image_name):
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=64))
    prompt = server.submit(chain(image_name, DEPTH, count=80, model=SMALL, resolution=384))
    while not server.request("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(0.5)
    asked = time.monotonic()
    server.request("/interrupt", {})
    history = server.wait(prompt)
    took = time.monotonic() - asked
    assert any(kind == "execution_interrupted" for kind, _ in history["status"]["messages"]), "it ended before it was cancelled"
    assert took < 3
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=64, a=1.0))


def test_without_file_and_network_the_error_helps_and_the_next_run_works(server, image_name):
    message = server.error_of(chain(image_name, DEPTH, resolution=64))
    assert message.startswith("Choose 'tiny' in the widget model: ")
    for words in ("dpt_hybrid-midas-501f0c75.pt", "lllyasviel/Annotators", str(server.base / "models" / "depth_normal")):
        assert words in message, message
    files = [path for path in (server.base / "models" / "depth_normal").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert {path.name for path in files if "runtimes" not in path.parts} == {"midas_v21_small_256.pt"}  # what engines keep is theirs
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=64, a=2.0))


@pytest.mark.parametrize(
    ("workflow", "settings", "count"),
    [
        ("Geometry to Normals and Light", ('2.model="midas-v2.1-small"',), 2),
        ("Relight", (), 1),
        ("Depth Parallax", (), 1),
        ("Depth of Field", (), 1),
        ("Stereo 3D", (), 1),
    ],
)
def test_the_workflows_that_use_the_maps_run(server, photo, tmp_path, workflow, settings, count):
    image = server.base / "input" / "small.png"
    cv2.imwrite(str(image), photo[64:448:4, ::4, ::-1])
    graph_file = ROOT / "workflows" / f"{workflow}.json"
    nodes = json.loads(graph_file.read_text())["nodes"]
    small = [f'{node["id"]}.model="{SMALL}"' for node in nodes if node["type"] in (OWN_NORMAL, OWN_DEPTH)]
    short = [f"{node['id']}.frames=4" for node in nodes if node["type"] == "DepthNormal_DepthParallax"]
    said = server.run_workflow(graph_file, tmp_path, *settings, *small, *short, image=image)
    assert len(list(tmp_path.iterdir())) >= count, said
