"""Depth Anything, versions 1 and 2: disparity from one image, or metres from the networks trained for that.

All versions, 3 and the metric form of version 1 included, run on one transformer (`networks.vit`) and one head (`networks.dpt`) of this
pack. That is less code than adapting transformers' classes, which have no version 3 and embed positions otherwise than the authors at all
sizes but 518 x 518. And it needs no library but torch.

Source:
    Yang et al., "Depth Anything" (2024) and "Depth Anything V2" (2024); code LiheYoung/Depth-Anything, DepthAnything/Depth-Anything-V2.
    He et al., "Distill Any Depth" (2025); code Westlake-AGI-Lab/Distill-Any-Depth.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..geometry.estimate import Estimate
from .base import Annotator
from .family import Request
from .networks.depth_anything import DepthAnything
from .networks.published import PublishedNetwork
from .specs.base import ModelSpec

logger = logging.getLogger(__name__)

# A relative network outputs disparity 0 only where nothing is near. A metric one, run in its place, outputs mostly negative logits: all 0.
_SUSPICIOUS_SHARE = 0.75


class DinoAnnotator(Annotator):
    """The base of all families on DINOv2: it builds their networks and reads their files' names.

    Attributes:
        network_class: The network.
    """

    bytes_per_pixel = 2200
    auto_dtypes = ("float16",)
    network_class: ClassVar[type[PublishedNetwork]]

    @classmethod
    def network_of(cls, spec: ModelSpec) -> PublishedNetwork:
        return cls.network_class(spec.config.vit, spec.config.dpt)

    @classmethod
    def name_contradicts(cls, spec: ModelSpec, path: str) -> str | None:
        """See `Family.name_contradicts`. The path's folders are read where the name is a generic one ("model.safetensors").

        V1 and V2, relative, indoor and outdoor networks of one size have the same tensors; so have version 3's mono and metric ones.
        """
        expected = _claims(spec.file.name) or _claims((spec.file.repo_id or "").rsplit("/", 1)[-1])
        parts = [part for part in reversed(PurePath(path.replace("\\", "/")).parts) if _squeezed(part) != "depthanything"]
        found = next((claims for part in parts if (claims := _claims(part))), {})
        wrong = [f"{found[kind]} instead of {expected[kind]}" for kind in found if found[kind] != expected.get(kind)]
        if not wrong:
            return None
        return (
            f"the name of {path} says {' and '.join(wrong)}: the tensors of {spec.id} have the same names and shapes, so it loads, "
            "but the depth is wrong unless the file was misnamed; name the model that the file is of"
        )


class DepthAnythingAnnotator(DinoAnnotator):
    """Depth Anything V1 and V2, relative and metric, and Distill Any Depth.

    Convention:
        Relative networks: disparity, large = near, unknown scale and shift, never negative. Metric networks: metres, at most
        `max_depth` of their config.
    """

    network_class = DepthAnything
    _looked = False

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        logits, max_depth = self.network(inputs), self.spec.config.max_depth
        return (F.relu(logits) if max_depth is None else logits.sigmoid() * max_depth,)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`. Looks at the first images for depth that weights of another kind of model would give, and warns."""
        estimate = super().postprocess(outputs, request)
        if not self._looked:
            self._looked = True
            self._warn_of_other_weights(estimate)
        return estimate

    def _warn_of_other_weights(self, estimate: Estimate) -> None:
        depth, max_depth = estimate.depth, self.spec.config.max_depth
        assert depth is not None
        suspicious = depth <= 0 if max_depth is None else depth > 0.999 * max_depth
        if suspicious.float().mean() > _SUSPICIOUS_SHARE:
            other, sign = ("metric", "nothing near") if max_depth is None else ("relative", f"all at {max_depth:g} m")
            words = "%s sees %s in most of the image: if that is wrong, its weights file is of a %s model, whose tensors look the same"
            logger.warning(words, self.spec.id, sign, other)


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _claims(name: str) -> dict[str, str]:
    """Version and kind by a file's name; empty if it is not of this family."""
    text = _squeezed(name)
    if "distillanydepth" in text:
        return {"version": "Distill Any Depth", "kind": "relative"}
    versions = re.findall(r"depthanythingv?([123](?!\d))|depthanything()|(?:^|depthanything)da(3)", text)
    if not versions:
        return {}
    version = "video" if "videodepthanything" in text else "".join(versions[-1]) or "1"
    kind = "metric" if "metric" in text else "mono" if "mono" in text else "relative"
    if version != "3" and kind == "metric":
        indoor, outdoor = re.search("indoor|hypersim|nyu", text), re.search("outdoor|kitti", text)
        kind = "metric indoor" if indoor else "metric outdoor" if outdoor else kind
    return {"version": "Video Depth Anything" if version == "video" else f"version {version}", "kind": kind}
