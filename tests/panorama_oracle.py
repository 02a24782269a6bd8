"""A model that knows the truth: its depth of each view of a panorama is traced, so that what is wrong afterwards is the merging's fault."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_normal.annotators.base import Annotator
from depth_normal.annotators.family import Request
from depth_normal.annotators.preprocessing.resizing import Fit, Resizing
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.sphere import view_rotations
from depth_normal.model_loader.inference.model import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from tests import panorama_scenes
from tests.ray_traced_scenes import Thing

SIDE = 512


class Oracle(Annotator):
    """Gives the true depth of the next views, in their order, times a scale for each, with the sky masked."""

    bytes_per_pixel = 100

    def __init__(self, spec: ModelSpec, things: list[Thing], scales: Tensor, normals: bool, turned: Tensor) -> None:
        super().__init__(spec, nn.Conv2d(3, 1, 1))
        self.things, self.scales, self.normals, self.turned, self.asked = things, scales, normals, turned, 0
        self.fovs: list[float] = []

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        assert request is not None
        self.fovs.append(request.fov)
        return Estimate.cat([self._next(pixels.shape[-2], pixels.shape[-1], request.fov) for _ in pixels])

    def _next(self, height: int, width: int, fov: float) -> Estimate:
        index = self.asked % 12
        self.asked += 1
        rotation = view_rotations()[index]
        rays = pixel_rays(intrinsics_from_fov(fov, height, width), height, width)
        length = rays.norm(dim=1, keepdim=True)
        into_scene = self.turned @ rotation.mT
        truth = panorama_scenes.traced(self.things, torch.einsum("rc,bchw->brhw", into_scene, rays / length))
        depth = torch.where(truth.valid, truth.distance / length, 1e6) * self.scales[index]
        normals = F.normalize(torch.einsum("rc,brhw->bchw", into_scene, truth.normals), dim=1) if self.normals else None
        return Estimate(depth, Quantity.METRIC_DEPTH, normals, Axes.OPENCV, truth.valid)


def oracle(
    things: list[Thing], scales: Tensor | None = None, normals: bool = False, side: int = SIDE, turned: Tensor | None = None
) -> Model:
    """A model of a scene.

    Args:
        things: The scene.
        scales: (12,), by which each view's depth is wrong; None = by nothing.
        normals: Whether it gives true normals too.
        side: Of its input in pixels.
        turned: (3, 3), from the panorama's axes to the scene's; None = they are the same.
    """
    spec = ModelSpec(
        id="oracle",
        family="tiny",
        files=(WeightFile("oracle.pt"),),
        licence="MIT",
        quantity=Quantity.METRIC_DEPTH,
        axes=Axes.OPENCV if normals else None,
        resizing=Resizing(Fit.SHORT_SIDE),
        default_size=side,
    )
    annotator = Oracle(spec, things, torch.ones(12) if scales is None else scales, normals, torch.eye(3) if turned is None else turned)
    return Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path("oracle.pt")))
