"""Attention that multiplies bfloat16 as such on CPUs: where there is no AMX, torch's own multiplies it in float32, which is slower."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .grids import is_traced

_QUERIES = 192
"""Queries of a part, whose scores stay in the processor's caches."""


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `F.scaled_dot_product_attention`, of (B, heads, tokens, width of a head) each."""
    return _by_products(query, key, value) if _multiplies_faster(query, key, value) else F.scaled_dot_product_attention(query, key, value)


def faster_attention(x: Tensor) -> AbstractContextManager[object]:
    """A context in which another library's network calls `attended` as `F.scaled_dot_product_attention`, where that is faster.

    It holds for this thread alone.

    Args:
        x: The network's input.
    """
    return _Attended() if _multiplies_faster(x) else nullcontext()


class _Attended(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and _is_plain(args[0], kwargs):
            return attended(*args)
        return func(*args, **kwargs)


def _is_plain(query: Tensor, options: dict[str, Any]) -> bool:
    """Whether options of `F.scaled_dot_product_attention` ask for what `attended` computes: none is set, but perhaps the usual scale."""
    others = [value for name, value in options.items() if name != "scale"]
    if any(isinstance(value, Tensor) or value for value in others):
        return False
    return query.ndim == 4 and options.get("scale") in (None, query.shape[-1] ** -0.5)


def _multiplies_faster(x: Tensor, *others: Tensor) -> bool:
    """Whether matrix products are faster than torch's own attention. Gradients cannot pass through memory that is used again."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or is_traced():
        return False
    if torch.is_grad_enabled() and any(each.requires_grad for each in (x, *others)):
        return False
    multiplies_bfloat16, has_amx = (getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return multiplies_bfloat16 and not has_amx


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in parts that share their memory: new memory for the scores of each costs time, and a copy of key and value does, too."""
    queries, values = (each.flatten(0, 1).contiguous() for each in (query, value))
    keys = (key * query.shape[-1] ** -0.5).flatten(0, 1).contiguous().mT
    found = torch.empty_like(queries)
    memory = queries.new_empty(2, len(queries) * min(_QUERIES, queries.shape[1]) * values.shape[1])
    for part, out in zip(queries.split(_QUERIES, 1), found.split(_QUERIES, 1), strict=True):
        shape = (*part.shape[:2], values.shape[1])
        scores, weights = memory[:, : shape[0] * shape[1] * shape[2]].unflatten(1, shape)
        torch.bmm(part, keys, out=scores)
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, values, out=out)
    return found.unflatten(0, query.shape[:2])
