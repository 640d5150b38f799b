"""Sums over blocks of consecutive rows in, how much more than independent rows they vary, out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otel_ml.stats.products import quiet_product
from otel_ml.types import FloatArray, IntArray

__all__ = ["chi2_ratio", "compare_blocks", "compare_epochs", "spike", "trimmed_mean_ratio"]

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
    compared, counts = compare_epochs(codes[None], before, scores, sizes, epoch)
    return compared[0], counts[0]


def compare_epochs(
    codes: NDArray[np.int16],
    before: FloatArray,
    scores: FloatArray,
    sizes: Sequence[int],
    epoch: int | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Do what `compare_blocks` does for rows that follow each other, each with those before.

    Parameters
    ----------
    codes
        Shape ``(epochs, n, S)``.
    before, scores, sizes, epoch
        As of `compare_blocks`.

    Returns
    -------
    compared
        Shape ``(epochs, 2, len(sizes) + 1, 2, S)``.
    counts
        Shape ``(epochs, S, width)``.

    Examples
    --------
    >>> rows = np.repeat([[0], [1], [0], [1]], 2, axis=0).astype(np.int16)
    >>> found, _ = compare_epochs(np.stack([rows, rows]), np.zeros((1, 2)), np.zeros((1, 2)), [2])
    >>> np.round(1 + found[:, 0, 0, 0, 0] / found[:, 1, 0, 0, 0], 2)
    array([3.5 , 3.75])
    """
    s, width = scores.shape
    blocks = codes.shape[1] // sizes[0]
    rows = codes[:, : blocks * sizes[0]]
    shape = (len(codes), s, blocks + 1, width)
    flat = _places(s, blocks, sizes[0], width) + rows
    flat += (np.arange(shape[0]) * s * (blocks + 1) * width)[:, None, None]
    flat = flat.ravel() if not rows.size or rows.min() >= 0 else flat[rows >= 0]
    held = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    counts = held[:, :, :-1].sum(axis=2)
    held[0, :, -1], held[1:, :, -1] = before, counts[:-1]
    asked = np.stack([scores, np.square(scores), np.ones_like(scores)], axis=2)
    first, second, told = np.moveaxis(held @ asked, 3, 0)  # (epochs, s, blocks + 1) each
    products = held @ held.transpose(0, 1, 3, 2)
    pairs = _Pairs.of(blocks, tuple(sizes), epoch or codes.shape[1])
    energy = np.empty((2, *shape[:2], len(pairs.rows)))
    squared = quiet_product(products.reshape(shape[0] * s, -1), pairs.squares)
    energy[0] = squared.reshape(energy.shape[1:])
    np.square(first @ pairs.signs, out=energy[1])
    valid = (told @ np.abs(pairs.signs) == pairs.rows).astype(np.float64)
    n = valid @ pairs.members  # (epochs, s, sizes + 1)
    n_rows = np.maximum(told.sum(axis=2), 2.0)
    mean, square = first.sum(axis=2) / n_rows, second.sum(axis=2) / n_rows
    cells = 1 - products.sum(axis=(2, 3)) / (n_rows * n_rows)
    variance = np.stack([cells, square - mean * mean]) * (n_rows / (n_rows - 1))  # of a row
    excess = (energy * valid) @ pairs.members / (np.maximum(n, 1.0) * pairs.doubled)
    excess -= variance[..., None]
    compared = np.stack([excess, np.broadcast_to(variance[..., None], excess.shape)])
    compared *= n > 0  # (2, kinds, epochs, s, sizes + 1)
    return np.ascontiguousarray(compared.transpose(2, 0, 4, 1, 3)), counts


@lru_cache(8)
def _places(s: int, blocks: int, base: int, width: int) -> IntArray:
    """Return the first cell of each row's block in counts by source and block, and one more."""
    of = np.repeat(np.arange(blocks, dtype=np.int64), base)[:, None]
    return np.asarray((np.arange(s) * (blocks + 1) + of) * width)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Neighbours of all sizes, of the blocks and what was before them.

    Parameters
    ----------
    signs
        By pair, 1 for the blocks of one side and -1 for those of the other, shape
        ``(blocks + 1, pairs)``.
    squares
        Their products, shape ``((blocks + 1)², pairs)``.
    members
        To which size a pair belongs, shape ``(pairs, sizes + 1)``.
    rows
        Rows of both sides, shape ``(pairs,)``.
    doubled
        The same by size, shape ``(sizes + 1,)``.
    """

    signs: FloatArray
    squares: FloatArray
    members: FloatArray
    rows: FloatArray
    doubled: FloatArray

    @classmethod
    @lru_cache(8)
    def of(cls, blocks: int, sizes: tuple[int, ...], epoch: int) -> _Pairs:
        signs, of = [], []
        for j, size in enumerate(sizes):
            k = size // sizes[0]
            for start in range(0, blocks // k - 1):
                pair = np.zeros(blocks + 1)
                pair[start * k : (start + 1) * k], pair[(start + 1) * k : (start + 2) * k] = -1, 1
                signs.append(pair)
                of.append(j)
        signs.append(np.append(np.ones(blocks), -1.0))
        of.append(len(sizes))
        by_pair = np.array(signs)
        squares = (by_pair[:, :, None] * by_pair[:, None, :]).reshape(len(of), -1)
        doubled = 2.0 * np.array([*sizes, epoch])
        members = np.eye(len(doubled))[of]
        return cls(by_pair.T.copy(), squares.T.copy(), members, doubled[of], doubled)
