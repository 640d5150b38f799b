"""Scores and labels in, their counts per score bin out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otel_ml.errors import DataError
from otel_ml.types import FloatArray

__all__ = ["ScoreCounts", "labelled", "score_counts"]


class ScoreCounts(NamedTuple):
    """Labelled rows by score bin; arrays of one shape, bins along the last axis.

    Parameters
    ----------
    totals
        Rows with a label.
    positives
        Those of them whose label is positive.
    sums
        Sum of their scores; divided by `totals` it is the mean score.
    """

    totals: FloatArray
    positives: FloatArray
    sums: FloatArray

    @property
    def means(self) -> FloatArray:
        """Mean score of each bin, NaN for one without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sums / np.where(self.totals > 0, self.totals, np.nan))


def score_counts(scores: ArrayLike, labels: ArrayLike, edges: ArrayLike) -> ScoreCounts:
    """Count labelled scores by bin.

    Parameters
    ----------
    scores
        Probabilities of the positive class, shape ``(n,)``.
    labels
        Whether the label is positive, shape ``(n,)``, boolean or 0 and 1.
    edges
        Inner edges, strictly increasing, shape ``(B - 1,)``; a score at an edge belongs below it.

    Returns
    -------
    ScoreCounts
        Arrays of shape ``(B,)``. Those of two batches add up to those of both.

    Raises
    ------
    DataError
        Where scores are not between 0 and 1, labels not 0 and 1, or they are not equally many.

    Examples
    --------
    >>> counts = score_counts([0.2, 0.7, 0.9], [0, 0, 1], edges=[0.5])
    >>> counts.totals, counts.positives
    (array([1., 2.]), array([0., 1.]))
    """
    score, label = labelled(scores, labels)
    inner = np.asarray(edges, dtype=np.float64)
    codes = np.searchsorted(inner, score, side="left")
    totals, positives, sums = (
        np.bincount(codes, weights=weights, minlength=len(inner) + 1).astype(np.float64)
        for weights in (None, label, score)
    )
    return ScoreCounts(totals, positives, sums)


def labelled(scores: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return checked probabilities and labels 0 and 1, each as float64."""
    score = np.asarray(scores, dtype=np.float64)
    label: NDArray[Any] = np.asarray(labels).astype(np.float64, copy=False)
    if score.ndim != 1 or score.shape != label.shape:
        raise DataError(
            f"scores of shape {score.shape} and labels of shape {label.shape} do not match",
            remedy="Give one score and one label per row.",
        )
    if not np.all((score >= 0) & (score <= 1)):
        raise DataError("a score is not between 0 and 1", remedy="Give probabilities.")
    if not np.all((label == 0) | (label == 1)):
        raise DataError("a label is neither 0 nor 1", remedy="Compare with the positive class.")
    return score, label
