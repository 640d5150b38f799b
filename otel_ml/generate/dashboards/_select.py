"""What the rows of the model's dashboard share: the selection of the model, and features by drift."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards.promql import Selector, aggregate, on
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m

__all__ = ["PSI", "ROWS", "S", "TOP_CATEGORICAL", "TOP_NUMERIC", "by_drift"]

S: Final = Selector('="$model"', '=~"$version"')
PSI: Final = S(m.ML_DRIFT_SCORE, (a.ML_STATISTIC, "=", a.MlStatistic.PSI))
# One point of the counter is a failed call and not a row; those have an error type.
ROWS: Final = S(m.ML_PREDICTIONS, (a.ERROR_TYPE, "=", ""))

_NAME: Final = (a.ML_FEATURE_NAME,)
_DRIFT: Final = aggregate("max", _NAME, PSI)
_NUMERIC: Final = aggregate("count", _NAME, S(m.ML_FEATURE_VALUE, part="count"))
_CATEGORICAL: Final = aggregate("count", _NAME, S(m.ML_REFERENCE_CELLS))

TOP_NUMERIC: Final = f"query_result(topk(3, {_DRIFT} and {on(*_NAME)} {_NUMERIC}))"
TOP_CATEGORICAL: Final = (
    f"query_result(topk(3, {_DRIFT} and {on(*_NAME)} {_CATEGORICAL} unless {on(*_NAME)} {_NUMERIC}))"
)


def by_drift() -> str:
    """Query for all features that have a distribution, the one that moved most first."""
    known = f"({_NUMERIC} or {_CATEGORICAL})"
    return f"query_result(sort_desc({_DRIFT} and {on(*_NAME)} {known}))"
