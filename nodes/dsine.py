"""The old pack's DSINE node, with the same id and widgets, but a correct camera and no black border."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..annotators.dsine import DsineOptions
from ..options.legacy import AS_OLD, DsineNodeOptions
from .legacy import old_inputs
from .loading import OTHER_NODE, load_model
from .normal_maps import NormalMapNode, normal_map
from .option_widgets import takes
from .widgets import Inputs


@takes(DsineNodeOptions)
class DsineNormalMap(NormalMapNode):
    """Normal maps from DSINE."""

    NODE_ID = "DSINE-NormalMapPreprocessor"
    DISPLAY_NAME = "DSINE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with DSINE, in the format of control_v11p_sd15_normalbae. Licence of "
        "Imperial College London: for research only, not for commercial use."
    )
    SEARCH_ALIASES = "normal map, dsine, controlnet normal, normalbae, surface normals"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return old_inputs(DsineNodeOptions)

    def execute(self, options: DsineNodeOptions, image: Tensor) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        own = DsineOptions(options.iterations, old_camera=options.camera == AS_OLD)
        load = partial(load_model, "dsine", options.precision, OTHER_NODE)
        return normal_map(options, image, load, at_resolution=True, fov=options.fov, of_family=own)


NODES = (DsineNormalMap,)
