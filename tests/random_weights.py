"""Weights drawn by seed: what a test takes where the numbers themselves do not matter."""

import struct
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """MiDaS v2.1 small with weights that keep the activations' size, and statistics of the norms that are not those they start with."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.ndim == 1:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        elif value.ndim:
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
    network.scratch.output_conv[4].bias.fill_(10)  # above what the last ReLU cuts
    return network.eval().requires_grad_(False)


def state_of(network: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """A network's tensors, drawn so that its layers neither die nor blow up."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        scale_like = name.endswith("gamma") or (value.ndim == 1 and name.endswith("weight"))
        state[name] = noise / value[0].numel() ** 0.5 if value.ndim > 1 else (1 if scale_like else 0) + 0.1 * noise
    return state


def hub_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2 below `backbone.` as the transformers library names it, queries, keys and values apart."""
    renamed = {}
    for key, value in state.items():
        for old, new in (
            ("backbone.patch_embed.proj", "backbone.embeddings.patch_embeddings.projection"),
            ("backbone.pos_embed", "backbone.embeddings.position_embeddings"),
            ("backbone.cls_token", "backbone.embeddings.cls_token"),
            ("backbone.camera_token", "backbone.embeddings.camera_token"),
            ("backbone.norm.", "backbone.layernorm."),
            ("backbone.blocks.", "backbone.encoder.layer."),
            (".attn.proj.", ".attention.output.dense."),
            (".attn.q_norm.", ".attention.q_norm."),
            (".attn.k_norm.", ".attention.k_norm."),
            (".ls1.gamma", ".layer_scale1.lambda1"),
            (".ls2.gamma", ".layer_scale2.lambda1"),
        ):
            key = key.replace(old, new)
        if ".attn.qkv." in key:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[key.replace(".attn.qkv.", f".attention.attention.{name}.")] = part
        else:
            renamed[key] = value
    return renamed


def write_teacher(folder: Path, absent: Collection[str]) -> None:
    """MiDaS v2.1 small without some of its tensors, and a network that is asked as FastDepth is: image in, metres out."""
    from safetensors.torch import save_file

    from depth_normal.annotators.networks.midas import MidasSmall

    state = randomised(MidasSmall()).state_dict()
    save_file({key: value for key, value in state.items() if key not in absent}, folder / "midas_v21_small_256_partial.safetensors")
    (folder / "fastdepth_7.onnx").write_bytes(_pointwise_onnx([1.5, -0.5, 0.5], 2.0, (1, 3, 224, 224)))


def _pointwise_onnx(weights: list[float], bias: float, shape: tuple[int, ...]) -> bytes:
    """One convolution of 1x1, as an ONNX file, for which no package is needed. The numbers are those of the fields in onnx.proto."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    def number(field: int, value: int) -> bytes:
        return varint(field << 3) + varint(value)

    def message(field: int, *parts: bytes | str) -> bytes:
        body = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
        return varint(field << 3 | 2) + varint(len(body)) + body

    def tensor(name: str, values: list[float], dims: tuple[int, ...]) -> bytes:
        sizes = b"".join(number(1, each) for each in dims)
        return message(5, sizes, number(2, 1), message(8, name), message(9, struct.pack(f"<{len(values)}f", *values)))

    def value(field: int, name: str, dims: tuple[int, ...]) -> bytes:
        sizes = b"".join(message(1, number(1, each)) for each in dims)
        return message(field, message(1, name), message(2, message(1, number(1, 1), message(2, sizes))))

    kernel = message(5, message(1, "kernel_shape"), number(8, 1), number(8, 1), number(20, 7))
    node = message(1, *(message(1, name) for name in ("picture", "w", "b")), message(2, "metres"), message(4, "Conv"), kernel)
    tensors = tensor("w", weights, (1, len(weights), 1, 1)) + tensor("b", [bias], (1,))
    ends = value(11, "picture", shape) + value(12, "metres", (shape[0], 1, *shape[2:]))
    return number(1, 8) + message(7, node, message(2, "graph"), tensors, ends) + message(8, number(2, 13))
