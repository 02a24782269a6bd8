"""Seconds an image for the diffusion families, and how much of them our own code takes.

    python benchmarks/diffusion.py [--size 768] [--repeats 3] [--device cuda]

On a GPU the full-size networks, with random weights (the time does not depend on them), in the dtype that "auto" chooses there; on a CPU
networks of a tenth of the channels, whose times say nothing of the real ones'. "outside" is the share of the time that is spent neither in
the UNet nor in the VAE: resizing, noise, scheduler, reading the answer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from families import mend_torchvision

from depth_normal.annotators.building import LatentDiffusion, from_diffusers
from depth_normal.annotators.diffusion import DiffusionAnnotator, DiffusionOptions, LbmAnnotator, LbmOptions, LotusAnnotator
from depth_normal.annotators.marigold import MarigoldAnnotator, MarigoldMaterialsAnnotator, MarigoldOptions
from depth_normal.annotators.registry import find_any_spec
from depth_normal.annotators.specs.base import ModelSpec

RUNS: tuple[tuple[str, type[DiffusionAnnotator], DiffusionOptions], ...] = (
    ("marigold-depth", MarigoldAnnotator, MarigoldOptions(steps=1)),
    ("marigold-depth", MarigoldAnnotator, MarigoldOptions(steps=4)),
    ("marigold-iid-appearance", MarigoldMaterialsAnnotator, MarigoldOptions(steps=4)),
    ("lotus-depth-d", LotusAnnotator, DiffusionOptions()),
    ("lbm-normals", LbmAnnotator, LbmOptions(steps=1)),
    ("lbm-normals", LbmAnnotator, LbmOptions(steps=4)),
)


def narrowed(config: dict[str, Any]) -> dict[str, Any]:
    """An architecture with a tenth of the channels."""
    narrow = {**config, "block_out_channels": tuple(width // 10 // 8 * 8 for width in config["block_out_channels"]), "norm_num_groups": 8}
    if isinstance(config.get("cross_attention_dim"), tuple):
        narrow["cross_attention_dim"] = narrow["block_out_channels"]
    if "transformer_layers_per_block" in config:
        narrow["transformer_layers_per_block"] = (1, 1, 1)
    if "attention_head_dim" in config:
        narrow["attention_head_dim"] = tuple(width // 8 for width in narrow["block_out_channels"])
    return narrow


def random_network(spec: ModelSpec, family: type[DiffusionAnnotator], device: torch.device) -> DiffusionAnnotator:
    """A spec's network with random weights, on the device; narrow on a CPU."""
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    config = spec.config
    if device.type == "cpu":
        config = replace(config, unet=narrowed(config.unet), vae=narrowed(config.vae))
    with device:
        unet, vae = unet_class(**config.unet), vae_class(**config.vae)
        prompt = torch.zeros(len(config.prompt), config.unet["cross_attention_dim"]) if config.text_encoder else None
    dtype = getattr(torch, spec.auto_dtypes[0]) if device.type == "cuda" else torch.float32
    network = LatentDiffusion(unet, vae, prompt).to(dtype)
    if dtype == torch.float16 and not config.float16_vae:
        network.vae.float()
    return family(replace(spec, config=config), network)


def clock(device: torch.device) -> float:
    """The time in seconds, after synchronising the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured(function: Callable[..., Any], device: torch.device, spent: list[float]) -> Callable[..., Any]:
    """Wraps a function to append the seconds of each call to `spent`."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = clock(device)
        result = function(*args, **kwargs)
        spent.append(clock(device) - start)
        return result

    return timed


@torch.no_grad()
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=768, help="side of the square image, and what the networks run at")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    mend_torchvision()
    image = torch.rand(1, 3, arguments.size, arguments.size, device=device)
    print(f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU, narrow networks'}, {arguments.size} x {arguments.size}")
    print(f"{'model':23} {'dtype':10} {'steps':>5} {'s/image':>10} {'outside':>8}")
    for model_id, family, options in RUNS:
        annotator = random_network(find_any_spec(model_id), family, device)
        spent: list[float] = []
        parts: Any = annotator.network
        parts.unet.forward = measured(parts.unet.forward, device, spent)
        parts.vae.encode = measured(parts.vae.encode, device, spent)
        parts.vae.decode = measured(parts.vae.decode, device, spent)
        run = annotator.estimate_materials if isinstance(annotator, MarigoldMaterialsAnnotator) else annotator.estimate
        run(image, arguments.size, options=options)
        spent.clear()
        start = clock(device)
        for _ in range(arguments.repeats):
            run(image, arguments.size, options=options)
        seconds = (clock(device) - start) / arguments.repeats
        outside = 1 - sum(spent) / arguments.repeats / seconds
        dtype = str(next(parts.unet.parameters()).dtype).removeprefix("torch.")
        print(f"{model_id:23} {dtype:10} {annotator.passes(options):5} {seconds:10.3f} {outside:8.1%}")


if __name__ == "__main__":
    main()
