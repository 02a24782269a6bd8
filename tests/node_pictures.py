"""What every node gives, with tiny networks, to be compared between two states of the pack.

    python tests/node_pictures.py save DIR [--midas midas_v21_small_256.pt]
    python tests/node_pictures.py compare DIR [--midas ...]

`save` writes every output to DIR/<case>.npz; `compare` makes them again and prints what is not the same to the last bit (exit code 1), what
is new and what is gone. The networks are the tests': random weights by seed, so the numbers hold on one machine and one torch. With
another state of the pack on PYTHONPATH (as `depth_normal`), this very file measures that state, with its own tests/tiny_*.py.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

import depth_normal
from depth_normal import Estimate
from depth_normal.annotators.networks.bae import Bae

ROOT = Path(depth_normal.__file__).resolve().parent
NODES = depth_normal.NODE_CLASS_MAPPINGS
CODINGS = ("opengl", "directx", "opencv", "scannet", "controlnet-normalbae", "controlnet-1.0-normal")
Case = tuple[str, Any]
sys.path.insert(0, str(ROOT))  # `tests` of that state
MENDED = runpy.run_path(str(ROOT / "tests" / "conftest.py"))
"""Kept alive: it mends a torchvision that does not fit torch."""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--midas", type=Path, help="weights of MiDaS v2.1 small, for the MiDaS nodes; without, they run with tiny alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, small_encoder():
        os.environ["DEPTH_NORMAL_HOME"] = home
        models = shrink(Path(home), arguments.midas)
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


def shrink(home: Path, midas: Path | None) -> list[str]:
    """Puts tiny networks behind the ids of the table, their files into `home`; the ids that can run."""
    registry = next(module for name, module in sys.modules.items() if name.endswith(".annotators.registry"))
    depth, diffusion = map(_tests_file, ("tiny_depth.py", "tiny_diffusion.py"))
    normals = small_normals() if "bae-normal" in registry.MODELS else {}
    models = ["tiny"]
    if midas:
        shutil.copy(midas, home / "midas_v21_small_256.pt")
        models.append("midas-v2.1-small")
    for model_id, spec in list(registry.MODELS.items()):
        if spec.family in depth.FAMILIES:
            registry.MODELS[model_id] = depth.shrunk(spec)
            depth.write_file(registry.MODELS[model_id], home / (spec.file.repo_id or "") / spec.file.filename)
        elif spec.family in diffusion.FAMILIES:
            registry.MODELS[model_id] = diffusion.shrunk(spec)
            diffusion.write_files(registry.MODELS[model_id], home)
        elif spec.family in normals:
            config, state = normals[spec.family]
            file = replace(spec.file, sha256=None, size=None)
            registry.MODELS[model_id] = replace(spec, config=config, default_size=56, files=(file,))
            torch.save(state, home / file.name)
        else:
            continue
        models.append(model_id)
    return models


def _tests_file(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / name)))


def small_encoder() -> AbstractContextManager[None]:
    """Builds BAE, and the encoder of DSINE, with a few channels while it lasts."""
    return _tests_file("tiny_old_nodes.py").tiny_encoder()


def small_normals() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Of families that give normals: a small architecture, and a file's content."""
    paths = "random_weights.py", "tiny_old_nodes.py", "annotators/test_dsine.py", "annotators/test_metric3d.py"
    weights, bae, dsine, metric3d = map(_tests_file, paths)
    return {
        "bae": (None, bae.published_bae(weights.randomise(Bae(), gain=1.3))),
        "dsine": (dsine.CONFIG, {"model": dsine.tiny_state()}),
        "metric3d": (metric3d.SMALL, {"model_state_dict": metric3d.published(metric3d.tiny_state())}),
    }


def make_images(height: int = 120, width: int = 176) -> Tensor:
    """(2, height, width, 3): the demo's photograph and its mirror image, darker."""
    coffee = cv2.imread(str(ROOT / "app" / "coffee.jpg"))[..., ::-1]
    photo = torch.from_numpy(cv2.resize(coffee, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255)
    return torch.stack((photo, photo.flip(1) * 0.6))


def run(node_id: str, **inputs: Any) -> Any:
    """What a node gives."""
    node = NODES[node_id]
    return getattr(node(), node.FUNCTION)(**inputs)


def cases(models: list[str]) -> Iterator[Case]:
    """Name and outputs of every case."""
    image = make_images()
    yield from old_nodes(image, models)
    geometries = {}
    for model_id in models:
        (model,) = run("DepthNormal_LoadModel", model=model_id, precision="float32")
        geometries[model_id] = run("DepthNormal_EstimateGeometry", model=model, image=image)[0]
        yield f"estimate-{model_id}", geometries[model_id]
        if model_id == "tiny":
            yield "estimate-tiny-large", run("DepthNormal_EstimateGeometry", model=model, image=make_images(301, 203), resolution=128)
        depth_normal.free()
    if "DepthNormal_DepthAndNormals" in NODES:
        for look in NODES["DepthNormal_DepthAndNormals"].INPUT_TYPES()["optional"]["depth_look"][0]:
            yield f"depth-and-normals-{look.replace(' ', '-')}", run("DepthNormal_DepthAndNormals", image=image, depth_look=look)
        yield "depth-and-normals-film", run("DepthNormal_DepthAndNormals", image=image, film=True, coding="directx")
    for family in ("Marigold", "Lotus", "LBM"):
        for kind in ("Depth", "Normals"):
            node = f"DepthNormal_{family}{kind}"
            for model_id in NODES[node].INPUT_TYPES()["optional"]["model"][0]:
                if model_id in models:
                    yield f"{node}-{model_id}", run(node, image=image, model=model_id, resolution=64, precision="float32")
    yield from conversions(image, geometries)
    yield from effects(image, geometries["tiny"])


def old_nodes(image: Tensor, models: list[str]) -> Iterator[Case]:
    """The old ids, with their own defaults and at another resolution."""
    for model_id in [each for each in ("tiny", "midas-v2.1-small") if each in models]:
        for node, more in (("MiDaS-NormalMapPreprocessor", {"a": 3.0, "bg_threshold": 0.2}), ("MiDaS-DepthMapPreprocessor", {})):
            for resolution in (64, 192):
                yield f"{node}-{model_id}-{resolution}", run(node, image=image, model=model_id, resolution=resolution, **more)
    choices = {"ckpt_name", "environment", "model"}
    for node in ("Zoe-DepthMapPreprocessor", "DepthAnythingPreprocessor", "Zoe_DepthAnythingPreprocessor", "DepthAnythingV2Preprocessor"):
        widgets = NODES[node].INPUT_TYPES()["optional"]
        for choice, value in [(each, value) for each in sorted(choices & widgets.keys()) for value in widgets[each][0]]:
            yield f"{node}-{value}", run(node, image=image, resolution=128, **{choice: value})
    yield from old_normal_nodes(image)


def old_normal_nodes(image: Tensor) -> Iterator[Case]:
    """The old ids of networks that give normals."""
    own = {
        "BAE-NormalMapPreprocessor": [{}],
        "DSINE-NormalMapPreprocessor": [{}, {"fov": 30.0, "iterations": 2}, {"camera": "as the old node"}],
        "Metric3D-NormalMapPreprocessor": [{"backbone": "vit-small"}],
    }
    for node, widgets in own.items():
        shared = [{"network_size": 84}, *({"coding": coding} for coding in CODINGS)]
        for more in [*widgets, *shared] if node in NODES else ():
            words = "-".join(f"{name}-{value}" for name, value in more.items()).replace(" ", "-")
            yield f"{node}-{words or 'defaults'}", run(node, image=image, resolution=128, precision="float32", **more)
    if "Metric3D-DepthMapPreprocessor" in NODES:
        yield "Metric3D-DepthMapPreprocessor", run("Metric3D-DepthMapPreprocessor", image=image, resolution=128, precision="float32")


def conversions(image: Tensor, geometries: Mapping[str, Estimate]) -> Iterator[Case]:
    """Raw numbers to images, normals and other packs' dictionaries, and back."""
    for model_id in ("tiny", "zoedepth-nyu", "depth-anything-3-metric-large", "depth-anything-3-small"):
        geometry = geometries[model_id]
        for mode in ("per_image", "per_clip", "fixed"):
            yield f"render-depth-{model_id}-{mode}", run("DepthNormal_RenderDepth", geometry=geometry, near="white", normalisation=mode)
        percentiles = {"percentile_low": 2.0, "percentile_high": 85.0, "colour_map": "turbo", "normalisation": "per_clip"}
        yield f"render-depth-{model_id}-percentiles", run("DepthNormal_RenderDepth", geometry=geometry, near="black", **percentiles)
        for ratio in (0.0, 8.0):
            if geometry.quantity is not depth_normal.Quantity.RELATIVE_DEPTH or ratio:
                derived = run("DepthNormal_NormalsFromDepth", geometry=geometry, method="plane fit", near_far_ratio=ratio)
                yield f"normals-{model_id}-{ratio:g}", derived
                to_moge = run("DepthNormal_GeometryToMoGe", geometry=derived[0], image=image, near_far_ratio=ratio)
                yield f"moge-{model_id}-{ratio:g}", to_moge
                yield f"from-moge-{model_id}-{ratio:g}", run("DepthNormal_MoGeToGeometry", moge_geometry=to_moge[0])
                to_da3 = run("DepthNormal_GeometryToDA3", geometry=geometry, image=image, near_far_ratio=ratio)
                yield f"da3-{model_id}-{ratio:g}", to_da3
                yield f"from-da3-{model_id}-{ratio:g}", run("DepthNormal_DA3ToGeometry", da3_geometry=to_da3[0])
    tiny = geometries["tiny"]
    yield "normals-midas", run("DepthNormal_NormalsFromDepth", geometry=tiny, method="midas")
    yield "normals-dmap2norm", run("DepthNormal_NormalsFromDepth", geometry=geometries["zoedepth-nyu"], method="dmap2norm")
    (depth_image, _) = run("DepthNormal_RenderDepth", geometry=tiny, near="white", normalisation="per_image")
    for values in ("disparity", "depth"):
        found = run("DepthNormal_DepthImageToGeometry", image=depth_image, near="white", values=values, near_metres=1.0, far_metres=9.0)
        yield f"depth-image-{values}", found
    for coding in CODINGS:
        (normal_map,) = run("DepthNormal_RenderNormals", geometry=tiny, coding=coding)
        yield f"render-normals-{coding}", normal_map
        turned = run("DepthNormal_ConvertNormalMap", image=normal_map, source=coding, target="directx", strength=1.5, detail=normal_map)
        yield f"convert-normals-{coding}", turned


def effects(image: Tensor, geometry: Estimate) -> Iterator[Case]:
    """Light and movement."""
    (depth_image, _) = run("DepthNormal_RenderDepth", geometry=geometry, near="white", normalisation="per_image")
    (normal_map,) = run("DepthNormal_RenderNormals", geometry=geometry, coding="opengl")
    looks = {"specular": 0.2, "shadows": 0.7, "colour": "#ffb46b"}
    for light in ("directional", "point"):
        yield f"relight-{light}", run("DepthNormal_Relight", image=image, light=light, geometry=geometry, **looks)
        maps = {"normal_map": normal_map[:1], "depth": depth_image[:1]}
        yield f"relight-{light}-maps", run("DepthNormal_Relight", image=image, light=light, **maps, **looks)
    for move in ("orbit", "swing", "dolly"):
        yield f"parallax-{move}", run("DepthNormal_DepthParallax", image=image, move=move, frames=4, amount=0.1, depth=depth_image)
    yield "depth-mask", run("DepthNormal_DepthMask", geometry=geometry, image=image)
    yield "depth-mask-point", run("DepthNormal_DepthMask", depth=depth_image, point_x=0.5, point_y=0.5)
    yield "cutout", run("DepthNormal_ForegroundCutout", image=image, geometry=geometry)
    yield "fog", run("DepthNormal_Fog", image=image, geometry=geometry, density=0.5)
    yield "depth-of-field", run("DepthNormal_DepthOfField", image=image, depth=depth_image, blades=6)
    for layout in ("full-sbs", "half-tb", "anaglyph"):
        yield f"stereo-{layout}", run("DepthNormal_Stereo", image=image, layout=layout, divergence=4.0, geometry=geometry)


def flat(output: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors of an output, by where they are in it."""
    if isinstance(output, Tensor):
        return {name or "value": output}
    if isinstance(output, Estimate):
        output = {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple | list):
        output = dict(enumerate(output))
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
