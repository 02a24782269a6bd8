"""The rules of the house: who may import whom, what importing costs, what the folder must not contain."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# each room may import itself and those to its right
ORDER = {"": 0, "nodes": 1, "app": 1, "model_loader": 2, "annotators": 3, "geometry": 4, "utils": 5}
HEAVY = {
    "transformers",
    "diffusers",
    "timm",
    "cv2",
    "PIL",
    "ray",
    "bpy",
    "huggingface_hub",
    "safetensors",
    "OpenEXR",
    "tqdm",
    "filelock",
    "torchvision",
}


def modules() -> list[Path]:
    rooms = [ROOT / room for room in ("nodes", "app", "model_loader", "annotators", "geometry")]
    return [ROOT / "__init__.py", ROOT / "utils.py", *(path for room in rooms for path in sorted(room.rglob("*.py")))]


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path: Path, top_level_only: bool = False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room, depth = room_of(path), len(path.relative_to(ROOT).parts)
    for level, name in imports(path):
        if level != depth:
            continue  # inside its own room, or a library
        target = name.split(".")[0]
        assert ORDER[target] > ORDER[room] or target == room, f"{path.name} in {room or 'the front door'} imports {target}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_inside_the_pack_imports_are_relative_and_heavy_ones_late(path):
    names = {name.split(".")[0] for level, name in imports(path) if level == 0}
    assert not names & {"depth_normal", *(ORDER.keys() - {""})}
    assert "folder_paths" not in names and "comfy" not in names, "ComfyUI is reached through sys.modules in model_loader"
    assert not {name.split(".")[0] for level, name in imports(path, top_level_only=True) if level == 0} & HEAVY


@pytest.mark.parametrize("path", sorted((ROOT / "annotators" / "networks").glob("*.py")), ids=lambda path: path.name)
def test_networks_know_nothing_but_torch(path):
    libraries = {name.split(".")[0] for level, name in imports(path) if level == 0}
    assert libraries - sys.stdlib_module_names <= {"torch"}
    assert max((level for level, _ in imports(path)), default=0) <= 1, "a network imports its neighbours, and nothing of the families"


def run_python(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True, cwd="/")


def test_importing_loads_nothing_but_itself_beyond_torch_and_numpy():
    def loaded_by(name: str) -> set[str]:
        return set(json.loads(run_python(f"import sys, json, {name}; json.dump([*sys.modules], sys.stdout)").stdout))

    beyond = {name.split(".")[0] for name in loaded_by("depth_normal") - loaded_by("numpy, torch")}
    assert beyond - sys.stdlib_module_names == {"depth_normal"}, "import the others (and more of torch) where they are used"


WATCH_DISK_AND_NETWORK = """
import sys, torch
seen = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "socket.connect"):
        seen.append((event, str(arguments[0])))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import depth_normal
for node in depth_normal.NODE_CLASS_MAPPINGS.values():
    node.INPUT_TYPES()
assert not seen, seen
"""


def test_importing_and_listing_the_nodes_touches_no_disk():
    run_python(WATCH_DISK_AND_NETWORK)


def test_the_packages_list_names_every_room():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    rooms = {path.parent.relative_to(ROOT) for path in modules()}
    assert listed == {".".join(("depth_normal", *room.parts)) for room in rooms}


def test_comfyui_installs_what_the_package_asks_for():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["exr"]}
    listed = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")}
    assert listed == {name for name in asked if not name.startswith("torch")}


def test_no_file_becomes_a_drawer():
    too_long = {str(path.relative_to(ROOT)): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 450}
    assert not too_long
    assert len((ROOT / "utils.py").read_text().splitlines()) < 250
