"""Networks that load published state dicts, and layers that compute the same as torch's.

The layers are faster or more exact on CPUs, and their exported graphs hold for all sizes.
"""

from __future__ import annotations

import functools
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_CUBIC = -0.75  # torch's constant of bicubic interpolation
_LEAST_CERTAINTY = 0.01


def is_traced() -> bool:
    """Whether an exporter or a compiler is tracing, whose graph must hold for other sizes."""
    return torch.compiler.is_compiling()


def count(length: int, device: torch.device) -> Tensor:
    """(1,) float32: a length as a tensor, so that it stays dynamic in a graph."""
    return torch.arange(length, device=device, dtype=torch.float32)[-1:] + 1


def aspect_of(height: int, width: int, device: torch.device) -> float | Tensor:
    """Width by height; a tensor while tracing."""
    return count(width, device) / count(height, device) if is_traced() else width / height


def height_in_longer_side(height: int, width: int, device: torch.device) -> float | Tensor:
    """Height by the longer side; a tensor while tracing."""
    if not is_traced():
        return height / max(height, width)
    rows, columns = count(height, device), count(width, device)
    return rows / torch.maximum(rows, columns)


def middles(length: int, span: float | Tensor, device: torch.device) -> Tensor:
    """(length,) float32: the centres of this many cells between -span and span."""
    if not isinstance(span, Tensor):
        edge = span * (length - 1) / length
        return torch.linspace(-edge, edge, length, dtype=torch.float32, device=device)
    return span * ((2 * torch.arange(length, dtype=torch.float32, device=device) + 1 - length) / count(length, device))


def ends(length: int, device: torch.device) -> Tensor:
    """(length,) float32: this many evenly spaced numbers from -1 to 1; a single one is -1."""
    if not is_traced():
        return torch.linspace(-1, 1, length, dtype=torch.float32, device=device)
    return torch.arange(length, dtype=torch.float32, device=device) * (2 / (count(length, device) - 1).clamp(min=1)) - 1


def resized_positions(patches: Tensor, rows: int, columns: int, offset: float) -> Tensor:
    """Resizes a position grid (1, C, grid, grid) float32 as DINOv2 does: bicubic, by (size + offset) / grid, unless that is its size.

    The offset, 0.1 in DINOv2's code, shifts every value.
    """
    grid = patches.shape[-1]
    if is_traced():
        return _resized_by_products(patches, rows, columns, offset)
    if (rows, columns) == (grid, grid):
        return patches
    if not offset:  # a scale factor would round the size
        return F.interpolate(patches, (rows, columns), mode="bicubic")
    return F.interpolate(patches, scale_factor=((rows + offset) / grid, (columns + offset) / grid), mode="bicubic")


def _resized_by_products(patches: Tensor, rows: int, columns: int, offset: float) -> Tensor:
    """`resized_positions` by two matrix products, without branching on the size."""
    grid = patches.shape[-1]
    heights, widths = (torch.arange(side, device=patches.device, dtype=torch.float32) for side in (rows, columns))
    as_they_are = (heights[-1:] == grid - 1) & (widths[-1:] == grid - 1)
    offset_here = torch.where(as_they_are, 0.0, offset)
    down, across = (_cubic_weights(each, grid, grid / (each[-1:] + 1 + offset_here)) for each in (heights, widths))
    return down @ patches @ across.mT


def _cubic_weights(places: Tensor, grid: int, step: Tensor) -> Tensor:
    """(places, grid): bicubic weights of the grid's cells at `places` of a resized grid; `step` is the cell size in old cells."""
    source = (places + 0.5) * step - 0.5
    first = source.floor()
    part = source - first
    cells = torch.arange(grid, device=places.device, dtype=torch.float32)
    weights = torch.zeros_like(source)[:, None] * cells
    for tap in (-1, 0, 1, 2):
        distance = (part - tap).abs()
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
        far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
        cell = (first + tap).clamp(0, grid - 1)
        weights = weights + (cell[:, None] == cells) * torch.where(distance <= 1, near, far)[:, None]
    return weights


def shrunk(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) float32 reduced bilinearly with antialiasing."""
    if not is_traced():
        return F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    down, across = (_linear_weights(new, old, images.device) for new, old in ((height, images.shape[-2]), (width, images.shape[-1])))
    return down @ images @ across.mT


def _linear_weights(new: int, old: int, device: torch.device) -> Tensor:
    """(new, old): weights of the old cells for each of fewer new ones."""
    step = count(old, device) / count(new, device)
    centres = (torch.arange(new, device=device, dtype=torch.float32) + 0.5) * step
    cells = torch.arange(old, device=device, dtype=torch.float32) + 0.5
    weights = (1 - ((cells - centres[:, None]) / step).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


_ROWS, _PRODUCTS = 128, 2**24
"""Below this many tokens or products, oneDNN's reordering of the weights takes longer than it saves."""


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors (B, 2 or 3, ...) scaled to unit length; half precision is computed in float32. On a CPU faster than `F.normalize`."""
    if vectors.dtype in (torch.float16, torch.bfloat16):
        return unit_vectors(vectors.float()).to(vectors.dtype)
    if vectors.device.type != "cpu":
        return F.normalize(vectors, dim=1)
    first, *others = vectors.split(1, 1)
    squares = first * first
    for each in others:
        squares = squares.addcmul(each, each)
    return vectors / squares.sqrt().clamp(min=1e-12)


def with_certainty(vectors: Tensor, certainty: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, 3, H, W) and a positive certainty (B, 1, H, W), from a network's last values."""
    return unit_vectors(vectors), F.elu(certainty) + (1 + _LEAST_CERTAINTY)


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ExactConv2d(nn.Conv2d):
    """Always runs in float32: in a network's last layers, half precision would show as steps in its maps."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float())


def enlarged(x: Tensor, scale: float = 2) -> Tensor:
    """Enlarges maps bilinearly with aligned corners."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


class Linear(nn.Linear):
    """`nn.Linear` that computes large float32 layers by `linear`; results differ in the last bits."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., in_features) to (..., out_features)."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, by a convolution where that is faster."""
    return by_convolution(input, weight, bias) if _is_faster_by_convolution(input, weight) else F.linear(input, weight, bias)


def _is_faster_by_convolution(x: Tensor, weight: Tensor) -> bool:
    # exported graphs need linear layers; tensor subclasses, such as quantised ones, implement their own product
    if x.device.type != "cpu" or x.dtype != torch.float32 or is_traced() or type(weight) is not nn.Parameter:
        return False
    if x.numel() < _ROWS * x.shape[-1] or x.numel() * weight.shape[0] < _PRODUCTS:
        return False
    return convolutions_are_faster()


def convolutions_are_faster() -> bool:
    """Whether `by_convolution` is faster than torch's float32 matrix products on this machine's CPU.

    MKL uses no AVX-512 on AMD's CPUs, oneDNN does. On those without it, MKL is the faster one.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _is_amd():
        return False
    return torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


@functools.cache
def _is_amd() -> bool:
    """Whether the processor is AMD's: Linux states the vendor in a file, Windows in the processor's name."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "AuthenticAMD" in platform.processor()


def by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """`F.linear` as a 1x1 convolution over tokens as one row of pixels, without copying contiguous ones.

    The stride of 2 over the single row has no effect, but without it, single-threaded torch would call MKL here, too. Features may have
    `groups` as in `nn.Conv2d`: the weight is (out_features, in_features / groups).
    """
    pixels = x.flatten(0, -2).contiguous()[None].mT[:, :, None]  # (1, in_features, 1, tokens)
    products = F.conv2d(pixels, weight[..., None, None], bias, stride=(2, 1), groups=groups)
    return products[0, :, 0].T.reshape(*x.shape[:-1], -1)


class GroupNorm(nn.GroupNorm):
    """torch's GroupNorm with means and deviations exact to rounding.

    torch's CPU kernel for channels-last memory sums values and squares in one pass, far less exactly than for contiguous memory; copying to
    that layout and back would take longer than channels-last convolutions save.
    """

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, affine: bool = True, device: str | None = None) -> None:
        super().__init__(groups, channels, eps, affine, device)
        self.activation = nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        return self.activation(self._normalised(input) if _loses_digits(input) else super().forward(input))

    def _normalised(self, maps: Tensor) -> Tensor:
        batch, channels = maps.shape[:2]
        groups = (batch, self.num_groups, channels // self.num_groups)
        means = _means(maps)
        centred = maps - means[..., None, None]
        means = means.view(groups)
        means = means - means.mean(2, keepdim=True)
        squares = centred.square()
        variance = (_means(squares).view(groups) + means.square()).mean(2, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight.view(1, *groups[1:])
        scale, shift = scale.expand(groups).reshape(batch, channels), (means * scale).reshape(batch, channels)
        if self.affine:
            shift = shift + self.bias
        # On a CPU, allocating memory takes as long as all these sums.
        memory = None if torch.is_grad_enabled() else squares
        return torch.addcmul(shift[..., None, None], centred, scale[..., None, None], out=memory)


def to_dtype(network: nn.Module, dtype: torch.dtype, *exact: nn.Module) -> None:
    """Converts a network's weights and buffers, but those of its modules `exact` to float32, with all digits that they have."""
    kept = {value for module in exact for value in (*module.parameters(), *module.buffers())}
    network._apply(lambda value: value.to(torch.float32 if value in kept else dtype) if value.is_floating_point() else value)


def exact_group_norms(network: nn.Module) -> None:
    """Replaces the group norms of a library's network by `GroupNorm`, keeping their activations and parameters."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.GroupNorm) and not isinstance(layer, GroupNorm):
                exact = GroupNorm(layer.num_groups, layer.num_channels, layer.eps, layer.affine, device="meta")
                exact.weight, exact.bias, exact.activation = layer.weight, layer.bias, getattr(layer, "activation", exact.activation)
                setattr(parent, name, exact.train(layer.training))


def _loses_digits(maps: Tensor) -> bool:
    """Whether torch would use its less exact kernel; compilers and exporters have kernels of their own."""
    if is_traced() or maps.device.type != "cpu" or maps.dtype != torch.float32:
        return False
    return maps.ndim == 4 and not maps.is_contiguous() and maps.is_contiguous(memory_format=torch.channels_last)


def _means(maps: Tensor) -> Tensor:
    """(B, C): means of channels-last maps (B, C, H, W), over columns, then over rows: short sums are exact."""
    batch, channels, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(batch, height, width * channels).mean(1).view(batch, width, channels).mean(1)


_QUERIES = 192
"""bfloat16 queries per part, so that the scores stay in the CPU's caches."""
_TOKENS = 256
"""Below this many keys in float32, torch's own attention is as fast."""
_SCORES = 2**22
"""Maximum number of float32 scores at once: larger buffers would be allocated by the system anew each time."""


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention` of (B, heads, tokens, head width) each, faster on some CPUs.

    Falls back to torch for gradients, tracing, empty inputs, and different numbers of images or heads.
    """
    if _may_be_faster(query, key, value) and query.numel() and query.shape[:2] == key.shape[:2] == value.shape[:2]:
        if query.dtype == torch.bfloat16:
            return _by_products(query, key, value)
        if key.shape[-2] >= _TOKENS:
            return _by_convolutions(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def faster_products(x: Tensor) -> AbstractContextManager[object]:
    """A context, for a network's input, in which another library's network uses `attended` and `linear`; in this thread only."""
    return _Replaced() if _may_be_faster(x) else nullcontext()


class _Replaced(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and _is_plain(args[0], kwargs):
            return attended(*args)
        if func is F.linear:
            return linear(*args, **kwargs)
        return func(*args, **kwargs)


def _is_plain(query: Tensor, options: dict[str, Any]) -> bool:
    """Whether the options of `F.scaled_dot_product_attention` ask for plain attention: none is set, except perhaps the default scale."""
    others = [value for name, value in options.items() if name != "scale"]
    if any(isinstance(value, Tensor) or value for value in others):
        return False
    return query.ndim == 4 and options.get("scale") in (None, query.shape[-1] ** -0.5)


def _may_be_faster(x: Tensor, *others: Tensor) -> bool:
    """Whether this module's products may be faster than torch's attention. Their reused memory does not support gradients."""
    if x.device.type != "cpu" or is_traced():
        return False
    if torch.is_grad_enabled() and any(each.requires_grad for each in (x, *others)):
        return False
    return (x.dtype == torch.bfloat16 and _only_products_multiply_bfloat16()) or (x.dtype == torch.float32 and convolutions_are_faster())


def _only_products_multiply_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in parts with shared memory: allocating scores for each part takes time, as would copying key and value."""
    queries, values = (each.flatten(0, 1).contiguous() for each in (query, value))
    keys = (key * query.shape[-1] ** -0.5).flatten(0, 1).contiguous().mT
    outputs = queries.new_empty(*queries.shape[:2], values.shape[-1])
    memory = queries.new_empty(2, len(queries) * min(_QUERIES, queries.shape[1]) * values.shape[1])
    for part, out in zip(queries.split(_QUERIES, 1), outputs.split(_QUERIES, 1), strict=True):
        shape = (*part.shape[:2], values.shape[1])
        scores, weights = memory[:, : shape[0] * shape[1] * shape[2]].unflatten(1, shape)
        torch.bmm(part, keys, out=scores)
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, values, out=out)
    return outputs.unflatten(0, query.shape[:2])


def _by_convolutions(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of several heads at once, or in parts if they have too many scores.

    Heads are convolution groups. Few steps, because on a busy machine threads wait for each other after each.
    """
    scaled, scores = key * query.shape[-1] ** -0.5, query.shape[-2] * key.shape[-2]
    heads, parts = max(1, _SCORES // scores), -(-scores // _SCORES)
    # In the layout that networks use next: all heads of a token side by side.
    outputs = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]).transpose(1, 2)
    for image in zip(query, scaled, value, outputs, strict=True):
        for queries, keys, values, target in zip(*(each.split(heads) for each in image), strict=True):
            keys, values = keys.flatten(0, 1).contiguous(), values.mT.flatten(0, 1).contiguous()
            for part, rows in zip(queries.tensor_split(parts, 1), target.tensor_split(parts, 1), strict=True):
                rows.copy_(_of_heads(part, keys, values))
    return outputs


def _of_heads(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Unscaled attention of queries (heads, tokens, width) to keys (heads * keys, width) and values (heads * width, keys)."""
    heads = len(query)
    scores = by_convolution(query.transpose(0, 1).flatten(1), keys, groups=heads)
    weights = scores.unflatten(1, (heads, -1)).softmax(-1).flatten(1)
    return by_convolution(weights, values, groups=heads).unflatten(1, (heads, -1)).transpose(0, 1)
