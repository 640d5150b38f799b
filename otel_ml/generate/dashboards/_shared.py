"""What rows and dashboards share: identifiers, thresholds, selections, and features by drift."""

from __future__ import annotations

from typing import Final, TypeAlias

from otel_ml.generate.dashboards._specs import GREEN, RED, YELLOW, Variable
from otel_ml.generate.dashboards.promql import Selector, aggregate, on
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_name

__all__ = [
    "BUDGET_STEPS",
    "DRIFT_STEPS",
    "MODEL_UID",
    "OF_PROCESS",
    "OVERVIEW_UID",
    "PSI",
    "ROWS",
    "TOP_CATEGORICAL",
    "TOP_NUMERIC",
    "S",
    "Steps",
    "by_drift",
    "process_variables",
]

Steps: TypeAlias = tuple[tuple[str, float | None], ...]

OVERVIEW_UID: Final = "otel-ml-overview"
MODEL_UID: Final = "otel-ml-model"

# Usual reading of the population stability index: below 0.1 stable, from 0.25 on a large shift.
DRIFT_STEPS: Final[Steps] = ((GREEN, None), (YELLOW, 0.1), (RED, 0.25))
BUDGET_STEPS: Final[Steps] = ((GREEN, None), (YELLOW, 0.7), (RED, 1.0))

S: Final = Selector('="$model"', '=~"$version"')
PSI: Final = S(m.ML_DRIFT_SCORE, (a.ML_STATISTIC, "=", a.MlStatistic.PSI))
# One point of the counter is a failed call and not a row; those have an error type.
ROWS: Final = S(m.ML_PREDICTIONS, (a.ERROR_TYPE, "=", ""))
# An open selector of the processes chosen, whatever the model; a variable's query closes it.
OF_PROCESS: Final = f'{prometheus_name(m.ML_PREDICTIONS)}{{job=~"$job", instance=~"$instance"'

_NAME: Final = (a.ML_FEATURE_NAME,)
_DRIFT: Final = aggregate("max", _NAME, PSI)
_NUMERIC: Final = aggregate("count", _NAME, S(m.ML_FEATURE_VALUE, part="count"))
_CATEGORICAL: Final = aggregate("count", _NAME, S(m.ML_REFERENCE_CELLS))

TOP_NUMERIC: Final = f"query_result(topk(3, {_DRIFT} and {on(*_NAME)} {_NUMERIC}))"
TOP_CATEGORICAL: Final = (
    f"query_result(topk(3, {_DRIFT} and {on(*_NAME)} {_CATEGORICAL} "
    f"unless {on(*_NAME)} {_NUMERIC}))"
)


def by_drift() -> str:
    """Query for all features that have a distribution, the one that moved most first."""
    known = f"({_NUMERIC} or {_CATEGORICAL})"
    return f"query_result(sort_desc({_DRIFT} and {on(*_NAME)} {known}))"


def process_variables() -> tuple[Variable, ...]:
    """Variables both dashboards begin with: which job and which of its processes."""
    predictions = prometheus_name(m.ML_PREDICTIONS)
    queries = {
        "job": f"label_values({predictions}, job)",
        "instance": f'label_values({predictions}{{job=~"$job"}}, instance)',
    }
    return tuple(
        Variable(name, name.capitalize(), query, multi=True, all_value=".+", include_all=True)
        for name, query in queries.items()
    )
