"""Attention that computes in bfloat16 on CPUs that multiply bfloat16: torch's own is much slower there without AMX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .grids import is_traced

_QUERIES = 192
"""Queries of a part. Its scores stay in the processor's caches."""


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `F.scaled_dot_product_attention`, of (B, heads, tokens, width of a head) each."""
    return _by_products(query, key, value) if _multiplies_faster(query) else F.scaled_dot_product_attention(query, key, value)


def _multiplies_faster(query: Tensor) -> bool:
    """Whether matrix products are faster than torch's own attention, which multiplies bfloat16 in float32 on CPUs without AMX."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or is_traced() or (query.requires_grad and torch.is_grad_enabled()):
        return False
    multiplies_bfloat16, has_amx = (getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return multiplies_bfloat16 and not has_amx


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention part by part, always in the same memory: new memory for each part's scores can cost as much time as the scores."""
    scaled, matrices = (key * query.shape[-1] ** -0.5).flatten(0, 1).contiguous().mT, value.flatten(0, 1).contiguous()
    queries = query.flatten(0, 1).contiguous()
    found = torch.empty_like(queries)
    size = len(queries) * min(_QUERIES, queries.shape[1]) * scaled.shape[-1]
    memory = queries.new_empty(2, size)
    for part, out in zip(queries.split(_QUERIES, 1), found.split(_QUERIES, 1), strict=True):
        shape = (*part.shape[:2], scaled.shape[-1])
        scores, weights = memory[:, : shape[0] * shape[1] * shape[2]].view(2, *shape)
        torch.bmm(part, scaled, out=scores)
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, matrices, out=out)
    return found.unflatten(0, query.shape[:2])
