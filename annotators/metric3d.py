"""Metric3D v2: metres and normals from one picture.

Source:
    Hu et al., "Metric3D v2: A Versatile Monocular Geometric Foundation Model" (2024), code YvanYin/Metric3D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.camera import DEFAULT_FOV, intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Axes, Estimate, Quantity
from ..utils import round_to_multiple
from .base import Annotator, ModelSpec, fill
from .graph import Graph, normals_output
from .kernels import linear
from .networks.metric3d import Metric3d
from .networks.names import StateDict
from .resizing import Inside
from .steps import Metadata, Pad, Resize, crop, limit_depth, scale_by_focal_length

CANONICAL_FOCAL_LENGTH = 1000.0
"""Focal length in pixels, at the network's size, at which the network's output is in metres."""
MAX_DEPTH = 300.0
"""Metres at which the authors end."""
_ASPECT = 38 / 22
_PADDING = (124 / 255, 116 / 255, 104 / 255)  # ImageNet's mean, rounded as in the authors' pictures of bytes


class Metric3dAnnotator(Annotator):
    """Metric3D v2.

    Its `size` is the height of the frame that the network sees: 616 x 1064 pixels, in the authors' words the only one that the networks
    were trained for. Every picture is fitted into it, aspect kept, and the rest is filled with grey; a portrait fills a third to a half.

    Convention:
        Depth in metres for a camera whose longer side spans `geometry.camera.DEFAULT_FOV`, which the estimate's intrinsics say; where the
        field of view is given, metres for that: they are proportional to the focal length. Normals in OPENCV axes. Confidence is the
        depth's: 1 less the relative error that the network expects.
    """

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> Metric3dAnnotator:
        """See `Annotator.build`. Takes the authors' names."""
        with torch.device("meta"):
            network = Metric3d(spec.config)
        fill(network, Metric3d.official_names(states["network"]), f"not a checkpoint of {spec.id}")
        network.float().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
        network.set_dtype(dtype)
        return cls(spec, network)

    @classmethod
    def knows_camera(cls, spec: ModelSpec) -> bool:
        """See `Annotator.knows_camera`: a usual one."""
        return True

    def _preprocess_steps(self, size: int) -> tuple[Resize, Pad]:
        """See `Annotator.preprocess_steps`: the image is fitted into the frame, and the mean colour of ImageNet fills the rest."""
        frame = round_to_multiple(size, self.spec.multiple_of), round_to_multiple(size * _ASPECT, self.spec.multiple_of)
        return Resize(Inside(*frame), linear), Pad(_PADDING, *frame)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`. What the network says of the frame's filled part is cut away."""
        height, width = images.shape[-2:]
        seen = self.predict(self.preprocess(images, size))
        resize, pad = self.preprocess_steps(size or self.spec.default_size)
        assert isinstance(resize, Resize) and isinstance(resize.rule, Inside) and isinstance(pad, Pad)
        rows, columns = resize.size(height, width)
        left, _, top, _ = pad.margins(rows, columns)
        window = (..., slice(top, top + rows), slice(left, left + columns))
        part = replace(seen, **{name: value[window].contiguous() for name, value in seen.maps.items()})
        camera = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=len(images))
        metres = (camera[:, 0, 0] * (resize.rule.scale(height, width) / CANONICAL_FOCAL_LENGTH)).to(part.device)
        intrinsics = resize_intrinsics(camera, (height, width), (rows, columns)).to(part.device)
        assert part.depth is not None
        return replace(part, depth=part.depth * metres[:, None, None, None], intrinsics=intrinsics)

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`. Metres are those of the canonical camera."""
        depth, confidence, normals = self.outputs(self.normalised(pixels))
        return Estimate(depth, Quantity.METRIC_DEPTH, normals=normals, axes=Axes.OPENCV, confidence=confidence)

    def network_outputs(self, given: Tensor, numbers: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Annotator.network_outputs`."""
        return self.network(given)[:3]

    def postprocess_metadata(self) -> Metadata:
        """See `Annotator.postprocess_metadata`."""
        scale = scale_by_focal_length(DEFAULT_FOV, CANONICAL_FOCAL_LENGTH, "image")
        return [crop(), scale, limit_depth(most=MAX_DEPTH), *super().postprocess_metadata()]

    def graph(self) -> Graph:
        """See `Annotator.graph`."""
        depth = f"metres along the optical axis for a focal length of {CANONICAL_FOCAL_LENGTH:g} pixels of the input"
        confidence = "of the depth: 1 less the relative error that the network expects"
        return self._graph({"metric_depth": depth, "confidence": confidence, **normals_output(Axes.OPENCV)})

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """See `Annotator.for_camera`. Metres are proportional to the camera's focal length."""
        assert estimate.depth is not None and estimate.intrinsics is not None
        ratio = intrinsics[:, 0, 0] / estimate.intrinsics[:, 0, 0]
        return replace(super().for_camera(estimate, intrinsics), depth=estimate.depth * ratio[:, None, None, None])

    def _finished(self, estimate: Estimate, height: int, width: int, fov: float) -> Estimate:
        found = super()._finished(estimate, height, width, fov)
        assert found.depth is not None
        return replace(found, depth=found.depth.clamp(max=MAX_DEPTH))
