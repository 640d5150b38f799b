"""Rows of the model's dashboard about labels: whether it is still right, and for whom."""

from __future__ import annotations

from typing import Any, Final

from otel_ml.generate.dashboards._shared import ROWS, S
from otel_ml.generate.dashboards._specs import BLUE, GREEN, RED, YELLOW, Panel, Target
from otel_ml.generate.dashboards.promql import Condition, aggregate, increase, legend, rate
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["FAIRNESS", "PERFORMANCE"]

_SOURCE: Final = (a.ML_ESTIMATE_SOURCE,)
_GROUP: Final = (a.ML_SLICE_GROUP,)
_MEASURE: Final[Condition] = (a.ML_PERFORMANCE_METRIC, "=", "$measure")
_SLICE: Final[Condition] = (a.ML_SLICE_ATTRIBUTE, "=", "$slice")
_GROUP_MEASURE: Final[Condition] = (a.ML_PERFORMANCE_METRIC, "=", "$group_measure")
_NO_LABELS: Final = "no labels yet"
_BOUNDS: Final = (a.MlEstimateBound.VALUE, a.MlEstimateBound.LOWER, a.MlEstimateBound.UPPER)


def _performance(bound: str) -> str:
    selector = S(m.ML_PERFORMANCE_SCORE, _MEASURE, (a.ML_ESTIMATE_BOUND, "=", bound))
    return aggregate("avg", _SOURCE, selector)


def _group(bound: str) -> str:
    selector = S(m.ML_FAIRNESS_SCORE, _SLICE, _GROUP_MEASURE, (a.ML_ESTIMATE_BOUND, "=", bound))
    return aggregate("avg", _GROUP, selector)


def _band(prefix: str, colour: str) -> dict[str, dict[str, Any]]:
    colours = {"mode": "fixed", "fixedColor": colour}
    thin = {"color": colours, "custom.lineWidth": 0, "custom.fillOpacity": 0}
    return {
        prefix: {"color": colours, "custom.lineWidth": 2, "custom.fillOpacity": 0},
        f"{prefix}, lower": thin,
        f"{prefix}, upper": {
            **thin,
            "custom.fillBelowTo": f"{prefix}, lower",
            "custom.fillOpacity": 15,
        },
    }


_STATE: Final = (a.ML_LABEL_STATE,)
_CONFUSION: Final = (a.ML_PREDICTION_CLASS, a.ML_LABEL_CLASS)

PERFORMANCE: Final = (
    Panel(
        "timeseries",
        "$measure",
        "The measure chosen above with its interval, counted from labels and, where there is one, "
        "estimated before they arrive. When the whole band leaves where it was, the model has "
        "changed for the worse; a wide band only means few labels.",
        (
            Target(_performance(a.MlEstimateBound.VALUE), legend(*_SOURCE)),
            Target(_performance(a.MlEstimateBound.LOWER), f"{legend(*_SOURCE)}, lower"),
            Target(_performance(a.MlEstimateBound.UPPER), f"{legend(*_SOURCE)}, upper"),
        ),
        "none",
        12,
        overrides={
            **_band(a.MlEstimateSource.REALISED, BLUE),
            **_band(a.MlEstimateSource.ESTIMATED, "purple"),
        },
        no_value=_NO_LABELS,
    ),
    Panel(
        "timeseries",
        "Labels",
        "Labels a second by what became of them. Unknown and expired ones do not find their "
        "prediction: check the ids and how long predictions are held.",
        (Target(aggregate("sum", _STATE, rate(S(m.ML_LABELS))), legend(*_STATE)),),
        "reqps",
        4,
        min=0,
        no_value=_NO_LABELS,
    ),
    Panel(
        "stat",
        "Labelled share",
        "Labels that found their prediction, as a share of the predictions within the time range. "
        "Late labels belong to earlier predictions, so it can exceed 100 % for a while.",
        (
            Target(
                "{} / {}".format(
                    aggregate(
                        "sum",
                        (),
                        increase(S(m.ML_LABELS, (a.ML_LABEL_STATE, "=", a.MlLabelState.JOINED))),
                    ),
                    aggregate("sum", (), increase(ROWS)),
                ),
                instant=True,
            ),
        ),
        "percentunit",
        3,
        steps=((RED, None), (YELLOW, 0.01), (GREEN, 0.05)),
        decimals=0,
        no_value=_NO_LABELS,
    ),
    Panel(
        "table",
        "Outcomes",
        "Labelled predictions within the time range by predicted and true class. Which mistake has "
        "become more frequent says where to look.",
        (
            Target(
                aggregate(
                    "sum",
                    _CONFUSION,
                    increase(S(m.ML_PERFORMANCE_OUTCOMES, (a.ML_SLICE_ATTRIBUTE, "=", ""))),
                ),
                instant=True,
                format="table",
            ),
        ),
        "none",
        5,
        columns={
            prometheus_label(a.ML_PREDICTION_CLASS): "Predicted",
            prometheus_label(a.ML_LABEL_CLASS): "True",
            "Value": "Rows",
        },
        sort="Rows",
        decimals=0,
        no_value=_NO_LABELS,
    ),
)

FAIRNESS: Final = (
    Panel(
        "timeseries",
        "$group_measure by $slice",
        "The measure chosen above in each group. Lines that part show a model that has become "
        "worse for some only. Groups that are too small are left out.",
        (Target(_group(a.MlEstimateBound.VALUE), legend(*_GROUP)),),
        "none",
        8,
        no_value=_NO_LABELS,
    ),
    Panel(
        "table",
        "$group_measure by $slice, with intervals",
        "Value and interval of each group now. Groups whose intervals do not overlap do differ; "
        "where they do, wait for more labels before you act.",
        tuple(Target(_group(bound), instant=True, format="table") for bound in _BOUNDS),
        "none",
        6,
        columns={
            prometheus_label(a.ML_SLICE_GROUP): "Group",
            "Value #B": "Lower",
            "Value #A": "Value",
            "Value #C": "Upper",
        },
        sort="Value",
        decimals=3,
        no_value=_NO_LABELS,
    ),
    Panel(
        "bargauge",
        "Largest difference between groups",
        "Largest difference of each measure between two groups. A large difference of the true "
        "positive rate is opportunity denied to a group; look at its labels and inputs.",
        (
            Target(
                aggregate("max", (a.ML_PERFORMANCE_METRIC,), S(m.ML_FAIRNESS_DIFFERENCE, _SLICE)),
                legend(a.ML_PERFORMANCE_METRIC),
                instant=True,
            ),
        ),
        "none",
        5,
        steps=((GREEN, None), (YELLOW, 0.1), (RED, 0.2)),
        min=0,
        decimals=2,
        no_value=_NO_LABELS,
    ),
    Panel(
        "bargauge",
        "Smallest ratio between groups",
        "Smallest ratio of each measure between two groups. Of the selection rate, a ratio below "
        "0.8 fails the four-fifths rule.",
        (
            Target(
                aggregate("min", (a.ML_PERFORMANCE_METRIC,), S(m.ML_FAIRNESS_GROUP_RATIO, _SLICE)),
                legend(a.ML_PERFORMANCE_METRIC),
                instant=True,
            ),
        ),
        "none",
        5,
        steps=((RED, None), (YELLOW, 0.8), (GREEN, 0.9)),
        min=0,
        max=1,
        decimals=2,
        no_value=_NO_LABELS,
    ),
)
