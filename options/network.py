"""How commands run a model on images."""

from __future__ import annotations

from dataclasses import dataclass

from .estimate import AUTO, AUTO_RUNTIME, DEVICE_CHOICES, MAX_REFINE_STEPS, REFINE_STEPS, RUNTIME_CHOICES, precision
from .fields import Options, choice, switch, typed, whole

DEVICE_WORDS = f"{', '.join(DEVICE_CHOICES)}, or cuda:N for the GPU of that number, from 0"
"""The accepted values of --device."""

RUNTIME = "What runs the network (docs/runtimes.md); a runtime that fails is replaced by torch"


@dataclass(frozen=True)
class DeviceOptions(Options):
    """The network's device and dtype."""

    device: str = typed(AUTO, "device", f"Where the network runs: {DEVICE_WORDS}. auto: the GPU where there is one.", metavar="NAME")
    dtype: str = precision()


@dataclass(frozen=True)
class NetworkOptions(DeviceOptions):
    """How a model runs on an image."""

    size: int | None = typed(
        None,
        "positive",
        "Side of the network's input in pixels, as its authors count it; less is faster. MoGe-2: 840 is its resolution level 9, 485 "
        "level 0.",
        metavar="N",
        otherwise="theirs",
    )
    tiles: int | str | None = typed(
        None,
        "tiles",
        "More detail in a large image: run on the whole image and on overlapping tiles of it; N along the longer side, or auto (tiles of "
        "about the network's own size, at most 4).",
        metavar="N",
    )
    refine: bool | None = switch(
        None,
        "Move the edges of depth and normals to the edges of the image (docs/large.md); by default tiny makes depth of images so by a "
        "network of its own, but not for `effect` and `texture`; --no-refine gives its plain map.",
    )
    refine_steps: int | None = whole(
        None, 0, MAX_REFINE_STEPS, "How often MoGe-3 refines its depth; 0: not at all, as MoGe-2.", metavar="N", otherwise=f"{REFINE_STEPS}"
    )
    fov: float = typed(
        0.0,
        "degrees",
        "Field of view of the image's longer side, where the camera is known. Depth Anything 3 and Metric3D need it for correct metres, "
        "meshes and vr180 for their shape.",
        metavar="DEGREES",
        otherwise="that of the model or file, if any",
    )
    runtime: str = choice(
        RUNTIME_CHOICES,
        f"{RUNTIME}; auto: the fastest with the same maps that `bench --keep` measured here, else torch; fast: also with "
        "slightly other maps.",
        AUTO_RUNTIME,
    )
