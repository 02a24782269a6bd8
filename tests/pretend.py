"""Stand-ins for networks, families and loaded models."""

from pathlib import Path

import torch
from torch import nn

from depth_normal.annotators.base import Annotator
from depth_normal.annotators.registry import FAMILIES, MODELS, find_spec
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader import Model
from depth_normal.model_loader.inference.network import LoadedNetwork


class Says(nn.Module):
    """A network that gives what `answer` makes of its inputs."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.unused = answer, nn.Parameter(torch.zeros(1))

    def forward(self, *inputs, **options):
        return self.answer(*inputs, **options)


class StandIn(Annotator):
    """A family whose network's output is its disparity."""

    @classmethod
    def build(cls, spec, states, dtype):
        raise NotImplementedError

    def infer_resized(self, pixels, request=None):
        return Estimate(depth=self.network(pixels), quantity=Quantity.DISPARITY)


def stand_in(answer=lambda pixels: pixels[:, :1], dtype=torch.float32, **changes):
    """A `StandIn` whose network gives the first channel that it sees, or `answer`; `changes` are its spec's."""
    spec = ModelSpec("stand-in", "test", (WeightFile("s.pt"),), "MIT", Quantity.DISPARITY, **changes)
    return StandIn(spec, Says(answer).to(dtype))


class Pretend:
    """Gives the estimate that it is told, and notes how it was asked. Put in place of `load_model`, it gives itself.

    Attributes:
        found: The estimate.
        images: What it saw the last time.
        asked: What `load_model` was asked: (model, precision).
        sizes, shapes, fov, options, resizing: What was asked of the model: the network's size and the images' shape each time, the rest
            the last time.
    """

    def __init__(self, found):
        self.found, self.asked, self.sizes, self.shapes = found, [], [], []
        self.fov = self.options = self.resizing = self.images = None

    def __call__(self, model, precision, _advice):
        self.asked.append((model, precision))
        self.spec = MODELS[model]
        return self

    def with_resizing(self, resizing):
        self.resizing = resizing
        return self

    def estimates(self, images, size, progress, *, fov=0.0, options=None, refine=None):
        self.sizes.append(size)
        self.shapes.append(tuple(images.shape))
        self.fov, self.options, self.images = fov, options, images
        yield self.found

    def estimate(self, *images, **options):
        (found,) = self.estimates(*images, **options)
        return found


class SameOfEach(Model):
    """A model whose network predicts the same of each image, and whose maps are resized without overshoots; `sizes` is what is asked."""

    resampling = "bilinear"

    def __init__(self, depth, quantity, model="zoedepth-nyu", **more):
        spec = find_spec(model)
        annotator = FAMILIES[spec.family](spec, nn.Identity())
        super().__init__(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), Path()))
        self.depth, self.sizes = depth, []

        def infer(request):
            self.sizes.append(request.size)
            return Estimate(depth, quantity, **more).expanded(len(request.images))

        annotator.infer = infer
