"""ZoeDepth and all Depth Anything with networks of a few hundred kB instead of gigabytes, and their files in the published layouts.

Copied into a ComfyUI server's `custom_nodes`, this file is a node pack as well: its node makes the server's table of models as tiny.
Only the sizes in the entries change; ids, file names, licences and everything the pack does with them stay the published ones.
"""

import runpy
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

ZOE_BACKBONE = {
    "image_size": 96,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "use_relative_position_bias": True,
    "reshape_hidden_states": False,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
FAMILIES = ("depth-anything", "zoe-depth-anything", "depth-anything-3", "zoedepth", "video-depth-anything")


def shrunk(spec):
    """An entry of the table with a tiny architecture; ZoeDepth's heads, which are slow however narrow, see small images as well."""
    if spec.family in ("zoedepth", "zoe-depth-anything"):
        spec = replace(spec, default_size=spec.default_size // 4)
    if spec.family == "zoedepth":
        return replace(spec, config=replace(spec.config, backbone=ZOE_BACKBONE, neck=(32, 48, 64, 64), features=32))
    vit, dpt = spec.config.vit, spec.config.dpt
    alternating_from = None if vit.alternating_from is None else 2
    vit = replace(vit, width=32, depth=6, heads=2, taken=(2, 3, 4, 5), alternating_from=alternating_from, grid=5)
    channels = (16, 24, 32, 64) if spec.family == "video-depth-anything" else (16, 24, 32, 40)
    return replace(spec, config=replace(spec.config, vit=vit, dpt=replace(dpt, channels=channels, features=32)))


def random_states(spec) -> dict:
    """State dicts of a shrunk entry by role, as its published file holds them."""
    import torch

    from depth_normal.annotators.registry import FAMILIES as ANNOTATORS

    seed = zlib.crc32(spec.id.encode())  # so that no model passes for another
    if spec.family == "zoedepth":
        return {"network": zoe_state(spec, seed)}
    if spec.family == "video-depth-anything":
        oracle = runpy.run_path(str(Path(__file__).with_name("video_depth_oracle.py")))
        return {"network": oracle["random_state"](spec.config, seed)}
    state = randomise(ANNOTATORS[spec.family].network_class(spec.config.vit, spec.config.dpt), seed).state_dict()
    if spec.family == "zoe-depth-anything":
        return {"network": {key.replace("core.", "core.core.", 1): value for key, value in state.items()}}
    if spec.family == "depth-anything":
        torch.nn.init.constant_(state["depth_head.scratch.output_conv2.2.bias"], 0.0 if spec.config.max_depth else 4.0)  # above the ReLU
    return {"network": state}


def zoe_state(spec, seed) -> dict:
    """As transformers writes it, for only that has the names of the published conversions."""
    from safetensors.torch import load_file
    from transformers import ZoeDepthForDepthEstimation

    from depth_normal.annotators import zoe

    network = randomise(ZoeDepthForDepthEstimation(zoe.transformers_config(spec.config)), seed)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        return load_file(Path(folder, "model.safetensors"))


def randomise(network, seed):
    """See tests/random_weights.py, which a server's node pack lacks and does not need."""
    return runpy.run_path(str(Path(__file__).with_name("random_weights.py")))["randomise"](network, seed)


def write_file(spec, path: Path) -> None:
    """Writes a shrunk entry's weights to a file of either format."""
    import torch
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in random_states(spec)["network"].items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state} if spec.family == "zoedepth" else state, path)


class UseTinyDepthModels:
    """Replaces ZoeDepth and Depth Anything in the running server's table of models by tiny ones."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "execute", (), True
    done = False
    """A second time ZoeDepth's images would be a quarter of a quarter."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def execute(self):
        registry = next(module for name, module in list(sys.modules.items()) if name.endswith(".annotators.registry"))
        if not self.done:
            registry.MODELS.update({spec.id: shrunk(spec) for spec in registry.MODELS.values() if spec.family in FAMILIES})
        UseTinyDepthModels.done = True
        return ()


NODE_CLASS_MAPPINGS = {"Test_UseTinyDepthModels": UseTinyDepthModels}
