"""Effects over the images of a batch, with their previews on the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.effects.makers import MAKERS, Made
from ..geometry.estimate import Estimate
from ..geometry.views.transparency import Layers, split_layers
from ..options.fields import Options
from .batches import for_all, join_outputs, mask_output, unclamped_output, with_progress
from .effect_inputs import check_depth_linked, chosen_skies, effect_geometry, sized_layers, with_alpha
from .live import MAX_IMAGES, Payload, image_payload, in_comfyui, shown_on_node

_DARKENED = 0.25

Part = tuple[Layers, "Estimate | None", Made]
"""What an effect made of one image, and of what."""


def effect_layers(image: Tensor, geometry: Any, depth: Tensor | None, mask: Tensor | None = None) -> Layers:
    """The layers of the images of an effect; a single image is repeated for what else there are several of."""
    return split_layers(for_all(with_alpha(image), geometry, (depth,), mask), checked=True)


def effect_of(
    name: str,
    options: Options,
    layers: Layers,
    geometry: Any,
    depth: Tensor | None,
    sky_mask: Tensor | None = None,
    find_sky: bool = True,
) -> Iterator[Part]:
    """Yields what the effect of a name makes of each image, by the depth of one of the inputs.

    Args:
        name: In `makers.MAKERS`.
        options: Of the effect.
        layers: Of all images.
        geometry, depth: The node's inputs.
        sky_mask: The same, where there is one.
        find_sky: Whether to search for the sky where it is not linked.
    """
    check_depth_linked(geometry, depth)
    pairs = sized_layers(layers, effect_geometry(layers.shown, geometry, depth))
    skies = chosen_skies(sky_mask, layers.shown, find_sky)
    for (layer, estimate), sky in zip(pairs, skies, strict=True):
        yield layer, estimate, MAKERS[name](layer, estimate, options, sky)


def as_made(layers: Layers, made: Made) -> Tensor:
    """The preview that is the result itself."""
    return made.result


def darkened(layers: Layers, made: Made) -> Tensor:
    """The preview of a mask: the image, with the rest darkened."""
    return layers.shown * (_DARKENED + (1 - _DARKENED) * made.result)


def on_grey(layers: Layers, made: Made) -> Tensor:
    """The preview of a cut-out."""
    colours, alpha = made.result[:, :3], made.result[:, 3:]
    return torch.lerp(torch.full_like(colours, 0.5), colours, alpha)


def shown_effect(
    kinds: Sequence[str], parts: Iterable[Part], total: int, preview: Callable[[Layers, Made], Tensor] = as_made, hint: str = ""
) -> Any:
    """The outputs of a node, with previews of the first images.

    Args:
        kinds: The node's RETURN_TYPES.
        parts: What was made of each image.
        total: Number of images.
        preview: What the node shows of one.
        hint: What its line on the node says besides `Made.words`.
    """
    payloads: list[Payload] = []
    lines: list[str] = []

    def outputs() -> Iterator[tuple[Tensor, ...]]:
        for layers, estimate, made in with_progress(parts, total):
            if len(lines) < MAX_IMAGES:
                lines.append(made.words + hint)
                payloads.append(image_payload(preview(layers, made), estimate, text=lines[-1]) if in_comfyui() else {})
            values = (made.result, made.mask)[: len(kinds)]
            yield tuple(_OUTPUTS[kind](value) for kind, value in zip(kinds, values, strict=True) if value is not None)

    return shown_on_node(join_outputs(outputs(), total), payloads, text=lines)


_OUTPUTS = {"IMAGE": unclamped_output, "MASK": mask_output}
