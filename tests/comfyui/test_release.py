"""What goes out: the files that ComfyUI's registry ships, and what it says of them."""

import re
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import cv2
import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMFY = PROJECT["tool"]["comfy"]


def shipped() -> list[str]:
    """The files that git knows, without those of .comfyignore: what `comfy node publish` packs."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files, and this folder is no checkout")
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    # .comfyignore has the syntax of .gitignore
    words = ["git", "ls-files", "-z", "--cached", "--ignored", "--exclude-from=.comfyignore"]
    left_out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({*known} - {*left_out, ""})


def test_one_name_stands_for_the_publisher():
    urls = (*PROJECT["project"]["urls"].values(), COMFY["Icon"], COMFY["Banner"])
    (name,) = {COMFY["PublisherId"], *(urlparse(url).path.split("/")[1] for url in urls)}
    assert re.fullmatch(r"[\w-]+", name)


@pytest.mark.parametrize(("name", "width", "height"), [("Icon", 400, 400), ("Banner", 1260, 540)])
def test_the_registrys_pictures_are_where_it_looks(name, width, height):
    path = ROOT / COMFY[name].split("/main/", 1)[1]
    assert cv2.imread(str(path)).shape == (height, width, 3), "a square of 400, and 21:9"


def test_the_registry_ships_what_users_need_and_no_more():
    files = shipped()
    rooms = {name.split("/")[0] for name in files if "/" in name}
    assert rooms == {"annotators", "app", "blender", "docs", "geometry", "locales", "model_loader", "nodes", "web", "workflows"}
    assert {"__init__.py", "utils.py", "requirements.txt", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"} <= {*files}
    assert "locales/zh/nodeDefs.json" in files and "locales/zh.json" not in files
    linked = re.findall(r"\]\((docs/[\w./-]+|workflows/[\w./-]+)", (ROOT / "README.md").read_text())
    assert not {*linked} - {*files}, "the README's links lead somewhere"


@pytest.mark.comfyui
def test_the_pack_that_is_shipped_loads(tmp_path, comfyui_python):
    """As from the registry: a folder of these files alone, in a process that has ComfyUI's environment."""
    archive = tmp_path / "node.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in shipped():
            packed.write(ROOT / name, name)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "custom_nodes" / "depth-normal")
    code = """
import importlib.util, sys
path = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", path + "/__init__.py", submodule_search_locations=[path])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
nodes = pack.NODE_CLASS_MAPPINGS
assert all(node.INPUT_TYPES() for node in nodes.values())
print(len(nodes), len(pack.load_model("tiny").spec.id))
"""
    words = [comfyui_python, "-I", "-c", code, tmp_path / "custom_nodes" / "depth-normal"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    import depth_normal

    assert run.stdout.split()[0] == str(len(depth_normal.NODE_CLASS_MAPPINGS))
