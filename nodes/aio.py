"""The old pack's node for all preprocessors, with the same id and widgets. It runs those of depth and normals, and reports others."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..model_loader.comfy.host import has_node
from ..model_loader.weights.download import DownloadError
from ..options.legacy import ChosenNodeOptions
from .depth_maps import (
    DepthAnythingMap,
    DepthAnythingV2Map,
    DepthAnythingV2MetricMap,
    LeresDepthMap,
    MidasDepthMap,
    MidasNormalMap,
    ZoeDepthAnythingMap,
    ZoeDepthMap,
)
from .loading import OTHER_NODE, LoadsByName, advised
from .normal_maps import BaeNormalMap, DsineNormalMap, Metric3dDepthMap, Metric3dNormalMap
from .option_widgets import option_widgets, takes
from .widgets import choice_widget, image_input

SERVED = (
    *(MidasNormalMap, MidasDepthMap, ZoeDepthMap, DepthAnythingMap, ZoeDepthAnythingMap, DepthAnythingV2Map, DepthAnythingV2MetricMap),
    *(BaeNormalMap, Metric3dDepthMap, Metric3dNormalMap, LeresDepthMap, DsineNormalMap),
)
"""This pack's nodes that the old node can run."""
_SERVED: dict[str, Any] = {node.NODE_ID: node for node in SERVED}

NONE = "none"
OLD_PACK = "comfyui_controlnet_aux"

# Preprocessors of other packs, listed so that graphs that use them open.
OTHERS = (
    *("AnimeFace_SemSegPreprocessor", "AnyLineArtPreprocessor_aux", "BinaryPreprocessor", "CannyEdgePreprocessor", "ColorPreprocessor"),
    *("DensePosePreprocessor", "DWPreprocessor", "AnimalPosePreprocessor", "HEDPreprocessor", "FakeScribblePreprocessor"),
    *("LineArtPreprocessor", "AnimeLineArtPreprocessor", "LineartStandardPreprocessor", "Manga2Anime_LineArt_Preprocessor"),
    *("MediaPipe-FaceMeshPreprocessor", "MeshGraphormer-DepthMapPreprocessor", "M-LSDPreprocessor", "OneFormer-COCO-SemSegPreprocessor"),
    *("OneFormer-ADE20K-SemSegPreprocessor", "OpenposePreprocessor", "PiDiNetPreprocessor", "PyraCannyPreprocessor"),
    *("ImageLuminanceDetector", "ImageIntensityDetector", "ScribblePreprocessor", "Scribble_XDoG_Preprocessor"),
    *("Scribble_PiDiNet_Preprocessor", "SAMPreprocessor", "ShufflePreprocessor", "TEEDPreprocessor", "TilePreprocessor"),
    *("TTPlanet_TileGF_Preprocessor", "TTPlanet_TileSimple_Preprocessor", "UniFormer-SemSegPreprocessor", "SemSegPreprocessor"),
)


@takes(ChosenNodeOptions)
class AioPreprocessor(LoadsByName):
    """Runs an old node, chosen by its name, with its widgets at their defaults."""

    NODE_ID = "AIO_Preprocessor"
    DISPLAY_NAME = "AIO Aux Preprocessor"
    DESCRIPTION = (
        "Runs one of the old depth and normal nodes, chosen by its name, with its widgets at their defaults. The other preprocessors of "
        f"the list belong to the pack {OLD_PACK}; if that pack is installed, it provides this node."
    )
    CATEGORY = "ControlNet Preprocessors"
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The output of the chosen node: short side = resolution. none: the image unchanged.")}
    SEARCH_ALIASES = "controlnet preprocessor, depth map, normal map, annotator"

    INPUTS: ClassVar = {
        "required": {"image": image_input()},
        "optional": {
            "preprocessor": choice_widget(
                [NONE, *_SERVED, *(name for name in OTHERS if name not in _SERVED)],
                f"Which node to run. The first {len(_SERVED)} after none are in this pack; the others are in the pack {OLD_PACK} and are "
                "listed so that graphs that use them open.",
                NONE,
            ),
            **option_widgets(ChosenNodeOptions),
        },
    }

    @classmethod
    def VALIDATE_INPUTS(cls, preprocessor: str | None = NONE) -> bool | str:  # noqa: N802
        """Reports a choice that cannot run before anything runs; None: the choice is linked from another node."""
        return True if preprocessor in (None, NONE) or str(preprocessor) in _SERVED else _not_served(preprocessor)

    def execute(self, options: ChosenNodeOptions, image: Tensor, preprocessor: str = NONE) -> tuple[Tensor]:
        if preprocessor == NONE:
            return (image,)
        if (node := _SERVED.get(str(preprocessor))) is None:
            raise ValueError(_not_served(preprocessor))
        try:
            return node().execute(image=image, resolution=options.resolution)
        except DownloadError as error:
            raise advised(error, OTHER_NODE) from error.__cause__


def _not_served(preprocessor: Any) -> str:
    if not str(preprocessor or "").strip():
        return (
            f"choose a node in the widget preprocessor, which is empty, e.g. {SERVED[0].NODE_ID}; {NONE} gives the image unchanged. "
            "For a depth map and a normal map in one step use Depth & Normals"
        )
    return (
        f"install the pack {OLD_PACK} (by ComfyUI Manager) for {preprocessor!r}: ComfyUI-Depth-Normal has only the preprocessors for depth "
        f"and normals: {', '.join(_SERVED)}"
    )


# If two packs have the same id, ComfyUI keeps the one loaded last. The old pack runs all preprocessors, so it should win: if it was
# loaded before, this node is not registered; if later, it replaces this node.
NODES = () if has_node(AioPreprocessor.NODE_ID) else (AioPreprocessor,)
