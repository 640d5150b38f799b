"""Rows of the model's dashboard about serving, and about whether monitoring itself is alive."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._shared import ROWS, S
from otel_ml.generate.dashboards._specs import GREEN, ORANGE, RED, YELLOW, Panel, Target
from otel_ml.generate.dashboards.promql import aggregate, increase, legend, or_zero, rate
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["HEALTH", "SERVING"]

_SIZE_SUM: Final = aggregate("sum", (), rate(S(m.ML_INFERENCE_BATCH_SIZE, part="sum")))
_SIZE_COUNT: Final = aggregate("sum", (), rate(S(m.ML_INFERENCE_BATCH_SIZE, part="count")))
_ERROR: Final = (a.ERROR_TYPE,)

SERVING: Final = (
    Panel(
        "timeseries",
        "Latency",
        "Duration of the calls into the model that 50, 95 and 99 % stay below, without the web "
        "server around it. When only the 99th rises, look at batch sizes; when all do, at the "
        "machine.",
        tuple(
            Target(S.quantile(q, m.ML_INFERENCE_DURATION), f"p{round(q * 100)}")
            for q in (0.5, 0.95, 0.99)
        ),
        "s",
        8,
        min=0,
    ),
    Panel(
        "timeseries",
        "Predictions",
        "Rows predicted a second, and calls into the model a second. Rows without calls to match "
        "mean that callers began to send batches.",
        (
            Target(aggregate("sum", (), rate(ROWS)), "rows"),
            Target(aggregate("sum", (), rate(S(m.ML_INFERENCE_DURATION, part="count"))), "calls"),
        ),
        "reqps",
        6,
        min=0,
    ),
    Panel(
        "timeseries",
        "Failed calls",
        "Calls into the model a second that raised, by class of the exception. The trace of such a "
        "request has the message.",
        (
            Target(
                or_zero(
                    aggregate("sum", _ERROR, rate(S(m.ML_PREDICTIONS, (a.ERROR_TYPE, "!=", "")))),
                    a.ERROR_TYPE,
                ),
                legend(*_ERROR),
            ),
        ),
        "reqps",
        5,
        steps=((GREEN, None), (RED, 0.001)),
        min=0,
    ),
    Panel(
        "timeseries",
        "Rows of a call",
        "Rows in each call into the model: the mean, and what 95 % of the calls stay below. Larger "
        "batches explain a higher latency.",
        (
            Target(f"{_SIZE_SUM} / {_SIZE_COUNT}", "mean"),
            Target(S.quantile(0.95, m.ML_INFERENCE_BATCH_SIZE), "p95"),
        ),
        "none",
        5,
        min=0,
    ),
)

HEALTH: Final = (
    Panel(
        "timeseries",
        "Captured and dropped",
        "Predictions a second that were captured, and those left out, by reason, of all models of "
        "the processes chosen. Anything dropped for long is missing from everything above, and "
        "what is not watched in whole from the panels of its inputs or its outputs.",
        (
            Target(aggregate("sum", (), rate(S(m.ML_MONITORING_CAPTURED))), "captured"),
            Target(
                or_zero(
                    aggregate("sum", (a.ML_DROP_REASON,), rate(S(m.ML_MONITORING_DROPPED))),
                    a.ML_DROP_REASON,
                    "nothing",
                ),
                f"dropped: {legend(a.ML_DROP_REASON)}",
            ),
            Target(
                aggregate("sum", (), rate(S(m.ML_MONITORING_SAMPLED))), "counted without values"
            ),
            Target(
                aggregate("sum", (), rate(S(m.ML_MONITORING_INVALID))), "score is no probability"
            ),
            Target(
                or_zero(
                    aggregate("sum", (a.ML_DROP_REASON,), rate(S(m.ML_MONITORING_UNREADABLE))),
                    a.ML_DROP_REASON,
                    "nothing",
                ),
                f"not watched in whole: {legend(a.ML_DROP_REASON)}",
            ),
        ),
        "reqps",
        8,
        min=0,
    ),
    Panel(
        "timeseries",
        "Queue",
        "Calls that wait to be evaluated, and the room there is, of the fullest process. When the "
        "two meet, calls are dropped: give the process more CPU or a larger queue.",
        (
            Target(aggregate("max", (), S(m.ML_MONITORING_QUEUE_SIZE)), "waiting"),
            Target(aggregate("max", (), S(m.ML_MONITORING_QUEUE_CAPACITY)), "room"),
        ),
        "none",
        5,
        min=0,
    ),
    Panel(
        "timeseries",
        "Evaluation time",
        "Duration of an evaluation of all monitors. It is spent by a thread of its own and delays "
        "no request; when it grows, the number of features or groups did.",
        (
            Target(S.quantile(0.5, m.ML_MONITORING_EVALUATION_DURATION), "p50"),
            Target(S.quantile(0.95, m.ML_MONITORING_EVALUATION_DURATION), "p95"),
        ),
        "s",
        5,
        min=0,
    ),
    Panel(
        "timeseries",
        "Exports",
        "Exports a second by signal and outcome. Failures mean that the Collector or backend does "
        "not answer, partial ones that it refuses some points; its log says why.",
        (
            Target(
                aggregate(
                    "sum",
                    (a.ML_EXPORT_SIGNAL, a.ML_EXPORT_OUTCOME),
                    rate(S(m.ML_MONITORING_EXPORTS)),
                ),
                legend(a.ML_EXPORT_SIGNAL, a.ML_EXPORT_OUTCOME),
            ),
            Target(
                or_zero(
                    aggregate("sum", (a.ML_DROP_REASON,), rate(S(m.ML_MONITORING_EXPORT_DROPPED))),
                    a.ML_DROP_REASON,
                    "nothing",
                ),
                f"items lost: {legend(a.ML_DROP_REASON)}",
            ),
        ),
        "cps",
        6,
        min=0,
    ),
    Panel(
        "stat",
        "Age of the last export",
        "Time since the last export that succeeded, of the process that waited longest. What this "
        "page shows is that old.",
        (Target(aggregate("max", (), S(m.ML_MONITORING_EXPORT_AGE))),),
        "s",
        4,
        5,
        ((GREEN, None), (YELLOW, 120), (RED, 300)),
    ),
    Panel(
        "stat",
        "Worker restarts",
        "Restarts of the worker thread since the processes started. Anything but zero is worth a "
        "look at the log of the process.",
        (
            Target(
                or_zero(aggregate("sum", (), increase(S(m.ML_MONITORING_WORKER_RESTARTS)))),
                instant=True,
            ),
        ),
        "none",
        4,
        5,
        ((GREEN, None), (RED, 1)),
        decimals=0,
    ),
    Panel(
        "timeseries",
        "Reference learnt",
        "How much of the reference has been learnt, by process. Until 100 % drift is not judged; a "
        "line that does not move means that there is no traffic to learn from.",
        (
            Target(
                aggregate("min", (a.ML_REFERENCE_STATE,), S(m.ML_REFERENCE_LEARNING_RATIO)),
                legend(a.ML_REFERENCE_STATE),
            ),
        ),
        "percentunit",
        8,
        5,
        min=0,
        max=1,
    ),
    Panel(
        "table",
        "Monitors",
        "State each monitor is in now. One with insufficient_data has too few rows or labels to "
        "say anything, which is not the same as all being well.",
        (
            Target(
                aggregate("max", (a.ML_MONITOR_NAME, a.ML_MONITOR_STATE), S(m.ML_MONITOR_STATUS))
                + " > 0",
                instant=True,
                format="table",
            ),
        ),
        "none",
        8,
        5,
        columns={
            prometheus_label(a.ML_MONITOR_NAME): "Monitor",
            prometheus_label(a.ML_MONITOR_STATE): "State",
        },
        overrides={
            "State": {
                "custom.displayMode": "color-text",
                "mappings": [
                    {
                        "type": "value",
                        "options": {
                            a.MlMonitorState.OK: {"color": GREEN, "index": 0},
                            a.MlMonitorState.ALARM: {"color": RED, "index": 1},
                            a.MlMonitorState.LEARNING: {"color": YELLOW, "index": 2},
                            a.MlMonitorState.INSUFFICIENT_DATA: {"color": ORANGE, "index": 3},
                        },
                    }
                ],
            }
        },
        no_value="no monitor has reported",
    ),
)
