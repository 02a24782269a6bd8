"""BAE: the published file."""

from __future__ import annotations

from ...geometry.kinds import Axes
from .base import ModelSpec, WeightFile
from .midas import ANNOTATORS_COMMIT

SPECS = (
    ModelSpec(
        id="bae-normal",
        family="bae",
        files=(
            WeightFile(
                "scannet.pt",
                repo_id="lllyasviel/Annotators",
                revision=ANNOTATORS_COMMIT,
                sha256="03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209",
                size=290_767_728,
            ),
        ),
        licence="other (code MIT, trained on ScanNet)",
        licence_url="https://github.com/baegwangbin/surface_normal_uncertainty",
        commercial="unclear",
        axes=Axes.SCANNET,
        default_size=480,  # the authors' test.py sees 640 x 480
    ),
)
