"""Scores and labels, or their counts per score bin, in; the area under the ROC curve out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.errors import DataError
from otel_ml.stats.scores import labelled
from otel_ml.types import FloatArray

__all__ = ["auc", "auc_binned"]


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve.

    Parameters
    ----------
    scores, labels
        As for `score_counts`.

    Returns
    -------
    float
        Probability that a positive row scores above a negative one, ties counted half; NaN where
        one of the two is missing.

    Raises
    ------
    DataError
        Where scores are not between 0 and 1, labels not 0 and 1, or they are not equally many.

    Notes
    -----
    Null behaviour: 0.5 for scores that say nothing, with variance
    ``(n₊ + n₋ + 1) / (12 n₊ n₋)`` (Mann, Whitney, 1947; Hanley, McNeil, *The meaning and use of the
    area under a ROC curve*, 1982).

    Examples
    --------
    >>> auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    score, label = labelled(scores, labels)
    distinct, codes = np.unique(score, return_inverse=True)
    positives = np.bincount(codes, weights=label, minlength=len(distinct))
    negatives = np.bincount(codes, minlength=len(distinct)) - positives
    return float(auc_binned(positives, negatives))


def auc_binned(positives: ArrayLike, negatives: ArrayLike) -> FloatArray:
    """Return the area under the ROC curve of binned scores.

    ``Σ positives_b (negatives below b + negatives_b / 2) / (n₊ n₋)``.

    Parameters
    ----------
    positives, negatives
        Rows by score bin, ascending, shape ``(..., B)``.

    Returns
    -------
    FloatArray
        0 to 1, shape ``(...)``; NaN where there are no positive or no negative rows.

    Raises
    ------
    DataError
        Where counts are negative or not finite, or the bins are not equally many.

    Notes
    -----
    Rows of one bin count as tied, so it is off by at most half the share of pairs that fall into
    one bin: ``Σ positives_b negatives_b / (2 n₊ n₋)``, and exact when every bin is one value. Null
    behaviour as for `auc` (Hanley, McNeil, 1982).

    Examples
    --------
    >>> float(auc_binned([0, 1, 1], [1, 1, 0]))
    0.875
    """
    up = np.asarray(positives, dtype=np.float64)
    down = np.asarray(negatives, dtype=np.float64)
    if not up.ndim or not down.ndim or up.shape[-1] != down.shape[-1]:
        raise DataError(
            f"counts of shapes {up.shape} and {down.shape} are not of the same bins",
            remedy="Count both in the same bins.",
        )
    if any(not np.all(np.isfinite(counts)) or np.any(counts < 0) for counts in (up, down)):
        raise DataError("counts are negative or not finite", remedy="Give counts of rows.")
    below = np.cumsum(down, axis=-1) - down / 2
    pairs = up.sum(axis=-1) * down.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.sum(up * below, axis=-1) / pairs
    result: FloatArray = np.where(pairs > 0, area, np.nan)[()]
    return result
