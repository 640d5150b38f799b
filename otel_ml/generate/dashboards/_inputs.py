"""Rows of the model's dashboard about inputs: which feature moved, and what it looks like now."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._shared import DRIFT_STEPS, PSI, ROWS, S, Steps
from otel_ml.generate.dashboards._specs import BLUE, GREEN, RED, YELLOW, Panel, Target
from otel_ml.generate.dashboards.promql import (
    Condition,
    aggregate,
    increase,
    legend,
    on,
    rate,
)
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["FEATURE", "MOVED", "WHICH"]

_NAME: Final = (a.ML_FEATURE_NAME,)
_CELL: Final = (a.ML_FEATURE_CELL,)
_DEFECTS: Final = "|".join(
    (
        a.MlFeatureCell.MISSING,
        a.MlFeatureCell.INFINITE,
        a.MlFeatureCell.UNSEEN,
        a.MlFeatureCell.BELOW_RANGE,
        a.MlFeatureCell.ABOVE_RANGE,
        a.MlFeatureCell.NOT_A_NUMBER,
    )
)
# The others have no common scale: they grow with the number of rows, or have the feature's unit.
_BOUNDED: Final = "|".join(
    (
        a.MlStatistic.PSI,
        a.MlStatistic.JENSEN_SHANNON,
        a.MlStatistic.HELLINGER,
        a.MlStatistic.KS,
        a.MlStatistic.TOTAL_VARIATION,
    )
)
_DRIFT: Final = aggregate("max", _NAME, PSI)
_LARGEST: Final = aggregate("max", _NAME, f"max_over_time({PSI}[$__range] @ end())")
_NOT_NUMERIC: Final = "this feature has categories, or no traffic yet"
_NOT_CATEGORICAL: Final = "this feature has no categories, or no traffic yet"


def _now(feature: Condition) -> str:
    buckets = increase(S(m.ML_FEATURE_VALUE, feature, part="bucket"))
    count = increase(S(m.ML_FEATURE_VALUE, feature, part="count"))
    return (
        f"{aggregate('sum', ('le',), buckets)} / on () group_left () {aggregate('sum', (), count)}"
    )


def _reference(feature: Condition) -> str:
    # Constant counts, the same in every replica: a sum over replicas cancels in the quotient.
    buckets = S(m.ML_REFERENCE_VALUE, feature, part="bucket")
    count = S(m.ML_REFERENCE_VALUE, feature, part="count")
    return (
        f"{aggregate('sum', ('le',), buckets)} / on () group_left () {aggregate('sum', (), count)}"
    )


def _cells_now(feature: Condition) -> str:
    cells = increase(S(m.ML_FEATURE_CELLS, feature))
    return f"{aggregate('sum', _CELL, cells)} / on () group_left () {aggregate('sum', (), cells)}"


def _cells_reference(feature: Condition) -> str:
    cells = S(m.ML_REFERENCE_CELLS, feature)
    return f"{aggregate('sum', _CELL, cells)} / on () group_left () {aggregate('sum', (), cells)}"


def _histogram(
    title: str,
    description: str,
    expr: str,
    height: int,
    steps: Steps = ((BLUE, None),),
    repeat: str = "",
    bounds: tuple[float, float | None] = (0, None),
) -> Panel:
    return Panel(
        "bargauge",
        title,
        description,
        (Target(expr, "{{le}}", instant=True, format="heatmap"),),
        "percentunit",
        # A repeated panel takes its line for itself; Grafana divides the width.
        24 if repeat else 8,
        height,
        steps,
        no_value=_NOT_NUMERIC,
        repeat=repeat,
        decimals=1,
        min=bounds[0],
        max=bounds[1],
    )


def _categories(title: str, feature: Condition, repeat: str = "") -> Panel:
    return Panel(
        "barchart",
        title,
        "Share of each category now, within the time range, beside its share in the reference. A "
        "category that is only there now was never seen in training: ask where it comes from.",
        (
            Target(_cells_now(feature), instant=True, format="table"),
            Target(_cells_reference(feature), instant=True, format="table"),
        ),
        "percentunit",
        24 if repeat else 8,
        columns={
            prometheus_label(a.ML_FEATURE_CELL): "Category",
            "Value #A": "now",
            "Value #B": "reference",
        },
        min=0,
        no_value=_NOT_CATEGORICAL,
        repeat=repeat,
    )


WHICH: Final = (
    Panel(
        "bargauge",
        "Drift by feature, now",
        "The fifteen features with the largest population stability index; score and prediction "
        "are the outputs. Below 0.1 is stable, from 0.25 on it is a large shift. Choose one above "
        "to see its distribution.",
        (Target(f"topk(15, {_DRIFT})", legend(*_NAME), instant=True),),
        "none",
        8,
        10,
        steps=DRIFT_STEPS,
        min=0,
        decimals=2,
    ),
    Panel(
        "timeseries",
        "Drift by feature, over time",
        "The ten features whose index was largest within the time range. A step has a date: "
        "compare it with releases of the application and of the data source.",
        (Target(f"{_DRIFT} and {on(*_NAME)} topk(10, {_LARGEST})", legend(*_NAME)),),
        "none",
        8,
        10,
        steps=DRIFT_STEPS,
        min=0,
    ),
    Panel(
        "bargauge",
        "Broken values by feature",
        "Share of the predictions within the time range whose value was missing, infinite, never "
        "seen or out of the range of the reference. Some are normal; a new one is a defect of the "
        "source.",
        (
            Target(
                "topk(15, {} / on () group_left () {})".format(
                    aggregate(
                        "sum",
                        (*_NAME, *_CELL),
                        increase(S(m.ML_FEATURE_CELLS, (a.ML_FEATURE_CELL, "=~", _DEFECTS))),
                    ),
                    aggregate("sum", (), increase(ROWS)),
                ),
                legend(*_NAME, *_CELL),
                instant=True,
            ),
        ),
        "percentunit",
        8,
        10,
        steps=((GREEN, None), (YELLOW, 0.02), (RED, 0.1)),
        min=0,
        decimals=1,
        no_value="no broken values",
    ),
)

MOVED: Final = (
    _histogram(
        "$top_numeric: now",
        "Share of the values in each bucket within the time range. The buckets are quantiles of "
        "the reference, so an unchanged feature has bars of about the same length as below.",
        _now((a.ML_FEATURE_NAME, "=~", "$top_numeric")),
        9,
        repeat="top_numeric",
    ),
    _histogram(
        "$top_numeric: reference",
        "Share of the values in each bucket in the reference. Compare it with the panel above.",
        _reference((a.ML_FEATURE_NAME, "=~", "$top_numeric")),
        9,
        repeat="top_numeric",
        steps=(("#8e8e8e", None),),
    ),
    _categories(
        "$top_categorical: now and reference",
        (a.ML_FEATURE_NAME, "=~", "$top_categorical"),
        "top_categorical",
    ),
)

_CHOSEN: Final[Condition] = (a.ML_FEATURE_NAME, "=", "$feature")

FEATURE: Final = (
    _histogram(
        "Now",
        "Share of the values in each bucket within the time range. Compare it with the reference "
        "beside it: a shift of the whole is a change of unit or of population, a single long bar a "
        "value that is stuck.",
        _now(_CHOSEN),
        10,
    ),
    _histogram(
        "Reference",
        "Share of the values in each bucket in the reference, which the model was trained on.",
        _reference(_CHOSEN),
        10,
        steps=(("#8e8e8e", None),),
    ),
    _histogram(
        "Now minus reference",
        "By how many points the share of each bucket has changed. Red buckets have become more "
        "frequent, blue ones rarer. Where the model was trained on little, expect more errors.",
        f"({_now(_CHOSEN)}) - on (le) ({_reference(_CHOSEN)})",
        10,
        ((BLUE, None), (GREEN, -0.05), (RED, 0.05)),
        bounds=(-0.5, 0.5),
    ),
    _categories("Categories: now and reference", _CHOSEN),
    Panel(
        "timeseries",
        "Broken values over time",
        "Share of the predictions whose value was missing, infinite, never seen, out of range or "
        "not a number. A step is a change of the source; ask its owner what was released then.",
        (
            Target(
                "{} / on () group_left () {}".format(
                    aggregate(
                        "sum",
                        _CELL,
                        rate(S(m.ML_FEATURE_CELLS, _CHOSEN, (a.ML_FEATURE_CELL, "=~", _DEFECTS))),
                    ),
                    aggregate("sum", (), rate(ROWS)),
                ),
                legend(*_CELL),
            ),
        ),
        "percentunit",
        8,
        min=0,
        no_value="no broken values",
    ),
    Panel(
        "timeseries",
        "Distance from the reference",
        "The statistics people know, side by side. They agree on a large change; on a small one "
        "the evidence decides, because it knows how much traffic there was.",
        (
            Target(
                aggregate(
                    "max",
                    (a.ML_STATISTIC,),
                    S(m.ML_DRIFT_SCORE, _CHOSEN, (a.ML_STATISTIC, "=~", _BOUNDED)),
                ),
                legend(a.ML_STATISTIC),
            ),
        ),
        "none",
        8,
        min=0,
    ),
)
