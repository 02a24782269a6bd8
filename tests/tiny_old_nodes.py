"""BAE, DSINE, LeReS, Metric3D and MoGe-1 with networks of at most a megabyte instead of hundreds, and their files.

Copied into a ComfyUI server's `custom_nodes`, this file is a node pack as well: its node makes the server's table of models as tiny.
Only the sizes in the entries change; ids, file names, licences and everything the pack does with them stay the published ones.
"""

import runpy
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from unittest import mock

STAGES = ((1, 3, 1, 1, 8), (2, 3, 2, 2, 8), (1, 5, 2, 2, 8), (1, 3, 2, 2, 8), (1, 5, 1, 2, 8), (1, 5, 2, 2, 8), (1, 3, 1, 2, 8))
CHANNELS = (8, 8, 8, 8, 16)
IDS = ("bae-normal", "dsine", "leres", "leres-boost", "metric3d-vit-small", "moge-vitl")
SIZES = {"bae": 64, "dsine": 64, "leres": 64, "leres-boost": 96, "metric3d": 56, "moge": 56}


def shrunk(spec):
    """An entry of the table with a tiny architecture, for small images. BAE's is in its module: see `shrink_encoder`."""
    config = _config(spec.family, spec.config)
    return replace(spec, config=config, default_size=SIZES[spec.family])


def _config(family, config):
    if family == "dsine":
        return replace(config, features=32, state=8)
    if family == "leres":
        return replace(config, encoder=replace(config.encoder, blocks=(1, 2, 1, 1), groups=4, group_width=2), features=(8, 8, 8, 16))
    if family == "leres-boost":
        leres, merge = _config("leres", config.leres), replace(config.merge, levels=6, width=4)
        # The search needs a field of four cells at least; all else is as small as lets an image have several patches.
        return replace(config, leres=leres, merge=merge, field=128, merge_side=128, greatest_side=256)
    if family == "metric3d":
        vit = replace(config.vit, width=16, depth=2, heads=2, taken=(1,), grid=3, swiglu=False)
        return replace(config, vit=vit, levels=(6, 8, 16, 16), path=(6, 8, 16, 16), hidden=8, iterations=2)
    if family == "moge":
        return replace(
            config, vit=replace(config.vit, width=16, depth=4, heads=2, taken=(0, 1, 2, 3), grid=3), projected=12, channels=(8,) * 3
        )
    return config


def shrink_encoder(modules, put=setattr):
    """The encoder that BAE and DSINE share, and BAE's decoder: their sizes are constants of the modules `bae`, `dsine`, `efficientnet`."""
    put(modules["efficientnet"], "B5", modules["efficientnet"].B5._replace(stem=8, stages=STAGES))
    for name in ("bae", "dsine", "efficientnet"):
        put(modules[name], "B5_CHANNELS", CHANNELS)
    put(modules["bae"], "_CHANNELS", (16, 16, 8, 8))
    put(modules["bae"], "_HIDDEN", 8)


@contextmanager
def tiny_encoder():
    """Builds BAE, and the encoder of DSINE, with a few channels while it lasts."""
    modules = {name: import_module(f"depth_normal.annotators.networks.{name}") for name in ("bae", "dsine", "efficientnet")}
    with ExitStack() as stack:
        shrink_encoder(modules, lambda *place: stack.enter_context(mock.patch.object(*place)))
        yield


def write_files(spec, folder: Path) -> None:
    """Writes random weights of a shrunk entry below the folder, each file at its published name."""
    import torch

    state_of = runpy.run_path(str(Path(__file__).with_name("random_weights.py")))["state_of"]
    for file in spec.files:
        path = folder / file.repo_id / file.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": state_of(_network(spec, file.role))}, path)


def _network(spec, role):
    """What a file holds, before its weights."""
    from depth_normal.annotators.networks import bae, dsine, leres, metric3d, moge

    if spec.family in ("bae", "dsine"):
        with tiny_encoder():
            return bae.Bae() if spec.family == "bae" else dsine.DSINE(spec.config)
    if role == "merge":
        return leres.MergeNetwork(spec.config.merge)
    kinds = {"leres": leres.Leres, "leres-boost": leres.Leres, "metric3d": metric3d.Metric3d, "moge": moge.MoGe1}
    return kinds[spec.family](spec.config.leres if role == "depth" else spec.config)


class UseTinyOldNodes:
    """Replaces these families in the running server by tiny ones."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "execute", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def execute(self):
        pack = next(name for name in list(sys.modules) if name.endswith(".annotators.registry")).removesuffix(".registry")
        shrink_encoder({name: import_module(f"{pack}.networks.{name}") for name in ("bae", "dsine", "efficientnet")})
        models = sys.modules[f"{pack}.registry"].MODELS
        models.update({model_id: shrunk(models[model_id]) for model_id in IDS})
        return ()


NODE_CLASS_MAPPINGS = {"Test_UseTinyOldNodes": UseTinyOldNodes}
