"""A source: single images, each estimated independently of the others."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.family import Progress
from ...geometry.estimate import Estimate
from .forward import Images, batch_estimates
from .network import Network
from .options import InferenceOptions


def image_estimates(network: Network, images: Images, options: InferenceOptions, progress: Progress | None = None) -> Iterator[Estimate]:
    """The estimates of images, each independent of the others.

    Args:
        network: What runs.
        images: The batch.
        options: What is asked; of it `size`, `fov` and `family_options`.
        progress: As `batch_estimates`.

    Returns:
        Estimates as of `batch_estimates`.
    """

    def forward(annotator: Annotator, rgb: Tensor, passes: Progress | None) -> Estimate:
        return annotator.estimate(rgb, options.size, fov=options.fov, options=options.family_options, progress=passes)

    return batch_estimates(network, images, options, forward, progress)
