"""What every node gives, with tiny networks, to be compared between two states of the pack.

    python tests/node_pictures.py save DIR
    python tests/node_pictures.py compare DIR

`save` writes every output to DIR/<case>.npz; `compare` makes them again and prints what is not the same to the last bit (exit code 1), what
is new and what is gone. The networks are the tests': random weights by seed, so the numbers hold on one machine and one torch. With
another state of the pack on PYTHONPATH (as `depth_normal`), this very file measures that state, with its own tests/tiny_*.py.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

import depth_normal
from depth_normal import Estimate, Quantity
from depth_normal.annotators.registry import MATERIAL_MODELS, MODELS

ROOT = Path(depth_normal.__file__).resolve().parent
NODES = depth_normal.NODE_CLASS_MAPPINGS
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
Case = tuple[str, Any]
sys.path.insert(0, str(ROOT))  # `tests` of that state
MENDED = runpy.run_path(str(ROOT / "tests" / "conftest.py"))
"""Kept alive: it mends a torchvision that does not fit torch."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, _tests_file("tiny_old_nodes.py").tiny_encoder():
        os.environ.update(DEPTH_NORMAL_HOME=home, HF_HUB_OFFLINE="1")
        models = shrink(Path(home))
        made, changed = set(), 0
        for name, output in cases(models):
            tensors, path = flat(output), arguments.folder / f"{name}.npz"
            made.add(path.name)
            if arguments.action == "save":
                np.savez_compressed(path, **{key: value.numpy() for key, value in tensors.items()})
            elif not path.is_file():
                print(f"new      {name}")
            elif difference := compare(path, tensors):
                changed += 1
                print(f"changed  {name}: {difference}")
    if arguments.action == "compare":
        gone = sorted({path.name for path in arguments.folder.glob("*.npz")} - made)
        print(*(f"gone     {name.removesuffix('.npz')}" for name in gone), sep="\n", end="\n" if gone else "")
        print(f"{len(made)} outputs, {changed} changed")
    return int(changed > 0)


def shrink(home: Path) -> set[str]:
    """Puts tiny networks behind the ids of the table, their files into `home`; the ids that can run."""
    models = {"tiny"}
    for pack in (_tests_file(f"tiny_{name}.py") for name in ("depth", "diffusion", "old_nodes")):
        for table in (MODELS, MATERIAL_MODELS):
            for model_id, spec in list(table.items()):
                if spec.family in getattr(pack, "FAMILIES", ()) or model_id in getattr(pack, "IDS", ()):
                    table[model_id] = small = pack.shrunk(spec)
                    if hasattr(pack, "write_file"):
                        pack.write_file(small, home / (small.file.repo_id or "") / small.file.filename)
                    else:
                        pack.write_files(small, home)
                    models.add(model_id)
    return models


def _tests_file(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / name)))


def make_images(height: int = 72, width: int = 104) -> Tensor:
    """(2, height, width, 3): the demo's photograph and its mirror image, darker."""
    coffee = cv2.imread(str(ROOT / "app" / "coffee.jpg"))[..., ::-1]
    photo = torch.from_numpy(cv2.resize(coffee, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255)
    return torch.stack((photo, photo.flip(1) * 0.6))


def cases(models: set[str]) -> Iterator[Case]:
    """Name and outputs of every case: of each node, those of other packs' ids too, once others have made what it requires."""
    image, film = make_images(), _tests_file("nodes/test_video_nodes.py")
    clip = film.write_video(Path(os.environ["DEPTH_NORMAL_HOME"]) / "clip.mp4", film.moving_ball(4), codec="libx264")
    film.host.user_folder = lambda kind: Path(os.environ["DEPTH_NORMAL_HOME"]) / kind
    sys.modules["comfy_api.latest"] = SimpleNamespace(InputImpl=film)  # as ComfyUI makes a VIDEO of a file
    depth, normals, *_ = run(NODES["DepthNormal_DepthAndNormals"], {"image": image})
    sockets: dict[str, Any] = {"IMAGE": image, "MASK": image[..., 0].round(), "depth": depth, "height": depth, "normal_map": normals}
    sockets["VIDEO"] = film.VideoFromFile(clip)
    of_maps = {"DepthNormal_DepthImageToGeometry": {"IMAGE": depth}, "DepthNormal_ConvertNormalMap": {"IMAGE": normals}}
    left = dict(NODES)
    while ready := [node_id for node_id, node in left.items() if _required(node) <= sockets.keys()]:
        for node_id in ready:
            node = left.pop(node_id)
            for name, inputs in variants(node.INPUT_TYPES(), sockets | of_maps.get(node_id, {}), models):
                output = run(node, inputs)
                yield re.sub(r"[^\w.-]+", "_", f"{node_id}-{name}"), output
                if name == "defaults" and isinstance(output, tuple):
                    made = zip(node.RETURN_TYPES, output, strict=False)
                    sockets = {**{kind: value for kind, value in made if kind not in WIDGETS}, **sockets}
            depth_normal.free()
    if left:
        print("not run, as nothing makes what they require:", *sorted(left), file=sys.stderr)


def _required(node: Any) -> set[str]:
    kinds = [kind for kind, *_ in node.INPUT_TYPES().get("required", {}).values()]
    return {kind.split(",")[0] for kind in kinds if isinstance(kind, str) and kind not in WIDGETS}


def run(node: Any, inputs: Mapping[str, Any]) -> Any:
    """What a node gives, or the words with which it refuses."""
    try:
        return getattr(node(), node.FUNCTION)(**inputs)
    except Exception as error:  # noqa: BLE001 - what a node says is compared, too
        return str(error).replace(os.environ["DEPTH_NORMAL_HOME"], "HOME")


def variants(groups: Mapping[str, Any], sockets: Mapping[str, Any], models: set[str]) -> Iterator[Case]:
    """Inputs of a node: its defaults, then each other choice, another number and each other link by itself."""
    required = groups.get("required", {})
    kinds = {**required, **groups.get("optional", {})}
    links = {
        name: sockets.get(name, sockets[kind.split(",")[0]]) for name, (kind, *_) in kinds.items() if str(kind).split(",")[0] in sockets
    }
    base = {name: value for name, value in links.items() if name in required or name in ("image", "geometry")}
    base |= {"resolution": 64} if "resolution" in kinds else {}
    base |= {"precision": "float32"} if "float32" in kinds.get("precision", [()])[0] else {}
    choices = {name: _choices(kind, models) for name, (kind, *_) in kinds.items() if name != "precision"}
    if choices.get("model"):
        default = kinds["model"][1]["default"]
        base["model"] = default if default in choices["model"] else choices["model"][0]
    yield "defaults", base
    for name, (kind, *options) in kinds.items():
        for value in choices.get(name, ()):
            if value != options[0].get("default"):
                yield f"{name}-{value}", {**base, name: value}
        if kind in ("INT", "FLOAT") and name not in ("resolution", "seed") and "max" in options[0]:
            low, high = options[0]["default"], options[0]["max"]
            yield name, {**base, name: low + 2 * options[0].get("step", 1) if kind == "INT" else low + (high - low) / 8}
    for name, value in links.items():
        if name not in base:
            yield f"with-{name}", {**base, name: value}
        elif name not in required:
            yield f"without-{name}", {each: base[each] for each in base if each != name}
        if name not in base and "geometry" in base.keys() - required.keys():
            yield f"{name}-in-place-of-geometry", {**{each: base[each] for each in base if each != "geometry"}, name: value}
        if isinstance(value, Estimate) and value.depth is not None:
            depth = 1 + value.depth.max() - value.depth
            for quantity in (Quantity.METRIC_DEPTH, Quantity.RELATIVE_DEPTH):
                yield f"{name}-{quantity.value}", {**base, name: replace(value, depth=depth, quantity=quantity)}


def _choices(kind: Any, models: set[str]) -> list[Any]:
    values = [False, True] if kind == "BOOLEAN" else kind if isinstance(kind, list) else []
    return [each for each in values if each not in {**MODELS, **MATERIAL_MODELS} or each in models]


def flat(output: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors of an output, by where they are in it."""
    if isinstance(output, str):
        output = torch.tensor(list(output.encode()))
    if isinstance(output, Tensor):
        return {name or "value": output}
    if isinstance(output, Estimate):
        output = {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple | list):
        output = dict(enumerate(output))
    if hasattr(output, "get_stream_source"):
        output = {"frames": _tests_file("videos.py").images_of(output.get_stream_source())}
    items = output.items() if isinstance(output, Mapping) else ()
    return {inner: value for key, each in items for inner, value in flat(each, f"{name}.{key}".lstrip(".")).items()}


def compare(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """What is not the same to the last bit, in words."""
    told = []
    with np.load(path) as stored:
        if stored.keys() != tensors.keys():
            told.append(f"holds {sorted(tensors)} instead of {sorted(stored)}")
        for key in sorted(stored.keys() & tensors.keys()):
            old, new = stored[key], tensors[key].numpy()
            if old.shape != new.shape:
                told.append(f"{key} is {new.shape} instead of {old.shape}")
            elif not np.array_equal(old, new, equal_nan=old.dtype != bool):
                apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
                finite = apart[np.isfinite(apart)]
                largest, mean = (finite.max(), finite.mean()) if finite.size else (np.inf, np.inf)
                scale = np.nanmax(np.abs(old[np.isfinite(old)])) if np.isfinite(old).any() else 0
                told.append(f"{key} by {largest:.3g} at most, {mean:.3g} on average (values to {scale:.3g})")
    return "; ".join(told)


if __name__ == "__main__":
    sys.exit(main())
