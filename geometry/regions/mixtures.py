"""Gaussian mixtures: how likely values are beside others of a sample. The same sample always gives the same mixture."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import without_autocast

_ROUNDS = 3
# A part with fewer values is not split; and what keeps empty ones from dividing by 0.
_LEAST, _FEW = 20, 1e-3


class Mixture(NamedTuple):
    """A sum of K Gaussians in D dimensions.

    Attributes:
        weights: (K,), their sum is 1.
        means: (K, D).
        factors: (K, D, D), lower Cholesky factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_likelihood(self, values: Tensor) -> Tensor:
        """(N,) of values (N, D): the logarithm of the density, less a constant that depends on D alone."""
        return self._parts(values).logsumexp(1)

    def shares(self, values: Tensor) -> Tensor:
        """(N, K): the probability of each Gaussian for values (N, D)."""
        return self._parts(values).softmax(1)

    def _parts(self, values: Tensor) -> Tensor:
        away = torch.linalg.solve_triangular(self.factors, (values[None] - self.means[:, None]).mT, upper=False)
        spread = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (self.weights.log() - spread - 0.5 * away.square().sum(1).T).contiguous()


def fit_mixture(values: Tensor, count: int, noise: float) -> Mixture:
    """Fits a mixture: parts are split across their longest axis, then improved by expectation maximisation.

    Args:
        values: (N, D), at least one.
        count: How many Gaussians, at most.
        noise: Standard deviation that each has at least.

    Source:
        M. Orchard and C. Bouman, "Color Quantization of Images" (1991), for the splits.
    """
    shares = F.one_hot(_split(values, count), count).to(values)
    mixture = _weighted(values, shares, noise)
    for _ in range(_ROUNDS):
        mixture = _weighted(values, mixture.shares(values), noise)
    return mixture


@without_autocast
def _split(values: Tensor, count: int) -> Tensor:
    """(N,) int64: the part of each value."""
    part = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    for new in range(1, count):
        best = None
        for old in range(new):
            own = values[part == old]
            if len(own) < _LEAST:
                continue
            spreads, axes = torch.linalg.eigh(torch.cov(own.T))
            scatter = float(spreads[-1]) * len(own)
            if best is None or scatter > best[0]:
                best = scatter, (part == old) & ((values - own.mean(0)) @ axes[:, -1] > 0)
        if best is None:
            break
        part[best[1]] = new
    return part


@without_autocast
def _weighted(values: Tensor, shares: Tensor, noise: float) -> Mixture:
    sums = shares.sum(0) + _FEW
    means = shares.T @ values / sums[:, None]
    away = values - means[:, None]
    covariances = (away * shares.T[..., None]).mT @ away / sums[:, None, None]
    own = noise * noise * torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    return Mixture(sums / sums.sum(), means, torch.linalg.cholesky(covariances + own))
