"""The nodes of effects, generated from `options.effects`, with previews."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.effects.makers import Made, make
from ..geometry.estimate import Estimate
from ..geometry.views.transparency import Layers, split_layers
from ..options.effects import CUTOUT, EFFECTS, IMAGE, MASK, EffectSpec
from ..options.masks import AUTO, SelectionOptions
from ..options.values import PERCENT
from ..utils import constant, to_planar
from .batches import for_all, for_each, join_outputs, outputs_together, with_progress
from .checks import check_geometry
from .effect_inputs import check_depth_linked, chosen_masks, depth_input, effect_geometry, sized_layers, sky_mask_input, with_alpha
from .live import MAX_IMAGES, Payload, image_payload, shown_on_node
from .option_widgets import Node, option_widgets, takes
from .widgets import EFFECTS as EFFECTS_MENU
from .widgets import Inputs, geometry_input, image_input

_DARKENED = 0.25

Part = tuple[Layers, "Estimate | None", Made]
"""An image's layers and estimate, and the effect's result."""


class Effect(Node):
    """The node of an effect."""

    SPEC: ClassVar[EffectSpec]
    CATEGORY, OUTPUT_NODE = EFFECTS_MENU, True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        spec, image = cls.SPEC, {"image": image_input(cls.SPEC.image)}
        return {
            "required": image if spec.needs_image else {},
            "optional": {
                "geometry": geometry_input(spec.geometry),
                "depth": depth_input(spec.depth),
                **({} if spec.needs_image else image),
                **({"mask": ("MASK", {"tooltip": spec.mask})} if spec.mask else {}),
                **option_widgets(spec.options),
                **({"sky_mask": sky_mask_input(f"it {spec.sky}.")} if spec.sky else {}),
            },
        }

    def execute(
        self,
        options: Any,
        image: Tensor | None = None,
        geometry: Any = None,
        depth: Tensor | None = None,
        mask: Tensor | None = None,
        sky_mask: Tensor | None = None,
    ) -> Any:
        spec = self.SPEC
        if mask is None:
            check_depth_linked(geometry, depth, or_mask=bool(spec.mask))
        linked = sky_mask if mask is None else mask
        if image is None and not spec.needs_image:
            images = _blank(geometry, depth)
        else:
            images = for_all(with_alpha(image), geometry, (depth,), linked)  # pyright: ignore[reportArgumentType]  it refuses None by name
        layers = split_layers(images, checked=True)
        if mask is None:
            pairs = sized_layers(layers, effect_geometry(layers.shown, geometry, depth))
            masks = chosen_masks(sky_mask, layers.shown, "sky_mask", find=bool(spec.sky) and options.sky == AUTO)
        else:
            pairs = ((layer, None) for layer in layers.split())
            masks = chosen_masks(mask, layers.shown, "mask")

        def part(pair: tuple[Layers, Estimate | None], each: Tensor | bool) -> Part:
            return *pair, make(spec, *pair, options, each)

        made = for_each(zip(pairs, masks, strict=True), part, _unchanged if spec.result is IMAGE else None)
        return self._shown(made, len(layers.shown), "" if mask is not None else options.node_hint)

    def _shown(self, parts: Iterable[Part], total: int, hint: str) -> Any:
        """The outputs, with previews of the first images; `hint` is appended to the line on the node."""
        payloads: list[Payload] = []
        lines: list[str] = []

        def outputs() -> Iterator[tuple[Tensor, ...]]:
            for layers, estimate, made in with_progress(parts, total):
                values = [each for each in (made.result, made.mask)[: len(self.RETURN_TYPES)] if each is not None]
                kinds = (*self.RETURN_TYPES[: len(values)], *("FLOAT",) * len(made.numbers))
                fetched = outputs_together(kinds, (*values, *made.numbers))
                if len(lines) < MAX_IMAGES:
                    lines.append(made.say(*map(float, fetched[len(values) :])) + hint)
                    payloads.append(image_payload(self._preview(layers, made), estimate, text=lines[-1], unit=PERCENT))
                yield fetched[: len(values)]

        return shown_on_node(join_outputs(outputs(), total), payloads, text=lines)

    def _preview(self, layers: Layers, made: Made) -> Tensor:
        """The preview: for a mask the image, darkened outside; for a cut-out the foreground on grey; else the result."""
        if self.SPEC.result is MASK:
            return layers.shown * (_DARKENED + (1 - _DARKENED) * made.result)
        if self.SPEC.result is CUTOUT:
            colours, alpha = made.result[:, :3], made.result[:, 3:]
            return torch.lerp(constant(colours, 0.5), colours, alpha)
        return made.result


def _blank(geometry: Any, depth: Tensor | None) -> Tensor:
    """White images of the size of the geometry or depth map, to show masks on; as expanded tensors they take no memory."""
    if geometry is None:
        assert depth is not None
        planar = to_planar(depth)
        return torch.ones(1, 1, 1, 1, dtype=torch.float32, device="cpu").expand(len(planar), 3, *planar.shape[-2:])
    estimate = check_geometry(geometry)
    return torch.ones(1, 1, 1, 1, dtype=torch.float32, device="cpu").expand(estimate.batch, 3, estimate.height, estimate.width)


def _unchanged(pair: tuple[Layers, Estimate | None], _: Tensor | bool) -> Part:
    """The result for an image without depth."""
    layers, estimate = pair
    mask = torch.zeros_like(layers.shown[:, :1])
    return layers, estimate, Made(layers.with_alpha(layers.colours), lambda: "unchanged: no pixel has a depth", mask)


def _node(spec: EffectSpec) -> Any:
    attributes = {
        "SPEC": spec,
        "NODE_ID": spec.node_id,
        "DISPLAY_NAME": spec.title,
        "DESCRIPTION": spec.description,
        "OUTPUTS": {name: (kind, tooltip) for (name, tooltip), kind in zip(spec.outputs.items(), (spec.result.kind, "MASK"), strict=False)},
        "SEARCH_ALIASES": spec.search,
    }
    node = type(spec.node_id.removeprefix("DepthNormal_"), (Effect,), attributes)
    return takes(spec.options, unless={"mask": SelectionOptions} if spec.mask else None)(node)


NODE_OF = {spec.name: _node(spec) for spec in EFFECTS}
"""Nodes by the effect's name."""

NODES = tuple(NODE_OF.values())
