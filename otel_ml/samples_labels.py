"""Confusion counts in, samples of performance and fairness with their intervals out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from otel_ml.profile import OVERALL, Reference
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.state import State
from otel_ml.stats.intervals import wilson
from otel_ml.types import AttributeValue, IntArray, Sample

__all__ = ["estimates", "label_samples"]

_MIN_LABELS: Final = 30  # an estimate on fewer is noise
Estimate = tuple[float, float, float]

# metric: cells of the binary confusion matrix that count as yes, and those it is asked of
_RATES: Final = {
    "accuracy": (("tp", "tn"), ("tp", "fp", "fn", "tn")),
    "error_rate": (("fp", "fn"), ("tp", "fp", "fn", "tn")),
    "selection_rate": (("tp", "fp"), ("tp", "fp", "fn", "tn")),
    "true_positive_rate": (("tp",), ("tp", "fn")),
    "false_positive_rate": (("fp",), ("fp", "tn")),
    "positive_predictive_value": (("tp",), ("tp", "fp")),
}
_OVERALL: Final = {"precision": "positive_predictive_value", "recall": "true_positive_rate"}


def estimates(matrix: IntArray) -> dict[str, Estimate]:
    """Return value, lower and upper 95 % bound of each rate of one confusion matrix.

    Parameters
    ----------
    matrix
        Counts by predicted and true class, shape ``(K, K)``; for two classes the second is the
        positive one. Rates without a single case are left out.

    Notes
    -----
    Wilson intervals: right at one look at a fixed number of labels; the monitors' evidence, not
    these, stays valid under continuous looking.
    """
    total = int(matrix.sum())
    right = int(np.trace(matrix))
    if matrix.shape != (2, 2):
        pairs = {"accuracy": (right, total), "error_rate": (total - right, total)}
    else:
        (tn, fn), (fp, tp) = matrix.tolist()
        cells = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
        pairs = {
            name: (sum(cells[c] for c in yes), sum(cells[c] for c in asked))
            for name, (yes, asked) in _RATES.items()
        }
    out = {}
    for name, (events, rows) in pairs.items():
        if rows > 0:
            lower, upper = wilson(events, rows)
            out[name] = (events / rows, float(lower), float(upper))
    return out


def label_samples(
    base: Mapping[str, AttributeValue], state: State, min_group: int
) -> Iterator[Sample]:
    """Yield what is known once labels have arrived.

    Parameters
    ----------
    base
        Attributes that name the model.
    state
        Of the model.
    min_group
        Groups with fewer labels are left out.
    """
    for label_state, count in state.labelled.join.states.items():
        yield Sample(m.ML_LABELS, {**base, a.ML_LABEL_STATE: label_state}, count)
    layout = state.reference.group_layout
    if state.reference.task == "regression":
        yield from _residuals(base, state)
    if layout is None or state.labelled.outcomes is None or not state.labelled.outcomes[0].any():
        return
    for (attribute, group), matrix in zip(layout.names, state.labelled.outcomes, strict=True):
        if matrix.sum() < min_group:
            continue
        named = dict(base)
        if attribute != OVERALL:
            named |= {a.ML_SLICE_ATTRIBUTE: attribute, a.ML_SLICE_GROUP: group}
        for i, predicted in enumerate(layout.classes):
            for j, actual in enumerate(layout.classes):
                pair = {**named, a.ML_PREDICTION_CLASS: predicted, a.ML_LABEL_CLASS: actual}
                yield Sample(m.ML_PERFORMANCE_OUTCOMES, pair, int(matrix[i, j]))
    recent, calibration = state.labelled.recent_outcomes()
    if recent[0].sum() < _MIN_LABELS:
        return
    yield from _performance(base, recent[0], calibration)
    yield from _fairness(base, state.reference, recent, max(min_group, _MIN_LABELS))


def _performance(
    base: Mapping[str, AttributeValue], matrix: IntArray, calibration: IntArray
) -> Iterator[Sample]:
    known: dict[str, tuple[float, ...]] = dict(estimates(matrix))
    for name, twin in _OVERALL.items():
        if twin in known:
            known[name] = known.pop(twin)
    if "precision" in known and "recall" in known:
        p, r = known["precision"][0], known["recall"][0]
        if p + r > 0:
            known["f1"] = (2 * p * r / (p + r),)
    rows = calibration.sum(axis=1)
    if rows.sum() >= _MIN_LABELS:
        middle = (np.arange(len(rows)) + 0.5) / len(rows)
        used = rows > 0
        gap = np.abs(calibration[used, 1] / rows[used] - middle[used])
        known["calibration_error"] = (float((gap * rows[used]).sum() / rows.sum()),)
        squares = calibration[:, 1] * (1 - middle) ** 2 + calibration[:, 0] * middle**2
        known["brier"] = (float(squares.sum() / rows.sum()),)
    for metric, values in known.items():
        for bound, value in zip(("value", "lower", "upper"), values, strict=False):
            yield Sample(
                m.ML_PERFORMANCE_SCORE,
                {
                    **base,
                    a.ML_PERFORMANCE_METRIC: metric,
                    a.ML_ESTIMATE_SOURCE: a.MlEstimateSource.REALISED,
                    a.ML_ESTIMATE_BOUND: bound,
                },
                float(value),
            )


def _fairness(
    base: Mapping[str, AttributeValue], reference: Reference, recent: IntArray, least: int
) -> Iterator[Sample]:
    assert reference.group_layout is not None
    by_metric: dict[tuple[str, str], list[float]] = {}
    for (attribute, group), matrix in zip(reference.group_layout.names, recent, strict=True):
        if attribute == OVERALL or matrix.sum() < least:
            continue
        for metric, values in estimates(matrix).items():
            by_metric.setdefault((attribute, metric), []).append(values[0])
            for bound, value in zip(("value", "lower", "upper"), values, strict=True):
                yield Sample(
                    m.ML_FAIRNESS_SCORE,
                    {
                        **base,
                        a.ML_SLICE_ATTRIBUTE: attribute,
                        a.ML_SLICE_GROUP: group,
                        a.ML_PERFORMANCE_METRIC: metric,
                        a.ML_ESTIMATE_BOUND: bound,
                    },
                    float(value),
                )
    for (attribute, metric), rates in by_metric.items():
        if len(rates) < 2:
            continue
        named = {**base, a.ML_SLICE_ATTRIBUTE: attribute, a.ML_PERFORMANCE_METRIC: metric}
        yield Sample(m.ML_FAIRNESS_DIFFERENCE, named, max(rates) - min(rates))
        if max(rates) > 0:
            yield Sample(m.ML_FAIRNESS_GROUP_RATIO, named, min(rates) / max(rates))


def _residuals(base: Mapping[str, AttributeValue], state: State) -> Iterator[Sample]:
    n, absolute, squared = state.labelled.residuals.tolist()
    if n < _MIN_LABELS:
        return
    for metric, value in (("mae", absolute / n), ("rmse", math.sqrt(squared / n))):
        yield Sample(
            m.ML_PERFORMANCE_SCORE,
            {
                **base,
                a.ML_PERFORMANCE_METRIC: metric,
                a.ML_ESTIMATE_SOURCE: a.MlEstimateSource.REALISED,
                a.ML_ESTIMATE_BOUND: a.MlEstimateBound.VALUE,
            },
            float(value),
        )
