"""Sums over blocks of consecutive rows in, how much more than independent rows they vary, out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otel_ml.types import FloatArray

__all__ = ["chi2_ratio", "compare_blocks", "spike", "trimmed_mean_ratio"]

_EDGE: Final = 5.0  # Tracy-Widom standard units; 5 is passed about once in 1e6


def chi2_ratio(deviate: float, dof: ArrayLike) -> FloatArray:
    """Return a quantile of a chi-square variable over its degrees of freedom.

    Parameters
    ----------
    deviate
        Quantile as a standard normal deviate.
    dof
        Degrees of freedom above zero, any shape.

    Returns
    -------
    FloatArray
        1 on average; an estimated variance ratio of nothing passes it with that probability.

    Notes
    -----
    Wilson and Hilferty, *The distribution of chi-square*, 1931.

    Examples
    --------
    >>> round(float(chi2_ratio(1.645, 10)), 2)  # 18.307 / 10
    1.83
    """
    part = 2 / (9 * np.maximum(np.asarray(dof, dtype=np.float64), 0.3))
    return np.asarray(np.maximum(1 - part + deviate * np.sqrt(part), 0.0) ** 3)


def trimmed_mean_ratio(dof: ArrayLike, n: int, dropped: int) -> FloatArray:
    """Return what is left of a mean of n chi-square ratios after the largest are dropped.

    Parameters
    ----------
    dof
        Degrees of freedom of each, any shape.
    n
        How many there are.
    dropped
        How many of the largest are left out, below `n`.

    Returns
    -------
    FloatArray
        Expected mean of the others, of the shape of `dof`; 1 where none is dropped.

    Examples
    --------
    >>> round(float(trimmed_mean_ratio(2.0, 16, 2)), 2)
    0.73
    """
    freedom = np.asarray(dof, dtype=np.float64)
    if not dropped:
        return np.ones_like(freedom)
    places = [(i + 0.625) / (n + 0.25) for i in range(n)]
    values = np.array([chi2_ratio(NormalDist().inv_cdf(p), freedom) for p in places])
    return np.asarray(values[: n - dropped].mean(axis=0) / values.mean(axis=0))


def spike(blocks: FloatArray) -> float:
    """Return the variance in the worst direction, with the noise of looking for it removed.

    Parameters
    ----------
    blocks
        Standardised block sums, unit variance in every direction under independence, shape
        ``(m, K)``.

    Returns
    -------
    float
        1 where the largest eigenvalue is one that noise gives to directions like the others; else
        the population's.

    Notes
    -----
    The largest eigenvalue of noise lies at the Marchenko-Pastur edge; above it, that of a spiked
    covariance is inverted. Baik and Silverstein, *Eigenvalues of large sample covariance matrices
    of spiked population models*, 2006; Johnstone 2001 for the spread at the edge.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> spike(rng.normal(size=(400, 8)))
    1.0
    >>> 7 < spike(rng.normal(size=(400, 8)) * np.array([3.0] + 7 * [1.0])) < 11
    True
    """
    m, k = blocks.shape
    if m < 2 or not k:
        return 1.0
    values = np.linalg.eigvalsh(blocks.T @ blocks / m)
    k = int((values > 1e-9 * values[-1]).sum())  # counts of all cells have a direction less
    if not k:
        return 1.0  # nothing varies between blocks
    bulk = max(1.0, float(values.sum()) / k)
    largest = float(values[-1]) / bulk
    gamma = k / m
    root = 1 + math.sqrt(gamma)
    width = root * (1 / math.sqrt(m) + 1 / math.sqrt(k)) ** (1 / 3) / math.sqrt(m)
    if largest < root * root + _EDGE * width:
        return 1.0
    half = largest + 1 - gamma
    return float(bulk * max(1.0, (half + math.sqrt(max(half * half - 4 * largest, 0.0))) / 2))


def compare_blocks(
    codes: NDArray[np.int16],
    before: FloatArray,
    scores: FloatArray,
    sizes: Sequence[int],
    epoch: int | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Compare neighbouring blocks of rows with each other, by cell and by score.

    Parameters
    ----------
    codes
        Cell of each row and source in the order of time, shape ``(n, S)``; -1 where not known.
    before
        Rows by cell of as many rows just before, shape ``(S, width)``; zeros where there are none.
    scores
        Score of each cell, shape ``(S, width)``.
    sizes
        Rows of the blocks, each twice the one before.
    epoch
        Rows of the two halves `codes` and `before` that are compared as well, n if left out.

    Returns
    -------
    compared
        Half the squared difference of neighbours per row less the variance of a row, and that
        variance where there was a difference, shape ``(2, len(sizes) + 1, 2, S)``: over sizes,
        and over cells (their one-hot vector) and scores.
    counts
        Rows by cell, shape ``(S, width)``; fewer than n by the rows of an unfinished block.

    Notes
    -----
    Under independence the first is 0 on average, whatever the law of the rows.

    Examples
    --------
    >>> same = np.repeat([[0], [1], [0], [1]], 2, axis=0).astype(np.int16)
    >>> compared, _ = compare_blocks(same, np.zeros((1, 2)), np.zeros((1, 2)), [2])
    >>> np.round(1 + compared[0, 0, 0] / compared[1, 0, 0], 2)
    array([3.5])
    """
    s, width = scores.shape
    base = sizes[0]
    blocks = len(codes) // base
    rows = codes[: blocks * base]
    place = np.repeat(np.arange(blocks) * s, base)[:, None] + np.arange(s)
    flat = place * width + rows
    flat = flat.ravel() if not rows.size or rows.min() >= 0 else flat[rows >= 0]
    counts = np.bincount(flat, minlength=blocks * s * width).reshape(blocks, s, width)
    sums = _Sums.of(counts.astype(np.float64), scores)
    total = sums.cells.sum(axis=0)
    compared = np.zeros((2, len(sizes) + 1, 2, s))
    lengths, found = [], []
    for j, size in enumerate(sizes):
        if j:
            sums = sums.doubled()
        if len(sums.cells) < 2:
            break
        lengths.append(size)
        found.append(sums.steps(size))
    halves = _Sums.of(np.stack([before, total]), scores)
    found.append(halves.steps(epoch or len(codes)))
    at = [*range(len(lengths)), len(sizes)]
    lengths.append(epoch or len(codes))
    starts = np.cumsum([0, *(energy.shape[1] for energy, _ in found[:-1])])
    energy = np.concatenate([energy for energy, _ in found], axis=1)
    valid = np.concatenate([valid for _, valid in found])
    # by size, kind and source
    n = np.add.reduceat(valid, starts, axis=0, dtype=np.int64)[:, None, :]
    mean = np.add.reduceat(energy * valid, starts, axis=1).transpose(1, 0, 2) / np.maximum(n, 1)
    variance = _row_variance(total + before, scores)
    compared[0, at] = mean / (2 * np.array(lengths, dtype=np.float64)[:, None, None]) - variance
    compared[1, at] = variance
    compared[:, at] *= n > 0
    return compared, total


class _Sums(NamedTuple):
    """Blocks of rows: their rows by cell, their scores, and how many rows were told."""

    cells: FloatArray  # (blocks, S, width)
    scores: FloatArray  # (blocks, S)
    told: FloatArray  # (blocks, S)

    @classmethod
    def of(cls, cells: FloatArray, scores: FloatArray) -> _Sums:
        return cls(cells, np.einsum("bsk,sk->bs", cells, scores), cells.sum(axis=2))

    def doubled(self) -> _Sums:
        """Return blocks of two each."""
        end = len(self.cells) // 2 * 2
        return _Sums(*(part[0:end:2] + part[1:end:2] for part in self))

    def steps(self, size: int) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return squared differences of neighbours, ``(2, blocks - 1, S)``, and which are full."""
        steps = self.cells[1:] - self.cells[:-1]
        scores = self.scores[1:] - self.scores[:-1]
        full = self.told == size
        energy = np.empty((2, *scores.shape))
        np.einsum("bsk,bsk->bs", steps, steps, out=energy[0])
        np.square(scores, out=energy[1])
        return energy, full[1:] & full[:-1]


def _row_variance(counts: FloatArray, scores: FloatArray) -> FloatArray:
    """Variance of a row's cell and of its score, shape ``(2, S)``."""
    n = np.maximum(counts.sum(axis=1), 2.0)
    law = counts / n[:, None]
    mean = np.einsum("sk,sk->s", law, scores)
    square = np.einsum("sk,sk,sk->s", law, scores, scores)
    cells = 1 - np.einsum("sk,sk->s", law, law)
    return np.asarray(np.stack([cells, square - mean * mean]) * (n / (n - 1)))
