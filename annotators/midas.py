"""MiDaS: disparity from one picture, up to scale and shift.

Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020) and "Vision Transformers for Dense Prediction" (2021); code
    isl-org/MiDaS. The transformer networks are those of the transformers library, the convolutional one is `midas_small`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import HALF, IMAGENET_MEAN, IMAGENET_STD, RGB, Annotator, ModelSpec, WeightFile, fill
from .libraries import from_state_dict, from_transformers
from .networks.midas_names import dpt_to_hub
from .networks.midas_small import DisparityHead, MidasSmall
from .networks.names import StateDict
from .resizing import Fit, Resizing, cubic


@dataclass(frozen=True)
class MidasConfig:
    """An architecture of MiDaS.

    Attributes:
        backbone: "hybrid", "vit", "swinv2" or "beit" (transformers' DPT), or "efficientnet-lite3".
        dpt: Keyword arguments of transformers' DPTConfig.
        backbone_config: Keyword arguments of the backbone's own config, where it has one.
        mean: Subtracted from the RGB values in [0, 1] ...
        std: ... before they are divided by this.
    """

    backbone: str
    dpt: Mapping[str, Any] | None = None
    backbone_config: Mapping[str, Any] | None = None
    mean: RGB = HALF
    std: RGB = HALF


DPT_HYBRID = MidasConfig(
    backbone="hybrid",
    dpt={"is_hybrid": True, "hidden_size": 768, "reassemble_factors": [1, 1, 1, 0.5], "neck_hidden_sizes": [256, 512, 768, 768]},
)
DPT_LARGE = MidasConfig(
    backbone="vit",
    dpt={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "backbone_out_indices": [5, 11, 17, 23],
        "neck_hidden_sizes": [256, 512, 1024, 1024],
    },
)
DPT_SWIN2_TINY = MidasConfig(
    backbone="swinv2",
    dpt={"neck_hidden_sizes": [96, 192, 384, 768]},
    backbone_config={
        "image_size": 256,
        "embed_dim": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "window_size": 16,
        "pretrained_window_sizes": (0, 0, 0, 0),
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
)
DPT_BEIT_LARGE = MidasConfig(
    backbone="beit",
    dpt={"neck_hidden_sizes": [256, 512, 1024, 1024]},
    backbone_config={
        "image_size": 512,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "out_features": ["stage6", "stage12", "stage18", "stage24"],
    },
)
MIDAS_SMALL = MidasConfig(backbone="efficientnet-lite3", mean=IMAGENET_MEAN, std=IMAGENET_STD)

# of the authors' run.py, by version
DPT_RESIZING = Resizing(Fit.MINIMAL, resample=cubic)
SWIN2_RESIZING = Resizing(Fit.STRETCHED, resample=cubic)
SMALL_RESIZING = Resizing(Fit.UPPER_BOUND, resample=cubic)


class MidasAnnotator(Annotator):
    """MiDaS, any version.

    Convention:
        Disparity: large = near, unknown scale and shift, never negative; typically 0 to a few thousand.
    """

    bytes_per_pixel = 2600
    auto_dtypes = (torch.float16,)
    resampling = "bicubic"

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> MidasAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoints and the Hugging Face conversions of them."""
        if spec.config.backbone == "efficientnet-lite3":
            network = _build_small(spec, states["network"])
        else:
            network = _build_dpt(spec, states["network"])
        exact = {module: module.state_dict() for module in network.modules() if isinstance(module, DisparityHead)}
        network.to(dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        for head, state in exact.items():
            head.keep_float32(state)
        if spec.config.backbone == "swinv2" and dtype == torch.float16:
            # its attention divides by norms, zero where windows are padded; float16 has no number as small as the epsilon there
            network.get_submodule("backbone").float()
        return cls(spec, network)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """See `Annotator.check_requirements`."""
        if spec.config.backbone != "efficientnet-lite3":
            from_transformers("DPTForDepthEstimation")

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        config = self.spec.config
        disparity = self.network(self.normalised(pixels, config.mean, config.std))
        return Estimate(depth=disparity.contiguous(), quantity=Quantity.DISPARITY)


def _build_small(spec: ModelSpec, state: StateDict) -> nn.Module:
    with torch.device("meta"):
        network = MidasSmall()
    fill(network, state, f"not a checkpoint of {spec.id}")
    return network


def _build_dpt(spec: ModelSpec, state: StateDict) -> nn.Module:
    """The transformers library's DPT without its demand for square pictures; with the head of `midas_small`."""
    (base,) = from_transformers("DPTForDepthEstimation")

    class Dpt(base):
        def forward(self, x: Tensor) -> Tensor:
            rows, columns = x.shape[-2] // 16, x.shape[-1] // 16
            if self.backbone is not None:
                maps = [each.to(self.head.head[0].weight.dtype) for each in self.backbone(x).feature_maps]
                return self.head.head(self.neck(maps, rows, columns)[-1])
            indices = self.config.backbone_out_indices
            if self.config.is_hybrid:
                self.dpt.embeddings.image_size = tuple(
                    x.shape[-2:]
                )  # it takes pictures of this size only, and resizes its embedding to them
            outputs = self.dpt(x, output_hidden_states=True)
            hidden = outputs.hidden_states[1:]
            if self.config.is_hybrid:
                features = [*outputs.intermediate_activations[:2], *(hidden[i] for i in indices[2:])]
            else:
                features = [hidden[i] for i in indices]
            return self.head.head(self.neck(features, rows, columns)[-1])

    network = from_state_dict(Dpt, transformers_config(spec.config), dpt_to_hub(state, spec.config.backbone), spec.id)
    network.head.head = DisparityHead(*network.head.head)
    return network


def transformers_config(config: MidasConfig) -> Any:
    """The architecture as a DPTConfig of the transformers library."""
    dpt_config, swinv2_config, beit_config = from_transformers("DPTConfig", "Swinv2Config", "BeitConfig")
    backbones = {"swinv2": swinv2_config, "beit": beit_config}
    backbone = {}
    if config.backbone_config is not None:
        backbone["backbone_config"] = backbones[config.backbone](**config.backbone_config)
    # 1e-6 is timm's, with which the authors trained; the library's default is 1e-12
    return dpt_config(**(config.dpt or {}), **backbone, layer_norm_eps=1e-6, use_batch_norm_in_fusion_residual=False)


ANNOTATORS_COMMIT = "982e7edaec38759d914a963c48c4726685de7d96"
"""Of lllyasviel/Annotators, a collection of other authors' weights."""

_RELEASES = "https://github.com/isl-org/MiDaS/releases/download"


def _release(path: str, **published: Any) -> WeightFile:
    return WeightFile(url=f"{_RELEASES}/{path}", filename=path.rsplit("/", 1)[-1], **published)


def _spec(name: str, file: WeightFile, config: MidasConfig, resizing: Resizing = DPT_RESIZING, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=f"midas-{name}",
        family="midas",
        files=(file,),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        resizing=resizing,
        config=config,
        **more,
    )


SPECS = (
    _spec(
        "dpt-hybrid",
        WeightFile(
            repo_id="lllyasviel/Annotators",
            filename="dpt_hybrid-midas-501f0c75.pt",
            aliases=("dpt_hybrid_384.pt", "dpt_hybrid-midas.safetensors"),
            revision=ANNOTATORS_COMMIT,
            sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
            size=492_757_791,
        ),
        DPT_HYBRID,
        auto_dtypes=(torch.float32,),  # float16 is off by 5 % at random weights, ten times as much as in the others
    ),
    _spec(
        "dpt-large",
        _release(
            "v3/dpt_large_384.pt",
            aliases=("dpt_large-midas-2f21e586.pt",),
            sha256="2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69",
            size=1_376_378_527,
        ),
        DPT_LARGE,
    ),
    _spec(
        "v2.1-small",
        _release(
            "v2_1/midas_v21_small_256.pt",
            aliases=("midas_v21_small-70d6b9c8.pt",),
            sha256="70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca",
            size=85_761_505,
        ),
        MIDAS_SMALL,
        SMALL_RESIZING,
        default_size=256,
        auto_dtypes=(torch.float32,),
    ),
    _spec(
        "swin2-tiny",
        _release("v3_1/dpt_swin2_tiny_256.pt", approximate_size=170_000_000),
        DPT_SWIN2_TINY,
        SWIN2_RESIZING,
        default_size=256,
    ),
    _spec("beit-large-512", _release("v3_1/dpt_beit_large_512.pt", approximate_size=1_580_000_000), DPT_BEIT_LARGE, default_size=512),
)
