"""The old pack's DSINE node: same id and widgets; a correct camera, and no black border."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..annotators.dsine import MAX_ITERATIONS, DsineOptions
from ..geometry.checks import check_choice
from ..geometry.conventions import NormalMapCoding, encode_normal_map
from ..geometry.estimate import Estimate
from ..model_loader import load_model
from ..model_loader.host import progress_bar
from ..utils import to_pictures
from .batches import to_output
from .checks import check_camera, check_short_side
from .legacy import LEGACY_CATEGORY
from .sockets import Inputs
from .widgets import CODING_READERS, choice_widget, count_widget, image_input, number_widget, precision_widget, short_side_widget

MODEL = "dsine"
DEFAULT_FOV, OLD_MAX_FOV = 60.0, 365.0
DEFAULT_ITERATIONS = 5
CORRECT, AS_OLD = CAMERAS = ("correct", "as the old node")
OLD_CODING = NormalMapCoding.CONTROLNET_NORMALBAE


class DsineNormalMap:
    """DSINE's normals as a picture."""

    NODE_ID = "DSINE-NormalMapPreprocessor"
    DISPLAY_NAME = "DSINE Normal Map"
    DESCRIPTION = (
        "Normal map from DSINE, as control_v11p_sd15_normalbae expects it. Licence of Imperial College London: for research only, "
        "not for commercial use."
    )
    CATEGORY, FUNCTION = LEGACY_CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("Directions as colours, at the size that resolution says.",)
    SEARCH_ALIASES: ClassVar = ["normal map", "dsine", "controlnet normal", "normalbae", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        fov = "Field of view of the picture's longer side in degrees, at most 175. 0: not known, taken as 60."
        iterations = "Passes in which neighbours correct each other's normals. DSINE was trained with 5."
        size = "Short side of the result in pixels, aspect kept. The network runs at this size too; it was trained at about 480."
        camera = "correct: the true one. as the old node: with its mistakes (focal length, middle), for pictures like the old ones."
        return {
            "required": {"image": image_input()},
            "optional": {
                "fov": number_widget(DEFAULT_FOV, 0.0, OLD_MAX_FOV, 0.01, fov),
                "iterations": count_widget(DEFAULT_ITERATIONS, 1, MAX_ITERATIONS, iterations),
                "resolution": short_side_widget(size),
                "camera": choice_widget(CAMERAS, camera, advanced=True),
                "precision": precision_widget(),
                "coding": choice_widget(_codings(), f"How the vectors are stored. {CODING_READERS}"),
            },
        }

    def execute(
        self,
        image: Tensor,
        fov: float = DEFAULT_FOV,
        iterations: int = DEFAULT_ITERATIONS,
        resolution: int = 512,
        camera: str = CORRECT,
        precision: str = "auto",
        coding: str = OLD_CODING.value,
    ) -> tuple[Tensor]:
        """One normal map a picture."""
        check_camera(fov)
        check_short_side(resolution)
        check_choice("camera", camera, CAMERAS)
        check_choice("coding", coding, _codings())
        options = DsineOptions(iterations, old_camera=camera == AS_OLD)
        pictures = to_pictures(image)
        progress = progress_bar(pictures.shape[0])
        estimates = load_model(MODEL, precision).estimates(pictures, resolution, progress, fov=fov, options=options)
        # the network runs at the result's size: nothing is resized
        return (torch.cat([to_output(_render(estimate, coding)) for estimate in estimates]),)


def _codings() -> list[str]:
    others = [coding.value for coding in NormalMapCoding if coding not in (OLD_CODING, NormalMapCoding.SCANNET)]
    return [OLD_CODING.value, *others]


def _render(estimate: Estimate, coding: str) -> Tensor:
    assert estimate.normals is not None and estimate.axes is not None
    return encode_normal_map(estimate.normals, NormalMapCoding(coding), source=estimate.axes)


NODES = (DsineNormalMap,)
