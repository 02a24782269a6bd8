"""MiDaS: affine-invariant disparity from one image.

Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020) and "Vision Transformers for Dense Prediction" (2021); code
    isl-org/MiDaS. The transformer networks are transformers', the convolutional one is `networks.midas.MidasSmall`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Annotator
from .building import fill, from_state_dict, from_transformers
from .graphs import Signature
from .networks.dpt import as_fusion
from .networks.layers import exact_group_norms, faster_products, to_dtype
from .networks.midas import DisparityHead, MidasSmall, dpt_to_hub
from .networks.published import StateDict
from .specs.base import ModelSpec
from .specs.midas import MidasConfig


class MidasAnnotator(Annotator):
    """MiDaS, any version.

    Convention:
        Disparity: large = near, unknown scale and shift, never negative; typically 0 to a few thousand.
    """

    bytes_per_pixel = 2600
    auto_dtypes = ("float16",)
    resampling = "bicubic"

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> MidasAnnotator:
        """See `Family.build`. Accepts the authors' checkpoints and their Hugging Face conversions."""
        build = _build_small if spec.config.backbone == "efficientnet-lite3" else _build_dpt
        network = build(spec, states["network"])
        exact = [layer for module in network.modules() if isinstance(module, DisparityHead) for layer in list(module)[1:]]
        if spec.config.backbone == "swinv2" and dtype == torch.float16:
            # attention divides by norms, which are zero where windows are padded; its epsilon is below float16's range
            exact.append(network.get_submodule("backbone"))
        to_dtype(network, dtype, *exact)
        standardise_weights(network)
        exact_group_norms(network)
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        return cls(spec, network)

    @classmethod
    def could_be(cls, spec: ModelSpec, names: Collection[str]) -> bool:
        if spec.config.backbone == "efficientnet-lite3":
            return any(name.startswith("pretrained.layer") for name in names)
        return any(name.startswith(("pretrained.model.", "dpt.", "backbone.")) for name in names)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        if spec.config.backbone != "efficientnet-lite3":
            from_transformers("DPTForDepthEstimation")

    def signature(self) -> Signature:
        config = self.spec.config
        # transformers' networks bake in grids and windows of the traced image size
        return Signature.of(self.spec, mean=config.mean, std=config.std, dynamic_size=config.backbone == "efficientnet-lite3")


def _build_small(spec: ModelSpec, state: StateDict) -> nn.Module:
    with torch.device("meta"):
        network = MidasSmall()
    fill(network, state, f"not a checkpoint of {spec.id}")
    return network


def _build_dpt(spec: ModelSpec, state: StateDict) -> nn.Module:
    """Transformers' DPT for images of any aspect, with the head of `MidasSmall`."""
    (base,) = from_transformers("DPTForDepthEstimation")

    class Dpt(base):
        def forward(self, x: Tensor) -> Tensor:
            with faster_products(x):
                return self.infer(x)

        def infer(self, x: Tensor) -> Tensor:
            rows, columns = x.shape[-2] // 16, x.shape[-1] // 16
            if self.backbone is not None:
                maps = [each.to(self.head.head[0].weight.dtype) for each in self.backbone(x).feature_maps]
                return self.head.head(self.neck(maps, rows, columns)[-1])
            indices = self.config.backbone_out_indices
            if self.config.is_hybrid:
                # the embedding only accepts images of this size; it is set to that of each image
                self.dpt.embeddings.image_size = tuple(x.shape[-2:])
            outputs = self.dpt(x, output_hidden_states=True)
            hidden = outputs.hidden_states[1:]
            if self.config.is_hybrid:
                features = [*outputs.intermediate_activations[:2], *(hidden[i] for i in indices[2:])]
            else:
                features = [hidden[i] for i in indices]
            return self.head.head(self.neck(features, rows, columns)[-1])

    network = from_state_dict(Dpt, transformers_config(spec.config), dpt_to_hub(state, spec.config.backbone), spec.id)
    network.head.head = DisparityHead(*network.head.head)
    network.neck.fusion_stage.layers = nn.ModuleList(map(as_fusion, network.neck.fusion_stage.layers))
    return network


class _PaddedConv2d(nn.Conv2d):
    pad: nn.Module | None

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if self.pad is None else self.pad(input))


def standardise_weights(network: nn.Module) -> None:
    """Standardises a transformers network's ResNet weights once, in its dtype; the library does so in every pass."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer).__name__ == "WeightStandardizedConv2d":
                setattr(parent, name, _standardised(layer))


@torch.no_grad()
def _standardised(layer: Any) -> _PaddedConv2d:
    with torch.device("meta"):
        plain = _PaddedConv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    rows = layer.weight.float().reshape(1, layer.out_channels, -1)
    weight = F.batch_norm(rows, None, None, training=True, momentum=0.0, eps=layer.eps).reshape_as(layer.weight)
    plain.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    plain.bias, plain.pad = layer.bias, layer.pad
    return plain.train(layer.training)


def transformers_config(config: MidasConfig) -> Any:
    """The architecture as transformers' DPTConfig."""
    dpt_config, swinv2_config, beit_config = from_transformers("DPTConfig", "Swinv2Config", "BeitConfig")
    backbones = {"swinv2": swinv2_config, "beit": beit_config}
    backbone = {}
    if config.backbone_config is not None:
        backbone["backbone_config"] = backbones[config.backbone](**config.backbone_config)
    # 1e-6 is timm's value, with which the authors trained; transformers' default is 1e-12
    return dpt_config(**(config.dpt or {}), **backbone, layer_norm_eps=1e-6, use_batch_norm_in_fusion_residual=False)
