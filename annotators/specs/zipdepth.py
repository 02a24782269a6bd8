"""ZipDepth: architectures and published files."""

from __future__ import annotations

from ...geometry.kinds import Quantity
from ..networks.configs import ZipDepthConfig
from ..preprocessing.kernels import linear
from ..preprocessing.resizing import Fit, Resizing
from .base import ModelSpec, WeightFile

_REPOSITORY = "https://github.com/fabiotosi92/ZipDepth"
_COMMIT = "a302e5437bc58f15c4efd41d3e8222bf24f7d470"


def _spec(name: str, config: ZipDepthConfig, sha256: str, size: int) -> ModelSpec:
    filename = f"zipdepth_{name.replace('-', '_')}.pth"
    return ModelSpec(
        id=f"zipdepth-{name}",
        family="zipdepth",
        files=(WeightFile(filename, url=f"{_REPOSITORY}/raw/{_COMMIT}/checkpoints/{filename}", sha256=sha256, size=size),),
        licence="MIT",
        licence_url=_REPOSITORY,
        quantity=Quantity.DISPARITY,
        resizing=Resizing(Fit.LOWER_BOUND, resample=linear),
        config=config,
    )


# The authors state neither length nor sha256. These are those that independent projects read from the files at this commit.
SPECS = (
    _spec("base", ZipDepthConfig(), "a55910bb0b99c8c5e641cb9206e810b269690ad94e8a2ef08c827c4679391a65", 27_298_978),
    _spec("base-npu", ZipDepthConfig(convex=False), "627c04fda584133ead4310074884a4a037061b4c01ba86e73e492ea30fab570d", 27_295_474),
)
