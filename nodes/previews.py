"""Previews on the nodes of effects: the outputs of the first images of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..geometry.edges.matting import cut_out
from ..geometry.estimate import Estimate
from ..geometry.views.transparency import Layers
from .batches import mask_output, unclamped_output
from .live import MAX_IMAGES, Payload, image_payload, in_comfyui

_DARKENED = 0.25


class NodePreviews:
    """Previews of a node's outputs, collected while they are computed."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.lines: list[str] = []

    def add(self, make: Callable[[], Tensor], estimate: Estimate | None, line: str) -> None:
        """Adds a preview (1, 3, H, W), made only if there is a page to show it, and its line; only the first few images are kept."""
        if len(self.lines) < MAX_IMAGES:
            self.payloads.append(image_payload(make(), estimate, text=line) if in_comfyui() else {})
            self.lines.append(line)

    def mask(self, image: Tensor, estimate: Estimate, mask: Tensor, line: str) -> tuple[Tensor]:
        """Converts a mask to the node's output; its preview is the image with the rest darkened."""
        self.add(lambda: image * (_DARKENED + (1 - _DARKENED) * mask), estimate, line)
        return (mask_output(mask),)

    def cutout(
        self,
        layer: Layers,
        estimate: Estimate | None,
        mask: Tensor,
        line: str,
        edge: float,
        decontaminate: bool,
    ) -> tuple[Tensor, Tensor]:
        """Makes the node's cut-out and mask; the preview is on grey. Transparent pixels of the image stay transparent."""
        colour, alpha = cut_out(layer.colours.to(mask), mask, edge, decontaminate)
        alpha = alpha if layer.alpha is None else alpha * layer.alpha.to(alpha)
        self.add(lambda: torch.lerp(torch.full_like(colour, 0.5), colour, alpha), estimate, line)
        whole = unclamped_output(torch.cat((colour, alpha), 1))
        return whole, mask_output(alpha)
