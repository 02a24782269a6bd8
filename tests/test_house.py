"""The rules of the house: who may import whom, what importing costs, what the folder must not contain."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Each package may import itself and these. Imports go one way:
# nodes, app -> model_loader -> annotators -> media -> geometry -> options, utils.
ROOMS = {
    "": {"_version", "nodes", "app", "model_loader", "media", "geometry"},
    "nodes": {"model_loader", "annotators", "media", "geometry", "options", "utils"},
    "app": {"_version", "model_loader", "annotators", "media", "geometry", "options", "utils"},
    "model_loader": {"annotators", "media", "geometry", "options", "utils"},
    "annotators": {"annotators/networks", "media", "geometry", "options", "utils"},
    "annotators/networks": set(),
    "media": {"geometry", "options", "utils"},
    "geometry": {"options", "utils"},
    "options": set(),
    "utils": set(),
    "_version": set(),
}
# What a room may import beside Python's own library, where that is little.
LIBRARIES = {
    "annotators/networks": {"torch"},
    "options": {"PIL"},
    "utils": {"torch", "numpy", "cv2"},
    "blender": {"bpy", "mathutils", "numpy"},
}
# Folders with code that the product does not need. Inside Blender's folder there is neither the pack nor torch.
BESIDE_THE_PRODUCT = {"benchmarks", "blender", "docs", "packaging", "tests", "training"}

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
    "av",
    "tqdm",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
}


def modules() -> list[Path]:
    rooms = [ROOT / room for room in ROOMS if room and "/" not in room]
    return [ROOT / "__init__.py", *(path for room in rooms for path in (sorted(room.rglob("*.py")) or [room.with_suffix(".py")]))]


def blender_scripts() -> list[Path]:
    return sorted((ROOT / "blender").glob("*.py"))


def room_of(path: Path) -> str:
    """The innermost room that a file, a folder or a name inside one is in."""
    parts = [part for part in (path.parent / path.stem).relative_to(ROOT).parts if part != "__init__"]
    while parts and "/".join(parts) not in ROOMS and len(parts) > 1:
        parts.pop()
    return "/".join(parts)


def imports(path: Path, top_level_only: bool = False) -> list[tuple[int, str | Path]]:
    """(0, library) and, for what is imported relatively, (its level, the path it means)."""
    return [each for is_top_level, each in _all_imports(path) if is_top_level or not top_level_only]


@functools.cache
def _all_imports(path: Path) -> list[tuple[bool, tuple[int, str | Path]]]:
    body = ast.parse(path.read_text()).body
    return [(node in body, each) for node in _statements(body) for each in _imports_of(path, node)]


def _statements(body: Iterable[ast.AST]):
    """All statements, and those inside them: an import is in no expression."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, name, ()))


def _imports_of(path: Path, node: ast.AST):
    if isinstance(node, ast.Import):
        yield from ((0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        yield 0, node.module
    elif isinstance(node, ast.ImportFrom):
        source = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            inside = source / alias.name
            yield node.level, inside if inside.is_dir() or inside.with_suffix(".py").is_file() else source


def libraries(path: Path, top_level_only: bool = False) -> set[str]:
    return {name.split(".")[0] for level, name in imports(path, top_level_only) if level == 0}


def forbidden_imports(path: Path) -> list[str]:
    room = room_of(path)
    targets = [room_of(target) for level, target in imports(path) if level]
    return [target for target in targets if target != room and target not in ROOMS[room]]


def test_imports_go_one_way():
    assert not {path: targets for path in modules() if (targets := forbidden_imports(path))}


def test_what_loads_and_runs_models_knows_no_family():
    """It asks what a family can do."""
    families = set(re.findall(r'"(\w+)\.\w+Annotator"', (ROOT / "annotators" / "registry.py").read_text()))
    assert {"midas", "video_depth_anything", "marigold"} <= families
    for path in (path for path in modules() if room_of(path) == "model_loader"):
        assert not families & {target.name for level, target in imports(path) if level and target.parent == ROOT / "annotators"}, path


def import_graph(paths: list[Path]) -> dict[Path, set[Path]]:
    """Which modules each module imports relatively, anywhere in it; what a package gives that is no module counts as its `__init__`."""
    known = set(paths)

    def file_of(place: Path) -> Path | None:
        return next((each for each in (place.with_suffix(".py"), place / "__init__.py") if each in known), None)

    return {path: {file for level, target in imports(path) if level and (file := file_of(target))} - {path} for path in paths}


def circle(graph: dict[Path, set[Path]]) -> set[str]:
    """The places of modules that import each other in a circle, if any do."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return {path.relative_to(ROOT).as_posix() for path in error.args[1]}
    return set()


def test_no_modules_import_each_other():
    """Neither directly nor by others, late and type-checking imports included."""
    assert not circle(import_graph(modules()))


def folder_graph(paths: list[Path]) -> dict[Path, set[Path]]:
    """Which folders inside the packages import from each other; a module that lies right in a package counts by itself."""

    def folder_of(path: Path) -> Path:
        return ROOT.joinpath(*path.relative_to(ROOT).parts[:2]).with_suffix("")

    faces = {path for path in paths if path.name == "__init__.py" and len(path.relative_to(ROOT).parts) <= 2}
    graph: dict[Path, set[Path]] = {}
    for path, targets in import_graph([each for each in paths if each not in faces]).items():
        graph.setdefault(folder_of(path), set()).update(folder_of(target) for target in targets if folder_of(target) != folder_of(path))
    return graph


def test_no_folders_import_each_other():
    """A folder is a subject of its package: what lies below does not know what is made of it."""
    assert not circle(folder_graph(modules()))


def test_a_wrong_arrow_and_circles_are_seen(tmp_path, monkeypatch):
    lines = {
        "geometry/edges/refine.py": "def late():\n    from ..views.stereo import shift\n    from ...annotators import registry",
        "geometry/views/stereo.py": "from . import vr",
        "geometry/views/vr.py": "if TYPE_CHECKING:\n    from .stereo import shift\nfrom ..edges.refine import cut",
        "annotators/registry.py": "",
    }
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    _, stereo, vr, _ = paths = [tmp_path / name for name in lines]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines[path.relative_to(tmp_path).as_posix()])
    assert [forbidden_imports(path) for path in paths] == [["annotators"], [], [], []]
    assert circle(import_graph([stereo, vr])) == {"geometry/views/stereo.py", "geometry/views/vr.py"}
    assert circle(folder_graph(paths)) == {"geometry/edges", "geometry/views"}


def test_every_folder_of_code_is_a_room():
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert folders == {room for room in ROOMS if room and "/" not in room and room not in ("utils", "_version")} | BESIDE_THE_PRODUCT


def test_rooms_of_few_libraries_keep_to_them():
    assert not {path: more for path in (*modules(), *blender_scripts()) if (more := libraries_beyond_its_room(path))}


def libraries_beyond_its_room(path: Path) -> set[str]:
    used = libraries(path) - sys.stdlib_module_names
    used -= {each.stem for each in path.parent.glob("*.py")} if path.parent.name == "blender" else set()  # run as a script there
    return used - LIBRARIES.get(room_of(path), used)


def test_inside_the_pack_imports_are_relative_and_heavy_ones_late():
    for path in modules():
        names = libraries(path)
        assert not names & {"depth_normal", *BESIDE_THE_PRODUCT, *(ROOMS.keys() - {""})}, path
        assert "folder_paths" not in names and "comfy" not in names, f"{path}: ComfyUI is reached through sys.modules in model_loader"
        assert not libraries(path, top_level_only=True) & HEAVY, f"{path}: import it within the function that needs it"


NETWORK_LIBRARIES = {"requests", "urllib3", "httpx", "httpx2", "http.client", "urllib.request", "aiohttp"}


def test_one_module_asks_servers():
    names = {path.relative_to(ROOT).as_posix(): {name for level, name in imports(path) if not level} for path in modules()}
    asking = {
        path for path, used in names.items() if used & NETWORK_LIBRARIES or {name.partition(".")[0] for name in used} & NETWORK_LIBRARIES
    }
    # network.py names a type, for the type checker; the others answer browsers, and ask nobody
    served = {"model_loader/comfy/host.py", "app/ui/gate.py", "app/ui/server.py", "app/ui/command.py"}
    assert all("ClientSession" not in (ROOT / name).read_text(encoding="utf-8") for name in served)
    assert asking - served == {"model_loader/weights/https.py", "model_loader/weights/network.py"}
    typed = (ROOT / "model_loader/weights/network.py").read_text(encoding="utf-8")
    assert "if TYPE_CHECKING:\n    from requests import Response\n" in typed and typed.count("import Response") == 1


@pytest.mark.slow("reads all modules")
def test_letters_of_messages_processes_and_names():
    """Letters of all western consoles; no fork, which Windows and macOS lack; what was found has a name: digest, sky_mask."""
    wrong, searched = [], {ROOT / "nodes" / "search_words.py", ROOT / "options" / "effects.py"}  # only browsers show their words
    for path in (*modules(), ROOT / "__main__.py"):
        parts = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        docstrings = {id(part.value) for part in parts if isinstance(part, ast.Expr)}
        parameters = {part.arg for part in parts if isinstance(part, ast.arg)}
        for part in parts:
            names = {getattr(part, name, "") for name in ("id", "attr", "name", "module")}
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id == "found" not in parameters:
                wrong.append(f"{path}:{part.lineno}: name what is found")
            elif names & {"multiprocessing", "ProcessPoolExecutor", "fork", "forkpty"}:
                wrong.append(f"{path}:{part.lineno}: forks")
            elif isinstance(part, ast.Constant) and id(part) not in docstrings and path not in searched:
                wrong += [
                    f"{path}:{part.lineno}: {letter!a}"
                    for letter in str(part.value)
                    if letter.isprintable() and not letter.encode("cp1252", "ignore")
                ]
    assert not wrong


# huggingface_hub, which ComfyUI imports before any pack, imports filelock, some versions of which try links in a temporary folder then.
IMPORTS = """
import contextlib, sys
watching, seen = False, []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if watching and (writes or event in ("os.mkdir", "os.rename", "os.remove", "socket.connect")):
        seen.append((event, str(arguments[0])))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
at_first = {*sys.modules}
watching = True
import depth_normal
assert not hasattr(depth_normal, "comfy_entrypoint")
watching = False
loaded = sys.modules.keys() - at_first
import numpy, torch
before, watching = {*sys.modules}, True
import depth_normal.nodes
watching = False
beyond = {name.split(".")[0] for name in loaded | (sys.modules.keys() - before)} - sys.stdlib_module_names
assert beyond == {"depth_normal"}, beyond  # import the others (and more of torch) where they are used
with contextlib.suppress(ImportError):
    import filelock
watching = True
for node in depth_normal.NODE_CLASS_MAPPINGS.values():
    node.INPUT_TYPES()
assert not seen, seen
watching = False
assert callable(depth_normal.geometry.files.read_image)
assert all(getattr(depth_normal, name) is not None for name in depth_normal.__all__)
assert set(depth_normal.__all__) <= set(dir(depth_normal))
"""


@pytest.mark.slow("starts another process")
def test_importing_loads_torch_and_numpy_late_and_no_more_and_touches_no_disk():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr


def pyproject() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_packages_list_names_every_room():
    listed = set(pyproject()["tool"]["setuptools"]["packages"])
    rooms = {path.parent.relative_to(ROOT) for path in modules()}
    assert listed == {".".join(("depth_normal", *room.parts)) for room in rooms}


def test_comfyui_installs_what_the_package_asks_for():
    project = pyproject()["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["exr"]}
    listed = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")}
    # ComfyUI has torch, and whichever OpenCV there is; for three packages the pack says at run time which version it needs
    left_out = {"torch>=2.7", "opencv-python>=4.8"}
    without_bound = {line: re.sub(r">=[\d.]+", "", line) for line in asked if line.startswith(("transformers", "isal", "OpenEXR"))}
    assert listed == {without_bound.get(line, line) for line in asked - left_out}


def test_the_version_is_the_same_everywhere():
    version = pyproject()["project"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "_version.py").read_text()


def test_no_merge_was_left_half_done():
    """A page with both sides of a conflict in it is no page."""
    pages = [path for folder in ("", "docs", "web/docs", "workflows", "locales") for path in (ROOT / folder).glob("*.*") if path.is_file()]
    texts = [path for path in (*pages, *modules()) if path.suffix in (".md", ".json", ".py", ".toml", ".txt")]
    left = [path.name for path in texts if re.search(r"^(<{7}|>{7}) ", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert texts and not left
