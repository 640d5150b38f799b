"""Scores and labels, or their counts per score bin, in; calibration and losses out.

Binned forms take, per score bin along the last axis, the rows, the rows with a positive label and
the mean score, so that they work on merged counts; leading axes are streams or groups.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from otel_ml.stats.ranking import auc, auc_binned
from otel_ml.stats.scores import ScoreCounts, labelled, score_counts
from otel_ml.stats.special import xlogy
from otel_ml.types import FloatArray

__all__ = [
    "ScoreCounts",
    "auc",
    "auc_binned",
    "brier",
    "brier_binned",
    "calibration_error",
    "log_loss",
    "log_loss_binned",
    "score_counts",
]

# The clip of scikit-learn for float64: a certain and wrong score costs 36 nats instead of infinity.
_CLIP: Final = float(np.finfo(np.float64).eps)


def calibration_error(counts: ScoreCounts) -> FloatArray:
    """Return the expected calibration error.

    ``Σ (n_b / n) |positives_b / n_b − mean score_b|`` over the bins b.

    Parameters
    ----------
    counts
        As from `score_counts`, shape ``(..., B)``.

    Returns
    -------
    FloatArray
        0 to 1, shape ``(...)``; NaN without rows.

    Notes
    -----
    Null behaviour: a calibrated model does not get 0 but about
    ``Σ sqrt(2 n_b p_b (1 − p_b) / π) / n``, 4 points for bins of 100 rows around 0.5, so compare it
    with the reference's on as many rows (Naeini, Cooper, Hauskrecht,
    *Obtaining well calibrated probabilities using Bayesian binning*, 2015).

    Examples
    --------
    >>> counts = score_counts([0.2, 0.2, 0.8, 0.8], [0, 0, 1, 0], edges=[0.5])
    >>> round(float(calibration_error(counts)), 6)
    0.25
    """
    return _per_row(np.sum(np.abs(counts.positives - counts.sums), axis=-1), counts.totals)


def brier(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the Brier score: ``mean (score − label)²``.

    Parameters
    ----------
    scores, labels
        As for `score_counts`.

    Returns
    -------
    float
        0 to 1, lower is better; NaN without rows.

    Raises
    ------
    DataError
        Where scores are not between 0 and 1, labels not 0 and 1, or they are not equally many.

    Notes
    -----
    Null behaviour: for a calibrated model it is ``mean s (1 − s)`` on average, so it changes with
    the inputs, too (Brier, *Verification of forecasts expressed in terms of probability*, 1950).

    Examples
    --------
    >>> round(brier([0.2, 0.9], [0, 1]), 6)
    0.025
    """
    score, label = labelled(scores, labels)
    return float(np.mean((score - label) ** 2)) if score.size else float("nan")


def brier_binned(counts: ScoreCounts) -> FloatArray:
    """Return the Brier score with every score at its bin's mean.

    ``Σ [positives_b (1 − s_b)² + (n_b − positives_b) s_b²] / n`` with s_b the mean score.

    Parameters
    ----------
    counts
        As from `score_counts`, shape ``(..., B)``.

    Returns
    -------
    FloatArray
        0 to 1, shape ``(...)``; NaN without rows.

    Notes
    -----
    It differs from `brier` by what scores and labels vary together within a bin: by at most
    ``w / 2 + w² / 4`` for bins of width w. Null behaviour as there (Stephenson, Coelho,
    Jolliffe, *Two extra components in the Brier score decomposition*, 2008).

    Examples
    --------
    >>> round(float(brier_binned(score_counts([0.2, 0.9], [0, 1], edges=[0.5]))), 6)
    0.025
    """
    s = np.nan_to_num(counts.means)
    negatives = counts.totals - counts.positives
    losses = counts.positives * (1 - s) ** 2 + negatives * s**2
    return _per_row(np.sum(losses, axis=-1), counts.totals)


def log_loss(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the logarithmic loss: ``−mean [y ln s + (1 − y) ln(1 − s)]``.

    Parameters
    ----------
    scores, labels
        As for `score_counts`; scores are clipped to 2.2e-16 from 0 and 1.

    Returns
    -------
    float
        From 0, in nats, lower is better; NaN without rows.

    Raises
    ------
    DataError
        Where scores are not between 0 and 1, labels not 0 and 1, or they are not equally many.

    Notes
    -----
    Null behaviour: for a calibrated model it is the mean entropy of its scores on average, so it
    changes with the inputs, too (Good, *Rational decisions*, 1952).

    Examples
    --------
    >>> round(log_loss([0.5, 0.5], [0, 1]), 6)
    0.693147
    """
    score, label = labelled(scores, labels)
    if not score.size:
        return float("nan")
    score = np.clip(score, _CLIP, 1 - _CLIP)
    return float(-np.mean(np.log(np.where(label == 1, score, 1 - score))))


def log_loss_binned(counts: ScoreCounts) -> FloatArray:
    """Return the logarithmic loss with every score at its bin's mean.

    Parameters
    ----------
    counts
        As from `score_counts`, shape ``(..., B)``.

    Returns
    -------
    FloatArray
        From 0, in nats, shape ``(...)``; NaN without rows.

    Notes
    -----
    Where the labels of a bin do not depend on the score within it, it is at most `log_loss` on
    average, by concavity of the logarithm. Null behaviour as there (Good, 1952).

    Examples
    --------
    >>> round(float(log_loss_binned(score_counts([0.5, 0.5], [0, 1], edges=[0.7]))), 6)
    0.693147
    """
    s = np.clip(np.nan_to_num(counts.means, nan=0.5), _CLIP, 1 - _CLIP)
    negatives = counts.totals - counts.positives
    losses = -xlogy(counts.positives, s) - xlogy(negatives, 1 - s)
    return _per_row(np.sum(losses, axis=-1), counts.totals)


def _per_row(total: FloatArray, rows: FloatArray) -> FloatArray:
    n = np.sum(rows, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.where(n > 0, total / n, np.nan)[()]
    return result
