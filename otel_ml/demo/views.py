"""From telemetry to charts: in, what arrived; out, bands, bars and intervals over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from otel_ml.demo.charts import Band, Bar, Interval
from otel_ml.demo.telemetry import Series, Telemetry
from otel_ml.semconv import attributes as attr
from otel_ml.semconv import metrics as metric
from otel_ml.types import Buckets, FloatArray, MetricDef

__all__ = [
    "accuracy",
    "cells",
    "evidence",
    "group_attribute",
    "groups",
    "latency",
    "latency_cells",
    "score_cells",
    "threshold",
]

SHOWN_CELLS: Final = 12
OFTEN_ENOUGH: Final = 0.002
LATENCY_STRETCH_ROWS: Final = 500
OUT_OF_RANGE: Final = frozenset({attr.MlFeatureCell.BELOW_RANGE, attr.MlFeatureCell.ABOVE_RANGE})
SPECIAL: Final[Mapping[str, str]] = {attr.MlFeatureCell.NOT_A_NUMBER: "not a number"}


def evidence(telemetry: Telemetry, openings: Sequence[tuple[float, float]]) -> Band:
    """Return the model's evidence, log10, never below 0: none is none.

    Parameters
    ----------
    telemetry
        What arrived.
    openings
        Row and evidence of incidents as they opened. Evidence can rise and, once an incident has
        explained it, fall again between two exports.
    """
    rows, values = _gauge(telemetry, metric.ML_MODEL_EVIDENCE, {})
    points = sorted([*zip(rows, values, strict=True), *openings])
    return Band(
        [row for row, _ in points], [max(value, 0.0) for _, value in points], label="evidence"
    )


def threshold(telemetry: Telemetry) -> float | None:
    """Return the budget as log10 evidence, or None where it was never sent."""
    _, values = _gauge(telemetry, metric.ML_MODEL_EVIDENCE_THRESHOLD, {})
    return values[-1] if values else None


def accuracy(telemetry: Telemetry) -> Band:
    """Return the realised accuracy with its interval."""
    bounds = attr.MlEstimateBound
    where = {
        attr.ML_PERFORMANCE_METRIC: attr.MlPerformanceMetric.ACCURACY,
        attr.ML_ESTIMATE_SOURCE: attr.MlEstimateSource.REALISED,
    }
    by_bound = {
        bound: _gauge(
            telemetry, metric.ML_PERFORMANCE_SCORE, {**where, attr.ML_ESTIMATE_BOUND: bound}
        )
        for bound in (bounds.VALUE, bounds.LOWER, bounds.UPPER)
    }
    rows, values = by_bound[bounds.VALUE]
    lower, upper = (
        np.interp(rows, *by_bound[bound]).tolist() if rows and by_bound[bound][0] else []
        for bound in (bounds.LOWER, bounds.UPPER)
    )
    return Band(rows, values, lower, upper, label="accuracy")


def latency(telemetry: Telemetry) -> list[Band]:
    """Return the median and the 95th percentile of the calls' durations, in seconds."""
    _, rows = telemetry.clock()
    edges = [float(rows[0])] if len(rows) else []
    for row in rows.tolist():
        if row - edges[-1] >= LATENCY_STRETCH_ROWS:
            edges.append(row)
    where: list[float] = []
    found: dict[float, list[float]] = {0.5: [], 0.95: []}
    for first, last in pairwise(edges):
        window = telemetry.window(metric.ML_INFERENCE_DURATION, {}, first, last)
        if window is None:
            continue
        where.append((first + last) / 2)
        for share, values in found.items():
            values.append(_quantile(*window, share))
    return [
        Band(where, found[0.95], kind="bad", label="95 % of calls are faster"),
        Band(where, found[0.5], kind="now", label="median"),
    ]


def cells(telemetry: Telemetry, feature: str, first: float, last: float) -> list[Bar]:
    """Return a feature's distribution between two rows beside its reference."""
    where = {attr.ML_FEATURE_NAME: feature}
    now: dict[str, float] = telemetry.growth(
        metric.ML_FEATURE_CELLS, where, attr.ML_FEATURE_CELL, first, last
    )
    was = {
        str(one.attributes.get(attr.ML_FEATURE_CELL, "")): _plain(one)
        for one in telemetry.series(metric.ML_REFERENCE_CELLS, where)
    }
    # A stretch of the cumulative counts lies between two exports, and the reference is all of it.
    numbers = telemetry.window(metric.ML_FEATURE_VALUE, where, first, last)
    reference = _whole(telemetry, metric.ML_REFERENCE_VALUE, where)
    names: list[str] = []
    if reference is not None:
        bounds, counts = reference
        names = _bins(bounds)
        was.update(zip(names, counts.tolist(), strict=True))
        if numbers is not None and numbers[0] == bounds:
            now.update(zip(names, numbers[1].tolist(), strict=True))
        # These rows are in the histogram's first and last bucket already.
        for outside in OUT_OF_RANGE:
            now.pop(outside, None)
            was.pop(outside, None)
    coded = sorted((set(now) | set(was)) - set(names), key=_code)
    return _bars([*names, *coded], was, now)


def score_cells(telemetry: Telemetry, first: float, last: float, quiet: float) -> list[Bar]:
    """Return the scores between two rows beside those of the quiet rows in the beginning."""
    return _against_quiet(telemetry, metric.ML_PREDICTION_SCORE, first, last, quiet, 1.0, "")


def latency_cells(telemetry: Telemetry, first: float, last: float, quiet: float) -> list[Bar]:
    """Return the durations between two rows beside those of the quiet rows in the beginning."""
    return _against_quiet(
        telemetry, metric.ML_INFERENCE_DURATION, first, last, quiet, 1000.0, " ms"
    )


def group_attribute(target: str) -> str:
    """Return the slicing attribute of a target such as ``SEX=2``."""
    return target.partition("=")[0]


def groups(
    telemetry: Telemetry, attribute: str, row: float, before: float, marked: str = ""
) -> list[Interval]:
    """Return the accuracy of each group at a row, and what it was at an earlier one.

    Parameters
    ----------
    telemetry
        What arrived.
    attribute
        Slicing attribute.
    row, before
        The two rows.
    marked
        The target to point out, as ``attribute=group``.
    """
    bounds = attr.MlEstimateBound
    measure = attr.MlPerformanceMetric.ACCURACY
    found: dict[str, dict[str, Series]] = {}
    where = {attr.ML_SLICE_ATTRIBUTE: attribute, attr.ML_PERFORMANCE_METRIC: measure}
    for one in telemetry.series(metric.ML_FAIRNESS_SCORE, where):
        group = str(one.attributes.get(attr.ML_SLICE_GROUP, ""))
        bound = str(one.attributes.get(attr.ML_ESTIMATE_BOUND, ""))
        found.setdefault(group, {})[bound] = one
    times, rows = telemetry.clock()
    if not len(times):
        return []
    at = float(np.interp(row, rows, times))
    then = float(np.interp(before, rows, times))
    drawn = []
    for group in sorted(found, key=_code):
        series = found[group]
        value = _number(series.get(bounds.VALUE), at)
        lower, upper = (_number(series.get(b), at) for b in (bounds.LOWER, bounds.UPPER))
        if value is None or lower is None or upper is None:
            continue
        was = _number(series.get(bounds.VALUE), then)
        label = f"{attribute}={group}"
        drawn.append(Interval(label, value, lower, upper, was, label == marked))
    return drawn


def _against_quiet(
    telemetry: Telemetry,
    definition: MetricDef,
    first: float,
    last: float,
    quiet: float,
    scale: float,
    unit: str,
) -> list[Bar]:
    now = telemetry.window(definition, {}, first, last)
    was = telemetry.window(definition, {}, 0, quiet)
    if now is None or was is None or now[0] != was[0]:
        return []
    names = [name + unit for name in _bins(tuple(bound * scale for bound in now[0]))]
    bars = _bars(
        names,
        dict(zip(names, was[1].tolist(), strict=True)),
        dict(zip(names, now[1].tolist(), strict=True)),
    )
    # Buckets that nobody is in, at either end, only take the room of the others.
    used = [number for number, bar in enumerate(bars) if bar.now + bar.reference > 0]
    return bars[used[0] : used[-1] + 1] if used else []


def _gauge(
    telemetry: Telemetry, definition: MetricDef, where: Mapping[str, str]
) -> tuple[list[float], list[float]]:
    points = [point for one in telemetry.series(definition, where) for point in one.points]
    plain = [(point.time, point.value) for point in points if isinstance(point.value, (int, float))]
    plain.sort()
    rows = telemetry.rows_at([time for time, _ in plain]).tolist()
    return rows, [value for _, value in plain]


def _whole(
    telemetry: Telemetry, definition: MetricDef, where: Mapping[str, str]
) -> tuple[tuple[float, ...], FloatArray] | None:
    for one in telemetry.series(definition, where):
        last = one.points[-1].value
        if isinstance(last, Buckets):
            return last.bounds, np.array(last.counts, dtype=np.float64)
    return None


def _bins(bounds: tuple[float, ...]) -> list[str]:
    if not bounds:
        return ["all"]
    # an edge that is nothing beside its own neighbours is 0, such as the one just below an age of 0
    beside = (*bounds[1:], bounds[-2] if len(bounds) > 1 else 0.0)
    said = [_edge(b, abs(other - b)) for b, other in zip(bounds, beside, strict=True)]
    inner = [f"{low}–{high}" for low, high in pairwise(said)]
    return [f"≤ {said[0]}", *inner, f"> {said[-1]}"]


def _edge(bound: float, span: float) -> str:
    """Return an edge as people write it: what is nothing beside the next one is 0."""
    return "0" if abs(bound) < span * 1e-4 else f"{bound:.4g}"


def _bars(names: list[str], was: Mapping[str, float], now: Mapping[str, float]) -> list[Bar]:
    all_was, all_now = sum(was.values()) or 1.0, sum(now.values()) or 1.0
    bars = [
        Bar(SPECIAL.get(name, name), was.get(name, 0.0) / all_was, now.get(name, 0.0) / all_now)
        for name in names
    ]
    ordered = bars if _is_histogram(names) else _most_telling(bars)
    return [bar for bar in ordered if _is_bin(bar.label) or bar.reference + bar.now > OFTEN_ENOUGH]


def _most_telling(bars: list[Bar]) -> list[Bar]:
    """Return the cells that are large or have moved, in their own order, the rest as one."""
    if len(bars) <= SHOWN_CELLS:
        return bars
    rank = sorted(bars, key=lambda bar: -(abs(bar.now - bar.reference) * 10 + bar.reference))
    kept = {bar.label for bar in rank[: SHOWN_CELLS - 1]}
    rest = [bar for bar in bars if bar.label not in kept]
    together = Bar("rest", sum(bar.reference for bar in rest), sum(bar.now for bar in rest))
    return [*(bar for bar in bars if bar.label in kept), together]


def _is_bin(name: str) -> bool:
    return "–" in name or name[:1] in "≤>"


def _is_histogram(names: list[str]) -> bool:
    return any(_is_bin(name) for name in names)


def _code(name: str) -> tuple[int, float, str]:
    """Order numbers by size, and names behind them."""
    try:
        return (0, float(name), "")
    except ValueError:
        return (1, 0.0, name)


def _quantile(bounds: tuple[float, ...], counts: FloatArray, share: float) -> float:
    """Return the quantile of a histogram, by straight lines within its buckets."""
    if not bounds:
        return 0.0
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    edges = np.array([0.0, *bounds, bounds[-1]])
    return float(np.interp(share * cumulative[-1], cumulative, edges))


def _number(series: Series | None, time: float) -> float | None:
    value = None if series is None else series.at(time)
    return value if isinstance(value, (int, float)) else None


def _plain(series: Series) -> float:
    last = series.points[-1].value
    return last if isinstance(last, (int, float)) else 0.0
