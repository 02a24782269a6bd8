"""Attention on CPUs, where torch's own is slow: without AMX it multiplies bfloat16 in float32, and float32 by MKL, also on AMD's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .grids import is_traced
from .linear import by_convolution, convolutions_are_faster, linear

_QUERIES = 192
"""Queries of a part in bfloat16, whose scores stay in the processor's caches."""
_TOKENS = 256
"""With fewer keys in float32, torch's own attention is as fast."""
_SCORES = 2**22
"""The most scores at once in float32: new memory for more would come from the system each time."""


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `F.scaled_dot_product_attention`, of (B, heads, tokens, width of a head) each.

    What needs gradients, is traced, is empty, or differs in the number of images or heads is left to it.
    """
    if _may_be_faster(query, key, value) and query.numel() and query.shape[:2] == key.shape[:2] == value.shape[:2]:
        if query.dtype == torch.bfloat16:
            return _by_products(query, key, value)
        if key.shape[-2] >= _TOKENS:
            return _by_convolutions(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def faster_products(x: Tensor) -> AbstractContextManager[object]:
    """A context in which another library's network calls `attended` as `F.scaled_dot_product_attention`, and `linear` as `F.linear`.

    It holds for this thread alone.

    Args:
        x: The network's input.
    """
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
    """Whether options of `F.scaled_dot_product_attention` ask for what `attended` computes: none is set, but perhaps the usual scale."""
    others = [value for name, value in options.items() if name != "scale"]
    if any(isinstance(value, Tensor) or value for value in others):
        return False
    return query.ndim == 4 and options.get("scale") in (None, query.shape[-1] ** -0.5)


def _may_be_faster(x: Tensor, *others: Tensor) -> bool:
    """Whether products of this type may be faster than torch's own attention. Gradients do not pass through memory that is used again."""
    if x.device.type != "cpu" or is_traced():
        return False
    if torch.is_grad_enabled() and any(each.requires_grad for each in (x, *others)):
        return False
    return (x.dtype == torch.bfloat16 and _only_products_multiply_bfloat16()) or (x.dtype == torch.float32 and convolutions_are_faster())


def _only_products_multiply_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in parts that share their memory: new memory for the scores of each costs time, and a copy of key and value does, too."""
    queries, values = (each.flatten(0, 1).contiguous() for each in (query, value))
    keys = (key * query.shape[-1] ** -0.5).flatten(0, 1).contiguous().mT
    found = queries.new_empty(*queries.shape[:2], values.shape[-1])
    memory = queries.new_empty(2, len(queries) * min(_QUERIES, queries.shape[1]) * values.shape[1])
    for part, out in zip(queries.split(_QUERIES, 1), found.split(_QUERIES, 1), strict=True):
        shape = (*part.shape[:2], values.shape[1])
        scores, weights = memory[:, : shape[0] * shape[1] * shape[2]].unflatten(1, shape)
        torch.bmm(part, keys, out=scores)
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, values, out=out)
    return found.unflatten(0, query.shape[:2])


def _by_convolutions(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of several heads at once, or of one after the other where their scores are many.

    The groups of the convolutions are the heads. In few steps: on a busy machine threads wait for each other after each.
    """
    scaled, scores = key * query.shape[-1] ** -0.5, query.shape[-2] * key.shape[-2]
    heads, parts = max(1, _SCORES // scores), -(-scores // _SCORES)
    # In memory as networks read on: all heads of a token side by side.
    found = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]).transpose(1, 2)
    for image in zip(query, scaled, value, found, strict=True):
        for queries, keys, values, target in zip(*(each.split(heads) for each in image), strict=True):
            keys, values = keys.flatten(0, 1).contiguous(), values.mT.flatten(0, 1).contiguous()
            for part, rows in zip(queries.tensor_split(parts, 1), target.tensor_split(parts, 1), strict=True):
                rows.copy_(_of_heads(part, keys, values))
    return found


def _of_heads(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of queries (heads, tokens, width) to (heads * keys, width) and (heads * width, keys), without a scale."""
    heads = len(query)
    scores = by_convolution(query.transpose(0, 1).flatten(1), keys, groups=heads)
    weights = scores.unflatten(1, (heads, -1)).softmax(-1).flatten(1)
    return by_convolution(weights, values, groups=heads).unflatten(1, (heads, -1)).transpose(0, 1)
