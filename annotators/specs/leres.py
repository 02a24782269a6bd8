"""LeReS and LeReS++: architectures and published files."""

from __future__ import annotations

from dataclasses import replace

from ...geometry.kinds import Quantity
from ..networks.configs import BoostConfig, LeresConfig
from ..preprocessing.kernels import linear
from ..preprocessing.resizing import Fit, Resizing
from .base import ModelSpec, WeightFile
from .midas import ANNOTATORS_COMMIT

LICENCE_URL = "https://github.com/aim-uofa/AdelaiDepth/blob/main/LeReS/LICENSE"

_DEPTH = WeightFile(
    repo_id="lllyasviel/Annotators",
    filename="res101.pth",
    revision=ANNOTATORS_COMMIT,
    sha256="1d696b2ef3e8336b057d0c15bc82d2fecef821bfebe5ef9d7671a5ec5dde520b",
    size=530_760_553,
)
_MERGE = WeightFile(
    repo_id="lllyasviel/Annotators",
    filename="latest_net_G.pth",
    revision=ANNOTATORS_COMMIT,
    sha256="50ec735d74ed6499562d898f41b49343e521808b8dae589aa3c2f5c9ac9f7462",
    approximate_size=318_268_000,
    role="merge",
)

SPECS = (
    ModelSpec(
        id="leres",
        family="leres",
        files=(_DEPTH,),
        licence="Adobe Research (non-commercial)",
        licence_url=LICENCE_URL,
        commercial="no",
        quantity=Quantity.RELATIVE_DEPTH,
        resizing=Resizing(Fit.STRETCHED, resample=linear),
        default_size=448,
        config=LeresConfig(),
    ),
)
BOOST_SPECS = (
    ModelSpec(
        id="leres-boost",
        family="leres-boost",
        files=(replace(_DEPTH, role="depth"), _MERGE),
        licence="Adobe Research (non-commercial); academic use only",
        licence_url=LICENCE_URL,
        commercial="no",
        quantity=Quantity.RELATIVE_DEPTH,
        default_size=1024,
        config=BoostConfig(),
    ),
)
