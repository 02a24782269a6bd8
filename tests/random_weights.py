"""Weights and images drawn by seed: what a test takes where the numbers themselves do not matter."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

ABSENT_FROM_PARTIAL = {
    "scratch.layer4_rn.weight": (512, 384, 3, 3),
    "scratch.refinenet4.resConfUnit1.conv1.weight": (512, 512, 3, 3),
    "scratch.refinenet4.resConfUnit1.conv2.weight": (512, 512, 3, 3),
    "scratch.refinenet4.resConfUnit2.conv1.weight": (512, 512, 3, 3),
    "scratch.refinenet4.resConfUnit2.conv2.weight": (512, 512, 3, 3),
}
"""What a published file of MiDaS v2.1 small, of its real weights, lacks."""


def make_images(height: int, width: int, batch: int = 1, seed: int = 7) -> torch.Tensor:
    """(batch, 3, height, width) of noise in [0, 1]."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def smooth_images(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """As `make_images`, of soft colours."""
    return F.interpolate(make_images(6, 8, batch), size=(height, width), mode="bilinear")


def state_of(network: nn.Module, seed: int = 0, *, gain: float = 1.0, spread: float = 0.2) -> dict[str, torch.Tensor]:
    """Tensors of a network, which may be on the meta device: signals neither die nor grow, and no norm is as at its start."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {name for name, _ in network.named_parameters()}
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            state[name] = torch.empty(value.shape).uniform_(0.5, 2, generator=generator)
        elif name not in parameters and not name.endswith("running_mean"):
            state[name] = torch.zeros_like(value, device="cpu") if value.is_meta else value
        elif value.ndim > 1:
            state[name] = gain * torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5
        else:
            is_scale = name.endswith(("gamma", "lambda1", "lambda2", "lambda_1", "lambda_2", "weight"))
            state[name] = float(is_scale) + spread * torch.randn(value.shape, generator=generator)
    return state


def randomise(network, seed: int = 0, *, gain: float = 1.0):
    """Gives a network the tensors of `state_of`, ready for inference."""
    network.load_state_dict(state_of(network, seed, gain=gain))
    return network.eval().requires_grad_(False)


def random_midas_small() -> nn.Module:
    """MiDaS v2.1 small, whose disparity lies above what its last ReLU cuts."""
    from depth_normal.annotators.networks.midas import MidasSmall

    network = randomise(MidasSmall())
    network.scratch.output_conv[4].bias.fill_(10)
    return network


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


def write_teacher(folder: Path) -> None:
    """MiDaS v2.1 small without some of its tensors, and a network that is asked as FastDepth is: image in, metres out."""
    from safetensors.torch import save_file

    state = random_midas_small().state_dict()
    save_file(
        {key: value for key, value in state.items() if key not in ABSENT_FROM_PARTIAL}, folder / "midas_v21_small_256_partial.safetensors"
    )
    (folder / "fastdepth_7.onnx").write_bytes(_pointwise_onnx([1.5, -0.5, 0.5], 2.0, (1, 3, 224, 224)))


def _pointwise_onnx(weights: list[float], bias: float, shape: tuple[int, ...]) -> bytes:
    """One convolution of 1x1, as an ONNX file."""
    from onnx import helper

    tensors = [helper.make_tensor("w", 1, (1, len(weights), 1, 1), weights), helper.make_tensor("b", 1, (1,), [bias])]  # 1: float32
    ends = [[helper.make_tensor_value_info(name, 1, (shape[0], count, *shape[2:]))] for name, count in (("picture", 3), ("metres", 1))]
    node = helper.make_node("Conv", ["picture", "w", "b"], ["metres"], kernel_shape=(1, 1))
    graph = helper.make_graph([node], "graph", *ends, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
