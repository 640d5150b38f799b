"""Counts of labelled predictions in, performance with 95 % intervals out.

Rates have Wilson intervals. What is no rate (AUC, F1, losses, calibration) has the interval of a
bootstrap of its counts with a fixed seed, centred on the value; errors of a regression have that of
their standard error. Each holds for one look at one window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from otel_ml.stats.calibration import (
    ScoreCounts,
    auc_binned,
    brier_binned,
    calibration_error,
    log_loss_binned,
)
from otel_ml.stats.intervals import wilson
from otel_ml.stats.rates import fraction, one_vs_rest
from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray, IntArray

__all__ = ["EDGES", "Estimate", "Tally", "group_rates", "performance"]

_DRAWS: Final = 100
_ALPHA: Final = 0.05
# Equal widths for the losses, and equal steps of the log odds for scores crowded near 0 or 1.
EDGES: Final = np.unique(
    np.concatenate([np.arange(1, 50) / 50, 1 / (1 + np.exp(-np.linspace(-12, 12, 49)))])
)
_CALIBRATION_BINS: Final = 20
_RATES: Final[Mapping[str, str]] = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
}
_GROUP_RATES: Final[Mapping[str, str]] = {
    "accuracy": "accuracy",
    "tpr": "true_positive_rate",
    "fpr": "false_positive_rate",
    "ppv": "positive_predictive_value",
}


class Estimate(NamedTuple):
    """A value with its interval, and the rows it rests on."""

    value: float
    lower: float
    upper: float
    n: int


@dataclass(slots=True)
class Tally:
    """Counts of one window; those of two windows add up.

    Parameters
    ----------
    first_row, last_row
        Rows seen before its first row, and with its last one.
    first_time, last_time
        Their times, seconds since the Unix epoch.
    outcomes
        Labelled rows by group, predicted and true class, shape ``(G, K, K)``.
    chosen
        Rows by group and predicted class, labelled or not, shape ``(G, K)``.
    scores
        Labelled rows by label (negative, positive) and score bin, shape ``(2, B)``.
    sums
        Sum of their scores by bin, shape ``(B,)``.
    errors
        Of a regression: number, and sums of the first, second and fourth power of the absolute
        error, shape ``(4,)``.
    labels
        Labelled rows.
    """

    first_row: int
    last_row: int
    first_time: float
    last_time: float
    outcomes: IntArray
    chosen: IntArray
    scores: IntArray = field(default_factory=lambda: np.zeros((2, len(EDGES) + 1), dtype=np.int64))
    sums: FloatArray = field(default_factory=lambda: np.zeros(len(EDGES) + 1))
    errors: FloatArray = field(default_factory=lambda: np.zeros(4))
    labels: int = 0

    def add(self, later: Tally) -> None:
        """Add the counts of a later window."""
        self.last_row, self.last_time = later.last_row, later.last_time
        self.outcomes += later.outcomes
        self.chosen += later.chosen
        self.scores += later.scores
        self.sums += later.sums
        self.errors += later.errors
        self.labels += later.labels


def performance(tally: Tally) -> dict[str, Estimate]:
    """Return every measure of performance that the counts of a window have something to say about.

    Parameters
    ----------
    tally
        Counts of the window.
    """
    out: dict[str, Estimate] = {}
    k = tally.outcomes.shape[1]
    matrix = tally.outcomes[0] if k else np.zeros((0, 0), dtype=np.int64)
    if matrix.sum() > 0:
        if k == 2:
            out |= _rates(_binary(matrix), _RATES)
            out["f1"] = _bootstrapped(matrix, lambda m: _f1(m)[..., 1])
        else:
            right, n = int(np.trace(matrix)), int(matrix.sum())
            out["accuracy"] = _rate(right, n)
            for name, measure in (("precision", _precision), ("recall", _recall), ("f1", _f1)):
                out[name] = _bootstrapped(matrix, lambda m, measure=measure: _mean(measure(m)))  # type: ignore[misc]
    if tally.scores.sum() > 0:
        out |= _of_scores(tally.scores, tally.sums)
    if tally.errors[0] > 0:
        out |= _of_errors(tally.errors)
    return {name: one for name, one in out.items() if math.isfinite(one.value)}


def group_rates(outcomes: IntArray, chosen: IntArray) -> dict[str, Estimate]:
    """Return the rates of one group.

    Parameters
    ----------
    outcomes
        Its labelled rows by predicted and true class, shape ``(K, K)``.
    chosen
        Its rows by predicted class, shape ``(K,)``; of two classes the second is the positive one.
    """
    out: dict[str, Estimate] = {}
    if outcomes.shape == (2, 2):
        if chosen.sum() > 0:
            out["selection_rate"] = _rate(int(chosen[1]), int(chosen.sum()))
        out |= _rates(_binary(outcomes), _GROUP_RATES)
    elif outcomes.sum() > 0:
        out["accuracy"] = _rate(int(np.trace(outcomes)), int(outcomes.sum()))
    return out


def _binary(matrix: IntArray) -> dict[str, int]:
    (tn, fn), (fp, tp) = matrix.tolist()
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn}


def _rates(cells: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Estimate]:
    out = {}
    for name, measured in names.items():
        k, n = fraction(measured, **cells)
        if n > 0:
            out[name] = _rate(int(k), int(n))
    return out


def _rate(k: int, n: int) -> Estimate:
    lower, upper = wilson(k, n, alpha=_ALPHA)
    return Estimate(k / n, float(lower), float(upper), n)


def _bootstrapped(
    counts: IntArray, measure: Callable[[IntArray], FloatArray], high: float = 1.0
) -> Estimate:
    """Return a measure of counts with the interval of redrawing as many rows from them."""
    n = int(counts.sum())
    value = float(measure(counts))
    draws = np.random.default_rng(0).multinomial(n, counts.reshape(-1) / n, size=_DRAWS)
    drawn = measure(draws.reshape(_DRAWS, *counts.shape))
    drawn = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or not len(drawn):
        return Estimate(value, value, value, n)
    # redrawn counts are biased where the measure is not linear: only their spread is used
    half = normal_quantile(1 - _ALPHA / 2) * float(drawn.std())
    return Estimate(value, max(value - half, 0.0), min(value + half, high), n)


def _precision(matrix: IntArray) -> FloatArray:
    c = one_vs_rest(matrix)
    return _quotient(c.tp, c.tp + c.fp)


def _recall(matrix: IntArray) -> FloatArray:
    c = one_vs_rest(matrix)
    return _quotient(c.tp, c.tp + c.fn)


def _f1(matrix: IntArray) -> FloatArray:
    c = one_vs_rest(matrix)
    return _quotient(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def _quotient(k: FloatArray, n: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, k / n, np.nan)


def _mean(values: FloatArray) -> FloatArray:
    """Return the mean over the classes that have one."""
    known = np.isfinite(values)
    return _quotient(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))


def _of_scores(scores: IntArray, sums: FloatArray) -> dict[str, Estimate]:
    totals = scores.sum(axis=0)
    means = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    coarse = np.searchsorted(np.arange(1, _CALIBRATION_BINS) / _CALIBRATION_BINS, means, "left")
    member = np.eye(_CALIBRATION_BINS)[coarse]

    def binned(m: IntArray) -> ScoreCounts:
        rows = m.sum(axis=-2).astype(np.float64)
        return ScoreCounts(rows, m[..., 1, :].astype(np.float64), rows * means)

    def gap(m: IntArray) -> FloatArray:
        c = binned(m)
        return calibration_error(
            ScoreCounts(c.totals @ member, c.positives @ member, c.sums @ member)
        )

    return {
        "auc": _bootstrapped(scores, lambda m: auc_binned(m[..., 1, :], m[..., 0, :])),
        "brier": _bootstrapped(scores, lambda m: brier_binned(binned(m))),
        "log_loss": _bootstrapped(scores, lambda m: log_loss_binned(binned(m)), math.inf),
        "calibration_error": _bootstrapped(scores, gap),
    }


def _of_errors(errors: FloatArray) -> dict[str, Estimate]:
    n, absolute, squared, fourth = (float(v) for v in errors)
    z = normal_quantile(1 - _ALPHA / 2)
    mae, mse = absolute / n, squared / n
    half = z * math.sqrt(max(mse - mae * mae, 0.0) / n)
    spread = z * math.sqrt(max(fourth / n - mse * mse, 0.0) / n)
    rmse = math.sqrt(mse)
    return {
        "mae": Estimate(mae, max(mae - half, 0.0), mae + half, int(n)),
        "rmse": Estimate(rmse, math.sqrt(max(mse - spread, 0.0)), math.sqrt(mse + spread), int(n)),
    }
