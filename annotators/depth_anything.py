"""Depth Anything, versions 1 and 2: disparity from one picture, or metres from the networks trained for that.

The whole family, version 3 and the metric form of version 1 included, runs on one transformer (`vit`) and one head (`dpt`) of this pack:
that is less code than adapting transformers' classes (whose position embedding differs from the authors' at all sizes but 518 x 518, and
which have no version 3), and it needs no library but torch.

Source:
    Yang et al., "Depth Anything" (2024) and "Depth Anything V2" (2024); code LiheYoung/Depth-Anything, DepthAnything/Depth-Anything-V2.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import IMAGENET_MEAN, IMAGENET_STD, Annotator, CheckpointError, ModelSpec, StateDict, checkpoint_mismatch
from .dpt import DptConfig, DptHead
from .resizing import Fit, Resizing, cubic
from .vit import VisionTransformer, VitConfig, hub_to_official

logger = logging.getLogger(__name__)

# A relative network's disparity is 0 only where it sees nothing near, a metric one's logits are mostly negative, which comes out as 0.
_SUSPICIOUS_SHARE = 0.75


@dataclass(frozen=True)
class DepthAnythingConfig:
    """An architecture of the family.

    Attributes:
        vit: The transformer.
        dpt: The head.
        max_depth: Metres that the metric networks end at; None for disparity.
    """

    vit: VitConfig
    dpt: DptConfig
    max_depth: float | None = None


RESIZING = Resizing(Fit.LOWER_BOUND, resample=cubic)

_LAST_OF_12, _SPREAD_OF_12 = (8, 9, 10, 11), (2, 5, 8, 11)
_DPT_SMALL = DptConfig((48, 96, 192, 384), 64)
_DPT_BASE = DptConfig((96, 192, 384, 768), 128)
_DPT_LARGE = DptConfig((256, 512, 1024, 1024), 256)

V1_SMALL = DepthAnythingConfig(VitConfig(384, 12, 6, _LAST_OF_12), _DPT_SMALL)
V1_BASE = DepthAnythingConfig(VitConfig(768, 12, 12, _LAST_OF_12), _DPT_BASE)
V1_LARGE = DepthAnythingConfig(VitConfig(1024, 24, 16, (20, 21, 22, 23)), _DPT_LARGE)
V2_SMALL = DepthAnythingConfig(VitConfig(384, 12, 6, _SPREAD_OF_12), _DPT_SMALL)
V2_BASE = DepthAnythingConfig(VitConfig(768, 12, 12, _SPREAD_OF_12), _DPT_BASE)
V2_LARGE = DepthAnythingConfig(VitConfig(1024, 24, 16, (4, 11, 17, 23)), _DPT_LARGE)
V2_GIANT = DepthAnythingConfig(VitConfig(1536, 40, 24, (9, 19, 29, 39), swiglu=True), DptConfig((1536, 1536, 1536, 1536), 384))


class DepthAnything(nn.Module):
    """Transformer and head under the names of the official checkpoints.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 14. Output (B, 1, H, W) float32, before
        any activation.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(vit)
        self.depth_head = DptHead(vit.channels, dpt)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for what `DptHead.set_dtype` leaves in float32."""
        self.pretrained.to(dtype)
        self.depth_head.set_dtype(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The head's output for normalised pictures; see the class."""
        maps, _ = self.pretrained(x)
        return self.depth_head(maps, x.shape[-2], x.shape[-1])


class DinoAnnotator(Annotator):
    """What all annotators on DINOv2 share: what their files' names say, and ImageNet's normalisation."""

    bytes_per_pixel = 2200
    auto_dtypes = (torch.float16,)

    @classmethod
    def doubt(cls, spec: ModelSpec, path: str) -> str | None:
        """See `Annotator.doubt`."""
        return doubt(spec, path)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pictures in [0, 1] as the network takes them, in its dtype."""
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))
        dtype = next(self.network.parameters()).dtype
        return ((pixels - mean) / std).to(dtype).contiguous(memory_format=torch.channels_last)


class DepthAnythingAnnotator(DinoAnnotator):
    """Depth Anything V1 and V2, relative and metric.

    Convention:
        Relative networks: disparity, large = near, unknown scale and shift, never negative. Metric networks: metres, at most
        `max_depth` of their config.
    """

    _warned = False

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> DepthAnythingAnnotator:
        """See `Annotator.build`. Takes the authors' names and those of the Hugging Face conversions."""
        with torch.device("meta"):
            network = DepthAnything(spec.config.vit, spec.config.dpt)
        fill(network, official_names(states["network"]), spec)
        network.set_dtype(dtype)
        return cls(spec, network)

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        logits = self.network(self.normalised(pixels)).contiguous()
        max_depth = self.spec.config.max_depth
        if max_depth is None:
            depth, quantity = F.relu(logits), Quantity.DISPARITY
            suspicious = logits <= 0
        else:
            depth, quantity = logits.sigmoid() * max_depth, Quantity.METRIC_DEPTH
            suspicious = depth > 0.999 * max_depth
        if not self._warned and suspicious.float().mean() > _SUSPICIOUS_SHARE:
            self._warned = True
            other, sign = ("metric", "nothing near") if max_depth is None else ("relative", f"all at {max_depth:g} m")
            logger.warning(
                "%s sees %s in most of the picture: if that is wrong, its weights file is of a %s model, whose tensors look the same",
                self.spec.id,
                sign,
                other,
            )
        return Estimate(depth=depth, quantity=quantity)


_HUB_NECK = (
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
    (r"^neck\.convs\.(\d)\.", lambda match: f"depth_head.scratch.layer{int(match[1]) + 1}_rn."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.", lambda match: f"depth_head.scratch.refinenet{4 - int(match[1])}."),
    (r"(refinenet\d)\.projection\.", r"\1.out_conv."),
    (r"(refinenet\d)\.residual_layer(\d)\.convolution(\d)\.", r"\1.resConfUnit\2.conv\3."),
    (r"^head\.conv1\.", "depth_head.scratch.output_conv1."),
    (r"^head\.conv2\.", "depth_head.scratch.output_conv2.0."),
    (r"^head\.conv3\.", "depth_head.scratch.output_conv2.2."),
)
# Parameters that training or an unused path left in the files
_UNUSED = re.compile(r"(^|\.)pretrained\.mask_token$|\.scratch\.refinenet4\.resConfUnit1\.")


def official_names(state: StateDict) -> dict[str, Tensor]:
    """A state dict of V1 or V2 under the authors' names, whether it has them or transformers', without what is never used."""
    renamed: dict[str, Tensor] = {}
    for key, value in hub_to_official(state).items():
        for pattern, replacement in _HUB_NECK:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return without_unused(renamed)


def without_unused(state: StateDict) -> dict[str, Tensor]:
    """The state dict without the parameters that official files hold and no network of the family uses."""
    return {key: value for key, value in state.items() if not _UNUSED.search(key)}


def fill(network: nn.Module, state: StateDict, spec: ModelSpec) -> None:
    """Gives a network of the family, built on the meta device, the tensors of a state dict.

    Raises:
        CheckpointError: They are not exactly the network's; the message names the first that differ.
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"not a checkpoint of {spec.id}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it


def doubt(spec: ModelSpec, path: str) -> str | None:
    """What in a file's name contradicts the model it is to be loaded as, where their tensors do not tell.

    V1 and V2, relative, indoor and outdoor networks of one size have the same tensors; so have DA3's mono and metric ones.

    Args:
        spec: A model of the Depth Anything family.
        path: The file's name or path; its folders count where the name says nothing ("model.safetensors").

    Returns:
        A sentence for a warning; None where nothing contradicts.
    """
    expected = _claims(spec.file.name)
    parts = [part for part in reversed(PurePath(path.replace("\\", "/")).parts) if _squeezed(part) != "depthanything"]
    found = next((claims for part in parts if (claims := _claims(part))), {})
    wrong = [f"{found[kind]} instead of {expected[kind]}" for kind in found if found[kind] != expected.get(kind)]
    if not wrong:
        return None
    return (
        f"the name of {path} says {' and '.join(wrong)}: the tensors of {spec.id} have the same names and shapes, so it loads, "
        "but the depth is wrong unless the file was misnamed. Choose the model that the file is of"
    )


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _claims(name: str) -> dict[str, str]:
    """What a name says of version and kind; nothing if it is not of this family."""
    text = _squeezed(name)
    versions = re.findall(r"depthanythingv?([123](?!\d))|depthanything()|(?:^|depthanything)da(3)", text)
    if not versions:
        return {}
    version = "".join(versions[-1]) or "1"
    kind = "metric" if "metric" in text else "mono" if "mono" in text else "relative"
    if version != "3" and kind == "metric":
        indoor, outdoor = re.search("indoor|hypersim|nyu", text), re.search("outdoor|kitti", text)
        kind = "metric indoor" if indoor else "metric outdoor" if outdoor else kind
    return {"version": f"version {version}", "kind": kind}
