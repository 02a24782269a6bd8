"""ZoeDepth's entries in the table of models."""

from __future__ import annotations

from ..geometry.estimate import Quantity
from .base import ModelSpec, WeightFile
from .zoe import ZOE_KITTI, ZOE_NYU, ZOE_NYU_KITTI, ZoeConfig, resizing

ANNOTATORS_COMMIT = "982e7edaec38759d914a963c48c4726685de7d96"
"""Of lllyasviel/Annotators, a collection of other authors' weights."""

_RELEASE = "https://github.com/isl-org/ZoeDepth/releases/download/v1.0"


def _spec(name: str, file: WeightFile, config: ZoeConfig) -> ModelSpec:
    return ModelSpec(
        id=f"zoedepth-{name}",
        family="zoedepth",
        files=(file,),
        licence="MIT",
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
