"""The pack's JavaScript: it parses, and computes what Python computes. Needs Node alone; tests/comfyui/test_live.py has a page."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes.live import picture_payload

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_and_sets_no_html(path):
    text = path.read_text()
    assert len(text.splitlines()) < 400 and not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert all((ROOT / "web" / name).is_file() for name in re.findall(r"from '\./([^']+)'", text))
    assert not re.findall(r"from '(?!\.)", text), "modules of others would need a build"


@needs_node
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(path, tmp_path):
    shutil.copy(path, tmp_path / f"{path.stem}.mjs")
    done = subprocess.run(["node", "--check", str(tmp_path / f"{path.stem}.mjs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_node
def test_the_page_reads_the_numbers_that_python_wrote(tmp_path, monkeypatch):
    folders = SimpleNamespace(get_folder_paths=lambda _: [], get_temp_directory=lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    depth = torch.tensor([[0.8, 1.5, 6.2, 3.0], [float("nan"), 2.0, 2.5, 1.0]]).view(1, 1, 2, 4)
    normals = torch.nn.functional.normalize(torch.tensor([0.2, 0.4, 0.8]), dim=0).view(1, 3, 1, 1).expand(1, 3, 2, 4)
    sky = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
    sky[..., 0, 3] = True
    payload = picture_payload(torch.full((1, 3, 2, 4), 0.5), Estimate(depth, Quantity.METRIC_DEPTH, normals), sky=sky)
    (tmp_path / "payload.json").write_text(json.dumps(payload))
    words = ["node", str(ROOT / "tests" / "web.mjs"), str(ROOT / "web"), str(tmp_path / "payload.json"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["depth"][4] is None
    values = torch.tensor([value for value in read["depth"] if value is not None])
    assert torch.allclose(values, depth[~depth.isnan()], rtol=2e-5)
    assert torch.allclose(torch.tensor(read["normal"]), normals[0, :, 0, 0], atol=0.006)
    assert read["picture"] == [128, 128, 128, 255] and read["bits"] == [1, 1, 1, 3, 0, 1, 1, 1]
    assert read["words"] == ["3 m, faces 14° right, 26° up, sky", "0.8 m, faces 14° right, 26° up"]
