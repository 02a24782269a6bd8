"""ZoeDepth: metres, indoors (NYU) and outdoors (KITTI), on MiDaS's transformer and on Depth Anything V1's.

Source:
    Bhat et al., "ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth" (2023); code isl-org/ZoeDepth. The network is
    that of the transformers library.
    Yang et al., "Depth Anything" (2024), code LiheYoung/Depth-Anything, metric_depth; the head: Bhat et al., "ZoeDepth" (2023), code
    isl-org/ZoeDepth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import Annotator
from .building import from_state_dict, from_transformers
from .depth_anything import DinoAnnotator
from .family import Request
from .graphs import Signature
from .networks.dpt import as_fusion
from .networks.layers import faster_products
from .networks.published import StateDict
from .networks.zoe import BINS, ZoeDepthAnything, official_to_hub
from .preprocessing.resizing import cubic
from .preprocessing.steps import CROP, Mirror, PadReflect, Steps, undo_resize
from .specs.base import HALF, ModelSpec
from .specs.midas import ZoeConfig

_BORDER = PadReflect(3.0)  # the networks are less accurate at an image's border
_CLASSIFIER = {
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 1024,
    "patch_transformer_num_attention_heads": 4,
}


class ZoeInference(Annotator):
    """Averages the estimates of an image and its mirror image, both padded by reflection.

    Subclasses implement `build`.

    Convention:
        Metres, large = far. The estimate has image size, as the authors' has.

    Source:
        `DepthModel.infer` in isl-org/ZoeDepth, models/depth_model.py.
    """

    bytes_per_pixel = 7200
    auto_dtypes = ("float16",)
    resampling = "bicubic"
    undoes_stretching = True

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: pads before resizing; mirrors last."""
        return (_BORDER, *super().preprocess(size), Mirror())

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`; the estimate has image size."""
        height, width = request.image_size
        left, _, top, _ = _BORDER.margins(height, width)
        depth = cubic(outputs[0].contiguous(), *_BORDER.size(height, width))
        straight, mirrored = depth[:, :, top : top + height, left : left + width].chunk(2)
        return Estimate(depth=(straight + mirrored.flip(-1)) / 2, quantity=Quantity.METRIC_DEPTH)

    def signature(self) -> Signature:
        return Signature.of(self.spec, afterwards=[undo_resize(cubic), CROP], at_image_size=True)


class ZoeAnnotator(ZoeInference):
    """ZoeDepth, any version."""

    tensors = r"^(core|metric_head)\."

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> ZoeAnnotator:
        """See `Family.build`. Accepts the authors' checkpoints and their Hugging Face conversions."""
        (network_class,) = from_transformers("ZoeDepthForDepthEstimation")
        state = states["network"]
        if any(key.startswith("core.") for key in state):
            state = official_to_hub(state)
        network = from_state_dict(network_class, transformers_config(spec.config), state, spec.id)
        network.neck.fusion_stage.layers = nn.ModuleList(map(as_fusion, network.neck.fusion_stage.layers))
        network.to(memory_format=torch.channels_last)
        for part in (network.backbone, network.neck):
            part.to(dtype)
        # the heads subtract large, nearly equal numbers and divide by numbers too small for float16
        for head in (network.relative_head, network.metric_head):
            head.float().register_forward_pre_hook(_to_float32, with_kwargs=True)
        return cls(spec, network)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        from_transformers("ZoeDepthForDepthEstimation")

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        # a network for several kinds of scene would choose one kind for the whole batch
        parts = inputs.split(1) if len(self.spec.config.ranges) > 1 else [inputs]
        with faster_products(inputs):
            return (torch.cat([self.network(part).predicted_depth[:, None] for part in parts]),)

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        return "it chooses a part of its network by the image" if len(spec.config.ranges) > 1 else None

    def signature(self) -> Signature:
        # transformers' network bakes in the sizes that it is traced with
        traced = {"dynamic_batch": False, "dynamic_size": False, "most_batch": 1}
        return replace(super().signature(), mean=HALF, std=HALF, **traced)


def _to_float32(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def convert(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) else [each.float() for each in value]

    return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()}


def transformers_config(config: ZoeConfig) -> Any:
    """The architecture as transformers' ZoeDepthConfig."""
    zoe_config, beit_config = from_transformers("ZoeDepthConfig", "BeitConfig")
    bins = [{"name": name, "n_bins": BINS, "min_depth": 1e-3, "max_depth": far} for name, far in config.ranges]
    classifier = _CLASSIFIER if len(bins) > 1 else {}
    return zoe_config(
        # 1e-6 is timm's value, with which the authors trained
        backbone_config=beit_config(**config.backbone, layer_norm_eps=1e-6),
        neck_hidden_sizes=list(config.neck),
        fusion_hidden_size=config.features,
        bottleneck_features=config.features,
        bin_centers_type=config.bin_centres,
        bin_configurations=bins,
        **classifier,
    )


class ZoeDepthAnythingAnnotator(ZoeInference, DinoAnnotator):
    """Depth Anything V1's metric networks."""

    network_class = ZoeDepthAnything
