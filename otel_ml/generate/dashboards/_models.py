"""Rows of the dashboard of all models: a glance, a row for each, trends, and health."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._shared import BUDGET_STEPS, DRIFT_STEPS, MODEL_UID, Steps
from otel_ml.generate.dashboards._specs import GREEN, ORANGE, RED, YELLOW, Panel, Target
from otel_ml.generate.dashboards.promql import Selector, aggregate, legend, on, or_zero, rate
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["GLANCE", "HEALTH", "TABLE", "TRENDS"]

_S: Final = Selector('=~"$model"')
_MODEL: Final = (a.ML_MODEL_NAME,)
_INCIDENT: Final = (*_MODEL, a.ML_INCIDENT_CAUSE, a.ML_INCIDENT_TARGET)
_OPEN: Final = aggregate("max", _INCIDENT, _S(m.ML_INCIDENT_ACTIVE))
_PAGED: Final = aggregate(
    "max", _INCIDENT, _S(m.ML_INCIDENT_ACTIVE, (a.ML_INCIDENT_PAGED, "=", "true"))
)
_PSI: Final = _S(m.ML_DRIFT_SCORE, (a.ML_STATISTIC, "=", a.MlStatistic.PSI))
_FAILED: Final = _S(m.ML_PREDICTIONS, (a.ERROR_TYPE, "!=", ""))
_BUDGET: Final = "clamp_min({}, 0)".format(
    aggregate("max", _MODEL, _S(m.ML_MODEL_EVIDENCE))
    + f" / {on(*_MODEL)} "
    + aggregate("max", _MODEL, _S(m.ML_MODEL_EVIDENCE_THRESHOLD))
)
_LATENCY: Final = "histogram_quantile(0.95, {})".format(
    aggregate("sum", ("le", *_MODEL), rate(_S(m.ML_INFERENCE_DURATION, part="bucket")))
)


def _per_model(expr: str) -> Target:
    return Target(expr, instant=True, format="table")


def _stat(title: str, description: str, expr: str, unit: str, steps: Steps) -> Panel:
    return Panel("stat", title, description, (Target(expr),), unit, 4, 4, steps)


GLANCE: Final = (
    _stat(
        "Predictions",
        "Predictions a second, all models together. When it falls to nothing while the service has "
        "traffic, look at the row Monitoring itself.",
        aggregate("sum", (), rate(_S(m.ML_PREDICTIONS))),
        "reqps",
        ((GREEN, None),),
    ),
    _stat(
        "Open incidents",
        "Incidents that are open now. Open the model concerned from the table below: its dashboard "
        "says what changed, since when, and what to do.",
        or_zero(aggregate("sum", (), _OPEN)),
        "none",
        ((GREEN, None), (ORANGE, 1)),
    ),
    _stat(
        "Paging",
        "Open incidents that are worth waking somebody. Anything but zero needs a person now.",
        or_zero(aggregate("sum", (), _PAGED)),
        "none",
        ((GREEN, None), (RED, 1)),
    ),
    _stat(
        "Evidence against the budget",
        "Highest evidence of a model as a share of its threshold. An incident opens at 100 %; the "
        "threshold follows from the number of false incidents you put up with.",
        aggregate("max", (), _BUDGET),
        "percentunit",
        BUDGET_STEPS,
    ),
    _stat(
        "Worst drift",
        "Largest population stability index of any feature, score or prediction. It explains and "
        "never pages: below 0.1 is stable, from 0.25 on it is a large shift.",
        aggregate("max", (), _PSI),
        "none",
        DRIFT_STEPS,
    ),
    _stat(
        "Latency p95",
        "Duration that 95 % of the calls into the slowest model stay below, without the web server "
        "around it. Compare it with what your callers were promised.",
        aggregate("max", (), _LATENCY),
        "s",
        ((GREEN, None), (YELLOW, 0.25), (RED, 1.0)),
    ),
)

_COLUMNS: Final = {
    prometheus_label(a.ML_MODEL_NAME): "Model",
    "Value #A": "Paging",
    "Value #B": "Open incidents",
    "Value #C": "Evidence / budget",
    "Value #D": "Worst drift",
    "Value #E": "Predictions",
    "Value #F": "Failed",
    "Value #G": "Latency p95",
    "Value #H": "Reference learnt",
}
_LINK: Final = {
    "title": "Open the dashboard of this model",
    "url": f"/d/{MODEL_UID}/ml-model?var-model=${{__value.raw:percentencode}}"
    "&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}",
}


def _coloured(unit: str, steps: Steps) -> dict[str, object]:
    return {
        "unit": unit,
        "custom.displayMode": "color-background-solid",
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for colour, value in steps],
        },
    }


TABLE: Final = Panel(
    "table",
    "Models",
    "A row for each model; the worst come first. Click on a name for the model's own dashboard.",
    (
        _per_model(
            f"{aggregate('sum', _MODEL, _PAGED)} or "
            f"0 * {aggregate('count', _MODEL, _S(m.ML_PREDICTIONS))}"
        ),
        _per_model(
            f"{aggregate('sum', _MODEL, _OPEN)} or "
            f"0 * {aggregate('count', _MODEL, _S(m.ML_PREDICTIONS))}"
        ),
        _per_model(_BUDGET),
        _per_model(aggregate("max", _MODEL, _PSI)),
        _per_model(aggregate("sum", _MODEL, rate(_S(m.ML_PREDICTIONS)))),
        _per_model(
            f"({aggregate('sum', _MODEL, rate(_FAILED))} or "
            f"0 * {aggregate('sum', _MODEL, rate(_S(m.ML_PREDICTIONS)))}) / {on(*_MODEL)} "
            f"{aggregate('sum', _MODEL, rate(_S(m.ML_PREDICTIONS)))}"
        ),
        _per_model(_LATENCY),
        _per_model(aggregate("min", _MODEL, _S(m.ML_REFERENCE_LEARNING_RATIO))),
    ),
    "none",
    24,
    9,
    columns=_COLUMNS,
    overrides={
        "Model": {"links": [_LINK]},
        "Paging": _coloured("none", ((GREEN, None), (RED, 1))),
        "Open incidents": _coloured("none", ((GREEN, None), (ORANGE, 1))),
        "Evidence / budget": _coloured("percentunit", BUDGET_STEPS),
        "Worst drift": _coloured("none", DRIFT_STEPS),
        "Predictions": {"unit": "reqps"},
        "Failed": _coloured("percentunit", ((GREEN, None), (YELLOW, 0.001), (RED, 0.01))),
        "Latency p95": {"unit": "s"},
        "Reference learnt": _coloured("percentunit", ((YELLOW, None), (GREEN, 1))),
    },
    decimals=2,
    sort="Evidence / budget",
    no_value="no model has sent anything yet",
)

TRENDS: Final = (
    Panel(
        "timeseries",
        "Evidence against the budget, by model",
        "Evidence of each model as a share of its threshold. A line that climbs to 100 % opens an "
        "incident. Look at the model before it gets there.",
        (Target(_BUDGET, legend(*_MODEL)),),
        "percentunit",
        12,
        steps=((GREEN, None), (RED, 1.0)),
        min=0,
    ),
    Panel(
        "timeseries",
        "Predictions by model",
        "Predictions a second. A step shows a new release or a caller that came or went; compare "
        "it with the beginning of an incident.",
        (Target(aggregate("sum", _MODEL, rate(_S(m.ML_PREDICTIONS))), legend(*_MODEL)),),
        "reqps",
        12,
        min=0,
    ),
    Panel(
        "timeseries",
        "Worst drift by model",
        "Largest population stability index of each model. When it rises for all models at once, "
        "look at what they have in common: a data source, a release, a season.",
        (Target(aggregate("max", _MODEL, _PSI), legend(*_MODEL)),),
        "none",
        12,
        steps=DRIFT_STEPS,
        min=0,
    ),
    Panel(
        "timeseries",
        "Latency p95 by model",
        "Duration that 95 % of the calls into the model stay below. When it rises without more "
        "traffic, look at batch sizes and at the machine.",
        (Target(_LATENCY, legend(*_MODEL)),),
        "s",
        12,
        min=0,
    ),
)

HEALTH: Final = (
    Panel(
        "timeseries",
        "Seen and not monitored",
        "Predictions a second that monitoring had to leave out, by reason. With queue_full, the "
        "worker does not keep up; the other reasons name a problem of the data or the backend.",
        (
            Target(
                or_zero(
                    aggregate("sum", (a.ML_DROP_REASON,), rate(_S(m.ML_MONITORING_DROPPED))),
                    a.ML_DROP_REASON,
                ),
                legend(a.ML_DROP_REASON),
            ),
        ),
        "reqps",
        8,
        steps=((GREEN, None), (RED, 0.001)),
        min=0,
    ),
    Panel(
        "timeseries",
        "Queue in use",
        "Share of the queue that is taken, of the fullest process. At 100 % calls are dropped and "
        "counted; give the process more CPU or a larger queue.",
        (
            Target(
                f"max ({_S(m.ML_MONITORING_QUEUE_SIZE)} / {_S(m.ML_MONITORING_QUEUE_CAPACITY)})",
                "fullest process",
            ),
        ),
        "percentunit",
        8,
        steps=((GREEN, None), (YELLOW, 0.5), (RED, 0.9)),
        min=0,
        max=1,
    ),
    Panel(
        "timeseries",
        "Age of the last export",
        "Time since the last export that succeeded, of the process that waited longest. What these "
        "dashboards show is that old. When it grows, the Collector or backend does not answer.",
        (Target(aggregate("max", (), _S(m.ML_MONITORING_EXPORT_AGE)), "oldest"),),
        "s",
        8,
        steps=((GREEN, None), (YELLOW, 120), (RED, 300)),
        min=0,
    ),
)
