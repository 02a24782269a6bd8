"""Gaussian mixtures: how likely values are beside others of a sample. The same sample always gives the same mixture."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_ROUNDS = 3
# A part with fewer values is not split; and what keeps empty ones from dividing by 0.
_LEAST, _FEW = 20, 1e-3
# Of parts whose scatter is at least this share of the largest, the first is split; and not at the mean, where there may be many values, but
# by this share of the deviation beside it.
_AS_LARGE, _BESIDE_MEAN = 0.99, 0.01
# By so much each dimension is stretched beside the one before, so that values that scatter alike in all directions have a longest axis.
_UNLIKE = 1.03


class Mixture(NamedTuple):
    """A sum of K Gaussians in D dimensions, in numpy, as fitting takes many small steps.

    Attributes:
        weights: (K,), their sum is 1.
        means: (K, D).
        factors: (K, D, D), lower Cholesky factors of the covariances.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def log_likelihood(self, values: Tensor) -> Tensor:
        """(N,) of values (N, D) on the CPU: the logarithm of the density, less a constant that depends on D alone."""
        most, parts = self._parts(values.float().numpy())
        return torch.from_numpy(most + np.log(parts.sum(0)))

    def shares(self, values: np.ndarray) -> np.ndarray:
        """(K, N): the probability of each Gaussian for values (N, D)."""
        _, parts = self._parts(values)
        return parts / parts.sum(0)

    def _parts(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the largest logarithm of a density, and (K, N) the densities as shares of it."""
        away = np.linalg.inv(self.factors) @ (values.T - self.means[..., None])
        spread = np.log(self.factors.diagonal(axis1=-2, axis2=-1)).sum(-1)
        parts = (np.log(self.weights) - spread)[:, None] - 0.5 * np.square(away, out=away).sum(1)
        most = parts.max(0)
        parts -= most
        return most, np.exp(parts, out=parts)


def fit_mixture(values: Tensor, count: int, noise: float) -> Mixture:
    """Fits a mixture: parts are split across their longest axis, then improved by expectation maximisation.

    Args:
        values: (N, D) on the CPU, at least one.
        count: How many Gaussians, at most.
        noise: Standard deviation that each has at least.

    Source:
        M. Orchard and C. Bouman, "Color Quantization of Images" (1991), for the splits.
    """
    centre = values.double().mean(0).float().numpy()
    own = values.float().numpy() - centre  # else squares of what hardly differs are rounding
    part = _split(own, count, noise)
    mixture = _weighted(own, np.equal(part, np.arange(part.max() + 1)[:, None]).astype(own.dtype), noise)
    for _ in range(_ROUNDS):
        mixture = _weighted(own, mixture.shares(own), noise)
    return mixture._replace(means=mixture.means + centre)


def _split(values: np.ndarray, count: int, noise: float) -> np.ndarray:
    """(N,) int64: the part of each value.

    Images have equal colours, and parts that mirror each other. No choice may hang on how their sums are rounded.
    """
    stretched = values.astype(np.float64) * _UNLIKE ** np.arange(values.shape[1])
    part, splits = np.zeros(len(values), np.int64), {0: _halves(stretched, np.arange(len(values)), noise)}
    for new in range(1, count):
        most = max(scatter for scatter, _, _ in splits.values())
        if most == 0:
            break
        old = next(each for each, (scatter, _, _) in splits.items() if scatter >= _AS_LARGE * most)
        _, stays, leaves = splits[old]
        part[leaves] = new
        splits |= {each: _halves(stretched, members, noise) for each, members in ((old, stays), (new, leaves))}
    return part


def _halves(values: np.ndarray, members: np.ndarray, noise: float) -> tuple[float, np.ndarray, np.ndarray]:
    """How much the values of a part are scattered along their longest axis, 0 if they are not split; and the numbers of its halves."""
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


def _weighted(values: np.ndarray, shares: np.ndarray, noise: float) -> Mixture:
    """The Gaussians of values (N, D) that belong to them by shares (K, N)."""
    sums = shares.sum(1) + np.float32(_FEW)
    means = shares @ values / sums[:, None]
    away = values.T - means[..., None]
    covariances = (away * shares[:, None]) @ away.swapaxes(1, 2) / sums[:, None, None]
    own = np.eye(values.shape[1], dtype=values.dtype) * np.float32(noise * noise)
    return Mixture(sums / sums.sum(), means, np.linalg.cholesky(covariances + own))
