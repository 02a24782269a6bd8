"""The declared kind of a depth file that does not state it."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry.estimate import Estimate, Quantity
from ..geometry.files.values import FileValues
from ..geometry.images.depth_image import DepthCoding, depth_map_to_estimate
from ..options.map_images import NEAR


@dataclass(frozen=True)
class DepthKind:
    """The options --quantity, --channel and --depth-near.

    Attributes:
        quantity: The kind of depth if the file does not state it; None = grey levels of disparity.
        channel: As `read_values`.
        near: The near end of grey levels, of `NEAR`.
    """

    quantity: Quantity | None = None
    channel: str | None = None
    near: str = NEAR[0]

    def as_record(self) -> list[str | None]:
        """The options, JSON-serialisable."""
        return [self.quantity and self.quantity.value, self.channel, self.near]

    def estimate(self, values: FileValues, name: str, if_normals: str = "a normal map is named behind --normal-map") -> Estimate:
        """The estimate of a --depth file: of the kind that it or --quantity states, else grey levels of disparity.

        Args:
            values: The file's content.
            if_normals: As `DepthCoding`.

        Raises:
            ValueError: As `depth_map_to_estimate`.
        """
        quantity = values.quantity or self.quantity
        if values.coded and quantity is Quantity.RELATIVE_DEPTH:
            meaning = DepthCoding(NEAR[1], "depth", name=name)
        else:
            meaning = DepthCoding(
                self.near,
                quantity=quantity,
                name=name,
                if_normals=if_normals,
                if_metres="add --quantity metric-depth",
                if_levels="leave out --quantity metric-depth (white = near), name relative-depth (white = far), or save metres as floats",
                may_be_levels=values.coded,
            )
        return depth_map_to_estimate(values.planes, meaning, values.known)
