"""Options of an inference, validated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...geometry.edges.refine import Derive
from ...options.estimate import check_tiles


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The options of an inference; sources and stages read them.

    Attributes:
        size: Side in pixels of the frame that the network's input is fitted to (the spec's `resizing`); None = the model's default.
        fov: Degrees that the longer side of the images spans, between 0 and 180 exclusive; 0 = unknown.
        family_options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
        tiles: Overlapping tiles along the longer side, or "auto"; 0 = none. Also accepted: None, 1 and "off", which mean 0.
        derive: Adds to an estimate what follows from it, such as normals, before the depth is enlarged; None = nothing.
        refine: Whether depth edges and normals are aligned with the images' edges. None = as the model does by default, which is by its own
            network for it where it has one (tiny); False = not even so.
        normals: Whether a model that gives depth and normals shall give the normals of a video too.
        at_network_size: Whether estimates of a video stay at the network's size.
        network_threads: Above 0, the network estimates the next frames of a video in a thread of its own while those before are aligned and
            used, with so many of torch's threads.

    Raises:
        ValueError: A field of view or a number of tiles that is out of range.
    """

    size: int | None = None
    fov: float = 0.0
    family_options: Any = None
    tiles: int | str | None = 0
    derive: Derive | None = None
    refine: bool | None = None
    normals: bool = True
    at_network_size: bool = False
    network_threads: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiles", check_tiles(self.tiles))
        if self.fov and not 0 < self.fov < 180:
            raise ValueError(f"the field of view is {self.fov} degrees; expected between 0 and 180")
