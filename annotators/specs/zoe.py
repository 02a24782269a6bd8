"""ZoeDepth: architectures and published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...geometry.kinds import Quantity
from ..preprocessing.kernels import linear_to_corners
from ..preprocessing.resizing import Fit, Resizing
from .base import ModelSpec, WeightFile
from .midas import ANNOTATORS_COMMIT, DPT_BEIT_LARGE


@dataclass(frozen=True)
class ZoeConfig:
    """An architecture of ZoeDepth.

    Attributes:
        bin_centres: "softplus" (unbounded) or "normed" (between the ranges' ends).
        ranges: Name and greatest depth in metres of each kind of scene.
        backbone: Keyword arguments of transformers' BeitConfig.
        neck: Channels of the neck's four levels.
        features: Channels of the fusion path.
        frame: Height and width that images are fitted to.
    """

    bin_centres: str
    ranges: tuple[tuple[str, float], ...]
    backbone: Mapping[str, Any]
    neck: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    frame: tuple[int, int] = (384, 512)


_BEIT_LARGE_384 = {**(DPT_BEIT_LARGE.backbone_config or {}), "image_size": 384}
ZOE_NYU = ZoeConfig("softplus", (("nyu", 10.0),), _BEIT_LARGE_384)
# 80 m as in the authors' evaluation; their default, and the Hugging Face configuration, cut off everything beyond 10 m
ZOE_KITTI = ZoeConfig("normed", (("kitti", 80.0),), _BEIT_LARGE_384, frame=(384, 768))
ZOE_NYU_KITTI = ZoeConfig("softplus", (("nyu", 10.0), ("kitti", 80.0)), _BEIT_LARGE_384)


def resizing(config: ZoeConfig) -> Resizing:
    """The authors' resizing of images for the network."""
    return Resizing(Fit.MINIMAL, config.frame[1] / config.frame[0], linear_to_corners)


_RELEASE = "https://github.com/isl-org/ZoeDepth/releases/download/v1.0"


def _spec(name: str, file: WeightFile, config: ZoeConfig) -> ModelSpec:
    return ModelSpec(
        id=f"zoedepth-{name}",
        family="zoedepth",
        files=(file,),
        licence="MIT",
        licence_url="https://github.com/isl-org/ZoeDepth",  # also of the file that lies in lllyasviel/Annotators, tagged "other"
        quantity=Quantity.METRIC_DEPTH,
        resizing=resizing(config),
        config=config,
    )


def _release(letters: str, sha256: str, size: int) -> WeightFile:
    filename = f"ZoeD_M12_{letters}.pt"
    return WeightFile(url=f"{_RELEASE}/{filename}", filename=filename, sha256=sha256, size=size)


SPECS = (
    _spec(
        "nyu",
        WeightFile(
            repo_id="lllyasviel/Annotators",
            filename="ZoeD_M12_N.pt",
            revision=ANNOTATORS_COMMIT,
            sha256="c97f94c4d53c5b788af46c5da0462262aebb37ea116fd70014bcbba93146c33b",
            size=1_443_406_099,
        ),
        ZOE_NYU,
    ),
    _spec("kitti", _release("K", "2f8e54f8de353c8e745ee2c8de03bf2181b7828c32211bb9efd7254a57a2df16", 1_443_421_075), ZOE_KITTI),
    _spec("nyu-kitti", _release("NK", "5d26daa15d420eb2908f1f486a37cc84e7a91751b44ce4b4d104eb8e433f9813", 1_448_574_259), ZOE_NYU_KITTI),
)
