"""The first stage: images, independent or as views of one scene, go through the network, to depth and normals or to materials.

Resizing and the camera are the family's: `Annotator.estimate` resizes, runs the network, and applies a known field of view.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.family import Progress
from ...annotators.marigold import MarigoldMaterialsAnnotator
from ...annotators.registry import models_of_scenes
from ...geometry.estimate import Estimate
from ...geometry.textures.materials import Materials
from .network import Images, LoadedNetwork, batch_shape
from .options import InferenceOptions


def image_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None, fetched: int = 0
) -> Iterator[Estimate]:
    """The estimates of images, each independent of the others.

    Args:
        network: The network to run.
        images: The batch; each part is converted to float32 RGB on the device by itself.
        options: The options; `size`, `fov`, `family_options`, `normals` and `refine` are used.
        progress: Called with (work done, work in all), in images or in a family's passes over them.
        fetched: As of `Annotator.estimate`.

    Returns:
        Estimates of one or more images at the network's size, on its device, in order, each computed when it is asked for.
    """

    def forward(annotator: Annotator, rgb: Tensor, passes: Progress | None) -> Estimate:
        return annotator.estimate(
            rgb,
            options.size,
            fov=options.fov,
            options=options.family_options,
            progress=passes,
            normals=options.normals,
            sharp=options.refine is not False,
            fetched=fetched,
        )

    return network.batches(forward, images, options.size, progress)


def scene_estimates(network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None) -> Iterator[Estimate]:
    """The one estimate of views of a scene that does not move; they are not divided into batches.

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

    return network.batches(forward, images, options.size, progress, divisible=False)


def material_maps(network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None) -> Iterator[Materials]:
    """The materials of images, each independent of the others, by a network that predicts such.

    Raises:
        ValueError: The model gives depth or normals, and no materials.
    """
    if not isinstance(annotator := network.annotator, MarigoldMaterialsAnnotator):
        raise ValueError(f"{annotator.spec.id} gives {annotator.spec.gives}, and no materials; choose a model of materials")

    def forward(annotator: Annotator, rgb: Tensor, passes: Progress | None) -> Materials:
        assert isinstance(annotator, MarigoldMaterialsAnnotator)
        return annotator.estimate_materials(rgb, options.size, options=options.family_options, progress=passes)

    return network.batches(forward, images, options.size, progress)
