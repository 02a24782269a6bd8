"""ZoeDepth: metres from one picture, indoors (NYU), outdoors (KITTI), or whichever of the two the network takes it for.

Source:
    Bhat et al., "ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth" (2023); code isl-org/ZoeDepth. The network is
    that of the transformers library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import HALF, ModelSpec, WeightFile
from .libraries import from_state_dict, from_transformers
from .midas import ANNOTATORS_COMMIT, DPT_BEIT_LARGE
from .networks.names import StateDict
from .networks.zoe_depth_anything import BINS
from .networks.zoe_names import official_to_hub
from .resizing import Fit, Resizing, linear_to_corners
from .zoe_inference import ZoeInference


@dataclass(frozen=True)
class ZoeConfig:
    """An architecture of ZoeDepth.

    Attributes:
        bin_centres: "softplus" (unbounded) or "normed" (between the ranges' ends).
        ranges: Name and greatest depth in metres of each kind of scene.
        backbone: Keyword arguments of transformers' BeitConfig.
        neck: Channels of the neck's four levels.
        features: Channels of the fusion path.
        frame: Height and width that pictures are fitted to.
    """

    bin_centres: str
    ranges: tuple[tuple[str, float], ...]
    backbone: Mapping[str, Any]
    neck: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    frame: tuple[int, int] = (384, 512)


_CLASSIFIER = {
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 1024,
    "patch_transformer_num_attention_heads": 4,
}
_BEIT_LARGE_384 = {**(DPT_BEIT_LARGE.backbone_config or {}), "image_size": 384}
ZOE_NYU = ZoeConfig("softplus", (("nyu", 10.0),), _BEIT_LARGE_384)
# 80 m as in the authors' evaluation; their default, and the Hugging Face configuration, cut off everything beyond 10 m
ZOE_KITTI = ZoeConfig("normed", (("kitti", 80.0),), _BEIT_LARGE_384, frame=(384, 768))
ZOE_NYU_KITTI = ZoeConfig("softplus", (("nyu", 10.0), ("kitti", 80.0)), _BEIT_LARGE_384)


def resizing(config: ZoeConfig) -> Resizing:
    """How the authors bring pictures to the size of a network's input."""
    return Resizing(Fit.MINIMAL, config.frame[1] / config.frame[0], linear_to_corners)


class ZoeAnnotator(ZoeInference):
    """ZoeDepth, any version."""

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> ZoeAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoints and the Hugging Face conversions of them."""
        (network_class,) = from_transformers("ZoeDepthForDepthEstimation")
        state = states["network"]
        if any(key.startswith("core.") for key in state):
            state = official_to_hub(state)
        network = from_state_dict(network_class, transformers_config(spec.config), state, spec.id)
        network.to(memory_format=torch.channels_last)
        for part in (network.backbone, network.neck):
            part.to(dtype)
        # the heads subtract large numbers that are nearly equal, and divide by numbers too small for float16
        for head in (network.relative_head, network.metric_head):
            head.float().register_forward_pre_hook(_to_float32, with_kwargs=True)
        return cls(spec, network)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """See `Annotator.check_requirements`."""
        from_transformers("ZoeDepthForDepthEstimation")

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        normalised = self.normalised(pixels, HALF, HALF)
        # a network for several kinds of scene would choose one kind for the whole batch
        parts = normalised.split(1) if len(self.spec.config.ranges) > 1 else (normalised,)
        depth = torch.cat([self.network(part).predicted_depth for part in parts])
        return Estimate(depth=depth[:, None].contiguous(), quantity=Quantity.METRIC_DEPTH)


def _to_float32(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def convert(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) else [each.float() for each in value]

    return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()}


def transformers_config(config: ZoeConfig) -> Any:
    """The architecture as a ZoeDepthConfig of the transformers library."""
    zoe_config, beit_config = from_transformers("ZoeDepthConfig", "BeitConfig")
    bins = [{"name": name, "n_bins": BINS, "min_depth": 1e-3, "max_depth": far} for name, far in config.ranges]
    classifier = _CLASSIFIER if len(bins) > 1 else {}
    return zoe_config(
        # 1e-6 is timm's, with which the authors trained
        backbone_config=beit_config(**config.backbone, layer_norm_eps=1e-6),
        neck_hidden_sizes=list(config.neck),
        fusion_hidden_size=config.features,
        bottleneck_features=config.features,
        bin_centers_type=config.bin_centres,
        bin_configurations=bins,
        **classifier,
    )


_RELEASE = "https://github.com/isl-org/ZoeDepth/releases/download/v1.0"


def _spec(name: str, file: WeightFile, config: ZoeConfig) -> ModelSpec:
    return ModelSpec(
        id=f"zoedepth-{name}",
        family="zoedepth",
        files=(file,),
        licence="MIT",
        quantity=Quantity.METRIC_DEPTH,
        resizing=resizing(config),
        config=config,
    )


def _release(letters: str, sha256: str, size: int) -> WeightFile:
    filename = f"ZoeD_M12_{letters}.pt"
    return WeightFile(url=f"{_RELEASE}/{filename}", filename=filename, sha256=sha256, size=size)


SPECS = (
    _spec(
        "nyu",
        WeightFile(
            repo_id="lllyasviel/Annotators",
            filename="ZoeD_M12_N.pt",
            revision=ANNOTATORS_COMMIT,
            sha256="c97f94c4d53c5b788af46c5da0462262aebb37ea116fd70014bcbba93146c33b",
            size=1_443_406_099,
        ),
        ZOE_NYU,
    ),
    _spec("kitti", _release("K", "2f8e54f8de353c8e745ee2c8de03bf2181b7828c32211bb9efd7254a57a2df16", 1_443_421_075), ZOE_KITTI),
    _spec("nyu-kitti", _release("NK", "5d26daa15d420eb2908f1f486a37cc84e7a91751b44ce4b4d104eb8e433f9813", 1_448_574_259), ZOE_NYU_KITTI),
)
