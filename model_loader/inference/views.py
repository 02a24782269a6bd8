"""A source: views of one scene, all in one batch."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.family import Progress
from ...annotators.registry import models_of_scenes
from ...geometry.estimate import Estimate
from .forward import Images, batch_estimates, batch_shape
from .network import Network
from .options import InferenceOptions


def scene_estimates(network: Network, images: Images, options: InferenceOptions, progress: Progress | None = None) -> Iterator[Estimate]:
    """The estimate of views of one scene that does not move.

    Args:
        network: What runs.
        images: The views, in any order.
        options: What is asked; of it `size` and `fov`.
        progress: As `batch_estimates`.

    Returns:
        One estimate of all views at the network's size, on its device.

    Raises:
        ValueError: The model estimates each image independently, or there are more views than any machine holds.
        MemoryError: The views do not fit in one batch.
    """
    annotator = network.annotator
    if not annotator.sees_scenes(annotator.spec):
        raise ValueError(
            f"{annotator.spec.id} estimates each image independently; models that take a batch as views of one scene: "
            + ", ".join(models_of_scenes())
        )
    annotator.check_scene(*batch_shape(images), options.size)

    def forward(annotator: Annotator, rgb: Tensor, _: Progress | None) -> Estimate:
        return annotator.estimate_scene(rgb, options.size, fov=options.fov)

    return batch_estimates(network, images, options, forward, progress, divisible=False)
