"""Gaussian mixtures: how likely values are beside others of a sample. The same sample always gives the same mixture."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
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


def _split(values: Tensor, count: int, noise: float) -> Tensor:
    """(N,) int64: the part of each value.

    Images have equal colours, and parts that mirror each other. No choice may hang on how their sums are rounded.
    """
    # In numpy, as many small steps are taken.
    stretched = values.double().numpy() * _UNLIKE ** np.arange(values.shape[1])
    part, splits = np.zeros(len(values), np.int64), {0: _halves(stretched, np.arange(len(values)), noise)}
    for new in range(1, count):
        most = max(scatter for scatter, _, _ in splits.values())
        if most == 0:
            break
        old = next(each for each, (scatter, _, _) in splits.items() if scatter >= _AS_LARGE * most)
        _, stays, leaves = splits[old]
        part[leaves] = new
        splits |= {each: _halves(stretched, members, noise) for each, members in ((old, stays), (new, leaves))}
    return torch.from_numpy(part)


def _halves(values: np.ndarray, members: np.ndarray, noise: float) -> tuple[float, np.ndarray, np.ndarray]:
    """How much the values of a part, by their numbers, are scattered along their longest axis, 0 if they are not split; and its halves.

    The longest axis points to where the values before stretching grow together.
    """
    if len(members) < _LEAST:
        return 0.0, members, members[:0]
    away = values[members]
    away -= away.mean(0)
    spreads, axes = np.linalg.eigh(away.T @ away / (len(members) - 1))
    deviation, axis = math.sqrt(max(spreads[-1], 0.0)), axes[:, -1]
    if deviation < noise:
        return 0.0, members, members[:0]
    along = away @ (-axis if axis @ _UNLIKE ** np.arange(len(axis)) < 0 else axis)
    beyond = along > _BESIDE_MEAN * deviation
    return float(spreads[-1]) * len(members), members[~beyond], members[beyond]


@without_autocast
def _weighted(values: Tensor, shares: Tensor, noise: float) -> Mixture:
    sums = shares.sum(0) + _FEW
    means = shares.T @ values / sums[:, None]
    away = values - means[:, None]
    covariances = (away * shares.T[..., None]).mT @ away / sums[:, None, None]
    own = noise * noise * torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    return Mixture(sums / sums.sum(), means, torch.linalg.cholesky(covariances + own))
