"""A source: images, independent of each other, go through a network that predicts materials; they come out at the images' own size."""

from __future__ import annotations

from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.family import Progress
from ...annotators.marigold import MarigoldMaterialsAnnotator
from ...geometry.textures.materials import Materials
from .forward import Images, batch_maps, batch_shape
from .network import ModelNetwork
from .options import InferenceOptions


def material_maps(network: ModelNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None) -> Materials:
    """The materials of images, as many in one batch as the memory holds.

    Args:
        network: The network to run.
        images: The batch.
        options: The options; `size` and `family_options` are used.
        progress: Called with (work done, work in all), in images or passes over them.

    Returns:
        Materials of B images, H x W, float32, where the images were, or on the CPU.

    Raises:
        ValueError: The model gives depth or normals, and no materials.
        MemoryError: Not even one image fits.
        ArithmeticError: The network's outputs are NaN or infinite.
    """
    annotator = network.annotator
    if not isinstance(annotator, MarigoldMaterialsAnnotator):
        raise ValueError(f"{annotator.spec.id} gives {annotator.spec.gives}, and no materials; choose a model of materials")

    def forward(annotator: Annotator, rgb: Tensor, passes: Progress | None) -> Materials:
        assert isinstance(annotator, MarigoldMaterialsAnnotator)
        return annotator.estimate_materials(rgb, options.size, options=options.family_options, progress=passes)

    total, height, width = batch_shape(images)
    parts = batch_maps(network, images, options, forward, progress, divisible=True)
    return Materials.cat((part.resized(height, width) for part in parts), total, images.device if isinstance(images, Tensor) else "cpu")
