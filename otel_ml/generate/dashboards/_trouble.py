"""First row of the model's dashboard: whether the model is in trouble, since when, with what."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._shared import BUDGET_STEPS, DRIFT_STEPS, PSI, ROWS, S, Steps
from otel_ml.generate.dashboards._specs import GREEN, ORANGE, RED, YELLOW, Panel, Target
from otel_ml.generate.dashboards.promql import (
    aggregate,
    legend,
    on,
    or_zero,
    rate,
)
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["TROUBLE"]

_INCIDENT: Final = (a.ML_INCIDENT_CAUSE, a.ML_INCIDENT_TARGET)
_ACTIVE: Final = S(m.ML_INCIDENT_ACTIVE)
_PAGING: Final = S(m.ML_INCIDENT_ACTIVE, (a.ML_INCIDENT_PAGED, "=", "true"))
_OPEN: Final = aggregate("max", _INCIDENT, _ACTIVE)
_MONITOR: Final = (a.ML_MONITOR_NAME, a.ML_MONITOR_TARGET)
_EVIDENCE: Final = aggregate("max", _MONITOR, S(m.ML_MONITOR_EVIDENCE))
_MODEL: Final = aggregate("max", (), S(m.ML_MODEL_EVIDENCE))
_THRESHOLD: Final = aggregate("max", (), S(m.ML_MODEL_EVIDENCE_THRESHOLD))
# Ranked by the whole range, so that the same lines are drawn from end to end.
_HIGHEST: Final = aggregate(
    "max", _MONITOR, f"max_over_time({S(m.ML_MONITOR_EVIDENCE)}[$__range] @ end())"
)


def _stat(title: str, description: str, expr: str, unit: str, steps: Steps) -> Panel:
    return Panel("stat", title, description, (Target(expr),), unit, 4, 4, steps)


TROUBLE: Final = (
    _stat(
        "Open incidents",
        "Incidents that are open now. The timeline below says since when, the table what to look "
        "at.",
        or_zero(aggregate("sum", (), _OPEN)),
        "none",
        ((GREEN, None), (ORANGE, 1)),
    ),
    _stat(
        "Paging",
        "Open incidents that are worth waking somebody. Anything but zero needs a person now.",
        or_zero(aggregate("sum", (), aggregate("max", _INCIDENT, _PAGING))),
        "none",
        ((GREEN, None), (RED, 1)),
    ),
    _stat(
        "Evidence against the budget",
        "Evidence of all monitors together as a share of the threshold. An incident opens at 100 "
        "%.",
        f"clamp_min({_MODEL} / {_THRESHOLD}, 0)",
        "percentunit",
        BUDGET_STEPS,
    ),
    _stat(
        "Worst drift",
        "Largest population stability index of a feature, the scores or the predictions. Below 0.1 "
        "is stable, from 0.25 on it is a large shift; the next row says which feature.",
        aggregate("max", (), PSI),
        "none",
        DRIFT_STEPS,
    ),
    _stat(
        "Predictions",
        "Predictions a second. Without traffic nothing on this page can be judged.",
        aggregate("sum", (), rate(ROWS)),
        "reqps",
        ((GREEN, None),),
    ),
    _stat(
        "Reference learnt",
        "How much of the reference has been learnt from the first traffic. Drift is judged from "
        "100 % on; a reference made of the training data is there at once.",
        aggregate("min", (), S(m.ML_REFERENCE_LEARNING_RATIO)),
        "percentunit",
        ((YELLOW, None), (GREEN, 1)),
    ),
    Panel(
        "state-timeline",
        "Incidents",
        "A bar for each incident while it is open: red if it pages, orange if not. Its beginning "
        "is when it was found; the change itself began a little earlier. Read what to do in the "
        "event ml.incident of the same time.",
        (
            Target(
                aggregate("max", _INCIDENT, f"{_PAGING} * 2 or {_ACTIVE}"),
                legend(*_INCIDENT),
            ),
        ),
        "none",
        14,
        7,
        mappings={
            "0": ("closed", GREEN),
            "1": ("open", ORANGE),
            "2": ("open, paging", RED),
        },
        no_value="no incident in this time range",
    ),
    Panel(
        "table",
        "Incidents of this time range",
        "Cause and target of each incident, whether it is open now, and how long it was open "
        "within the time range, in steps of 30 seconds. Begin with the one that was open longest; "
        "its runbook has the next step.",
        (
            Target(_OPEN, instant=True, format="table"),
            # no filter on more than nothing: an incident shorter than a step was one all the same
            Target(f"30 * sum_over_time(({_OPEN})[$__range:30s])", instant=True, format="table"),
        ),
        "none",
        10,
        7,
        columns={
            prometheus_label(a.ML_INCIDENT_CAUSE): "Cause",
            prometheus_label(a.ML_INCIDENT_TARGET): "Target",
            "Value #A": "Now",
            "Value #B": "Open for",
        },
        overrides={
            "Now": {
                "custom.displayMode": "color-text",
                "mappings": [
                    {
                        "type": "value",
                        "options": {
                            "0": {"text": "closed", "color": GREEN, "index": 0},
                            "1": {"text": "open", "color": ORANGE, "index": 1},
                        },
                    }
                ],
            },
            "Open for": {"unit": "s", "decimals": 0},
        },
        sort="Open for",
        no_value="no incident in this time range",
    ),
    Panel(
        "timeseries",
        "Evidence against the threshold",
        "Evidence of all monitors together that something has changed, as a power of ten, and the "
        "threshold that follows from your budget of false incidents. Above it, an incident is "
        "open.",
        (Target(_MODEL, "evidence"), Target(_THRESHOLD, "threshold")),
        "none",
        12,
        overrides={
            "threshold": {
                "color": {"mode": "fixed", "fixedColor": RED},
                "custom.fillOpacity": 0,
                "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
            }
        },
    ),
    Panel(
        "bargauge",
        "Evidence by monitor and target, now",
        "The ten monitors with the most evidence, as a share of the threshold of the model; one "
        "alone needs somewhat more than 100 % of it. The first is the likely culprit. A target is "
        "a feature, a group, or score, prediction, performance, latency, errors.",
        (
            Target(
                f"topk(10, clamp_min({_EVIDENCE} / on () group_left () {_THRESHOLD}, 0))",
                legend(*_MONITOR),
                instant=True,
            ),
        ),
        "percentunit",
        12,
        steps=BUDGET_STEPS,
        min=0,
        decimals=0,
    ),
    Panel(
        "timeseries",
        "Evidence by monitor and target, over time",
        "The ten monitors that had the most evidence within the time range. Lines that climb "
        "together belong to one change; the one that climbed first is where to look.",
        (
            Target(
                f"{_EVIDENCE} and {on(*_MONITOR)} topk(10, {_HIGHEST})",
                legend(*_MONITOR),
            ),
        ),
        "none",
        24,
    ),
)
