"""Depth Anything 3: architectures and published files."""

from __future__ import annotations

from ...geometry.kinds import Quantity
from ..networks.configs import DptConfig, VitConfig
from .base import ModelSpec, WeightFile
from .depth_anything import DepthAnythingConfig

_LAST_ODD = (5, 7, 9, 11)
V3_SMALL = DepthAnythingConfig(
    VitConfig(384, 12, 6, _LAST_ODD, alternating_from=4, norm_eps=1e-5),
    DptConfig((48, 96, 192, 384), 64, outputs=2, positions=True),
)
V3_BASE = DepthAnythingConfig(
    VitConfig(768, 12, 12, _LAST_ODD, alternating_from=4, norm_eps=1e-5),
    DptConfig((96, 192, 384, 768), 128, outputs=2, positions=True),
)
V3_SETS_LARGE = DepthAnythingConfig(
    VitConfig(1024, 24, 16, (11, 15, 19, 23), alternating_from=8, norm_eps=1e-5),
    DptConfig((256, 512, 1024, 1024), 256, outputs=2, positions=True),
)
V3_LARGE = DepthAnythingConfig(
    VitConfig(1024, 24, 16, (4, 11, 17, 23), norm_eps=1e-5),
    DptConfig((256, 512, 1024, 1024), 256, sky=True),
)

# Of the repository, which holds all four; they came one after the other
_FIRST, _MONO = "1aaeea516f22fb2f4c7fae761c8ed470c6cf9f93", "913d1a7ab58ddbfbf94a33bf536c4fc2ff25465d"


def _spec(
    name: str, config: DepthAnythingConfig, length: int, revision: str, sha256: str | None, quantity: Quantity = Quantity.METRIC_DEPTH
) -> ModelSpec:
    file = WeightFile(
        repo_id="Comfy-Org/Depth-Anything-3",
        filename=f"geometry_estimation/depth_anything_3_{name.replace('-', '_')}.safetensors",
        revision=revision,
        sha256=sha256,
        size=length,
        folders=("geometry_estimation",),
    )
    return _entry(name, file, config, "Apache-2.0", quantity)


def _entry(name: str, file: WeightFile, config: DepthAnythingConfig, licence: str, quantity: Quantity) -> ModelSpec:
    return ModelSpec(
        id=f"depth-anything-3-{name}",
        family="depth-anything-3",
        files=(file,),
        licence=licence,
        licence_url="https://github.com/ByteDance-Seed/Depth-Anything-3",
        quantity=quantity,
        up_to_scale=config.vit.alternating_from is not None,  # trained on depth divided by its scene's size, without a shift
        multiple_of=14,
        default_size=504,
        config=config,
        knows_camera=quantity is Quantity.METRIC_DEPTH,  # estimated, or of the metric network an assumed one
    )


SPECS = (
    _spec("small", V3_SMALL, 137_254_980, _FIRST, "9c0a53d157c5b315d4c82908a43d93eeaa3a9ac3de9d15c2b4242ef46b5508ad"),
    _spec("base", V3_BASE, 541_524_124, _FIRST, "418c0d2ea857e2d1215fa51baa46833f499a62eb2400ec63d337aa20d326414f"),
    _spec(
        "mono-large",
        V3_LARGE,
        1_336_748_056,
        _MONO,
        "9b44eda5bedba5b4e125686fdb79d1db309c1b9785277576eb930f885b008f96",
        Quantity.RELATIVE_DEPTH,
    ),
    # The hub's page says Apache-2.0, the project's README that it is non-commercial: the stricter holds.
    _entry(
        "large",
        WeightFile(
            "model.safetensors",
            repo_id="depth-anything/DA3-LARGE-1.1",
            revision="0e109ae307c5982f319a67cf6f9f99ccdc0ec97c",
            sha256="739905c423cf0d6ccaf9e61a8401d82ba1ac32d7f4d3ee6dca8f92b377633f64",
            size=1_643_843_860,
            folders=("geometry_estimation",),
        ),
        V3_SETS_LARGE,
        "CC-BY-NC-4.0",
        Quantity.METRIC_DEPTH,
    ),
    _spec("metric-large", V3_LARGE, 1_336_748_056, "main", None),
)
