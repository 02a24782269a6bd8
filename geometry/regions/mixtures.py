"""Deterministic Gaussian mixtures."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_ROUNDS = 3
# Parts with fewer values are not split; and a number added to counts, which avoids division by 0.
_LEAST, _FEW = 20, 1e-3
# Among parts whose scatter is at least this share of the largest, the first is split; not exactly at the mean, where many values may lie,
# but this share of a deviation beside it.
_AS_LARGE, _BESIDE_MEAN = 0.99, 0.01
# Stretch of each dimension relative to the previous one, so that isotropic values have a longest axis.
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
        """(N,) log-density of CPU values (N, D), up to a constant that depends only on D."""
        most, parts = self._parts(values.float().numpy())
        return torch.from_numpy(most + np.log(parts.sum(0)))

    def shares(self, values: np.ndarray) -> np.ndarray:
        """(K, N): the posterior of each Gaussian for values (N, D)."""
        _, parts = self._parts(values)
        return parts / parts.sum(0)

    def _parts(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,): the logarithm of the largest density. (K, N): the densities relative to it."""
        away = np.linalg.inv(self.factors) @ (values.T - self.means[..., None])
        spread = np.log(self.factors.diagonal(axis1=-2, axis2=-1)).sum(-1)
        parts = (np.log(self.weights) - spread)[:, None] - 0.5 * np.square(away, out=away).sum(1)
        most = parts.max(0)
        parts -= most
        return most, np.exp(parts, out=parts)


def fit_mixture(values: Tensor, count: int, noise: float) -> Mixture:
    """Fits a mixture to values (N, D) on the CPU: parts are split across their longest axis, then refined by expectation maximisation.

    `count` is the maximum number of Gaussians, `noise` the minimum standard deviation of each.

    Source:
        M. Orchard and C. Bouman, "Color Quantization of Images" (1991), for the splits.
    """
    centre = values.double().mean(0).float().numpy()
    own = values.float().numpy() - centre  # otherwise squares of small differences are lost to rounding
    part = _split(own, count, noise)
    mixture = _weighted(own, np.equal(part, np.arange(part.max() + 1)[:, None]).astype(own.dtype), noise)
    for _ in range(_ROUNDS):
        mixture = _weighted(own, mixture.shares(own), noise)
    return mixture._replace(means=mixture.means + centre)


def _split(values: np.ndarray, count: int, noise: float) -> np.ndarray:
    """(N,) int64: the part of each value.

    Images contain equal colours, and parts that mirror each other; no choice may depend on the rounding of their sums.
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
    """A part's scatter along its longest axis, 0 if it is not split; and the indices of its halves."""
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
    """The Gaussians of values (N, D) with memberships (K, N)."""
    sums = shares.sum(1) + np.float32(_FEW)
    means = shares @ values / sums[:, None]
    away = values.T - means[..., None]
    covariances = (away * shares[:, None]) @ away.swapaxes(1, 2) / sums[:, None, None]
    own = np.eye(values.shape[1], dtype=values.dtype) * np.float32(noise * noise)
    return Mixture(sums / sums.sum(), means, np.linalg.cholesky(covariances + own))
