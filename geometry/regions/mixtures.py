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
# Of parts whose scatter is at least this share of the largest, the first is split; and not at the mean, where there may be many values, but
# by this share of the deviation beside it.
_AS_LARGE, _BESIDE_MEAN = 0.99, 0.01
# By so much each dimension is stretched beside the one before, so that values that scatter alike in all directions have a longest axis.
_UNLIKE = 1.03


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
    centre = values.mean(0)
    values = values - centre  # else squares of what hardly differs are rounding
    shares = F.one_hot(_split(values, count, noise)).to(values)
    mixture = _weighted(values, shares, noise)
    for _ in range(_ROUNDS):
        mixture = _weighted(values, mixture.shares(values), noise)
    return mixture._replace(means=mixture.means + centre)


@without_autocast
def _split(values: Tensor, count: int, noise: float) -> Tensor:
    """(N,) int64: the part of each value.

    Images have equal colours, and parts that mirror each other. No choice may hang on how their sums are rounded.
    """
    part = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    unlike = _UNLIKE ** torch.arange(values.shape[1], dtype=values.dtype, device=values.device)
    splits = {0: _halves(values, part == 0, unlike, noise)}
    for new in range(1, count):
        most = max(scatter for scatter, _ in splits.values())
        if most == 0:
            break
        old = next(each for each, (scatter, _) in splits.items() if scatter >= _AS_LARGE * most)
        part[splits[old][1]] = new
        splits |= {each: _halves(values, part == each, unlike, noise) for each in (old, new)}
    return part


@without_autocast
def _halves(values: Tensor, here: Tensor, unlike: Tensor, noise: float) -> tuple[float, Tensor]:
    """How much the values of a part are scattered along their longest axis, 0 if they are not split; and which are on its one side."""
    own = values[here] * unlike
    if len(own) < _LEAST:
        return 0.0, here
    spreads, axes = torch.linalg.eigh(torch.cov(own.T))
    deviation, axis = spreads[-1].clamp(min=0).sqrt(), axes[:, -1]
    if deviation < noise:
        return 0.0, here
    axis = axis * torch.where(axis @ unlike < 0, -1, 1)
    return float(spreads[-1]) * len(own), here & ((values * unlike - own.mean(0)) @ axis > _BESIDE_MEAN * deviation)


@without_autocast
def _weighted(values: Tensor, shares: Tensor, noise: float) -> Mixture:
    sums = shares.sum(0) + _FEW
    means = shares.T @ values / sums[:, None]
    away = values - means[:, None]
    covariances = (away * shares.T[..., None]).mT @ away / sums[:, None, None]
    own = noise * noise * torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    return Mixture(sums / sums.sum(), means, torch.linalg.cholesky(covariances + own))
