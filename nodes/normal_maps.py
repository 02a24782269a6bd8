"""The old pack's nodes of networks that give normals themselves: same ids, widgets, sizes and looks."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.conventions import NormalMapCoding
from ..geometry.estimate import Estimate
from ..geometry.render import normals_to_image
from ..model_loader import Model, load_model
from .legacy import LEGACY_CATEGORY, annotate
from .sockets import Inputs
from .widgets import CODING_READERS, CODINGS, coding_widget, count_widget, image_input, precision_widget, short_side_widget

MAX_NETWORK_SIZE = 4096
OLD_CODING = NormalMapCoding.CONTROLNET_NORMALBAE.value


class _NormalMap:
    """What all of them have in common."""

    CATEGORY, FUNCTION = LEGACY_CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("Unit vectors as colours, coded as chosen: short side = resolution, aspect kept.",)


def _inputs(before: dict[str, Any], network_size: str) -> Inputs:
    """The old widgets, which graphs store by position, and behind `resolution` the new ones; `network_size` is the tooltip of one."""
    coding = f"How R, G and B hold the vectors; the default is the old node's. {CODING_READERS}"
    return {
        "required": {"image": image_input()},
        "optional": {
            **before,
            "resolution": short_side_widget(),
            "coding": coding_widget(coding, OLD_CODING),
            "network_size": count_widget(0, 0, MAX_NETWORK_SIZE, network_size, advanced=True),
            "precision": precision_widget(),
        },
    }


def _check(coding: str, network_size: int) -> None:
    """Refuses what the new widgets cannot say, before a model is loaded."""
    check_choice("coding", coding, CODINGS)
    check_range("network_size", network_size, 0, MAX_NETWORK_SIZE)


def _normal_map(image: Tensor, model: Model, resolution: int, coding: str, network_size: int | None) -> tuple[Tensor]:
    """One normal map a picture; `network_size` None = the size of the network's authors."""
    return (annotate(image, model, resolution, partial(_render, coding=NormalMapCoding(coding)), network_size),)


def _render(estimate: Estimate, coding: NormalMapCoding) -> Tensor:
    assert estimate.normals is not None
    return normals_to_image(estimate.normals, coding, estimate.axes, estimate.mask)


class BaeNormalMap(_NormalMap):
    """BAE's normals as a picture."""

    NODE_ID = "BAE-NormalMapPreprocessor"
    DISPLAY_NAME = "BAE Normal Map"
    DESCRIPTION = (
        "Normal map from BAE's network, as ControlNet 1.1's normal model (control_v11p_sd15_normalbae) was trained on. Choose another "
        "coding for Blender or a game engine. The code is MIT; whether the weights may be used commercially is unclear."
    )
    SEARCH_ALIASES: ClassVar = ["normal map", "bae", "normalbae", "controlnet normal", "surface normals", "bump"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return _inputs({}, "Short side of the picture that the network sees; 0: the resolution, as in the old node. It was trained at 480.")

    def execute(
        self, image: Tensor, resolution: int = 512, coding: str = OLD_CODING, network_size: int = 0, precision: str = "auto"
    ) -> tuple[Tensor]:
        """One normal map a picture."""
        _check(coding, network_size)
        return _normal_map(image, load_model("bae-normal", precision), resolution, coding, network_size or resolution)


NODES = (BaeNormalMap,)
